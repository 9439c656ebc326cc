//! The turn: which thread executes the program's instructions.
//!
//! A thread keeps it until it waits in a call, or until its slice is over and another is ready. Threads that wait inside
//! the agent pass it among themselves (`turn.c` of the agent); the recorder looks who has it whenever a thread stops, and
//! gives it to those who are ready outside.

use std::time::{Duration, Instant};

use agent::state;
use trace::EventKind;

use super::agent::{Agent, Orders, Turn};
use super::chaos::Chaos;
use super::syscall::begins_again;
use super::task::{Phase, Status, Task};
use super::{Next, Recorder, gone_is_fine, gone_is_fine_too};
use crate::TracerError;
use crate::sys::process;
use crate::sys::ptrace::{self, Resume, Wait};
use crate::sys::signal::{self, Disposition};

/// How long a thread may run while others wait for their turn.
pub(super) const SLICE: Duration = Duration::from_millis(10);

/// How long records stay in the agent's log while the program makes calls.
const LOG_INTERVAL: Duration = Duration::from_millis(100);

/// How long a thread whose time is over is waited for to make a call.
const CALL_WAIT: Duration = Duration::from_micros(200);

/// How long a thread in a call may be in a short, uninterruptible wait before others get their turn.
const BRIEF_WAIT: Duration = Duration::from_millis(5);

impl Recorder {
    /// Notes who has the turn. Threads inside pass it on without a word.
    pub(super) fn follow_turn(&mut self) {
        let Some(agent) = &self.agent else { return };
        let (owner, turns) = (agent.turn(), agent.turns());
        let current = match owner {
            Turn::Thread(thread) => Some(thread),
            Turn::Nobody | Turn::Recorder => None,
        };
        if current != self.current || turns != self.turns {
            self.begin_slice();
            (self.current, self.turns) = (current, turns);
        }
    }

    fn begin_slice(&mut self) {
        self.slice_end = Instant::now() + self.chaos.as_mut().map_or(SLICE, Chaos::slice);
    }

    /// Takes the turn from a thread that is stopped, is in a call that the recorder sees, or has ended.
    pub(super) fn end_turn(&mut self, thread: i32) {
        if self.current == Some(thread) {
            self.current = None;
        }
        if let Some(agent) = &self.agent {
            agent.take_turn_from(thread);
        }
    }

    /// Gives the turn to a thread that waits for it, or waits until there is one.
    pub(super) fn choose(&mut self) -> Result<(), TracerError> {
        if self.agent.as_ref().is_some_and(|agent| !agent.take_turn()) {
            return Ok(());
        }
        let inside = self.agent.as_ref().and_then(Agent::first_queued);
        // Those outside and those inside get it alternately.
        let outside = if inside.is_none() || self.inside_last { self.take_ready() } else { None };
        self.inside_last = false;
        if let Some(thread) = outside {
            return self.give_turn(thread);
        }
        if let Some(thread) = inside {
            self.inside_last = true;
            return self.give_turn(thread);
        }
        if self.agent.as_ref().is_some_and(|agent| !agent.release_turn()) {
            return Ok(());
        }
        let flush = self.agent.as_ref().is_some_and(Agent::has_records);
        let flushed = flush.then(|| Instant::now() + LOG_INTERVAL);
        let held = self.chaos.as_ref().and_then(Chaos::held_until);
        let limit = [flushed, held].into_iter().flatten().min();
        if !self.wait_for_stop(limit)? && self.agent.as_ref().is_some_and(Agent::take_turn) {
            self.drain()?;
        }
        Ok(())
    }

    fn give_turn(&mut self, thread: i32) -> Result<(), TracerError> {
        self.announce_left(thread)?;
        self.current = Some(thread);
        self.begin_slice();
        self.turns = self.agent.as_ref().map_or(0, Agent::turns);
        self.give_orders(thread);
        self.agent.iter().filter(|_| self.is_out(thread)).for_each(|agent| agent.wake(thread));
        Ok(())
    }

    /// The first thread outside that waits for its turn.
    fn take_ready(&mut self) -> Option<i32> {
        if self.chaos.is_some() {
            return self.take_ready_at_random();
        }
        while let Some(thread) = self.ready.pop_front() {
            if self.tasks.get(&thread).is_some_and(Task::is_ready) {
                return Some(thread);
            }
        }
        None
    }

    fn take_ready_at_random(&mut self) -> Option<i32> {
        let tasks = &self.tasks;
        self.ready.retain(|thread| tasks.get(thread).is_some_and(Task::is_ready));
        let ready = self.ready.make_contiguous();
        let picked = self.chaos.as_mut().and_then(|chaos| chaos.pick(ready))?;
        self.ready.retain(|thread| *thread != picked);
        Some(picked)
    }

    pub(super) fn others_ready(&mut self) -> bool {
        let (tasks, current) = (&self.tasks, self.current);
        let waits = |thread: &i32| Some(*thread) != current && tasks.get(thread).is_some_and(Task::is_ready);
        while let Some(first) = self.ready.front() {
            if waits(first) {
                return true;
            }
            self.ready.pop_front();
        }
        false
    }

    /// Whether others wait for the turn, outside or inside.
    fn is_wanted(&mut self) -> bool {
        self.others_ready() || self.agent.as_ref().is_some_and(|agent| agent.first_queued().is_some())
    }

    /// Whether others wait for the turn, or may come to wait for it at any time without a stop.
    fn may_be_wanted(&mut self) -> bool {
        self.others_ready() || self.agent.as_ref().is_some_and(Agent::anyone_inside)
    }

    /// Deals with the stop of the thread whose turn it is, or waits for one.
    pub(super) fn turn(&mut self, thread: i32) -> Result<(), TracerError> {
        let Some(task) = self.tasks.get(&thread) else {
            self.end_turn(thread);
            return Ok(());
        };
        match task.status {
            Status::Stopped(stop) => {
                let next = self.process(thread, stop)?;
                self.go_on(thread, next)
            }
            Status::Parked => self.resume(thread, 0),
            Status::GroupStopped => {
                self.end_turn(thread);
                Ok(())
            }
            Status::Running => self.wait_while_running(thread),
        }
    }

    pub(super) fn go_on(&mut self, thread: i32, next: Next) -> Result<(), TracerError> {
        match next {
            Next::Away => Ok(()),
            Next::Gone => {
                self.end_turn(thread);
                Ok(())
            }
            Next::GroupStop => {
                if self.agent.as_ref().is_some_and(|agent| agent.state(thread) == state::LEAVING) {
                    // It has not given the turn up, and must not do so when it goes on.
                    self.leave_agent(thread)?;
                }
                self.end_turn(thread);
                let by = match self.tasks[&thread].status {
                    Status::Stopped(Wait::Stop(signal)) => signal,
                    _ => libc::SIGSTOP,
                };
                self.stay_stopped(thread, by)
            }
            Next::GoOn => self.resume(thread, 0),
            Next::Resume(signal) => {
                let at_boundary = self.task(thread).phase == Phase::User && signal == 0;
                if at_boundary && self.ending.is_due() {
                    self.task(thread).status = Status::Parked;
                    self.yield_turn(thread);
                    return Ok(());
                }
                if at_boundary && self.chaos.is_some() {
                    self.gather()?;
                }
                if at_boundary {
                    self.snapshot_if_due(thread).or_else(gone_is_fine_too)?;
                }
                if at_boundary && Instant::now() >= self.slice_end && self.is_wanted() {
                    self.task(thread).status = Status::Parked;
                    self.yield_turn(thread);
                    return Ok(());
                }
                self.resume(thread, signal)
            }
        }
    }

    pub(super) fn yield_turn(&mut self, thread: i32) {
        self.ready.push_back(thread);
        self.end_turn(thread);
    }

    /// Leaves a thread in its group stop.
    fn stay_stopped(&mut self, thread: i32, by: i32) -> Result<(), TracerError> {
        self.task(thread).status = Status::GroupStopped;
        ptrace::resume(thread, Resume::Listen, 0).or_else(gone_is_fine)?;
        if self.tasks.values().all(|task| task.status == Status::GroupStopped) {
            self.stop_beside(by);
        }
        Ok(())
    }

    /// The program is stopped as a job: so is this process, for the shell that waits for it. Who sends SIGSTOP to the program
    /// alone may continue it alone too.
    fn stop_beside(&self, by: i32) {
        match by {
            libc::SIGSTOP if !self.attached && signal::is_foreground_job() => {
                signal::stop_self_beside(self.root)
            }
            libc::SIGSTOP => {}
            _ => signal::stop_self(),
        }
    }

    pub(super) fn resume(&mut self, thread: i32, signal: i32) -> Result<(), TracerError> {
        if self.tasks[&thread].phase == Phase::User {
            if self.tasks[&thread].owes_state {
                self.say_state(thread).or_else(gone_is_fine_too)?;
            }
            self.match_time_stamps(thread, signal)?;
            if std::mem::take(&mut self.task(thread).misplaced) && signal == 0 {
                self.replace(thread).or_else(gone_is_fine_too)?;
            }
            self.give_orders(thread);
            if let Some(steps) = self.steps_to_cut(thread, signal)? {
                return self.cut(thread, steps);
            }
        }
        let task = self.task(thread);
        task.status = Status::Running;
        // The safety net stops calls at their entry; the return has to be asked for.
        let how = if task.phase == Phase::User && task.netted { Resume::Continue } else { Resume::Syscall };
        ptrace::resume(thread, how, signal).or_else(gone_is_fine)?;
        Ok(())
    }

    /// Lets the threads that have been woken come to their stops, so that they can get the turn.
    fn gather(&mut self) -> Result<(), TracerError> {
        /// How long they are waited for.
        const TIME: Duration = Duration::from_micros(40);
        let in_kernel = |task: &Task| task.phase == Phase::Kernel && task.status == Status::Running;
        let limit = Instant::now() + TIME;
        while self.tasks.values().any(in_kernel) && self.wait_for_stop(Some(limit))? {}
        Ok(())
    }

    /// After how many instructions the thread loses its turn, if chance will have it so.
    fn steps_to_cut(&mut self, thread: i32, signal: i32) -> Result<Option<u64>, TracerError> {
        let alone = !self.others_ready();
        if signal != 0 || self.chaos.is_none() || alone && self.tasks.len() == 1 {
            return Ok(None);
        }
        let Ok(raw) = self.raw_registers(thread) else { return Ok(None) };
        let enters = begins_again(&raw) || self.enters_agent(thread, raw.rip);
        if enters {
            return Ok(None);
        }
        let task = self.task(thread);
        let fresh = task.fresh > 0;
        task.fresh = task.fresh.saturating_sub(1);
        Ok(self.chaos.as_mut().and_then(|chaos| chaos.cut(thread, fresh, alone)))
    }

    /// Tells the agent what the thread may do, and that it has the turn.
    fn give_orders(&mut self, thread: i32) {
        if self.agent.is_none() {
            return;
        }
        let slice_over = Instant::now() >= self.slice_end && self.is_wanted();
        let outsiders = self.others_ready() || self.chaos.is_some();
        let task = &self.tasks[&thread];
        let fresh = task.fresh > 0;
        let looks = slice_over || self.chaos.as_mut().is_some_and(|chaos| chaos.looks_at_next_call(fresh));
        let orders = Orders {
            attention: !task.netted || !task.pending.is_empty() || task.interrupted || looks,
            alone: self.tasks.len() == 1,
            shared_files: !self.shared.is_empty() || self.cut,
            outsiders,
        };
        let process = task.process;
        if let Some(agent) = &mut self.agent {
            agent.give_orders(thread, process, &orders);
        }
    }

    fn wait_while_running(&mut self, thread: i32) -> Result<(), TracerError> {
        let others = self.may_be_wanted();
        let task = &self.tasks[&thread];
        match task.phase {
            Phase::Kernel if others => self.wait_for_call(thread),
            Phase::Kernel => self.wait_for_stop(None).map(drop),
            Phase::User => {
                let slice = others.then_some(self.slice_end);
                let forced = [Some(self.snapshots.forced_at()), self.ending.at()];
                let forced = if self.ending.is_due() {
                    Some(Instant::now())
                } else {
                    forced.into_iter().flatten().min()
                };
                let point = [slice, task.deadline, forced].into_iter().flatten().min();
                let flush = self.agent.is_some().then(|| Instant::now() + LOG_INTERVAL);
                let limit = [point, flush].into_iter().flatten().min();
                if self.wait_for_stop(limit)? || !self.still_runs(thread) {
                    return Ok(());
                }
                if point.is_none_or(|point| Instant::now() < point) {
                    // What is in the log would be lost with the recorder.
                    self.agent.iter().filter(|agent| agent.has_records()).for_each(Agent::ask_for_stop);
                    return Ok(());
                }
                let due = self.tasks[&thread].deadline.is_some_and(|deadline| Instant::now() >= deadline);
                let forced = forced.is_some_and(|forced| Instant::now() >= forced);
                if !due && !forced && !self.is_wanted() {
                    self.begin_slice();
                    return Ok(());
                }
                let waits = self.chaos.as_mut().is_none_or(Chaos::waits_for_call);
                if let Some(agent) = self.agent.as_ref().filter(|_| waits) {
                    // The next call may come soon, and costs less than a point.
                    agent.ask_for_stop();
                    let limit = Some(Instant::now() + CALL_WAIT);
                    if self.wait_for_stop(limit)? || !self.still_runs(thread) {
                        return Ok(());
                    }
                }
                self.force_point(thread)
            }
        }
    }

    /// The thread runs, and nobody else has had the turn since it was looked at last.
    fn still_runs(&mut self, thread: i32) -> bool {
        let turns = self.turns;
        self.follow_turn();
        let running = self.tasks.get(&thread).is_some_and(|task| task.status == Status::Running);
        running && self.current == Some(thread) && self.turns == turns
    }

    /// Waits for a call to return while others wait for their turn: if it sleeps, they get it.
    fn wait_for_call(&mut self, thread: i32) -> Result<(), TracerError> {
        let number = self.tasks[&thread].entry.orig_rax;
        let since = Instant::now();
        loop {
            if let Some((stopped, stop)) =
                ptrace::poll(-1).map_err(TracerError::system("wait for the program"))?
            {
                self.arrived(stopped, stop)?;
                if stopped == thread || self.current != Some(thread) {
                    return Ok(());
                }
                continue;
            }
            let state = process::state(thread);
            if state == Some(b'Z') && self.ended_unseen(thread)? {
                return Ok(());
            }
            if state.is_some_and(|state| loses_turn(number, state, since.elapsed())) {
                self.announce(thread)?;
                self.end_turn(thread);
                return Ok(());
            }
            std::thread::yield_now();
        }
    }

    /// Records that a thread is in a call, if the trace does not say so yet.
    pub(super) fn announce(&mut self, thread: i32) -> Result<(), TracerError> {
        let task = self.task(thread);
        if task.announced {
            return Ok(());
        }
        task.announced = true;
        let entry = task.entry;
        self.event(thread, entry, EventKind::SyscallEnter)
    }

    /// Waits for any stop; false when the time is over first, or when it is time to look for requests to the recorder.
    pub(super) fn wait_for_stop(&mut self, limit: Option<Instant>) -> Result<bool, TracerError> {
        /// How often the recorder looks whether it has been asked for something.
        const LOOK_UP: Duration = Duration::from_millis(200);
        let failed = TracerError::system("wait for the program");
        let asked = Instant::now() + LOOK_UP;
        let limit = limit.map_or(asked, |limit| limit.min(asked));
        let (thread, stop) = loop {
            if let Some(found) = ptrace::poll(-1).map_err(&failed)? {
                break found;
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            signal::wait_child(left);
        };
        self.arrived(thread, stop)?;
        Ok(true)
    }

    /// Notes a stop that waitpid(2) has reported.
    pub(super) fn arrived(&mut self, thread: i32, stop: Wait) -> Result<(), TracerError> {
        if stop == Wait::Event(libc::PTRACE_EVENT_EXEC) {
            self.take_over_leader(thread)?;
        }
        if let Wait::Ended(status) = stop {
            return self.ended(thread, status);
        }
        self.follow_turn();
        if self.tasks.contains_key(&thread) && self.stays_inside(thread, stop)? {
            return Ok(());
        }
        let is_current = self.current == Some(thread);
        match self.tasks.get_mut(&thread) {
            Some(task) => {
                task.status = Status::Stopped(stop);
                if !is_current {
                    self.ready.push_back(thread);
                    self.agent.iter().for_each(Agent::note_outsider);
                }
            }
            None => {
                self.early.insert(thread, stop);
            }
        }
        Ok(())
    }

    /// Whether a thread makes a call inside without the turn.
    pub(super) fn is_out(&self, thread: i32) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.state(thread) != state::HELD)
    }

    /// Deals with the stop of a thread that is inside without the turn, where that does not need the turn. False when the
    /// thread has to wait for it.
    fn stays_inside(&mut self, thread: i32, stop: Wait) -> Result<bool, TracerError> {
        let Some(agent) = &self.agent else { return Ok(false) };
        let state = agent.state(thread);
        if state == state::HELD || self.current == Some(thread) {
            return Ok(false);
        }
        if state == state::LEAVING {
            // It has given the turn up, and has not come to wake the next thread.
            agent.set_out(thread);
            self.current.iter().for_each(|next| agent.wake(*next));
        }
        match stop {
            Wait::Stop(libc::SIGTRAP) => {
                agent.wake(thread);
                self.go_on_inside(thread, 0).map(|()| true)
            }
            Wait::Stop(by) => {
                agent.set_stopped(thread, true);
                self.stay_stopped(thread, by).map(|()| true)
            }
            Wait::Signal(signal) if self.disposition(thread, signal)? == Disposition::Ignored => {
                self.go_on_inside(thread, signal).map(|()| true)
            }
            _ => {
                agent.set_stopped(thread, true);
                Ok(false)
            }
        }
    }

    /// Lets a thread that is inside without the turn take a signal that does nothing, or none.
    pub(super) fn go_on_inside(&mut self, thread: i32, signal: i32) -> Result<(), TracerError> {
        // From here on it may take the turn.
        self.end_turn(thread);
        self.agent.iter().for_each(|agent| agent.set_stopped(thread, false));
        self.task(thread).status = Status::Running;
        ptrace::resume(thread, Resume::Continue, signal).or_else(gone_is_fine)
    }
}

/// Whether a thread loses its turn that has been in a call for so long and is in this state (proc_pid_stat(5)).
///
/// Not one that copies or changes its address space: others would see the memory before or after that, and a child what they
/// have written meanwhile. Such a call waits for locks of the kernel's only, and has to be over when somebody else runs.
fn loses_turn(number: u64, state: u8, waited: Duration) -> bool {
    /// Something else is wrong when it takes longer: others may be needed for it to go on.
    const CHANGE_WAIT: Duration = Duration::from_secs(5);
    let row = syscalls::lookup(number);
    let copies =
        matches!(number as i64, libc::SYS_fork | libc::SYS_vfork | libc::SYS_clone | libc::SYS_clone3);
    let changes = copies || row.is_some_and(|row| matches!(row.class, syscalls::Class::Memory));
    match state {
        b'S' | b'D' if changes => waited > CHANGE_WAIT,
        b'S' => true,
        b'D' => {
            waited > BRIEF_WAIT
                && row.is_none_or(|row| row.blocks || !matches!(row.class, syscalls::Class::Plain))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::loses_turn;

    #[test]
    fn who_waits_loses_the_turn_but_not_in_a_change_of_memory() {
        let (brief, long, ever) = (Duration::ZERO, Duration::from_millis(300), Duration::from_secs(60));
        let loses = |call: i64, state, waited| loses_turn(call as u64, state, waited);
        assert!(loses(libc::SYS_read, b'S', brief) && loses(libc::SYS_read, b'D', long));
        assert!(!loses(libc::SYS_read, b'R', long) && !loses(libc::SYS_read, b'D', brief));
        // An exec waits for the other threads to end, which they do when they have the turn.
        assert!(loses(libc::SYS_execve, b'D', long));
        for change in [
            libc::SYS_clone,
            libc::SYS_fork,
            libc::SYS_clone3,
            libc::SYS_mmap,
            libc::SYS_munmap,
            libc::SYS_brk,
        ] {
            assert!(!loses(change, b'D', long) && !loses(change, b'S', long), "{change}");
            assert!(loses(change, b'D', ever), "{change}");
        }
    }
}
