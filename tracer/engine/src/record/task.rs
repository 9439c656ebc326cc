//! The recorder's view of the traced threads and their address spaces.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use trace::{Registers, SpaceId, ThreadId};

use crate::layout::Layout;
use crate::record::clocks::Clocks;
use crate::record::hooks::Hooks;
use crate::record::written::Written;
use crate::sys::attach::Rseq;
use crate::sys::memory::Memory;
use crate::sys::ptrace::{SignalInfo, Wait};
use crate::unruly::Site;

/// Where a thread is between two of its stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It executes the program's instructions.
    User,
    /// It is in a system call, between the entry stop and the exit stop.
    Kernel,
}

/// What the recorder has to do with a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It runs, or waits in the kernel.
    Running,
    /// It is in a stop that has not been looked at.
    Stopped(Wait),
    /// Its stop has been dealt with; it goes on when its turn comes.
    Parked,
    /// It is in a group stop, until SIGCONT.
    GroupStopped,
}

/// A traced thread.
pub(crate) struct Task {
    pub(crate) thread: i32,
    /// Its process (thread group).
    pub(crate) process: i32,
    pub(crate) space: SpaceId,
    pub(crate) phase: Phase,
    pub(crate) status: Status,
    /// Registers at the entry of the call it is in.
    pub(crate) entry: Registers,
    /// Its number; of a restarted call the number it was begun with.
    pub(crate) call: u64,
    /// The trace already says that it is in a call.
    pub(crate) announced: bool,
    /// What the recorder does with the call it is in.
    pub(crate) intervention: Intervention,
    /// Where it stood after its last event.
    pub(crate) boundary: Option<Boundary>,
    /// The call that returned last was interrupted and may be begun again.
    pub(crate) interrupted: bool,
    /// Signals taken from the kernel and not yet delivered.
    pub(crate) pending: VecDeque<SignalInfo>,
    /// When the first of them has to be delivered.
    pub(crate) deadline: Option<Instant>,
    /// Address of `clear_child_tid` (set_tid_address(2)), or 0.
    pub(crate) clear_tid: u64,
    /// The cores the program believes it may run on.
    pub(crate) affinity: Rc<Vec<u8>>,
    /// Registers after its last stop: segments and their bases are the same in between.
    pub(crate) segments: Registers,
    /// It may stand inside the bytes of a hook.
    pub(crate) misplaced: bool,
    /// The safety net stops its system calls.
    pub(crate) netted: bool,
    /// It has a seccomp filter of its own.
    pub(crate) filtered: bool,
    /// It may only read, write and end (seccomp(2), `SECCOMP_SET_MODE_STRICT`); the recorder sees to that.
    pub(crate) strict: bool,
    /// Memory before the call that it is in, when that has no rule.
    pub(crate) before: Option<crate::record::unknown::Before>,
    /// Its time stamp counter traps.
    pub(crate) tsc_traps: bool,
    /// The program has forbidden the thread to read its time stamp counter (prctl(2), `PR_SET_TSC`).
    pub(crate) tsc_forbidden: bool,
    /// It was in a call when a snapshot was made: its extended state is not in the trace yet.
    pub(crate) owes_state: bool,
    /// It loses its turn before the call that it is at, which it will make then.
    pub(crate) loses_turn: bool,
    /// It has lost its turn before the call that comes next.
    pub(crate) lost_turn: bool,
    /// For how many inputs chance treats it as a new thread ([`super::chaos`]).
    pub(crate) fresh: u8,
    /// The registration for restartable sequences that was taken from it.
    pub(crate) rseq: Rseq,
}

/// Where a thread stands after an event: there a signal may reach it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boundary {
    pub(crate) registers: Registers,
    /// Whoever is seen with these registers again has not executed anything. So it is behind a system call, which
    /// cannot be reached without another one; not so in a loop, where every turn may have the same registers.
    pub(crate) unique: bool,
}

impl Boundary {
    pub(crate) fn unique(registers: Registers) -> Boundary {
        Boundary { registers, unique: true }
    }

    /// The thread certainly still stands there. (The kernel changes its own note on the call, `orig_rax`.)
    pub(crate) fn holds(&self, now: &Registers) -> bool {
        self.unique && Registers { orig_rax: 0, ..self.registers } == Registers { orig_rax: 0, ..*now }
    }
}

/// How the recorder changes a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Intervention {
    /// Not at all.
    None,
    /// It is not executed and gives this result.
    Result(i64),
    /// It is executed with other arguments; these are put back.
    Arguments,
}

impl Task {
    pub(crate) fn new(thread: i32, process: i32, space: SpaceId, affinity: Rc<Vec<u8>>) -> Task {
        Task {
            thread,
            process,
            space,
            phase: Phase::User,
            status: Status::Parked,
            entry: Registers::default(),
            call: 0,
            announced: false,
            intervention: Intervention::None,
            boundary: None,
            interrupted: false,
            pending: VecDeque::new(),
            deadline: None,
            clear_tid: 0,
            affinity,
            segments: Registers::default(),
            misplaced: false,
            netted: false,
            filtered: false,
            strict: false,
            before: None,
            tsc_traps: true,
            tsc_forbidden: false,
            owes_state: false,
            loses_turn: false,
            lost_turn: false,
            fresh: 0,
            rseq: Rseq::default(),
        }
    }

    pub(crate) fn id(&self) -> ThreadId {
        ThreadId(self.thread)
    }

    /// It waits for its turn.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.status, Status::Stopped(_) | Status::Parked)
    }
}

/// An address space.
pub(crate) struct Space {
    pub(crate) memory: Rc<Memory>,
    /// Unruly instructions replaced by a trap.
    pub(crate) sites: HashMap<u64, Site>,
    /// Which memory was written since the last forced point.
    pub(crate) written: Written,
    /// End of the heap of brk(2).
    pub(crate) brk: u64,
    /// Address of a `syscall` instruction (in the vDSO), for calls on behalf of the recorder; 0 when there is none.
    pub(crate) syscall_address: u64,
    /// Threads in it.
    pub(crate) users: usize,
    /// Its system calls that lead to the agent.
    pub(crate) hooks: Hooks,
    /// What is known of its code, for the clocks.
    pub(crate) clocks: Clocks,
    /// What is mapped, as replay will have it.
    pub(crate) layout: Layout,
    /// Number of the event whose exec made its program.
    pub(crate) image: u64,
    /// The program and its arguments.
    pub(crate) program: Rc<(String, Vec<String>)>,
    /// Where its vDSO lies, and what was in it before it was patched.
    pub(crate) vdso: Option<(u64, Rc<Vec<u8>>)>,
    /// How many handlers will return into its vDSO.
    pub(crate) frames_in_vdso: i64,
    /// Some of it is left out when it is copied by fork.
    pub(crate) forks_in_part: bool,
}

impl Space {
    pub(crate) fn new(memory: Rc<Memory>) -> Space {
        Space {
            memory,
            sites: HashMap::new(),
            written: Written::default(),
            brk: 0,
            syscall_address: 0,
            users: 1,
            hooks: Hooks::default(),
            clocks: Clocks::default(),
            layout: Layout::default(),
            image: 0,
            program: Rc::default(),
            vdso: None,
            frames_in_vdso: 0,
            forks_in_part: false,
        }
    }

    /// Whether an address is in its vDSO.
    pub(crate) fn is_in_vdso(&self, address: u64) -> bool {
        let holds =
            |(start, image): &(u64, Rc<Vec<u8>>)| (*start..*start + image.len() as u64).contains(&address);
        self.vdso.as_ref().is_some_and(holds)
    }

    /// A signal frame has been made or used up that leads to an address.
    pub(crate) fn note_frame(&mut self, address: u64, change: i64) {
        if self.is_in_vdso(address) {
            self.frames_in_vdso += change;
        }
    }
}
