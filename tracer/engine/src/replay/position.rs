//! Places in a recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A place in a recording: so many events have been applied, and then the thread of the next event has gone these
/// legs. A position is a value: it means the same in every replay, unless its first leg is a landmark, which only the
/// session that made it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of events that have been applied.
    pub event: u64,
    /// The way from there, in order.
    pub legs: Vec<Leg>,
}

/// A piece of the way within an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Until the instruction at `address` has been reached `count` times, the place where the leg begins not counted.
    Visits {
        /// The instruction.
        address: u64,
        /// How often, at least once.
        count: u64,
    },
    /// Until this watch has triggered `count` times.
    Touches {
        /// The watched memory.
        watch: super::Watch,
        /// How often, at least once.
        count: u64,
    },
    /// So many instructions.
    Steps(u64),
    /// Up to the point of the next event, before it is applied: at the faulting instruction, or in the call.
    ToEvent,
    /// To a place where the session has copied the processes. Always the first leg.
    Landmark(Landmark),
}

/// A place in the midst of an interval at which a session has copied the processes: it has no other name, and is found
/// again by what it looks like.
#[derive(Clone, Debug)]
pub struct Landmark(Arc<Place>);

/// Landmarks of the *main* chain of an interval are made while replay first goes through it, those of a side chain by a
/// search between two of them.
#[derive(Debug)]
struct Place {
    number: u64,
    /// Where in the main chain: the time from the interval's start in nanoseconds. For one of a side chain, that of the
    /// main landmark before it.
    main: u64,
    side: Option<Side>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side {
    chain: u64,
    order: u64,
}

impl PartialEq for Landmark {
    fn eq(&self, other: &Landmark) -> bool {
        self.0.number == other.0.number
    }
}

impl Eq for Landmark {}

fn fresh_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// A series of landmarks between two of the main chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    chain: u64,
}

impl Chain {
    /// The order of a landmark behind all others of its chain.
    pub(crate) const END: u64 = 1 << 62;

    pub(crate) fn new() -> Chain {
        Chain { chain: fresh_number() }
    }

    /// A landmark after the main landmark at `main`.
    pub(crate) fn landmark(self, main: u64, order: u64) -> Landmark {
        let side = Some(Side { chain: self.chain, order });
        Landmark(Arc::new(Place { number: fresh_number(), main, side }))
    }
}

impl Landmark {
    /// One of the main chain.
    pub(crate) fn of_main(main: u64) -> Landmark {
        Landmark(Arc::new(Place { number: fresh_number(), main, side: None }))
    }

    /// The chain and the order in it, for one of a side chain.
    pub(crate) fn side(&self) -> Option<(Chain, u64)> {
        self.0.side.map(|side| (Chain { chain: side.chain }, side.order))
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    /// No position but the one that was made with it names it.
    pub(crate) fn is_forgotten(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// It is known to lie before the other.
    fn is_before(&self, other: &Landmark) -> bool {
        match (self.0.side, other.0.side) {
            (None, None) => self.0.main < other.0.main,
            (None, Some(_)) => self.0.main <= other.0.main,
            (Some(side), Some(other)) => side.chain == other.chain && side.order < other.order,
            (Some(_), None) => false,
        }
    }
}

impl Position {
    /// The place just after `event` events.
    pub fn at_event(event: u64) -> Position {
        Position { event, legs: Vec::new() }
    }

    /// The same interval, one leg further; steps are added up, and a landmark stands for the way to it.
    pub fn then(&self, leg: Leg) -> Position {
        if matches!(leg, Leg::Landmark(_)) {
            return Position { event: self.event, legs: vec![leg] };
        }
        let mut legs = self.legs.clone();
        match (legs.last_mut(), &leg) {
            (_, Leg::Steps(0)) => {}
            (Some(Leg::Steps(steps)), Leg::Steps(more)) => *steps += more,
            _ => legs.push(leg),
        }
        Position { event: self.event, legs }
    }

    /// Every way to `other` leads through here: then a checkpoint here can serve to go there.
    pub fn leads_to(&self, other: &Position) -> bool {
        if self.legs.is_empty() {
            return self.event <= other.event;
        }
        if self.event != other.event {
            return self.event < other.event && self.is_main_landmark();
        }
        if let (Some(here), Some(there)) = (self.landmark(), other.landmark())
            && here != there
        {
            return self.legs.len() == 1 && here.is_before(there);
        }
        let (last, before) = self.legs.split_last().expect("it has legs");
        let Some((at, rest)) = other.legs.split_at_checked(before.len()) else { return false };
        at == before
            && match (last, rest.first()) {
                (Leg::Steps(here), Some(Leg::Steps(there))) => here <= there,
                (here, Some(there)) => here == there,
                (_, None) => false,
            }
    }

    /// Of several places that lead to another, the one with the highest value is nearest to it.
    pub(crate) fn nearness(&self) -> (u64, u64, u64, usize, u64) {
        let order = self.landmark().and_then(Landmark::side).map_or(0, |(_, order)| order);
        let steps = if let Some(Leg::Steps(steps)) = self.legs.last() { *steps } else { 0 };
        (self.event, self.main(), order, self.legs.len(), steps)
    }

    /// The landmark that the way begins at.
    pub(crate) fn landmark(&self) -> Option<&Landmark> {
        if let Some(Leg::Landmark(landmark)) = self.legs.first() { Some(landmark) } else { None }
    }

    /// Where in the main chain of its interval the last main landmark before it is; 0 without one.
    pub(crate) fn main(&self) -> u64 {
        self.landmark().map_or(0, |landmark| landmark.0.main)
    }

    fn is_main_landmark(&self) -> bool {
        self.legs.len() == 1 && self.landmark().is_some_and(|landmark| landmark.0.side.is_none())
    }

    /// What is left of the way to `other` from here, where [`Position::leads_to`] holds and the event is the same.
    pub(crate) fn rest_of(&self, other: &Position) -> Vec<Leg> {
        let Some((last, before)) = self.legs.split_last() else { return other.legs.clone() };
        if other.landmark().is_some_and(|landmark| self.landmark() != Some(landmark)) {
            return other.legs.clone();
        }
        let mut rest = other.legs[before.len()..].to_vec();
        match (last, rest.first_mut()) {
            (Leg::Steps(here), Some(Leg::Steps(there))) if here < there => *there -= here,
            _ => drop(rest.remove(0)),
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landmarks_lead_on_only_where_their_order_is_known() {
        let at = |landmark: Landmark| Position::at_event(7).then(Leg::Landmark(landmark));
        let (first, second) = (at(Landmark::of_main(10)), at(Landmark::of_main(20)));
        let chain = Chain::new();
        let (low, high) = (at(chain.landmark(10, 1)), at(chain.landmark(10, 2)));
        let other = at(Chain::new().landmark(10, 1));
        assert!(first.leads_to(&second) && !second.leads_to(&first));
        assert!(first.leads_to(&low) && low.leads_to(&high) && !high.leads_to(&low));
        assert!(!low.leads_to(&other) && !low.leads_to(&second) && !second.leads_to(&low));
        let behind = low.then(Leg::Steps(3));
        assert!(low.leads_to(&behind) && first.leads_to(&behind) && !behind.leads_to(&high));
        assert!(Position::at_event(7).leads_to(&low) && !Position::at_event(8).leads_to(&low));
        assert!(second.leads_to(&Position::at_event(8)) && !low.leads_to(&Position::at_event(8)));
        assert_eq!(first.rest_of(&behind), behind.legs);
        assert_eq!(low.rest_of(&behind), [Leg::Steps(3)]);
        assert_eq!(behind.then(Leg::Landmark(high.landmark().cloned().expect("a landmark"))), high);
    }

    #[test]
    fn the_rest_of_a_way_with_steps() {
        let visits = Leg::Visits { address: 0x10, count: 3 };
        let here = Position::at_event(7).then(visits.clone()).then(Leg::Steps(2));
        let there = here.then(Leg::Steps(3)).then(Leg::ToEvent);
        assert!(here.leads_to(&there) && !there.leads_to(&here));
        assert_eq!(here.rest_of(&there), [Leg::Steps(3), Leg::ToEvent]);
        assert!(Position::at_event(7).leads_to(&here) && Position::at_event(6).leads_to(&here));
        assert!(!Position::at_event(8).leads_to(&here));
        assert!(here.rest_of(&here).is_empty());
    }
}
