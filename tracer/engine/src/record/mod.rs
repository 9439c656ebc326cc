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
mod attach;
mod bounds;
mod changes;
mod chaos;
mod clocks;
mod clone;
mod cores;
mod disguise;
mod ending;
mod exec;
mod hooks;
mod inside;
mod mappings;
pub(crate) mod point;
mod signals;
mod snapshot;
mod syscall;
mod task;
mod turn;
mod unknown;
mod written;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use trace::{
    CallsContext, DATA_PIECE_BYTES_MAX, DataRef, Effect, Event, EventKind, FileStore, Header, RecorderMark,
    Registers, SharedObject, SpaceId, TRACE_VERSION, TraceDirectory, Write, Writer,
};

use self::agent::Agent;
use self::chaos::Chaos;
use self::ending::Ending;
pub use self::ending::{StopAfter, save, stop};
use self::hooks::{Hooks, KnownSites};
use self::snapshot::Snapshots;
use self::task::{Intervention, Phase, Space, Status, Task};
use self::turn::SLICE;
use crate::TracerError;
use crate::sys::memory::Memory;
use crate::sys::ptrace::{self, Wait};
use crate::sys::{limits, machine, process, signal};

/// What to record, and where to.
#[derive(Clone, Debug, Default)]
pub struct RecordOptions {
    /// A running process that is to be recorded, instead of a program that is to be started.
    pub attach: Option<i32>,
    /// The program, as the user named it.
    pub program: PathBuf,
    /// Its arguments, with the name it is called by first.
    pub arguments: Vec<CString>,
    /// The directory for the trace; without one a directory of its own below the default root.
    pub output: Option<PathBuf>,
    /// Stop the program at every system call, instead of logging calls inside it: slow, but without patching its code.
    pub without_agent: bool,
    /// How far apart snapshots are made, if not by the usual rule.
    pub snapshot_spacing: Option<Duration>,
    /// When the recording ends, if not with the program.
    pub stop_after: Option<StopAfter>,
    /// Turns are given at random, by choices that this seed leads to.
    pub chaos_seed: Option<u64>,
    /// Only the newest part is kept: about so many bytes, but two snapshots at least.
    pub ring: Option<u64>,
    /// How many processes may live at once, if not 1,000.
    pub processes_max: Option<usize>,
}

/// What came of a recording.
pub struct Recorded {
    /// The trace.
    pub directory: PathBuf,
    /// Wait status of the program, as in waitpid(2).
    pub status: i32,
    /// Number of events.
    pub events: u64,
    /// The recording ended before the program did: what is recorded replays, and the program goes on or went on.
    pub stopped_early: bool,
    /// What the user should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Records a program until it and all its descendants have ended.
///
/// # Errors
/// When the program cannot be started, the trace cannot be written, or the kernel refuses to trace. What was recorded
/// until then replays.
pub fn record(options: &RecordOptions) -> Result<Recorded, TracerError> {
    let running = options.attach.map(attach::check).transpose()?;
    let program = match &running {
        Some((program, _)) => program.clone(),
        None => crate::program::find(&options.program)?,
    };
    let name = if running.is_some() { &program } else { &options.program };
    let place = TraceDirectory::create(options.output.as_deref(), &name.to_string_lossy())?;
    let result = match (options.attach, running) {
        (Some(process), Some((_, command))) => Recorder::attach(options, process, command, &place),
        _ => Recorder::start(options, &program, &place),
    };
    let result = result.and_then(Recorder::run);
    let Err(error) = result else { return result };
    if place.path.join("events").metadata().is_ok_and(|events| events.len() > 0) {
        let fate = if options.attach.is_some() { "goes on without being recorded" } else { "was ended" };
        return Err(TracerError::BrokenOff { fate, directory: place.path, source: Box::new(error) });
    }
    // Nothing was recorded: leave no empty trace behind.
    let _ = std::fs::remove_dir_all(&place.path);
    Err(error)
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
    /// How often threads inside had passed the turn on when that was looked at last.
    turns: u64,
    /// The last turn went to a thread inside.
    inside_last: bool,
    /// Stops of threads whose creation has not been seen yet.
    early: HashMap<i32, Wait>,
    root: i32,
    root_status: Option<i32>,
    /// Objects of shared memory, by device and inode.
    shared: HashMap<(u64, u64), SharedObject>,
    next_shared: u32,
    /// Lengths of the files among them, as the trace has them.
    sizes: HashMap<changes::FileKey, u64>,
    /// Files of which replay maps copies.
    copied: HashMap<changes::FileKey, changes::Copied>,
    /// One of these has been cut off: writes to them are looked at from now on.
    cut: bool,
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
    /// Recorded time of the last event.
    drained_ns: u64,
    snapshots: Snapshots,
    ending: Ending,
    chaos: Option<Chaos>,
    /// The program ran before the recording did, and goes on after it.
    attached: bool,
    /// The command line of what is recorded.
    command: Vec<String>,
    /// Copies that have been made of the ring.
    saved: u32,
    /// How many events there were when the recording ended before the program.
    recorded_events: u64,
    lock: Option<RecorderMark>,
    /// How many processes may live at once, and whether the user said so.
    processes_max: usize,
    processes_chosen: bool,
}

/// How a thread goes on after its stop has been dealt with.
enum Next {
    /// Its stop was an event, or leads to one.
    Resume(i32),
    /// Its stop was none: it stands in the midst of an interval, where no other thread may get the turn.
    GoOn,
    /// It stays in a group stop.
    GroupStop,
    /// It goes on already, without the turn.
    Away,
    /// It has ended.
    Gone,
}

impl Recorder {
    fn start(
        options: &RecordOptions,
        program: &Path,
        place: &TraceDirectory,
    ) -> Result<Recorder, TracerError> {
        let file_size_action = process::ignore_file_size_signal();
        let files_limit = limits::raise_files();
        let text = |argument: &CString| argument.to_string_lossy().into_owned();
        let command = options.arguments.iter().map(text).collect();
        let (mut recorder, affinity) = Recorder::new(options, place, command)?;
        let core = recorder.core;
        let program = process::Program {
            path: CString::new(program.as_os_str().as_bytes()).map_err(|_| TracerError::NulInPath)?,
            arguments: options.arguments.clone(),
            environment: environment(),
            file_size_action,
            files_limit,
        };
        let root = process::launch(&program, core).map_err(|source| TracerError::Start {
            program: options.program.display().to_string(),
            source,
        })?;
        for job_signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTOU, libc::SIGTTIN] {
            signal::ignore(job_signal);
        }
        for end_signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
            signal::forward(end_signal, root);
        }
        signal::take_save_requests();
        signal::take_stop_requests(&[]);
        recorder.root = root;
        recorder.ready.push_back(root);
        recorder.start_agent(options);
        recorder.begin_root(Rc::new(affinity))?;
        Ok(recorder)
    }

    /// Begins to record a running process.
    fn attach(
        options: &RecordOptions,
        process: i32,
        command: Vec<String>,
        place: &TraceDirectory,
    ) -> Result<Recorder, TracerError> {
        process::ignore_file_size_signal();
        limits::raise_files();
        let (mut recorder, _) = Recorder::new(options, place, command)?;
        (recorder.root, recorder.attached) = (process, true);
        // Whoever ends the recorder does not mean the program.
        signal::take_save_requests();
        signal::take_stop_requests(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
        recorder.take_over(process)?;
        Ok(recorder)
    }

    /// A recorder that records nothing yet, and the cores it was allowed to use.
    fn new(
        options: &RecordOptions,
        place: &TraceDirectory,
        command: Vec<String>,
    ) -> Result<(Recorder, Vec<u8>), TracerError> {
        let affinity = process::affinity(0).map_err(TracerError::system("read the CPU affinity"))?;
        let core = process::current_core().unwrap_or_else(|| last_core(&affinity));
        let header = Header {
            chaos_seed: options.chaos_seed,
            ring: options.ring,
            attached: options.attach.is_some(),
            ..header(&command, place, core)
        };
        signal::block_child_signal().map_err(TracerError::system("block SIGCHLD"))?;
        // The writing thread, which gets this affinity, must not take time from the program.
        process::set_affinity(0, &without_core(&affinity, core))
            .map_err(TracerError::system("keep a core for the program"))?;
        let lock = RecorderMark::create(&place.path)?;
        let writer = Writer::create(&place.path, &header, options.ring)?;
        let files = FileStore::create(&place.path, place.root.as_deref(), process::data_ranges)?;
        process::pin(0, core).map_err(TracerError::system("pin the recorder to a core"))?;
        let recorder = Recorder {
            processes_max: bounds::processes_max(options.processes_max),
            processes_chosen: options.processes_max.is_some(),
            lock: Some(lock),
            ending: Ending::new(options.stop_after),
            chaos: options.chaos_seed.map(Chaos::new),
            attached: false,
            command,
            recorded_events: 0,
            saved: 0,
            writer,
            files,
            directory: place.path.clone(),
            started: Instant::now(),
            core,
            tasks: BTreeMap::new(),
            spaces: HashMap::new(),
            next_space: 0,
            ready: VecDeque::new(),
            current: None,
            slice_end: Instant::now() + SLICE,
            turns: 0,
            inside_last: false,
            early: HashMap::new(),
            root: 0,
            root_status: None,
            shared: HashMap::new(),
            next_shared: 0,
            sizes: HashMap::new(),
            copied: HashMap::new(),
            cut: false,
            timers: HashMap::new(),
            standard_output: std::fs::read_link("/proc/self/fd/1").ok(),
            standard_error: std::fs::read_link("/proc/self/fd/2").ok(),
            warnings: Vec::new(),
            agent: None,
            known_sites: KnownSites::new(),
            unruly_sites: HashMap::new(),
            drained_ns: 0,
            snapshots: Snapshots::new(options.snapshot_spacing, options.ring),
        };
        Ok((recorder, affinity))
    }

    /// Makes what the agent needs, if it is wanted and possible.
    fn start_agent(&mut self, options: &RecordOptions) {
        if options.without_agent || !process::is_filtered(self.root) {
            return;
        }
        match Agent::create(&self.directory) {
            Ok(mut agent) => {
                agent.begin_process(self.root, None);
                agent.begin_thread(self.root);
                self.agent = Some(agent);
            }
            Err(error) => self.warn(format!("every system call stops the program, which is slow: {error}")),
        }
    }

    /// Runs the program to its end. When it can no longer be recorded, it goes no further either, unless it ran before.
    fn run(mut self) -> Result<Recorded, TracerError> {
        match self.run_to_end() {
            Ok((status, stopped_early, events)) => {
                let Recorder { directory, warnings, .. } = self;
                Ok(Recorded { directory, status, events, stopped_early, warnings })
            }
            Err(error) if self.attached => {
                // It went on alone already, or does so now.
                let _ = self.leave();
                Err(error)
            }
            Err(error) => {
                self.tasks.values().for_each(|task| process::kill(task.process, libc::SIGKILL));
                Err(error)
            }
        }
    }

    fn run_to_end(&mut self) -> Result<(i32, bool, u64), TracerError> {
        while !self.tasks.is_empty() {
            self.follow_turn();
            self.end_if_due()?;
            self.save_if_asked()?;
            if self.tasks.is_empty() {
                // They go on alone.
                break;
            }
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
        let stopped_early = self.ending.over;
        let events = if stopped_early { self.recorded_events } else { self.writer.events() };
        let duration = self.now();
        self.writer.finish(Some(status), duration)?;
        Ok((status, stopped_early, events))
    }

    /// Makes events of what the agent has logged. No thread has the turn, or the one that has is in a stop, and not in the
    /// midst of a record.
    fn drain(&mut self) -> Result<(), TracerError> {
        let Some(agent) = self.agent.as_ref().filter(|agent| agent.has_records()) else { return Ok(()) };
        let mut bytes = self.writer.buffer();
        agent.take(&mut bytes);
        let spoilt = TracerError::Inconsistent("the program has written into the memory of its recorder");
        let Some(pieces) = trace::pieces_of_log(&bytes) else { return Err(spoilt) };
        let now = self.now();
        let begin = std::mem::replace(&mut self.drained_ns, now).min(now);
        let total: u64 = pieces.iter().map(|piece| piece.count).sum();
        let mut passed = 0;
        for piece in pieces {
            let time = |passed: u64| begin + (now - begin) / total * passed;
            let times_ns = (time(passed), time(passed + piece.count));
            passed += piece.count;
            let thread = self.agent.as_ref().and_then(|agent| agent.thread_of(piece.area));
            let Some(task) = thread.and_then(|thread| self.tasks.get_mut(&thread)) else {
                return Err(spoilt);
            };
            // It has been elsewhere since.
            task.boundary = None;
            let (space, thread, segments) = (task.space, task.id(), task.segments);
            let context = CallsContext { space, thread, segments, times_ns };
            let whole = piece.range == (0..bytes.len());
            let records = if whole { std::mem::take(&mut bytes) } else { bytes[piece.range].to_vec() };
            self.writer.calls(context, records, piece.count, piece.data)?;
        }
        self.writer.put_back(bytes);
        Ok(())
    }

    /// Records that the thread that had the turn last has entered its call, before another goes on.
    fn announce_left(&mut self, next: i32) -> Result<(), TracerError> {
        let Some(left) = self.agent.as_ref().and_then(Agent::left).filter(|left| *left != next) else {
            return Ok(());
        };
        self.drain()?;
        let entry = self.entry_inside(left)?;
        let task = self.task(left);
        task.boundary = None;
        self.event(left, entry, EventKind::SyscallEnter)?;
        self.agent.iter().for_each(|agent| agent.forget_left(true));
        Ok(())
    }

    /// Deals with a stop and says how the thread goes on.
    fn process(&mut self, thread: i32, stop: Wait) -> Result<Next, TracerError> {
        if matches!(stop, Wait::Syscall | Wait::Event(_)) {
            // In other stops it may be in the midst of a record.
            self.drain()?;
        }
        let result = match stop {
            Wait::Syscall if self.task(thread).phase == Phase::User => self.syscall_entry(thread),
            Wait::Syscall => self.syscall_exit(thread),
            Wait::Event(libc::PTRACE_EVENT_SECCOMP) if self.task(thread).phase == Phase::User => {
                self.syscall_entry(thread)
            }
            Wait::Event(libc::PTRACE_EVENT_SECCOMP) => self.asked_for_tracer(thread),
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
        /// How often it is looked at whether no such stop will come.
        const ZOMBIE_INTERVAL: Duration = Duration::from_millis(10);
        while self.tasks.get(&thread).is_some_and(|task| task.status == Status::Running) {
            let limit = Instant::now() + ZOMBIE_INTERVAL;
            if !self.wait_for_stop(Some(limit))? && self.ended_unseen(thread)? {
                return Ok(Next::Gone);
            }
        }
        match self.tasks.get(&thread).map(|task| task.status) {
            Some(Status::Stopped(stop @ Wait::Event(libc::PTRACE_EVENT_EXIT))) => self.process(thread, stop),
            _ => Ok(Next::Gone),
        }
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
        let now = self.now();
        let event = Event { space: task.space, thread: task.id(), time_ns: now, registers, kind };
        self.drained_ns = now;
        self.follow_layout(&event);
        if let Some(signal) = self.ending.look_at(&event) {
            self.note_crash(thread, signal);
        }
        self.writer.event(event)?;
        Ok(())
    }

    /// Keeps what is known of the mappings as replay will have it.
    fn follow_layout(&mut self, event: &Event) {
        let effect = match &event.kind {
            EventKind::Syscall { effect, .. } | EventKind::SyscallExit { effect, .. } => effect,
            EventKind::Change(changes) => {
                for change in changes {
                    if let Some(space) = self.spaces.get_mut(&change.space) {
                        change.ops.iter().for_each(|op| space.layout.apply(op));
                    }
                }
                return;
            }
            _ => return,
        };
        match effect {
            Effect::Memory(ops) => {
                if let Some(space) = self.spaces.get_mut(&event.space) {
                    ops.iter().for_each(|op| space.layout.apply(op));
                }
            }
            Effect::Exec(image) => {
                let number = self.writer.events();
                if let Some(space) = self.spaces.get_mut(&image.space) {
                    image.mappings.iter().for_each(|mapping| space.layout.insert(mapping.clone()));
                    space.image = number;
                    space.program = Rc::new((image.path.clone(), image.arguments.clone()));
                }
            }
            _ => {}
        }
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
            trace::note_warning(&self.directory, &warning);
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

/// These cores but for one, unless it is the only one.
fn without_core(affinity: &[u8], core: u32) -> Vec<u8> {
    let mut others = affinity.to_vec();
    if let Some(byte) = others.get_mut(core as usize / 8) {
        *byte &= !(1 << (core % 8));
    }
    if others.iter().any(|byte| *byte != 0) { others } else { affinity.to_vec() }
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

fn header(command: &[String], place: &TraceDirectory, core: u32) -> Header {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Header {
        version: TRACE_VERSION,
        recorder: format!("vdbg {}", env!("CARGO_PKG_VERSION")),
        name: place.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        command: command.to_vec(),
        directory: std::env::current_dir().unwrap_or_default().display().to_string(),
        started_unix_ns: since_epoch.as_nanos() as u64,
        machine: machine::describe(core),
        chaos_seed: None,
        ring: None,
        attached: false,
    }
}

/// What a call did besides writing memory, when it did nothing.
const NO_EFFECT: Effect = Effect::None;
