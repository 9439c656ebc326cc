//! What is mapped where in an address space: the names and files that `/proc/PID/maps` showed at recording.

use std::collections::BTreeMap;
use std::ops::Range;

use trace::{Mapping, MemoryOp, Source};

/// The mappings of one address space, by start address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    mappings: BTreeMap<u64, Mapping>,
    /// Guard pages in them (madvise(2), `MADV_GUARD_INSTALL`).
    guards: Vec<Range<u64>>,
}

impl Layout {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.values()
    }

    /// The ranges of guard pages, in no order.
    pub(crate) fn guards(&self) -> &[Range<u64>] {
        &self.guards
    }

    /// The parts of a range that are mapped.
    pub(crate) fn mapped(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let touched = self.mappings.range(..range.end).rev().take_while(|(_, map)| map.end > range.start);
        let clipped = |map: &Mapping| map.start.max(range.start)..map.end.min(range.end);
        touched.map(|(_, mapping)| clipped(mapping)).collect()
    }

    /// The mapping that holds an address.
    pub(crate) fn at(&self, address: u64) -> Option<&Mapping> {
        let (_, mapping) = self.mappings.range(..=address).next_back()?;
        (address < mapping.end).then_some(mapping)
    }

    /// The addresses that show the byte at this one: itself, and others where the same memory is mapped shared.
    pub(crate) fn aliases(&self, address: u64) -> Vec<u64> {
        let shared = |mapping: &Mapping| match &mapping.source {
            Source::Shared { object, offset } => Some((object.id, *offset)),
            _ => None,
        };
        let Some(mapping) = self.at(address) else { return vec![address] };
        let Some((object, offset)) = shared(mapping) else { return vec![address] };
        let place = offset + (address - mapping.start);
        let shows = |mapping: &Mapping| {
            let (_, offset) = shared(mapping).filter(|(id, _)| *id == object)?;
            let at = place.checked_sub(offset)?;
            (at < mapping.end - mapping.start).then_some(mapping.start + at)
        };
        self.mappings.values().filter_map(shows).collect()
    }

    /// No mapping touches the range, nor comes close enough for a growing stack to run into it.
    pub(crate) fn is_free(&self, start: u64, end: u64) -> bool {
        /// The kernel's default `stack_guard_gap`.
        const GUARD_BYTES: u64 = 1 << 20;
        let next_is_clear = self
            .mappings
            .range(end..)
            .next()
            .is_none_or(|(_, mapping)| !mapping.grows_down || mapping.start - end > 64 * GUARD_BYTES);
        let previous_is_clear =
            self.mappings.range(..end).next_back().is_none_or(|(_, mapping)| mapping.end <= start);
        previous_is_clear && next_is_clear
    }

    /// Follows a change.
    pub(crate) fn apply(&mut self, op: &MemoryOp) {
        match op {
            MemoryOp::Map(mapping) => self.insert(mapping.clone()),
            MemoryOp::Unmap { start, len } => self.remove(*start, start.saturating_add(*len)),
            MemoryOp::Protect { start, len, protection } => {
                let moved = self.take(*start, start.saturating_add(*len));
                for mapping in moved {
                    self.mappings.insert(mapping.start, Mapping { protection: *protection, ..mapping });
                }
            }
            MemoryOp::Remap { old, old_len, new, new_len, keep_old } => {
                self.remap(*old, *old_len, *new, *new_len, *keep_old);
            }
            MemoryOp::Guard { start, len, install } => {
                let range = *start..start.saturating_add(*len);
                subtract(&mut self.guards, &range);
                self.guards.extend(install.then_some(range));
            }
            MemoryOp::Discard { .. } | MemoryOp::Resize { .. } | MemoryOp::StackLimit { .. } => {}
        }
    }

    pub(crate) fn insert(&mut self, mapping: Mapping) {
        self.remove(mapping.start, mapping.end);
        self.mappings.insert(mapping.start, mapping);
    }

    fn remap(&mut self, old: u64, old_len: u64, new: u64, new_len: u64, keep_old: bool) {
        // Guards move with the pages, also where the old range stays.
        let moved_end = old.saturating_add(old_len.min(new_len));
        let moved = |guard: &Range<u64>| {
            let (start, end) = (guard.start.max(old), guard.end.min(moved_end));
            (start < end).then(|| start - old + new..end - old + new)
        };
        let guards: Vec<Range<u64>> = self.guards.iter().filter_map(moved).collect();
        subtract(&mut self.guards, &(old..old.saturating_add(old_len)));
        let source = self.at(old).cloned();
        let moved = if keep_old { Vec::new() } else { self.take(old, old.saturating_add(old_len)) };
        let Some(first) = moved.first().or(source.as_ref()) else { return };
        let offset = shifted(&first.source, old.wrapping_sub(first.start));
        let end = new.saturating_add(new_len);
        self.insert(Mapping { start: new, end, source: offset, ..first.clone() });
        self.guards.extend(guards);
    }

    fn remove(&mut self, start: u64, end: u64) {
        self.take(start, end);
        subtract(&mut self.guards, &(start..end));
    }

    /// Takes the parts of all mappings that lie in a range, splitting those at its ends.
    fn take(&mut self, start: u64, end: u64) -> Vec<Mapping> {
        let touched: Vec<u64> = self
            .mappings
            .range(..end)
            .rev()
            .take_while(|(_, mapping)| mapping.end > start)
            .map(|(start, _)| *start)
            .collect();
        let mut taken = Vec::new();
        for at in touched.into_iter().rev() {
            let Some(mapping) = self.mappings.remove(&at) else { continue };
            if mapping.start < start {
                self.mappings.insert(mapping.start, part(&mapping, mapping.start, start));
            }
            if mapping.end > end {
                self.mappings.insert(end, part(&mapping, end, mapping.end));
            }
            taken.push(part(&mapping, mapping.start.max(start), mapping.end.min(end)));
        }
        taken
    }
}

/// The value of madvise(2) that makes guard pages (`MADV_GUARD_INSTALL`), or takes that back (`MADV_GUARD_REMOVE`).
pub(crate) const fn guard_advice(install: bool) -> u64 {
    if install { 102 } else { 103 }
}

/// Takes a range away from ranges.
pub(crate) fn subtract(ranges: &mut Vec<Range<u64>>, gone: &Range<u64>) {
    let parts = |range: Range<u64>| {
        let before = range.start..range.end.min(gone.start);
        let behind = range.start.max(gone.end)..range.end;
        [before, behind].into_iter().filter(|part| !part.is_empty())
    };
    *ranges = std::mem::take(ranges).into_iter().flat_map(parts).collect();
}

fn part(mapping: &Mapping, start: u64, end: u64) -> Mapping {
    let source = shifted(&mapping.source, start - mapping.start);
    Mapping { start, end, source, ..mapping.clone() }
}

fn shifted(source: &Source, by: u64) -> Source {
    match source {
        Source::Zero => Source::Zero,
        Source::File { file, offset } => Source::File { file: file.clone(), offset: offset.wrapping_add(by) },
        Source::Shared { object, offset } => {
            Source::Shared { object: object.clone(), offset: offset.wrapping_add(by) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zero(start: u64, end: u64) -> Mapping {
        Mapping { start, end, protection: 3, grows_down: false, source: Source::Zero, name: String::new() }
    }

    fn ranges(layout: &Layout) -> Vec<(u64, u64, i32)> {
        layout.iter().map(|m| (m.start, m.end, m.protection)).collect()
    }

    #[test]
    fn protecting_the_middle_splits_in_three() {
        let mut layout = Layout::default();
        layout.insert(zero(0x1000, 0x5000));
        layout.apply(&MemoryOp::Protect { start: 0x2000, len: 0x1000, protection: 1 });
        assert_eq!(ranges(&layout), [(0x1000, 0x2000, 3), (0x2000, 0x3000, 1), (0x3000, 0x5000, 3)]);
    }

    #[test]
    fn shared_memory_shows_at_all_its_addresses() {
        let mut layout = Layout::default();
        let mut map = |start: u64, end: u64, id: u32, offset: u64| {
            let source = Source::Shared { object: trace::SharedObject { id, initial: None }, offset };
            layout.insert(Mapping { source, ..zero(start, end) });
        };
        map(0x1000, 0x3000, 1, 0);
        map(0x5000, 0x6000, 1, 0x1000);
        map(0x7000, 0x9000, 2, 0);
        layout.insert(zero(0xa000, 0xb000));
        assert_eq!(layout.aliases(0x1234), [0x1234]);
        assert_eq!(layout.aliases(0x2234), [0x2234, 0x5234]);
        assert_eq!(layout.aliases(0x5234), [0x2234, 0x5234]);
        assert_eq!(layout.aliases(0xa001), [0xa001]);
    }

    #[test]
    fn guards_move_with_their_pages_and_go_with_them() {
        let mut layout = Layout::default();
        layout.insert(zero(0x1000, 0x5000));
        layout.apply(&MemoryOp::Guard { start: 0x1000, len: 0x3000, install: true });
        layout.apply(&MemoryOp::Guard { start: 0x2000, len: 0x1000, install: false });
        layout.apply(&MemoryOp::Discard { start: 0x1000, len: 0x4000 });
        assert_eq!(layout.guards(), [0x1000..0x2000, 0x3000..0x4000]);
        let (old, new) = (0x3000, 0x9000);
        layout.apply(&MemoryOp::Remap { old, old_len: 0x2000, new, new_len: 0x1000, keep_old: false });
        assert_eq!(layout.guards(), [0x1000..0x2000, 0x9000..0xa000]);
        assert_eq!(layout.mapped(&(0..0x9800)), [0x9000..0x9800, 0x1000..0x3000]);
        layout.apply(&MemoryOp::Unmap { start: 0x9000, len: 0x1000 });
        layout.apply(&MemoryOp::Map(zero(0x1000, 0x2000)));
        assert_eq!(layout.guards(), []);
    }

    #[test]
    fn unmapping_across_two_mappings() {
        let mut layout = Layout::default();
        layout.insert(zero(0x1000, 0x3000));
        layout.insert(zero(0x4000, 0x6000));
        layout.apply(&MemoryOp::Unmap { start: 0x2000, len: 0x3000 });
        assert_eq!(ranges(&layout), [(0x1000, 0x2000, 3), (0x5000, 0x6000, 3)]);
        assert!(layout.at(0x2800).is_none() && layout.at(0x5800).is_some());
    }
}
