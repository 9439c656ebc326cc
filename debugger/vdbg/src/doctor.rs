//! `vdbg doctor`: whether this machine can record and replay, and what to do when it cannot.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::out;

/// Less space than this is worth a warning.
const SPACE_BYTES_MIN: u64 = 1 << 30;

/// The oldest kernel with everything that is needed (PTRACE_GET_SYSCALL_INFO and PTRACE_O_SUSPEND_SECCOMP aside).
const KERNEL_MIN: (u32, u32) = (5, 3);

/// PAGEMAP_SCAN came with Linux 6.7.
const KERNEL_PAGEMAP_SCAN: (u32, u32) = (6, 7);

enum Finding {
    Good(String),
    /// Works, but less well.
    Poor(String),
    Bad(String),
}

pub(crate) fn doctor() -> anyhow::Result<ExitCode> {
    let (text, code) = report();
    out::write(&text)?;
    Ok(code)
}

/// What is found, a line each.
pub(crate) fn report() -> (String, ExitCode) {
    let findings = [machine(), kernel(), ptrace(), seccomp(), written_pages(), space()];
    let mut text = String::new();
    let mut code = ExitCode::SUCCESS;
    for finding in findings {
        let (word, what) = match finding {
            Finding::Good(what) => ("ok", what),
            Finding::Poor(what) => ("note", what),
            Finding::Bad(what) => {
                code = ExitCode::FAILURE;
                ("FAIL", what)
            }
        };
        text.push_str(&format!("{word:<5} {what}\n"));
    }
    (text, code)
}

fn machine() -> Finding {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(": "));
    Finding::Good(format!(
        "processor {}; no hardware counters are needed",
        name.map_or("of unknown name", |(_, name)| name)
    ))
}

fn kernel_release() -> (String, Option<(u32, u32)>) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    (release, version)
}

fn kernel() -> Finding {
    match kernel_release() {
        (release, Some(version)) if version < KERNEL_MIN => Finding::Bad(format!(
            "kernel {release} is too old: use {}.{} or newer",
            KERNEL_MIN.0, KERNEL_MIN.1
        )),
        (release, _) => Finding::Good(format!("kernel {release}")),
    }
}

/// Recording a program of our own shows best whether ptrace is allowed.
fn ptrace() -> Finding {
    let directory = std::env::temp_dir().join(format!("vdbg-doctor-{}", std::process::id()));
    let options = tracer::RecordOptions {
        program: PathBuf::from("/bin/true"),
        arguments: vec![c"true".to_owned()],
        output: Some(directory.clone()),
        ..tracer::RecordOptions::default()
    };
    let result = tracer::record(&options);
    let _ = std::fs::remove_dir_all(&directory);
    match result {
        Ok(_) => Finding::Good("ptrace is allowed: /bin/true was recorded".into()),
        Err(error) => {
            let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
            let scope = if scope.trim() == "3" {
                "; kernel.yama.ptrace_scope is 3, which forbids it until the next boot: set it to 1"
            } else {
                ""
            };
            Finding::Bad(format!("/bin/true cannot be recorded: {error}{scope}"))
        }
    }
}

fn seccomp() -> Finding {
    match std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split_whitespace().any(|action| action == "trace") => {
            Finding::Good("seccomp can stop at system calls".into())
        }
        _ => {
            Finding::Poor("this kernel has no seccomp filters: system calls are recorded more slowly".into())
        }
    }
}

fn written_pages() -> Finding {
    match kernel_release().1 {
        Some(version) if version >= KERNEL_PAGEMAP_SCAN => {
            let value = std::fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd").unwrap_or_default();
            let by_device = Path::new("/dev/userfaultfd").exists();
            let note = if value.trim() == "0" && !by_device { " (userfaultfd for user faults only)" } else { "" };
            Finding::Good(format!("written pages are found by the kernel{note}"))
        }
        _ => Finding::Poor("this kernel cannot tell which pages were written (6.7 and newer can): programs with timers and busy threads record more slowly".into()),
    }
}

fn space() -> Finding {
    let root = trace::default_root();
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let Some(free) = free_bytes(existing) else {
        return Finding::Poor(format!("the free space of {} is not known", existing.display()));
    };
    let text = format!("{:.1} GB free for recordings in {}", free as f64 / 1e9, root.display());
    if free < SPACE_BYTES_MIN {
        return Finding::Bad(format!(
            "only {text}: free some (`vdbg rm`), or set VDBG_TRACE_DIR to another place"
        ));
    }
    Finding::Good(text)
}

fn free_bytes(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: an all-zero statvfs is a valid value of that C structure.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is a C string and `stat` a statvfs that lives through the call (statvfs(3)).
    let result = unsafe { libc::statvfs(path.as_ptr(), &mut stat) };
    (result == 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}
