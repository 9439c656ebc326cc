//! Executes machine code in this process, with chosen registers, and with a stub planted.
//!
//! The signal handler does what the debugger does at a stop. One program runs at a time: the state is global, because
//! the code that enters and leaves a program has no register to spare.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, Once};

use patch::{GeneralRegisters, Stub};

/// Where programs lie. Nothing else is mapped within 2 GB.
pub(crate) const CODE: u64 = 0x10_0000_0000;
pub(crate) const CODE_BYTES: u64 = 0x4000;
/// Memory that programs read and write; rip-relative operands reach it.
pub(crate) const DATA: u64 = CODE + 0x10_0000;
pub(crate) const DATA_BYTES: u64 = 0x2000;
pub(crate) const STACK: u64 = CODE + 0x20_0000;
pub(crate) const STACK_BYTES: u64 = 0x2000;

/// A run that takes longer kills the test.
const RUN_SECONDS_MAX: u32 = 20;
/// Upper bound of what one run logs.
const LOG_MAX: usize = 1 << 16;

#[repr(C)]
struct State {
    /// By number of their encoding, then flags.
    registers: [u64; 17],
    host_rsp: u64,
    target: u64,
}

#[unsafe(no_mangle)]
static mut PATCH_TEST_STATE: State = State { registers: [0; 17], host_rsp: 0, target: 0 };

std::arch::global_asm!(
    ".globl patch_test_enter",
    "patch_test_enter:",
    "push rbx; push rbp; push r12; push r13; push r14; push r15",
    "lea rax, [rip + PATCH_TEST_STATE]",
    "mov [rax + 17*8], rsp",
    "push qword ptr [rax + 16*8]",
    "popfq",
    "mov rcx, [rax + 1*8]; mov rdx, [rax + 2*8]; mov rbx, [rax + 3*8]; mov rsp, [rax + 4*8]",
    "mov rbp, [rax + 5*8]; mov rsi, [rax + 6*8]; mov rdi, [rax + 7*8]; mov r8, [rax + 8*8]",
    "mov r9, [rax + 9*8]; mov r10, [rax + 10*8]; mov r11, [rax + 11*8]; mov r12, [rax + 12*8]",
    "mov r13, [rax + 13*8]; mov r14, [rax + 14*8]; mov r15, [rax + 15*8]; mov rax, [rax]",
    "jmp qword ptr [rip + PATCH_TEST_STATE + 18*8]",
    ".globl patch_test_leave",
    "patch_test_leave:",
    "mov [rip + PATCH_TEST_STATE], rax",
    "lea rax, [rip + PATCH_TEST_STATE]",
    "mov [rax + 1*8], rcx; mov [rax + 2*8], rdx; mov [rax + 3*8], rbx; mov [rax + 4*8], rsp",
    "mov [rax + 5*8], rbp; mov [rax + 6*8], rsi; mov [rax + 7*8], rdi; mov [rax + 8*8], r8",
    "mov [rax + 9*8], r9; mov [rax + 10*8], r10; mov [rax + 11*8], r11; mov [rax + 12*8], r12",
    "mov [rax + 13*8], r13; mov [rax + 14*8], r14; mov [rax + 15*8], r15",
    "mov rsp, [rax + 17*8]",
    "pushfq",
    "pop qword ptr [rax + 16*8]",
    "push 2",
    "popfq",
    "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
    "ret",
);

unsafe extern "C" {
    fn patch_test_enter();
    fn patch_test_leave();
}

/// What a stop asks the driver to do.
pub(crate) enum Action {
    /// Past the site.
    Resume,
    /// Out of the program, as if it had ended.
    Leave,
}

/// What happened during one run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Registers at the end; the flags are the arithmetic ones and DF.
    pub(crate) registers: GeneralRegisters,
    /// Signal and the program's own rip, when it died of one.
    pub(crate) died: Option<(i32, u64)>,
    /// Registers at each hit.
    pub(crate) hits: Vec<GeneralRegisters>,
    /// How many jumps into the middle of the window trapped.
    pub(crate) middles: usize,
    /// How many times the check could not read a line.
    pub(crate) unreadable: usize,
    /// Rip and registers before every instruction, when traced.
    pub(crate) trace: Vec<(u64, GeneralRegisters)>,
}

struct Session<'a> {
    stub: Option<&'a Stub>,
    tracing: bool,
    outcome: Outcome,
    on_hit: &'a mut dyn FnMut(usize) -> Action,
}

static SESSION: AtomicPtr<Session<'static>> = AtomicPtr::new(std::ptr::null_mut());
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static PREPARE: Once = Once::new();

/// The right to run programs.
pub(crate) struct Machine(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Machine {
    pub(crate) fn take() -> Self {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        PREPARE.call_once(|| {
            for (start, bytes) in [(CODE, CODE_BYTES), (DATA, DATA_BYTES), (STACK, STACK_BYTES)] {
                map(start, bytes);
            }
        });
        install();
        Self(guard)
    }

    /// Fills code and data. The program ends where it falls off its end.
    pub(crate) fn load(&mut self, program: &[u8]) {
        let leave = patch_test_leave as *const () as u64;
        let mut code = program.to_vec();
        code.extend([0xff, 0x25, 0, 0, 0, 0]);
        code.extend(leave.to_le_bytes());
        assert!(code.len() as u64 <= CODE_BYTES);
        code.resize(CODE_BYTES as usize, 0xf4);
        self.write(CODE, &code);
        self.reset_memory();
    }

    pub(crate) fn reset_memory(&mut self) {
        let pattern: Vec<u8> = (0..DATA_BYTES).map(|index| (index * 7 + index / 256) as u8).collect();
        self.write(DATA, &pattern);
        self.write(STACK, &vec![0xa5; STACK_BYTES as usize]);
    }

    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        // SAFETY: only mapped, writable test regions are passed; no Rust object lies in them.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) }
    }

    pub(crate) fn read(&self, address: u64, bytes: usize) -> Vec<u8> {
        // SAFETY: only mapped test regions are passed; no Rust object lies in them.
        unsafe { std::slice::from_raw_parts(address as *const u8, bytes).to_vec() }
    }

    /// Data and stack.
    pub(crate) fn memory(&self) -> Vec<u8> {
        let mut memory = self.read(DATA, DATA_BYTES as usize);
        memory.extend(self.read(STACK, STACK_BYTES as usize));
        memory
    }

    pub(crate) fn run(&mut self, start: u64, registers: &GeneralRegisters) -> Outcome {
        self.session(start, registers, None, false, &mut |_| Action::Leave)
    }

    pub(crate) fn trace(&mut self, start: u64, registers: &GeneralRegisters) -> Outcome {
        self.session(start, registers, None, true, &mut |_| Action::Leave)
    }

    pub(crate) fn planted<'a>(&'a mut self, stub: &'a Stub) -> Planted<'a> {
        map(stub.pages.0, stub.pages.1 - stub.pages.0);
        self.write(stub.trampoline, &stub.trampoline_bytes);
        self.write(stub.site, &stub.site_bytes);
        Planted { machine: self, stub }
    }

    fn session(
        &mut self,
        start: u64,
        registers: &GeneralRegisters,
        stub: Option<&Stub>,
        tracing: bool,
        on_hit: &mut dyn FnMut(usize) -> Action,
    ) -> Outcome {
        let outcome = Outcome { trace: Vec::with_capacity(LOG_MAX), ..Outcome::default() };
        let mut session = Session { stub, tracing, outcome, on_hit };
        SESSION.store((&raw mut session).cast(), Ordering::SeqCst);
        let state = &raw mut PATCH_TEST_STATE;
        // SAFETY: the mutex held by self makes the state ours; the assembly keeps what the ABI asks to keep; the
        // program ends at patch_test_leave, by itself or through the handler.
        let after = unsafe {
            (*state).registers = to_array(registers);
            (*state).registers[16] |= if tracing { 0x102 } else { 2 };
            (*state).target = start;
            libc::alarm(RUN_SECONDS_MAX);
            enter();
            libc::alarm(0);
            (*state).registers
        };
        SESSION.store(std::ptr::null_mut(), Ordering::SeqCst);
        session.outcome.registers = from_array(&after);
        session.outcome
    }
}

/// A planted stub, taken away when dropped.
pub(crate) struct Planted<'a> {
    machine: &'a mut Machine,
    pub(crate) stub: &'a Stub,
}

impl Planted<'_> {
    /// Goes on after each hit.
    pub(crate) fn run(&mut self, start: u64, registers: &GeneralRegisters) -> Outcome {
        self.run_with(start, registers, &mut |_| Action::Resume)
    }

    pub(crate) fn run_with(
        &mut self,
        start: u64,
        registers: &GeneralRegisters,
        on_hit: &mut dyn FnMut(usize) -> Action,
    ) -> Outcome {
        self.machine.session(start, registers, Some(self.stub), false, on_hit)
    }

    pub(crate) fn memory(&self) -> Vec<u8> {
        self.machine.memory()
    }

    pub(crate) fn counter(&self) -> u64 {
        let bytes = self.machine.read(self.stub.trampoline + self.stub.counter, 8);
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }
}

impl Drop for Planted<'_> {
    fn drop(&mut self) {
        self.machine.write(self.stub.site, &self.stub.original);
        let (start, end) = self.stub.pages;
        // SAFETY: exactly the pages that planted() mapped.
        unsafe { libc::munmap(start as *mut libc::c_void, (end - start) as usize) };
    }
}

/// What `plan` asks: everything but the test's own regions is free.
pub(crate) fn free(start: u64, end: u64) -> bool {
    let taken = [(CODE, CODE_BYTES), (DATA, DATA_BYTES), (STACK, STACK_BYTES)];
    taken.iter().all(|(other, bytes)| end <= *other || start >= other + bytes)
}

/// Registers that point where programs may read and write.
pub(crate) fn registers() -> GeneralRegisters {
    GeneralRegisters { rsp: STACK + STACK_BYTES / 2, rsi: DATA, rdi: DATA + 0x800, ..Default::default() }
}

fn map(start: u64, bytes: u64) {
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: MAP_FIXED_NOREPLACE harms no mapping.
    let address = unsafe { libc::mmap(start as *mut libc::c_void, bytes as usize, protection, flags, -1, 0) };
    assert_eq!(address as u64, start, "mmap of {start:#x}: {}", std::io::Error::last_os_error());
}

#[inline(never)]
unsafe fn enter() {
    // SAFETY: as the caller promises.
    unsafe { patch_test_enter() }
}

/// Every thread that runs programs needs its own signal stack.
fn install() {
    const STACK_SIZE: usize = 1 << 16;
    let memory = Box::leak(vec![0u8; STACK_SIZE].into_boxed_slice());
    // SAFETY: the signal stack is leaked; the handler has the signature SA_SIGINFO asks for.
    unsafe {
        let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_SIZE };
        assert_eq!(libc::sigaltstack(&raw const stack, std::ptr::null_mut()), 0);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        for signal in [libc::SIGTRAP, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
            assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
        }
    }
}

extern "C" fn handler(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let session = SESSION.load(Ordering::SeqCst);
    // SAFETY: the kernel passes a valid siginfo and context; the session lives as long as the program runs.
    let (session, context, code) = unsafe {
        if session.is_null() {
            libc::_exit(99);
        }
        (&mut *session, &mut *context.cast::<libc::ucontext_t>(), (*info).si_code)
    };
    let registers = &mut context.uc_mcontext.gregs;
    let rip = registers[libc::REG_RIP as usize] as u64;
    let now = from_context(registers);
    let next = if signal == libc::SIGTRAP && session.tracing && code == libc::TRAP_TRACE {
        traced(session, rip, now, &mut registers[libc::REG_EFL as usize])
    } else {
        stopped(session, signal, rip, now)
    };
    registers[libc::REG_RIP as usize] = next as i64;
}

/// Returns the rip to go on at.
fn traced(session: &mut Session<'_>, rip: u64, now: GeneralRegisters, flags: &mut i64) -> u64 {
    let trace = &mut session.outcome.trace;
    let own = (CODE..CODE + CODE_BYTES).contains(&rip);
    if own && trace.len() < LOG_MAX {
        trace.push((rip, now));
    }
    if rip == patch_test_leave as *const () as u64 || trace.len() == LOG_MAX {
        *flags &= !0x100;
        return patch_test_leave as *const () as u64;
    }
    rip
}

/// What the debugger does at a stop.
fn stopped(session: &mut Session<'_>, signal: i32, rip: u64, now: GeneralRegisters) -> u64 {
    let leave = patch_test_leave as *const () as u64;
    let Some(stub) = session.stub else {
        session.outcome.died = Some((signal, rip));
        return leave;
    };
    if signal == libc::SIGTRAP && rip == stub.hit_rip {
        session.outcome.hits.push(now);
        assert_eq!(stub.original_rip(rip), Some(stub.site));
        return match (session.on_hit)(session.outcome.hits.len()) {
            Action::Resume => stub.resume_rip,
            Action::Leave => leave,
        };
    }
    if let Some(copy) = stub.entry_into_middle(rip) {
        session.outcome.middles += 1;
        return copy;
    }
    if let Some(way_out) = stub.unreadable(rip) {
        session.outcome.unreadable += 1;
        return way_out;
    }
    let own = if stub.contains(rip) { stub.original_rip(rip).unwrap_or(0) } else { rip };
    session.outcome.died = Some((signal, own));
    leave
}

const KEPT_FLAGS: u64 = patch::ARITHMETIC_FLAGS | 0x400;

fn from_context(context: &[i64]) -> GeneralRegisters {
    use libc::{
        REG_EFL, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RAX, REG_RBP,
        REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RSI, REG_RSP,
    };
    let order = [
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10,
        REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_EFL,
    ];
    from_array(&order.map(|index| context[index as usize] as u64))
}

fn from_array(array: &[u64; 17]) -> GeneralRegisters {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, flags] = *array;
    let eflags = flags & KEPT_FLAGS;
    GeneralRegisters { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, eflags }
}

fn to_array(r: &GeneralRegisters) -> [u64; 17] {
    [
        r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13,
        r.r14, r.r15, r.eflags,
    ]
}
