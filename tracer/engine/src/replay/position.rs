//! Places in a recording.

/// A place in a recording: so many events have been applied, and then the thread of the next event has gone these
/// legs. A position is a value: it means the same in every replay.
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
}

impl Position {
    /// The place just after `event` events.
    pub fn at_event(event: u64) -> Position {
        Position { event, legs: Vec::new() }
    }

    /// The same interval, one leg further; steps are added up.
    pub fn then(&self, leg: Leg) -> Position {
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
        if self.event != other.event || self.legs.is_empty() {
            return self.event <= other.event && self.legs.is_empty();
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

    /// What is left of the way to `other` from here, where [`Position::leads_to`] holds and the event is the same.
    pub(crate) fn rest_of(&self, other: &Position) -> Vec<Leg> {
        let Some((last, before)) = self.legs.split_last() else { return other.legs.clone() };
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
