//! What a recording consists of. Each [`Event`] is one input to the program; between two events everything is
//! deterministic (DESIGN.md §3), so nothing is stored for it.

use serde::{Deserialize, Serialize};

use crate::Registers;

/// The kernel's thread id at recording. Replay never uses it as a real id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ThreadId(pub i32);

/// An address space, numbered from 0 in the order of creation; also the event stream that it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SpaceId(pub u32);

impl std::fmt::Display for ThreadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for SpaceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A piece of the data stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRef {
    /// Offset in the uncompressed data stream, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Bytes that an event puts into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// First address.
    pub addr: u64,
    /// What is written.
    pub data: DataRef,
}

/// One input to the program.
///
/// Events of all address spaces lie in one file, each marked with its stream. An event's number is its edge to
/// the other streams: it happens after every event with a smaller number.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The address space whose stream this event belongs to.
    pub space: SpaceId,
    /// The thread that it happens to.
    pub thread: ThreadId,
    /// Recorded time since the start of the recording, in nanoseconds.
    pub time_ns: u64,
    /// The thread's registers when the event begins; replay must arrive with the same ones.
    pub registers: Registers,
    /// What happens.
    pub kind: EventKind,
}

/// What happens at an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventKind {
    /// A system call, from entry to return, during which nobody else ran.
    Syscall {
        /// rax on return.
        result: i64,
        /// Memory that the kernel wrote.
        writes: Vec<Write>,
        /// What it did to the address space or the threads.
        effect: Effect,
    },
    /// A system call is entered and waits in the kernel while other threads run.
    SyscallEnter,
    /// The return of a call that [`EventKind::SyscallEnter`] began.
    SyscallExit {
        /// rax on return.
        result: i64,
        /// Memory that the kernel wrote.
        writes: Vec<Write>,
        /// What it did to the address space or the threads.
        effect: Effect,
    },
    /// A call was interrupted and goes back to its instruction, with this number in rax (signal(7), "Interruption
    /// of system calls").
    SyscallRestart {
        /// The number of the call, or that of restart_syscall(2).
        rax: u64,
    },
    /// An instruction whose result is an input, served by the recorder.
    Instruction {
        /// Which one.
        kind: InstructionKind,
        /// The registers after it.
        after: Registers,
    },
    /// A point where the recorder had to stop the thread between two inputs.
    ForcedPoint {
        /// What it looks like.
        fingerprint: Fingerprint,
    },
    /// The call that the thread waits in has made a new thread or process, which is ready to run.
    Start(Box<ThreadStart>),
    /// A signal reaches the thread.
    Signal {
        /// The number.
        signal: i32,
        /// `siginfo_t`, as the kernel gave it (sigaction(2)).
        info: DataRef,
        /// Where it reaches the thread.
        point: SignalPoint,
        /// What became of it.
        outcome: Outcome,
    },
    /// The thread ends.
    Exit {
        /// Wait status as in waitpid(2).
        status: i32,
        /// Memory that the kernel wrote while the thread ended (clear_child_tid, robust futexes).
        writes: Vec<Write>,
        /// The address space ends with it.
        last: bool,
    },
    /// Nothing happens to the thread: the state of all processes here, from which replay can begin.
    Snapshot {
        /// An encoded [`crate::State`].
        state: Vec<DataRef>,
    },
    /// The extended state that the thread had, and still has, when the last snapshot was made.
    ExtendedState {
        /// In the layout of `NT_X86_XSTATE`.
        xstate: DataRef,
    },
    /// Where the thread stands, something changed that may not be its own: the memory or the mappings of any process.
    Change(Vec<Change>),
}

/// A change of an address space that is no consequence of its own instructions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which space.
    pub space: SpaceId,
    /// Changes of its mappings, or of the objects behind them.
    pub ops: Vec<MemoryOp>,
    /// Memory that was written then.
    pub writes: Vec<Write>,
}

/// The place at which a signal reaches its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignalPoint {
    /// The instruction itself raised it.
    Fault,
    /// At the entry of a system call, which is then begun again after the handler.
    SyscallEntry,
    /// Where the thread stands after its previous event.
    Here,
}

/// What became of a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// A handler runs: the frame is in memory and the registers point at the handler.
    Handler {
        /// Registers at the first instruction of the handler.
        after: Box<Registers>,
        /// Extended state at that instruction, in the layout of `NT_X86_XSTATE`.
        xstate: DataRef,
        /// The signal frame.
        frame: Vec<Write>,
    },
    /// Nothing the program sees.
    Ignored,
    /// The default action ends the process; exit events follow.
    Fatal,
    /// The default action stops the process until SIGCONT.
    Stopped,
}

/// Unruly instructions: their results are not a function of registers and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are the instructions of the same name")]
pub enum InstructionKind {
    Rdtsc,
    Rdtscp,
    Rdrand,
    Rdseed,
    Rdpid,
}

/// What a system call did besides writing memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Nothing else.
    None,
    /// Wrote to the standard output or the standard error of the recording; what it wrote is in memory.
    Output {
        /// It was the standard error.
        error: bool,
    },
    /// Changed the mappings.
    Memory(Vec<MemoryOp>),
    /// Replaced the address space by this image; the new stream is the image's.
    Exec(Box<Image>),
    /// Replaced registers and extended state (rt_sigreturn(2), arch_prctl(2)).
    Registers {
        /// The registers after it.
        after: Box<Registers>,
        /// The extended state after it, when it changed.
        xstate: Option<DataRef>,
    },
}

/// A new thread of a known or a new address space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadStart {
    /// Its id at recording.
    pub thread: ThreadId,
    /// Its process id at recording.
    pub process: i32,
    /// Where it lives. A space not seen before is a copy of the parent's.
    pub space: SpaceId,
    /// Its first registers.
    pub registers: Registers,
    /// Memory the kernel wrote in the child's space (child_tid).
    pub writes: Vec<Write>,
}

/// A change of the mappings, in terms that replay executes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MemoryOp {
    /// A new mapping, replacing what is there.
    Map(Mapping),
    /// munmap(2).
    Unmap {
        /// First address.
        start: u64,
        /// Length in bytes.
        len: u64,
    },
    /// mprotect(2).
    Protect {
        /// First address.
        start: u64,
        /// Length in bytes.
        len: u64,
        /// `PROT_*` bits.
        protection: i32,
    },
    /// mremap(2).
    Remap {
        /// Old first address.
        old: u64,
        /// Old length in bytes.
        old_len: u64,
        /// New first address.
        new: u64,
        /// New length in bytes.
        new_len: u64,
        /// The old range stays mapped, empty (`MREMAP_DONTUNMAP`).
        keep_old: bool,
    },
    /// madvise(2) that drops contents.
    Discard {
        /// First address.
        start: u64,
        /// Length in bytes.
        len: u64,
    },
    /// The stack may grow to this size from now on (setrlimit(2)).
    StackLimit {
        /// The soft limit in bytes.
        bytes: u64,
    },
    /// A shared object has this length from now on; what is mapped behind it cannot be accessed.
    Resize {
        /// Which object.
        object: SharedObject,
        /// Its length in bytes.
        len: u64,
    },
    /// madvise(2) that makes pages guards, which fault however they are accessed, or takes that back.
    Guard {
        /// First address.
        start: u64,
        /// Length in bytes.
        len: u64,
        /// They become guards (`MADV_GUARD_INSTALL`).
        install: bool,
    },
}

/// A range of an address space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// `PROT_*` bits.
    pub protection: i32,
    /// It grows downwards on demand (the stack).
    pub grows_down: bool,
    /// What is in it.
    pub source: Source,
    /// Path or pseudo-path, as `/proc/PID/maps` shows it.
    pub name: String,
}

/// What a mapping shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// Private zeros.
    Zero,
    /// Private: the stored copy of a file.
    File {
        /// Which file.
        file: StoredFile,
        /// Offset of the mapping's start in the file, in bytes.
        offset: u64,
    },
    /// Shared memory that recorded processes write to.
    Shared {
        /// Which object.
        object: SharedObject,
        /// Offset of the mapping's start in the object, in bytes.
        offset: u64,
    },
}

/// A file kept with the trace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoredFile {
    /// Name below `files/` in the trace.
    pub stored: String,
    /// Length in bytes when it was mapped.
    pub len: u64,
}

/// A shared memory object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedObject {
    /// Its number in this recording.
    pub id: u32,
    /// Its first contents; `None` for zeros.
    pub initial: Option<StoredFile>,
}

/// A new address space, as exec(2) leaves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// The stream of the new space.
    pub space: SpaceId,
    /// The thread that goes on in it.
    pub thread: ThreadId,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// All mappings, in address order.
    pub mappings: Vec<Mapping>,
    /// What differs from zeros or from the mapped file.
    pub writes: Vec<Write>,
    /// Registers at the first instruction.
    pub registers: Registers,
    /// Where the heap of brk(2) starts.
    pub brk: u64,
}

/// How a forced point is found again at replay (DESIGN.md §3.3). The registers are the event's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Extended state in canonical form, hashed.
    pub xstate_hash: u64,
    /// Hashes of the 64-byte lines that may have been written since the last confirmed point.
    pub lines: Vec<LineHash>,
    /// `lines` covers every line that was written, so that a visit that agrees in all of them is the right one.
    pub complete: bool,
}

/// Hash of one line of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineHash {
    /// Number of the line: its address divided by 64.
    pub line: u64,
    /// Its hash; see `patch::line_hash`.
    pub hash: u32,
}

impl EventKind {
    /// Calls `each` with every piece of data the event refers to.
    pub(crate) fn for_each_data(&self, each: &mut dyn FnMut(DataRef)) {
        match self {
            EventKind::Syscall { writes, effect, .. } | EventKind::SyscallExit { writes, effect, .. } => {
                writes.iter().for_each(|write| each(write.data));
                effect.for_each_data(each);
            }
            EventKind::Signal { info, outcome, .. } => {
                each(*info);
                if let Outcome::Handler { xstate, frame, .. } = outcome {
                    each(*xstate);
                    frame.iter().for_each(|write| each(write.data));
                }
            }
            EventKind::Start(start) => start.writes.iter().for_each(|write| each(write.data)),
            EventKind::Exit { writes, .. } => writes.iter().for_each(|write| each(write.data)),
            EventKind::Snapshot { state } => state.iter().for_each(|piece| each(*piece)),
            EventKind::ExtendedState { xstate } => each(*xstate),
            EventKind::Change(changes) => {
                changes.iter().flat_map(|change| &change.writes).for_each(|write| each(write.data));
            }
            EventKind::SyscallEnter
            | EventKind::SyscallRestart { .. }
            | EventKind::Instruction { .. }
            | EventKind::ForcedPoint { .. } => {}
        }
    }

    /// A word for lists: the variant in lower case.
    pub fn label(&self) -> &'static str {
        match self {
            EventKind::Syscall { .. } => "syscall",
            EventKind::SyscallEnter => "syscall-enter",
            EventKind::SyscallExit { .. } => "syscall-exit",
            EventKind::SyscallRestart { .. } => "syscall-restart",
            EventKind::Instruction { .. } => "instruction",
            EventKind::ForcedPoint { .. } => "forced-point",
            EventKind::Start(_) => "start",
            EventKind::Signal { .. } => "signal",
            EventKind::Exit { .. } => "exit",
            EventKind::Snapshot { .. } => "snapshot",
            EventKind::ExtendedState { .. } => "extended-state",
            EventKind::Change(_) => "change",
        }
    }
}

impl Effect {
    fn for_each_data(&self, each: &mut dyn FnMut(DataRef)) {
        match self {
            Effect::Exec(image) => image.writes.iter().for_each(|write| each(write.data)),
            Effect::Registers { xstate: Some(xstate), .. } => each(*xstate),
            Effect::Registers { .. } | Effect::Memory(_) | Effect::Output { .. } | Effect::None => {}
        }
    }
}
