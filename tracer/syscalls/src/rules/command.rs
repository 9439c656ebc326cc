//! Sorted tables of commands, for calls that are many calls by number.

use crate::writes::Call;

/// A command (request, option, operation) of such a call.
pub(super) struct Command {
    /// Its number.
    pub(super) number: u64,
    /// Its name in the kernel's headers.
    pub(super) name: &'static str,
    /// What the kernel writes.
    pub(super) effect: Effect,
}

/// What a command writes.
#[derive(Clone, Copy)]
pub(super) enum Effect {
    /// Nothing, or nothing of the caller's.
    Nothing,
    /// So many bytes at the argument with this number.
    Writes(u8, u32),
    /// Something that this crate has no rule for.
    Unknown,
}

/// Makes a table `0x5401 TCGETS Writes(2, 36);`, and fails the build when it is not sorted.
macro_rules! commands {
    ($(#[$doc:meta])* $table:ident: $( $number:literal $name:ident $effect:expr ; )*) => {
        $(#[$doc])*
        const $table: &[crate::rules::command::Command] = {
            use crate::rules::command::Effect::*;
            const ROWS: &[crate::rules::command::Command] = &[$(
                crate::rules::command::Command { number: $number, name: stringify!($name), effect: $effect },
            )*];
            const { crate::rules::command::assert_sorted(ROWS) };
            ROWS
        };
    };
}
pub(super) use commands;

/// Panics (at build time) when two rows are out of order or share a number.
pub(super) const fn assert_sorted(table: &[Command]) {
    let mut row = 1;
    while row < table.len() {
        assert!(table[row - 1].number < table[row].number, "commands are not sorted");
        row += 1;
    }
}

/// The row with a number.
pub(super) fn find(table: &'static [Command], number: u64) -> Option<&'static Command> {
    table.binary_search_by_key(&number, |command| command.number).ok().map(|found| &table[found])
}

/// Reports what a command wrote, if the call wrote at all.
pub(super) fn apply(call: &mut Call<'_>, table: &'static [Command], number: u64) {
    if call.wrote() {
        effect(call, find(table, number).map_or(Effect::Unknown, |command| command.effect));
    }
}

/// Reports an effect.
pub(super) fn effect(call: &mut Call<'_>, effect: Effect) {
    match effect {
        Effect::Nothing => {}
        Effect::Writes(arg, bytes) => call.report(call.args[usize::from(arg)], u64::from(bytes)),
        Effect::Unknown => call.unknown(),
    }
}
