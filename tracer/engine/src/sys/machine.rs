//! Facts about this machine that a trace records.

use std::arch::x86_64::__cpuid;

use trace::Machine;

/// Describes the machine; `core` is where the recording runs.
pub(crate) fn describe(core: u32) -> Machine {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    Machine {
        cpu: format!("{} {}", field("vendor_id"), field("model name")),
        signature: __cpuid(1).eax,
        features: field("flags").split_whitespace().map(str::to_owned).collect(),
        xcr0: xcr0(),
        core,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        stack_limit: super::process::stack_limit(),
    }
}

/// XCR0, or x87 and SSE alone where there is no XSAVE.
fn xcr0() -> u64 {
    const OSXSAVE: u32 = 1 << 27;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return 3;
    }
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE says that XGETBV may be executed in user mode; it only writes the registers named.
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// The time stamp counter, and the processor number that RDTSCP adds.
pub(crate) fn time_stamp() -> (u64, u32) {
    let mut processor = 0;
    // SAFETY: every processor this suite supports has RDTSCP; it writes only the place given.
    let counter = unsafe { std::arch::x86_64::__rdtscp(&mut processor) };
    (counter, processor)
}
