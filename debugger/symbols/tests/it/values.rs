//! Library types of Rust and C++: what is shown of them, and what can be asked of them.

use crate::support::{Stopped, compile};

const RUST: &str = include_str!("programs/values.rs");
const CPP: &str = include_str!("programs/values.cpp");

/// Asks all questions in a frame and says which answers are not the expected ones.
fn check(stopped: &Stopped, frame: &str, expected: &[(&str, &str)]) {
    let frame = stopped.frame(frame);
    let wrong: Vec<String> = expected
        .iter()
        .filter_map(|(question, answer)| {
            let ours = stopped.print(&frame, question);
            (ours != *answer).then(|| format!("{question}: {ours}\n    but expected {answer}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rust_library_types() {
    let stopped = Stopped::new(compile("rust-values", "values.rs", RUST, &["-g", "--edition", "2021"]));
    check(
        &stopped,
        "values::main",
        &[
            ("vec", "Vec(len: 3) = {1, 2, 3}"),
            ("empty", "Vec(len: 0) = {}"),
            ("strings", "Vec(len: 2) = {\"a\", \"bc\"}"),
            ("slice", "&[i32](len: 2) = {2, 3}"),
            ("array", "[[1, 2], [3, 4]]"),
            ("os", "\"os\""),
            ("path", "\"/tmp/x\""),
            ("path_ref", "\"/tmp/x\""),
            ("c", "\"c string\""),
            ("c_ref", "\"c string\""),
            ("deque", "VecDeque(len: 3) = {2, 3, 4}"),
            ("deque[2]", "4"),
            ("set", "HashSet(len: 1) = {5}"),
            ("set.contains(5)", "true"),
            ("map.len()", "2"),
            ("map[\"one\"]", "1"),
            ("map[\"three\"]", "error at 4: no element has this key"),
            ("map.contains_key(\"two\") && !map.contains_key(\"three\")", "true"),
            ("mapmap", "HashMap(len: 1) = {1: Vec(len: 2) = {2, 3}}"),
            ("mapmap[1][0]", "2"),
            ("big.len()", "40"),
            ("big[39]", "\"v39\""),
            ("bset", "BTreeSet(len: 3) = {'a', 'b', 'c'}"),
            ("no_tree", "BTreeMap(len: 0) = {}"),
            ("heap", "BinaryHeap(len: 2) = {5, 1}"),
            ("linked", "LinkedList(len: 3) = {1, 2, 3}"),
            ("linked[1]", "2"),
            ("boxed", "Box(5)"),
            ("dynamic", "Box(values::Square {side: 2.5})"),
            ("dyn_ref", "&dyn(values::Square {side: 2.5})"),
            ("dynamic.side * 2", "5"),
            ("boxed_slice", "Box<[u16]>(len: 2) = {1, 2}"),
            ("rc", "Rc(41, strong: 2, weak: 1)"),
            ("rc + 1", "42"),
            ("weak", "Weak(41, strong: 2, weak: 1)"),
            ("gone", "Weak(dropped)"),
            ("arc", "Arc(values::Message::Move {x: 1, y: -2})"),
            ("arc.y", "-2"),
            ("arc_str", "\"shared\""),
            ("rc_dyn", "Rc(values::Square {side: 1})"),
            ("cell", "Cell(3)"),
            ("cell.get() + 1", "4"),
            ("refcell", "RefCell(\"r\")"),
            ("borrowed", "RefCell(9, borrowed: 1)"),
            ("b", "Ref(9)"),
            ("mutex", "Mutex(Vec(len: 1) = {1})"),
            ("locked", "Mutex(2, locked)"),
            ("guard", "MutexGuard(2)"),
            ("rw", "RwLock(4)"),
            ("once2", "OnceLock(uninitialised)"),
            ("once_set", "OnceCell(6)"),
            ("lazy", "LazyLock(uninitialised)"),
            ("atomic", "8"),
            ("flag", "true"),
            ("!flag", "false"),
            ("dur", "1.5s"),
            ("sys", "1971-01-01T00:00:00Z"),
            ("ch", "'é'"),
            ("wide", "340282366920938463463374607431768211455"),
            ("neg", "-170141183460469231731687303715884105728"),
            ("reference", "&(1, \"two\", 3.5)"),
            ("reference.1", "\"two\""),
            ("closure", "values::main::{closure_env#2} {k: 10}"),
            ("nz", "4"),
            ("onz", "None"),
            ("ph", "PhantomData"),
            ("uni", "values::Unit"),
            ("some_box", "Some(Box(3))"),
            ("no_box", "None"),
            ("none.unwrap()", "error at 5: <not available: it is None>"),
            (
                "messages",
                "[values::Message::Quit, values::Message::Move {x: 1, y: 2}, values::Message::Write(\"hi\"), values::Message::Many(1, 2)]",
            ),
            (
                "nested",
                "[values::Nested::A(None), values::Nested::B(Some(true)), values::Nested::C, values::Nested::A(Some(Box(2)))]",
            ),
            ("cyc.next.borrow().unwrap().name", "\"a\""),
            ("fresh", "values::outer::{async_fn_env#0} (not started) {text: \"x\"}"),
            ("range", "2..7"),
            ("range_inc", "1..=3"),
            ("wrapping", "5"),
            ("ord", "Less"),
            ("cow", "Borrowed(\"cow\")"),
            ("opt_str", "Some(\"s\")"),
            ("opt_string", "None"),
            ("vec[1..]", "[2, 3]"),
            ("text[..2]", "\"he\""),
            ("many[2..=4]", "[2, 3, 4]"),
            ("many[5..2]", "error at 5: no such elements: the length is 1000"),
            ("vec[3]", "error at 4: no such element: the length is 3"),
            ("vec.iter().count()", "3"),
            ("zeros", "[0 <repeats 64 times>]"),
        ],
    );
    let frame = stopped.frame("values::main");
    let described =
        |text| symbols::Context::new(&stopped.symbols, &stopped, Some(&frame)).type_of(text).unwrap();
    assert_eq!(
        described("messages[0]").description(false),
        "enum values::Message {\n    Quit,\n    Move {\n        x: i32,\n        y: i32,\n    },\n    Write(alloc::string::String),\n    Many(u8, u16),\n}"
    );
    assert_eq!(described("pair").description(false), "struct values::Pair (u8, char)");
    assert_eq!(described("reference").description(false), "&(i32, &str, f32)");
    let shown = |text| stopped.print(&frame, text);
    assert!(shown("a").contains("<cycle: 0x"), "{}", shown("a"));
    assert!(shown("big").starts_with("BTreeMap(len: 40) = {0: \"v0\", 1: \"v1\", "), "{}", shown("big"));
    let waiting = shown("fut");
    assert!(waiting.contains("outer::{async_fn_env#0} (waiting at line 16) {"), "{waiting}");
    assert!(waiting.contains("awaits: values::leaf::{async_fn_env#0} (waiting at line 15) {"), "{waiting}");
    let map = shown("map");
    assert!(map.contains("\"one\": 1") && map.contains("\"two\": 2"), "{map}");
}

#[test]
fn cpp_library_types() {
    for standard in ["-std=c++17", "-std=c++20"] {
        let stopped = Stopped::new(compile(standard, "values.cpp", CPP, &["-g", "-O0", standard]));
        check(
            &stopped,
            "main",
            &[
                ("short_text", "\"short\""),
                ("view", "\"text that is longer than the small buffer\""),
                ("view.size()", "41"),
                ("numbers", "std::vector(len: 3) = {1, 2, 3}"),
                ("numbers.back()", "3"),
                ("bits", "std::vector<bool>(len: 4) = {true, false, true, true}"),
                ("words[1].size()", "1"),
                ("row", "std::array(len: 3) = {4, 5, 6}"),
                ("map[\"k7\"]", "7"),
                ("map.size()", "20"),
                ("no_map", "std::map(len: 0) = {}"),
                ("set", "std::set(len: 3) = {3, 5, 9}"),
                ("set.contains(9) && !set.contains(4)", "true"),
                ("multi", "std::multimap(len: 2) = {1: 97 'a', 1: 98 'b'}"),
                ("table", "std::unordered_map(len: 1) = {\"pi\": 3.5}"),
                ("bag", "std::unordered_set(len: 1) = {7}"),
                ("deque.size()", "296"),
                ("deque[0]", "-1"),
                ("deque[295]", "299"),
                ("list", "std::list(len: 3) = {1, 2, 3}"),
                ("chain", "std::forward_list(len: 2) = {120 'x', 121 'y'}"),
                ("stack", "std::deque(len: 1) = {3}"),
                ("heap", "std::vector(len: 1) = {8}"),
                ("unique", "std::unique_ptr(5)"),
                ("*unique", "5"),
                ("no_unique", "std::unique_ptr(nullptr)"),
                ("shared->name", "\"rex\""),
                ("expired", "std::weak_ptr(expired)"),
                ("beast->name", "\"rex\""),
                ("plain->name", "\"rex\""),
                ("some", "std::optional(5)"),
                ("some.has_value() && !nothing.has_value()", "true"),
                ("nothing", "std::nullopt"),
                ("choice", "std::variant[1](\"held\")"),
                ("number", "std::variant[2](2.5)"),
                ("tuple", "(1, \"two\", 51 '3')"),
                ("pair", "{first = 1, second = \"p\"}"),
                ("empty", "std::function(empty)"),
                ("atomic", "6"),
                ("atomic == 6", "true"),
                ("yes", "true"),
                ("level", "Level::High"),
                ("flags", "{low = 5, high = -3, either = {i = 7, f = 1e-44}, tail = {}}"),
                ("wrapper", "std::reference_wrapper(2)"),
                ("grid", "{{1, 2, 3}, {4, 5, 6}}"),
                ("wide", "1.25"),
                ("huge", "1267650600228229401496703205376"),
                ("letter", "233 'é'"),
                ("unit", "233 'é'"),
                ("member", "8"),
            ],
        );
        let frame = stopped.frame("main");
        let described = |text| {
            let context = symbols::Context::new(&stopped.symbols, &stopped, Some(&frame));
            context.type_of(text).unwrap().description(true)
        };
        assert_eq!(
            described("flags"),
            "struct Flags {\n\
             /*     0:0 |     3 bits */ unsigned int low : 3;\n\
             /*     0:3 |     5 bits */ int high : 5;\n\
             /*     4   |     4 */      Either either;\n\
             /*     8   |     0 */      int tail[];\n\
             /* total size: 8 bytes */\n}"
        );
        assert!(described("plain").ends_with("} *"), "{}", described("plain"));
        let shown = |text| stopped.print(&frame, text);
        // Objects are shown as what they are, whatever they are pointed to as.
        assert!(shown("beast").starts_with("std::unique_ptr((Dog) {<Animal> = {_vptr"), "{}", shown("beast"));
        assert!(shown("*second").starts_with("(Cat) {<Named> = {"), "{}", shown("*second"));
        assert!(shown("shared").contains("name = \"rex\"}, uses: 2, weak: 1)"), "{}", shown("shared"));
        assert!(shown("lambda").contains("main::{lambda(int)"), "{}", shown("lambda"));
    }
}
