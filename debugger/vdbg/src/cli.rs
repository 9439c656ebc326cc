//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracer::StopAfter;

use crate::quantities::{process, size, stop_after};

/// Record a program, replay it, walk it forwards and backwards.
#[derive(Parser)]
#[command(name = "vdbg", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Run a program and record it; exits with the program's own status (128+N on signal N)
    Record(Record),
    /// End a recording that is being made: a program that was attached to goes on
    Stop(Stop),
    /// Save what a recording with --ring has now as a recording of its own; it goes on
    Save(Stop),
    /// Walk through a recording, forwards and backwards
    Replay(Replay),
    /// Look at a core file: the state in which a program ended
    Core(Core),
    /// List the recordings
    Ls(List),
    /// Describe a recording
    Info(Info),
    /// Print the events of a recording, a line each
    Dump(Dump),
    /// Remove recordings
    Rm(Remove),
    /// Make a recording self-contained, so that it can be taken to another machine
    Pack(Pack),
    /// Pack what a maintainer needs to know about a recording that does not replay into one file
    #[command(name = "bugreport")]
    BugReport(BugReport),
    /// Check whether this machine can record and replay, and say what to do
    Doctor,
}

#[derive(Args)]
pub(crate) struct Record {
    /// Directory for the recording [default: PROGRAM-N below $VDBG_TRACE_DIR or the user's data directory]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Say where the recording is, even when standard error is no terminal
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Stop the program at every system call instead of logging calls inside it: slow, but its code stays as it is
    #[arg(long)]
    pub(crate) no_agent: bool,
    /// Record a process that runs already, with all its threads; it goes on when the recording ends (Ctrl-C)
    #[arg(short, long, value_name = "PID", value_parser = process, allow_negative_numbers = true, conflicts_with_all = ["command", "no_agent"])]
    pub(crate) pid: Option<i32>,
    /// Give turns to threads at random, which shows races, deadlocks and lost wake-ups sooner
    #[arg(long)]
    pub(crate) chaos: bool,
    /// Make the random choices of an earlier recording again (`vdbg info` shows its seed); implies --chaos
    #[arg(long, value_name = "SEED")]
    pub(crate) chaos_seed: Option<u64>,
    /// Keep only the newest part: about so much (256M, 1G), from one snapshot on; for recordings that run for days
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) ring: Option<u64>,
    /// End the recording after a time (10s, 500ms, 1h30m), or when the program has got a signal (SIGUSR1)
    #[arg(long, value_name = "TIME|SIGNAL", value_parser = stop_after)]
    pub(crate) stop_after: Option<StopAfter>,
    /// The program and its arguments
    #[arg(
        required_unless_present = "pid",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct Stop {
    /// The recording [default: the one that is being made]
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

/// Where commands come from, and how they are answered.
#[derive(Args)]
pub(crate) struct Commands {
    /// Leave after the commands of -x and -e (or of standard input) instead of prompting
    #[arg(long)]
    pub(crate) batch: bool,
    /// Run the commands of a file, before those of -e
    #[arg(short = 'x', long = "command", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Run a command
    #[arg(short = 'e', long = "eval", value_name = "CMD", allow_hyphen_values = true)]
    pub(crate) commands: Vec<String>,
    /// Answer each command with a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Core {
    /// The core file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The program, when it is not where it was
    #[arg(value_name = "EXE")]
    pub(crate) executable: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) commands: Commands,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// The recording: a directory or a name that `vdbg ls` shows [default: the latest]
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) commands: Commands,
    /// Replay to the end with the program's output, verify, and exit with its status
    #[arg(long, conflicts_with_all = ["batch", "files", "commands", "json"])]
    pub(crate) autopilot: bool,
    /// Replay on a processor that differs from the recording's
    #[arg(long)]
    pub(crate) any_machine: bool,
}

#[derive(Args)]
pub(crate) struct List {
    /// A line of JSON for each recording
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Info {
    /// The recording [default: the latest]
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Dump {
    /// The recording [default: the latest]
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// The first event
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from: u64,
    /// How many events [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// A line of JSON for each event
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Pack {
    /// The recording [default: the latest]
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Put all of it into one file besides
    #[arg(short, long, value_name = "FILE.tar.zst")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct BugReport {
    /// The recording [default: the latest]
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Where to put it [default: NAME.bugreport.tar.zst in the working directory]
    #[arg(short, long, value_name = "FILE.tar.zst")]
    pub(crate) output: Option<PathBuf>,
    /// Put the whole recording in it, with the contents of the program's memory and its files
    #[arg(long)]
    pub(crate) with_trace: bool,
}

#[derive(Args)]
pub(crate) struct Remove {
    /// The recordings
    #[arg(value_name = "DIR", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) directories: Vec<PathBuf>,
    /// All that `vdbg ls` shows
    #[arg(long)]
    pub(crate) all: bool,
}
