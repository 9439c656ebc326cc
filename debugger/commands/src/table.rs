//! Every command in one table: dispatch, help and completion read it.

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::info::Named;
use crate::output::Reply;
use crate::stepping::Stepping;
use crate::watch::Watching;
use tracer::Direction::{Backward, Forward};

/// What an empty line after the command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// The same again.
    Same,
    /// The same without its arguments, so that it goes on where it ended.
    WithoutArguments,
    /// Nothing.
    Never,
}

/// What an argument names, for completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// Nothing that can be completed.
    None,
    /// A function or a source file.
    Place,
    /// A file on disk.
    File,
    /// A variable or function.
    Expression,
    /// A command.
    Command,
    /// A word after `info`.
    Info,
}

pub(crate) type Run = fn(&mut Debugger, &str, &str, &mut Reply<'_>) -> Result<Flow, CommandError>;

/// A command.
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Other names, abbreviations that would be ambiguous otherwise.
    pub aliases: &'static [&'static str],
    /// How it is written.
    pub usage: &'static str,
    /// What it does, in a line.
    pub short: &'static str,
    /// The rest there is to know.
    pub long: &'static str,
    pub(crate) group: &'static str,
    pub(crate) argument: Argument,
    pub(crate) repeat: Repeat,
    pub(crate) run: Run,
}

/// All commands.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().chain(INFO)
}

/// The command that a word means: its name, an alias, or the beginning of one name alone.
pub(crate) fn find(table: &'static [Command], word: &str) -> Result<&'static Command, CommandError> {
    let exact = |command: &&Command| command.name == word || command.aliases.contains(&word);
    if let Some(command) = table.iter().find(exact) {
        return Ok(command);
    }
    let candidates: Vec<&Command> = table.iter().filter(|command| command.name.starts_with(word)).collect();
    match candidates.as_slice() {
        [] => Err(CommandError::Unknown(word.to_owned())),
        [command] => Ok(command),
        several => {
            let candidates = several.iter().map(|command| command.name).collect::<Vec<_>>().join(", ");
            Err(CommandError::Ambiguous { word: word.to_owned(), candidates })
        }
    }
}

macro_rules! command {
    ($group:literal, $name:literal $aliases:expr, $argument:ident, $repeat:ident, $usage:literal, $short:literal, $long:literal, $run:expr) => {
        Command {
            name: $name,
            aliases: &$aliases,
            usage: $usage,
            short: $short,
            long: $long,
            group: $group,
            argument: Argument::$argument,
            repeat: Repeat::$repeat,
            run: $run,
        }
    };
}

#[rustfmt::skip]
pub(crate) const COMMANDS: &[Command] = &[
    command!("forwards", "continue" ["c", "fg", "cont"], None, Same, "continue [N]", "Go on to the next stop.",
        "With N, a breakpoint is passed N-1 times first. Stops are breakpoints, watchpoints, faults, fatal signals, and the end of the recording.",
        |debugger, _, arguments, reply| debugger.continue_(Forward, arguments, reply)),
    command!("forwards", "step" ["s"], None, Same, "step [N]", "Go to the beginning of another line, into functions.",
        "Functions without line information are stepped over.",
        |debugger, _, arguments, reply| debugger.step_lines(Stepping::Into, arguments, reply)),
    command!("forwards", "next" ["n"], None, Same, "next [N]", "Go to the beginning of another line, over calls.", "",
        |debugger, _, arguments, reply| debugger.step_lines(Stepping::Over, arguments, reply)),
    command!("forwards", "stepi" ["si"], None, Same, "stepi [N]", "Execute one instruction.", "",
        |debugger, _, arguments, reply| debugger.step_instructions(Forward, false, arguments, reply)),
    command!("forwards", "nexti" ["ni"], None, Same, "nexti [N]", "Execute one instruction, a call at once.", "",
        |debugger, _, arguments, reply| debugger.step_instructions(Forward, true, arguments, reply)),
    command!("forwards", "finish" ["fin"], None, Same, "finish", "Go on until the selected frame returns.",
        "Prints the value it returns, when that is simple.",
        |debugger, _, _, reply| debugger.finish(reply)),
    command!("forwards", "until" ["u"], Place, Same, "until [PLACE]", "As next, but not back in a loop; or to a place.", "",
        |debugger, _, arguments, reply| match arguments {
            "" => debugger.step_lines(Stepping::Until, "", reply),
            place => debugger.advance(place, reply),
        }),
    command!("forwards", "advance" [], Place, Never, "advance PLACE", "Go on to a place, or to where the frame returns.", "",
        |debugger, _, arguments, reply| debugger.advance(arguments, reply)),

    command!("backwards", "reverse-continue" ["rc"], None, Same, "reverse-continue [N]", "Go back to the previous stop.",
        "Going back to a watchpoint ends at the instruction that wrote, before it is executed.",
        |debugger, _, arguments, reply| debugger.continue_(Backward, arguments, reply)),
    command!("backwards", "reverse-step" ["rs"], None, Same, "reverse-step [N]", "Go back to the beginning of a line, into functions.", "",
        |debugger, _, arguments, reply| debugger.step_lines_back(true, arguments, reply)),
    command!("backwards", "reverse-next" ["rn"], None, Same, "reverse-next [N]", "Go back to the beginning of a line, over calls.", "",
        |debugger, _, arguments, reply| debugger.step_lines_back(false, arguments, reply)),
    command!("backwards", "reverse-stepi" ["rsi"], None, Same, "reverse-stepi [N]", "Undo one instruction.", "",
        |debugger, _, arguments, reply| debugger.step_instructions(Backward, false, arguments, reply)),
    command!("backwards", "reverse-nexti" ["rni"], None, Same, "reverse-nexti [N]", "Undo one instruction, a call at once.", "",
        |debugger, _, arguments, reply| debugger.step_instructions(Backward, true, arguments, reply)),
    command!("backwards", "reverse-finish" ["rf", "rfin"], None, Same, "reverse-finish", "Go back to the call of the selected frame.", "",
        |debugger, _, _, reply| debugger.reverse_finish(reply)),
    command!("backwards", "last" [], Expression, Never, "last EXPRESSION", "Go back to the write that gave a value its present value.",
        "Breakpoints do not stop it. The session stands at the instruction that wrote.",
        |debugger, _, arguments, reply| debugger.last(arguments, reply)),

    command!("time", "when" [], None, Same, "when", "Say where in the recording the session is.",
        "Event number, percent, recorded time since the start, and the time of day then.", Debugger::when),
    command!("time", "goto" [], None, Never, "goto EVENT|PERCENT%|TIMEs|start|end|row N", "Go to a place in the recording.",
        "goto row 3: what the third row of the last table tells of (hits, calls, writes, output). goto 1200: before event 1200. goto 50%: half of the events. goto 1.5s: recorded time since the start.", Debugger::goto),
    command!("time", "back" [], None, Same, "back [N]", "Go to where the session was before.",
        "Every command that moves the session leaves a place behind; `forward` undoes `back`.",
        |debugger, _, arguments, reply| debugger.revisit(true, arguments, reply)),
    command!("time", "forward" [], None, Same, "forward [N]", "Undo `back`.", "",
        |debugger, _, arguments, reply| debugger.revisit(false, arguments, reply)),
    command!("time", "checkpoint" [], None, Never, "checkpoint", "Mark this position, so that `restart N` comes back to it.", "", Debugger::checkpoint),
    command!("time", "restart" ["run", "start"], None, Never, "restart [N]", "Go to a checkpoint; without a number, to the start.", "", Debugger::restart),

    command!("survey", "hits" [], Place, Never, "hits[/MAX] PLACE [if CONDITION] [print EXPRESSION, …]", "List every visit of a place in the whole recording.",
        "With print, the values of expressions at each visit. The session stays where it is; `goto row N` goes to a visit. MAX is the number of rows, 1000 otherwise.",
        Debugger::hits),
    command!("survey", "calls" [], Place, Never, "calls[/MAX] FUNCTION [if CONDITION]", "List every call of a function in the whole recording.",
        "With arguments, what it returned, the caller and the time. `goto row N` goes to a call.",
        Debugger::calls),
    command!("survey", "writes" [], Expression, Never, "writes[/MAX] EXPRESSION", "List every change of a value in the whole recording.",
        "The place is the memory that the expression names here. A local variable is followed while its frame lives. `goto row N` goes behind a write.",
        Debugger::writes),

    command!("stops", "break" ["b", "br", "brea"], Place, Never, "break [PLACE] [thread N] [if CONDITION]", "Set a breakpoint.",
        "PLACE is FILE:LINE, LINE, FUNCTION, FILE:FUNCTION, +N, -N or *ADDRESS; without one, here. A function that is loaded later makes the breakpoint pending.",
        |debugger, _, arguments, reply| debugger.break_(false, arguments, reply)),
    command!("stops", "tbreak" ["tb"], Place, Never, "tbreak [PLACE] [if CONDITION]", "Set a breakpoint that stops once.", "",
        |debugger, _, arguments, reply| debugger.break_(true, arguments, reply)),
    command!("stops", "watch" ["wa"], Expression, Never, "watch [-l] EXPRESSION [if CONDITION]", "Stop when a value changes.",
        "The place is found once, when the watchpoint is set. A local variable is watched while its frame lives; -l (or -location) watches the memory for ever.",
        |debugger, _, arguments, reply| debugger.watch(Watching::Changes, arguments, reply)),
    command!("stops", "rwatch" ["rw"], Expression, Never, "rwatch [-l] EXPRESSION", "Stop when a value is read.", "",
        |debugger, _, arguments, reply| debugger.watch(Watching::Reads, arguments, reply)),
    command!("stops", "awatch" ["aw"], Expression, Never, "awatch [-l] EXPRESSION", "Stop when a value is read or changes.", "",
        |debugger, _, arguments, reply| debugger.watch(Watching::Both, arguments, reply)),
    command!("stops", "commands" [], None, Never, "commands [N…]", "Run commands when a breakpoint stops.",
        "The lines that follow, up to `end`, are run each time; without a number, for the last breakpoint. If the first is `silent`, the stop is not reported.",
        |debugger, _, arguments, _| debugger.commands(arguments)),
    command!("stops", "rbreak" [], None, Never, "rbreak REGEX", "Set a breakpoint at every function whose name matches.", "",
        |debugger, _, arguments, reply| debugger.rbreak(arguments, reply)),
    command!("stops", "catch" [], None, Never, "catch syscall [NAME…] | signal NAME… | fork | exec | throw | catch | panic", "Stop at what happens.",
        "Behind system calls, new processes and programs; at signals; where C++ throws or catches, and where Rust panics.",
        |debugger, _, arguments, reply| debugger.catch(arguments, reply)),
    command!("stops", "delete" ["d"], None, Never, "delete [N…] | delete checkpoint N | delete display N", "Remove breakpoints, all without a number.", "",
        |debugger, _, arguments, _| debugger.delete(arguments)),
    command!("stops", "clear" [], Place, Never, "clear PLACE", "Remove the breakpoints at a place.", "",
        |debugger, _, arguments, reply| debugger.clear(arguments, reply)),
    command!("stops", "enable" ["en"], None, Never, "enable [N…]", "Let breakpoints stop again.", "",
        |debugger, _, arguments, _| debugger.enable(true, arguments)),
    command!("stops", "disable" ["dis"], None, Never, "disable [N…]", "Let breakpoints stop no more.", "",
        |debugger, _, arguments, _| debugger.enable(false, arguments)),
    command!("stops", "condition" ["cond"], None, Never, "condition N [EXPRESSION]", "Let a breakpoint stop only when an expression holds.",
        "Conditions on registers, variables, pointers and elements are evaluated inside the process, some hundred million times a second; others stop the program at each visit.",
        |debugger, _, arguments, reply| debugger.condition(arguments, reply)),
    command!("stops", "ignore" [], None, Never, "ignore N COUNT", "Pass a breakpoint so many times.", "",
        |debugger, _, arguments, reply| debugger.ignore(arguments, reply)),
    command!("stops", "dprintf" ["dp"], Place, Never, "dprintf PLACE,\"FORMAT\",EXPRESSION…", "Print at each visit of a place, and go on.",
        "FORMAT is as for printf(3), with %d %u %x %o %c %p %s %f %g %e. It has a number like a breakpoint, takes `condition` and `ignore`, and prints backwards too.",
        |debugger, _, arguments, reply| debugger.dprintf(arguments, reply)),
    command!("stops", "handle" [], None, Never, "handle SIGNAL stop|nostop", "Say whether a signal stops that the program handles.",
        "Fatal signals always stop.",
        |debugger, _, arguments, reply| debugger.handle(arguments, reply)),

    command!("stack", "backtrace" ["bt", "where"], None, Same, "backtrace [N|-N] [full]", "Show the call stack.",
        "With N the innermost, with -N the outermost frames; with full their local variables.", Debugger::backtrace),
    command!("stack", "frame" ["f"], None, Same, "frame [N]", "Select a frame, or show the selected one.", "", Debugger::frame_command),
    command!("stack", "up" [], None, Same, "up [N]", "Select the caller's frame.", "",
        |debugger, _, arguments, reply| debugger.move_frame(1, arguments, reply)),
    command!("stack", "down" ["do", "dow"], None, Same, "down [N]", "Select the callee's frame.", "",
        |debugger, _, arguments, reply| debugger.move_frame(-1, arguments, reply)),
    command!("stack", "thread" ["t"], None, Same, "thread [N] | thread apply all|N COMMAND", "Select a thread, or run a command for threads.", "", Debugger::thread_command),

    command!("data", "print" ["p", "inspect"], Expression, Same, "print[/F] [EXPRESSION]", "Show a value.",
        "/F is one of x z d u o t c s a f. The value is kept as $1, $2, …; $ is the last one, $$ the one before.", Debugger::print),
    command!("data", "call" [], Expression, Same, "call EXPRESSION", "As print; functions cannot be called in a replay.", "", Debugger::call),
    command!("data", "printf" [], Expression, Never, "printf \"FORMAT\",EXPRESSION…", "Show values in a format of printf(3).", "",
        |debugger, _, arguments, reply| debugger.printf(arguments, reply)),
    command!("data", "output" [], Expression, Never, "output | output[/F] EXPRESSION", "List what the program printed, or show a value alone.",
        "Without an expression: every line that the program printed in the whole recording, with its time; `goto output N` goes to where line N was printed.", Debugger::output),
    command!("data", "x" [], Expression, WithoutArguments, "x/NFU [ADDRESS]", "Show memory.",
        "N units in format F (x z d u o t a c f, s for strings, i for instructions) of size U (b 1, h 2, w 4, g 8 bytes).", Debugger::examine),
    command!("data", "display" [], Expression, Never, "display[/F] [EXPRESSION]", "Show a value at each stop.", "", Debugger::display),
    command!("data", "undisplay" [], None, Never, "undisplay [N…]", "Show it no more.", "",
        |debugger, _, arguments, _| debugger.undisplay(arguments)),
    command!("data", "whatis" [], Expression, Same, "whatis EXPRESSION", "Show the type of a value.", "", Debugger::whatis),
    command!("data", "ptype" ["pt"], Expression, Same, "ptype[/o] EXPRESSION|TYPE", "Show a type with its members.",
        "With /o, where each member lies in it, and its size, in bytes.", Debugger::ptype),
    command!("data", "info" ["i", "inf"], Info, Same, "info WHAT", "Show things about the program; `help info` lists them.", "", Debugger::info),

    command!("source", "list" ["l"], Place, WithoutArguments, "list [PLACE | FIRST,LAST | -]", "Show source lines.",
        "Ten lines around a place; again without arguments, the next ten; with -, those before.", Debugger::list),
    command!("source", "disassemble" ["disas", "disass"], Place, Never, "disassemble[/rs] [FUNCTION|ADDRESS]", "Show a function's instructions.",
        "With /r their bytes, with /s source lines. `set disassembly-flavor intel` changes the notation.", Debugger::disassemble),
    command!("source", "directory" ["dir"], File, Never, "directory DIR", "Look for source files in a directory.", "",
        |debugger, _, arguments, _| debugger.directory(arguments)),

    command!("other", "set" [], Expression, Never, "set $NAME = EXPRESSION | set substitute-path FROM TO | set disassembly-flavor att|intel | set breakpoint condition-evaluation auto|host", "Set a convenience variable or an option.",
        "The program itself cannot be changed: a replay shows what happened. substitute-path tells where sources are that were compiled elsewhere.",
        |debugger, _, arguments, _| debugger.set(arguments)),
    command!("other", "show" [], None, Never, "show [convenience|version]", "Show convenience variables.", "",
        |debugger, _, arguments, reply| debugger.show(arguments, reply)),
    command!("other", "echo" [], None, Never, "echo TEXT", "Write text; \\n is a new line.", "",
        |debugger, _, arguments, reply| debugger.echo(arguments, reply)),
    command!("other", "source" [], File, Never, "source FILE", "Run the commands of a file.", "",
        |debugger, _, arguments, reply| debugger.source(arguments, reply)),
    command!("other", "help" ["h"], Command, Never, "help [COMMAND]", "Explain the commands.", "",
        |_, _, arguments, reply| crate::help::help(arguments, reply)),
    command!("other", "quit" ["q", "exit"], None, Never, "quit", "Leave.", "", |_, _, _, _| Ok(Flow::Quit)),
];

#[rustfmt::skip]
pub(crate) const INFO: &[Command] = &[
    command!("info", "registers" ["r", "reg"], None, Same, "info registers [NAME…]", "The registers of the selected frame.", "", Debugger::info_registers),
    command!("info", "watchpoints" ["wat"], None, Same, "info watchpoints", "Watchpoints.", "", Debugger::info_watchpoints),
    command!("info", "breakpoints" ["b"], None, Same, "info breakpoints", "Breakpoints and watchpoints.", "", Debugger::info_breakpoints),
    command!("info", "threads" ["th", "inferiors"], None, Same, "info threads", "The threads that exist here.", "", Debugger::info_threads),
    command!("info", "locals" ["lo"], None, Same, "info locals", "The local variables of the selected frame.", "", Debugger::info_locals),
    command!("info", "args" ["ar"], None, Same, "info args", "The arguments of the selected frame.", "", Debugger::info_args),
    command!("info", "checkpoints" ["check"], None, Same, "info checkpoints", "The checkpoints.", "", Debugger::info_checkpoints),
    command!("info", "events" ["ev"], None, Same, "info events [FROM [COUNT]]", "Events of the recording, those around here without a number.", "", Debugger::info_events),
    command!("info", "frame" ["f"], None, Same, "info frame", "The selected frame.", "", Debugger::info_frame),
    command!("info", "sharedlibrary" ["sh", "dll", "files"], None, Same, "info sharedlibrary", "The program and its libraries.", "", Debugger::info_modules),
    command!("info", "source" [], None, Same, "info source", "The current source file.", "", Debugger::info_source),
    command!("info", "sources" [], None, Same, "info sources [TEXT]", "All source files.", "", Debugger::info_sources),
    command!("info", "functions" ["fu"], None, Same, "info functions [REGEX]", "Functions with debug information.", "",
        |debugger, _, arguments, reply| debugger.info_names(Named::Functions, arguments, reply)),
    command!("info", "variables" ["va"], None, Same, "info variables [REGEX]", "Global and static variables.", "",
        |debugger, _, arguments, reply| debugger.info_names(Named::Variables, arguments, reply)),
    command!("info", "types" ["ty"], None, Same, "info types [REGEX]", "Named types.", "",
        |debugger, _, arguments, reply| debugger.info_names(Named::Types, arguments, reply)),
    command!("info", "line" [], Place, Same, "info line PLACE", "The addresses of a source line.", "", Debugger::info_line),
    command!("info", "symbol" ["sym"], Expression, Same, "info symbol ADDRESS", "The symbol at an address.", "", Debugger::info_symbol),
    command!("info", "signals" ["handle"], None, Same, "info signals", "Which signals stop.", "", Debugger::info_signals),
    command!("info", "mappings" ["map", "proc"], None, Same, "info mappings", "The memory map.", "", Debugger::info_mappings),
    command!("info", "display" [], None, Same, "info display", "What is shown at each stop.", "", Debugger::info_display),
    command!("info", "program" ["prog"], None, Same, "info program", "The program and its recording.", "", Debugger::info_program),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for table in [COMMANDS, INFO] {
            let mut names: Vec<&str> = table
                .iter()
                .flat_map(|command| command.aliases.iter().copied().chain([command.name]))
                .collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }

    #[test]
    fn abbreviations_of_gdb() {
        for (word, name) in [
            ("b", "break"),
            ("c", "continue"),
            ("s", "step"),
            ("n", "next"),
            ("fin", "finish"),
            ("u", "until"),
            ("rc", "reverse-continue"),
            ("rsi", "reverse-stepi"),
            ("reverse-c", "reverse-continue"),
            ("disas", "disassemble"),
            ("tb", "tbreak"),
            ("backt", "backtrace"),
            ("x", "x"),
            ("cond", "condition"),
        ] {
            assert_eq!(find(COMMANDS, word).unwrap().name, name);
        }
        assert_eq!(find(INFO, "r").unwrap().name, "registers");
        assert!(matches!(find(COMMANDS, "re"), Err(CommandError::Ambiguous { .. })));
        assert!(matches!(find(COMMANDS, "frobnicate"), Err(CommandError::Unknown(_))));
    }

    #[test]
    fn every_command_is_explained() {
        for command in commands() {
            assert!(command.short.ends_with('.') && command.usage.contains(command.name), "{}", command.name);
        }
    }
}
