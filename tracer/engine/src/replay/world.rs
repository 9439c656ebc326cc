//! The processes of a replay.
//!
//! Each recorded address space is one real process. Its leader is a *service thread* that never runs the program's
//! code: it waits in a page of ours (see [`SERVICE_PAGE`]) and makes system calls for us, so nothing of the program's
//! has to be saved and put back around them. The recorded threads of the space, also those of a vfork child that
//! borrows it, are further threads of that process; no kernel state but memory and registers matters at replay, since
//! every system call of the program is served from the trace.
//!
//! That makes a process easy to copy: a fork of the service thread has all memory and no other thread, which is just
//! what a checkpoint keeps; `rebuild` adds the threads.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

use trace::{
    GuardState, Image, Mapping, MemoryOp, ObjectState, Reader, Registers, Source, SpaceId, State, ThreadId,
    Write,
};

use super::calls::Serving;
use super::planted::Sentry;
use crate::TracerError;
use crate::layout::{Layout, guard_advice};
use crate::sys::memory::Memory;
use crate::sys::process;
use crate::sys::ptrace::{self, Resume, Wait};
use crate::sys::xstate;

/// Where the service page lies: the lowest address an ordinary user may map.
pub(crate) const SERVICE_PAGE: u64 = 0x1_0000;

/// End of the range that belongs to us.
const SERVICE_END: u64 = SERVICE_PAGE + 0x1000;

/// Where arguments in memory are put, in the service page.
const SERVICE_DATA: u64 = SERVICE_PAGE + 0x400;

/// `syscall; int3`.
const SERVICE_CODE: [u8; 3] = [0x0f, 0x05, 0xcc];

/// End of user addresses (with four-level paging).
const USER_END: u64 = 0x7fff_ffff_f000;

/// `CLONE_PTRACE` makes the kernel trace the new thread as this one is, from its first instruction.
const THREAD_FLAGS: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_PTRACE;

/// A child of this process, not of the one that is copied, so that it can be waited for when its parent has gone.
const COPY_FLAGS: i32 = libc::CLONE_PARENT | libc::CLONE_PTRACE | libc::SIGCHLD;

/// A process with a service thread and no other.
pub(crate) struct Shell {
    pub(crate) leader: i32,
    pub(crate) memory: Memory,
}

impl Shell {
    /// A process without any memory but the service page.
    pub(crate) fn blank() -> io::Result<Shell> {
        let leader = process::launch_blank()?;
        let registers = ptrace::registers(leader)?;
        // It stands behind the `syscall` instruction that raised its stop signal.
        let map = Registers {
            rip: registers.rip - 2,
            rax: libc::SYS_mmap as u64,
            rdi: SERVICE_PAGE,
            rsi: SERVICE_END - SERVICE_PAGE,
            rdx: (libc::PROT_READ | libc::PROT_EXEC) as u64,
            r10: (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64,
            r8: u64::MAX,
            r9: 0,
            orig_rax: u64::MAX,
            ..registers
        };
        ptrace::set_registers(leader, &map)?;
        ptrace::resume(leader, Resume::Step, 0)?;
        wait_for_trap(leader)?;
        let memory = Memory::open(leader)?;
        memory.write(SERVICE_PAGE, &SERVICE_CODE)?;
        let shell = Shell { leader, memory };
        shell.call(libc::SYS_munmap, [SERVICE_END, USER_END - SERVICE_END, 0, 0, 0, 0])?;
        Ok(shell)
    }

    /// Makes a system call in the process.
    pub(crate) fn call(&self, number: i64, arguments: [u64; 6]) -> io::Result<u64> {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let before = ptrace::registers(self.leader)?;
        let registers = Registers {
            rip: SERVICE_PAGE,
            rax: number as u64,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            orig_rax: u64::MAX,
            ..before
        };
        ptrace::set_registers(self.leader, &registers)?;
        ptrace::resume(self.leader, Resume::Continue, 0)?;
        wait_for_trap(self.leader)?;
        let result = ptrace::registers(self.leader)?.rax;
        if result as i64 >= -4095 && (result as i64) < 0 {
            return Err(io::Error::from_raw_os_error(-(result as i64) as i32));
        }
        Ok(result)
    }

    /// A copy with the same memory.
    pub(crate) fn fork(&self) -> io::Result<Shell> {
        let leader = self.call(libc::SYS_clone, [COPY_FLAGS as u64, 0, 0, 0, 0, 0])? as i32;
        ptrace::wait(leader)?;
        Ok(Shell { leader, memory: Memory::open(leader)? })
    }

    /// A new thread in a stop.
    fn thread(&self) -> io::Result<i32> {
        let thread = self.call(libc::SYS_clone, [THREAD_FLAGS as u64, 0, 0, 0, 0, 0])? as i32;
        ptrace::wait(thread)?;
        Ok(thread)
    }

    fn open_file(&self, path: &Path, flags: i32) -> io::Result<u64> {
        use std::os::unix::ffi::OsStrExt;
        let mut name = path.as_os_str().as_bytes().to_vec();
        name.push(0);
        if name.len() as u64 > SERVICE_END - SERVICE_DATA {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        self.memory.write(SERVICE_DATA, &name)?;
        self.call(libc::SYS_open, [SERVICE_DATA, (flags | libc::O_CLOEXEC) as u64, 0, 0, 0, 0])
    }

    fn map_file(&self, path: &Path, flags: i32, mapping: &Mapping, kind: i32, offset: u64) -> io::Result<()> {
        let descriptor = self.open_file(path, flags)?;
        let result = self.map(mapping, kind, descriptor, offset);
        self.call(libc::SYS_close, [descriptor, 0, 0, 0, 0, 0])?;
        result
    }

    fn map(&self, mapping: &Mapping, kind: i32, descriptor: u64, offset: u64) -> io::Result<()> {
        let growth = if mapping.grows_down { libc::MAP_GROWSDOWN } else { 0 };
        let flags = kind | libc::MAP_FIXED | libc::MAP_NORESERVE | growth;
        let len = mapping.end - mapping.start;
        self.call(
            libc::SYS_mmap,
            [mapping.start, len, mapping.protection as u64, flags as u64, descriptor, offset],
        )?;
        Ok(())
    }

    fn map_zero(&self, mapping: &Mapping) -> io::Result<()> {
        self.map(mapping, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, u64::MAX, 0)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        process::kill(self.leader, libc::SIGKILL);
        // Reaped here; an error means that somebody else has done it.
        while matches!(ptrace::wait(self.leader), Ok((_, stop)) if !matches!(stop, Wait::Ended(_))) {}
    }
}

fn wait_for_trap(thread: i32) -> io::Result<()> {
    /// How many unrelated signals may come before the trap.
    const STRAY_STOPS_MAX: usize = 64;
    for _ in 0..STRAY_STOPS_MAX {
        match ptrace::wait(thread)?.1 {
            Wait::Signal(libc::SIGTRAP) => return Ok(()),
            Wait::Ended(_) => break,
            Wait::Signal(libc::SIGSEGV | libc::SIGBUS | libc::SIGILL) => break,
            _ => ptrace::resume(thread, Resume::Continue, 0)?,
        }
    }
    Err(io::Error::other("the service thread of a replay process failed"))
}

/// A replayed address space.
pub(crate) struct Space {
    // Threads are dropped, and so ended and reaped, before their process.
    pub(crate) shell: Shell,
    pub(crate) layout: Layout,
    /// How far its stack may grow, in bytes.
    pub(crate) stack_limit: u64,
    /// Number of the event whose exec made its program.
    pub(crate) image: u64,
    /// Path of its program.
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    /// Breakpoints: the byte that was at each address.
    pub(crate) planted: BTreeMap<u64, u8>,
    /// Breakpoints that are stubs; none of them is near an address of `planted`.
    pub(crate) sentries: Vec<Sentry>,
    /// Where no stub fits.
    pub(crate) refused: BTreeSet<u64>,
    /// What there is for the agent.
    pub(crate) serving: Serving,
}

impl Space {
    /// A copy of the process and what is known of it.
    fn copy(&self) -> io::Result<Space> {
        Ok(Space {
            shell: self.shell.fork()?,
            layout: self.layout.clone(),
            stack_limit: self.stack_limit,
            image: self.image,
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            planted: self.planted.clone(),
            sentries: self.sentries.clone(),
            refused: self.refused.clone(),
            serving: self.serving.clone(),
        })
    }

    /// Writes memory, whatever its protection. What is mapped shared and may not be written is the one thing that `/proc/PID/mem`
    /// refuses (`check_vma_flags` in the kernel's mm/gup.c), so it is made writable for the time.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let refused = match self.shell.memory.write(address, bytes) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let end = address.saturating_add(bytes.len() as u64);
        let is_locked = |mapping: &&Mapping| {
            let touches = mapping.start < end && address < mapping.end;
            let is_shared = matches!(mapping.source, Source::Shared { .. });
            touches && is_shared && mapping.protection & libc::PROT_WRITE == 0
        };
        let locked: Vec<&Mapping> = self.layout.iter().filter(is_locked).collect();
        if locked.is_empty() {
            return Err(refused);
        }
        let protect = |mapping: &Mapping, protection: i32| {
            let len = mapping.end - mapping.start;
            self.shell.call(libc::SYS_mprotect, [mapping.start, len, protection as u32 as u64, 0, 0, 0])
        };
        for mapping in &locked {
            protect(mapping, mapping.protection | libc::PROT_READ | libc::PROT_WRITE)?;
        }
        let written = self.shell.memory.write(address, bytes);
        for mapping in &locked {
            protect(mapping, mapping.protection)?;
        }
        written
    }
}

/// A replayed thread.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Its real id.
    pub(crate) real: i32,
    pub(crate) space: SpaceId,
    /// Its process at recording.
    pub(crate) process: i32,
    /// It stands at the point of the next event, which has not been applied.
    pub(crate) arrived: bool,
    /// The debug registers it has.
    pub(crate) watches: Vec<super::Watch>,
}

/// Shared memory of the replayed processes.
pub(crate) struct SharedMemory {
    pub(crate) file: File,
    pub(crate) len: u64,
    /// The trace says how long it is; otherwise it has to hold what is mapped of it.
    pub(crate) sized: bool,
    /// It can only be inherited: when nobody maps it any more, it is gone.
    pub(crate) anonymous: bool,
}

impl SharedMemory {
    fn new(trace: &Reader, object: &trace::SharedObject) -> io::Result<SharedMemory> {
        let Some(initial) = &object.initial else {
            return Ok(SharedMemory {
                file: process::memory_file(0)?,
                len: 0,
                sized: false,
                anonymous: false,
            });
        };
        let stored = File::open(trace.file(initial))?;
        let len = stored.metadata()?.len();
        Ok(SharedMemory { file: copy_of(&stored, len)?, len, sized: false, anonymous: false })
    }

    fn set_len(&mut self, len: u64) -> Result<(), TracerError> {
        self.file.set_len(len).map_err(TracerError::system("size shared memory for replay"))?;
        self.len = len;
        Ok(())
    }

    fn copy(&self) -> io::Result<SharedMemory> {
        let file = copy_of(&self.file, self.len)?;
        Ok(SharedMemory { file, len: self.len, sized: self.sized, anonymous: self.anonymous })
    }
}

/// A memory file with the contents of a file, holes left out.
fn copy_of(file: &File, len: u64) -> io::Result<File> {
    let copy = process::memory_file(len)?;
    trace::copy_parts(file, &copy, process::data_ranges(file, 0..len))?;
    Ok(copy)
}

/// The processes and threads of a replay at one position.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) tasks: BTreeMap<ThreadId, Task>,
    pub(crate) spaces: BTreeMap<SpaceId, Space>,
    pub(crate) shared: BTreeMap<u32, SharedMemory>,
}

impl World {
    /// Creates an address space as exec left it, from a copy of `blank`.
    pub(crate) fn exec(
        &mut self,
        blank: &Shell,
        trace: &Reader,
        image: &Image,
        event: u64,
        stack_limit: u64,
    ) -> Result<(), TracerError> {
        let failed = TracerError::system("make a process for replay");
        let shell = blank.fork().map_err(&failed)?;
        process::set_stack_limit(shell.leader, stack_limit);
        let (program, arguments) = (image.path.clone(), image.arguments.clone());
        let space = Space {
            shell,
            layout: Layout::default(),
            stack_limit,
            image: event,
            program,
            arguments,
            planted: BTreeMap::new(),
            sentries: Vec::new(),
            refused: BTreeSet::new(),
            serving: Serving::default(),
        };
        self.spaces.insert(image.space, space);
        for mapping in &image.mappings {
            self.memory_op(trace, image.space, &MemoryOp::Map(mapping.clone()))?;
        }
        self.write_all(trace, image.space, &image.writes)
    }

    /// Builds everything that a snapshot has.
    pub(crate) fn build(blank: &Shell, trace: &Reader, state: &State) -> Result<World, TracerError> {
        let failed = TracerError::system("make a process for replay");
        let mut world = World::default();
        for object in &state.objects {
            world.build_object(trace, object)?;
        }
        for space in &state.spaces {
            let image = Image {
                space: space.space,
                thread: ThreadId(0),
                path: space.path.clone(),
                arguments: space.arguments.clone(),
                mappings: space.mappings.clone(),
                writes: in_order_of_data(&space.writes),
                registers: Registers::default(),
                brk: 0,
            };
            world.exec(blank, trace, &image, space.image, space.stack_limit)?;
        }
        for GuardState { space, start, len } in state.guards.iter().cloned() {
            world.memory_op(trace, space, &MemoryOp::Guard { start, len, install: true })?;
        }
        for thread in &state.threads {
            world.add_thread(thread.thread, thread.process, thread.space, &thread.registers)?;
            let real = world.task(thread.thread)?.real;
            let xstate = match thread.xstate {
                Some(xstate) => trace.data(xstate)?,
                None => xstate::initial(&ptrace::xstate(real).map_err(&failed)?),
            };
            ptrace::set_xstate(real, &xstate).map_err(&failed)?;
        }
        Ok(world)
    }

    fn build_object(&mut self, trace: &Reader, object: &ObjectState) -> Result<(), TracerError> {
        use std::os::unix::fs::FileExt;
        let failed = TracerError::system("make shared memory for replay");
        let file = process::memory_file(object.len).map_err(&failed)?;
        for write in in_order_of_data(&object.writes) {
            file.write_all_at(&trace.data(write.data)?, write.addr).map_err(&failed)?;
        }
        // Whole pages may reach over its end.
        file.set_len(object.len).map_err(&failed)?;
        self.shared.insert(
            object.object.id,
            SharedMemory { file, len: object.len, sized: object.sized, anonymous: false },
        );
        Ok(())
    }

    /// Adds a thread with these registers.
    pub(crate) fn add_thread(
        &mut self,
        id: ThreadId,
        process: i32,
        space: SpaceId,
        registers: &Registers,
    ) -> Result<(), TracerError> {
        let failed = TracerError::system("make a thread for replay");
        let home = self
            .spaces
            .get(&space)
            .ok_or(TracerError::Inconsistent("a thread starts in no address space"))?;
        let real = home.shell.thread().map_err(&failed)?;
        self.tasks.insert(id, Task { real, space, process, arrived: false, watches: Vec::new() });
        ptrace::set_registers(real, &settled(registers)).map_err(&failed)
    }

    /// Copies an address space, as fork does.
    pub(crate) fn copy_space(&mut self, from: SpaceId, to: SpaceId) -> Result<(), TracerError> {
        let copy = self.space(from)?.copy().map_err(TracerError::system("copy a process"))?;
        self.spaces.insert(to, copy);
        Ok(())
    }

    /// Ends a thread; the space goes with its last one.
    pub(crate) fn end_thread(&mut self, id: ThreadId) {
        let Some(task) = self.tasks.remove(&id) else { return };
        let others = self.tasks.values().any(|other| other.space == task.space);
        if others {
            end_real_thread(task.real);
        } else {
            self.end_space(task.space, &[task.real]);
        }
    }

    fn end_space(&mut self, space: SpaceId, threads: &[i32]) {
        let Some(space) = self.spaces.remove(&space) else { return };
        process::kill(space.shell.leader, libc::SIGKILL);
        threads.iter().for_each(|thread| reap(*thread));
    }

    pub(crate) fn space(&self, id: SpaceId) -> Result<&Space, TracerError> {
        self.spaces.get(&id).ok_or(TracerError::Inconsistent("an event belongs to no address space"))
    }

    pub(crate) fn space_mut(&mut self, id: SpaceId) -> Result<&mut Space, TracerError> {
        self.spaces.get_mut(&id).ok_or(TracerError::Inconsistent("an event belongs to no address space"))
    }

    pub(crate) fn task(&self, id: ThreadId) -> Result<&Task, TracerError> {
        self.tasks.get(&id).ok_or(TracerError::Inconsistent("an event belongs to no thread"))
    }

    pub(crate) fn memory_of(&self, id: ThreadId) -> Result<&Memory, TracerError> {
        Ok(&self.space(self.task(id)?.space)?.shell.memory)
    }

    /// Executes a change of the mappings.
    pub(crate) fn memory_op(
        &mut self,
        trace: &Reader,
        space: SpaceId,
        op: &MemoryOp,
    ) -> Result<(), TracerError> {
        if let MemoryOp::Map(Mapping {
            start, end, source: Source::Shared { object, offset }, name, ..
        }) = op
        {
            self.prepare_shared(trace, object, offset + (end - start))?;
            // Files and segments have names.
            self.shared_object(trace, object)?.anonymous = name.is_empty();
        }
        if let MemoryOp::Remap { old, new_len, .. } = op
            && let Some(Mapping { start, source: Source::Shared { object, offset }, .. }) =
                self.space(space)?.layout.at(*old).cloned()
        {
            self.prepare_shared(trace, &object, offset + (old - start) + new_len)?;
        }
        if let MemoryOp::Resize { object, len } = op {
            return self.resize_shared(trace, object, *len);
        }
        let shared = &self.shared;
        let home = self
            .spaces
            .get_mut(&space)
            .ok_or(TracerError::Inconsistent("an event belongs to no address space"))?;
        execute(trace, shared, home, op)
            .map_err(TracerError::system("change the memory map of a replay process"))?;
        home.layout.apply(op);
        if let MemoryOp::StackLimit { bytes } = op {
            home.stack_limit = *bytes;
        }
        if let Some(range) = replaced(op) {
            home.serving.mapped_over(&range);
        }
        Ok(())
    }

    fn prepare_shared(
        &mut self,
        trace: &Reader,
        object: &trace::SharedObject,
        len: u64,
    ) -> Result<(), TracerError> {
        let shared = self.shared_object(trace, object)?;
        if shared.len < len && !shared.sized {
            shared.set_len(len)?;
        }
        Ok(())
    }

    fn resize_shared(
        &mut self,
        trace: &Reader,
        object: &trace::SharedObject,
        len: u64,
    ) -> Result<(), TracerError> {
        let shared = self.shared_object(trace, object)?;
        shared.sized = true;
        shared.set_len(len)
    }

    fn shared_object(
        &mut self,
        trace: &Reader,
        object: &trace::SharedObject,
    ) -> Result<&mut SharedMemory, TracerError> {
        let failed = TracerError::system("make shared memory for replay");
        match self.shared.entry(object.id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let made = SharedMemory::new(trace, object).map_err(failed)?;
                Ok(place.insert(made))
            }
        }
    }

    /// Puts recorded bytes into memory.
    pub(crate) fn write_all(
        &self,
        trace: &Reader,
        space: SpaceId,
        writes: &[Write],
    ) -> Result<(), TracerError> {
        let home = self.space(space)?;
        for write in writes {
            let bytes = trace.data(write.data)?;
            if let Err(error) = home.shell.memory.write(write.addr, &bytes) {
                // A shared mapping that the program may not write is not written for us either.
                self.write_objects(home, write.addr, &bytes)
                    .ok_or(error)
                    .map_err(TracerError::system("write the memory of a replay process"))?;
            }
        }
        Ok(())
    }

    /// Writes to the shared objects behind a range; `None` when something else is there.
    fn write_objects(&self, home: &Space, mut address: u64, mut bytes: &[u8]) -> Option<()> {
        use std::os::unix::fs::FileExt;
        while !bytes.is_empty() {
            let mapping = home.layout.at(address)?;
            let Source::Shared { object, offset } = &mapping.source else { return None };
            let (now, rest) = bytes.split_at(bytes.len().min((mapping.end - address) as usize));
            let shared = self.shared.get(&object.id)?;
            shared.file.write_all_at(now, offset + (address - mapping.start)).ok()?;
            address += now.len() as u64;
            bytes = rest;
        }
        Some(())
    }

    /// The shared memory that somebody maps or may map again.
    fn live_shared(&self) -> impl Iterator<Item = (&u32, &SharedMemory)> {
        let object = |mapping: &Mapping| match &mapping.source {
            Source::Shared { object, .. } => Some(object.id),
            _ => None,
        };
        let mapped: BTreeSet<u32> =
            self.spaces.values().flat_map(|space| space.layout.iter().filter_map(object)).collect();
        self.shared.iter().filter(move |(id, memory)| !memory.anonymous || mapped.contains(id))
    }

    /// A copy of everything, threads as their registers only.
    pub(crate) fn freeze(&self) -> Result<FrozenWorld, TracerError> {
        let failed = TracerError::system("make a checkpoint");
        let mut spaces = BTreeMap::new();
        let shared = copy_shared(self.live_shared()).map_err(&failed)?;
        for (id, space) in &self.spaces {
            let copy = space.copy().map_err(&failed)?;
            remap_shared(&copy.shell, &copy.layout, &shared).map_err(&failed)?;
            spaces.insert(*id, copy);
        }
        let mut tasks = BTreeMap::new();
        for (id, task) in &self.tasks {
            let registers = ptrace::registers(task.real).map_err(&failed)?;
            let xstate = ptrace::xstate(task.real).map_err(&failed)?;
            let frozen = FrozenTask {
                space: task.space,
                process: task.process,
                arrived: task.arrived,
                registers,
                xstate,
            };
            tasks.insert(*id, frozen);
        }
        Ok(FrozenWorld { spaces, tasks, shared })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for space in self.spaces.values() {
            process::kill(space.shell.leader, libc::SIGKILL);
        }
        self.tasks.values().for_each(|task| reap(task.real));
    }
}

/// A thread of a checkpoint.
pub(crate) struct FrozenTask {
    pub(crate) space: SpaceId,
    process: i32,
    arrived: bool,
    pub(crate) registers: Registers,
    pub(crate) xstate: Vec<u8>,
}

/// A world without running threads, from which any number of worlds can be made.
pub(crate) struct FrozenWorld {
    pub(crate) spaces: BTreeMap<SpaceId, Space>,
    pub(crate) tasks: BTreeMap<ThreadId, FrozenTask>,
    shared: BTreeMap<u32, SharedMemory>,
}

impl FrozenWorld {
    /// Rebuilds the world: copies of the processes, with their threads.
    pub(crate) fn rebuild(&self) -> Result<World, TracerError> {
        let failed = TracerError::system("go back to a checkpoint");
        let mut world = World::default();
        world.shared = copy_shared(&self.shared).map_err(&failed)?;
        for (id, space) in &self.spaces {
            let copy = space.copy().map_err(&failed)?;
            remap_shared(&copy.shell, &copy.layout, &world.shared).map_err(&failed)?;
            world.spaces.insert(*id, copy);
        }
        for (id, task) in &self.tasks {
            world.add_thread(*id, task.process, task.space, &task.registers)?;
            let new = world.tasks.get_mut(id).expect("it was just added");
            new.arrived = task.arrived;
            ptrace::set_xstate(new.real, &task.xstate).map_err(&failed)?;
        }
        // Whoever goes on from here may step, and plants what is wanted then.
        self.spaces.keys().try_for_each(|id| world.clear_sentries(*id))?;
        Ok(world)
    }
}

/// Each block of data is unpacked once when pieces are read in their order.
fn in_order_of_data(writes: &[Write]) -> Vec<Write> {
    let mut writes = writes.to_vec();
    writes.sort_by_key(|write| write.data.offset);
    writes
}

/// Registers that the kernel will not touch when the thread goes on: no call is to be restarted.
pub(crate) fn settled(registers: &Registers) -> Registers {
    Registers { orig_rax: u64::MAX, ..*registers }
}

/// Copies what is no hole: programs map much more than they use.
fn copy_shared<'a>(
    shared: impl IntoIterator<Item = (&'a u32, &'a SharedMemory)>,
) -> io::Result<BTreeMap<u32, SharedMemory>> {
    shared.into_iter().map(|(id, memory)| Ok((*id, memory.copy()?))).collect()
}

/// Points the shared mappings of a copied process at the copies of their objects.
fn remap_shared(shell: &Shell, layout: &Layout, shared: &BTreeMap<u32, SharedMemory>) -> io::Result<()> {
    for mapping in layout.iter() {
        if let Source::Shared { object, offset } = &mapping.source
            && let Some(memory) = shared.get(&object.id)
        {
            map_shared(shell, mapping, memory, *offset)?;
            for part in layout.guards().iter().filter_map(|guard| in_mapping(guard, mapping)) {
                set_guard(shell, part.start, part.end - part.start, true)?;
            }
        }
    }
    Ok(())
}

fn in_mapping(range: &Range<u64>, mapping: &Mapping) -> Option<Range<u64>> {
    let part = range.start.max(mapping.start)..range.end.min(mapping.end);
    (!part.is_empty()).then_some(part)
}

fn set_guard(shell: &Shell, start: u64, len: u64, install: bool) -> io::Result<()> {
    match shell.call(libc::SYS_madvise, [start, len, guard_advice(install), 0, 0, 0]) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(io::Error::other(
            "the program has guard pages (MADV_GUARD_INSTALL), which only a kernel from Linux 6.13 on replays",
        )),
        set => set.map(drop),
    }
}

fn map_shared(shell: &Shell, mapping: &Mapping, memory: &SharedMemory, offset: u64) -> io::Result<()> {
    let path = format!("/proc/{}/fd/{}", std::process::id(), memory.file.as_raw_fd());
    shell.map_file(path.as_ref(), libc::O_RDWR, mapping, libc::MAP_SHARED, offset)
}

fn execute(
    trace: &Reader,
    shared: &BTreeMap<u32, SharedMemory>,
    home: &Space,
    op: &MemoryOp,
) -> io::Result<()> {
    let shell = &home.shell;
    match op {
        MemoryOp::Map(mapping) => match &mapping.source {
            Source::Zero => shell.map_zero(mapping)?,
            Source::File { file, offset } => {
                shell.map_file(&trace.file(file), libc::O_RDONLY, mapping, libc::MAP_PRIVATE, *offset)?;
            }
            Source::Shared { object, offset } => {
                let memory =
                    shared.get(&object.id).ok_or_else(|| io::Error::other("no such shared object"))?;
                map_shared(shell, mapping, memory, *offset)?;
            }
        },
        MemoryOp::Unmap { start, len } => drop(shell.call(libc::SYS_munmap, [*start, *len, 0, 0, 0, 0])?),
        MemoryOp::Protect { start, len, protection } => {
            shell.call(libc::SYS_mprotect, [*start, *len, *protection as u32 as u64, 0, 0, 0])?;
        }
        MemoryOp::Remap { old, old_len, new, new_len, keep_old } => {
            const MAY_MOVE: u64 = 1;
            const FIXED: u64 = 2;
            const DONT_UNMAP: u64 = 4;
            let place = if old == new { 0 } else { MAY_MOVE | FIXED };
            let keep = if *keep_old { MAY_MOVE | FIXED | DONT_UNMAP } else { 0 };
            shell.call(libc::SYS_mremap, [*old, *old_len, *new_len, place | keep, *new, 0])?;
        }
        MemoryOp::Discard { start, len } => {
            // Shared memory keeps its contents; so does memory that is locked, which the recorder has seen to fail.
            let is_shared = matches!(home.layout.at(*start).map(|m| &m.source), Some(Source::Shared { .. }));
            if !is_shared {
                shell.call(libc::SYS_madvise, [*start, *len, libc::MADV_DONTNEED as u64, 0, 0, 0])?;
            }
        }
        MemoryOp::Guard { start, len, install } => set_guard(shell, *start, *len, *install)?,
        // This changes no mapping: the object has been resized.
        MemoryOp::Resize { .. } => {}
        MemoryOp::StackLimit { bytes } => process::set_stack_limit(shell.leader, *bytes),
    }
    Ok(())
}

/// The range in which an operation puts something in the place of what was there.
fn replaced(op: &MemoryOp) -> Option<std::ops::Range<u64>> {
    let range = |start: u64, len: u64| start..start.saturating_add(len);
    match op {
        MemoryOp::Map(mapping) => Some(mapping.start..mapping.end),
        MemoryOp::Unmap { start, len }
        | MemoryOp::Discard { start, len }
        | MemoryOp::Guard { start, len, .. } => Some(range(*start, *len)),
        MemoryOp::Remap { new, new_len, .. } => Some(range(*new, *new_len)),
        MemoryOp::Protect { .. } | MemoryOp::Resize { .. } | MemoryOp::StackLimit { .. } => None,
    }
}

/// Ends one thread of a process that goes on: it makes the call exit(2) itself.
fn end_real_thread(thread: i32) {
    let Ok(registers) = ptrace::registers(thread) else { return };
    let exit =
        Registers { rip: SERVICE_PAGE, rax: libc::SYS_exit as u64, rdi: 0, orig_rax: u64::MAX, ..registers };
    if ptrace::set_registers(thread, &exit).is_ok() && ptrace::resume(thread, Resume::Continue, 0).is_ok() {
        reap(thread);
    }
}

/// Waits for the end of a thread that is ending.
fn reap(thread: i32) {
    while let Ok((_, stop)) = ptrace::wait(thread) {
        if matches!(stop, Wait::Ended(_)) || ptrace::resume(thread, Resume::Continue, 0).is_err() {
            return;
        }
    }
}
