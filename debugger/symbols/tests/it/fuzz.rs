//! Broken files: whatever bytes change in a program with debug information, nothing panics or hangs.

use crate::support::compile;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use symbols::{Context, DebugSources, Format, Image, Memory, Module, Registers, Symbols, Unreadable};

const SOURCE: &str = "
struct list { struct list *next; int values[4]; union { float f; long l; } u; unsigned b : 3; };
enum kind { A, B = 7 };
struct list head = { &head, {1, 2, 3, 4}, {0}, 5 };
enum kind kind = B;
static inline __attribute__((always_inline)) int leaf(int n) { int m = n * 3; return m + head.b; }
int work(struct list *list, int depth) { int sum = leaf(depth); if (depth) sum += work(list->next, depth - 1); return sum; }
int main(int argc, char **argv) { return work(&head, argc); }
";

/// Memory in which every word leads somewhere.
struct Pattern;

impl Memory for Pattern {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        if addr > 1 << 47 {
            return Err(Unreadable { addr });
        }
        let bytes = (0..).flat_map(|word: u64| (addr.wrapping_add(word * 8 + 0x10)).to_le_bytes());
        buf.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        Ok(())
    }
}

fn exercise(bytes: Vec<u8>) {
    let Ok(image) = Image::from_bytes(Path::new("fuzz"), bytes) else { return };
    question(Arc::new(image));
}

fn question(image: Arc<Image>) {
    let mut symbols = Symbols::default();
    symbols.add(Module::at_bias(image, "fuzz", 0x1000_0000));
    let mut pcs: Vec<u64> =
        ["main", "work", "leaf"].iter().flat_map(|name| symbols.functions(name)).map(|f| f.body).collect();
    pcs.extend([0x1000_1150, 0x1000_1140, 0x1000_1050]);
    for line in [6, 7, 8] {
        pcs.extend(symbols.line_addresses("fuzz.c", line).into_iter().map(|place| place.address));
    }
    for pc in pcs.into_iter().take(12) {
        let registers = Registers::minimal(pc, 0x7000_0000, 0x7000_0100);
        symbols.line_range(pc);
        symbols.function_ranges(pc);
        for frame in symbols.frames_up_to(&registers, &Pattern, 20) {
            let context = Context::new(&symbols, &Pattern, Some(&frame));
            for variable in context.variables().into_iter().take(20) {
                let value = context.value_of(&variable);
                context.format(&value, Format::Natural);
                value.type_name();
            }
            for text in
                ["*list", "head", "kind", "list->next->values[1]", "(struct list *)0x10000000", "main", "B"]
            {
                if let Ok(value) = context.eval(text) {
                    context.format(&value, Format::Hex);
                }
            }
        }
    }
}

/// Runs `check` on changed copies of `good`. More cases, and others, by hand: SYMBOLS_FUZZ_CASES and SYMBOLS_FUZZ_SEED.
fn mutate(good: &[u8], cases: u32, place: impl Strategy<Value = usize>, check: impl Fn(Vec<u8>)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let seed = number("SYMBOLS_FUZZ_SEED").unwrap_or(7) as u8;
    let cases = number("SYMBOLS_FUZZ_CASES").unwrap_or(cases);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner =
        TestRunner::new_with_rng(Config { cases, failure_persistence: None, ..Config::default() }, rng);
    let change = (place, any::<u8>());
    let result = runner.run(&(proptest::collection::vec(change, 1..12), 0..10_usize), |(changes, cut)| {
        let mut bytes = good.to_vec();
        for (place, value) in changes {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        if cut == 0 {
            bytes.truncate(good.len() * 3 / 4);
        }
        let start = Instant::now();
        check(bytes);
        prop_assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
        Ok(())
    });
    result.unwrap();
}

#[test]
fn broken_files_neither_panic_nor_hang() {
    let good = std::fs::read(compile("fuzz", "fuzz.c", SOURCE, &["-g", "-O1"])).unwrap();
    // The debug sections come last in the file: most changes go there, some anywhere.
    let debug =
        good.windows(4).rposition(|window| window == [5, 0, 1, 8]).map_or(0, |at| at.saturating_sub(8));
    let place = prop_oneof![3 => debug..debug + 1500, 2 => 0..good.len(), 1 => 0x2000..0x2400_usize];
    mutate(&good, 300, place, exercise);
}

/// Changes a file that belongs to `program`, and asks the program's questions.
fn beside(program: &Path, changed: &Path, sources: impl Fn() -> DebugSources) {
    let good = std::fs::read(changed).unwrap();
    mutate(&good, 150, 0..good.len(), |bytes| {
        std::fs::write(changed, bytes).unwrap();
        if let Ok(image) = Image::open_with(program, Arc::new(sources())) {
            question(Arc::new(image));
        }
    });
}

#[test]
fn broken_split_files_neither_panic_nor_hang() {
    for (name, version) in [("fuzz_dwo4", "-gdwarf-4"), ("fuzz_dwo5", "-gdwarf-5")] {
        let flags = [version, "-O1", "-gsplit-dwarf", "-fdebug-types-section"];
        let program = compile(name, "fuzz.c", SOURCE, &flags);
        let folder = program.parent().unwrap();
        let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let dwo = files.find(|path| path.extension().is_some_and(|own| own == "dwo")).unwrap();
        let good = std::fs::read(&dwo).unwrap();
        beside(&program, &dwo, DebugSources::default);
        std::fs::write(&dwo, good).unwrap();
        let package = program.with_extension("dwp");
        let packed = Command::new("timeout")
            .arg("20")
            .arg("dwp")
            .arg("-e")
            .arg(&program)
            .arg("-o")
            .arg(&package)
            .output();
        if packed.is_ok_and(|output| output.status.success()) {
            beside(&program, &package, DebugSources::default);
        }
    }
}

#[test]
fn broken_shared_files_neither_panic_nor_hang() {
    if !Path::new("/usr/bin/dwz").exists() {
        return eprintln!("skipped: dwz is not installed");
    }
    let program = compile("fuzz_dwz", "fuzz.c", SOURCE, &["-g", "-O1"]);
    let other = compile("fuzz_dwz_other", "fuzz.c", SOURCE, &["-g", "-O1", "-DOTHER"]);
    let common = program.with_extension("common");
    crate::support::run(Command::new("dwz").arg("-m").arg(&common).arg(&program).arg(&other));
    // The build id must stay, or the file is refused at once.
    let good = std::fs::read(&common).unwrap();
    let first = good.windows(4).position(|window| window == b"GNU\0").unwrap() + 24;
    mutate(&good, 150, first..good.len(), |bytes| {
        std::fs::write(&common, bytes).unwrap();
        question(Arc::new(Image::open(&program).unwrap()));
    });
    std::fs::write(&common, &good).unwrap();
    mutate(&std::fs::read(&program).unwrap(), 100, 0x2000..60_000_usize, exercise);
}

#[test]
fn broken_caches_neither_panic_nor_hang_nor_lie() {
    let program = compile("fuzz_cache", "fuzz.c", SOURCE, &["-g", "-O1", "-Wl,--build-id"]);
    let folder = program.with_file_name("cache");
    let sources = || DebugSources { cache: Some(folder.clone()), ..DebugSources::default() };
    let places = || {
        let mut symbols = Symbols::default();
        let image = Image::open_with(&program, Arc::new(sources())).unwrap();
        symbols.add(Module::at_bias(Arc::new(image), "fuzz", 0));
        ["main", "work", "leaf"]
            .map(|name| symbols.functions(name).iter().map(|own| own.body).collect::<Vec<_>>())
    };
    let expected = places();
    let file = std::fs::read_dir(folder.join("symbols")).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&file).unwrap();
    mutate(&good, 200, 0..good.len(), |bytes| {
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(places(), expected);
    });
}
