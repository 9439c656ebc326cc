//! How many instructions the agent's hot path takes, which decides what a recorded system call costs: counted by single
//! steps in a process that has nothing but the agent, so the figures are the same on every machine.

use agent::{area, class, control};
use trace::Registers;

use super::world::Shell;
use crate::sys::ptrace::{self, Resume};

/// What the instructions of a call may be, at most: what they were when it was last looked at, and some room for other
/// compilers.
const BASELINE: [(&str, usize); 6] = [
    ("getppid", 280),
    ("getppid, served", 200),
    ("read of a byte", 440),
    ("read of a byte, served", 215),
    ("write of a byte to a pipe", 410),
    ("futex wake", 370),
];

/// The program's own memory: data of the hook, and a buffer.
const DATA: u64 = 0x1000_0000;
const BUFFER: u64 = DATA + 0x800;

/// Where the program goes on behind the call, or to make it itself: nothing is there.
const CONTINUATION: u64 = 0x1000_1000;
const TRACED: u64 = 0x1000_2000;

const STEPS_MAX: usize = 10_000;

struct Bench(Shell);

impl Bench {
    fn new() -> Bench {
        let shell = Shell::blank().expect("a blank process");
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
        let map = |start: u64, end: u64, protection: i32| {
            let arguments = [start, end - start, protection as u64, flags, u64::MAX, 0];
            shell.call(libc::SYS_mmap, arguments).expect("memory");
        };
        map(agent::CODE_START, agent::SHARED_START, libc::PROT_READ | libc::PROT_EXEC);
        map(agent::SHARED_START, agent::SHARED_END, libc::PROT_READ | libc::PROT_WRITE);
        map(DATA, DATA + 0x1000, libc::PROT_READ | libc::PROT_WRITE);
        let bench = Bench(shell);
        bench.0.memory.write(agent::CODE_START, agent::IMAGE).expect("the image is written");
        for (index, word) in [0x40_0002, CONTINUATION, TRACED].into_iter().enumerate() {
            bench.set(DATA + 8 * index as u64, word);
        }
        bench.set(agent::SHARED_START + control::TURN, agent::AREAS_START);
        bench.set(agent::SHARED_START + control::AREAS_USED, 4);
        bench.set(agent::AREAS_START + area::CLASSES, agent::CLASSES_START);
        bench
    }

    fn set(&self, address: u64, word: u64) {
        self.0.memory.write(address, &word.to_le_bytes()).expect("the page is writable");
    }

    fn word(&self, address: u64) -> u64 {
        self.0.memory.word(address).expect("the page is readable")
    }

    fn set_class(&self, descriptor: u64, class: u8) {
        self.0.memory.write(agent::CLASSES_START + descriptor, &[class]).expect("the table is writable");
    }

    /// Makes a call through the agent; how many instructions it takes there.
    fn call(&self, number: i64, arguments: [u64; 3]) -> usize {
        let [rdi, rsi, rdx] = arguments;
        let before = ptrace::registers(self.0.leader).expect("registers");
        let (rip, rax, rsp) = (agent::ENTRY, number as u64, DATA + 0x1000);
        let entry = Registers { rip, rax, rsp, rcx: DATA, rdi, rsi, rdx, orig_rax: u64::MAX, ..before };
        ptrace::set_registers(self.0.leader, &entry).expect("registers");
        for steps in 0..STEPS_MAX {
            let registers = ptrace::registers(self.0.leader).expect("registers");
            if registers.rip == CONTINUATION {
                return steps;
            }
            assert_ne!(registers.rip, TRACED, "the agent has left the call to the recorder");
            ptrace::resume(self.0.leader, Resume::Step, 0).expect("a step");
            ptrace::wait(self.0.leader).expect("a step");
        }
        panic!("the agent does not come back");
    }

    /// The same call three times: how many instructions the second takes, and how many when it is served at replay.
    fn counts(&self, number: i64, arguments: [u64; 3]) -> (usize, usize) {
        self.set(agent::SHARED_START + control::HEAD, 0);
        self.call(number, arguments);
        let recorded = self.call(number, arguments);
        self.call(number, arguments);
        let end = self.word(agent::SHARED_START + control::HEAD);
        self.set(agent::SHARED_START + control::HEAD, 0);
        self.set(agent::SHARED_START + control::END, end);
        self.call(number, arguments);
        let served = self.call(number, arguments);
        self.set(agent::SHARED_START + control::END, 0);
        (recorded, served)
    }
}

#[test]
fn the_hot_path_is_not_longer_than_it_was() {
    let bench = Bench::new();
    let open = |path: &[u8]| {
        bench.0.memory.write(BUFFER, path).expect("the page is writable");
        bench.0.call(libc::SYS_open, [BUFFER, libc::O_RDWR as u64, 0, 0, 0, 0]).expect("a device")
    };
    let zeros = open(b"/dev/zero\0");
    bench.set_class(zeros, class::FILE);
    let pipe = open(b"/dev/null\0");
    bench.set_class(pipe, class::WAITS);
    let (plain, plain_served) = bench.counts(libc::SYS_getppid, [0; 3]);
    let (read, read_served) = bench.counts(libc::SYS_read, [zeros, BUFFER, 1]);
    let (write, _) = bench.counts(libc::SYS_write, [pipe, BUFFER, 1]);
    let (wake, _) = bench.counts(libc::SYS_futex, [BUFFER, libc::FUTEX_WAKE as u64, 1]);
    for ((what, most), count) in
        BASELINE.into_iter().zip([plain, plain_served, read, read_served, write, wake])
    {
        println!("{what}: {count} instructions");
        assert!(count <= most, "{what} takes {count} instructions in the agent, {most} were enough");
    }
}
