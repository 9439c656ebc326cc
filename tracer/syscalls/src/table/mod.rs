//! The rows, grouped by subject, and the ways to find one.
//!
//! A row reads `number name(argument: kind, …) [class] blocks;`, where the class is left out for
//! [`Class::Plain`] and `blocks` for calls that return soon. Sources are the manual pages of section 2 and
//! the kernel's `arch/x86/entry/syscalls/syscall_64.tbl`.

use crate::kind::{Class, Syscall};

/// Turns rows into the constant `ROWS`.
macro_rules! rows {
    ($( $nr:literal $name:ident ( $( $arg:ident : $kind:expr ),* $(,)? ) $( [ $($class:tt)+ ] )? $( $blocks:ident )? ; )*) => {
        /// The rows of this subject.
        pub(super) const ROWS: &[crate::kind::Syscall] = &[$(
            crate::kind::Syscall {
                nr: $nr,
                name: stringify!($name),
                args: &[$( crate::kind::Arg { name: stringify!($arg), kind: $kind } ),*],
                class: rows!(@class $($($class)+)?),
                blocks: rows!(@blocks $($blocks)?),
            },
        )*];
    };
    (@class) => { crate::kind::Class::Plain };
    (@class Refused $errno:ident $reason:literal) => {
        crate::kind::Class::Refused { errno: crate::names::$errno, reason: $reason }
    };
    (@class $class:ident) => { crate::kind::Class::$class };
    (@blocks) => { false };
    (@blocks blocks) => { true };
}

mod files;
mod memory;
mod messages;
mod misc;
mod mounts;
mod names;
mod processes;
mod signals;
mod sockets;
mod time;
mod users;
mod waiting;

/// All groups.
const GROUPS: &[&[Syscall]] = &[
    files::ROWS,
    names::ROWS,
    mounts::ROWS,
    memory::ROWS,
    processes::ROWS,
    users::ROWS,
    signals::ROWS,
    sockets::ROWS,
    messages::ROWS,
    waiting::ROWS,
    time::ROWS,
    misc::ROWS,
];

/// One above the highest number that may have a row.
const NUMBERS: usize = 512;

/// Rows by number.
static BY_NUMBER: [Option<&'static Syscall>; NUMBERS] = index();

/// Puts each row where its number says. A number with two rows fails the build.
const fn index() -> [Option<&'static Syscall>; NUMBERS] {
    let mut by_number: [Option<&'static Syscall>; NUMBERS] = [None; NUMBERS];
    let mut group = 0;
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].len() {
            let call = &GROUPS[group][row];
            assert!(by_number[call.nr as usize].is_none(), "a system call has two rows");
            by_number[call.nr as usize] = Some(call);
            row += 1;
        }
        group += 1;
    }
    by_number
}

/// The row of a number, as found in `rax`; the kernel looks at its lower half only, as a signed number.
///
/// Numbers of the x32 interface (bit 30 set) have none.
#[must_use]
pub fn lookup(nr: u64) -> Option<&'static Syscall> {
    BY_NUMBER.get(nr as u32 as usize).copied().flatten()
}

/// The row with this name, in the kernel's spelling: `newfstatat`, `pread64`.
///
/// Searches the whole table; meant for command lines, not for every event.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Syscall> {
    all().find(|call| call.name == name)
}

/// All rows, by rising number.
pub fn all() -> impl Iterator<Item = &'static Syscall> {
    BY_NUMBER.iter().flatten().copied()
}

/// The error that the recorder gives in the kernel's place, as a positive number, with the reason.
#[must_use]
pub const fn refusal(call: &Syscall) -> Option<(i32, &'static str)> {
    match call.class {
        Class::Refused { errno, reason } => Some((errno, reason)),
        _ => None,
    }
}
