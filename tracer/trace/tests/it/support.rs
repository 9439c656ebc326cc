//! Random events, and traces made of them.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;
use trace::{
    Change, DataRef, Effect, Event, EventKind, Fingerprint, Header, Image, InstructionKind, LineHash,
    Machine, Mapping, MemoryOp, Outcome, Registers, SharedObject, SignalPoint, Source, SpaceId, StoredFile,
    TRACE_VERSION, ThreadId, ThreadStart, Write, Writer,
};

/// A runner whose cases are the same in every run.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// A new directory for a trace.
pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new().prefix("e2e-trace-").tempdir().expect("a temporary directory")
}

/// A header.
pub(crate) fn header() -> Header {
    Header {
        version: TRACE_VERSION,
        recorder: "test".into(),
        name: "test".into(),
        command: vec!["program".into(), "argument with \"quotes\"\n".into()],
        directory: "/".into(),
        started_unix_ns: 1_700_000_000_000_000_000,
        machine: Machine { cpu: "a processor".into(), xcr0: 7, ..Machine::default() },
        chaos_seed: Some(7),
        ring: None,
        attached: false,
    }
}

/// What is handed to a writer.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Event(Box<Event>),
    Data(Vec<u8>),
    Flush,
}

/// Any sequence of them.
pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => event().prop_map(|event| Step::Event(Box::new(event))),
        3 => prop::collection::vec(any::<u8>(), 0..2000).prop_map(Step::Data),
        1 => (1..400_000usize, any::<u8>()).prop_map(|(len, byte)| Step::Data(vec![byte; len])),
        1 => Just(Step::Flush),
    ];
    prop::collection::vec(step, 0..most)
}

/// What a trace was made of.
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    pub(crate) events: Vec<Event>,
    pub(crate) data: Vec<u8>,
    pub(crate) pieces: Vec<DataRef>,
}

/// Writes a trace. Events refer only to data that has been written: their own references are replaced.
pub(crate) fn write(path: &Path, steps: &[Step]) -> Written {
    let mut writer = Writer::create(path, &header(), None).expect("a trace can be created");
    std::fs::create_dir(path.join("files")).expect("a directory");
    let mut written =
        Written { path: path.to_owned(), events: Vec::new(), data: Vec::new(), pieces: Vec::new() };
    for step in steps {
        match step {
            Step::Event(event) => {
                let mut event = event.as_ref().clone();
                // As with the recorder, references never go back.
                let piece = written.pieces.last();
                mend(&mut event, piece.copied().unwrap_or(DataRef { offset: 0, len: 0 }));
                let number = writer.event(event.clone()).expect("an event can be written");
                assert_eq!(number, written.events.len() as u64);
                written.events.push(event);
            }
            Step::Data(bytes) => {
                let piece = writer.data(bytes.clone()).expect("data can be written");
                written.data.extend_from_slice(bytes);
                written.pieces.push(piece);
            }
            Step::Flush => writer.flush().expect("a trace can be flushed"),
        }
    }
    writer.finish(Some(0x700), 12345).expect("a trace can be closed");
    written
}

/// Makes an event refer to this piece of data only.
fn mend(event: &mut Event, piece: DataRef) {
    let writes = |writes: &mut Vec<Write>| writes.iter_mut().for_each(|write| write.data = piece);
    match &mut event.kind {
        EventKind::Syscall { writes: own, effect, .. }
        | EventKind::SyscallExit { writes: own, effect, .. } => {
            writes(own);
            match effect {
                Effect::Exec(image) => writes(&mut image.writes),
                Effect::Registers { xstate: Some(xstate), .. } => *xstate = piece,
                _ => {}
            }
        }
        EventKind::Signal { info, outcome, .. } => {
            *info = piece;
            if let Outcome::Handler { xstate, frame, .. } = outcome {
                *xstate = piece;
                writes(frame);
            }
        }
        EventKind::Start(start) => writes(&mut start.writes),
        EventKind::Exit { writes: own, .. } => writes(own),
        EventKind::Change(changes) => changes.iter_mut().for_each(|change| writes(&mut change.writes)),
        _ => {}
    }
}

fn event() -> BoxedStrategy<Event> {
    (0..4u32, 1..6i32, any::<u64>(), registers(), kind())
        .prop_map(|(space, thread, time_ns, registers, kind)| Event {
            space: SpaceId(space),
            thread: ThreadId(thread),
            time_ns,
            registers,
            kind,
        })
        .boxed()
}

fn registers() -> BoxedStrategy<Registers> {
    // Most registers stay as they were: the encoding relies on it.
    let word = prop_oneof![3 => Just(0u64), 1 => any::<u64>(), 1 => Just(u64::MAX)];
    prop::array::uniform27(word).prop_map(Registers::from_words).boxed()
}

fn kind() -> BoxedStrategy<EventKind> {
    prop_oneof![
        (any::<i64>(), writes(), effect()).prop_map(|(result, writes, effect)| EventKind::Syscall {
            result,
            writes,
            effect
        }),
        Just(EventKind::SyscallEnter),
        (any::<i64>(), writes(), effect()).prop_map(|(result, writes, effect)| EventKind::SyscallExit {
            result,
            writes,
            effect
        }),
        any::<u64>().prop_map(|rax| EventKind::SyscallRestart { rax }),
        registers().prop_map(|after| EventKind::Instruction { kind: InstructionKind::Rdtscp, after }),
        fingerprint().prop_map(|fingerprint| EventKind::ForcedPoint { fingerprint }),
        (any::<i32>(), any::<i32>(), registers(), writes()).prop_map(
            |(thread, process, registers, writes)| {
                let (thread, space) = (ThreadId(thread), SpaceId(3));
                EventKind::Start(Box::new(ThreadStart { thread, process, space, registers, writes }))
            }
        ),
        (1..65i32, outcome()).prop_map(|(signal, outcome)| EventKind::Signal {
            signal,
            info: DataRef { offset: 0, len: 0 },
            point: SignalPoint::Here,
            outcome
        }),
        (any::<i32>(), writes(), any::<bool>()).prop_map(|(status, writes, last)| EventKind::Exit {
            status,
            writes,
            last
        }),
        prop::collection::vec(change(), 0..3).prop_map(EventKind::Change),
    ]
    .boxed()
}

fn change() -> BoxedStrategy<Change> {
    let parts = (0..4u32, prop::collection::vec(memory_op(), 0..3), writes());
    parts.prop_map(|(space, ops, writes)| Change { space: SpaceId(space), ops, writes }).boxed()
}

fn writes() -> BoxedStrategy<Vec<Write>> {
    let write = any::<u64>().prop_map(|addr| Write { addr, data: DataRef { offset: 0, len: 0 } });
    prop::collection::vec(write, 0..4).boxed()
}

fn fingerprint() -> BoxedStrategy<Fingerprint> {
    let line = (any::<u64>(), any::<u32>()).prop_map(|(line, hash)| LineHash { line, hash });
    (any::<u64>(), prop::collection::vec(line, 0..50), any::<bool>())
        .prop_map(|(xstate_hash, lines, complete)| Fingerprint { xstate_hash, lines, complete })
        .boxed()
}

fn outcome() -> BoxedStrategy<Outcome> {
    prop_oneof![
        (registers(), writes()).prop_map(|(after, frame)| Outcome::Handler {
            after: Box::new(after),
            xstate: DataRef { offset: 0, len: 0 },
            frame
        }),
        Just(Outcome::Ignored),
        Just(Outcome::Fatal),
        Just(Outcome::Stopped),
    ]
    .boxed()
}

fn effect() -> BoxedStrategy<Effect> {
    prop_oneof![
        Just(Effect::None),
        any::<bool>().prop_map(|error| Effect::Output { error }),
        prop::collection::vec(memory_op(), 0..5).prop_map(Effect::Memory),
        (registers(), any::<bool>()).prop_map(|(after, has_state)| Effect::Registers {
            after: Box::new(after),
            xstate: has_state.then_some(DataRef { offset: 0, len: 0 })
        }),
        (prop::collection::vec(mapping(), 0..5), writes(), registers(), ".{0,20}").prop_map(
            |(mappings, writes, registers, path)| {
                let (space, thread, brk) = (SpaceId(9), ThreadId(1), 4096);
                let arguments = vec![path.clone(), String::new()];
                Effect::Exec(Box::new(Image {
                    space,
                    thread,
                    path,
                    arguments,
                    mappings,
                    writes,
                    registers,
                    brk,
                }))
            }
        ),
    ]
    .boxed()
}

fn memory_op() -> BoxedStrategy<MemoryOp> {
    let number = any::<u64>();
    prop_oneof![
        mapping().prop_map(MemoryOp::Map),
        (number, number).prop_map(|(start, len)| MemoryOp::Unmap { start, len }),
        (number, number, any::<i32>()).prop_map(|(start, len, protection)| MemoryOp::Protect {
            start,
            len,
            protection
        }),
        (number, number, number, number, any::<bool>()).prop_map(|(old, old_len, new, new_len, keep_old)| {
            MemoryOp::Remap { old, old_len, new, new_len, keep_old }
        }),
        (number, number).prop_map(|(start, len)| MemoryOp::Discard { start, len }),
        number.prop_map(|bytes| MemoryOp::StackLimit { bytes }),
        (number, number, any::<bool>()).prop_map(|(start, len, install)| MemoryOp::Guard {
            start,
            len,
            install
        }),
        (any::<u32>(), number)
            .prop_map(|(id, len)| { MemoryOp::Resize { object: SharedObject { id, initial: None }, len } }),
    ]
    .boxed()
}

fn mapping() -> BoxedStrategy<Mapping> {
    let stored = (".{0,12}", any::<u64>()).prop_map(|(stored, len)| StoredFile { stored, len });
    let source = prop_oneof![
        Just(Source::Zero),
        (stored.clone(), any::<u64>()).prop_map(|(file, offset)| Source::File { file, offset }),
        (any::<u32>(), prop::option::of(stored), any::<u64>()).prop_map(|(id, initial, offset)| {
            Source::Shared { object: SharedObject { id, initial }, offset }
        }),
    ];
    (any::<u64>(), any::<u64>(), any::<i32>(), any::<bool>(), source, ".{0,30}")
        .prop_map(|(start, end, protection, grows_down, source, name)| Mapping {
            start,
            end,
            protection,
            grows_down,
            source,
            name,
        })
        .boxed()
}
