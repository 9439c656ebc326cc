//! The recorder's side of the agent: the memory that both share.
//!
//! Only one thread of the recorded processes runs at a time, so one control page and one log serve all of them. The
//! recorder writes to the control page while that thread is stopped; the exception is [`Agent::ask_for_stop`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use agent::control;

use crate::sys::shared::Shared;

/// Bytes of the table with the classes of a process's descriptors.
const TABLE_BYTES: u64 = agent::DESCRIPTORS;

/// How many tables there are.
const TABLES: usize = ((agent::LOG_START - agent::CLASSES_START) / TABLE_BYTES) as usize;

/// Offset of the log in the shared memory.
const LOG: u64 = agent::LOG_START - agent::SHARED_START;

/// Some of the log, all of one thread.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Number of records.
    pub(crate) count: u64,
    /// How much the calls wrote, in bytes.
    pub(crate) data: u64,
}

pub(crate) struct Agent {
    shared: Shared,
    path: PathBuf,
    /// The table of each process.
    tables: HashMap<i32, usize>,
    used: Vec<bool>,
}

/// What the running thread is to be told.
pub(crate) struct Orders {
    /// All its calls are to stop.
    pub(crate) attention: bool,
    /// No other thread is recorded.
    pub(crate) alone: bool,
    /// Files are mapped shared.
    pub(crate) shared_files: bool,
    pub(crate) process: i32,
}

impl Agent {
    /// Makes the shared memory, as a file in the trace's directory.
    pub(crate) fn create(directory: &Path) -> std::io::Result<Agent> {
        let path = std::path::absolute(directory.join("buffer"))?;
        let shared = Shared::create(&path, (agent::SHARED_END - agent::SHARED_START) as usize)?;
        let agent = Agent { shared, path, tables: HashMap::new(), used: vec![false; TABLES] };
        agent.describe_files();
        Ok(agent)
    }

    /// Path of the file, for the programs to map.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn describe_files(&self) {
        use std::os::unix::fs::MetadataExt;
        let describe = |path: &str, offset: u64, words: usize| {
            let meta = std::fs::metadata(path);
            let values = meta.map_or([u64::MAX; 2], |meta| [meta.dev(), meta.ino()]);
            for (index, value) in values.iter().take(words).enumerate() {
                self.shared.set_word(offset + 8 * index as u64, *value);
            }
        };
        describe("/proc", control::PROC_DEVICE, 1);
        describe("/proc/self/fd/1", control::OUTPUT, 2);
        describe("/proc/self/fd/2", control::OUTPUT + 16, 2);
    }

    /// Prepares for a thread that is about to run.
    pub(crate) fn give_orders(&mut self, orders: &Orders) {
        let flag = |offset: u64, value: bool| {
            self.shared.u32(offset).store(u32::from(value), Ordering::Release);
        };
        flag(control::ATTENTION, orders.attention);
        flag(control::ALONE, orders.alone);
        flag(control::SHARED_FILES, orders.shared_files);
        let table = self.tables.get(&orders.process);
        let address = table.map_or(0, |index| agent::CLASSES_START + *index as u64 * TABLE_BYTES);
        self.shared.set_word(control::CLASSES, address);
    }

    /// Asks the running thread to stop at its next call.
    pub(crate) fn ask_for_stop(&self) {
        self.shared.u32(control::ATTENTION).store(1, Ordering::Release);
    }

    /// Whether the thread is to stop behind the call that it is in.
    pub(crate) fn set_pause(&self, pause: bool) {
        self.shared.u32(control::PAUSE).store(u32::from(pause), Ordering::Release);
    }

    /// The call that the agent has paused behind is not in the log; forgets that.
    pub(crate) fn take_unlogged(&self) -> bool {
        self.shared.u32(control::UNLOGGED).swap(0, Ordering::AcqRel) != 0
    }

    /// How far the call is ([`agent::stage`]).
    pub(crate) fn stage(&self) -> u32 {
        self.shared.u32(control::STAGE).load(Ordering::Acquire)
    }

    /// Address of the data of the hook through which the agent was entered.
    pub(crate) fn hook(&self) -> u64 {
        self.shared.word(control::HOOK)
    }

    /// What the call returned.
    pub(crate) fn result(&self) -> i64 {
        self.shared.word(control::RESULT) as i64
    }

    /// The registers at the call. What the recorder's own single steps do to the flags is left out.
    pub(crate) fn saved(&self) -> [u64; trace::SAVED_REGISTERS] {
        const TRAP_FLAG: u64 = 1 << 8;
        const RFLAGS: usize = 13;
        let mut saved = [0; trace::SAVED_REGISTERS];
        for (index, register) in saved.iter_mut().enumerate() {
            *register = self.shared.word(control::SAVED + 8 * index as u64);
        }
        saved[RFLAGS] &= !TRAP_FLAG;
        saved
    }

    /// There is something in the log.
    pub(crate) fn has_records(&self) -> bool {
        self.shared.word(control::HEAD) != 0
    }

    /// Takes what is new in the log, of a thread that is stopped.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        let bytes = self.shared.word(control::HEAD).min(agent::SHARED_END - agent::LOG_START);
        if bytes == 0 {
            return None;
        }
        let count = self.shared.word(control::COUNT);
        let data = self.shared.word(control::DATA);
        let batch = Batch { bytes: self.shared.copy(LOG, bytes as usize), count, data };
        for offset in [control::HEAD, control::COUNT, control::DATA] {
            self.shared.set_word(offset, 0);
        }
        Some(batch)
    }

    /// Gives a process a table of its own, copied from `parent`'s.
    pub(crate) fn begin_process(&mut self, process: i32, parent: Option<i32>) {
        let Some(free) = self.used.iter().position(|used| !used) else { return };
        self.used[free] = true;
        self.tables.insert(process, free);
        let parent = parent.and_then(|parent| self.tables.get(&parent));
        let table = match parent {
            Some(index) => self.shared.copy(table_offset(*index), TABLE_BYTES as usize),
            None => vec![0; TABLE_BYTES as usize],
        };
        self.shared.write(table_offset(free), &table);
    }

    /// Forgets a process.
    pub(crate) fn end_process(&mut self, process: i32) {
        if let Some(index) = self.tables.remove(&process) {
            self.used[index] = false;
        }
    }

    /// Forgets what is known of a process's descriptors.
    pub(crate) fn forget_descriptors(&mut self, process: i32) {
        if let Some(index) = self.tables.get(&process) {
            self.shared.write(table_offset(*index), &[0; TABLE_BYTES as usize]);
        }
    }

    /// The class of a descriptor; `None` where it cannot have one.
    pub(crate) fn class(&self, process: i32, descriptor: u64) -> Option<u8> {
        let at = self.class_offset(process, descriptor)?;
        self.shared.copy(at, 1).first().copied()
    }

    /// Sets the class of a descriptor ([`agent::class`]).
    pub(crate) fn set_class(&mut self, process: i32, descriptor: u64, class: u8) {
        if let Some(at) = self.class_offset(process, descriptor) {
            self.shared.write(at, &[class]);
        }
    }

    fn class_offset(&self, process: i32, descriptor: u64) -> Option<u64> {
        let descriptor = u64::from(descriptor as u32);
        let index = self.tables.get(&process)?;
        (descriptor < agent::DESCRIPTORS).then(|| table_offset(*index) + descriptor)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // All of the log has become events.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn table_offset(index: usize) -> u64 {
    agent::CLASSES_START - agent::SHARED_START + index as u64 * TABLE_BYTES
}
