//! The command engine: gdb's verbs over a replay [`tracer::Session`], with `symbols` for names and values.
//!
//! It reads lines and writes text; it knows no terminal, no history file and no command line of its own, so the
//! prompt, `--batch`, scripts and tests use the same engine. It changes nothing in the program: a replay is what
//! happened.
//!
//! Start at [`Debugger::execute`]; [`table`] lists every command. The modules follow the commands: [`breakpoints`] and
//! [`watch`] set stops, [`catches`] those at events, [`motion`] goes to the next one, [`stepping`] and [`backward`] go by source lines, [`report`]
//! says where the session stands, [`surveys`] makes tables over the whole recording.

mod backward;
mod breakpoints;
mod catches;
mod complete;
mod conditions;
mod debugger;
mod disassemble;
mod divergence;
mod error;
mod events;
mod frames;
mod help;
mod history;
mod info;
mod linespec;
mod list;
mod logpoints;
mod motion;
mod navigation;
mod output;
mod parse;
mod places;
mod points;
mod print;
mod printf;
mod referee;
mod report;
mod settings;
mod spaces;
mod stepping;
mod surveys;
mod table;
mod target;
mod threads;
mod time;
mod watch;
mod xamine;

pub use complete::Completions;
pub use debugger::{Debugger, Flow};
pub use error::CommandError;
pub use events::{describe_event, event_json};
pub use output::Output;
pub use table::{Command, commands};
pub use time::{duration_text, utc_text};
