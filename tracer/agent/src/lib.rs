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

/// Where the shared range lies: control page, the agent's stack, classes of descriptors, log.
pub const SHARED_START: u64 = 0x3_0000;

/// End of the shared range, and of everything of ours.
pub const SHARED_END: u64 = 0x20_0000;

/// Where the tables with the classes of descriptors lie, one for each process.
pub const CLASSES_START: u64 = 0x4_0000;

/// How many descriptors have a class.
pub const DESCRIPTORS: u64 = 1024;

/// How many functions of the vDSO the agent calls; their addresses are the words at [`CLOCKS`]: those of clock_gettime,
/// gettimeofday and time, or 0 while the agent is to make system calls instead.
pub const CLOCK_FUNCTIONS: usize = 3;

/// Where the log lies; it ends at [`SHARED_END`].
pub const LOG_START: u64 = 0x8_0000;

/// Offsets in the control page.
pub mod control {
    /// `u32`: not 0 while all calls are to be left to the recorder.
    pub const ATTENTION: u64 = 0;
    /// `u32`: not 0 when the thread is to stop behind the call that it is in.
    pub const PAUSE: u64 = 4;
    /// `u32`: how far the call is.
    pub const STAGE: u64 = 8;
    /// `u32`: nobody else is recorded, so a call may block.
    pub const ALONE: u64 = 12;
    /// `u64`: address of the hook's data.
    pub const HOOK: u64 = 24;
    /// `i64`: what the call returned.
    pub const RESULT: u64 = 32;
    /// `u64`: bytes in the log.
    pub const HEAD: u64 = 40;
    /// `u64`: records in the log.
    pub const COUNT: u64 = 48;
    /// `u64`: bytes that the logged calls wrote.
    pub const DATA: u64 = 56;
    /// The registers at the call, as in the log.
    pub const SAVED: u64 = 64;
    /// `u32`: files are mapped shared, so that writing to files may change memory.
    pub const SHARED_FILES: u64 = 184;
    /// `u32`: the call that has just returned is not in the log.
    pub const UNLOGGED: u64 = 188;
    /// `u64`: address of the process's table of classes, or 0.
    pub const CLASSES: u64 = 192;
    /// `u64`: device number of the /proc file system.
    pub const PROC_DEVICE: u64 = 200;
    /// `u64`, four: device and inode of the recording's standard output, and of its standard error.
    pub const OUTPUT: u64 = 208;
    /// `u64`, seventeen: the words of the last record.
    pub const LAST: u64 = 240;
    /// `u64`: at replay, how many bytes of the log are to be served; 0 at recording.
    pub const END: u64 = 376;
}

/// Values of [`control::STAGE`].
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

/// Offsets in the data of a hook.
pub mod hook {
    /// The program's address behind the call.
    pub const NEXT: u64 = 0;
}
