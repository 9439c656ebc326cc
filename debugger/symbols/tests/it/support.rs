//! Compiles programs, makes core files of them, and reads those as memory and registers.

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, elf};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use symbols::{Context, Format, Frame, ImageCache, Mapping, Memory, Registers, Symbols, Unreadable};

pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Core files are large, and nothing runs at the end of a test process: what others left goes now.
        for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix("symbols-").map(|id| Path::new("/proc").join(id));
            if owner.is_some_and(|owner| !owner.exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let own = all.join(format!("symbols-{}", std::process::id()));
        std::fs::create_dir_all(&own).unwrap();
        own
    })
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Compiles a program; the language is told from the file's ending. `name` makes the files of tests distinct.
pub(crate) fn compile(name: &str, file: &str, source: &str, flags: &[&str]) -> PathBuf {
    let folder = folder().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(file);
    std::fs::write(&path, source).unwrap();
    let out = folder.join("program");
    let compiler = match path.extension().and_then(|ending| ending.to_str()) {
        Some("rs") => "rustc",
        Some("cpp") => "g++",
        _ => "gcc",
    };
    run(Command::new(compiler).current_dir("/").args(flags).arg(&path).arg("-o").arg(&out));
    out
}

/// A process that stopped itself with `abort`, as a core file holds it.
pub(crate) struct Stopped {
    pub(crate) program: PathBuf,
    pub(crate) core: PathBuf,
    segments: Vec<(u64, Vec<u8>)>,
    files: Vec<(Mapping, Vec<u8>)>,
    pub(crate) registers: Registers,
    /// Of all threads, in the order of the core.
    pub(crate) threads: Vec<Registers>,
    pub(crate) symbols: Symbols,
}

impl Memory for Stopped {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        for (index, byte) in buf.iter_mut().enumerate() {
            let at = addr.wrapping_add(index as u64);
            *byte = self.byte(at).ok_or(Unreadable { addr })?;
        }
        Ok(())
    }
}

impl Stopped {
    fn byte(&self, at: u64) -> Option<u8> {
        let inside =
            |start: u64, bytes: &[u8]| bytes.get(usize::try_from(at.checked_sub(start)?).ok()?).copied();
        let dumped = self.segments.iter().find_map(|(start, bytes)| inside(*start, bytes));
        let mapped = || {
            self.files
                .iter()
                .filter(|(mapping, _)| (mapping.start..mapping.end).contains(&at))
                .find_map(|(mapping, bytes)| inside(mapping.start.wrapping_sub(mapping.offset), bytes))
        };
        dumped.or_else(mapped)
    }

    /// Runs the program to its end under gdb and reads the core.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self::with(program, cache())
    }

    /// The same with files of another cache; a core that was made before is read again.
    pub(crate) fn with(program: PathBuf, cache: Arc<ImageCache>) -> Self {
        let core = program.with_extension("core");
        if core.exists() {
            return Self::read_core(program, core, cache);
        }
        let generate = format!("generate-core-file {}", core.display());
        // Only as a program, not for its symbols: old versions hang on some forms of debug information.
        let program_only = format!("exec-file {}", program.display());
        let mut gdb = Command::new("timeout");
        gdb.args([
            "60",
            "gdb",
            "-nx",
            "-batch",
            "-ex",
            "set debuginfod enabled off",
            "-ex",
            "handle SIGUSR1 nostop noprint pass",
            "-ex",
            &program_only,
            "-ex",
            "run",
            "-ex",
            &generate,
        ]);
        run(&mut gdb);
        Self::read_core(program, core, cache)
    }

    fn read_core(program: PathBuf, core: PathBuf, cache: Arc<ImageCache>) -> Self {
        let data = std::fs::read(&core).unwrap();
        let file = ElfFile64::<Endianness>::parse(&*data).unwrap();
        let (endian, bytes) = (file.endian(), data.as_slice());
        let (mut segments, mut files, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for header in file.elf_header().program_headers(endian, bytes).unwrap() {
            if header.p_type(endian) == elf::PT_LOAD {
                segments.push((header.p_vaddr(endian), header.data(endian, bytes).unwrap().to_vec()));
            }
            let Ok(Some(mut notes)) = header.notes(endian, bytes) else { continue };
            while let Ok(Some(note)) = notes.next() {
                match note.n_type(endian).0 {
                    1 => threads.push(prstatus(note.desc())),
                    0x4649_4c45 => files = mappings(note.desc()),
                    _ => {}
                }
            }
        }
        let mappings: Vec<Mapping> = files.iter().map(|(mapping, _)| mapping.clone()).collect();
        let (symbols, errors) = Symbols::from_mappings(cache, &mappings);
        assert!(errors.is_empty(), "{errors:?}");
        Self { program, core, segments, files, registers: threads[0].clone(), threads, symbols }
    }

    pub(crate) fn frames(&self) -> Vec<Frame> {
        self.symbols.frames(&self.registers, self)
    }

    /// The first frame of this function.
    pub(crate) fn frame(&self, name: &str) -> Frame {
        let frames = self.frames();
        let names: Vec<_> = frames.iter().map(|frame| frame.location.function.clone()).collect();
        let found = frames.into_iter().find(|frame| {
            frame
                .location
                .function
                .as_deref()
                .is_some_and(|own| own == name || own.ends_with(&format!("::{name}")))
        });
        found.unwrap_or_else(|| panic!("no frame {name} in {names:?}"))
    }

    pub(crate) fn print(&self, frame: &Frame, text: &str) -> String {
        let context = Context::new(&self.symbols, self, Some(frame));
        match context.eval(text) {
            Ok(value) => context.format(&value, Format::Natural),
            Err(error) => format!("error at {}: {error}", error.column),
        }
    }

    /// What gdb says to some commands about the same core.
    pub(crate) fn gdb(&self, commands: &[&str]) -> String {
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "set print address on"]);
        gdb.args(commands.iter().flat_map(|command| ["-ex", command]));
        run(gdb.arg(&self.program).arg(&self.core))
    }

    /// The command that selects a function's frame: gdb counts tail calls as frames, so numbers differ.
    pub(crate) fn gdb_select(&self, name: &str) -> String {
        let text = self.gdb(&["bt"]);
        let wanted = [format!(" in {name} ("), format!("  {name} (")];
        let line =
            text.lines().find(|line| line.starts_with('#') && wanted.iter().any(|own| line.contains(own)));
        let number: String = line
            .unwrap_or_else(|| panic!("{text}"))
            .chars()
            .skip(1)
            .take_while(char::is_ascii_digit)
            .collect();
        format!("frame {number}")
    }

    /// Names of gdb's backtrace, from the frame of `from` on: below it are the C library's own.
    pub(crate) fn gdb_names(&self, from: &str) -> Vec<String> {
        let text = self.gdb(&["bt"]);
        let lines = text.lines().filter(|line| line.starts_with('#'));
        let names = lines.map(|line| {
            let rest = line.split_once(' ').unwrap().1.trim();
            let rest = rest
                .split_once(" in ")
                .filter(|(before, _)| before.starts_with("0x"))
                .map_or(rest, |cut| cut.1);
            rest.split(" (").next().unwrap().to_owned()
        });
        names.skip_while(|name| name != from).collect()
    }

    pub(crate) fn names(&self, from: &str) -> Vec<String> {
        let names =
            self.frames().into_iter().map(|frame| frame.location.function.unwrap_or_default().to_string());
        names.skip_while(|name| name != from).collect()
    }
}

pub(crate) fn cache() -> Arc<ImageCache> {
    static CACHE: OnceLock<Arc<ImageCache>> = OnceLock::new();
    Arc::clone(CACHE.get_or_init(ImageCache::new))
}

fn word(bytes: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().unwrap())
}

fn prstatus(desc: &[u8]) -> Registers {
    let mut user = [0; 27];
    user.iter_mut().enumerate().for_each(|(index, slot)| *slot = word(&desc[112..], index));
    Registers::from_user_regs(&user)
}

fn mappings(desc: &[u8]) -> Vec<(Mapping, Vec<u8>)> {
    let (count, page) = (word(desc, 0) as usize, word(desc, 1));
    let names = desc[16 + count * 24..].split(|&byte| byte == 0);
    let all = names.take(count).enumerate().map(|(index, name)| {
        let file = PathBuf::from(String::from_utf8_lossy(name).into_owned());
        let at = 2 + index * 3;
        let (start, end, offset) = (word(desc, at), word(desc, at + 1), word(desc, at + 2) * page);
        let bytes = std::fs::read(&file).unwrap_or_default();
        (Mapping { start, end, offset, name: file.clone(), file }, bytes)
    });
    all.collect()
}
