//! The part of the recorder that lives inside the traced process.
//!
//! The agent is a small program in C and assembly (`agent/`), compiled to a flat image for a fixed low address. The
//! recorder maps it into each new program at exec, patches the program's `syscall` instructions to lead to it, and shares
//! a range of memory with it: a control page and a log. The agent makes the program's system calls itself and writes to
//! the log what they did; so they cost no stop.
//!
//! This crate holds the image and says where what is. It runs nothing: start reading at `agent/agent.c`, and at the
//! tracer's `record/agent.rs` for the other side.
#![no_std]
#![forbid(unsafe_code)]

include!(concat!(env!("OUT_DIR"), "/symbols.rs"));

/// The image, for [`CODE_START`].
pub static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent.bin"));

/// Where the image lies.
pub const CODE_START: u64 = 0x2_0000;

/// Where the shared range lies: control page, areas, classes of descriptors, log.
pub const SHARED_START: u64 = 0x3_0000;

/// End of the shared range, and of everything of ours.
pub const SHARED_END: u64 = 0x20_0000;

/// Where the threads' areas lie: a page each, for registers and a stack.
pub const AREAS_START: u64 = 0x3_1000;

/// Bytes of an area.
pub const AREA_BYTES: u64 = 0x1000;

/// How many there are.
pub const AREAS: u64 = 128;

/// Where the tables with the classes of descriptors lie, one for each process.
pub const CLASSES_START: u64 = 0xb_1000;

/// How many descriptors have a class.
pub const DESCRIPTORS: u64 = 1024;

/// How many functions of the vDSO the agent calls; their addresses are the words at [`CLOCKS`]: those of clock_gettime,
/// gettimeofday and time, or 0 while the agent is to make system calls instead.
pub const CLOCK_FUNCTIONS: usize = 3;

/// Where the log lies; it ends at [`SHARED_END`].
pub const LOG_START: u64 = 0x10_0000;

/// Offsets in the control page.
pub mod control {
    /// `u32`: not 0 while all calls are to be left to the recorder.
    pub const ATTENTION: u64 = 0;
    /// `u32`: not 0 when the thread is to stop behind the call that it is in.
    pub const PAUSE: u64 = 4;
    /// `u32`: nobody else is recorded, so a call may block.
    pub const ALONE: u64 = 8;
    /// `u32`: files are mapped shared, so that writing to files may change memory.
    pub const SHARED_FILES: u64 = 12;
    /// `u64`: where the thread that leaves the agent goes on.
    pub const EXIT: u64 = 16;
    /// `u64`: address of the area of the thread that has the turn, or one of [`crate::turn`].
    pub const TURN: u64 = 24;
    /// `u64`: the area of the thread that had the turn last and gave it up, whose entry is not in the trace; or 0.
    pub const LEFT: u64 = 32;
    /// `u64`: bytes in the log.
    pub const HEAD: u64 = 40;
    /// `u64`: records in the log.
    pub const COUNT: u64 = 48;
    /// `u64`: bytes of the log that are kept free for calls that are being made without the turn.
    pub const RESERVED: u64 = 56;
    /// `u32`: areas from this index on are not used.
    pub const AREAS_USED: u64 = 64;
    /// `u32`: threads outside wait for the turn, which only the recorder can give them.
    pub const OUTSIDERS: u64 = 68;
    /// `u64`: how many threads wait for the turn inside.
    pub const QUEUED: u64 = 72;
    /// `u64`: how many threads have come to wait so far.
    pub const TICKETS: u64 = 80;
    /// `u64`: how often the turn was taken.
    pub const TURNS: u64 = 88;
    /// `u64`: device number of the /proc file system.
    pub const PROC_DEVICE: u64 = 96;
    /// `u64`, four: device and inode of the recording's standard output, and of its standard error.
    pub const OUTPUT: u64 = 104;
    /// `u64`, seventeen: the words of the last record.
    pub const LAST: u64 = 136;
    /// `u64`: at replay, how many bytes of the log are to be served; 0 at recording.
    pub const END: u64 = 272;
}

/// Offsets in an area.
pub mod area {
    /// `u32`: one of [`crate::state`].
    pub const STATE: u64 = 0;
    /// `u32`: a futex; not 0 when the thread that waits for the turn is to look.
    pub const WAKE: u64 = 4;
    /// `u32`: how far the call is, one of [`crate::stage`].
    pub const STAGE: u64 = 8;
    /// `u32`: the thread's entry into the call is in the trace.
    pub const ANNOUNCED: u64 = 12;
    /// `u32`: the recorder has the thread in a stop, and gives it the turn itself.
    pub const STOPPED: u64 = 16;
    /// `u32`: the call that has just returned is not in the log.
    pub const UNLOGGED: u64 = 20;
    /// `u64`: address of the hook's data.
    pub const HOOK: u64 = 24;
    /// `i64`: what the call returned.
    pub const RESULT: u64 = 32;
    /// `u64`: which of those who wait for the turn came first.
    pub const TICKET: u64 = 40;
    /// `u64`: how much of [`crate::control::RESERVED`] is the thread's.
    pub const RESERVED: u64 = 48;
    /// `u64`: address of the process's table of classes, or 0.
    pub const CLASSES: u64 = 56;
    /// `u64`: address behind the call.
    pub const NEXT: u64 = 64;
    /// `u32`: not 0 when the thread has to make its time stamp counter trap before it goes on.
    pub const TRAP_COUNTER: u64 = 72;
    /// `u32`: not 0 when a thread that makes its call without the turn is to stop behind it.
    pub const REPORT: u64 = 76;
    /// The registers at the call, as in the log.
    pub const SAVED: u64 = 80;
}

/// Values of [`control::TURN`] that are no area.
pub mod turn {
    /// Nobody has the turn: whoever comes first takes it.
    pub const NOBODY: u64 = 0;
    /// The recorder has it.
    pub const RECORDER: u64 = 1;
}

/// Values of [`area::STATE`].
pub mod state {
    /// The thread has the turn, or is not inside.
    pub const HELD: u32 = 0;
    /// It is about to give the turn up.
    pub const LEAVING: u32 = 1;
    /// It makes its call without the turn.
    pub const OUT: u32 = 2;
    /// It has made it, and waits for the turn.
    pub const QUEUED: u32 = 3;
}

/// Values of [`area::STAGE`].
pub mod stage {
    /// The call has not been made.
    pub const BEFORE: u32 = 0;
    /// The thread is about to make it, or in it.
    pub const CALL: u32 = 1;
    /// It has been made.
    pub const AFTER: u32 = 2;
}

/// Classes of descriptors; 0 for one that nothing is known of.
pub mod class {
    /// Reading and writing never block.
    pub const FILE: u8 = 1;
    /// The recording's standard output.
    pub const OUTPUT: u8 = 2;
    /// The recording's standard error.
    pub const ERROR: u8 = 4;
    /// Reading and writing may block.
    pub const WAITS: u8 = 8;
    /// Left to the recorder.
    pub const SPECIAL: u8 = 128;
}
