//! `vdbg record --chaos`: turns are given at random, so that races, deadlocks and lost wake-ups that need an unlucky
//! schedule show sooner.
//!
//! An ordinary recording gives turns in order and lets a thread run for ten milliseconds. Here the scheduler has *moods*,
//! each for some decisions: in one it is nearly as usual, in one it cuts slices to microseconds, in one it starves a thread.
//! A thread may lose its turn at the entry of a call, between the decision to wait and the wait, or some instructions
//! after an input, between a load and its store; and it may be held back
//! although nobody else could run, as on a machine with something better to do (rr's chaos mode: R. O'Callahan, "Introducing
//! rr chaos mode", 2016; random priorities: Burckhardt et al., "A randomized scheduler with probabilistic guarantees of
//! finding bugs", ASPLOS 2010). All choices come from one seed, so that they can be made again; what else a run depends on
//! comes from outside.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many decisions a mood lasts at least and at most.
const MOOD_DECISIONS: (u64, u64) = (8, 250);

/// How the scheduler is disposed for a while.
#[derive(Clone, Copy, Debug)]
struct Mood {
    /// Shortest and longest slice.
    slice: (Duration, Duration),
    /// How often a thread loses its turn at the entry of a call, in percent.
    entry_percent: u64,
    /// How often a thread that loses its turn is held back as well, in percent.
    hold_percent: u64,
    /// How often a thread loses its turn a few instructions after an input, in percent.
    cut_percent: u64,
    /// Threads have priorities; else each is as likely as another.
    ranked: bool,
}

const MOODS: [Mood; 4] = [
    Mood {
        slice: (micros(1000), micros(20_000)),
        entry_percent: 2,
        hold_percent: 0,
        cut_percent: 1,
        ranked: false,
    },
    Mood {
        slice: (micros(20), micros(400)),
        entry_percent: 25,
        hold_percent: 5,
        cut_percent: 12,
        ranked: false,
    },
    Mood {
        slice: (micros(50), micros(3000)),
        entry_percent: 10,
        hold_percent: 10,
        cut_percent: 5,
        ranked: true,
    },
    Mood {
        slice: (micros(20), micros(10_000)),
        entry_percent: 50,
        hold_percent: 20,
        cut_percent: 20,
        ranked: true,
    },
];

/// How long a thread is held back at least and at most.
const HOLD: (Duration, Duration) = (micros(50), micros(5000));

/// A thread loses its turn after up to two to the power of this many instructions, at least and at most: each costs a step.
const CUT_MAGNITUDES: (u64, u64) = (1, 9);

/// Many a thread does all that it does within microseconds, before any slice is over. At its first inputs it loses its turn
/// at least so often, in percent, ...
const FRESH_CUT_PERCENT: u64 = 60;

/// ... later than others do, as the first instructions are the library's, ...
const FRESH_CUT_MAGNITUDES: (u64, u64) = (6, 12);

/// ... and is held back so often, in percent, so that others come to where it has been.
const FRESH_HOLD_PERCENT: u64 = 50;

/// How many inputs a thread is new for.
pub(super) const FRESH_INPUTS: u8 = 8;

const fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

/// The scheduler's choices.
pub(super) struct Chaos {
    random: Random,
    mood: Mood,
    /// Decisions left in this mood.
    left: u64,
    priorities: HashMap<i32, u64>,
    held: HashMap<i32, Instant>,
}

impl Chaos {
    pub(super) fn new(seed: u64) -> Chaos {
        Chaos {
            random: Random(seed),
            mood: MOODS[0],
            left: 0,
            priorities: HashMap::new(),
            held: HashMap::new(),
        }
    }

    /// How long the next slice is.
    pub(super) fn slice(&mut self) -> Duration {
        self.decide();
        self.random.between(self.mood.slice)
    }

    /// Which of the threads that are ready gets the turn; `None` when all of them are to wait.
    pub(super) fn pick(&mut self, ready: &[i32]) -> Option<i32> {
        self.decide();
        let now = Instant::now();
        self.held.retain(|_, until| *until > now);
        let free: Vec<i32> = ready.iter().copied().filter(|thread| !self.held.contains_key(thread)).collect();
        if free.is_empty() {
            return None;
        }
        if !self.mood.ranked {
            return Some(free[self.random.below(free.len() as u64) as usize]);
        }
        let (random, priorities) = (&mut self.random, &mut self.priorities);
        free.into_iter().max_by_key(|thread| *priorities.entry(*thread).or_insert_with(|| random.next()))
    }

    /// When the first of the threads that are held back is free.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held.values().min().copied()
    }

    /// Whether a thread loses its turn at the entry of a call. `alone`: nobody else is ready, so that it is held back if it does.
    pub(super) fn takes_turn(&mut self, thread: i32, alone: bool) -> bool {
        self.decide();
        if alone {
            return self.holds_alone(thread);
        }
        let takes = self.random.below(100) < self.mood.entry_percent;
        if takes {
            self.hold(thread, self.mood.hold_percent);
        }
        takes
    }

    /// Holds a thread back although nobody else could run: who sleeps may wake up meanwhile.
    fn holds_alone(&mut self, thread: i32) -> bool {
        let holds = self.random.below(100) < self.mood.hold_percent.max(self.mood.cut_percent);
        if holds {
            self.hold(thread, 100);
        }
        holds
    }

    fn hold(&mut self, thread: i32, percent: u64) {
        if self.random.below(100) < percent {
            let until = Instant::now() + self.random.between(HOLD);
            self.held.insert(thread, until);
        }
    }

    /// After how many instructions a thread loses its turn that goes on behind an input. `fresh`: it is one of its first; `alone`:
    /// nobody else is ready.
    pub(super) fn cut(&mut self, thread: i32, fresh: bool, alone: bool) -> Option<u64> {
        let percent = self.mood.cut_percent.max(if fresh { FRESH_CUT_PERCENT } else { 0 });
        let cuts = match alone {
            true => self.holds_alone(thread),
            false => self.random.below(100) < percent,
        };
        if !cuts {
            return None;
        }
        if fresh {
            self.hold(thread, FRESH_HOLD_PERCENT);
        }
        let (least, most) = if fresh { FRESH_CUT_MAGNITUDES } else { CUT_MAGNITUDES };
        let magnitude = least + self.random.below(most - least + 1);
        Some(1 + self.random.below(1 << magnitude))
    }

    /// Whether a thread whose slice is over is waited for to make a call, instead of being stopped where it is.
    pub(super) fn waits_for_call(&mut self) -> bool {
        self.random.below(3) == 0
    }

    /// Whether the next call of a thread stops, so that it can lose its turn there.
    pub(super) fn looks_at_next_call(&mut self, fresh: bool) -> bool {
        fresh || self.random.below(100) < self.mood.entry_percent * 2 + 10
    }

    fn decide(&mut self) {
        if self.left == 0 {
            self.mood = MOODS[self.random.below(MOODS.len() as u64) as usize];
            self.left = MOOD_DECISIONS.0 + self.random.below(MOOD_DECISIONS.1 - MOOD_DECISIONS.0);
            self.priorities.clear();
        }
        self.left -= 1;
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A time, each order of magnitude as likely as another.
    fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        let unit = self.next() as f64 / u64::MAX as f64;
        let ratio = most.as_secs_f64() / least.as_secs_f64();
        Duration::from_secs_f64(least.as_secs_f64() * ratio.powf(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::{Chaos, HOLD, MOODS};

    #[test]
    fn a_seed_repeats_its_choices() {
        let choices = |seed| {
            let mut chaos = Chaos::new(seed);
            (0..1000).map(|_| (chaos.slice(), chaos.random.below(7))).collect::<Vec<_>>()
        };
        assert_eq!(choices(5), choices(5));
        assert_ne!(choices(5), choices(6));
    }

    #[test]
    fn every_thread_gets_its_turn_and_every_mood_comes() {
        let mut chaos = Chaos::new(1);
        let mut seen = std::collections::BTreeSet::new();
        let mut moods = std::collections::BTreeSet::new();
        for _ in 0..20_000 {
            seen.extend(chaos.pick(&[3, 4, 5]));
            moods.insert(chaos.mood.entry_percent);
            let slice = chaos.slice();
            assert!(slice >= MOODS[1].slice.0 && slice <= MOODS[0].slice.1);
        }
        assert_eq!((seen.len(), moods.len()), (3, MOODS.len()));
    }

    #[test]
    fn nobody_is_held_back_for_long() {
        let mut chaos = Chaos::new(2);
        let begin = std::time::Instant::now();
        let taken = (0..5000).filter(|turn| chaos.takes_turn(3, turn % 2 == 0)).count();
        assert!(taken > 100);
        assert!(chaos.held_until().is_none_or(|until| until <= std::time::Instant::now() + HOLD.1));
        assert!(chaos.held.len() <= 1 && begin.elapsed().as_secs() < 60);
    }
}
