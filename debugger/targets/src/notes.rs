//! The notes of a core file (elf(5); `fs/binfmt_elf.c` and `include/linux/elfcore.h` of Linux): threads and mapped files.

use std::path::PathBuf;

use object::elf;
use trace::{Registers, ThreadId};

use crate::CoreThread;

/// `NT_FILE`: the mapped files.
const NT_FILE: elf::NoteType = elf::NoteType(0x4649_4c45);

/// `NT_X86_XSTATE`: the extended state of the thread before it.
const NT_X86_XSTATE: elf::NoteType = elf::NoteType(0x202);

/// Threads and files of one core at most.
const ENTRIES_MAX: usize = 1 << 20;

/// A file that was mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappedFile {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// In bytes.
    pub(crate) offset: u64,
    pub(crate) path: PathBuf,
}

/// What the notes say.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) threads: Vec<CoreThread>,
    pub(crate) files: Vec<MappedFile>,
    pub(crate) process: Option<i32>,
    pub(crate) command: String,
    pub(crate) program: Option<PathBuf>,
    /// Where the vDSO is.
    pub(crate) vdso: Option<u64>,
    /// Where the program begins.
    entry: Option<u64>,
}

impl Notes {
    /// Takes a note. What is too short is left out.
    pub(crate) fn take(&mut self, kind: elf::NoteType, name: &[u8], desc: &[u8]) {
        match kind {
            elf::NT_PRSTATUS if name.starts_with(b"CORE") => self.threads.extend(thread(desc)),
            elf::NT_PRPSINFO => self.process_info(desc),
            NT_FILE => {
                self.files = files(desc).unwrap_or_default();
                self.find_program();
            }
            elf::NT_AUXV => {
                self.entry = auxiliary(desc, libc::AT_ENTRY);
                self.vdso = auxiliary(desc, libc::AT_SYSINFO_EHDR);
                self.find_program();
            }
            NT_X86_XSTATE => {
                if let Some(last) = self.threads.last_mut() {
                    last.xstate = desc.to_vec();
                }
            }
            _ => {}
        }
    }

    /// `struct elf_prpsinfo`.
    fn process_info(&mut self, desc: &[u8]) {
        const PID: usize = 24;
        const COMMAND: usize = 56;
        self.process = word32(desc, PID).map(|pid| pid as i32);
        let text = desc.get(COMMAND..).unwrap_or_default();
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        self.command = String::from_utf8_lossy(text).trim_end().to_owned();
    }

    /// The program is the file whose mapping holds its entry.
    fn find_program(&mut self) {
        let holds =
            |file: &&MappedFile| self.entry.is_some_and(|entry| (file.start..file.end).contains(&entry));
        let found = self.files.iter().find(holds).or(self.files.first());
        self.program = found.map(|file| file.path.clone());
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// `struct elf_prstatus`.
fn thread(desc: &[u8]) -> Option<CoreThread> {
    const SIGNAL: usize = 12;
    const THREAD: usize = 32;
    const REGISTERS: usize = 112;
    let mut words = [0; 27];
    for (index, slot) in words.iter_mut().enumerate() {
        *slot = word(desc, REGISTERS + 8 * index)?;
    }
    let signal = u16::from_le_bytes(desc.get(SIGNAL..SIGNAL + 2)?.try_into().ok()?);
    Some(CoreThread {
        thread: ThreadId(word32(desc, THREAD)? as i32),
        registers: Registers::from_words(words),
        xstate: Vec::new(),
        signal: signal.into(),
    })
}

/// `NT_FILE`: count, page size, then start, end and offset in pages of each, then their names.
fn files(desc: &[u8]) -> Option<Vec<MappedFile>> {
    let (count, page) = (usize::try_from(word(desc, 0)?).ok()?, word(desc, 8)?);
    if count > ENTRIES_MAX || count > desc.len() / 24 {
        return None;
    }
    let names = desc.get(16 + 24 * count..)?;
    let mut found = Vec::new();
    for (index, name) in names.split(|byte| *byte == 0).take(count).enumerate() {
        let at = 16 + 24 * index;
        let (start, end) = (word(desc, at)?, word(desc, at + 8)?);
        let offset = word(desc, at + 16)?.saturating_mul(page);
        let name = String::from_utf8_lossy(name).into_owned();
        let path = PathBuf::from(name.trim_end_matches(" (deleted)"));
        if start < end {
            found.push(MappedFile { start, end, offset, path });
        }
    }
    Some(found)
}

/// An entry of the auxiliary vector (getauxval(3)).
fn auxiliary(desc: &[u8], kind: u64) -> Option<u64> {
    let pairs = desc.as_chunks::<16>().0.iter();
    let found = pairs.into_iter().find(|pair| word(*pair, 0) == Some(kind));
    found.and_then(|pair| word(pair, 8))
}
