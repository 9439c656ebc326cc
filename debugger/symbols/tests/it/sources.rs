//! Debug information outside of the program: separate and shared files, split DWARF, type units, compression.

use crate::support::{Stopped, compile, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use symbols::{DebugSources, ImageCache, Symbols};

const SOURCE: &str = r#"#include <cstdlib>
namespace shop {
struct Item { const char *name; long price; struct Item *next; };
template <typename T> struct Pair { T first; T second; T sum() const { return first + second; } };
enum class Kind { Small = 3, Large };
}
shop::Pair<int> global = {20, 22};
static inline __attribute__((always_inline)) long twice(long n) { volatile long doubled = n * 2; if (doubled == 18) abort(); return doubled; }
__attribute__((noinline)) long total(shop::Item *item, shop::Kind kind) {
    shop::Pair<long> both = {item->price, (long)kind};
    volatile long keep = both.sum();
    return twice(keep) + keep;
}
int main(int argc, char **) {
    shop::Item second = {"nut", 7, nullptr};
    shop::Item first = {"bolt", 5, &second};
    return (int)total(&first, argc ? shop::Kind::Large : shop::Kind::Small);
}
"#;

/// What must be seen of the program, whatever form its debug information has.
fn check(program: PathBuf, cache: std::sync::Arc<ImageCache>) {
    let shown = program.display().to_string();
    let stopped = Stopped::with(program, cache);
    let names = stopped.names("twice");
    assert_eq!(names.get(..3).unwrap_or(&names), ["twice", "total", "main"], "{names:?}");
    let frame = stopped.frame("total");
    assert_eq!(frame.location.line, 12);
    assert!(frame.location.file.as_deref().unwrap().ends_with("shop.cpp"));
    let questions = [
        ("*item", "{name = 0x"),
        ("item->next->price", "7"),
        ("kind", "shop::Kind::Large"),
        ("both", "{first = 5, second = 4}"),
        ("keep", "9"),
        ("global", "{first = 20, second = 22}"),
        ("sizeof(shop::Item)", "24"),
    ];
    for (question, answer) in questions {
        let ours = stopped.print(&frame, question);
        assert!(ours.starts_with(answer), "{shown}: {question}: {ours} instead of {answer}");
    }
    assert_eq!(stopped.print(&stopped.frame("twice"), "n"), "9");
    let main = stopped.symbols.functions("main");
    assert_eq!(main.len(), 1);
    assert_eq!(stopped.symbols.line_addresses("shop.cpp", 11).len(), 1);
    assert!(!stopped.symbols.functions("twice").is_empty());
}

fn check_compiled(name: &str, flags: &[&str]) -> PathBuf {
    let program = compile(name, "shop.cpp", SOURCE, &[&["-O0"], flags].concat());
    check(program.clone(), ImageCache::new());
    program
}

#[test]
fn split_dwarf_is_read_from_dwo_files_and_packages() {
    for version in ["4", "5"] {
        let flag = format!("-gdwarf-{version}");
        let program = check_compiled(&format!("dwo{version}"), &[&flag, "-gsplit-dwarf"]);
        // The same from a package, without the .dwo file.
        let package = program.with_extension("dwp");
        let dwo: Vec<PathBuf> = files_of(&program, "dwo");
        assert!(!dwo.is_empty());
        run(Command::new(packager()).arg("-o").arg(&package).args(&dwo));
        dwo.iter().for_each(|file| std::fs::remove_file(file).unwrap());
        check(program.clone(), ImageCache::new());
        // Without either there are lines still, and a word about what is missing.
        std::fs::remove_file(&package).unwrap();
        let symbols = load(&program);
        assert!(symbols.functions("total").iter().all(|found| found.name.starts_with("total")));
        let image = symbols.modules()[0].image();
        assert!(image.notices().iter().any(|text| text.contains("is not there")), "{:?}", image.notices());
    }
}

/// The newest packager: the old ones know DWARF 4 only.
fn packager() -> &'static str {
    ["/usr/lib/llvm-19/bin/llvm-dwp", "/usr/bin/llvm-dwp"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("dwp")
}

fn files_of(program: &Path, ending: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(program.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|own| own == ending)).collect()
}

fn load(program: &Path) -> Symbols {
    load_from(program, ImageCache::new())
}

fn load_from(program: &Path, cache: std::sync::Arc<ImageCache>) -> Symbols {
    let mut symbols = Symbols::new(cache);
    symbols.add_file(program, "program", 0).unwrap();
    symbols
}

#[test]
fn a_dwo_of_another_build_is_refused() {
    let program = compile("dwo_other", "shop.cpp", SOURCE, &["-O0", "-gdwarf-5", "-gsplit-dwarf"]);
    let dwo = files_of(&program, "dwo").pop().unwrap();
    let other = compile("dwo_another", "shop.cpp", SOURCE, &["-O1", "-gdwarf-5", "-gsplit-dwarf"]);
    std::fs::copy(files_of(&other, "dwo").pop().unwrap(), &dwo).unwrap();
    let symbols = load(&program);
    let total = symbols.functions("total").pop().unwrap();
    assert!(!symbols.location(total.body).has_debug_info);
    let notices = symbols.modules()[0].image().notices();
    assert!(notices.iter().any(|text| text.contains("is not the split debug information")), "{notices:?}");
}

#[test]
fn type_units_are_followed() {
    for version in ["4", "5"] {
        let flag = format!("-gdwarf-{version}");
        check_compiled(&format!("types{version}"), &[&flag, "-fdebug-types-section"]);
        let split = ["-fdebug-types-section", "-gsplit-dwarf"];
        let program = check_compiled(&format!("dwotypes{version}"), &[&[flag.as_str()], &split[..]].concat());
        // No packager at hand takes type units of DWARF 5 as gcc writes them.
        if version == "4" {
            let dwo = files_of(&program, "dwo");
            run(Command::new(packager()).arg("-o").arg(program.with_extension("dwp")).args(&dwo));
            dwo.iter().for_each(|file| std::fs::remove_file(file).unwrap());
            check(program, ImageCache::new());
        }
    }
}

#[test]
fn compressed_sections_are_read() {
    check_compiled("gz", &["-g", "-gz=zlib"]);
    let program = compile("zstd", "shop.cpp", SOURCE, &["-g", "-O0"]);
    for tool in ["/usr/lib/llvm-19/bin/llvm-objcopy", "objcopy"] {
        let mut objcopy = Command::new(tool);
        objcopy.arg("--compress-debug-sections=zstd").arg(&program);
        if objcopy.output().is_ok_and(|output| output.status.success()) {
            return check(program, ImageCache::new());
        }
    }
    eprintln!("skipped: no objcopy here compresses with zstd");
}

#[test]
fn rust_split_debug_information_is_read() {
    const RUST: &str = "pub struct Item { pub price: u64 }\n#[inline(never)] pub fn total(items: &[Item]) -> u64 {\n    items.iter().map(|item| item.price).sum()\n}\nfn main() { println!(\"{}\", total(&[Item { price: 4 }])); }\n";
    for form in ["packed", "unpacked"] {
        let flags = ["-g", "-C", &format!("split-debuginfo={form}")];
        let program = compile(&format!("rust_{form}"), "items.rs", RUST, &flags);
        let symbols = load(&program);
        let total = symbols.functions("items::total");
        assert_eq!(total.len(), 1, "{form}: {:?}", symbols.modules()[0].image().notices());
        let location = symbols.location(total[0].body);
        assert!(location.has_debug_info && location.line == 3, "{form}: {location:?}");
    }
}

/// Two programs whose common debug information is moved to a third file.
fn shared_by_dwz(name: &str, flags: &[&str]) -> Option<(PathBuf, PathBuf)> {
    if !Path::new("/usr/bin/dwz").exists() {
        eprintln!("skipped: dwz is not installed");
        return None;
    }
    let program = compile(name, "shop.cpp", SOURCE, &["-g", "-O0", "-Wl,--build-id"]);
    let other =
        compile(&format!("{name}_other"), "shop.cpp", SOURCE, &["-g", "-O0", "-DOTHER", "-Wl,--build-id"]);
    let common = program.with_extension("common");
    run(Command::new("dwz").args(flags).arg("-m").arg(&common).arg(&program).arg(&other));
    assert!(common.exists());
    Some((program, common))
}

#[test]
fn files_shared_by_dwz_are_followed() {
    for (name, flags) in [("dwz", &[][..]), ("dwz5", &["--dwarf-5"])] {
        let Some((program, common)) = shared_by_dwz(name, flags) else { return };
        check(program.clone(), ImageCache::new());
        if flags.is_empty() {
            // Another program's file under that name is refused, and said.
            let (_, other) = shared_by_dwz(&format!("{name}_wrong"), flags).unwrap();
            let mut bytes = std::fs::read(&other).unwrap();
            let id = bytes.windows(4).position(|window| window == b"GNU\0").unwrap() + 4;
            bytes[id] ^= 0xff;
            std::fs::write(&common, bytes).unwrap();
            let symbols = load(&program);
            assert!(!symbols.functions("total").is_empty());
            let notices = symbols.modules()[0].image().notices();
            assert!(notices.iter().any(|text| text.contains("another build")), "{notices:?}");
        }
        std::fs::remove_file(&common).unwrap();
        let symbols = load(&program);
        symbols.functions("total");
        let notices = symbols.modules()[0].image().notices();
        assert!(notices.iter().any(|text| text.contains("which is not there")), "{notices:?}");
    }
}

fn separate(name: &str, flags: &[&str]) -> (PathBuf, PathBuf) {
    let program = compile(name, "shop.cpp", SOURCE, &[&["-g", "-O0"], flags].concat());
    let debug = program.with_extension("debug");
    run(Command::new("objcopy").arg("--only-keep-debug").arg(&program).arg(&debug));
    let link = format!("--add-gnu-debuglink={}", debug.display());
    run(Command::new("objcopy").arg("--strip-all").arg(link).arg(&program));
    (program, debug)
}

#[test]
fn a_debug_file_with_another_checksum_is_refused() {
    let (program, debug) = separate("crc", &["-Wl,--build-id=none"]);
    assert!(load(&program).modules()[0].image().has_debug_info());
    let mut bytes = std::fs::read(&debug).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&debug, bytes).unwrap();
    let symbols = load(&program);
    let image = symbols.modules()[0].image();
    assert!(!image.has_debug_info());
    assert!(image.notices()[0].contains("its checksum is"), "{:?}", image.notices());
}

#[test]
fn debug_files_are_found_by_build_id_in_other_folders() {
    let (program, debug) = separate("folder", &["-Wl,--build-id=0x0123456789abcdef"]);
    let root = program.parent().unwrap().join("debug-root");
    let place = root.join(".build-id/01/23456789abcdef.debug");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::rename(&debug, &place).unwrap();
    assert!(!load(&program).modules()[0].image().has_debug_info());
    let cache = ImageCache::new();
    cache.look_in(DebugSources { folders: vec![root], ..DebugSources::default() });
    let symbols = load_from(&program, cache.clone());
    assert_eq!(symbols.modules()[0].image().debug_path(), Some(place.as_path()));
    // The name is right, the content is another program's.
    let (_, other) = separate("folder_other", &["-Wl,--build-id=0x0123456789abcdee"]);
    std::fs::copy(other, &place).unwrap();
    let folders = vec![program.parent().unwrap().join("debug-root")];
    cache.look_in(DebugSources { folders, ..DebugSources::default() });
    let image = cache.open(&program).unwrap();
    assert!(!image.has_debug_info());
    assert!(image.notices()[0].contains("belongs to another build"), "{:?}", image.notices());
}

#[test]
fn a_source_newer_than_the_program_is_told() {
    let program = compile("newer", "shop.cpp", SOURCE, &["-g"]);
    let source = program.with_file_name("shop.cpp");
    let cache = ImageCache::new();
    let image = cache.open(&program).unwrap();
    let sources = symbols::Sources::default();
    let path = source.display().to_string();
    assert!(!sources.is_newer(&path, &image));
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options().append(true).open(&source).unwrap().set_modified(later).unwrap();
    assert!(sources.is_newer(&path, &image));
    assert!(!sources.is_newer("/no/such.c", &image));
}
