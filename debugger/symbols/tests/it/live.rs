//! Stacks and values of stopped programs, against gdb's.

use crate::support::{Stopped, compile, run};
use std::process::Command;
use std::sync::OnceLock;
use symbols::Context;

const C: &str = r#"#include <stdlib.h>
#include <signal.h>
#include <string.h>
struct point { int x; int y; };
struct node { struct node *next; const char *name; struct point at; unsigned flag : 3; int low : 5; union { int i; float f; }; };
enum color { RED, GREEN = 5, BLUE };
typedef int (*callback)(int);
int counter = 42;
static long table[3][2] = {{1, 2}, {3, 4}, {5, 6}};
char buffer[16] = "hello";
char large[100] = "big"; char empty[4]; long big_number = -9; unsigned short tiny = 3;
__thread int local_storage = 77;
static int twice(int n) { return n * 2; }
__attribute__((noinline)) void crash(struct node *node, int depth) {
    double ratio = 1.5;
    enum color shade = GREEN;
    callback call = twice;
    int numbers[12] = {7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1};
    { int depth = 99; (void)depth; }
    if (depth > 0) { crash(node, depth - 1); return; }
    local_storage++;
    (void)ratio; (void)shade; (void)call; (void)numbers;
    abort();
}
void handler(int signal) { (void)signal; struct node n; memset(&n, 0, sizeof n); n.name = "deep"; n.at.x = 3; n.at.y = -4; n.flag = 5; n.low = -3; n.f = 0.5f; n.next = &n; crash(&n, 2); }
int main(int argc, char **argv) {
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    return argc + (argv != 0);
}
"#;

fn c_program() -> &'static Stopped {
    static ONCE: OnceLock<Stopped> = OnceLock::new();
    ONCE.get_or_init(|| Stopped::new(compile("c", "main.c", C, &["-g", "-O0"])))
}

#[test]
fn c_stack_through_a_signal_handler_is_gdbs() {
    let stopped = c_program();
    let (ours, theirs) = (stopped.names("crash"), stopped.gdb_names("crash"));
    // gdb names no frame for the trampoline and stops at main; ours go on to the program's entry.
    let ours: Vec<_> =
        ours.into_iter().map(|name| name.replace("__restore_rt", "<signal handler called>")).collect();
    assert!(theirs.contains(&"main".to_owned()), "{theirs:?}");
    assert_eq!(
        ours.iter().map(|name| name.split('@').next().unwrap()).take(3).collect::<Vec<_>>(),
        ["crash"; 3]
    );
    for name in ["handler", "main"] {
        assert!(ours.iter().any(|own| own == name), "{ours:?}");
    }
    assert_eq!(ours.last().map(String::as_str), Some("_start"), "{ours:?}");
}

#[test]
fn c_values_are_gdbs() {
    let stopped = c_program();
    let frame = stopped.frame("crash");
    let questions = [
        "node->at",
        "*node",
        "node->name",
        "depth",
        "ratio",
        "shade",
        "call",
        "numbers",
        "counter",
        "table",
        "buffer",
        "table[1]",
        "&table[2][1]",
        "node->at.x + depth * 3 - 1",
        "sizeof(struct node)",
        "sizeof(int)",
        "(char)65",
        "(long)&counter == &counter",
        "-7 / 2",
        "-7 % 3",
        "1 << 4 | 3",
        "~0",
        "!counter",
        "(unsigned char)300",
        "counter > 41 && node",
        "*node->next->next",
        "&*node",
        "(struct point *)&node->at",
        "node->flag + 1",
        "0x10",
        "010",
        "'a'",
        "1.5 * 2",
        "-1 < 1u",
        "numbers[11]",
        "*numbers@2",
        "twice",
        "&twice",
        "crash",
        "&counter",
        "node.low",
        "large",
        "empty",
        "&big_number",
        "&tiny",
        "&table",
        "&large",
        "*node@1",
        "&node->next",
        "node->next->name[1]",
        "&numbers[3] - &numbers[0]",
        "node->name[0] == 'd'",
        "ratio * 2 > 2",
        "sizeof(callback)",
        "shade == GREEN",
        "BLUE",
        "(enum color)6",
        "node == node->next",
        "(short)70000",
        "5 > 3 ? 1 : 2",
        "$sp",
        "$rip",
        "$rbx",
        "(char)node->flag",
        "argc",
    ];
    let commands: Vec<String> = questions.iter().map(|question| format!("print {question}")).collect();
    let mut commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let up = stopped.gdb_select("crash");
    commands.insert(0, &up);
    commands.pop();
    let theirs = stopped.gdb(&commands);
    let theirs: Vec<&str> = theirs.lines().filter(|line| line.starts_with('$')).collect();
    let mut wrong = Vec::new();
    for (question, theirs) in questions.iter().zip(theirs) {
        let theirs = theirs.split_once(" = ").unwrap().1;
        let ours = stopped.print(&frame, question);
        if ours != theirs {
            wrong.push(format!("{question}: ours {ours} gdb {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(stopped.print(&frame, "argc").contains("no symbol \"argc\""));
}

#[test]
fn c_thread_local_is_found_by_fs_base() {
    let stopped = c_program();
    assert_eq!(stopped.print(&stopped.frame("crash"), "local_storage"), "78");
}

#[test]
fn c_arguments_and_scopes() {
    let stopped = c_program();
    let frame = stopped.frame("crash");
    let context = Context::new(&stopped.symbols, stopped, Some(&frame));
    let names =
        |all: Vec<symbols::Variable>| all.into_iter().map(|variable| variable.name).collect::<Vec<_>>();
    assert_eq!(names(context.arguments()), ["node", "depth"]);
    assert_eq!(names(context.locals()), ["ratio", "shade", "call", "numbers"]);
    assert!(context.format_arguments().ends_with(", depth=0"), "{}", context.format_arguments());
    let depths =
        stopped.frames().into_iter().filter(|frame| frame.location.function.as_deref() == Some("crash"));
    let depths: Vec<String> = depths.map(|frame| stopped.print(&frame, "depth")).collect();
    assert_eq!(depths, ["0", "1", "2"]);
}

const INLINED: &str = r#"#include <stdlib.h>
#include <stdio.h>
volatile int sink;
static inline __attribute__((always_inline)) int inner(int value) {
    int squared = value * value;
    if (squared > 10) abort();
    return squared;
}
static inline __attribute__((always_inline)) int middle(int value) { return inner(value + 1) + 1; }
__attribute__((noinline)) int outer(int seed, int unused) {
    int result = middle(seed);
    sink = result;
    return result;
}
int main(int argc, char **argv) { (void)argv; int kept = outer(argc * 5, 1); printf("%d", kept); return kept; }
"#;

#[test]
fn optimised_c_with_inlined_frames_is_gdbs() {
    let stopped = Stopped::new(compile("inlined", "main.c", INLINED, &["-g", "-O2"]));
    let (ours, theirs) = (stopped.names("inner"), stopped.gdb_names("inner"));
    assert_eq!(theirs, ["inner", "middle", "outer", "main"]);
    assert_eq!(ours.get(..4).unwrap(), theirs);
    let frame = stopped.frame("outer");
    assert_eq!((frame.location.line, frame.inlined), (11, false));
    assert_eq!(stopped.frame("inner").location.line, 6);
    let gdb = stopped.gdb(&[&stopped.gdb_select("outer"), "print seed", "print unused", "print result"]);
    let gdb: Vec<_> =
        gdb.lines().filter(|line| line.starts_with('$')).map(|l| l.split_once(" = ").unwrap().1).collect();
    let ours: Vec<_> = ["seed", "unused", "result"].iter().map(|name| stopped.print(&frame, name)).collect();
    assert_eq!(ours, gdb);
}

const CPP: &str = r#"#include <string>
#include <vector>
#include <cstdlib>
#include <memory>
namespace ns {
struct Base { int id = 7; virtual ~Base() {} };
template <typename T> T max(T a, T b) { return a > b ? a : b; }
class Shape : public Base { public: Shape() : name("circle") {} std::string name; static int count;
  __attribute__((noinline)) int area(int scale) const { if (scale > 1) std::abort(); return id; } };
int Shape::count = 9;
enum class Mode { Off, On };
}
int main() {
    ns::Shape shape; std::vector<int> numbers{1, 2, 3}; std::string text = "hello world, a longer text";
    int &reference = numbers[1]; ns::Mode mode = ns::Mode::On; auto boxed = std::make_unique<int>(5);
    bool yes = true; unsigned long long big = 18446744073709551615ull;
    return shape.area(ns::max(2, 1)) + reference + (int)mode + yes + big + *boxed;
}
"#;

#[test]
fn cpp_values_and_names() {
    check_cpp(&Stopped::new(compile("cpp", "main.cpp", CPP, &["-g", "-O0"])));
}

#[test]
fn cpp_with_type_units_of_dwarf_4() {
    let flags = ["-gdwarf-4", "-O0", "-fdebug-types-section", "-gz=zlib"];
    check_cpp(&Stopped::new(compile("cpp4", "main.cpp", CPP, &flags)));
}

#[test]
fn cpp_with_type_units_of_dwarf_5() {
    let flags = ["-g", "-O0", "-fdebug-types-section", "-no-pie"];
    check_cpp(&Stopped::new(compile("cpp5", "main.cpp", CPP, &flags)));
}

#[test]
fn a_call_through_a_null_pointer_still_has_callers() {
    let source = "void (*volatile nowhere)(void);\nint main(void) { nowhere(); return 0; }\n";
    let stopped = Stopped::new(compile("null", "main.c", source, &["-g", "-O0"]));
    assert_eq!(stopped.registers.pc(), Some(0));
    let names = stopped.names("");
    assert_eq!(names.get(1).map(String::as_str), Some("main"), "{names:?}");
    assert_eq!(stopped.frame("main").location.line, 2);
}

#[test]
fn functions_without_frame_information_unwind_by_shape() {
    let source = "#include <stdlib.h>\n__attribute__((noinline)) void leaf(int n) { if (n) abort(); }\n\
        __attribute__((noinline)) void middle(int n) { leaf(n); }\nint main(int n, char **v) { (void)v; middle(n); return 0; }\n";
    let flags =
        ["-g", "-O0", "-fno-asynchronous-unwind-tables", "-gno-as-loc-support", "-fno-dwarf2-cfi-asm"];
    let program = compile("shape", "main.c", source, &flags);
    run(Command::new("objcopy").args(["--remove-section", ".debug_frame"]).arg(&program));
    let names = Stopped::new(program).names("leaf");
    assert_eq!(names.get(..3).unwrap(), ["leaf", "middle", "main"], "{names:?}");
}

fn check_cpp(stopped: &Stopped) {
    let frame = stopped.frame("area");
    assert_eq!(frame.location.function.as_deref(), Some("ns::Shape::area"));
    let print = |text| stopped.print(&frame, text);
    assert_eq!(
        (print("id"), print("scale"), print("this->name")),
        ("7".into(), "2".into(), "\"circle\"".into())
    );
    assert_eq!(print("ns::Shape::count"), "9");
    let frame = stopped.frame("main");
    let print = |text| stopped.print(&frame, text);
    assert_eq!(print("numbers"), "std::vector(len: 3) = {1, 2, 3}");
    assert_eq!(print("text == \"hello world, a longer text\""), "true");
    assert_eq!((print("numbers[2]"), print("text.size()")), ("3".into(), "26".into()));
    assert!(print("reference").ends_with("2"), "{}", print("reference"));
    assert_eq!(
        (print("reference + 1"), print("big"), print("yes")),
        ("3".into(), u64::MAX.to_string(), "true".into())
    );
    assert_eq!((print("mode"), print("*boxed")), ("ns::Mode::On".into(), "5".into()));
    assert!(!stopped.symbols.functions("ns::max").is_empty());
}

const RUST: &str = r#"
use std::rc::Rc;
#[derive(Clone, Debug)]
struct Point { x: i32, y: i64 }
#[allow(dead_code)]
enum Shape { Circle(f64), Rect { w: u8, h: u16 }, Empty }
#[derive(Clone, Copy)]
#[allow(dead_code)]
enum Color { Red, Green = 7 }
static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(11);
#[inline(never)]
fn spoil(point: &Point, words: &[String], depth: u32) -> u32 {
    let text = String::from("hi there");
    let slice: &str = &text[..2];
    let numbers = vec![1u32, 2, 3];
    let some = Some(5i32);
    let none: Option<i32> = None;
    let maybe: Option<&Point> = Some(point);
    let nothing: Option<&Point> = None;
    let text_or: Option<String> = Some("inner".to_string());
    let no_text: Option<String> = None;
    let result: Result<u8, String> = Err("bad".to_string());
    let shape = Shape::Circle(2.5);
    let rect = Shape::Rect { w: 3, h: 500 };
    let empty = Shape::Empty;
    let boxed = Box::new(17i32);
    let shared = Rc::new(Point { x: 8, y: 9 });
    let tuple = (1i8, 'x', true);
    let array = [4u16; 3];
    let wide: u128 = 1 << 100;
    let negative: i128 = -5;
    let color = Color::Green;
    let unit = ();
    let depth = depth + 1;
    let bytes: &[u8] = b"ab";
    let boxed_str: Box<str> = "boxed".into();
    if depth > 1 { std::process::abort(); }
    println!("{slice}{numbers:?}{some:?}{none:?}{maybe:?}{nothing:?}{text_or:?}{no_text:?}{result:?}{boxed}{shared:?}{tuple:?}{array:?}{wide}{negative}{unit:?}{words:?}{bytes:?}{boxed_str}");
    let _ = (shape, rect, empty, color as u8, COUNT.load(std::sync::atomic::Ordering::Relaxed));
    depth
}
fn main() {
    let point = Point { x: -3, y: 1 << 40 };
    let words = vec!["one".to_string(), "two".to_string()];
    let closure = |depth| spoil(&point, &words, depth);
    std::process::exit(closure(1) as i32);
}
"#;

#[test]
fn rust_values_read_well() {
    let stopped = Stopped::new(compile("rust", "demo.rs", RUST, &["-g", "-C", "opt-level=0"]));
    let frame = stopped.frame("spoil");
    assert_eq!(frame.location.function.as_deref(), Some("demo::spoil"));
    let expected = [
        ("text", "\"hi there\""),
        ("slice", "\"hi\""),
        ("numbers", "Vec(len: 3) = {1, 2, 3}"),
        ("numbers[1]", "2"),
        ("numbers.len()", "3"),
        ("some", "Some(5)"),
        ("none", "None"),
        ("nothing", "None"),
        ("text_or", "Some(\"inner\")"),
        ("no_text", "None"),
        ("result", "Err(\"bad\")"),
        ("shape", "demo::Shape::Circle(2.5)"),
        ("rect", "demo::Shape::Rect {w: 3, h: 500}"),
        ("empty", "demo::Shape::Empty"),
        ("boxed", "Box(17)"),
        ("*boxed", "17"),
        ("shared", "Rc(demo::Point {x: 8, y: 9})"),
        ("shared.x", "8"),
        ("tuple", "(1, 'x', true)"),
        ("tuple.0 + 1", "2"),
        ("array", "[4, 4, 4]"),
        ("wide", "1267650600228229401496703205376"),
        ("negative", "-5"),
        ("color", "demo::Color::Green"),
        ("unit", "()"),
        ("depth", "2"),
        ("point.x", "-3"),
        ("*point", "demo::Point {x: -3, y: 1099511627776}"),
        ("words", "&[String](len: 2) = {\"one\", \"two\"}"),
        ("words[1]", "\"two\""),
        ("words.len()", "2"),
        ("bytes", "&[u8](len: 2) = {97, 98}"),
        ("boxed_str", "\"boxed\""),
        ("point.y as u8", "0"),
        ("slice == \"hi\"", "true"),
        ("some.is_some() && none.is_none()", "true"),
        ("demo::COUNT.v.value", "11"),
        ("COUNT.v.value + 1", "12"),
    ];
    let wrong: Vec<String> = expected
        .iter()
        .filter_map(|(question, answer)| {
            let ours = stopped.print(&frame, question);
            (ours != *answer).then(|| format!("{question}: {ours} but expected {answer}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let names = stopped.names("demo::spoil");
    assert!(names.iter().any(|name| name == "demo::main"), "{names:?}");
    assert!(names.iter().any(|name| name == "main" || name.starts_with("__libc_start")), "{names:?}");
}

#[test]
fn optimised_rust_unwinds_to_the_start() {
    let stopped = Stopped::new(compile("rust-o", "demo.rs", RUST, &["-g", "-C", "opt-level=2"]));
    let names = stopped.names("demo::spoil");
    assert_eq!(names.last().map(String::as_str), Some("_start"), "{names:?}");
    let frame = stopped.frame("spoil");
    let context = Context::new(&stopped.symbols, &stopped, Some(&frame));
    for variable in context.variables() {
        let _text = context.format(&context.value_of(&variable), symbols::Format::Natural);
    }
}
