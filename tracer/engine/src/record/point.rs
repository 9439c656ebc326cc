//! Forced points: places between two inputs at which the recorder had to stop a thread, described by what they look
//! like (DESIGN.md §3.3), so that replay can find them again without anything having been counted.
//!
//! A fingerprint holds the registers, a hash of the extended state, and hashes of the 64-byte lines of memory that
//! were written since the last forced point. Which pages were written is asked of the kernel (asynchronous
//! write-protection); of those, only lines whose hash has changed are kept. Where that is not known (at the first
//! point, without userfaultfd, or when too much was written) the lines around the stack pointer and those that
//! registers lead to are taken instead, and the fingerprint says that it is not complete.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use patch::{LINE_BYTES, NEIGHBOURHOOD_BYTES, is_quiet, line_hash, plantable};
use trace::{EventKind, Fingerprint, LineHash, Registers, SignalPoint};

use super::exec::TRAP;
use super::signals::{SI_KERNEL, is_fault};
use super::task::Status;
use super::{POINT_COST_FACTOR, Recorder, SLICE, gone_is_fine};
use crate::TracerError;
use crate::sys::maps::{self, Map};
use crate::sys::memory::Memory;
use crate::sys::ptrace::{self, Resume, Wait};
use crate::sys::userfault::{self, WriteTracker};
use crate::sys::xstate;

const PAGE: u64 = 4096;

/// When more pages than this were written, hashing them would cost more than the point is worth.
const PAGES_MAX: usize = 4096;

/// How many pages are hashed at the first point, before it is known which of them change.
const FIRST_PAGES_MAX: usize = 1024;

/// How many pages of the programs' and libraries' own data are taken where not all can be.
const DATA_PAGES_MAX: usize = 256;

/// How many lines are taken by following pointers.
const NEAR_LINES_MAX: usize = 768;

/// How many pointers are followed one after the other.
const NEAR_DEPTH_MAX: u32 = 3;

/// How much of the stack above the red zone is taken as near.
const NEAR_STACK_BYTES: u64 = 2048;

/// The red zone below the stack pointer (System V ABI, x86-64, section 3.2.2).
const RED_ZONE_BYTES: u64 = 128;

/// How far a thread is stepped in search of an instruction where a stub can be planted.
const STEPS_MAX: usize = 256;

/// For so many steps an instruction is looked for at which a stub would be quiet: a jump into the middle of a stub costs
/// a trap at replay, each time.
const CHOOSY_STEPS: usize = 128;

/// How many unrelated stops may come before a thread obeys an interrupt or a step.
const STRAY_STOPS_MAX: usize = 64;

/// What is known of an address space's written memory.
#[derive(Default)]
pub(crate) struct Written {
    tracker: Option<WriteTracker>,
    /// The kernel refused to track.
    refused: bool,
    /// The mappings have changed since they were last read.
    stale: bool,
    maps: Vec<Map>,
    /// Hashes of the lines of each page, when it was last looked at.
    hashes: HashMap<u64, Box<[u32; PAGE as usize / LINE_BYTES]>>,
}

impl Written {
    /// Notes that mappings have come or gone.
    pub(crate) fn maps_changed(&mut self) {
        self.stale = true;
    }

    /// The pages written since the last call, or `None` when that is not known.
    fn pages(&mut self) -> Option<Vec<u64>> {
        let tracker = self.tracker.as_ref()?;
        let mut pages = Vec::new();
        for map in &self.maps {
            let range = &mut |start: u64, end: u64| pages.extend((start..end).step_by(PAGE as usize));
            tracker.scan(map.start, map.end, range).ok()?;
        }
        (pages.len() <= PAGES_MAX).then_some(pages)
    }

    /// Pages of global variables: writable parts of files, and the zeros that follow them, those of the program first.
    fn data_pages(&self) -> Vec<u64> {
        let follows_file = |index: usize| {
            let before = index.checked_sub(1).and_then(|before| self.maps.get(before));
            before.is_some_and(|before| before.is_file() && before.end == self.maps[index].start)
        };
        let data = (0..self.maps.len()).filter(|index| {
            let map = &self.maps[*index];
            !map.shared && (map.is_file() || map.name.is_empty() && follows_file(*index))
        });
        let pages =
            data.flat_map(|index| (self.maps[index].start..self.maps[index].end).step_by(PAGE as usize));
        pages.take(DATA_PAGES_MAX).collect()
    }

    /// Reads the mappings again if they have changed, and tracks the new ones.
    fn refresh(&mut self, thread: i32) {
        if !self.stale && !self.maps.is_empty() {
            return;
        }
        let Ok(maps) = maps::read(thread) else { return };
        self.maps = maps.into_iter().filter(Map::writable).collect();
        self.stale = false;
        if let Some(tracker) = &self.tracker {
            // A range that cannot be tracked (a device) is left out of the fingerprint.
            self.maps.retain(|map| tracker.track(map.start, map.end).is_ok());
        }
    }

    fn map_of(&self, address: u64) -> Option<&Map> {
        let index = self.maps.partition_point(|map| map.end <= address);
        self.maps.get(index).filter(|map| map.start <= address)
    }

    /// The lines of a page whose hashes are new.
    fn changed_lines(&mut self, page: u64, contents: &[u8], lines: &mut Vec<LineHash>) {
        let known = self.hashes.get(&page).map(|hashes| **hashes);
        let mut hashes = [0; PAGE as usize / LINE_BYTES];
        for (index, line) in contents.as_chunks::<LINE_BYTES>().0.iter().enumerate() {
            hashes[index] = line_hash(line);
            if known.is_none_or(|known| known[index] != hashes[index]) {
                lines.push(LineHash { line: page / LINE_BYTES as u64 + index as u64, hash: hashes[index] });
            }
        }
        self.hashes.insert(page, Box::new(hashes));
    }
}

impl Recorder {
    /// Stops the running thread between two inputs: to deliver a signal that waited too long, or to let others run.
    pub(super) fn force_point(&mut self, thread: i32) -> Result<(), TracerError> {
        let since = Instant::now();
        ptrace::interrupt(thread).or_else(gone_is_fine)?;
        if !self.stop_for_point(thread)? {
            return Ok(());
        }
        let registers = self.registers(thread)?;
        self.record_point(thread, &registers)?;
        let cost = since.elapsed();
        match self.deliverable(thread)? {
            Some(info) => {
                ptrace::set_signal_info(thread, &info).map_err(TracerError::system("write a signal"))?;
                let next = self.deliver(thread, &registers, info, SignalPoint::Here)?;
                self.go_on(thread, next)?;
            }
            None => {
                self.task(thread).status = Status::Parked;
                self.yield_turn(thread);
            }
        }
        self.slice_end = self.slice_end.max(Instant::now() + SLICE.min(cost * POINT_COST_FACTOR));
        Ok(())
    }

    /// Brings an interrupted thread to an instruction where a stub can be planted, in a step stop. False when an
    /// input came first: then that is dealt with as always.
    fn stop_for_point(&mut self, thread: i32) -> Result<bool, TracerError> {
        let mut stepped = false;
        for steps in 0..STRAY_STOPS_MAX + STEPS_MAX {
            let (_, stop) = ptrace::wait(thread).map_err(TracerError::system("wait for a thread"))?;
            match stop {
                Wait::Stop(libc::SIGTRAP) => {}
                Wait::Signal(libc::SIGTRAP) if self.is_step(thread) => stepped = true,
                Wait::Signal(_) if self.keep_back(thread)? => {}
                other => {
                    self.arrived(thread, other)?;
                    return Ok(false);
                }
            }
            let registers = self.registers(thread)?;
            let mut code = [0; 32];
            let read = self.memory_of(thread).read_some(registers.rip, &mut code).unwrap_or(0);
            let code = &code[..read];
            if stepped && is_good_site(&self.memory_of(thread), code, registers.rip, steps) {
                return Ok(true);
            }
            if is_input(code) {
                self.resume(thread, Resume::Syscall, 0)?;
                return Ok(false);
            }
            if let Some(end) = repeated_end(code, registers.rip) {
                match self.run_to_end_of_repeat(thread, end)? {
                    Some(other) => {
                        self.arrived(thread, other)?;
                        return Ok(false);
                    }
                    None => stepped = false,
                }
            }
            ptrace::resume(thread, Resume::Step, 0).or_else(gone_is_fine)?;
        }
        Err(TracerError::Stuck("a thread that was to be stopped"))
    }

    /// Keeps a signal for later that comes while its thread is being brought to a point. False for a fault.
    fn keep_back(&mut self, thread: i32) -> Result<bool, TracerError> {
        let info = ptrace::signal_info(thread).map_err(TracerError::system("read a signal"))?;
        if info.code() > 0 && info.code() != SI_KERNEL || is_fault(&info) {
            return Ok(false);
        }
        self.task(thread).pending.push_back(info);
        Ok(true)
    }

    /// Runs a repeated string instruction to its end, where a trap is put for the time. `Some` when another stop came
    /// first.
    fn run_to_end_of_repeat(&mut self, thread: i32, end: u64) -> Result<Option<Wait>, TracerError> {
        let failed = TracerError::system("stop a thread behind a repeated instruction");
        let memory = self.memory_of(thread);
        let original = memory.array::<1>(end).map_err(&failed)?;
        memory.write(end, &[TRAP]).map_err(&failed)?;
        let mut other = None;
        for _ in 0..STRAY_STOPS_MAX {
            ptrace::resume(thread, Resume::Continue, 0).or_else(gone_is_fine)?;
            let (_, stop) = ptrace::wait(thread).map_err(&failed)?;
            if stop == Wait::Signal(libc::SIGTRAP) {
                let registers = self.registers(thread)?;
                self.set_registers(thread, &Registers { rip: end, ..registers })?;
                break;
            }
            let passing =
                matches!(stop, Wait::Stop(_)) || matches!(stop, Wait::Signal(_)) && self.keep_back(thread)?;
            if !passing {
                other = Some(stop);
                break;
            }
        }
        memory.write(end, &original).map_err(&failed)?;
        Ok(other)
    }

    fn is_step(&self, thread: i32) -> bool {
        const TRAP_TRACE: i32 = 2;
        ptrace::signal_info(thread).is_ok_and(|info| info.code() == TRAP_TRACE)
    }

    /// Records where a thread stands between two inputs.
    pub(super) fn record_point(&mut self, thread: i32, registers: &Registers) -> Result<(), TracerError> {
        let fingerprint = self.fingerprint(thread, registers)?;
        self.event(thread, *registers, EventKind::ForcedPoint { fingerprint })?;
        self.task(thread).boundary = Some(*registers);
        Ok(())
    }

    fn fingerprint(&mut self, thread: i32, registers: &Registers) -> Result<Fingerprint, TracerError> {
        let state = ptrace::xstate(thread).map_err(TracerError::system("read extended state"))?;
        let memory = self.memory_of(thread);
        let first = self.begin_tracking(thread)?;
        let written = &mut self.space_of(thread).written;
        written.refresh(thread);
        let pages = written.pages();
        let stack = written.map_of(registers.rsp).map_or(registers.rsp, |map| map.start);
        let dead = stack..registers.rsp.saturating_sub(RED_ZONE_BYTES);
        // At the first point every page counts as written: a small program's can all be taken.
        let (lines, complete) = match pages.filter(|pages| !first || pages.len() <= FIRST_PAGES_MAX) {
            Some(pages) => (written_lines(&memory, written, &pages), true),
            None => {
                let mut lines = near_lines(&memory, written, registers);
                let data = written.data_pages();
                lines.extend(written_lines(&memory, written, &data));
                lines.sort_unstable_by_key(|line| line.line);
                lines.dedup_by_key(|line| line.line);
                (lines, false)
            }
        };
        let lines =
            lines.into_iter().filter(|line| !dead.contains(&(line.line * LINE_BYTES as u64))).collect();
        Ok(Fingerprint { xstate_hash: xstate::canonical_hash(&state), lines, complete })
    }

    /// Starts write tracking in the thread's space, at its first forced point. True when it has just begun.
    fn begin_tracking(&mut self, thread: i32) -> Result<bool, TracerError> {
        let space = self.space_of(thread);
        if space.written.tracker.is_some() || space.written.refused {
            return Ok(false);
        }
        let tracker = self.make_tracker(thread);
        let written = &mut self.space_of(thread).written;
        written.refused = tracker.is_none();
        written.tracker = tracker;
        written.stale = true;
        Ok(true)
    }

    fn make_tracker(&mut self, thread: i32) -> Option<WriteTracker> {
        // A filter of the program's own may answer an unexpected call with a kill.
        let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
        if !status.lines().any(|line| line.trim_end() == "Seccomp:\t0") {
            return None;
        }
        let descriptor = self.call_in(thread, libc::SYS_userfaultfd, [userfault::OPEN_FLAGS, 0])?;
        let process = self.tasks[&thread].process;
        let tracker = WriteTracker::adopt(process, descriptor as i32);
        self.call_in(thread, libc::SYS_close, [descriptor as u64, 0])?;
        tracker.ok()
    }

    /// Makes a system call in a thread that is in a step or signal stop, and puts its registers back.
    fn call_in(&mut self, thread: i32, number: i64, arguments: [u64; 2]) -> Option<i64> {
        let address = self.space_of(thread).syscall_address;
        let saved = self.registers(thread).ok().filter(|_| address != 0)?;
        let call = Registers {
            rip: address,
            rax: number as u64,
            rdi: arguments[0],
            rsi: arguments[1],
            orig_rax: u64::MAX,
            ..saved
        };
        self.set_registers(thread, &call).ok()?;
        let result = self.step_call(thread, address);
        self.set_registers(thread, &saved).ok()?;
        result.filter(|result| *result >= 0)
    }

    fn step_call(&mut self, thread: i32, address: u64) -> Option<i64> {
        for _ in 0..STRAY_STOPS_MAX {
            ptrace::resume(thread, Resume::Step, 0).ok()?;
            let (_, stop) = ptrace::wait(thread).ok()?;
            let registers = self.registers(thread).ok()?;
            match stop {
                Wait::Signal(libc::SIGTRAP) if registers.rip == address + 2 => {
                    return Some(registers.rax as i64);
                }
                Wait::Signal(_) => {
                    let info = ptrace::signal_info(thread).ok()?;
                    self.task(thread).pending.push_back(info);
                }
                Wait::Stop(_) => {}
                _ => return None,
            }
        }
        None
    }
}

/// The end of a repeated string instruction at the start of `code`.
fn repeated_end(code: &[u8], address: u64) -> Option<u64> {
    use iced_x86::{Decoder, DecoderOptions};
    let instruction = Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode();
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    (instruction.is_string_instruction() && repeats).then(|| instruction.next_ip())
}

fn is_good_site(memory: &Memory, code: &[u8], address: u64, steps: usize) -> bool {
    is_quiet_in(memory, address) || steps >= CHOOSY_STEPS && plantable(code, address) || steps >= STEPS_MAX
}

fn is_quiet_in(memory: &Memory, address: u64) -> bool {
    let mut region = [0; 2 * NEIGHBOURHOOD_BYTES as usize];
    // At the start of a mapping there is less before the address.
    let starts = [address.saturating_sub(NEIGHBOURHOOD_BYTES), address & !(PAGE - 1)];
    starts.into_iter().any(|start| {
        memory.read_some(start, &mut region).is_ok_and(|read| is_quiet(&region[..read], start, address))
    })
}

/// The next instruction is an input or must not be stepped: a system call, a trap, a time stamp.
fn is_input(code: &[u8]) -> bool {
    code.starts_with(&[0x0f, 0x05])
        || code.starts_with(&[0xcc])
        || crate::unruly::time_stamp_instruction(code).is_some()
}

fn written_lines(memory: &Memory, written: &mut Written, pages: &[u64]) -> Vec<LineHash> {
    let mut lines = Vec::new();
    let mut contents = [0; PAGE as usize];
    for page in pages {
        if memory.read(*page, &mut contents).is_ok() {
            written.changed_lines(*page, &contents, &mut lines);
        }
    }
    lines
}

/// Lines that the thread is likely to be working on: the top of its stack, and what registers and then memory point
/// to.
fn near_lines(memory: &Memory, written: &Written, registers: &Registers) -> Vec<LineHash> {
    let line_of = |address: u64| address / LINE_BYTES as u64;
    let mut queue: VecDeque<(u64, u32)> = VecDeque::new();
    let stack = (registers.rsp - RED_ZONE_BYTES..registers.rsp + NEAR_STACK_BYTES).step_by(LINE_BYTES);
    queue.extend(stack.map(|address| (line_of(address), 0)));
    queue.extend(registers.words().into_iter().map(|word| (line_of(word), 0)));
    let mut seen = HashSet::new();
    let mut lines = Vec::new();
    while let Some((line, depth)) = queue.pop_front() {
        let address = line * LINE_BYTES as u64;
        if lines.len() >= NEAR_LINES_MAX || written.map_of(address).is_none() || !seen.insert(line) {
            continue;
        }
        let Ok(contents) = memory.array::<LINE_BYTES>(address) else { continue };
        lines.push(LineHash { line, hash: line_hash(&contents) });
        if depth < NEAR_DEPTH_MAX {
            let words = contents.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
            queue.extend(words.map(|word| (line_of(word), depth + 1)));
        }
    }
    lines
}
