//! A trace that was damaged in any way is read up to the damage: no panic, no unbounded memory, no wrong event.
//!
//! Each mutated trace is read by this process; the whole reading process runs again as a child under a limit of its
//! address space, so that a length that is believed shows as a failed allocation.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use trace::{Event, Reader, TraceError};

use crate::support::{Written, directory, runner, steps, write};

/// How many mutations the suite tries; `VDBG_EFFORT` multiplies.
const MUTATIONS: u32 = 1500;

/// Address space of the reading child. A test binary needs some 100 MB; blocks are bounded by 8 MB, eight are kept.
const ADDRESS_SPACE_BYTES: u64 = 600 << 20;

/// What can happen to a file.
#[derive(Clone, Debug)]
enum Mutation {
    Flip {
        at: u32,
        bit: u8,
    },
    Truncate {
        at: u32,
    },
    /// Copies a piece over another place.
    Overwrite {
        from: u32,
        to: u32,
        len: u16,
    },
    /// Puts a copy of a piece in.
    Duplicate {
        from: u32,
        len: u16,
    },
    Remove {
        from: u32,
        len: u16,
    },
    /// Sets a word in the header of a block: its number, count or lengths.
    Word {
        block: u8,
        field: u8,
        value: u32,
    },
    /// The same with a checksum that agrees.
    SignedWord {
        block: u8,
        field: u8,
        value: u32,
    },
    Swap {
        block: u8,
    },
    Append {
        bytes: Vec<u8>,
    },
    Empty,
    Missing,
}

fn mutation() -> impl Strategy<Value = (&'static str, Mutation)> {
    let file =
        prop_oneof![4 => Just("events"), 4 => Just("data"), 1 => Just("header.json"), 1 => Just("end.json")];
    let n = any::<u32>();
    let small = 0..300u16;
    let value =
        prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(8 << 20), Just((8 << 20) + 1), 0..100u32];
    let (block, field) = (any::<u8>(), 0..5u8);
    let mutation = prop_oneof![
        4 => (n, 0..8u8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        2 => n.prop_map(|at| Mutation::Truncate { at }),
        2 => (n, n, small.clone()).prop_map(|(from, to, len)| Mutation::Overwrite { from, to, len }),
        2 => (n, small.clone()).prop_map(|(from, len)| Mutation::Duplicate { from, len }),
        2 => (n, small).prop_map(|(from, len)| Mutation::Remove { from, len }),
        3 => (block, field.clone(), value.clone()).prop_map(|(block, field, value)| Mutation::Word { block, field, value }),
        4 => (block, field, value).prop_map(|(block, field, value)| Mutation::SignedWord { block, field, value }),
        2 => block.prop_map(|block| Mutation::Swap { block }),
        1 => prop::collection::vec(any::<u8>(), 1..100).prop_map(|bytes| Mutation::Append { bytes }),
        1 => Just(Mutation::Empty),
        1 => Just(Mutation::Missing),
    ];
    (file, mutation)
}

/// Bytes of a block's header: mark, first (8), count, raw length, packed length, checksum.
const HEADER_BYTES: usize = 28;

/// Where the whole blocks lie.
fn blocks(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut found) = (0, Vec::new());
    while at + HEADER_BYTES <= bytes.len() {
        let packed = u32::from_le_bytes(bytes[at + 20..at + 24].try_into().expect("four bytes")) as usize;
        if at + HEADER_BYTES + packed > bytes.len() {
            break;
        }
        found.push(at..at + HEADER_BYTES + packed);
        at += HEADER_BYTES + packed;
    }
    found
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let len = bytes.len();
    if len == 0 {
        return;
    }
    let index = |at: u32| at as usize % len;
    let piece = |from: u32, size: u16| index(from)..(index(from) + size as usize).min(len);
    match mutation {
        Mutation::Flip { at, bit } => bytes[index(*at)] ^= 1 << bit,
        Mutation::Truncate { at } => bytes.truncate(index(*at)),
        Mutation::Overwrite { from, to, len: size } => {
            let copy = bytes[piece(*from, *size)].to_vec();
            let to = piece(*to, copy.len() as u16);
            let fitting = to.len();
            bytes[to].copy_from_slice(&copy[..fitting]);
        }
        Mutation::Duplicate { from, len: size } => {
            let copy = bytes[piece(*from, *size)].to_vec();
            let at = index(*from);
            bytes.splice(at..at, copy);
        }
        Mutation::Remove { from, len: size } => drop(bytes.drain(piece(*from, *size))),
        Mutation::Word { block, field, value } => set_word(bytes, *block, *field, *value, false),
        Mutation::SignedWord { block, field, value } => set_word(bytes, *block, *field, *value, true),
        Mutation::Swap { block } => swap(bytes, *block),
        Mutation::Append { bytes: more } => bytes.extend_from_slice(more),
        Mutation::Empty => bytes.clear(),
        Mutation::Missing => {}
    }
}

fn set_word(bytes: &mut [u8], block: u8, field: u8, value: u32, signed: bool) {
    let blocks = blocks(bytes);
    let Some(block) = blocks.get(block as usize % blocks.len().max(1)).cloned() else { return };
    let at = block.start + 4 + 4 * field as usize;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let end = block.end.min(bytes.len());
    if signed && end > block.start + HEADER_BYTES {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&bytes[block.start..block.start + HEADER_BYTES - 4]);
        sum.update(&bytes[block.start + HEADER_BYTES..end]);
        bytes[block.start + HEADER_BYTES - 4..block.start + HEADER_BYTES]
            .copy_from_slice(&sum.finalize().to_le_bytes());
    }
}

fn swap(bytes: &mut Vec<u8>, block: u8) {
    let blocks = blocks(bytes);
    let Some(index) = (block as usize).checked_rem(blocks.len().saturating_sub(1)) else { return };
    let (first, second) = (blocks[index].clone(), blocks[index + 1].clone());
    let swapped = [&bytes[second.clone()], &bytes[first.clone()]].concat();
    bytes.splice(first.start..second.end, swapped);
}

/// The trace that is damaged: random events in several blocks.
fn original(path: &Path) -> Written {
    let mut runner = runner(1);
    let steps = steps(700).new_tree(&mut runner).expect("steps").current();
    write(path, &steps)
}

/// Reads all that a trace has. The events, or why it cannot be opened.
fn read_all(path: &Path) -> Result<Vec<Event>, TraceError> {
    let reader = Reader::open(path)?;
    let mut events = Vec::new();
    for number in 0..reader.len() {
        let event = reader.event(number)?;
        for piece in pieces(&event) {
            let _ = reader.data(piece);
        }
        events.push(event);
    }
    let _ = reader.damage().map(ToString::to_string);
    Ok(events)
}

fn pieces(event: &Event) -> Vec<trace::DataRef> {
    match &event.kind {
        trace::EventKind::Syscall { writes, .. } | trace::EventKind::SyscallExit { writes, .. } => {
            writes.iter().map(|write| write.data).collect()
        }
        trace::EventKind::Signal { info, .. } => vec![*info],
        _ => Vec::new(),
    }
}

/// Tries the mutations on copies of one trace.
fn try_mutations(count: u32) {
    let place = directory();
    let written = original(&place.path().join("good").tap_create());
    let damaged = place.path().join("damaged").tap_create();
    for name in ["events", "data", "header.json", "end.json"] {
        std::fs::copy(written.path.join(name), damaged.join(name)).expect("a copy");
    }
    let mut runner = runner(count);
    for number in 0..count {
        let changes =
            prop::collection::vec(mutation(), 1..4).new_tree(&mut runner).expect("mutations").current();
        let signed = changes.iter().any(|(_, change)| matches!(change, Mutation::SignedWord { .. }));
        for (file, change) in &changes {
            let path = damaged.join(file);
            let mut bytes = std::fs::read(&path).unwrap_or_default();
            mutate(&mut bytes, change);
            std::fs::write(&path, bytes).expect("the file can be written");
            if matches!(change, Mutation::Missing) {
                std::fs::remove_file(&path).expect("the file can be removed");
            }
        }
        let read = std::panic::catch_unwind(|| read_all(&damaged));
        let read = read.unwrap_or_else(|_| panic!("mutation {number} panics: {changes:?}"));
        if let (Ok(events), false) = (&read, signed) {
            let good = written.events.get(..events.len());
            assert_eq!(good, Some(events.as_slice()), "mutation {number} gives wrong events: {changes:?}");
        }
        for (file, _) in &changes {
            std::fs::copy(written.path.join(file), damaged.join(file)).expect("a copy");
        }
    }
}

/// Makes the directory of this name.
trait TapCreate {
    fn tap_create(self) -> Self;
}

impl TapCreate for std::path::PathBuf {
    fn tap_create(self) -> Self {
        std::fs::create_dir(&self).expect("a directory");
        self
    }
}

/// Set in the child that reads under a limit.
const LIMITED: &str = "TRACE_IT_LIMITED";

#[test]
fn mutated_traces_are_read_without_panic_and_within_bounds() {
    let effort: u32 = std::env::var("VDBG_EFFORT").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    if std::env::var_os(LIMITED).is_some() {
        return try_mutations(MUTATIONS * effort);
    }
    let mut child = Command::new(std::env::current_exe().expect("this binary has a path"));
    child.args(["--exact", "damage::mutated_traces_are_read_without_panic_and_within_bounds", "--nocapture"]);
    child.env(LIMITED, "1").stdin(Stdio::null());
    // SAFETY: between fork and exec only setrlimit(2) is called, with a value that lives on the stack.
    unsafe { child.pre_exec(limit_address_space) };
    let output = child.output().expect("this binary can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}: {said}", output.status);
}

fn limit_address_space() -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: ADDRESS_SPACE_BYTES, rlim_max: ADDRESS_SPACE_BYTES };
    // SAFETY: setrlimit(2) reads the structure during the call.
    match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Cut at any place, a trace is good up to the last whole block before it.
#[test]
fn a_truncated_trace_is_read_up_to_the_cut() {
    let place = directory();
    let written = original(&place.path().join("good").tap_create());
    let events = std::fs::read(written.path.join("events")).expect("events");
    let blocks = blocks(&events);
    assert!(blocks.len() > 2, "too few blocks to be of use: {}", blocks.len());
    let mut before = None;
    for step in 0..=40 {
        let cut = events.len() * (40 - step) / 40;
        std::fs::write(written.path.join("events"), &events[..cut]).expect("the file can be written");
        let whole = blocks.iter().filter(|block| block.end <= cut).count();
        let reader = Reader::open(&written.path).expect("a readable trace");
        let count = reader.len();
        assert!(count <= before.unwrap_or(u64::MAX));
        assert_eq!(whole == 0, count == 0, "{whole} blocks and {count} events at {cut}");
        assert_eq!(reader.damage().is_some(), cut < events.len());
        for number in 0..count {
            assert_eq!(reader.event(number).expect("an event"), written.events[number as usize]);
        }
        before = Some(count);
    }
}

/// Cut data leaves only the events before the first that refers to what is gone.
#[test]
fn truncated_data_cuts_the_events() {
    let place = directory();
    let written = original(&place.path().join("good").tap_create());
    let data = std::fs::read(written.path.join("data")).expect("data");
    for step in 0..20 {
        std::fs::write(written.path.join("data"), &data[..data.len() * step / 20])
            .expect("the file can be written");
        let reader = Reader::open(&written.path).expect("a readable trace");
        assert!(reader.len() <= written.events.len() as u64);
        for number in 0..reader.len() {
            let event = reader.event(number).expect("an event");
            assert_eq!(event, written.events[number as usize]);
            for piece in pieces(&event) {
                assert!(reader.data(piece).is_ok(), "event {number} of {} refers to lost data", reader.len());
            }
        }
    }
}
