//! What the commands look at: a recording, which can be gone through both ways, or a core file, which stands still.

use std::path::PathBuf;

use targets::Core;
use trace::{Reader, Registers, Source, SpaceId, ThreadId};
use tracer::{
    Direction, Interrupt, Judge, Mode, Position, Session, Stop, Stops, ThreadInfo, TracerError, Written,
};

use crate::error::CommandError;

/// A part of an address space.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// `PROT_*` bits.
    pub(crate) protection: i32,
    /// Path or pseudo-path.
    pub(crate) name: String,
    /// Where to read the file that is mapped, and the offset in it.
    pub(crate) file: Option<(PathBuf, u64)>,
}

/// How the program is at one moment.
pub(crate) trait View {
    /// The threads that exist.
    fn threads(&self) -> Vec<ThreadInfo>;
    /// The thread that stopped, or that runs next.
    fn current_thread(&self) -> Option<ThreadId>;
    /// The registers of a thread.
    fn registers(&self, thread: ThreadId) -> Result<Registers, TracerError>;
    /// Its extended state, in the standard format of XSAVE.
    fn extended_state(&self, thread: ThreadId) -> Result<Vec<u8>, TracerError>;
    /// Reads memory of its address space; how much of it is there.
    fn read_memory(&self, thread: ThreadId, address: u64, buffer: &mut [u8]) -> Result<usize, TracerError>;
    /// Its address space.
    fn regions(&self, thread: ThreadId) -> Result<Vec<Region>, TracerError>;
    /// Its program: a number that tells programs apart, the path, the arguments.
    fn program(&self, thread: ThreadId) -> Result<(u64, String, Vec<String>), TracerError>;
    /// A number that changes when the program has gone on.
    fn moment(&self) -> u64;
    /// A folder with all files that are ever mapped.
    fn mapped_files(&self) -> Option<PathBuf>;
}

impl View for Session {
    fn threads(&self) -> Vec<ThreadInfo> {
        Session::threads(self)
    }

    fn current_thread(&self) -> Option<ThreadId> {
        Session::current_thread(self)
    }

    fn registers(&self, thread: ThreadId) -> Result<Registers, TracerError> {
        Session::registers(self, thread)
    }

    fn extended_state(&self, thread: ThreadId) -> Result<Vec<u8>, TracerError> {
        Session::extended_state(self, thread)
    }

    fn read_memory(&self, thread: ThreadId, address: u64, buffer: &mut [u8]) -> Result<usize, TracerError> {
        Session::read_memory(self, thread, address, buffer)
    }

    fn regions(&self, thread: ThreadId) -> Result<Vec<Region>, TracerError> {
        let region = |mapping: trace::Mapping| {
            let file = match (&mapping.source, self.stored_file(&mapping)) {
                (Source::File { offset, .. }, Some(path)) => Some((path, *offset)),
                _ => None,
            };
            let trace::Mapping { start, end, protection, name, .. } = mapping;
            Region { start, end, protection, name, file }
        };
        Ok(self.mappings(thread)?.into_iter().map(region).collect())
    }

    fn program(&self, thread: ThreadId) -> Result<(u64, String, Vec<String>), TracerError> {
        Session::program(self, thread)
    }

    fn moment(&self) -> u64 {
        self.position().event
    }

    fn mapped_files(&self) -> Option<PathBuf> {
        Some(self.trace().directory().join("files"))
    }
}

/// A core file, and what stands for the time that it does not have.
#[derive(Debug)]
pub(crate) struct Still {
    core: Core,
    position: Position,
    interrupt: Interrupt,
}

impl Still {
    fn thread(&self, thread: ThreadId) -> Result<&targets::CoreThread, TracerError> {
        let found = self.core.threads().iter().find(|other| other.thread == thread);
        found.ok_or(TracerError::Inconsistent("the core file has no such thread"))
    }

    fn program_path(&self) -> String {
        self.core.program().map_or_else(String::new, |path| path.display().to_string())
    }
}

impl View for Still {
    fn threads(&self) -> Vec<ThreadInfo> {
        let info = |thread: &targets::CoreThread| ThreadInfo {
            thread: thread.thread,
            process: self.core.process(),
            space: SpaceId(0),
            program: self.program_path(),
        };
        self.core.threads().iter().map(info).collect()
    }

    fn current_thread(&self) -> Option<ThreadId> {
        self.core.threads().first().map(|thread| thread.thread)
    }

    fn registers(&self, thread: ThreadId) -> Result<Registers, TracerError> {
        Ok(self.thread(thread)?.registers)
    }

    fn extended_state(&self, thread: ThreadId) -> Result<Vec<u8>, TracerError> {
        Ok(self.thread(thread)?.xstate.clone())
    }

    fn read_memory(&self, _: ThreadId, address: u64, buffer: &mut [u8]) -> Result<usize, TracerError> {
        match self.core.read_memory(address, buffer) {
            0 if !buffer.is_empty() => Err(TracerError::Unmapped(address)),
            read => Ok(read),
        }
    }

    fn regions(&self, _: ThreadId) -> Result<Vec<Region>, TracerError> {
        let region = |region: targets::Region| Region {
            start: region.start,
            end: region.end,
            protection: region.protection,
            name: match &region.file {
                Some((path, _)) => path.display().to_string(),
                None if self.core.vdso() == Some(region.start) => "[vdso]".into(),
                None => String::new(),
            },
            file: region.file,
        };
        Ok(self.core.regions().into_iter().map(region).collect())
    }

    fn program(&self, _: ThreadId) -> Result<(u64, String, Vec<String>), TracerError> {
        let arguments = self.core.command().split_whitespace().map(str::to_owned).collect();
        Ok((0, self.program_path(), arguments))
    }

    fn moment(&self) -> u64 {
        0
    }

    fn mapped_files(&self) -> Option<PathBuf> {
        None
    }
}

/// What the commands look at.
pub(crate) enum Target {
    Recording(Box<Session>),
    Core(Box<Still>),
}

impl Target {
    pub(crate) fn of_core(core: Core) -> Target {
        let (position, interrupt) = (Position::at_event(0), Interrupt::default());
        Target::Core(Box::new(Still { core, position, interrupt }))
    }

    /// How the program is now.
    pub(crate) fn view(&self) -> &dyn View {
        match self {
            Self::Recording(session) => session.as_ref(),
            Self::Core(still) => still.as_ref(),
        }
    }

    /// The core file, when it is one.
    pub(crate) fn core(&self) -> Option<&Core> {
        match self {
            Self::Recording(_) => None,
            Self::Core(still) => Some(&still.core),
        }
    }

    /// The recording that is replayed.
    pub(crate) fn session(&self) -> Result<&Session, CommandError> {
        match self {
            Self::Recording(session) => Ok(session),
            Self::Core(_) => Err(no_time()),
        }
    }

    fn session_mut(&mut self) -> Result<&mut Session, CommandError> {
        match self {
            Self::Recording(session) => Ok(session),
            Self::Core(_) => Err(no_time()),
        }
    }

    /// The events of the recording.
    pub(crate) fn trace(&self) -> Result<&Reader, CommandError> {
        self.session().map(Session::trace)
    }

    pub(crate) fn position(&self) -> &Position {
        match self {
            Self::Recording(session) => session.position(),
            Self::Core(still) => &still.position,
        }
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        match self {
            Self::Recording(session) => session.interrupt(),
            Self::Core(still) => still.interrupt.clone(),
        }
    }

    pub(crate) fn start(&self) -> Result<Position, CommandError> {
        self.session().map(Session::start)
    }

    pub(crate) fn end(&self) -> Result<Position, CommandError> {
        Ok(self.session()?.end()?)
    }

    pub(crate) fn goto(&mut self, position: &Position) -> Result<Stop, CommandError> {
        Ok(self.session_mut()?.goto(position)?)
    }

    pub(crate) fn resume(
        &mut self,
        direction: Direction,
        mode: Mode,
        stops: &Stops,
        judge: &mut dyn Judge,
    ) -> Result<Stop, CommandError> {
        Ok(self.session_mut()?.resume(direction, mode, stops, judge)?)
    }

    pub(crate) fn keep_checkpoint(&mut self) -> Result<(), CommandError> {
        Ok(self.session_mut()?.keep_checkpoint()?)
    }

    pub(crate) fn all_output(&mut self) -> Result<(Vec<Written>, bool), CommandError> {
        Ok(self.session_mut()?.all_output()?)
    }

    pub(crate) fn take_divergence(&mut self) -> Option<tracer::Divergence> {
        self.session_mut().ok()?.take_divergence()
    }

    pub(crate) fn threads(&self) -> Vec<ThreadInfo> {
        self.view().threads()
    }

    pub(crate) fn current_thread(&self) -> Option<ThreadId> {
        self.view().current_thread()
    }

    pub(crate) fn registers(&self, thread: ThreadId) -> Result<Registers, TracerError> {
        self.view().registers(thread)
    }

    pub(crate) fn read_memory(
        &self,
        thread: ThreadId,
        address: u64,
        buffer: &mut [u8],
    ) -> Result<usize, TracerError> {
        self.view().read_memory(thread, address, buffer)
    }

    pub(crate) fn program(&self, thread: ThreadId) -> Result<(u64, String, Vec<String>), TracerError> {
        self.view().program(thread)
    }
}

fn no_time() -> CommandError {
    CommandError::other(
        "a core file shows the program as it was when it ended: it cannot go on or back; record the program to see how it came there",
    )
}
