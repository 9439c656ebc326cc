//! Names and lines to addresses and back.

use crate::support::{cache, compile, run};
use std::process::Command;
use symbols::{Sources, Symbols};

const SOURCE: &str = "#include <stdio.h>
int global = 1;

static int helper(int a)
{
    int b = a + 1;

    return b * 2;
}

int main(void)
{
    int sum = 0;
    for (int i = 0; i < 3; i++)
        sum += helper(i);
    printf(\"%d\\n\", sum);
    return 0;
}
";

fn load(name: &str, flags: &[&str]) -> (Symbols, String) {
    let program = compile(name, "look.c", SOURCE, flags);
    let mut symbols = Symbols::new(cache());
    symbols.add_file(&program, "/shown/look", 0x5555_0000_0000).unwrap();
    (symbols, program.display().to_string())
}

fn gdb_break(program: &str, at: &str) -> u64 {
    let text = run(Command::new("gdb").args(["-nx", "-batch", "-ex", &format!("break {at}"), program]));
    let address = text
        .split("at 0x")
        .nth(1)
        .and_then(|rest| rest.split(':').next())
        .unwrap_or_else(|| panic!("{text}"));
    u64::from_str_radix(address, 16).unwrap()
}

#[test]
fn breakpoints_stand_where_gdb_puts_them() {
    for (name, flags) in [("b5", &["-g", "-O0"][..]), ("b4", &["-gdwarf-4", "-O0"]), ("b2", &["-g", "-O2"])] {
        let (symbols, program) = load(name, flags);
        let bias = 0x5555_0000_0000;
        let main = symbols.functions("main");
        assert_eq!(main.len(), 1);
        assert_eq!(main[0].body - bias, gdb_break(&program, "main"), "{name}");
        for line in [6, 8, 13, 16] {
            let places = symbols.line_addresses("look.c", line);
            let theirs = gdb_break(&program, &format!("look.c:{line}"));
            assert!(
                places.iter().any(|place| place.address - bias == theirs),
                "{name}:{line} {theirs:#x} {places:x?}"
            );
        }
    }
}

#[test]
fn a_line_without_code_is_the_next_with_code() {
    let (symbols, _) = load("next", &["-g", "-O0"]);
    let places = symbols.line_addresses("look.c", 7);
    assert_eq!(places.iter().map(|place| place.line).collect::<Vec<_>>(), [8]);
    assert!(symbols.line_addresses("look.c", 1000).is_empty());
    assert!(symbols.line_addresses("ook.c", 7).is_empty());
}

#[test]
fn addresses_have_functions_and_lines() {
    let (symbols, _) = load("at", &["-g", "-O0"]);
    let helper = symbols.functions("helper").pop().unwrap();
    let location = symbols.location(helper.body);
    assert_eq!((location.function.as_deref(), location.line), (Some("helper"), 6));
    assert!(location.file.unwrap().ends_with("at/look.c"));
    assert!(location.is_stmt);
    assert_eq!(location.module.unwrap().name(), "/shown/look");
    assert_eq!(symbols.location(helper.entry).line, 5);
    let range = symbols.function_range(helper.body).unwrap();
    assert_eq!(range.start, helper.entry);
    let line = symbols.line_range(helper.body).unwrap();
    assert!(line.contains(&helper.body) && range.contains(&line.start) && line.end <= range.end);
    assert_eq!(symbols.symbol_at(helper.entry + 4), Some(("helper".into(), 4)));
    assert_eq!(symbols.location(1).function, None);
}

#[test]
fn separate_debug_files_are_found() {
    let program = compile("split", "look.c", SOURCE, &["-g", "-O0", "-gz=zlib"]);
    let debug = program.with_extension("debug");
    run(Command::new("objcopy").arg("--only-keep-debug").arg(&program).arg(&debug));
    run(Command::new("objcopy")
        .arg("--strip-all")
        .arg(format!("--add-gnu-debuglink={}", debug.display()))
        .arg(&program));
    let mut symbols = Symbols::new(cache());
    symbols.add_file(&program, "look", 0).unwrap();
    let helper = symbols.functions("helper").pop().unwrap();
    assert_eq!(symbols.location(helper.body).line, 6);
}

#[test]
fn stripped_programs_keep_their_dynamic_symbols_only() {
    let program = compile("stripped", "look.c", SOURCE, &["-O0", "-s", "-rdynamic"]);
    let mut symbols = Symbols::new(cache());
    symbols.add_file(&program, "look", 0).unwrap();
    assert_eq!(symbols.functions("main").len(), 1);
    assert!(symbols.functions("helper").is_empty());
    let main = symbols.functions("main").pop().unwrap();
    assert_eq!(symbols.location(main.entry).function.as_deref(), Some("main"));
}

#[test]
fn sources_are_read_or_explained() {
    let (symbols, _) = load("source", &["-g", "-O0"]);
    let main = symbols.functions("main").pop().unwrap();
    let location = symbols.location(main.body);
    let mut sources = Sources::default();
    let path = location.file.unwrap();
    assert_eq!(sources.line(&path, location.line).unwrap(), "    int sum = 0;");
    assert!(sources.line(&path, 999).unwrap_err().to_string().contains("which has 18 lines"));
    assert!(sources.line("/no/such.c", 1).unwrap_err().to_string().starts_with("/no/such.c: "));
}

#[test]
fn calls_inlined_behind_a_local_type_with_methods_are_seen() {
    const LOCAL: &str = "static int total;
__attribute__((always_inline)) static inline int late(int n) { total += n; return total; }
int outer(int n) {
    struct Guard { int kept; ~Guard() { total += kept; } } guard = { n };
    return late(guard.kept);
}
int main(int argc, char **) { return outer(argc); }
";
    let program = compile("local_type", "local.cpp", LOCAL, &["-gdwarf-4", "-O0"]);
    let mut symbols = Symbols::new(cache());
    symbols.add_file(&program, "local", 0).unwrap();
    let late = symbols.functions("late").into_iter().find(|found| found.inlined).unwrap();
    let names: Vec<_> = symbols.locate(late.entry).into_iter().filter_map(|level| level.function).collect();
    assert_eq!(names.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["late", "outer"]);
}
