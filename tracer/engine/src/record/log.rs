//! The agent's log: records of system calls that were made without a stop, as events.

use agent::record::{BYTES, FIXED_BYTES, FLAG_ERROR, FLAG_OUTPUT, FLAGS, REGISTERS, RESULT, RIP, WRITES};
use trace::{Effect, Event, EventKind, Registers, SpaceId, ThreadId, Unpacked, Write};

/// What the kernel shows in rax while a call is being entered (`-ENOSYS`).
const ENTERED: u64 = -(libc::ENOSYS as i64) as u64;

/// Some of the log, all of one thread.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Number of records.
    pub(crate) count: u64,
    /// How much the calls wrote, in bytes.
    pub(crate) data: u64,
}

/// Whose calls they are, and when they were made.
pub(crate) struct Context {
    pub(crate) space: SpaceId,
    pub(crate) thread: ThreadId,
    /// The thread's registers at another time: segments and their bases do not change between stops.
    pub(crate) segments: Registers,
    /// Recorded time before the first and behind the last call, in nanoseconds.
    pub(crate) times_ns: (u64, u64),
}

impl Batch {
    /// Gives each event. False when the bytes are not what they should be.
    pub(crate) fn unpack(&self, context: &Context, each: &mut dyn FnMut(Unpacked<'_>)) -> bool {
        let (begin, end) = context.times_ns;
        let (mut rest, mut done, mut data) = (self.bytes.as_slice(), 0, 0);
        while !rest.is_empty() {
            let Some((record, left)) = Record::split(rest) else { return false };
            rest = left;
            done += 1;
            data += record.writes.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
            if done > self.count || data > self.data {
                return false;
            }
            let time_ns = begin + (end - begin) * done / (self.count + 1);
            let event = |writes: Vec<Write>| Event {
                space: context.space,
                thread: context.thread,
                time_ns,
                registers: record.registers(&context.segments),
                kind: EventKind::Syscall { result: record.result, writes, effect: record.effect() },
            };
            each(Unpacked { event: &event, writes: &record.writes });
        }
        done == self.count && data == self.data
    }
}

struct Record<'a> {
    flags: u16,
    result: i64,
    rip: u64,
    saved: [u64; agent::SAVED_REGISTERS],
    writes: Vec<(u64, &'a [u8])>,
}

impl<'a> Record<'a> {
    /// The first record, and what is behind it.
    fn split(bytes: &'a [u8]) -> Option<(Record<'a>, &'a [u8])> {
        let len = u32::from_le_bytes(*bytes.get(BYTES..)?.first_chunk()?) as usize;
        let (record, rest) = bytes.split_at_checked(len)?;
        let (fixed, mut pieces) = record.split_at_checked(FIXED_BYTES)?;
        let word = |at: usize| fixed[at..].first_chunk().map(|word| u64::from_le_bytes(*word));
        let half = |at: usize| fixed[at..].first_chunk().map(|half| u16::from_le_bytes(*half));
        let mut saved = [0; agent::SAVED_REGISTERS];
        for (index, register) in saved.iter_mut().enumerate() {
            *register = word(REGISTERS + 8 * index)?;
        }
        let mut writes = Vec::new();
        for _ in 0..half(WRITES)? {
            let (head, behind) = pieces.split_at_checked(16)?;
            let address = u64::from_le_bytes(*head.first_chunk()?);
            let len = u64::from_le_bytes(*head.last_chunk()?) as usize;
            writes.push((address, behind.get(..len)?));
            pieces = behind.get(len.checked_next_multiple_of(8)?..)?;
        }
        let (flags, result, rip) = (half(FLAGS)?, word(RESULT)? as i64, word(RIP)?);
        Some((Record { flags, result, rip, saved, writes }, rest))
    }

    fn registers(&self, segments: &Registers) -> Registers {
        at_entry(&self.saved, self.rip, segments)
    }

    fn effect(&self) -> Effect {
        match self.flags & FLAG_OUTPUT {
            0 => Effect::None,
            _ => Effect::Output { error: self.flags & FLAG_ERROR != 0 },
        }
    }
}

/// The registers as a tracer sees them at the entry of the call in front of `rip`.
pub(crate) fn at_entry(saved: &[u64; agent::SAVED_REGISTERS], rip: u64, segments: &Registers) -> Registers {
    let [r15, r14, r13, r12, rbp, rbx, r10, r9, r8, rdx, rsi, rdi, rsp, rflags, number] = *saved;
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
        orig_rax: number,
        ..*segments
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Context};
    use trace::{Registers, SpaceId, ThreadId};

    fn record(len: u32, writes: u16, pieces: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0u8; agent::record::FIXED_BYTES];
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[6..8].copy_from_slice(&writes.to_le_bytes());
        bytes.extend(pieces);
        bytes
    }

    fn unpacked(bytes: Vec<u8>, count: u64, data: u64) -> Option<Vec<Vec<u8>>> {
        let context = Context {
            space: SpaceId(0),
            thread: ThreadId(1),
            segments: Registers::default(),
            times_ns: (10, 20),
        };
        let mut all = Vec::new();
        let each = &mut |unpacked: trace::Unpacked<'_>| {
            all.extend(unpacked.writes.iter().map(|(_, bytes)| bytes.to_vec()))
        };
        Batch { bytes, count, data }.unpack(&context, each).then_some(all)
    }

    #[test]
    fn a_record_with_a_piece() {
        let fixed = agent::record::FIXED_BYTES as u32;
        let piece = [&0x1000u64.to_le_bytes()[..], &3u64.to_le_bytes(), b"abc\0\0\0\0\0"].concat();
        let bytes = record(fixed + 24, 1, &piece);
        assert_eq!(unpacked(bytes, 1, 3), Some(vec![b"abc".to_vec()]));
    }

    #[test]
    fn what_the_program_has_spoilt_is_refused() {
        let fixed = agent::record::FIXED_BYTES as u32;
        assert_eq!(unpacked(record(fixed, 0, &[]), 2, 0), None);
        assert_eq!(unpacked(record(fixed + 8, 0, &[]), 1, 0), None);
        assert_eq!(unpacked(record(fixed, 7, &[]), 1, 0), None);
        assert_eq!(unpacked(record(0, 0, &[]), 1, 0), None);
    }
}
