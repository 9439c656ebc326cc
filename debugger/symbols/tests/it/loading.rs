//! The index by name: progress, interruption, and the cache on disk.

use crate::support::compile;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use symbols::{DebugSources, ImageCache, Interrupted, Symbols};

const SOURCE: &str = "#include <map>\n#include <string>\nstd::map<std::string, int> all;\nint add(const char *name) { return all[name]++; }\nint main(int, char **argv) { return add(argv[0]); }\n";

fn open(program: &Path, cache: Option<PathBuf>) -> Symbols {
    let images = ImageCache::new();
    images.look_in(DebugSources { cache, ..DebugSources::default() });
    let mut symbols = Symbols::new(images);
    symbols.add_file(program, "program", 0).unwrap();
    symbols
}

/// What questions by name and by address answer.
fn answers(symbols: &Symbols) -> String {
    let named = |name| {
        let found = symbols.functions(name).into_iter().map(|found| (found.name.to_string(), found.body));
        found.collect::<Vec<_>>()
    };
    let add = symbols.functions("add").first().map_or(0, |found| found.body);
    format!("{:?} {:?} {:?} {}", named("add"), named("main"), named("find"), symbols.location(add).line)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder.join("symbols")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_cache_is_private_used_and_mended() {
    let program = compile("cached", "cached.cpp", SOURCE, &["-g", "-O0", "-Wl,--build-id"]);
    let folder = program.with_file_name("cache");
    let expected = answers(&open(&program, None));
    assert_eq!(answers(&open(&program, Some(folder.clone()))), expected);
    let file = files(&folder).pop().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&folder.join("symbols"))), (0o600, 0o700));
    // From the cache nothing is read anew, so there is no progress to show.
    let images = ImageCache::new();
    images.look_in(DebugSources { cache: Some(folder.clone()), ..DebugSources::default() });
    let mut symbols = Symbols::new(images.clone());
    symbols.add_file(&program, "program", 0).unwrap();
    assert_eq!(answers(&symbols), expected);
    assert_eq!(images.progress().bytes(), (0, 0));
    // Whatever happens to the file: the answers stay, and the file is made anew.
    let good = std::fs::read(&file).unwrap();
    let damaged = [
        Vec::new(),
        good[..good.len() / 2].to_vec(),
        [&good[..], &[0; 20]].concat(),
        good.iter().enumerate().map(|(at, byte)| if at == 60 { byte ^ 1 } else { *byte }).collect(),
        good.iter().enumerate().map(|(at, byte)| if at == 9 { byte ^ 1 } else { *byte }).collect(),
        vec![0xff; good.len()],
    ];
    for bytes in damaged {
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(answers(&open(&program, Some(folder.clone()))), expected);
        assert_eq!(std::fs::read(&file).unwrap(), good);
    }
    assert_eq!(files(&folder).len(), 1, "no temporary files stay");
    // Where nothing can be written, it works without.
    assert_eq!(answers(&open(&program, Some(PathBuf::from("/proc/no")))), expected);
}

#[test]
fn another_build_is_not_answered_from_the_cache() {
    let flags = ["-g", "-O0", "-Wl,--build-id=0x11223344"];
    let program = compile("rebuilt", "cached.cpp", SOURCE, &flags);
    let folder = program.with_file_name("cache");
    answers(&open(&program, Some(folder.clone())));
    // The same build id, other content: only the headers tell.
    let changed = SOURCE.replace("int main", "int before(int n) { return n; }\nint main");
    let program = compile("rebuilt", "cached.cpp", &changed, &flags);
    let symbols = open(&program, Some(folder));
    assert_eq!(symbols.functions("before").len(), 1);
    assert_eq!(answers(&symbols), answers(&open(&program, None)));
}

#[test]
fn loading_can_be_interrupted_and_shows_progress() {
    let program = compile("progress", "cached.cpp", SOURCE, &["-g", "-O0"]);
    let images = ImageCache::new();
    let mut symbols = Symbols::new(images.clone());
    symbols.add_file(&program, "program", 0).unwrap();
    images.progress().interrupt();
    assert_eq!(symbols.load(), Err(Interrupted));
    assert!(symbols.globals("all").is_empty());
    assert_eq!(images.progress().bytes(), (0, 0));
    images.progress().resume();
    assert_eq!(symbols.load(), Ok(()));
    let (done, total) = images.progress().bytes();
    assert!(done == total && total > 10_000, "{done} of {total}");
    assert!(!symbols.functions("add").is_empty());
}

#[test]
fn what_depends_on_split_files_is_not_cached() {
    let program =
        compile("cached_dwo", "cached.cpp", SOURCE, &["-g", "-O0", "-gsplit-dwarf", "-Wl,--build-id"]);
    let folder = program.with_file_name("cache");
    let mut files = std::fs::read_dir(program.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let dwo = files.find(|path| path.extension().is_some_and(|own| own == "dwo")).unwrap();
    let away = program.with_file_name("away");
    std::fs::rename(&dwo, &away).unwrap();
    assert!(open(&program, Some(folder.clone())).globals("all").is_empty());
    std::fs::rename(&away, &dwo).unwrap();
    assert_eq!(open(&program, Some(folder)).globals("all").len(), 1);
}
