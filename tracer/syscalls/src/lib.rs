//! What each x86-64 Linux system call does to the caller's memory, as data.
//!
//! One declarative row per call says which arguments the kernel reads and writes and how much. After
//! a call has returned the recorder asks [`writes`] for the ranges the kernel may have written and
//! saves their contents; at replay those bytes stand in for the kernel.
//!
//! The one rule that outranks all others: **a range too many costs a few bytes, a range too few is a
//! replay that diverges.** Where the kernel's behaviour depends on something the arguments do not show,
//! the rows over-approximate, and where even that is impossible the answer is [`Coverage::Unknown`] and
//! the recorder finds the writes by comparing.
//!
//! The crate never touches memory of its own accord (it is given a [`ReadMemory`]), never allocates and
//! holds no state, so the recorder, the replayer and the reports can all use it.
//!
//! Start reading at [`table`] for the rows, at [`kind`] for the words they are written in, and at
//! [`writes`](fn@writes) for what the words mean.
#![no_std]
#![forbid(unsafe_code)]

pub mod kind;
pub mod names;
pub mod outcome;
mod rules;
pub mod table;
mod writes;

pub use kind::{Arg, Class, Kind, Size, Syscall};
pub use names::{errno_name, signal_name};
pub use outcome::Outcome;
pub use rules::ioctl_name;
pub use table::{all, by_name, lookup};
pub use writes::{Coverage, Range, ReadMemory, writes};
