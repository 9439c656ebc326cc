//! The state of all recorded processes at one place, from which replay can begin there.

use serde::{Deserialize, Serialize};

use crate::event::{DataRef, Mapping, SharedObject, SpaceId, ThreadId, Write};
use crate::registers::Registers;

/// Everything that replay has built by some event. It is encoded into pieces of the data stream, since it may be long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The address spaces.
    pub spaces: Vec<SpaceState>,
    /// The threads.
    pub threads: Vec<ThreadState>,
    /// The shared memory objects that are mapped.
    pub objects: Vec<ObjectState>,
    /// The guard pages of the address spaces.
    pub guards: Vec<GuardState>,
}

/// A range of guard pages in a [`State`] (madvise(2), `MADV_GUARD_INSTALL`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardState {
    /// Whose.
    pub space: SpaceId,
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

/// An address space in a [`State`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpaceState {
    /// Its number.
    pub space: SpaceId,
    /// Number of the event whose exec made its program, or of the first event.
    pub image: u64,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How far its stack may grow, in bytes.
    pub stack_limit: u64,
    /// All mappings, in address order.
    pub mappings: Vec<Mapping>,
    /// What differs from zeros or from the mapped file.
    pub writes: Vec<Write>,
}

/// A thread in a [`State`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadState {
    /// Its id.
    pub thread: ThreadId,
    /// Its process.
    pub process: i32,
    /// Where it lives.
    pub space: SpaceId,
    /// Its registers; of a thread in a call those at the entry.
    pub registers: Registers,
    /// Its extended state, in the layout of `NT_X86_XSTATE`. Of a thread that waits in a call it may be unknown: then an
    /// event says it before the thread executes anything.
    pub xstate: Option<DataRef>,
}

/// A shared memory object in a [`State`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectState {
    /// Which one.
    pub object: SharedObject,
    /// Its length in bytes; as far as it is mapped, where that is not known.
    pub len: u64,
    /// The length is known, and what is mapped behind it cannot be accessed.
    pub sized: bool,
    /// What differs from zeros; the addresses are offsets in the object.
    pub writes: Vec<Write>,
}

impl State {
    /// The encoded form.
    ///
    /// # Panics
    /// Never: it has only plain values.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a state has only plain values")
    }

    /// Reads the encoded form; `None` when it is something else.
    pub fn decode(bytes: &[u8]) -> Option<State> {
        let (spaces, rest) = postcard::take_from_bytes(bytes).ok()?;
        let (threads, rest) = postcard::take_from_bytes(rest).ok()?;
        let (objects, rest) = postcard::take_from_bytes(rest).ok()?;
        // Up to format version 5 there were none.
        let guards = if rest.is_empty() { Vec::new() } else { postcard::from_bytes(rest).ok()? };
        Some(State { spaces, threads, objects, guards })
    }
}

/// Where a trace has a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPlace {
    /// Number of its event.
    pub event: u64,
    /// Recorded time of the event, in nanoseconds.
    pub time_ns: u64,
}
