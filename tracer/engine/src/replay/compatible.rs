//! Whether a trace from another processor can be replayed on this one.
//!
//! CPUID is not virtualised, so what matters is what it shows. Every feature that was there at recording has to be there,
//! or the program would execute instructions that do not exist; and none may be there that was not, since the C library and
//! others choose their code by what they find. The same holds for XCR0, which says how large the extended state is. Vendor,
//! model and stepping do not matter by themselves: a program that looks at them, or at the sizes of caches, diverges, and
//! is told so.

use trace::Machine;

use crate::TracerError;
use crate::sys::machine;

/// Flags in `/proc/cpuinfo` that no program finds by CPUID, or that concern the kernel alone: words 3, 7, 8, 11 and 21 of
/// `arch/x86/include/asm/cpufeatures.h`, and what belongs to virtual machines, power, faults' mitigation, supervisor mode
/// and monitoring.
const NOT_THE_PROGRAMS: &[&str] = &[
    "acc_power",
    "acpi",
    "amd_lbr_pmc_freeze",
    "amd_lbr_v2",
    "amd_ppin",
    "amd_ssbd",
    "amd_stibp",
    "aperfmperf",
    "apic",
    "arat",
    "arch_capabilities",
    "arch_lbr",
    "arch_perfmon",
    "art",
    "avic",
    "bts",
    "bhi_ctrl",
    "bhi_dis_s",
    "cat_l2",
    "cat_l3",
    "cdp_l2",
    "cdp_l3",
    "clear_bhb_loop",
    "constant_tsc",
    "cpb",
    "cppc",
    "cpuid",
    "cpuid_fault",
    "cqm",
    "cqm_llc",
    "cqm_mbm_local",
    "cqm_mbm_total",
    "cqm_occup_llc",
    "dca",
    "debug_swap",
    "decodeassists",
    "ds_cpl",
    "dtes64",
    "dtherm",
    "dts",
    "epb",
    "ept",
    "ept_ad",
    "est",
    "extapic",
    "extd_apicid",
    "flexpriority",
    "flush_l1d",
    "flushbyasid",
    "hfi",
    "hw_pstate",
    "hwp",
    "hwp_act_window",
    "hwp_epp",
    "hwp_notify",
    "hwp_pkg_req",
    "hypervisor",
    "ibpb",
    "ibpb_brtype",
    "ibpb_exit_to_user",
    "ibrs",
    "ibrs_enhanced",
    "ibs",
    "ida",
    "intel_ppin",
    "intel_pt",
    "invpcid",
    "invpcid_single",
    "lam",
    "lbrv",
    "mba",
    "mca",
    "mce",
    "md_clear",
    "mtrr",
    "nonstop_tsc",
    "nopl",
    "npt",
    "nrip_save",
    "nx",
    "overflow_recov",
    "pat",
    "pausefilter",
    "pbe",
    "pcid",
    "pconfig",
    "pdcm",
    "pebs",
    "perfctr_core",
    "perfctr_llc",
    "perfctr_nb",
    "perfmon_v2",
    "pfthreshold",
    "pge",
    "pln",
    "proc_feedback",
    "pse",
    "pse36",
    "pti",
    "ptsc",
    "pts",
    "rdt_a",
    "rep_good",
    "ring3mwait",
    "rrsba_ctrl",
    "sdbg",
    "sev",
    "sev_es",
    "sev_snp",
    "sgx",
    "sgx_lc",
    "skinit",
    "smap",
    "sme",
    "smep",
    "smx",
    "ss",
    "ssbd",
    "stibp",
    "succor",
    "svm",
    "svm_lock",
    "tm",
    "tm2",
    "topoext",
    "tpr_shadow",
    "tsc_adjust",
    "tsc_deadline_timer",
    "tsc_known_freq",
    "tsc_reliable",
    "tsc_scale",
    "v_spec_ctrl",
    "v_vmsave_vmload",
    "vgif",
    "virt_ssbd",
    "vmcb_clean",
    "vme",
    "vmmcall",
    "vmx",
    "vnmi",
    "vpid",
    "wdt",
    "x2apic",
    "x2avic",
    "xtopology",
    "xtpr",
];

/// Checks that this machine can replay what that one recorded; a sentence when they are not of the same model.
pub(crate) fn check(recorded: &Machine, any_machine: bool) -> Result<Option<String>, TracerError> {
    let here = machine::describe(recorded.core);
    match differences(recorded, &here) {
        Some(what) if !any_machine => Err(TracerError::OtherMachine(format!(
            "the trace was recorded on a processor with other features ({}; this is {}): {what}; replay it on a machine that has the same, or try --any-machine, which may diverge",
            recorded.cpu, here.cpu
        ))),
        Some(what) => Ok(Some(format!("this processor has other features than the recording's: {what}"))),
        None if recorded.signature != here.signature => Ok(Some(format!(
            "this processor is another model than the recording's ({}, {:#x}; here {}, {:#x}) with the same features: only a program that looks at the model or the caches can diverge",
            recorded.cpu, recorded.signature, here.cpu, here.signature
        ))),
        None => Ok(None),
    }
}

/// What a program could find to be different, in both directions; `None` when there is nothing.
fn differences(recorded: &Machine, here: &Machine) -> Option<String> {
    let only = |of: &Machine, other: &Machine| {
        let is_seen = |name: &&String| !NOT_THE_PROGRAMS.contains(&name.as_str());
        let names = of.features.iter().filter(is_seen).filter(|name| !other.features.contains(name));
        names.map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    let mut parts = Vec::new();
    for (names, what) in
        [(only(recorded, here), "missing here"), (only(here, recorded), "here, but not at recording")]
    {
        if !names.is_empty() {
            parts.push(format!("{what}: {names}"));
        }
    }
    if recorded.xcr0 != here.xcr0 {
        parts.push(format!("XCR0 was {:#x} and is {:#x} here", recorded.xcr0, here.xcr0));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use trace::Machine;

    use super::differences;

    fn machine(features: &str, xcr0: u64, signature: u32) -> Machine {
        let features = features.split_whitespace().map(str::to_owned).collect();
        Machine { features, xcr0, signature, ..Machine::default() }
    }

    #[test]
    fn features_count_in_both_directions() {
        let recorded = machine("fpu avx avx2 pti", 7, 1);
        assert_eq!(differences(&recorded, &machine("fpu avx2 avx hypervisor", 7, 2)), None);
        let text = differences(&recorded, &machine("fpu avx avx512f erms", 0xe7, 1)).expect("differences");
        assert_eq!(
            text,
            "missing here: avx2; here, but not at recording: avx512f erms; XCR0 was 0x7 and is 0xe7 here"
        );
    }
}
