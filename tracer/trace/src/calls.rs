//! Runs of system calls that one thread made while nothing else happened, as the agent in the program logged them.
//!
//! A record holds only what differs from the record before: a head, the words that changed, and what the call wrote to
//! memory. `layout.h` of the agent describes the same format; its records go to disk as they are.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{DataRef, Effect, Event, EventKind, SpaceId, ThreadId, Write};
use crate::reader::EventBlock;
use crate::registers::Registers;

/// How many registers a record knows: r15, r14, r13, r12, rbp, rbx, r10, r9, r8, rdx, rsi, rdi, rsp, rflags and rax.
pub const SAVED_REGISTERS: usize = 15;

/// The words that records differ in: the address behind the call, the result, the registers.
pub const RECORD_WORDS: usize = 2 + SAVED_REGISTERS;
const WORDS: usize = RECORD_WORDS;

/// Bits of a record's head: which words follow.
const CHANGED: u64 = (1 << WORDS) - 1;
const OUTPUT: u64 = 1 << 17;
const ERROR: u64 = 1 << 18;
const ENTRY: u64 = 1 << 19;
const RETURN: u64 = 1 << 23;

/// Where in a head the number of writes is, and its width.
const WRITES_SHIFT: u32 = 20;
const WRITES_MASK: u64 = 7;

/// Where in a head it says whose record it is.
const AREA_SHIFT: u32 = 24;
const AREA_MASK: u64 = 0xff;

/// Where the arguments are among the registers of a record.
const ARGUMENTS: [usize; 6] = [11, 10, 9, 6, 8, 7];

/// The number of the call.
const NUMBER: usize = 14;

/// What the kernel shows in rax while a call is being entered (`-ENOSYS`).
const ENTERED: u64 = -38i64 as u64;

/// Each so many records the words are kept, to begin decoding there.
const STRIDE: usize = 64;

/// Marks data that lies in a block of calls. Below it the block's index and the offset in its records.
const INLINE: u64 = 1 << 63;
const INLINE_SHIFT: u32 = 32;

/// Whose calls they are, and when they were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallsContext {
    /// The address space.
    pub space: SpaceId,
    /// The thread.
    pub thread: ThreadId,
    /// Registers of the thread at another time: segments and their bases are the same.
    pub segments: Registers,
    /// Recorded time before the first and behind the last call, in nanoseconds.
    pub times_ns: (u64, u64),
}

impl CallsContext {
    /// When the call of this index was made, if the `count` calls were spread evenly.
    fn time_ns(&self, index: u64, count: u64) -> u64 {
        let (begin, end) = self.times_ns;
        begin + end.saturating_sub(begin) / (count + 1) * (index + 1)
    }
}

/// What of a call a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: no other thread ran while it was made.
    Whole,
    /// That the thread has entered it.
    Entry,
    /// The rest of it.
    Return,
}

/// A piece of the agent's log that one thread wrote: either only whole calls, or a single record that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Index of the thread's area.
    pub area: usize,
    /// Where its records are.
    pub range: Range<usize>,
    /// How many they are.
    pub count: u64,
    /// How much the calls wrote to memory, in bytes.
    pub data: u64,
}

/// Divides the agent's log by threads. `None` where the bytes are no records.
pub fn pieces_of_log(bytes: &[u8]) -> Option<Vec<LogPiece>> {
    let mut pieces: Vec<LogPiece> = Vec::new();
    let mut last = None;
    let mut at = 0;
    while at < bytes.len() {
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let head = word(at)?;
        let end = at.checked_add((head >> 32) as usize).filter(|end| *end > at && *end <= bytes.len())?;
        let mut piece_at = at + 8 + 8 * (head & CHANGED).count_ones() as usize;
        let mut data = 0;
        for _ in 0..head >> WRITES_SHIFT & WRITES_MASK {
            let len = word(piece_at)? >> 3;
            data += len;
            piece_at = piece_at
                .checked_add(usize::try_from(len).ok()?.checked_next_multiple_of(8)?)?
                .checked_add(8)?;
        }
        let area = (head >> AREA_SHIFT & AREA_MASK) as usize;
        let kind = (area, head & (ENTRY | RETURN));
        match pieces.last_mut().filter(|_| last == Some(kind) && kind.1 == 0) {
            Some(piece) => {
                piece.range.end = end;
                piece.count += 1;
                piece.data += data;
            }
            None => pieces.push(LogPiece { area, range: at..end, count: 1, data }),
        }
        last = Some(kind);
        at = end;
    }
    Some(pieces)
}

/// One call of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Address behind it.
    pub rip: u64,
    /// What it returned.
    pub result: i64,
    /// The registers at its entry.
    pub saved: [u64; SAVED_REGISTERS],
    /// What of it the record is about.
    pub part: Part,
    /// It wrote to the standard output (false) or error (true) of the recording.
    pub output: Option<bool>,
    /// Address, and where the bytes are among the records: offset and length.
    pub writes: Vec<(u64, usize, usize)>,
}

/// Reads records one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    words: [u64; WORDS],
    at: usize,
}

impl Records {
    /// The next call; `None` at the end, and where the bytes are no record.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Option<Call> {
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let head = word(self.at)?;
        let end = self.at.checked_add((head >> 32) as usize).filter(|end| *end <= bytes.len())?;
        let mut at = self.at + 8;
        for (index, known) in self.words.iter_mut().enumerate() {
            if head & CHANGED & 1 << index != 0 {
                *known = word(at)?;
                at += 8;
            }
        }
        let [rip, result, ref saved @ ..] = self.words;
        let mut writes = Vec::new();
        for _ in 0..head >> WRITES_SHIFT & WRITES_MASK {
            let piece = word(at)?;
            let (argument, len) = ((piece & 7) as usize, (piece >> 3) as usize);
            let begin = at + 8;
            at = begin.checked_add(len.checked_next_multiple_of(8)?).filter(|after| *after <= end)?;
            writes.push((saved[*ARGUMENTS.get(argument)?], begin, len));
        }
        if at != end {
            return None;
        }
        self.at = end;
        let output = (head & OUTPUT != 0).then_some(head & ERROR != 0);
        let part = match head & (ENTRY | RETURN) {
            0 => Part::Whole,
            ENTRY => Part::Entry,
            _ => Part::Return,
        };
        Some(Call { rip, result: result as i64, saved: *saved, part, output, writes })
    }

    /// All bytes have been read.
    pub(crate) fn at_end(&self, bytes: &[u8]) -> bool {
        self.at == bytes.len()
    }
}

impl Call {
    fn event(&self, context: &CallsContext, time_ns: u64, writes: Vec<Write>) -> Event {
        let effect = self.output.map_or(Effect::None, |error| Effect::Output { error });
        Event {
            space: context.space,
            thread: context.thread,
            time_ns,
            registers: registers_at_entry(&self.saved, self.rip, &context.segments),
            kind: match self.part {
                Part::Whole => EventKind::Syscall { result: self.result, writes, effect },
                Part::Entry => EventKind::SyscallEnter,
                Part::Return => EventKind::SyscallExit { result: self.result, writes, effect },
            },
        }
    }
}

/// The registers as a tracer sees them at the entry of the call in front of `rip`.
pub fn registers_at_entry(saved: &[u64; SAVED_REGISTERS], rip: u64, segments: &Registers) -> Registers {
    let [r15, r14, r13, r12, rbp, rbx, r10, r9, r8, rdx, rsi, rdi, rsp, rflags, _] = *saved;
    Registers {
        r15,
        r14,
        r13,
        r12,
        rbp,
        rbx,
        r10,
        r9,
        r8,
        rdx,
        rsi,
        rdi,
        rsp,
        rflags,
        rip,
        rcx: rip,
        r11: rflags,
        rax: ENTERED,
        orig_rax: saved[NUMBER],
        ..*segments
    }
}

/// A block of calls.
pub(crate) struct Calls {
    context: CallsContext,
    bytes: Vec<u8>,
    /// Where every [`STRIDE`]th record begins.
    marks: Vec<Records>,
    /// Addresses behind the calls.
    sites: BTreeSet<u64>,
    /// Which of them are output.
    outputs: Vec<usize>,
    count: usize,
}

/// A run of calls of one thread, in a block of its own: for whoever replays them all at once.
pub struct CallsRun {
    pub(crate) calls: Arc<EventBlock>,
    /// Number of the first.
    pub(crate) first: u64,
}

impl CallsRun {
    fn calls(&self) -> &Calls {
        match &*self.calls {
            EventBlock::Calls(calls) => calls,
            EventBlock::Events(_) => unreachable!("only made of a block of calls"),
        }
    }

    /// The thread that makes them.
    pub fn thread(&self) -> ThreadId {
        self.calls().context.thread
    }

    /// Its address space.
    pub fn space(&self) -> SpaceId {
        self.calls().context.space
    }

    /// Number of the event behind the last of them.
    pub fn end(&self) -> u64 {
        self.first + self.calls().count as u64
    }

    /// Addresses of the `syscall` instructions.
    pub fn sites(&self) -> impl Iterator<Item = u64> + '_ {
        self.calls().sites.iter().map(|behind| behind.wrapping_sub(2))
    }

    /// The first event from `number` on that writes to the recording's standard output or error.
    pub fn next_output(&self, number: u64) -> Option<u64> {
        let outputs = &self.calls().outputs;
        let next = outputs.partition_point(|index| self.first + (*index as u64) < number);
        outputs.get(next).map(|index| self.first + *index as u64)
    }

    /// The records of these events, and the words that the first of them differs from.
    pub fn records(&self, events: Range<u64>) -> Option<([u64; RECORD_WORDS], &[u8])> {
        let begin = self.calls().records_at(events.start.checked_sub(self.first)?)?;
        let end = self.calls().records_at(events.end.checked_sub(self.first)?)?;
        Some((begin.words, self.calls().bytes.get(begin.at..end.at)?))
    }
}

impl Calls {
    /// The raw contents of a block.
    pub(crate) fn encode(context: &CallsContext, bytes: &[u8]) -> Vec<u8> {
        let head = postcard::to_stdvec(context).expect("a context has only plain values");
        [&(head.len() as u32).to_le_bytes()[..], &head, bytes].concat()
    }

    /// The inverse; `None` when these are not `count` calls.
    pub(crate) fn decode(raw: &[u8], count: u32) -> Option<Calls> {
        let (len, rest) = raw.split_first_chunk()?;
        let (head, bytes) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let context = postcard::from_bytes(head).ok()?;
        let mut records = Records::default();
        let mut marks = Vec::new();
        let mut sites = BTreeSet::new();
        let mut outputs = Vec::new();
        let mut last = None;
        for index in 0..count as usize {
            if index % STRIDE == 0 {
                marks.push(records.clone());
            }
            let call = records.next(bytes)?;
            if last.replace(call.rip) != Some(call.rip) {
                sites.insert(call.rip);
            }
            outputs.extend(call.output.map(|_| index));
        }
        let whole = records.at_end(bytes);
        whole.then(|| Calls { context, bytes: bytes.to_vec(), marks, sites, outputs, count: count as usize })
    }

    /// The records from one on.
    fn records_at(&self, index: u64) -> Option<Records> {
        let index = usize::try_from(index).ok().filter(|index| *index <= self.count)?;
        let mark = (index / STRIDE).min(self.marks.len().checked_sub(1)?);
        let mut records = self.marks[mark].clone();
        for _ in mark * STRIDE..index {
            records.next(&self.bytes)?;
        }
        Some(records)
    }

    /// One event; `block` is the index of this block.
    pub(crate) fn event(&self, index: usize, block: usize) -> Option<Event> {
        let call = self.records_at(index as u64)?.next(&self.bytes)?;
        let time_ns = self.context.time_ns(index as u64, self.count as u64);
        let data = |at: usize, len: usize| DataRef {
            offset: INLINE | (block as u64) << INLINE_SHIFT | at as u64,
            len: len as u64,
        };
        let writes = call.writes.iter().map(|(addr, at, len)| Write { addr: *addr, data: data(*at, *len) });
        Some(call.event(&self.context, time_ns, writes.collect()))
    }

    /// The bytes of data that lies here.
    pub(crate) fn data(&self, piece: DataRef) -> Option<&[u8]> {
        let at = (piece.offset & ((1 << INLINE_SHIFT) - 1)) as usize;
        self.bytes.get(at..at.checked_add(piece.len as usize)?)
    }
}

/// The block of calls that a piece of data lies in.
pub(crate) fn inline_block(piece: DataRef) -> Option<usize> {
    (piece.offset & INLINE != 0).then_some(((piece.offset & !INLINE) >> INLINE_SHIFT) as usize)
}

/// A few calls, as events of their own. `each` gets an event and the bytes of its writes; it says where they are put.
/// `None` when the bytes are not `count` calls.
pub(crate) fn unpack(
    context: &CallsContext,
    bytes: &[u8],
    count: u64,
    put: &mut dyn FnMut(&[u8]) -> DataRef,
    each: &mut dyn FnMut(Event),
) -> Option<()> {
    let mut records = Records::default();
    for index in 0..count {
        let call = records.next(bytes)?;
        let write = |(addr, at, len): &(u64, usize, usize)| {
            Some(Write { addr: *addr, data: put(bytes.get(*at..at + len)?) })
        };
        let writes = call.writes.iter().map(write).collect::<Option<Vec<_>>>()?;
        each(call.event(context, context.time_ns(index, count), writes));
    }
    records.at_end(bytes).then_some(())
}

#[cfg(test)]
mod tests {
    use super::{Calls, CallsContext, Records, inline_block};
    use crate::{EventKind, Registers, SpaceId, ThreadId};

    fn context() -> CallsContext {
        let segments = Registers { fs_base: 7, ..Registers::default() };
        CallsContext { space: SpaceId(1), thread: ThreadId(2), segments, times_ns: (1000, 2000) }
    }

    /// The first record has all words, the others only another result; each writes a byte to its second argument.
    fn log(count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in 0..count {
            let changed: Vec<(usize, u64)> = match index {
                0 => (0..17).map(|word| (word, 100 + word as u64)).collect(),
                _ => vec![(1, index as u64)],
            };
            let mask = changed.iter().fold(0u64, |mask, (word, _)| mask | 1 << word);
            let len = 8 + 8 * changed.len() as u64 + 16;
            bytes.extend((mask | 1 << 20 | len << 32).to_le_bytes());
            changed.iter().for_each(|(_, value)| bytes.extend(value.to_le_bytes()));
            bytes.extend((1u64 | 1 << 3).to_le_bytes());
            bytes.extend([index as u8, 0, 0, 0, 0, 0, 0, 0]);
        }
        bytes
    }

    #[test]
    fn any_call_of_a_block_is_found() {
        let raw = Calls::encode(&context(), &log(200));
        let calls = Calls::decode(&raw, 200).expect("a block");
        for index in [0, 1, 63, 64, 65, 199] {
            let event = calls.event(index, 5).expect("a call");
            let EventKind::Syscall { result, writes, .. } = &event.kind else { panic!("{event:?}") };
            assert_eq!(*result, if index == 0 { 101 } else { index as i64 });
            assert_eq!(
                (event.registers.rip, event.registers.fs_base, event.registers.orig_rax),
                (100, 7, 116)
            );
            assert_eq!(writes[0].addr, event.registers.rsi);
            assert_eq!(inline_block(writes[0].data), Some(5));
            assert_eq!(calls.data(writes[0].data), Some(&[index as u8][..]));
        }
        assert!(calls.event(200, 5).is_none());
    }

    #[test]
    fn a_log_is_divided_by_threads() {
        let record = |area: u64, kind: u64| {
            let words = (0..17).flat_map(|word: u64| word.to_le_bytes());
            let head = ((1u64 << 17) - 1) | kind | area << 24 | (8 + 17 * 8) << 32;
            head.to_le_bytes().into_iter().chain(words).collect::<Vec<u8>>()
        };
        let (entry, back) = (1 << 19, 1 << 23);
        let log = [(0, 0), (0, 0), (0, entry), (1, back), (1, 0), (0, back), (0, 0)];
        let bytes: Vec<u8> = log.into_iter().flat_map(|(area, kind)| record(area, kind)).collect();
        let pieces = super::pieces_of_log(&bytes).expect("a log");
        let found: Vec<(usize, u64)> = pieces.iter().map(|piece| (piece.area, piece.count)).collect();
        assert_eq!(found, [(0, 2), (0, 1), (1, 1), (1, 1), (0, 1), (0, 1)]);
        assert_eq!(pieces.last().map(|piece| piece.range.end), Some(bytes.len()));
        assert!(super::pieces_of_log(&bytes[..bytes.len() - 1]).is_none());
    }

    #[test]
    fn spoilt_records_are_refused() {
        let good = log(3);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                let mut records = Records::default();
                while records.next(&bytes).is_some() {}
                let _ = super::pieces_of_log(&bytes);
            }
            assert!(Calls::decode(&Calls::encode(&context(), &good[..at]), 3).is_none());
        }
        assert!(Calls::decode(&Calls::encode(&context(), &good), 2).is_none());
        assert!(Calls::decode(&Calls::encode(&context(), &good), 4).is_none());
    }
}
