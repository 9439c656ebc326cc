//! Which units define a name: hashes of last components over all units of an image, made by [`crate::scan`] in parallel
//! or read from the cache on disk. It says where to look, not what is there: a hash may be another name's.

use crate::debug::{Debug, LATE_FIRST};
use crate::loading::Progress;
use crate::scan::{Found, Kind, Scanner, key, key_of};
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Units that are kept for types of one qualified name: headers define the same type in thousands.
const SAME_TYPE_MAX: usize = 4;
/// Bytes of DWARF that one thread takes at a time. Not a matter of how many threads there are, so that the index is
/// the same on every machine.
const PORTION_BYTES: usize = 1 << 20;
const PORTION_UNITS: usize = 64;

/// Ranges of addresses (before bias) with the number of their unit.
pub(crate) type Ranges = Vec<(u64, u64, u32)>;

/// Everything that is kept of all units of an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NameIndex {
    /// Hash, kind and unit of each name, in order.
    names: Vec<u64>,
    pub(crate) ranges: Ranges,
}

const KIND_SHIFT: u32 = 30;
const LATE: u64 = 1 << 29;
const UNIT: u64 = LATE - 1;

fn pack(found: &Found) -> u64 {
    let late = if found.unit >= LATE_FIRST { LATE } else { 0 };
    u64::from(found.hash) << 32
        | u64::from(found.kind) << KIND_SHIFT
        | late
        | u64::from(found.unit & !LATE_FIRST) & UNIT
}

fn unit_of(packed: u64) -> u32 {
    let late = if packed & LATE == 0 { 0 } else { LATE_FIRST };
    (packed & UNIT) as u32 | late
}

impl NameIndex {
    /// Reads all units, in parallel. `None` when it was interrupted.
    pub(crate) fn build(debug: &Debug, progress: &Progress) -> Option<Self> {
        let total: u64 = debug.units.iter().map(|slot| slot.header.length_including_self() as u64).sum();
        let done = AtomicU64::new(0);
        progress.begin(total);
        let built = Self::build_counted(debug, progress, &done);
        let done = done.into_inner();
        match built {
            Some(_) => progress.done(total.saturating_sub(done)),
            None => progress.drop_work(total, done),
        }
        built
    }

    fn build_counted(debug: &Debug, progress: &Progress, done: &AtomicU64) -> Option<Self> {
        let (mut found, mut ranges) =
            portions_of(debug, &debug.unit_numbers().collect::<Vec<_>>(), &|bytes| {
                done.fetch_add(bytes, Ordering::Relaxed);
                progress.done(bytes);
                !progress.is_interrupted()
            })?;
        debug.open_packed_types();
        let late: Vec<u32> = debug.late_numbers().collect();
        let (more, _) = portions_of(debug, &late, &|_| !progress.is_interrupted())?;
        found.extend(more);
        found.par_sort_unstable();
        let mut names: Vec<u64> = Vec::with_capacity(found.len());
        let mut same: (u64, u32, usize) = (0, 0, 0);
        // In order of hash, kind and qualified name: types of one name stand together, lowest unit first.
        found.sort_by_key(|own| (own.hash, own.kind, own.whole, own.unit));
        for own in &found {
            same = if own.whole != 0 && (own.whole, own.hash) == (same.0, same.1) {
                (same.0, same.1, same.2 + 1)
            } else {
                (own.whole, own.hash, 0)
            };
            if same.2 < SAME_TYPE_MAX {
                names.push(pack(own));
            }
        }
        names.sort_unstable();
        names.dedup();
        names.shrink_to_fit();
        ranges.sort_unstable();
        ranges.shrink_to_fit();
        Some(Self { names, ranges })
    }

    /// From a cache: `None` unless all is in order and every unit exists.
    pub(crate) fn from_parts(names: Vec<u64>, ranges: Ranges, units: u32) -> Option<Self> {
        let exists = |&packed: &u64| packed & LATE == 0 && unit_of(packed) < units;
        let ordered = names.is_sorted() && ranges.is_sorted();
        let sound =
            names.iter().all(exists) && ranges.iter().all(|&(begin, end, unit)| begin < end && unit < units);
        (ordered && sound).then_some(Self { names, ranges })
    }

    pub(crate) fn parts(&self) -> (&[u64], &Ranges) {
        (&self.names, &self.ranges)
    }

    /// Units that may define `name`, without its arguments, in order.
    pub(crate) fn units(&self, kind: Kind, name: &str) -> Vec<u32> {
        self.under(kind, key_of(name))
    }

    /// Units that may define a type, spelled with arguments or without.
    pub(crate) fn units_of_type(&self, name: &str) -> Vec<u32> {
        let full = crate::names::components(name).last().map_or(0, |last| key(last.as_bytes()));
        let found = self.under(Kind::Type, full);
        if found.is_empty() { self.units(Kind::Type, name) } else { found }
    }

    fn under(&self, kind: Kind, hash: u32) -> Vec<u32> {
        let first = u64::from(hash) << 32 | (kind as u64) << KIND_SHIFT;
        let last = first | LATE | UNIT;
        let begin = self.names.partition_point(|&packed| packed < first);
        let end = self.names.partition_point(|&packed| packed <= last);
        self.names.get(begin..end).unwrap_or_default().iter().map(|&packed| unit_of(packed)).collect()
    }
}

/// Looks at these units. `note` hears of each one's bytes, and says whether to go on.
fn portions_of(
    debug: &Debug,
    units: &[u32],
    note: &(dyn Fn(u64) -> bool + Sync),
) -> Option<(Vec<Found>, Ranges)> {
    let bytes_of = |unit: u32| debug.slot(unit).map_or(0, |slot| slot.header.length_including_self());
    let mut portions: Vec<&[u32]> = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (place, &unit) in units.iter().enumerate() {
        bytes += bytes_of(unit);
        if bytes >= PORTION_BYTES || place + 1 - first >= PORTION_UNITS || place + 1 == units.len() {
            portions.extend(units.get(first..=place));
            (first, bytes) = (place + 1, 0);
        }
    }
    let each = |portion: &&[u32]| {
        let mut scanner = Scanner::new(debug);
        let mut ranges = Ranges::new();
        for &unit in *portion {
            debug.scan_unit(unit, &mut scanner, &mut ranges);
            if !note(bytes_of(unit) as u64) {
                return None;
            }
        }
        Some((scanner.found, ranges))
    };
    let all: Option<Vec<_>> = portions.par_iter().map(each).collect();
    let (found, ranges): (Vec<_>, Vec<_>) = all?.into_iter().unzip();
    Some((found.concat(), ranges.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    /// Everything that a unit defines must be found under its name: the quick look and the whole one agree.
    fn check(image: &Image) {
        let Some(debug) = image.debug() else { return };
        let index = NameIndex::build(debug, &Progress::default()).unwrap();
        for unit in debug.unit_numbers() {
            let Some(own) = debug.index(unit) else { continue };
            let functions = own.functions.iter().map(|own| &own.name);
            for name in functions.chain(own.inlines.iter().map(|own| &own.name)) {
                let name = name.as_ref();
                assert!(
                    name.is_empty() || index.units(Kind::Function, name).contains(&unit),
                    "{unit} {name}"
                );
            }
            for name in own.variables.iter().map(|own| own.name.as_ref()) {
                assert!(
                    name.is_empty() || index.units(Kind::Variable, name).contains(&unit),
                    "{unit} {name}"
                );
            }
            // C's types inside of functions are left out, and one of a thousand equal types is enough.
            for name in own.types.iter().map(|own| own.name.as_ref()).filter(|_| !debug.is_c(unit)) {
                assert!(!index.units_of_type(name).is_empty(), "{unit} type {name}");
            }
        }
    }

    #[test]
    fn the_quick_look_finds_what_the_whole_one_finds() {
        check(&Image::open(&std::env::current_exe().unwrap()).unwrap());
        // With the debug files of the C library installed, this is C that dwz went through.
        if let Ok(library) = Image::open(std::path::Path::new("/lib/x86_64-linux-gnu/libc.so.6")) {
            check(&library);
        }
    }
}
