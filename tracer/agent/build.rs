//! Compiles the agent to a flat image at its fixed address, and makes its table of calls from the `syscalls` crate.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSegment, ObjectSymbol};
use syscalls::{Kind, Size};

/// The calls that the agent handles, by how it looks at them (`enum check` in agent.c).
const HANDLED: &[(&str, &str)] = &[
    (
        "PLAIN",
        "access chdir chmod clock_getres epoll_create1 epoll_ctl eventfd2 faccessat faccessat2 \
         fadvise64 fchdir fchmod fchmodat fchown fchownat fgetxattr flistxattr fstat fstatfs fsync fdatasync \
         getcwd getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom \
         getresgid getresuid getrlimit getrusage getsid gettid getuid getxattr lchown lgetxattr link \
         linkat listxattr llistxattr lseek lstat mkdir mkdirat newfstatat readlink readlinkat rename renameat \
         renameat2 rmdir rt_sigaction sched_getparam sched_getscheduler setpriority setsockopt sigaltstack stat statfs \
         statx symlink symlinkat sysinfo timerfd_settime timer_gettime timer_getoverrun times umask uname unlink \
         unlinkat utimensat",
    ),
    ("BLOCKS", "flock nanosleep clock_nanosleep"),
    ("READ", "read pread64 getdents getdents64"),
    ("WRITE", "write pwrite64 sendto"),
    ("OPEN", "open openat creat"),
    ("CLOSE", "close"),
    ("DUP", "dup dup2 dup3"),
    ("FCNTL", "fcntl"),
    ("IOCTL", "ioctl"),
    ("PRLIMIT", "prlimit64"),
    ("FUTEX", "futex"),
    ("POLL", "poll"),
    ("EPOLL", "epoll_wait"),
    ("RECEIVE", "recvfrom"),
    ("PLAIN", "rt_sigprocmask"),
    ("CLOCK", "clock_gettime gettimeofday time"),
];

/// What the recorder has to know of the image.
const SYMBOLS: [&str; 11] = [
    "agent_entry",
    "agent_saved",
    "agent_called",
    "agent_restore",
    "agent_pause",
    "agent_main_instruction",
    "agent_main_return",
    "agent_gadget",
    "agent_asm_end",
    "agent_end",
    "agent_clocks",
];

fn main() {
    println!("cargo::rerun-if-changed=agent");
    println!("cargo::rerun-if-env-changed=CC");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::write(out.join("table.h"), table()).expect("the output directory is writable");
    let image = compile(&out);
    let data = std::fs::read(&image).expect("the linker has written the agent");
    let file = object::File::parse(&*data).expect("the linker writes ELF");
    let mut flat: Vec<u8> = Vec::new();
    let start = 0x2_0000;
    for segment in file.segments() {
        let bytes = segment.data().expect("a readable segment");
        let Some(offset) = segment.address().checked_sub(start) else { continue };
        flat.resize(flat.len().max(offset as usize + bytes.len()), 0);
        flat[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
    }
    std::fs::write(out.join("agent.bin"), &flat).expect("the output directory is writable");
    let mut constants = String::new();
    for name in SYMBOLS {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        let address = symbol.unwrap_or_else(|| panic!("the agent has no symbol {name}")).address();
        let constant = name.trim_start_matches("agent_").to_uppercase();
        writeln!(constants, "/// Address of `{name}` in entry.S.\npub const {constant}: u64 = {address:#x};")
            .expect("writing to a string");
    }
    let handled: Vec<u32> =
        HANDLED.iter().flat_map(|(_, names)| names.split_whitespace()).filter_map(number).collect();
    let count = handled.iter().max().map_or(0, |last| last + 1);
    let flags: Vec<bool> = (0..count).map(|number| handled.contains(&number)).collect();
    writeln!(constants, "/// Whether the agent handles the system call of each number.")
        .expect("writing to a string");
    writeln!(constants, "pub static HANDLED: [bool; {count}] = {flags:?};").expect("writing to a string");
    std::fs::write(out.join("symbols.rs"), constants).expect("the output directory is writable");
}

fn compile(out: &Path) -> PathBuf {
    let image = out.join("agent.elf");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(&compiler)
        .args([
            "-O2",
            "-Wall",
            "-Wno-parentheses",
            "-std=gnu11",
            "-ffreestanding",
            "-fno-pic",
            "-no-pie",
            "-static",
        ])
        .args([
            "-mgeneral-regs-only",
            "-fno-stack-protector",
            "-fno-asynchronous-unwind-tables",
            "-fcf-protection=none",
        ])
        .args([
            "-fno-strict-aliasing",
            "-fno-jump-tables",
            "-fno-tree-loop-distribute-patterns",
            "-nostdlib",
            "-I",
        ])
        .arg(out)
        .args(["-Wl,-Ttext=0x20000", "-Wl,--build-id=none", "-Wl,-e,agent_entry", "-Wl,-z,noexecstack"])
        .args(["-Wl,-z,noseparate-code", "-Wl,-N"])
        .arg("-o")
        .arg(&image)
        .args(["agent/entry.S", "agent/agent.c", "agent/log.c", "agent/turn.c", "agent/clock.c"])
        .status()
        .unwrap_or_else(|error| {
            panic!("cannot run the C compiler `{compiler}`: {error}; install gcc or clang")
        });
    assert!(status.success(), "the C compiler `{compiler}` could not compile the agent");
    image
}

fn number(name: &str) -> Option<u32> {
    Some(syscalls::by_name(name)?.nr)
}

fn table() -> String {
    let mut rows = String::new();
    let mut numbers = 0;
    for (check, names) in HANDLED {
        for name in names.split_whitespace() {
            let Some(row) = syscalls::by_name(name) else { continue };
            let mut outs = Vec::new();
            let mut halves = 0u32;
            for (index, argument) in row.args.iter().enumerate() {
                halves |= u32::from(argument.kind.is_32_bit()) << index;
                match argument.kind {
                    Kind::Out(size) | Kind::InOut(size) => outs.push(out(name, index, size, false)),
                    Kind::OutAlways(size) | Kind::InOutAlways(size) => {
                        outs.push(out(name, index, size, true))
                    }
                    // Looked at by the agent itself.
                    Kind::Futex | Kind::Fcntl | Kind::Ioctl | Kind::SockaddrOut(_) => {}
                    kind => assert!(!kind.is_written(), "the agent cannot handle {name}: {kind:?}"),
                }
            }
            assert!(outs.len() <= 4, "{name} writes to more than four arguments");
            let (count, outs) = (outs.len(), outs.join(", "));
            writeln!(rows, "\t[{}] = {{ {check}, {halves}, {count}, {{ {outs} }} }}, /* {name} */", row.nr)
                .expect("writing to a string");
            numbers = numbers.max(row.nr + 1);
        }
    }
    format!("#define CALLS {numbers}\n\nstatic const struct call calls[CALLS] = {{\n{rows}}};\n")
}

/// A `struct out`.
fn out(name: &str, argument: usize, size: Size, always: bool) -> String {
    let always = u8::from(always);
    let (kind, limit, bytes) = match size {
        Size::Const(bytes) => ("CONSTANT", 0, bytes),
        Size::RetUpTo(limit) => ("RETURNED", limit, 1),
        Size::RetTimesUpTo(limit, each) => ("RETURNED", limit, each),
        Size::Arg(limit) => ("ARGUMENT", limit, 1),
        Size::ArgTimes(limit, each) => ("ARGUMENT", limit, each),
        Size::BitsOfArg(limit) => ("BITS", limit, 0),
        other => panic!("the agent cannot handle {other:?} of {name}"),
    };
    format!("{{ {kind}, {argument}, {limit}, {always}, {bytes} }}")
}
