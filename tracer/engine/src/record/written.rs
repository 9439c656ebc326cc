//! The memory that a program writes between two forced points (DESIGN.md §3.3), as far as a fingerprint needs it.
//!
//! Which pages were written is asked of the kernel (asynchronous write-protection); of those, only lines whose hash has
//! changed are kept, and then the fingerprint is complete. It is not
//! - at the first point of a large program, where nothing is known about writes, or without userfaultfd: then the lines
//!   around the stack pointer, those that registers lead to and global variables are taken;
//! - where many pages are written: then it is found out which of them are written all the time, and for some points only
//!   those are hashed, and none is write-protected. What tells one turn of a loop from the next changes all the time, and
//!   each page costs a fault or its hashing.

use std::collections::{HashMap, HashSet, VecDeque};

use patch::{LINE_BYTES, line_hash};
use trace::{LineHash, Registers};

use crate::sys::maps::{self, Map};
use crate::sys::memory::Memory;
use crate::sys::userfault::WriteTracker;

const PAGE: u64 = 4096;
const LINES_PER_PAGE: usize = PAGE as usize / LINE_BYTES;

/// How many pages are hashed at a point.
const PAGES_MAX: usize = 128;

/// How many pages are hashed at the first point, before it is known which of them change.
const FIRST_PAGES_MAX: usize = 1024;

/// For how many points the same pages are hashed.
const FOCUS_POINTS: u32 = 48;

/// Of the chosen pages those stay that have changed at the first of these points.
const TRIAL_POINTS: u32 = 8;

/// How many pages of the programs' and libraries' own data are taken where not all can be.
const DATA_PAGES_MAX: usize = 256;

/// How many lines are taken by following pointers.
const NEAR_LINES_MAX: usize = 768;

/// How many pointers are followed one after the other.
const NEAR_DEPTH_MAX: u32 = 3;

/// How much of the stack above the red zone is taken as near.
const NEAR_STACK_BYTES: u64 = 2048;

/// The red zone below the stack pointer (System V ABI, x86-64, section 3.2.2).
pub(super) const RED_ZONE_BYTES: u64 = 128;

/// What is known of an address space's written memory.
#[derive(Default)]
pub(crate) struct Written {
    tracking: Tracking,
    /// The mappings have changed since they were last read.
    stale: bool,
    maps: Vec<Map>,
    /// Hashes of the lines of each page, when it was last looked at.
    hashes: HashMap<u64, Box<[u32; LINES_PER_PAGE]>>,
    /// How often each page was found written when all were asked for; kept while too many are.
    often: HashMap<u64, u32>,
    focus: Focus,
}

#[derive(Default)]
enum Tracking {
    #[default]
    NotBegun,
    /// The kernel refused.
    Refused,
    /// All pages count as written.
    First(WriteTracker),
    Begun(WriteTracker),
}

/// Which pages are asked for.
#[derive(Default)]
enum Focus {
    #[default]
    All,
    /// None: these are hashed.
    Some(Chosen),
}

/// Pages that are hashed at some points, whether they were written or not.
struct Chosen {
    pages: Vec<u64>,
    /// Those that have changed since they were chosen.
    changed: HashSet<u64>,
    /// At how many more points; at the last of them all memory is protected, so that it is known what is written until
    /// the next.
    points: u32,
}

impl Chosen {
    /// Notes which lines have changed. After a while pages that do not change are left out.
    fn note(&mut self, lines: &[LineHash]) {
        let trial_ends = FOCUS_POINTS - TRIAL_POINTS;
        if self.points >= trial_ends && self.points < FOCUS_POINTS {
            self.changed.extend(lines.iter().map(|line| page_of(line.line * LINE_BYTES as u64)));
        }
        if self.points == trial_ends {
            self.pages.retain(|page| self.changed.contains(page));
            if self.pages.is_empty() {
                self.points = 1;
            }
        }
    }
}

impl Written {
    /// Notes that mappings have come or gone.
    pub(crate) fn maps_changed(&mut self) {
        self.stale = true;
    }

    /// It has been tried to track writes.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self.tracking, Tracking::NotBegun)
    }

    /// Starts with this tracker; without one, writes stay unknown.
    pub(crate) fn begin(&mut self, tracker: Option<WriteTracker>) {
        self.tracking = tracker.map_or(Tracking::Refused, Tracking::First);
        self.stale = true;
    }

    /// The lines that tell this point from other visits of its instruction, and whether they are all that were written
    /// since the last point.
    pub(crate) fn lines(
        &mut self,
        thread: i32,
        memory: &Memory,
        registers: &Registers,
    ) -> (Vec<LineHash>, bool) {
        self.refresh(thread);
        let (mut lines, complete) = match self.pages(memory, registers) {
            Some((pages, complete)) => {
                let lines = self.changed_lines(memory, &pages);
                if let Focus::Some(chosen) = &mut self.focus {
                    chosen.note(&lines);
                }
                (lines, complete)
            }
            None => {
                let mut lines = self.near_lines(memory, registers);
                let data = self.data_pages();
                lines.extend(self.changed_lines(memory, &data));
                lines.sort_unstable_by_key(|line| line.line);
                lines.dedup_by_key(|line| line.line);
                (lines, false)
            }
        };
        let stack = self.map_of(registers.rsp).map_or(registers.rsp, |map| map.start);
        let dead = stack..registers.rsp.saturating_sub(RED_ZONE_BYTES);
        lines.retain(|line| !dead.contains(&(line.line * LINE_BYTES as u64)));
        (lines, complete)
    }

    /// Reads the mappings again if they have changed, and tracks the new ones.
    fn refresh(&mut self, thread: i32) {
        if !self.stale && !self.maps.is_empty() {
            return;
        }
        let Ok(maps) = maps::read(thread) else { return };
        let ours = |map: &Map| (agent::SHARED_START..agent::SHARED_END).contains(&map.start);
        self.maps = maps.into_iter().filter(|map| map.writable() && !ours(map)).collect();
        self.stale = false;
        if let Tracking::First(tracker) | Tracking::Begun(tracker) = &self.tracking {
            // A range that cannot be tracked (a device) is left out of the fingerprint.
            self.maps.retain(|map| tracker.track(map.start, map.end).is_ok());
        }
    }

    /// The pages to be hashed at this point, and whether these are all that were written; `None` when nothing is known
    /// about writes.
    fn pages(&mut self, memory: &Memory, registers: &Registers) -> Option<(Vec<u64>, bool)> {
        match std::mem::take(&mut self.tracking) {
            Tracking::NotBegun | Tracking::Refused => {
                self.tracking = Tracking::Refused;
                None
            }
            Tracking::First(tracker) => {
                let all = self.scan(&tracker);
                self.tracking = Tracking::Begun(tracker);
                all.filter(|pages| pages.len() <= FIRST_PAGES_MAX).map(|pages| (pages, true))
            }
            Tracking::Begun(tracker) => {
                let pages = self.focused(&tracker, memory, registers);
                self.tracking = Tracking::Begun(tracker);
                pages
            }
        }
    }

    fn focused(
        &mut self,
        tracker: &WriteTracker,
        memory: &Memory,
        registers: &Registers,
    ) -> Option<(Vec<u64>, bool)> {
        match std::mem::take(&mut self.focus) {
            Focus::All => {
                let all = self.scan(tracker)?;
                if all.len() <= PAGES_MAX {
                    return Some((all, true));
                }
                let pages = self.choose(all, memory, registers);
                for map in &self.maps {
                    // What has been unmapped needs none.
                    let _ = tracker.release(map.start, map.end);
                }
                let changed = HashSet::new();
                self.focus = Focus::Some(Chosen { pages: pages.clone(), changed, points: FOCUS_POINTS });
                Some((pages, false))
            }
            Focus::Some(chosen) => {
                let mut pages = self.near_pages(registers);
                pages.extend(&chosen.pages);
                pages.sort_unstable();
                pages.dedup();
                if chosen.points > 1 {
                    self.focus = Focus::Some(Chosen { points: chosen.points - 1, ..chosen });
                } else {
                    self.scan(tracker)?;
                    self.hashes.retain(|page, _| chosen.pages.binary_search(page).is_ok());
                }
                Some((pages, false))
            }
        }
    }

    /// The pages written since they were last scanned, which are protected again.
    fn scan(&self, tracker: &WriteTracker) -> Option<Vec<u64>> {
        let mut pages = Vec::new();
        for map in &self.maps {
            let range = &mut |start: u64, end: u64| pages.extend((start..end).step_by(PAGE as usize));
            tracker.scan(map.start, map.end, range).ok()?;
        }
        Some(pages)
    }

    /// Of too many written pages those worth hashing: what registers lead to, then what is written most often.
    fn choose(&mut self, all: Vec<u64>, memory: &Memory, registers: &Registers) -> Vec<u64> {
        let pages: HashSet<u64> = all.into_iter().collect();
        self.often.retain(|page, _| pages.contains(page));
        let near =
            self.near_lines(memory, registers).into_iter().map(|line| page_of(line.line * LINE_BYTES as u64));
        let mut chosen: Vec<u64> = near.filter(|page| pages.contains(page)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        let mut others: Vec<u64> =
            pages.into_iter().filter(|page| chosen.binary_search(page).is_err()).collect();
        others.sort_unstable_by_key(|page| (std::cmp::Reverse(self.often.get(page).copied()), *page));
        for page in chosen.iter().chain(&others) {
            *self.often.entry(*page).or_default() += 1;
        }
        chosen.extend(others);
        chosen.truncate(PAGES_MAX);
        chosen.sort_unstable();
        self.hashes.retain(|page, _| chosen.binary_search(page).is_ok());
        chosen
    }

    /// The pages that registers point to.
    fn near_pages(&self, registers: &Registers) -> Vec<u64> {
        let mut pages: Vec<u64> = registers.words().into_iter().map(page_of).collect();
        pages.sort_unstable();
        pages.dedup();
        pages.retain(|page| self.map_of(*page).is_some());
        pages
    }

    /// Pages of global variables: writable parts of files, and the zeros that follow them, those of the program first.
    fn data_pages(&self) -> Vec<u64> {
        let follows_file = |index: usize| {
            let before = index.checked_sub(1).and_then(|before| self.maps.get(before));
            before.is_some_and(|before| before.is_file() && before.end == self.maps[index].start)
        };
        let data = (0..self.maps.len()).filter(|index| {
            let map = &self.maps[*index];
            !map.shared && (map.is_file() || map.name.is_empty() && follows_file(*index))
        });
        let pages =
            data.flat_map(|index| (self.maps[index].start..self.maps[index].end).step_by(PAGE as usize));
        pages.take(DATA_PAGES_MAX).collect()
    }

    fn map_of(&self, address: u64) -> Option<&Map> {
        let index = self.maps.partition_point(|map| map.end <= address);
        self.maps.get(index).filter(|map| map.start <= address)
    }

    /// The lines of these pages, which rise, whose hashes are new.
    fn changed_lines(&mut self, memory: &Memory, pages: &[u64]) -> Vec<LineHash> {
        /// How many pages are read with one call.
        const PAGES_PER_READ: usize = 256;
        let mut lines = Vec::new();
        let mut contents = vec![0; PAGES_PER_READ.min(pages.len()) * PAGE as usize];
        let mut left = pages;
        while !left.is_empty() {
            let batch = &left[..left.len().min(PAGES_PER_READ)];
            let read = memory.read_pages(batch, &mut contents);
            for (page, contents) in batch[..read].iter().zip(contents.as_chunks::<{ PAGE as usize }>().0) {
                self.changed_lines_of(*page, contents, &mut lines);
            }
            // A page that cannot be read is left out.
            left = &left[if read < batch.len() { read + 1 } else { read }..];
        }
        lines
    }

    fn changed_lines_of(&mut self, page: u64, contents: &[u8; PAGE as usize], lines: &mut Vec<LineHash>) {
        let hashes = contents.as_chunks::<LINE_BYTES>().0.iter().map(line_hash);
        let now = (page / LINE_BYTES as u64..).zip(hashes).map(|(line, hash)| LineHash { line, hash });
        match self.hashes.get_mut(&page) {
            Some(known) => {
                for (now, known) in now.zip(known.iter_mut()).filter(|(now, known)| now.hash != **known) {
                    *known = now.hash;
                    lines.push(now);
                }
            }
            None => {
                let from = lines.len();
                lines.extend(now);
                let mut known = Box::new([0; LINES_PER_PAGE]);
                known.iter_mut().zip(&lines[from..]).for_each(|(known, now)| *known = now.hash);
                self.hashes.insert(page, known);
            }
        }
    }

    /// Lines that the thread is likely to be working on: the top of its stack, and what registers and then memory point
    /// to.
    fn near_lines(&self, memory: &Memory, registers: &Registers) -> Vec<LineHash> {
        let line_of = |address: u64| address / LINE_BYTES as u64;
        let mut queue: VecDeque<(u64, u32)> = VecDeque::new();
        let top = registers.rsp.saturating_sub(RED_ZONE_BYTES);
        let stack = (top..registers.rsp.saturating_add(NEAR_STACK_BYTES)).step_by(LINE_BYTES);
        queue.extend(stack.map(|address| (line_of(address), 0)));
        queue.extend(registers.words().into_iter().map(|word| (line_of(word), 0)));
        let mut seen = HashSet::new();
        let mut lines = Vec::new();
        while let Some((line, depth)) = queue.pop_front() {
            let address = line * LINE_BYTES as u64;
            if lines.len() >= NEAR_LINES_MAX || self.map_of(address).is_none() || !seen.insert(line) {
                continue;
            }
            let Ok(contents) = memory.array::<LINE_BYTES>(address) else { continue };
            lines.push(LineHash { line, hash: line_hash(&contents) });
            if depth < NEAR_DEPTH_MAX {
                let words = contents.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
                queue.extend(words.map(|word| (line_of(word), depth + 1)));
            }
        }
        lines
    }
}

fn page_of(address: u64) -> u64 {
    address & !(PAGE - 1)
}
