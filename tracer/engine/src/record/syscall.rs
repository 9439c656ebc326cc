//! Entry to and return from system calls.

use std::time::Instant;

use syscalls::{Class, Coverage};
use trace::{Effect, EventKind, Registers, Write};

use super::clone::show_untraced;
use super::inside::BEGIN_AGAIN;
use super::task::{Boundary, Intervention, Phase};
use super::unknown::{self, Before};
use super::{NO_EFFECT, Next, Recorder};
use crate::TracerError;
use crate::sys::memory::Memory;
use crate::sys::process::{self, PR_SET_TSC, PR_TSC_ENABLE, PR_TSC_SIGSEGV};
use crate::sys::ptrace;
use crate::sys::seccomp;
use crate::sys::signal;

/// The kernel's codes for an interrupted call (`include/linux/errno.h`): a tracer sees them, a program never.
pub(super) const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;

/// The kernel is about to take the thread back to a call that was interrupted: a step would make that call.
pub(super) fn begins_again(registers: &Registers) -> bool {
    (registers.orig_rax as i64) >= 0 && RESTARTS.contains(&(registers.rax as i64))
}

/// `MADV_FREE` and `MADV_DONTNEED` of madvise(2).
const MADV_FREE: u64 = 8;
const MADV_DONTNEED: u64 = 4;

/// What process_madvise(2) advises without changing contents.
const REMOTE_HINTS: [i32; 4] =
    [libc::MADV_WILLNEED, libc::MADV_COLD, libc::MADV_PAGEOUT, libc::MADV_COLLAPSE];

/// `PR_GET_TSC` of prctl(2).
const PR_GET_TSC: i32 = 25;

impl Recorder {
    pub(super) fn syscall_entry(&mut self, thread: i32) -> Result<Next, TracerError> {
        let registers = self.registers(thread)?;
        self.restart_if_interrupted(thread, &registers)?;
        if let Some(info) = self.deliverable(thread)? {
            return self.deliver_at_entry(thread, &registers, info);
        }
        if installs_filter(&registers) && !self.tasks[&thread].tsc_traps {
            return self.trap_before_filter(thread, &registers);
        }
        let number = registers.orig_rax;
        let loses_turn = self.loses_turn_at(thread, number);
        let task = self.task(thread);
        task.loses_turn = loses_turn;
        task.phase = Phase::Kernel;
        task.announced = false;
        task.boundary = None;
        task.entry = registers;
        if number != libc::SYS_restart_syscall as u64 {
            task.call = number;
        }
        self.task(thread).before = unknown::memory_before(&registers, &self.memory_of(thread));
        let intervention = match loses_turn {
            true => self.instead(thread, &registers, BEGIN_AGAIN)?,
            false => self.intervene(thread, &registers)?,
        };
        self.task(thread).intervention = intervention;
        if matches!(number as i64, libc::SYS_exit | libc::SYS_exit_group) && !loses_turn {
            // These do not return: the entry is all there is to record.
            self.announce(thread)?;
        }
        if number as i64 == libc::SYS_sched_yield {
            self.slice_end = Instant::now();
        }
        Ok(Next::Resume(0))
    }

    /// Whether the thread loses its turn at the entry of a call, by chance ([`super::chaos`]).
    fn loses_turn_at(&mut self, thread: i32, number: u64) -> bool {
        // This one is not made again, but goes on with what a signal frame says.
        let never = number == libc::SYS_rt_sigreturn as u64;
        let alone = !self.others_ready();
        if never
            || self.chaos.is_none()
            || std::mem::take(&mut self.task(thread).lost_turn)
            || alone && self.tasks.len() == 1
        {
            return false;
        }
        self.chaos.as_mut().is_some_and(|chaos| chaos.takes_turn(thread, alone))
    }

    /// Takes a thread that has lost its turn at the entry of a call back to the call's instruction.
    fn go_back_to_call(
        &mut self,
        thread: i32,
        entry: &Registers,
        behind: Registers,
    ) -> Result<(), TracerError> {
        self.event(thread, behind, EventKind::SyscallRestart { rax: entry.orig_rax })?;
        let again = Registers { rip: behind.rip - 2, rax: entry.orig_rax, orig_rax: u64::MAX, ..behind };
        self.set_registers(thread, &again)?;
        let task = self.task(thread);
        task.boundary = Some(Boundary::unique(again));
        (task.interrupted, task.lost_turn, task.misplaced) = (false, true, true);
        self.slice_end = Instant::now();
        Ok(())
    }

    /// A filter has sent a call to the tracer (seccomp(2), `SECCOMP_RET_TRACE`). The program's own filters find none there.
    pub(super) fn asked_for_tracer(&mut self, thread: i32) -> Result<Next, TracerError> {
        let message =
            ptrace::event_message(thread).map_err(TracerError::system("read what a filter says"))?;
        if message != u64::from(seccomp::OURS) {
            let registers = self.raw_registers(thread)?;
            let refused = Registers { rax: -i64::from(libc::ENOSYS) as u64, orig_rax: u64::MAX, ..registers };
            self.set_raw_registers(thread, &refused)?;
        }
        Ok(Next::GoOn)
    }

    /// An interrupted call without a handler goes back to its instruction; this is how that shows.
    fn restart_if_interrupted(&mut self, thread: i32, entry: &Registers) -> Result<(), TracerError> {
        let task = self.task(thread);
        if !std::mem::take(&mut task.interrupted) {
            return Ok(());
        }
        let Some(boundary) = task.boundary else { return Ok(()) };
        let boundary = boundary.registers;
        if boundary.rip == entry.rip && boundary.rsp == entry.rsp {
            self.event(thread, boundary, EventKind::SyscallRestart { rax: entry.orig_rax })?;
        }
        Ok(())
    }

    /// Decides whether a call is executed as it is.
    fn intervene(&mut self, thread: i32, entry: &Registers) -> Result<Intervention, TracerError> {
        let arguments = entry.arguments();
        let row = syscalls::lookup(entry.orig_rax);
        if let Some(Class::Refused { errno, .. }) = row.map(|row| row.class) {
            return self.instead(thread, entry, -i64::from(errno));
        }
        if self.tasks[&thread].strict && !ALLOWED_IF_STRICT.contains(&(entry.orig_rax as i64)) {
            process::kill(self.tasks[&thread].process, libc::SIGKILL);
            return self.instead(thread, entry, -i64::from(libc::ENOSYS));
        }
        if touched_range(entry).is_some_and(|range| self.space_of(thread).hooks.is_ours(&range)) {
            return self.instead(thread, entry, -i64::from(libc::EINVAL));
        }
        match entry.orig_rax as i64 {
            libc::SYS_madvise if arguments[2] == MADV_FREE => {
                // When the kernel takes freed pages is its own affair: they are dropped at once.
                self.set_registers(thread, &Registers { rdx: MADV_DONTNEED, ..*entry })?;
                Ok(Intervention::Arguments)
            }
            // Only newer kernels know more than these of a process itself (process_madvise(2)); replay follows none of it.
            libc::SYS_process_madvise if !REMOTE_HINTS.contains(&(arguments[3] as i32)) => {
                self.instead(thread, entry, -i64::from(libc::EINVAL))
            }
            libc::SYS_prctl if arguments[0] as i32 == PR_SET_TSC => {
                let result = self.choose_time_stamps(thread, arguments[1]);
                self.instead(thread, entry, result)
            }
            libc::SYS_prctl if arguments[0] as i32 == PR_GET_TSC => {
                let mode = if self.tasks[&thread].tsc_forbidden { PR_TSC_SIGSEGV } else { PR_TSC_ENABLE };
                let written = self.memory_of(thread).write(arguments[1], &(mode as u32).to_le_bytes());
                self.instead(thread, entry, if written.is_ok() { 0 } else { -i64::from(libc::EFAULT) })
            }
            libc::SYS_prctl if arguments[0] as i32 == libc::PR_GET_SECCOMP => {
                self.instead(thread, entry, if self.tasks[&thread].filtered { 2 } else { 0 })
            }
            libc::SYS_fork | libc::SYS_vfork | libc::SYS_clone | libc::SYS_clone3 => {
                match self.bound_processes(thread, entry)? {
                    Intervention::None => self.keep_traced(thread, entry),
                    other => Ok(other),
                }
            }
            libc::SYS_sched_setaffinity => self.set_affinity(thread, entry),
            libc::SYS_setitimer => {
                self.note_timer(thread, &arguments);
                Ok(Intervention::None)
            }
            // What these move never is in the program's memory, so a replay could not write it again. Programs fall back to
            // read and write, as the manual pages tell them to.
            call if target_of_move(call).is_some_and(|index| self.is_output(thread, arguments[index])) => {
                self.instead(thread, entry, -i64::from(libc::EINVAL))
            }
            // The kernel would not allow it beside the filter of the safety net.
            libc::SYS_seccomp | libc::SYS_prctl if is_strict(entry) && self.tasks[&thread].netted => {
                self.task(thread).strict = true;
                self.instead(thread, entry, 0)
            }
            libc::SYS_ptrace if is_tracing(arguments[0]) => {
                self.warn_of_tracing(arguments[0]);
                self.instead(thread, entry, -i64::from(libc::EPERM))
            }
            // Its completion ring and its buffers would be written by the kernel at any time.
            libc::SYS_io_setup => self.instead(thread, entry, -i64::from(libc::ENOSYS)),
            _ => Ok(Intervention::None),
        }
    }

    fn warn_of_tracing(&mut self, request: u64) {
        const TEXT: &str =
            "the program wants to trace a process itself with ptrace, which is refused (EPERM): ";
        if !self.warnings.iter().any(|warning| warning.starts_with(TEXT)) {
            self.warn(format!(
                "{TEXT}{} of a process that is being recorded (the leak check of AddressSanitizer does so at the end: ASAN_OPTIONS=detect_leaks=0 leaves it out)",
                request_name(request)
            ));
        }
    }

    /// Keeps a call from being executed; it gives `result`.
    pub(super) fn instead(
        &mut self,
        thread: i32,
        entry: &Registers,
        result: i64,
    ) -> Result<Intervention, TracerError> {
        self.set_registers(thread, &Registers { orig_rax: u64::MAX, ..*entry })?;
        Ok(Intervention::Result(result))
    }

    pub(super) fn syscall_exit(&mut self, thread: i32) -> Result<Next, TracerError> {
        let mut registers = self.registers(thread)?;
        let task = self.task(thread);
        let (entry, call) = (task.entry, task.call);
        task.phase = Phase::User;
        match std::mem::replace(&mut task.intervention, Intervention::None) {
            Intervention::None => {}
            Intervention::Result(result) => {
                registers.rax = result as u64;
                registers.orig_rax = entry.orig_rax;
                self.set_registers(thread, &registers)?;
            }
            Intervention::Arguments => {
                (registers.rdi, registers.rdx) = (entry.rdi, entry.rdx);
                self.set_registers(thread, &registers)?;
                show_untraced(&self.memory_of(thread), &entry);
            }
        }
        let mut result = registers.rax as i64;
        let memory = self.memory_of(thread);
        let before = self.task(thread).before.take();
        self.show_affinity(thread, &memory, &entry, result);
        self.show_core(thread, &memory, &entry, result);
        let mut writes = Vec::new();
        if let Some(len) = self.disguise_status(thread, &entry, result, &memory)? {
            // What is left of the longer text behind the new end stays in memory.
            self.save(&memory, entry.rsi, result as u64, &mut writes)?;
            result = len;
            registers.rax = len as u64;
            self.set_registers(thread, &registers)?;
        }
        let effect = self.effect(thread, &entry, &registers, &mut writes)?;
        self.collect_writes(call, &entry, result, &memory, before, &mut writes)?;
        let changes = self.changes_by(thread, &entry, result, &mut writes)?;
        let task = self.task(thread);
        task.interrupted = RESTARTS.contains(&result);
        let announced = std::mem::take(&mut task.announced);
        let kind = if announced {
            EventKind::SyscallExit { result, writes, effect }
        } else {
            EventKind::Syscall { result, writes, effect }
        };
        self.event(thread, entry, kind)?;
        self.finish_exec(thread, &entry, result)?;
        self.change(thread, changes)?;
        if result >= 0 && installs_filter(&entry) {
            self.leave_the_net(thread);
        }
        // The registers a signal would find; after an exec they are new ones.
        let boundary = match entry.orig_rax as i64 {
            libc::SYS_execve | libc::SYS_execveat => {
                Boundary::unique(Registers { orig_rax: registers.orig_rax, ..self.registers(thread)? })
            }
            // It goes back to where a signal came, which may be anywhere; a signal that waits comes before anything else.
            libc::SYS_rt_sigreturn => {
                self.space_of(thread).note_frame(registers.rip, -1);
                Boundary { registers, unique: signal::is_due(thread) }
            }
            _ => Boundary::unique(registers),
        };
        let task = self.task(thread);
        task.boundary = Some(boundary);
        task.segments = boundary.registers;
        task.misplaced |= entry.orig_rax == libc::SYS_rt_sigreturn as u64;
        if std::mem::take(&mut self.task(thread).loses_turn) {
            self.go_back_to_call(thread, &entry, registers)?;
            return Ok(Next::Resume(0));
        }
        self.note_descriptors(thread, &entry);
        self.hook_new(thread)?;
        self.hook_site(thread, &entry)?;
        self.show_next(thread)?;
        if matches!(entry.orig_rax as i64, libc::SYS_rt_sigprocmask | libc::SYS_rt_sigreturn)
            && let Some(info) = self.deliverable(thread)?
        {
            // It was blocked until now, and comes before anything else.
            return self.deliver_behind_call(thread, info);
        }
        Ok(Next::Resume(0))
    }

    /// Behind a call rcx holds the next instruction's address: the program's, not that of a copy.
    fn show_next(&mut self, thread: i32) -> Result<(), TracerError> {
        let raw = self.raw_registers(thread)?;
        let own = self.hooks_of(thread).original(raw);
        if own.rcx != raw.rcx { self.set_registers(thread, &own) } else { Ok(()) }
    }

    /// Keeps what the agent knows of descriptors up to date.
    fn note_descriptors(&mut self, thread: i32, entry: &Registers) {
        let process = self.tasks[&thread].process;
        let [first, second, ..] = entry.arguments();
        let Some(agent) = &mut self.agent else { return };
        match entry.orig_rax as i64 {
            libc::SYS_close => agent.set_class(process, first, 0),
            libc::SYS_dup2 | libc::SYS_dup3 => agent.set_class(process, second, 0),
            libc::SYS_close_range | libc::SYS_unshare | libc::SYS_execve | libc::SYS_execveat => {
                agent.forget_descriptors(process);
            }
            libc::SYS_read
            | libc::SYS_pread64
            | libc::SYS_write
            | libc::SYS_pwrite64
            | libc::SYS_getdents
            | libc::SYS_getdents64
            | libc::SYS_recvfrom
            | libc::SYS_sendto
                if agent.class(process, first) == Some(0) =>
            {
                let class = self.classify(thread, first);
                if let Some(agent) = &mut self.agent {
                    agent.set_class(process, first, class);
                }
            }
            _ => {}
        }
    }

    /// What the agent may do with a descriptor ([`agent::class`]).
    fn classify(&self, thread: i32, descriptor: u64) -> u8 {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        /// `/dev/null`, `/dev/zero`, `/dev/full`, `/dev/random` and `/dev/urandom` (Documentation/admin-guide/devices.txt).
        const MEMORY_DEVICES: [u64; 5] = [0x103, 0x105, 0x107, 0x108, 0x109];
        let Ok(meta) = std::fs::metadata(format!("/proc/{thread}/fd/{}", descriptor as i32)) else {
            return 0;
        };
        let of_proc = std::fs::metadata("/proc").is_ok_and(|proc| proc.dev() == meta.dev());
        let kind = meta.file_type();
        let never_waits = kind.is_file()
            || kind.is_dir()
            || kind.is_block_device()
            || kind.is_char_device() && MEMORY_DEVICES.contains(&meta.rdev());
        let output = match self.output_effect(thread, descriptor) {
            Effect::Output { error: true } => agent::class::OUTPUT | agent::class::ERROR,
            Effect::Output { error: false } => agent::class::OUTPUT,
            _ => 0,
        };
        match (of_proc, never_waits) {
            (true, _) => agent::class::SPECIAL,
            (false, true) => output | agent::class::FILE,
            (false, false) => output | agent::class::WAITS,
        }
    }

    /// A filter of the program's own may answer a call before the safety net reports it: from now on the process is
    /// stopped at each call before any filter sees it.
    fn leave_the_net(&mut self, thread: i32) {
        let process = self.tasks[&thread].process;
        for task in self.tasks.values_mut().filter(|task| task.process == process) {
            (task.netted, task.filtered) = (false, true);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the facts of one call")]
    pub(super) fn collect_writes(
        &mut self,
        call: u64,
        entry: &Registers,
        result: i64,
        memory: &Memory,
        before: Option<Before>,
        writes: &mut Vec<Write>,
    ) -> Result<(), TracerError> {
        let mut ranges = Vec::new();
        let arguments = entry.arguments();
        if let Some(bytes) = values_of_set(call, &arguments, result, memory.process()) {
            return self.save(memory, arguments[3], bytes, writes);
        }
        let coverage = syscalls::writes(call, &arguments, result, memory, &mut |range| ranges.push(range));
        for range in ranges {
            self.save(memory, range.addr, range.len, writes)?;
        }
        if coverage == Coverage::Unknown {
            self.collect_unknown((call, &arguments), memory, before, writes)?;
        }
        Ok(())
    }

    /// Whether a descriptor is the standard output or error that the recording was started with.
    fn output_effect(&self, thread: i32, descriptor: u64) -> Effect {
        let Ok(target) = std::fs::read_link(format!("/proc/{thread}/fd/{}", descriptor as i32)) else {
            return NO_EFFECT;
        };
        let is_error = self.standard_error.as_ref() == Some(&target);
        let is_output = self.standard_output.as_ref() == Some(&target);
        match (is_output, is_error) {
            // Both go to the same place, as on a terminal: the number the program used decides.
            (true, true) => Effect::Output { error: descriptor == 2 },
            (true, false) => Effect::Output { error: false },
            (false, true) => Effect::Output { error: true },
            (false, false) => NO_EFFECT,
        }
    }

    fn is_output(&self, thread: i32, descriptor: u64) -> bool {
        matches!(self.output_effect(thread, descriptor), Effect::Output { .. })
    }

    /// What the call did to mappings, threads or registers.
    fn effect(
        &mut self,
        thread: i32,
        entry: &Registers,
        exit: &Registers,
        writes: &mut Vec<Write>,
    ) -> Result<Effect, TracerError> {
        let result = exit.rax as i64;
        match entry.orig_rax as i64 {
            libc::SYS_rt_sigreturn => {
                let xstate = ptrace::xstate(thread).map_err(TracerError::system("read extended state"))?;
                let xstate = Some(self.data(xstate)?);
                Ok(Effect::Registers { after: Box::new(*exit), xstate })
            }
            libc::SYS_arch_prctl if result == 0 => {
                Ok(Effect::Registers { after: Box::new(*exit), xstate: None })
            }
            libc::SYS_prctl
                if result == 0
                    && entry.rdi as i32 == PR_SET_TSC
                    && u64::from(entry.rsi as u32) == PR_TSC_SIGSEGV =>
            {
                self.forbid_time_stamps(thread, writes)
            }
            libc::SYS_set_tid_address => {
                self.task(thread).clear_tid = entry.rdi;
                Ok(NO_EFFECT)
            }
            libc::SYS_write | libc::SYS_writev | libc::SYS_pwrite64 | libc::SYS_sendto if result > 0 => {
                Ok(self.output_effect(thread, entry.rdi))
            }
            libc::SYS_execve | libc::SYS_execveat if result == 0 => self.exec_effect(thread, exit),
            _ => self.mapping_effect(thread, entry, result, writes),
        }
    }
}

/// The range of addresses whose mappings a call names.
fn touched_range(entry: &Registers) -> Option<std::ops::Range<u64>> {
    let [start, len, _, flags, new, _] = entry.arguments();
    let fixed = (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) as u64;
    match entry.orig_rax as i64 {
        libc::SYS_mmap if flags & fixed == 0 => None,
        libc::SYS_mmap
        | libc::SYS_munmap
        | libc::SYS_mprotect
        | libc::SYS_pkey_mprotect
        | libc::SYS_madvise => Some(start..start.saturating_add(len)),
        libc::SYS_mremap if flags & libc::MREMAP_FIXED as u64 != 0 => {
            Some(new..new.saturating_add(entry.rdx))
        }
        libc::SYS_mremap => Some(start..start.saturating_add(len)),
        _ => None,
    }
}

/// What semctl(2) has written that reads all values of a set; only the set itself says how many those are.
fn values_of_set(call: u64, arguments: &[u64; 6], result: i64, process: i32) -> Option<u64> {
    const GETALL: i32 = 13;
    const VALUE_BYTES: u64 = 2;
    let is_meant = call as i64 == libc::SYS_semctl && arguments[2] as i32 == GETALL && result == 0;
    let count = is_meant && process::same_namespace(process, "ipc");
    let count = count.then(|| process::semaphores(arguments[0] as i32).ok()).flatten();
    count.map(|count| count * VALUE_BYTES)
}

/// The call installs a seccomp filter (seccomp(2), prctl(2)).
fn installs_filter(entry: &Registers) -> bool {
    /// `SECCOMP_SET_MODE_STRICT` and `SECCOMP_SET_MODE_FILTER`.
    const SET_MODES: std::ops::RangeInclusive<u32> = 0..=1;
    match entry.orig_rax as i64 {
        libc::SYS_seccomp => SET_MODES.contains(&(entry.rdi as u32)),
        libc::SYS_prctl => entry.rdi as i32 == libc::PR_SET_SECCOMP,
        _ => false,
    }
}

/// The request begins to trace (ptrace(2)).
fn is_tracing(request: u64) -> bool {
    [libc::PTRACE_TRACEME, libc::PTRACE_ATTACH, libc::PTRACE_SEIZE].map(u64::from).contains(&request)
}

fn request_name(request: u64) -> &'static str {
    match u32::try_from(request) {
        Ok(libc::PTRACE_TRACEME) => "PTRACE_TRACEME",
        Ok(libc::PTRACE_ATTACH) => "PTRACE_ATTACH",
        _ => "PTRACE_SEIZE",
    }
}

/// The calls of seccomp's strict mode.
const ALLOWED_IF_STRICT: [i64; 4] = [libc::SYS_read, libc::SYS_write, libc::SYS_exit, libc::SYS_rt_sigreturn];

/// The call asks for seccomp's strict mode.
fn is_strict(entry: &Registers) -> bool {
    match entry.orig_rax as i64 {
        libc::SYS_seccomp => entry.rdi as u32 == 0 && entry.rsi == 0 && entry.rdx == 0,
        _ => entry.rdi as i32 == libc::PR_SET_SECCOMP && entry.rsi == u64::from(libc::SECCOMP_MODE_STRICT),
    }
}

/// Which argument is the descriptor that a call moves data to inside the kernel.
fn target_of_move(call: i64) -> Option<usize> {
    match call {
        libc::SYS_sendfile | libc::SYS_vmsplice => Some(0),
        libc::SYS_tee => Some(1),
        libc::SYS_splice | libc::SYS_copy_file_range => Some(2),
        _ => None,
    }
}
