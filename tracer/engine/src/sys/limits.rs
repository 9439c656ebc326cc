//! Limits of processes (getrlimit(2)).

use std::io;

/// A soft and a hard limit.
pub(crate) type Limit = libc::rlimit;

/// The limit on open files of a process; 0 means this one.
pub(crate) fn files(process: i32) -> Option<Limit> {
    let mut limit = Limit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the limits; nothing is set.
    let result = unsafe { libc::prlimit(process, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit) };
    (result == 0).then_some(limit)
}

/// Sets the limit on open files of a process; 0 means this one. Safe in a freshly forked child.
pub(crate) fn set_files(process: i32, limit: &Limit) -> io::Result<()> {
    // SAFETY: `limit` is only read; the old limit is not asked for.
    let result = unsafe { libc::prlimit(process, libc::RLIMIT_NOFILE, limit, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets this process open as many files as it may. Returns the limit that was there before.
pub(crate) fn raise_files() -> Option<Limit> {
    let before = files(0)?;
    let _ = set_files(0, &Limit { rlim_cur: before.rlim_max, ..before });
    Some(before)
}
