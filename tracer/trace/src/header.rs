//! The two small JSON files that frame a trace.

use serde::{Deserialize, Serialize};

/// Format version. Raise it in the commit that changes the format.
pub const TRACE_VERSION: u32 = 6;

/// `header.json`: what is known before the first event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`TRACE_VERSION`] of the writer.
    pub version: u32,
    /// Version of the recorder, for people.
    pub recorder: String,
    /// Name given to the trace.
    pub name: String,
    /// The command line that was recorded.
    pub command: Vec<String>,
    /// Working directory of the recording.
    pub directory: String,
    /// Start, in nanoseconds since 1970-01-01 UTC.
    pub started_unix_ns: u64,
    /// The machine.
    pub machine: Machine,
    /// What the random choices of a recording with `--chaos` came from.
    #[serde(default)]
    pub chaos_seed: Option<u64>,
    /// The trace keeps only its newest part: about so many bytes.
    #[serde(default)]
    pub ring: Option<u64>,
    /// It began with a process that was running already.
    #[serde(default)]
    pub attached: bool,
}

/// Facts about the machine that replay depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// CPU vendor and brand, for people.
    pub cpu: String,
    /// Family, model and stepping (CPUID leaf 1, EAX).
    pub signature: u32,
    /// CPU features by the names of `/proc/cpuinfo`.
    pub features: Vec<String>,
    /// XCR0: which parts of the extended state exist.
    pub xcr0: u64,
    /// The core to which the recording was pinned.
    pub core: u32,
    /// Kernel release.
    pub kernel: String,
    /// Soft limit of the stack in bytes; `u64::MAX` when unlimited.
    pub stack_limit: u64,
}

/// `end.json`: what is known after the last event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Number of events.
    pub events: u64,
    /// Length of the data stream in bytes.
    pub data_len: u64,
    /// Wait status of the first process, as in waitpid(2); 0 if it had not ended.
    pub status: i32,
    /// The recording ended before the first process did.
    #[serde(default)]
    pub running: bool,
    /// Duration in nanoseconds.
    pub duration_ns: u64,
    /// Why it ends here, when it is a copy of a ring whose recording went on.
    #[serde(default)]
    pub copied_because: Option<String>,
}
