//! The recorder's side of the agent: the memory that both share.
//!
//! Only one thread of the recorded processes executes the program's instructions at a time, the one that has the turn; so
//! one control page and one log serve all of them. Registers and a stack each thread has of its own, in its area, because
//! it may wait in a call without the turn. The recorder writes to the control page and to an area while the thread
//! concerned is stopped or does not have the turn; the exception is [`Agent::ask_for_stop`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use agent::{area, control, state, turn};

use crate::sys::shared::Shared;

/// Bytes of the table with the classes of a process's descriptors.
const TABLE_BYTES: u64 = agent::DESCRIPTORS;

/// How many tables there are.
const TABLES: usize = ((agent::LOG_START - agent::CLASSES_START) / TABLE_BYTES) as usize;

/// Offset of the log in the shared memory.
const LOG: u64 = agent::LOG_START - agent::SHARED_START;

/// The area of all threads for which there was none left. Their calls that may wait are left to the recorder.
const COMMON: usize = 0;

pub(crate) struct Agent {
    shared: Shared,
    path: PathBuf,
    /// The table of each process.
    tables: HashMap<i32, usize>,
    used: Vec<bool>,
    /// The area of each thread that has one of its own.
    areas: HashMap<i32, usize>,
    /// The thread of each area.
    threads: Vec<Option<i32>>,
}

/// What the running thread is to be told.
pub(crate) struct Orders {
    /// All its calls are to stop.
    pub(crate) attention: bool,
    /// No other thread is recorded.
    pub(crate) alone: bool,
    /// Files are mapped shared.
    pub(crate) shared_files: bool,
    /// Others wait for the turn that only the recorder can give it to.
    pub(crate) outsiders: bool,
}

/// Who has the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Nobody,
    Recorder,
    Thread(i32),
}

impl Agent {
    /// Makes the shared memory, as a file in the trace's directory.
    pub(crate) fn create(directory: &Path) -> std::io::Result<Agent> {
        let path = std::path::absolute(directory.join("buffer"))?;
        let shared = Shared::create(&path, (agent::SHARED_END - agent::SHARED_START) as usize)?;
        let agent = Agent {
            shared,
            path,
            tables: HashMap::new(),
            used: vec![false; TABLES],
            areas: HashMap::new(),
            threads: vec![None; agent::AREAS as usize],
        };
        agent.shared.set_word(control::TURN, turn::RECORDER);
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

    /// Prepares for a thread that is about to run with the turn.
    pub(crate) fn give_orders(&mut self, thread: i32, process: i32, orders: &Orders) {
        let area = self.area(thread);
        if area == COMMON {
            self.threads[COMMON] = Some(thread);
        }
        let flag = |offset: u64, value: bool| {
            self.shared.u32(offset).store(u32::from(value), Ordering::Release);
        };
        flag(control::ATTENTION, orders.attention || !self.areas.contains_key(&thread));
        flag(control::ALONE, orders.alone);
        flag(control::SHARED_FILES, orders.shared_files);
        flag(control::OUTSIDERS, orders.outsiders);
        let table = self.tables.get(&process);
        let address = table.map_or(0, |index| agent::CLASSES_START + *index as u64 * TABLE_BYTES);
        self.shared.set_word(in_area(area, area::CLASSES), address);
        self.flag_in(area, area::STOPPED, false);
        self.shared.set_word(control::TURN, address_of(area));
    }

    /// Who has the turn. Without having been given it by the recorder, only a thread inside can have taken it.
    pub(crate) fn turn(&self) -> Turn {
        match self.shared.word(control::TURN) {
            turn::NOBODY => Turn::Nobody,
            turn::RECORDER => Turn::Recorder,
            address => {
                let index = (address.saturating_sub(agent::AREAS_START) / agent::AREA_BYTES) as usize;
                self.threads.get(index).copied().flatten().map_or(Turn::Recorder, Turn::Thread)
            }
        }
    }

    /// Takes the turn from a thread that is stopped or has ended, if it has it.
    pub(crate) fn take_turn_from(&self, thread: i32) {
        let _ = self.swap_turn(address_of(self.area(thread)), turn::RECORDER);
    }

    /// Takes the turn if nobody has it. False when a thread has it.
    pub(crate) fn take_turn(&self) -> bool {
        self.swap_turn(turn::NOBODY, turn::RECORDER) || self.shared.word(control::TURN) == turn::RECORDER
    }

    /// Leaves the turn to whoever takes it. False when somebody has come to wait for it just before: then the recorder still
    /// has it.
    pub(crate) fn release_turn(&self) -> bool {
        self.shared.u32(control::ATTENTION).store(0, Ordering::Release);
        self.shared.u32(control::OUTSIDERS).store(0, Ordering::Release);
        self.shared.set_word(control::TURN, turn::NOBODY);
        std::sync::atomic::fence(Ordering::SeqCst);
        self.first_queued().is_none() || !self.swap_turn(turn::NOBODY, turn::RECORDER)
    }

    fn swap_turn(&self, from: u64, to: u64) -> bool {
        let turn = self.shared.u64(control::TURN);
        turn.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Lets a thread look whether it has the turn.
    pub(crate) fn wake(&self, thread: i32) {
        if let Some(area) = self.areas.get(&thread) {
            let word = self.shared.u32(in_area(*area, area::WAKE));
            word.store(1, Ordering::SeqCst);
            crate::sys::shared::wake(word);
        }
    }

    /// The thread inside that has waited longest for the turn.
    pub(crate) fn first_queued(&self) -> Option<i32> {
        if self.shared.word(control::QUEUED) == 0 {
            return None;
        }
        let ticket = |area: &usize| self.shared.word(in_area(*area, area::TICKET));
        let waits =
            |area: &usize| self.state_in(*area) == state::QUEUED && self.flag_of(*area, area::STOPPED) == 0;
        self.areas
            .iter()
            .filter(|(_, area)| waits(area))
            .min_by_key(|(_, area)| ticket(area))
            .map(|(thread, _)| *thread)
    }

    /// Whether threads are in calls without the turn: they may come to wait for it at any time.
    pub(crate) fn anyone_inside(&self) -> bool {
        self.areas.values().any(|area| self.state_in(*area) != state::HELD)
    }

    /// How often a thread inside has taken the turn.
    pub(crate) fn turns(&self) -> u64 {
        self.shared.word(control::TURNS)
    }

    /// The state of a thread ([`agent::state`]).
    pub(crate) fn state(&self, thread: i32) -> u32 {
        self.areas.get(&thread).map_or(state::HELD, |area| self.state_in(*area))
    }

    fn state_in(&self, area: usize) -> u32 {
        self.flag_of(area, area::STATE)
    }

    /// Notes that a thread has given the turn up, which it has not come to say itself.
    pub(crate) fn set_out(&self, thread: i32) {
        if let Some(area) = self.areas.get(&thread) {
            self.shared.u32(in_area(*area, area::STATE)).store(state::OUT, Ordering::SeqCst);
        }
    }

    /// Keeps the turn from a thread inside that is in a stop, or no longer.
    pub(crate) fn set_stopped(&self, thread: i32, stopped: bool) {
        if let Some(area) = self.areas.get(&thread) {
            self.flag_in(*area, area::STOPPED, stopped);
        }
    }

    /// The thread that has given up the turn, whose entry into its call is not in the trace yet.
    pub(crate) fn left(&self) -> Option<i32> {
        let address = self.shared.word(control::LEFT).checked_sub(agent::AREAS_START)?;
        self.threads.get((address / agent::AREA_BYTES) as usize).copied().flatten()
    }

    /// The entry of the thread that has given up the turn is in the trace, or its call has been taken back.
    pub(crate) fn forget_left(&self, announced: bool) {
        if let Some(area) = self.left().and_then(|thread| self.areas.get(&thread)) {
            self.flag_in(*area, area::ANNOUNCED, announced);
        }
        self.shared.set_word(control::LEFT, 0);
    }

    /// Whether the trace says that a thread inside has entered its call.
    pub(crate) fn is_announced(&self, thread: i32) -> bool {
        self.areas.get(&thread).is_some_and(|area| self.flag_of(*area, area::ANNOUNCED) != 0)
    }

    /// A thread that is stopped is brought out of the agent, with the turn: what it left there is put in order. Says
    /// whether its entry is in the trace.
    pub(crate) fn bring_out(&self, thread: i32) -> bool {
        let Some(area) = self.areas.get(&thread) else { return false };
        if self.left() == Some(thread) {
            self.shared.set_word(control::LEFT, 0);
        }
        if self.state_in(*area) == state::QUEUED {
            self.shared.u64(control::QUEUED).fetch_sub(1, Ordering::SeqCst);
        }
        let reserved = self.shared.u64(in_area(*area, area::RESERVED)).swap(0, Ordering::SeqCst);
        self.shared.u64(control::RESERVED).fetch_sub(reserved, Ordering::SeqCst);
        self.shared.u32(in_area(*area, area::STATE)).store(state::HELD, Ordering::SeqCst);
        self.flag_in(*area, area::STOPPED, false);
        self.shared.u32(in_area(*area, area::ANNOUNCED)).swap(0, Ordering::SeqCst) != 0
    }

    /// Has a thread that is inside without the turn make its time stamp counter trap before it goes on.
    pub(crate) fn trap_counter(&self, thread: i32) {
        if let Some(area) = self.areas.get(&thread) {
            self.flag_in(*area, area::TRAP_COUNTER, true);
        }
    }

    /// Has a thread that is inside without the turn stop behind its call.
    pub(crate) fn ask_for_report(&self, thread: i32) {
        if let Some(area) = self.areas.get(&thread) {
            self.flag_in(*area, area::REPORT, true);
        }
    }

    /// A thread need not stop behind its call any more.
    pub(crate) fn forget_report(&self, thread: i32) {
        if let Some(area) = self.areas.get(&thread) {
            self.flag_in(*area, area::REPORT, false);
        }
    }

    /// Asks the running thread to stop at its next call.
    pub(crate) fn ask_for_stop(&self) {
        self.shared.u32(control::ATTENTION).store(1, Ordering::Release);
    }

    /// Tells threads inside that another waits for the turn whom they cannot give it to.
    pub(crate) fn note_outsider(&self) {
        self.shared.u32(control::OUTSIDERS).store(1, Ordering::Release);
    }

    /// Whether the thread is to stop behind the call that it is in.
    pub(crate) fn set_pause(&self, pause: bool) {
        self.shared.u32(control::PAUSE).store(u32::from(pause), Ordering::Release);
    }

    /// The call that the agent has paused behind is not in the log; forgets that.
    pub(crate) fn take_unlogged(&self, thread: i32) -> bool {
        self.shared.u32(in_area(self.area(thread), area::UNLOGGED)).swap(0, Ordering::AcqRel) != 0
    }

    /// How far the call is ([`agent::stage`]).
    pub(crate) fn stage(&self, thread: i32) -> u32 {
        self.flag_of(self.area(thread), area::STAGE)
    }

    /// Address of the data of the hook through which the agent was entered.
    pub(crate) fn hook(&self, thread: i32) -> u64 {
        self.shared.word(in_area(self.area(thread), area::HOOK))
    }

    /// What the call returned.
    pub(crate) fn result(&self, thread: i32) -> i64 {
        self.shared.word(in_area(self.area(thread), area::RESULT)) as i64
    }

    /// The registers at the call. What the recorder's own single steps do to the flags is left out.
    pub(crate) fn saved(&self, thread: i32) -> [u64; trace::SAVED_REGISTERS] {
        const TRAP_FLAG: u64 = 1 << 8;
        const RFLAGS: usize = 13;
        let area = self.area(thread);
        let mut saved = [0; trace::SAVED_REGISTERS];
        for (index, register) in saved.iter_mut().enumerate() {
            *register = self.shared.word(in_area(area, area::SAVED + 8 * index as u64));
        }
        saved[RFLAGS] &= !TRAP_FLAG;
        saved
    }

    /// There is something in the log.
    pub(crate) fn has_records(&self) -> bool {
        self.shared.word(control::HEAD) != 0
    }

    /// Takes what is new in the log into a buffer. Nobody is writing to it.
    pub(crate) fn take(&self, buffer: &mut Vec<u8>) {
        let bytes = self.shared.word(control::HEAD).min(agent::SHARED_END - agent::LOG_START);
        self.shared.set_word(control::HEAD, 0);
        self.shared.set_word(control::COUNT, 0);
        self.shared.copy_to(LOG, bytes as usize, buffer);
    }

    /// The thread that has an area.
    pub(crate) fn thread_of(&self, area: usize) -> Option<i32> {
        self.threads.get(area).copied().flatten()
    }

    /// Gives a thread an area of its own, if there is one.
    pub(crate) fn begin_thread(&mut self, thread: i32) {
        let free = self.threads.iter().skip(COMMON + 1).position(Option::is_none);
        let Some(area) = free.map(|index| index + COMMON + 1) else { return };
        self.shared.write(in_area(area, 0), &[0; area::SAVED as usize]);
        self.threads[area] = Some(thread);
        self.areas.insert(thread, area);
        let used = self.shared.u32(control::AREAS_USED);
        used.fetch_max(area as u32 + 1, Ordering::SeqCst);
    }

    /// Forgets a thread.
    pub(crate) fn end_thread(&mut self, thread: i32) {
        self.take_turn_from(thread);
        self.bring_out(thread);
        if let Some(area) = self.areas.remove(&thread) {
            self.threads[area] = None;
        }
        if self.threads[COMMON] == Some(thread) {
            self.threads[COMMON] = None;
        }
    }

    /// A thread goes on under another id.
    pub(crate) fn rename_thread(&mut self, from: i32, to: i32) {
        if let Some(area) = self.areas.remove(&from) {
            self.threads[area] = Some(to);
            self.areas.insert(to, area);
        }
        if self.threads[COMMON] == Some(from) {
            self.threads[COMMON] = Some(to);
        }
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

    fn area(&self, thread: i32) -> usize {
        self.areas.get(&thread).copied().unwrap_or(COMMON)
    }

    fn flag_of(&self, area: usize, offset: u64) -> u32 {
        self.shared.u32(in_area(area, offset)).load(Ordering::SeqCst)
    }

    fn flag_in(&self, area: usize, offset: u64, value: bool) {
        self.shared.u32(in_area(area, offset)).store(u32::from(value), Ordering::SeqCst);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // All of the log has become events.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Address of an area, as the programs see it.
fn address_of(area: usize) -> u64 {
    agent::AREAS_START + area as u64 * agent::AREA_BYTES
}

/// Offset in the shared memory of a field of an area.
fn in_area(area: usize, offset: u64) -> u64 {
    address_of(area) - agent::SHARED_START + offset
}

fn table_offset(index: usize) -> u64 {
    agent::CLASSES_START - agent::SHARED_START + index as u64 * TABLE_BYTES
}
