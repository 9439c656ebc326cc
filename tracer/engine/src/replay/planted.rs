//! Breakpoints as stubs: what is asked at each visit is answered inside the process.
//!
//! A breakpoint with a [`Predicate`] costs a stop for each visit where an int3 is planted, and two nanoseconds where a
//! stub is: it evaluates the predicate and stops the thread only where that holds. Such a stub is called a *sentry*.
//! Positions count visits, so a sentry counts every visit, and at a stop the count is read from its data: the position
//! of a hit is the same whether a sentry or an int3 has found it. The way to the n-th visit of an instruction, with
//! other stops planted, is a sentry too; its predicate never holds.
//!
//! An int3 stays where no stub fits: where another stop lies in the bytes that the jump overwrites, where the forced
//! point of the interval lies there, in writable code, and where a stub is refused. While memory is watched all are
//! int3s: the check's own reads would trigger the watch.
//!
//! A predicate sees memory as it is: a program that looks at its own code through one finds the jumps there.

use patch::{Condition, JUMP_BYTES, Predicate};
use trace::{EventKind, Registers, SpaceId, ThreadId};

use super::legs::TRAPPED_COUNT_MAX;
use super::point::general;
use super::run::{Planted, Ran};
use super::session::Session;
use super::travel::Stops;
use super::world::World;
use crate::TracerError;
use crate::sys::ptrace::SignalInfo;

/// A count that is never reached.
const NEVER: u64 = i64::MAX as u64;

/// A stub that is a breakpoint.
#[derive(Clone, Debug)]
pub(crate) struct Sentry {
    pub(crate) planted: Planted,
    predicate: Predicate,
    /// The counter when it was last looked at.
    seen: u64,
}

/// A sentry that is to be planted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    site: u64,
    predicate: Predicate,
    /// It stops at this visit in any case.
    n: u64,
}

/// Addresses and sentries that stop a thread.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    traps: Vec<u64>,
    sentries: Vec<Wanted>,
}

/// What is to be planted besides the breakpoints.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    /// The n-th visit of this instruction is on the way.
    pub(crate) counted: Option<(u64, u64)>,
    /// The thread is stepped, which a stub would show, or memory is watched.
    pub(crate) traps_only: bool,
    /// An instruction that another stub needs.
    pub(crate) avoided: Option<u64>,
}

impl Extras {
    /// On the way to the `n`-th visit of an instruction, counted from here.
    pub(crate) fn counting(address: u64, n: u64) -> Self {
        Self { counted: Some((address, n)), ..Self::default() }
    }

    /// Where a stub of its own is looking for a place.
    pub(crate) fn avoiding(address: u64) -> Self {
        Self { avoided: Some(address), ..Self::default() }
    }

    /// For single steps.
    pub(crate) fn stepping() -> Self {
        Self { traps_only: true, ..Self::default() }
    }
}

/// What became of a signal.
pub(crate) enum Met {
    /// It is not a sentry's; the registers may have been put into the program's own terms.
    Other,
    /// The thread goes on.
    GoesOn,
    Stop(Ran),
}

/// Decides what becomes an int3 and what a sentry. `avoided` is an instruction that another stub may need.
fn plan(stops: &Stops, image: u64, extras: Extras, avoided: Option<u64>) -> Plan {
    let of_image = || stops.breakpoints.iter().filter(|point| point.image == image);
    let mut addresses: Vec<u64> = of_image().map(|point| point.address).collect();
    addresses.extend(extras.counted.map(|(address, _)| address));
    addresses.sort_unstable();
    addresses.dedup();
    let overlaps = |a: u64, b: u64| a.abs_diff(b) < JUMP_BYTES as u64;
    let mut plan = Plan::default();
    for site in addresses.iter().copied() {
        let crowded = || {
            addresses.iter().any(|other| *other != site && overlaps(*other, site))
                || avoided.is_some_and(|avoided| overlaps(avoided, site))
        };
        let n = extras.counted.filter(|(address, _)| *address == site).map_or(NEVER, |(_, n)| n);
        let here = of_image().filter(|point| point.address == site);
        let conditions: Option<Vec<Predicate>> = here.map(|point| point.condition.clone()).collect();
        // A short way to a visit is gone sooner than a stub is planted.
        let worth = |all: &Vec<Predicate>| !all.is_empty() || n > TRAPPED_COUNT_MAX;
        match conditions.filter(worth) {
            Some(conditions) if !extras.traps_only && !crowded() => {
                plan.sentries.push(Wanted { site, predicate: one_of(conditions), n });
            }
            _ => plan.traps.push(site),
        }
    }
    plan
}

fn one_of(mut conditions: Vec<Predicate>) -> Predicate {
    conditions.dedup();
    match conditions.len() {
        1 => conditions.remove(0),
        _ => Predicate::Any(conditions),
    }
}

impl Session {
    /// Plants the breakpoints for a thread that is about to run; the counting of visits begins here.
    pub(crate) fn plant_stops(
        &mut self,
        thread: ThreadId,
        stops: &Stops,
        extras: Extras,
    ) -> Result<(), TracerError> {
        let image = self.image_of(thread).unwrap_or(0);
        let avoided = match self.next_event()? {
            Some(event) if matches!(event.kind, EventKind::ForcedPoint { .. }) => Some(event.registers.rip),
            _ => None,
        };
        let avoided = extras.avoided.or(avoided);
        self.world.plant_all(thread, plan(stops, image, extras, avoided))
    }

    /// Whether a condition holds where the thread stands. What cannot be read is for the judge to tell.
    pub(crate) fn holds(&self, thread: ThreadId, predicate: &Predicate) -> bool {
        let Ok(registers) = self.world.registers(thread) else { return true };
        let read = |address: u64, buffer: &mut [u8]| {
            let len = buffer.len();
            self.read_memory(thread, address, buffer).is_ok_and(|read| read == len)
        };
        predicate.holds(&general(&registers), &read) != Some(false)
    }
}

impl World {
    /// Makes the stops of a thread's space just these. Addresses that are not mapped are left out.
    fn plant_all(&mut self, thread: ThreadId, mut plan: Plan) -> Result<(), TracerError> {
        let space = self.task(thread)?.space;
        let refused = &self.space(space)?.refused;
        let (kept, not): (Vec<_>, Vec<_>) =
            plan.sentries.drain(..).partition(|wanted| !refused.contains(&wanted.site));
        plan.traps.extend(not.iter().map(|wanted| wanted.site));
        self.keep_sentries(space, &kept)?;
        self.set_breakpoints(space, &plan.traps)?;
        for wanted in kept {
            if !self.plant_sentry(thread, space, &wanted)? {
                self.space_mut(space)?.refused.insert(wanted.site);
                plan.traps.push(wanted.site);
            }
        }
        self.set_breakpoints(space, &plan.traps)
    }

    /// Takes away the sentries that are not wanted any more.
    fn keep_sentries(&mut self, space: SpaceId, wanted: &[Wanted]) -> Result<(), TracerError> {
        let home = self.space_mut(space)?;
        let is_wanted = |sentry: &Sentry| {
            let same = |wanted: &Wanted| {
                wanted.site == sentry.planted.stub.site && wanted.predicate == sentry.predicate
            };
            wanted.iter().any(same)
        };
        let (kept, gone): (Vec<_>, Vec<_>) = home.sentries.drain(..).partition(is_wanted);
        home.sentries = kept;
        gone.iter().try_for_each(|sentry| home.unplant(&sentry.planted))
    }

    /// Takes all sentries of a space away, so that its memory is the program's own.
    pub(crate) fn clear_sentries(&mut self, space: SpaceId) -> Result<(), TracerError> {
        self.space_mut(space)?.refused.clear();
        self.keep_sentries(space, &[])
    }

    /// Plants a sentry, or sets the counter of the one that is there; false where no stub fits.
    fn plant_sentry(
        &mut self,
        thread: ThreadId,
        space: SpaceId,
        wanted: &Wanted,
    ) -> Result<bool, TracerError> {
        let known = self.space(space)?.sentries.iter().position(|at| at.planted.stub.site == wanted.site);
        if let Some(index) = known {
            self.set_counter(space, index, wanted.n)?;
            return Ok(true);
        }
        let mapping = self.space(space)?.layout.at(wanted.site);
        if mapping.is_none_or(|mapping| mapping.protection & libc::PROT_WRITE != 0) {
            return Ok(false);
        }
        let condition = Condition::Holds { predicate: wanted.predicate.clone(), n: wanted.n };
        let Some(planted) = self.plant(thread, wanted.site, &condition, &[])? else { return Ok(false) };
        let sentry = Sentry { planted, predicate: wanted.predicate.clone(), seen: wanted.n };
        self.space_mut(space)?.sentries.push(sentry);
        Ok(true)
    }

    fn set_counter(&mut self, space: SpaceId, index: usize, n: u64) -> Result<(), TracerError> {
        let home = self.space_mut(space)?;
        let sentry = &mut home.sentries[index];
        sentry.seen = n;
        home.shell
            .memory
            .write(sentry.planted.counter_address(), &n.to_le_bytes())
            .map_err(TracerError::system("write a counter"))
    }

    /// How often an instruction has been visited since this was last asked, for a thread that was stopped there: once,
    /// unless a sentry passed over the visits before.
    pub(crate) fn visits_since(&mut self, thread: ThreadId, address: u64) -> Result<u64, TracerError> {
        let space = self.task(thread)?.space;
        let home = self.space_mut(space)?;
        let Some(sentry) = home.sentries.iter_mut().find(|at| at.planted.stub.site == address) else {
            return Ok(1);
        };
        let counter = home.shell.memory.word(sentry.planted.counter_address());
        let counter = counter.map_err(TracerError::system("read a counter"))?;
        Ok(std::mem::replace(&mut sentry.seen, counter).wrapping_sub(counter))
    }

    /// A thread that stands at a sentry's site has been told of the visit: it goes on behind the check.
    pub(crate) fn leave_sentry(&self, thread: ThreadId) -> Result<(), TracerError> {
        let home = self.space(self.task(thread)?.space)?;
        if home.sentries.is_empty() {
            return Ok(());
        }
        let registers = self.registers(thread)?;
        match home.sentries.iter().find(|at| at.planted.stub.site == registers.rip) {
            Some(at) => {
                self.set_registers(thread, &Registers { rip: at.planted.stub.resume_rip, ..registers })
            }
            None => Ok(()),
        }
    }

    /// The sentry whose trampoline a thread is in.
    pub(crate) fn sentry_around(&self, thread: ThreadId, rip: u64) -> Result<Option<&Planted>, TracerError> {
        let home = self.space(self.task(thread)?.space)?;
        Ok(home.sentries.iter().map(|sentry| &sentry.planted).find(|planted| planted.contains(rip)))
    }

    /// What a signal means if a sentry raised it, or the code that it has moved.
    pub(crate) fn met_sentry(&self, thread: ThreadId, info: SignalInfo) -> Result<Met, TracerError> {
        let home = self.space(self.task(thread)?.space)?;
        if home.sentries.is_empty() {
            return Ok(Met::Other);
        }
        let registers = self.registers(thread)?;
        let at = |rip| self.set_registers(thread, &Registers { rip, ..registers });
        for stub in home.sentries.iter().map(|sentry| &sentry.planted.stub) {
            if registers.rip == stub.hit_rip && info.signal() == libc::SIGTRAP {
                at(stub.site)?;
                return Ok(Met::Stop(Ran::Breakpoint(stub.site)));
            }
            if let Some(rip) =
                stub.entry_into_middle(registers.rip).or_else(|| stub.unreadable(registers.rip))
            {
                at(rip)?;
                return Ok(Met::GoesOn);
            }
            if let Some(rip) = stub.original_rip(registers.rip) {
                at(rip)?;
            }
        }
        Ok(Met::Other)
    }
}

#[cfg(test)]
mod tests {
    use patch::{Relation, Term};

    use super::*;
    use crate::replay::Breakpoint;

    fn predicate(number: u64) -> Predicate {
        let right = Term::Constant(0);
        Predicate::Compare { left: Term::Constant(number), relation: Relation::Equal, right }
    }

    fn point(address: u64, condition: Option<u64>) -> Breakpoint {
        Breakpoint { id: 1, address, image: 0, condition: condition.map(predicate) }
    }

    fn sites(breakpoints: Vec<Breakpoint>, extras: Extras, avoided: Option<u64>) -> (Vec<u64>, Vec<u64>) {
        let stops = Stops { breakpoints, ..Stops::default() };
        let plan = plan(&stops, 0, extras, avoided);
        (plan.traps, plan.sentries.iter().map(|wanted| wanted.site).collect())
    }

    #[test]
    fn conditions_become_sentries_where_there_is_room() {
        let three = || vec![point(0x10, Some(1)), point(0x20, None), point(0x24, Some(2))];
        assert_eq!(sites(three(), Extras::default(), None), (vec![0x20, 0x24], vec![0x10]));
        assert_eq!(sites(three(), Extras::default(), Some(0x0c)), (vec![0x10, 0x20, 0x24], vec![]));
        assert_eq!(sites(three(), Extras::default(), Some(0x15)), (vec![0x20, 0x24], vec![0x10]));
        assert_eq!(sites(three(), Extras::stepping(), None), (vec![0x10, 0x20, 0x24], vec![]));
        let both = vec![point(0x10, Some(1)), point(0x10, None)];
        assert_eq!(sites(both, Extras::default(), None), (vec![0x10], vec![]));
        let other = Breakpoint { image: 7, ..point(0x10, Some(1)) };
        assert_eq!(sites(vec![other], Extras::default(), None), (vec![], vec![]));
    }

    #[test]
    fn the_way_to_a_visit_is_a_sentry_when_it_is_long() {
        let long = Extras::counting(0x30, TRAPPED_COUNT_MAX + 1);
        assert_eq!(sites(vec![point(0x10, None)], long, None), (vec![0x10], vec![0x30]));
        assert_eq!(sites(vec![point(0x30, None)], long, None), (vec![0x30], vec![]));
        assert_eq!(sites(vec![], Extras::counting(0x30, 2), None), (vec![0x30], vec![]));
        let stops =
            Stops { breakpoints: vec![point(0x30, Some(1)), point(0x30, Some(2))], ..Stops::default() };
        let plan = plan(&stops, 0, Extras::counting(0x30, 5), None);
        let predicate = Predicate::Any(vec![predicate(1), predicate(2)]);
        assert_eq!(plan.sentries, [Wanted { site: 0x30, predicate, n: 5 }]);
    }
}
