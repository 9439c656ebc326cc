//! Recording.
//!
//! The recorder traces a whole process tree. At any time at most one thread of it executes the program's
//! instructions; all of them, and the recorder, are pinned to one core. So between two stops of the running thread
//! everything is deterministic, and the trace only needs what comes in at the stops:
//!
//! * A system call stops at entry and at exit. If it returns while nobody else ran it is one event; if it has to wait
//!   while others can run, its entry and its exit are events of their own.
//! * A signal that the instruction itself raised is delivered where it is. Any other is kept back until the next
//!   system call, and delivered at its entry; if none comes in time, a point is forced (see [`point`]).
//! * When threads wait for their turn, a slice ends at a system call, or, if none comes, at a forced point.
//!
//! With one thread and no signal nothing is ever forced, counted or polled: CPU-bound code runs as without us.
//!
//! Start reading at [`Recorder::run`].

mod agent;
mod clocks;
mod clone;
mod disguise;
mod exec;
mod hooks;
mod inside;
mod mappings;
pub(crate) mod point;
mod signals;
mod syscall;
mod task;
mod written;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use trace::{
    CallsContext, DATA_PIECE_BYTES_MAX, DataRef, Effect, Event, EventKind, FileStore, Header, Registers,
    SharedObject, SpaceId, TRACE_VERSION, TraceDirectory, Write, Writer,
};

use self::agent::{Agent, Orders};
use self::hooks::{Hooks, KnownSites};
use self::task::{Intervention, Phase, Space, Status, Task};
use crate::TracerError;
use crate::sys::memory::Memory;
use crate::sys::ptrace::{self, Resume, Wait};
use crate::sys::{machine, process, signal};

/// How long a thread may run while others wait for their turn.
const SLICE: Duration = Duration::from_millis(10);

/// A forced point at the end of a slice comes no sooner than this many times the cost of the last one after it.
const POINT_COST_FACTOR: u32 = 100;

/// How long records stay in the agent's log while the program makes calls.
const LOG_INTERVAL: Duration = Duration::from_millis(100);

/// How long a thread whose time is over is waited for to make a call.
const CALL_WAIT: Duration = Duration::from_micros(200);

/// How long a thread in a call may be in a short, uninterruptible wait before others get their turn.
const BRIEF_WAIT: Duration = Duration::from_millis(5);

/// What to record, and where to.
pub struct RecordOptions {
    /// The program, as the user named it.
    pub program: PathBuf,
    /// Its arguments, with the name it is called by first.
    pub arguments: Vec<CString>,
    /// The directory for the trace; without one a directory of its own below the default root.
    pub output: Option<PathBuf>,
    /// Stop the program at every system call, instead of logging calls inside it: slow, but without patching its code.
    pub without_agent: bool,
}

/// What came of a recording.
pub struct Recorded {
    /// The trace.
    pub directory: PathBuf,
    /// Wait status of the program, as in waitpid(2).
    pub status: i32,
    /// Number of events.
    pub events: u64,
    /// What the user should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Records a program until it and all its descendants have ended.
///
/// # Errors
/// When the program cannot be started, the trace cannot be written, or the kernel refuses to trace. What was recorded
/// until then replays.
pub fn record(options: &RecordOptions) -> Result<Recorded, TracerError> {
    let program = crate::program::find(&options.program)?;
    let place = TraceDirectory::create(options.output.as_deref(), &options.program.to_string_lossy())?;
    let result = Recorder::start(options, &program, &place).and_then(Recorder::run);
    if result.is_err() && !place.path.join("events").metadata().is_ok_and(|events| events.len() > 0) {
        // Nothing was recorded: leave no empty trace behind.
        let _ = std::fs::remove_dir_all(&place.path);
    }
    result
}

pub(crate) struct Recorder {
    writer: Writer,
    files: FileStore,
    directory: PathBuf,
    started: Instant,
    core: u32,
    tasks: BTreeMap<i32, Task>,
    spaces: HashMap<SpaceId, Space>,
    next_space: u32,
    /// Threads that wait for their turn, first come first served. Entries of threads that have ended are skipped.
    ready: VecDeque<i32>,
    /// The thread whose turn it is.
    current: Option<i32>,
    slice_end: Instant,
    /// Stops of threads whose creation has not been seen yet.
    early: HashMap<i32, Wait>,
    root: i32,
    root_status: Option<i32>,
    /// Objects of shared memory, by device and inode.
    shared: HashMap<(u64, u64), SharedObject>,
    next_shared: u32,
    /// Periods of interval timers, by process.
    timers: HashMap<i32, Duration>,
    /// What the recorder's own standard output and error are, as `/proc/PID/fd` shows them.
    standard_output: Option<PathBuf>,
    standard_error: Option<PathBuf>,
    warnings: Vec<String>,
    /// What runs inside the programs, unless it was not wanted.
    agent: Option<Agent>,
    known_sites: KnownSites,
    /// Unruly instructions of files, as offsets in a mapping.
    unruly_sites: HashMap<exec::TextKey, crate::unruly::Found>,
    /// Recorded time up to which there are events.
    drained_ns: u64,
}

/// How a thread goes on after its stop has been dealt with.
enum Next {
    /// Its stop was an event, or leads to one.
    Resume(i32),
    /// Its stop was none: it stands in the midst of an interval, where no other thread may get the turn.
    GoOn,
    /// It stays in a group stop.
    GroupStop,
    /// It has ended.
    Gone,
}

impl Recorder {
    fn start(
        options: &RecordOptions,
        program: &Path,
        place: &TraceDirectory,
    ) -> Result<Recorder, TracerError> {
        let affinity = process::affinity().map_err(TracerError::system("read the CPU affinity"))?;
        let core = process::current_core().unwrap_or_else(|| last_core(&affinity));
        let header = header(options, place, core);
        signal::block_child_signal().map_err(TracerError::system("block SIGCHLD"))?;
        let file_size_action = process::ignore_file_size_signal();
        let writer = Writer::create(&place.path, &header)?;
        let files = FileStore::create(&place.path, place.root.as_deref())?;
        process::pin(0, core).map_err(TracerError::system("pin the recorder to a core"))?;
        let program = process::Program {
            path: CString::new(program.as_os_str().as_bytes()).map_err(|_| TracerError::NulInPath)?,
            arguments: options.arguments.clone(),
            environment: environment(),
            file_size_action,
        };
        let root = process::launch(&program, core).map_err(|source| TracerError::Start {
            program: options.program.display().to_string(),
            source,
        })?;
        for job_signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTOU, libc::SIGTTIN] {
            signal::ignore(job_signal);
        }
        let mut recorder = Recorder {
            writer,
            files,
            directory: place.path.clone(),
            started: Instant::now(),
            core,
            tasks: BTreeMap::new(),
            spaces: HashMap::new(),
            next_space: 0,
            ready: VecDeque::new(),
            current: Some(root),
            slice_end: Instant::now() + SLICE,
            early: HashMap::new(),
            root,
            root_status: None,
            shared: HashMap::new(),
            next_shared: 0,
            timers: HashMap::new(),
            standard_output: std::fs::read_link("/proc/self/fd/1").ok(),
            standard_error: std::fs::read_link("/proc/self/fd/2").ok(),
            warnings: Vec::new(),
            agent: None,
            known_sites: KnownSites::new(),
            unruly_sites: HashMap::new(),
            drained_ns: 0,
        };
        recorder.start_agent(options);
        recorder.begin_root(Rc::new(affinity))?;
        Ok(recorder)
    }

    /// Makes what the agent needs, if it is wanted and possible.
    fn start_agent(&mut self, options: &RecordOptions) {
        if options.without_agent || !process::is_filtered(self.root) {
            return;
        }
        match Agent::create(&self.directory) {
            Ok(mut agent) => {
                agent.begin_process(self.root, None);
                self.agent = Some(agent);
            }
            Err(error) => self.warn(format!("every system call stops the program, which is slow: {error}")),
        }
    }

    /// Runs the program to its end.
    fn run(mut self) -> Result<Recorded, TracerError> {
        while !self.tasks.is_empty() {
            match self.current {
                Some(thread) => self.turn(thread)?,
                None => self.choose()?,
            }
        }
        // A leader that ended before its threads is reported when they are gone; its status is the process's.
        while let Ok((_, stop)) = ptrace::wait(self.root) {
            if let Wait::Ended(status) = stop {
                self.root_status = Some(status);
            }
        }
        let status = self.root_status.unwrap_or(0);
        let events = self.writer.events();
        let duration = self.now();
        self.writer.finish(status, duration)?;
        Ok(Recorded { directory: self.directory, status, events, warnings: self.warnings })
    }

    /// Gives the turn to the first thread that waits for it, or waits until there is one.
    fn choose(&mut self) -> Result<(), TracerError> {
        while let Some(thread) = self.ready.pop_front() {
            if self.tasks.get(&thread).is_some_and(Task::is_ready) {
                self.current = Some(thread);
                self.slice_end = Instant::now() + SLICE;
                return Ok(());
            }
        }
        self.wait_for_stop(None).map(drop)
    }

    /// Deals with the stop of the thread whose turn it is, or waits for one.
    fn turn(&mut self, thread: i32) -> Result<(), TracerError> {
        let Some(task) = self.tasks.get(&thread) else {
            self.current = None;
            return Ok(());
        };
        match task.status {
            Status::Stopped(stop) => {
                let next = self.process(thread, stop)?;
                self.go_on(thread, next)
            }
            Status::Parked => self.resume(thread, 0),
            Status::GroupStopped => {
                self.current = None;
                Ok(())
            }
            Status::Running => self.wait_while_running(thread),
        }
    }

    fn go_on(&mut self, thread: i32, next: Next) -> Result<(), TracerError> {
        match next {
            Next::Gone => {
                self.current = None;
                Ok(())
            }
            Next::GroupStop => {
                self.task(thread).status = Status::GroupStopped;
                self.current = None;
                ptrace::resume(thread, Resume::Listen, 0).or_else(gone_is_fine)?;
                self.stop_with_the_program();
                Ok(())
            }
            Next::GoOn => self.resume(thread, 0),
            Next::Resume(signal) => {
                let task = self.task(thread);
                let at_boundary = task.phase == Phase::User && signal == 0;
                if at_boundary && self.others_ready() && Instant::now() >= self.slice_end {
                    self.task(thread).status = Status::Parked;
                    self.yield_turn(thread);
                    return Ok(());
                }
                self.resume(thread, signal)
            }
        }
    }

    fn yield_turn(&mut self, thread: i32) {
        self.ready.push_back(thread);
        self.current = None;
    }

    /// The program is stopped as a job: so is this process, for the shell that waits for it.
    fn stop_with_the_program(&mut self) {
        if self.tasks.values().all(|task| task.status == Status::GroupStopped) {
            signal::stop_self();
        }
    }

    fn resume(&mut self, thread: i32, signal: i32) -> Result<(), TracerError> {
        if self.tasks[&thread].phase == Phase::User {
            self.match_time_stamps(thread, signal)?;
            if std::mem::take(&mut self.task(thread).misplaced) && signal == 0 {
                self.replace(thread).or_else(gone_is_fine_too)?;
            }
            self.give_orders(thread);
        }
        let task = self.task(thread);
        task.status = Status::Running;
        // The safety net stops calls at their entry; the return has to be asked for.
        let how = if task.phase == Phase::User && task.netted { Resume::Continue } else { Resume::Syscall };
        ptrace::resume(thread, how, signal).or_else(gone_is_fine)?;
        Ok(())
    }

    /// Tells the agent what the thread may do.
    fn give_orders(&mut self, thread: i32) {
        if self.agent.is_none() {
            return;
        }
        let slice_over = self.others_ready() && Instant::now() >= self.slice_end;
        let task = &self.tasks[&thread];
        let orders = Orders {
            attention: !task.netted || !task.pending.is_empty() || task.interrupted || slice_over,
            alone: self.tasks.len() == 1,
            shared_files: !self.shared.is_empty(),
            process: task.process,
        };
        if let Some(agent) = &mut self.agent {
            agent.give_orders(&orders);
        }
    }

    /// Makes events of what the agent has logged. The running thread is in a stop, and not in the midst of a record.
    fn drain(&mut self, thread: i32) -> Result<(), TracerError> {
        let Some(batch) = self.agent.as_mut().and_then(Agent::take) else { return Ok(()) };
        let now = self.now();
        let task = self.task(thread);
        // It has been elsewhere since.
        task.boundary = None;
        let context = CallsContext {
            space: task.space,
            thread: task.id(),
            segments: task.segments,
            times_ns: (self.drained_ns.min(now), now),
        };
        self.drained_ns = now;
        self.writer.calls(context, batch.bytes, batch.count, batch.data)?;
        Ok(())
    }

    fn wait_while_running(&mut self, thread: i32) -> Result<(), TracerError> {
        let others = self.others_ready();
        let task = &self.tasks[&thread];
        match task.phase {
            Phase::Kernel if others => self.wait_for_call(thread),
            Phase::Kernel => self.wait_for_stop(None).map(drop),
            Phase::User => {
                let slice = others.then_some(self.slice_end);
                let point = [slice, task.deadline].into_iter().flatten().min();
                let flush = self.agent.is_some().then(|| Instant::now() + LOG_INTERVAL);
                let limit = [point, flush].into_iter().flatten().min();
                if self.wait_for_stop(limit)? || self.tasks[&thread].status != Status::Running {
                    return Ok(());
                }
                if point.is_none_or(|point| Instant::now() < point) {
                    // What is in the log would be lost with the recorder.
                    self.agent.iter().filter(|agent| agent.has_records()).for_each(Agent::ask_for_stop);
                    return Ok(());
                }
                if let Some(agent) = &self.agent {
                    // The next call may come soon, and costs less than a point.
                    agent.ask_for_stop();
                    let limit = Some(Instant::now() + CALL_WAIT);
                    if self.wait_for_stop(limit)? || self.tasks[&thread].status != Status::Running {
                        return Ok(());
                    }
                }
                self.force_point(thread)
            }
        }
    }

    /// Waits for a call to return while others wait for their turn: if it sleeps, they get it.
    fn wait_for_call(&mut self, thread: i32) -> Result<(), TracerError> {
        let row = syscalls::lookup(self.tasks[&thread].entry.orig_rax);
        let may_block = row.is_none_or(|row| row.blocks || !matches!(row.class, syscalls::Class::Plain));
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
            let sleeps = match process::state(thread) {
                Some(b'S') => true,
                Some(b'D') => since.elapsed() > BRIEF_WAIT && may_block,
                _ => false,
            };
            if sleeps {
                self.announce(thread)?;
                self.current = None;
                return Ok(());
            }
            std::thread::yield_now();
        }
    }

    /// Records that a thread is in a call, if the trace does not say so yet.
    fn announce(&mut self, thread: i32) -> Result<(), TracerError> {
        let task = self.task(thread);
        if task.announced {
            return Ok(());
        }
        task.announced = true;
        let entry = task.entry;
        self.event(thread, entry, EventKind::SyscallEnter)
    }

    /// Waits for any stop; false when the time is over first.
    fn wait_for_stop(&mut self, limit: Option<Instant>) -> Result<bool, TracerError> {
        let failed = TracerError::system("wait for the program");
        let (thread, stop) = match limit {
            None => ptrace::wait(-1).map_err(failed)?,
            Some(limit) => loop {
                if let Some(found) = ptrace::poll(-1).map_err(&failed)? {
                    break found;
                }
                let left = limit.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(false);
                }
                signal::wait_child(left);
            },
        };
        self.arrived(thread, stop)?;
        Ok(true)
    }

    /// Notes a stop that waitpid(2) has reported.
    fn arrived(&mut self, thread: i32, stop: Wait) -> Result<(), TracerError> {
        if stop == Wait::Event(libc::PTRACE_EVENT_EXEC) {
            self.take_over_leader(thread)?;
        }
        if let Wait::Ended(status) = stop {
            return self.ended(thread, status);
        }
        let is_current = self.current == Some(thread);
        match self.tasks.get_mut(&thread) {
            Some(task) => {
                task.status = Status::Stopped(stop);
                if !is_current {
                    self.ready.push_back(thread);
                }
            }
            None => {
                self.early.insert(thread, stop);
            }
        }
        Ok(())
    }

    /// Deals with a stop and says how the thread goes on.
    fn process(&mut self, thread: i32, stop: Wait) -> Result<Next, TracerError> {
        if matches!(stop, Wait::Syscall | Wait::Event(_)) {
            // In other stops it may be in the midst of a record.
            self.drain(thread)?;
        }
        let result = match stop {
            Wait::Syscall if self.task(thread).phase == Phase::User => self.syscall_entry(thread),
            Wait::Syscall => self.syscall_exit(thread),
            Wait::Event(libc::PTRACE_EVENT_SECCOMP) if self.task(thread).phase == Phase::User => {
                self.syscall_entry(thread)
            }
            Wait::Signal(signal) => self.signal_stop(thread, signal),
            Wait::Event(libc::PTRACE_EVENT_EXIT) => self.thread_exit(thread),
            Wait::Event(libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK) => {
                self.thread_start(thread)
            }
            Wait::Event(_) | Wait::Stop(libc::SIGTRAP) => Ok(Next::GoOn),
            Wait::Stop(_) => Ok(Next::GroupStop),
            Wait::Ended(_) => Ok(Next::Gone),
        };
        match result {
            // SIGKILL ends a thread in any stop; its exit stop comes next.
            Err(TracerError::System { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {
                self.task(thread).status = Status::Running;
                self.wait_after_kill(thread)
            }
            other => other,
        }
    }

    /// Waits for what comes after a thread has been killed in a stop.
    fn wait_after_kill(&mut self, thread: i32) -> Result<Next, TracerError> {
        while self.tasks.get(&thread).is_some_and(|task| task.status == Status::Running) {
            self.wait_for_stop(None)?;
        }
        match self.tasks.get(&thread).map(|task| task.status) {
            Some(Status::Stopped(stop @ Wait::Event(libc::PTRACE_EVENT_EXIT))) => self.process(thread, stop),
            _ => Ok(Next::Gone),
        }
    }

    fn others_ready(&mut self) -> bool {
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

    /// The task of a thread that is known to be there.
    fn task(&mut self, thread: i32) -> &mut Task {
        self.tasks.get_mut(&thread).expect("only threads that have not ended are dealt with")
    }

    fn space_of(&mut self, thread: i32) -> &mut Space {
        let space = self.tasks[&thread].space;
        self.spaces.get_mut(&space).expect("a space lives as long as its threads")
    }

    fn memory_of(&self, thread: i32) -> Rc<Memory> {
        Rc::clone(&self.spaces[&self.tasks[&thread].space].memory)
    }

    /// The registers as the program has them, wherever the thread is in a trampoline.
    fn registers(&self, thread: i32) -> Result<Registers, TracerError> {
        let raw = self.raw_registers(thread)?;
        Ok(self.hooks_of(thread).original(raw))
    }

    fn set_registers(&self, thread: i32, registers: &Registers) -> Result<(), TracerError> {
        let real = self.hooks_of(thread).real(*registers);
        self.set_raw_registers(thread, &real)
    }

    /// The registers as they are, maybe in a trampoline or in the agent.
    fn raw_registers(&self, thread: i32) -> Result<Registers, TracerError> {
        ptrace::registers(thread).map_err(TracerError::system("read registers"))
    }

    fn set_raw_registers(&self, thread: i32, registers: &Registers) -> Result<(), TracerError> {
        ptrace::set_registers(thread, registers).map_err(TracerError::system("write registers"))
    }

    fn hooks_of(&self, thread: i32) -> &Hooks {
        &self.spaces[&self.tasks[&thread].space].hooks
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn event(&mut self, thread: i32, registers: Registers, kind: EventKind) -> Result<(), TracerError> {
        let task = &self.tasks[&thread];
        let event = Event { space: task.space, thread: task.id(), time_ns: self.now(), registers, kind };
        self.writer.event(event)?;
        Ok(())
    }

    /// Saves the contents of a range, as far as it is mapped, as writes of an event.
    fn save(
        &mut self,
        memory: &Memory,
        addr: u64,
        len: u64,
        writes: &mut Vec<Write>,
    ) -> Result<(), TracerError> {
        let (mut at, end) = (addr, addr.saturating_add(len));
        while at < end {
            let mut bytes = vec![0; (end - at).min(DATA_PIECE_BYTES_MAX as u64) as usize];
            let Ok(read) = memory.read_some(at, &mut bytes) else { break };
            if read == 0 {
                break;
            }
            bytes.truncate(read);
            writes.push(Write { addr: at, data: self.data(bytes)? });
            at += read as u64;
        }
        Ok(())
    }

    fn data(&mut self, bytes: Vec<u8>) -> Result<DataRef, TracerError> {
        Ok(self.writer.data(bytes)?)
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Creates the first task at its exec stop and records the exec.
    fn begin_root(&mut self, affinity: Rc<Vec<u8>>) -> Result<(), TracerError> {
        let root = self.root;
        let space = SpaceId(self.next_space);
        self.next_space += 1;
        let memory = Rc::new(Memory::open(root).map_err(TracerError::system("open the program's memory"))?);
        self.spaces.insert(space, Space::new(memory));
        let mut task = Task::new(root, root, space, affinity);
        task.phase = Phase::Kernel;
        task.status = Status::Stopped(Wait::Event(libc::PTRACE_EVENT_EXEC));
        task.entry.orig_rax = libc::SYS_execve as u64;
        task.intervention = Intervention::None;
        task.netted = process::is_filtered(root);
        self.tasks.insert(root, task);
        Ok(())
    }
}

/// A thread may be killed at any time; its end is reported by waitpid(2) in any case.
fn gone_is_fine(error: std::io::Error) -> Result<(), TracerError> {
    if error.raw_os_error() == Some(libc::ESRCH) {
        Ok(())
    } else {
        Err(TracerError::system("resume a thread")(error))
    }
}

fn gone_is_fine_too(error: TracerError) -> Result<(), TracerError> {
    match error {
        TracerError::System { source, .. } => gone_is_fine(source),
        other => Err(other),
    }
}

/// The last of these cores.
fn last_core(affinity: &[u8]) -> u32 {
    let last = affinity.iter().enumerate().rev().find(|(_, byte)| **byte != 0);
    last.map_or(0, |(index, byte)| index as u32 * 8 + byte.ilog2())
}

fn environment() -> Vec<CString> {
    use std::os::unix::ffi::OsStringExt;
    std::env::vars_os()
        .filter_map(|(name, value)| {
            CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat()).ok()
        })
        .collect()
}

fn header(options: &RecordOptions, place: &TraceDirectory, core: u32) -> Header {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Header {
        version: TRACE_VERSION,
        recorder: format!("vdbg {}", env!("CARGO_PKG_VERSION")),
        name: place.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        command: options.arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        directory: std::env::current_dir().unwrap_or_default().display().to_string(),
        started_unix_ns: since_epoch.as_nanos() as u64,
        machine: machine::describe(core),
    }
}

/// What a call did besides writing memory, when it did nothing.
const NO_EFFECT: Effect = Effect::None;
