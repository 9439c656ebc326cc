//! The kernel's interfaces, with safe faces. All `unsafe` of this crate lives below this module; it knows system
//! calls and nothing of recording.

pub(crate) mod attach;
pub(crate) mod limits;
pub(crate) mod machine;
pub(crate) mod maps;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod ptrace;
pub(crate) mod seccomp;
pub(crate) mod shared;
pub(crate) mod signal;
pub(crate) mod userfault;
pub(crate) mod xstate;
