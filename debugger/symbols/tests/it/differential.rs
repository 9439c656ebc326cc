//! Function, file and line of many addresses, against llvm-symbolizer and GNU addr2line; whole stacks against gdb.
//! More of each, by hand or by `cargo xtask corpus`: SYMBOLS_SAMPLES addresses of each program, SYMBOLS_STACKS stacks.

use crate::support::{Stopped, compile};
use object::{Object, ObjectSection};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use symbols::{ImageCache, Location, Symbols, demangle};

const CPP: &str = r#"#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <regex>
#include <string>
#include <vector>
namespace shop {
struct Item { std::string name; int price; };
template <typename T, typename F> auto apply(T &items, F f) { std::for_each(items.begin(), items.end(), f); return items.size(); }
class Store { std::map<std::string, std::vector<Item>> all;
public:
    void add(const std::string &key, Item item) { all[key].push_back(std::move(item)); }
    int total(const std::function<int(const Item &)> &f) const { int n = 0; for (auto &p : all) for (auto &i : p.second) n += f(i); return n; }
};
}
int main(int argc, char **argv) {
    shop::Store store;
    for (int i = 0; i < argc * 5; i++) store.add(std::to_string(i), {argv[0], i});
    std::regex word("[a-z]+(\\d)*");
    std::vector<shop::Item> some = {{"b", 2}, {"a", 1}};
    std::sort(some.begin(), some.end(), [](auto &a, auto &b) { return a.name < b.name; });
    shop::apply(some, [&](shop::Item &item) { if (std::regex_search(item.name, word)) item.price++; });
    return store.total([](const shop::Item &item) { return item.price * 2; }) + some[0].price;
}
"#;

const RUST: &str = r#"use std::collections::{BTreeMap, HashMap};
#[derive(Debug, Clone, PartialEq)] enum Shape { Circle(f64), Square { side: u32 }, Empty }
trait Area { fn area(&self) -> f64; }
impl Area for Shape { fn area(&self) -> f64 { match self { Shape::Circle(r) => r * r, Shape::Square { side } => f64::from(*side).powi(2), Shape::Empty => 0.0 } } }
#[inline(never)] fn sum<T: Area + ?Sized>(all: &[Box<T>]) -> f64 { all.iter().map(|one| one.area()).sum() }
fn main() {
    let mut map: HashMap<String, Vec<Shape>> = HashMap::new();
    for (i, word) in std::env::args().chain(["x".to_string()]).enumerate() {
        map.entry(word).or_default().extend([Shape::Circle(i as f64), Shape::Square { side: i as u32 }, Shape::Empty]);
    }
    let mut sorted: BTreeMap<_, _> = map.into_iter().collect();
    sorted.retain(|key, value| !key.is_empty() && value.len() > 1);
    let boxed: Vec<Box<dyn Area>> = sorted.values().flatten().map(|shape| Box::new(shape.clone()) as Box<dyn Area>).collect();
    println!("{:?} {}", sorted, sum(&boxed));
    let text: Vec<String> = sorted.keys().map(|key| key.chars().rev().collect()).collect();
    println!("{}", text.join(","));
}
"#;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn symbolizer() -> Option<PathBuf> {
    let versions = (14..40).rev().map(|version| format!("/usr/lib/llvm-{version}/bin/llvm-symbolizer"));
    versions.map(PathBuf::from).find(|path| path.exists())
}

/// Addresses all over the code, the same each time.
fn samples(program: &Path, count: usize) -> Vec<u64> {
    let bytes = std::fs::read(program).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let text = file.section_by_name(".text").unwrap();
    let mut state = 0x9e37_79b9_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.address() + state % text.size()
    };
    (0..count).map(|_| next()).collect()
}

/// One level of inlining, as tools tell it.
#[derive(Clone, Debug, PartialEq)]
struct Level {
    function: String,
    file: String,
    line: u32,
}

fn ask(command: &mut Command, addresses: &[u64]) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn level(function: &str, place: &str) -> Level {
    let place = place.split(" (discriminator").next().unwrap();
    let (file, line) = place.rsplit_once(':').unwrap_or((place, "0"));
    let file = file.rsplit('/').next().unwrap().to_owned();
    Level { function: function.to_owned(), file, line: line.parse().unwrap_or(0) }
}

fn from_llvm(tool: &Path, program: &Path, addresses: &[u64]) -> Vec<Vec<Level>> {
    let mut command = Command::new(tool);
    command.args([
        "--functions=short",
        "--inlines",
        "--no-demangle",
        "--output-style=GNU",
        "--relativenames",
    ]);
    command.arg("--obj").arg(program);
    // The empty line that parts answers is there in the native style only.
    command.arg("--output-style=LLVM");
    let text = ask(&mut command, addresses);
    let answers = text.split("\n\n").take(addresses.len());
    let levels = |answer: &str| {
        let lines: Vec<&str> = answer.lines().collect();
        lines
            .chunks_exact(2)
            .map(|pair| level(pair[0], pair[1].rsplit_once(':').map_or(pair[1], |cut| cut.0)))
            .collect()
    };
    answers.map(levels).collect()
}

fn from_addr2line(program: &Path, addresses: &[u64]) -> Vec<Vec<Level>> {
    let mut command = Command::new("addr2line");
    command.args(["-f", "-i", "-a", "-e"]).arg(program);
    let text = ask(&mut command, addresses);
    let mut all: Vec<Vec<Level>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            all.push(Vec::new());
        } else if let (Some(last), Some(place)) = (all.last_mut(), lines.next()) {
            last.push(level(line, place));
        }
    }
    all
}

fn ours(symbols: &Symbols, address: u64) -> Vec<Level> {
    let level = |location: Location| Level {
        function: location.function.as_deref().unwrap_or("??").to_owned(),
        file: location.file.as_deref().unwrap_or("??").rsplit('/').next().unwrap().to_owned(),
        line: location.line,
    };
    symbols.locate(address).into_iter().map(level).collect()
}

/// The last part of a path, without arguments: tools differ in how much of the rest they tell.
fn last_part(name: &str) -> String {
    let name = demangle(name)
        .replace("->", "")
        .replace("operator<", "operator ")
        .replace("operator()", "operator call");
    let name = (0..20).fold(name.replace("{{closure}}", "closure"), |name, number| {
        name.replace(&format!("{{closure#{number}}}"), "closure")
    });
    let (mut depth, mut bare) = (0, String::new());
    for letter in name.chars() {
        match letter {
            '<' | '(' | '{' | '[' => depth += 1,
            '>' | ')' | '}' | ']' => depth -= 1,
            _ if depth <= 0 => bare.push(letter),
            _ => {}
        }
    }
    bare.trim_end_matches(" const")
        .trim_end_matches(':')
        .rsplit("::")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// A tool's short or mangled name means our qualified one.
fn same_function(ours: &str, theirs: &str) -> bool {
    ours == theirs || ours.ends_with(&format!("::{theirs}")) || last_part(ours) == last_part(theirs)
}

fn same(ours: &[Level], theirs: &[Level]) -> bool {
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(ours, theirs)| {
            ours.line == theirs.line
                && ours.file == theirs.file
                && same_function(&ours.function, &theirs.function)
        })
}

fn programs() -> Vec<PathBuf> {
    vec![
        compile("sampled_cpp", "sampled.cpp", CPP, &["-g", "-O2"]),
        compile("sampled_cpp4", "sampled.cpp", CPP, &["-gdwarf-4", "-O0"]),
        compile("sampled_rust", "sampled.rs", RUST, &["-g", "-O"]),
    ]
}

#[test]
fn addresses_are_what_llvm_symbolizer_and_addr2line_say() {
    let count = number("SYMBOLS_SAMPLES", 1000);
    let llvm = symbolizer();
    if llvm.is_none() {
        eprintln!("skipped: llvm-symbolizer is not installed");
    }
    let (mut asked, mut differing) = (0, Vec::new());
    for program in programs() {
        let addresses = samples(&program, count);
        let mut symbols = Symbols::new(ImageCache::new());
        symbols.add_file(&program, "program", 0).unwrap();
        let first = llvm.as_deref().map(|tool| from_llvm(tool, &program, &addresses));
        let second = from_addr2line(&program, &addresses);
        assert_eq!(second.len(), addresses.len());
        for (place, &address) in addresses.iter().enumerate() {
            let ours = ours(&symbols, address);
            // Where there is only a symbol, the short form of names has none.
            let nothing = |levels: &&Vec<Level>| levels.iter().all(|level| level.function == "??");
            let theirs = first.as_ref().map(|all| &all[place]).filter(|theirs| !nothing(theirs));
            asked += 1;
            let equal = match theirs {
                Some(theirs) => same(&ours, theirs),
                // Padding between functions belongs to none of them; addr2line takes the one before.
                None if first.is_some() && ours[0].function == "??" => true,
                None => {
                    ours.len() == second[place].len()
                        && ours
                            .last()
                            .zip(second[place].last())
                            .is_some_and(|(ours, theirs)| same_function(&ours.function, &theirs.function))
                }
            };
            if !equal {
                differing.push(format!(
                    "{} {address:#x}\n  ours {ours:?}\n  llvm {theirs:?}\n  gnu  {:?}",
                    program.display(),
                    second[place]
                ));
            }
        }
    }
    println!("{asked} addresses, {} differ\n{}", differing.len(), differing.join("\n"));
    assert!(differing.len() * 1000 <= asked, "{} of {asked}:\n{}", differing.len(), differing.join("\n"));
}

const THREADS: &str = r#"#include <pthread.h>
#include <unistd.h>
#include <cstdlib>
#include <atomic>
#include <functional>
static std::atomic<int> waiting;
static volatile int sink;
struct Step { unsigned state; int left; unsigned next() { state = state * 1103515245u + 12345u; return state >> 16; } };
static long walk(Step step);
__attribute__((noinline)) static void rest(long n) { sink += (int)n; waiting++; for (;;) pause(); }
static inline long small(Step step) { char text[32]; text[step.left & 31] = (char)step.state; long n = walk(step); return n + text[step.left & 31]; }
__attribute__((noinline)) static long last_act(Step step) { step.state ^= 5; return walk(step); }
__attribute__((noinline)) static long large(Step step) { volatile char text[5000]; text[step.left] = 1; long n = walk(step); return n + text[step.left]; }
template <typename T> __attribute__((noinline)) long generic(T by, Step step) { long n = walk(step); return n + (long)by; }
__attribute__((noinline)) static long called(const std::function<long(Step)> &f, Step step) { return f(step) + 1; }
struct Base { virtual ~Base() {} virtual long go(Step step) = 0; };
struct Derived : Base { long add; Derived(long n) : add(n) {} long go(Step step) override { long n = walk(step); return n + add; } };
__attribute__((noinline)) static long dynamic(long size, Step step) { char *text = (char *)__builtin_alloca(size); text[0] = 1; sink = (int)(long)text; long n = walk(step); return n + text[0]; }
static long walk(Step step) {
    if (step.left-- <= 0) { rest(step.state); return 0; }
    switch (step.next() % 8) {
    case 0: return small(step) + 1;
    case 1: return last_act(step);
    case 2: return large(step) * 2;
    case 3: return generic<double>(1.5, step);
    case 4: return called([&](Step inner) { long n = walk(inner); return n + step.left; }, step);
    case 5: { Derived derived(step.left); Base *base = &derived; return base->go(step) + 3; }
    case 6: return dynamic(16 + (step.next() & 255), step);
    default: return generic<int>(7, step) + small(step);
    }
}
static void *run(void *seed) { unsigned n = (unsigned)(long)seed; long r = walk({n * 2654435761u, (int)(n % 23)}); return (void *)r; }
int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : THREAD_COUNT;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    for (long n = 0; n < count; n++) { pthread_t thread; if (pthread_create(&thread, &small, run, (void *)n)) return 1; }
    while (waiting < count) usleep(1000);
    abort();
}
"#;

/// gdb's name of a frame: what stands before the last parenthesis outside of brackets.
fn before_arguments(text: &str) -> &str {
    let (mut depth, mut end) = (0, text.len());
    for (place, letter) in text.char_indices() {
        if depth == 0 && text[place..].starts_with(" (") {
            end = place;
        }
        match letter {
            '<' | '(' if !text[..place].ends_with("operator") => depth += 1,
            '>' | ')' if !text[..place].ends_with("operator(") => depth -= 1,
            _ => {}
        }
    }
    // The C library's own aliases of its functions are the same functions.
    text[..end].trim_start_matches("__GI_")
}

/// Names of functions of each thread's stack, in gdb's order of threads.
fn stacks_of_gdb(stopped: &Stopped) -> Vec<Vec<String>> {
    let text = stopped.gdb(&[
        "set backtrace past-main on",
        "set backtrace past-entry on",
        "set print frame-arguments none",
        "set width 0",
        "thread apply all -ascending -q bt",
    ]);
    // Without headings, a new stack begins where frames count from 0 again.
    let mut all: Vec<Vec<String>> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('#')) {
        let (number, rest) = line.split_once(' ').unwrap();
        if number == "#0" {
            all.push(Vec::new());
        }
        let rest = rest.trim();
        let in_function = rest.split_once(" in ").filter(|(before, _)| before.starts_with("0x"));
        let name = in_function.map_or(rest, |cut| cut.1);
        all.last_mut().unwrap().push(last_part(before_arguments(name)));
    }
    // The first one is that of the thread that gdb shows when it opens the core.
    all
}

fn our_stack(stopped: &Stopped, registers: &symbols::Registers) -> Vec<String> {
    let mut names = Vec::new();
    for frame in stopped.symbols.frames(registers, stopped) {
        let name = frame.location.function.as_deref().unwrap_or("??");
        names.push(last_part(name));
        names.extend(frame.tail_calls.iter().rev().map(|name| last_part(name)));
    }
    names
}

#[test]
fn stacks_are_gdbs() {
    let count = number("SYMBOLS_STACKS", 300) / 3;
    let define = format!("-DTHREAD_COUNT={count}");
    let (mut asked, mut differing) = (0, Vec::new());
    for (name, flags) in
        [("stacks0", ["-g", "-O0"]), ("stacks2", ["-g", "-O2"]), ("stacks4", ["-gdwarf-4", "-O1"])]
    {
        let program = compile(name, "stacks.cpp", THREADS, &[&flags[..], &[&define, "-pthread"]].concat());
        let stopped = Stopped::new(program);
        let theirs = stacks_of_gdb(&stopped);
        assert!(theirs.len() >= count && stopped.threads.len() == count + 1, "{}", theirs.len());
        std::fs::remove_file(&stopped.core).unwrap();
        // A core lists the thread that died first, and gdb counts in the same order.
        let theirs = &theirs[theirs.len() - stopped.threads.len()..];
        for (registers, theirs) in stopped.threads.iter().zip(theirs) {
            asked += 1;
            let ours = our_stack(&stopped, registers);
            // `abort` gets there through `__pthread_kill`, into which `__pthread_kill_internal` was inlined: it
            // is the function that made the last call, and the inlined one is what gdb shows. Both are right.
            let ours: Vec<_> = ours
                .into_iter()
                .map(|name| name.replace("__pthread_kill_internal", "__pthread_kill"))
                .collect();
            let theirs: Vec<_> =
                theirs.iter().map(|name| name.replace("__pthread_kill_internal", "__pthread_kill")).collect();
            if ours != theirs {
                differing.push(format!("{name}\n  ours {ours:?}\n  gdb  {theirs:?}"));
            }
        }
    }
    println!("{asked} stacks, {} differ", differing.len());
    assert!(differing.is_empty(), "{} of {asked}:\n{}", differing.len(), differing.join("\n"));
}
