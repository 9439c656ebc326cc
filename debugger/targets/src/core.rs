//! Core files (core(5), elf(5)): the memory, threads and mappings of a process as it was when it ended.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};
use trace::{Registers, ThreadId};

use crate::notes::{MappedFile, Notes};

/// Why a core file cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// It cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no core file of an x86-64 program ({why})", path.display())]
    NoCore {
        /// The file.
        path: PathBuf,
        /// What it is instead, or what is wrong with it.
        why: String,
    },
}

/// A thread of the process.
#[derive(Clone, Debug)]
pub struct CoreThread {
    /// Its id.
    pub thread: ThreadId,
    /// Its registers.
    pub registers: Registers,
    /// Its extended state, in the standard format of XSAVE; empty when the file has none.
    pub xstate: Vec<u8>,
    /// The signal that ended it, or 0.
    pub signal: i32,
}

/// A part of the address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// `PROT_*` bits.
    pub protection: i32,
    /// The file that is mapped there, and the offset in it.
    pub file: Option<(PathBuf, u64)>,
}

/// Memory that is in the file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: u64,
    end: u64,
    /// How much of it is in the file, from its start.
    filled: u64,
    offset: u64,
    protection: i32,
}

/// A core file.
#[derive(Debug)]
pub struct Core {
    path: PathBuf,
    data: Mmap,
    segments: Vec<Segment>,
    notes: Notes,
    files: Vec<(MappedFile, Option<File>)>,
    executable: Option<PathBuf>,
}

impl Core {
    /// Opens a core file. `executable`: the program, when it is not where it was.
    ///
    /// # Errors
    /// [`CoreError`]. A file that was cut off is taken as far as it goes ([`Core::is_cut_off`]).
    pub fn open(path: &Path, executable: Option<&Path>) -> Result<Core, CoreError> {
        let failed = |source| CoreError::Open { path: path.to_owned(), source };
        let no_core = |why: &str| CoreError::NoCore { path: path.to_owned(), why: why.to_owned() };
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the mapping is private and only read. Whoever cuts the file off meanwhile ends this process with SIGBUS, as
        // with any debugger.
        let data = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let bytes: &[u8] = &data;
        let header =
            elf::FileHeader64::<Endianness>::parse(bytes).map_err(|_| no_core("it is no 64-bit ELF file"))?;
        let endian = header.endian().map_err(|_| no_core("its byte order is not known"))?;
        if header.e_type(endian) != elf::ET_CORE {
            return Err(no_core("it is an ELF file, but no core"));
        }
        if header.e_machine(endian) != elf::EM_X86_64 {
            return Err(no_core("it is of another processor"));
        }
        let headers =
            header.program_headers(endian, bytes).map_err(|_| no_core("its program headers are cut off"))?;
        let (mut segments, mut notes) = (Vec::new(), Notes::default());
        for program in headers {
            match program.p_type(endian) {
                elf::PT_LOAD => segments.push(segment(program, endian)),
                elf::PT_NOTE => {
                    let Ok(Some(mut all)) = program.notes(endian, bytes) else { continue };
                    while let Ok(Some(note)) = all.next() {
                        notes.take(note.n_type(endian), note.name(), note.desc());
                    }
                }
                _ => {}
            }
        }
        if notes.threads.is_empty() {
            return Err(no_core("it has no threads"));
        }
        segments.sort_unstable_by_key(|segment| segment.start);
        let executable = executable.map(Path::to_owned);
        let moved = |file: &MappedFile| match (&executable, &notes.program) {
            (Some(own), Some(program)) if file.path == *program => own.clone(),
            _ => file.path.clone(),
        };
        let files = notes.files.iter().map(|file| {
            let opened = File::open(moved(file)).ok();
            (MappedFile { path: moved(file), ..file.clone() }, opened)
        });
        let files = files.collect();
        Ok(Core { path: path.to_owned(), data, segments, notes, files, executable })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its threads, the one that ended the process first.
    pub fn threads(&self) -> &[CoreThread] {
        &self.notes.threads
    }

    /// The process.
    pub fn process(&self) -> i32 {
        let first = self.notes.threads.first().map_or(0, |thread| thread.thread.0);
        self.notes.process.unwrap_or(first)
    }

    /// The program, as far as the file says, or as it was given.
    pub fn program(&self) -> Option<&Path> {
        self.executable.as_deref().or(self.notes.program.as_deref())
    }

    /// The command line, cut off at 80 bytes as the kernel does.
    pub fn command(&self) -> &str {
        &self.notes.command
    }

    /// Where the vDSO is (vdso(7)).
    pub fn vdso(&self) -> Option<u64> {
        self.notes.vdso
    }

    /// The signal that ended the process, or 0.
    pub fn signal(&self) -> i32 {
        self.notes.threads.first().map_or(0, |thread| thread.signal)
    }

    /// The file ends before what its headers announce: the disk was full, or a limit was reached.
    pub fn is_cut_off(&self) -> bool {
        let len = self.data.len() as u64;
        self.segments.iter().any(|segment| segment.offset.saturating_add(segment.filled) > len)
    }

    /// Mapped files that are not there any more.
    pub fn missing_files(&self) -> Vec<&Path> {
        let missing = self.files.iter().filter(|(_, opened)| opened.is_none());
        let mut paths: Vec<&Path> = missing.map(|(file, _)| file.path.as_path()).collect();
        paths.dedup();
        paths
    }

    /// The address space, in order of address.
    pub fn regions(&self) -> Vec<Region> {
        let of_segment = |segment: &Segment| {
            let inside =
                |file: &&(MappedFile, Option<File>)| (file.0.start..file.0.end).contains(&segment.start);
            let file =
                self.files.iter().find(inside).map(|(file, _)| {
                    (file.path.clone(), file.offset.saturating_add(segment.start - file.start))
                });
            Region { start: segment.start, end: segment.end, protection: segment.protection, file }
        };
        let mut regions: Vec<Region> = self.segments.iter().map(of_segment).collect();
        // What was not dumped at all is known from the list of files alone.
        for (file, _) in &self.files {
            if !self.segments.iter().any(|segment| segment.start < file.end && file.start < segment.end) {
                let place = Some((file.path.clone(), file.offset));
                regions.push(Region {
                    start: file.start,
                    end: file.end,
                    protection: libc::PROT_READ,
                    file: place,
                });
            }
        }
        regions.sort_unstable_by_key(|region| region.start);
        regions
    }

    /// Reads memory from `address` on; returns how much of `buffer` is known. What the kernel left out of the file, as it
    /// is unchanged from a mapped file, is read from that file.
    pub fn read_memory(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = address.wrapping_add(done as u64);
            let read = self.dumped(at, rest).or_else(|| self.mapped(at, rest)).unwrap_or(0);
            if read == 0 {
                break;
            }
            done += read;
        }
        done
    }

    fn dumped(&self, at: u64, buffer: &mut [u8]) -> Option<usize> {
        let after = self.segments.partition_point(|segment| segment.start <= at);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        let left = segment.start.saturating_add(segment.filled).checked_sub(at).filter(|left| *left > 0)?;
        let offset = usize::try_from(segment.offset.checked_add(at - segment.start)?).ok()?;
        let bytes = self.data.get(offset..).filter(|bytes| !bytes.is_empty())?;
        let len = buffer.len().min(bytes.len()).min(usize::try_from(left).unwrap_or(usize::MAX));
        buffer.get_mut(..len)?.copy_from_slice(bytes.get(..len)?);
        Some(len)
    }

    fn mapped(&self, at: u64, buffer: &mut [u8]) -> Option<usize> {
        let (file, opened) = self.files.iter().find(|(file, _)| (file.start..file.end).contains(&at))?;
        let opened = opened.as_ref()?;
        let len = buffer.len().min(usize::try_from(file.end - at).unwrap_or(usize::MAX));
        let offset = file.offset.checked_add(at - file.start)?;
        opened.read_at(buffer.get_mut(..len)?, offset).ok()
    }
}

fn segment(program: &elf::ProgramHeader64<Endianness>, endian: Endianness) -> Segment {
    let start = program.p_vaddr(endian);
    let size = program.p_memsz(endian);
    let flags = program.p_flags(endian);
    let bit = |flag: elf::ProgramFlags, protection| if flags.0 & flag.0 != 0 { protection } else { 0 };
    Segment {
        start,
        end: start.saturating_add(size),
        filled: program.p_filesz(endian).min(size),
        offset: program.p_offset(endian),
        protection: bit(elf::PF_R, libc::PROT_READ)
            | bit(elf::PF_W, libc::PROT_WRITE)
            | bit(elf::PF_X, libc::PROT_EXEC),
    }
}
