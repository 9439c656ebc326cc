//! On a terminal: Ctrl-C in a search, job control under a shell.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rexpect::session::{PtyReplSession, PtySession, spawn_bash, spawn_command};

use crate::support::{VDBG, compile, folder, record};

/// How long any answer may take, in milliseconds. The machine may be busy with the other tests.
const PATIENCE_MS: u64 = 60_000;

/// One terminal at a time: a process that another test starts would inherit this one's, which then never closes.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A loop whose search backwards stops at each of two million turns.
const LONG: &str = r#"#include <stdio.h>
static volatile long turns;
static void turn(long i) { turns = i * 2; }
int main(void)
{
    for (long i = 0; i < 2000000; i++)
        turn(i);
    printf("%ld\n", turns);
    return 0;
}
"#;

fn replay(trace: &str) -> PtySession {
    let mut command = std::process::Command::new(VDBG);
    command.current_dir(folder()).args(["replay", trace]).env("TERM", "dumb");
    let mut session = spawn_command(command, Some(PATIENCE_MS)).unwrap();
    prompt(&mut session, "the start");
    session
}

fn ask(session: &mut PtySession, line: &str, answer: &str) {
    session.send_line(line).unwrap();
    session.exp_string(answer).unwrap_or_else(|error| panic!("{line}: {error}"));
    prompt(session, line);
}

/// Waits for the prompt, which says how far the session is.
fn prompt(session: &mut PtySession, after: &str) {
    session
        .exp_regex(r"\(vdbg [0-9]+%\) ")
        .unwrap_or_else(|error| panic!("no prompt after {after}: {error}"));
}

#[test]
fn ctrl_c_stops_a_search_and_leaves_the_session_usable() {
    let _turn = alone();
    let trace = record("long.c", LONG);
    let mut session = replay(&trace);
    ask(&mut session, "break main", "Breakpoint 1");
    ask(&mut session, "continue", "Breakpoint 1, main");
    // The condition never holds, and is evaluated at a stop of each visit: the search takes long.
    ask(&mut session, "break turn if i / 2 == -5", "Breakpoint 2");
    for command in ["continue", "reverse-continue"] {
        if command == "reverse-continue" {
            ask(&mut session, "delete 1", "");
            ask(&mut session, "disable 2", "");
            ask(&mut session, "continue", "end");
            ask(&mut session, "enable 2", "");
        }
        session.send_line(command).unwrap();
        // Long enough to be in the midst of it; a search that is over already would not be interrupted.
        std::thread::sleep(Duration::from_millis(300));
        session.send_control('c').unwrap();
        session.exp_string("Interrupted.").unwrap_or_else(|error| panic!("{command}: {error}"));
        prompt(&mut session, command);
        ask(&mut session, "print 6 * 7", "= 42");
    }
    ask(&mut session, "goto start", "");
    ask(&mut session, "break main", "Breakpoint 3");
    ask(&mut session, "delete 2", "");
    ask(&mut session, "continue", "Breakpoint 3, main");
    session.send_line("quit").unwrap();
    session.exp_eof().unwrap();
}

/// Also when the commands of a breakpoint have been run since.
#[test]
fn an_empty_line_repeats_the_last_command() {
    let _turn = alone();
    let trace = record("long.c", LONG);
    let mut session = replay(&trace);
    ask(&mut session, "print 6 * 7", "$1 = 42");
    ask(&mut session, "", "$2 = 42");
    ask(&mut session, "break turn", "Breakpoint 1");
    for line in ["commands", "silent", "printf \"turn %ld\\n\",i"] {
        session.send_line(line).unwrap();
        session.exp_string(">").unwrap();
    }
    ask(&mut session, "end", "");
    ask(&mut session, "continue", "turn 0");
    ask(&mut session, "", "turn 1");
    session.send_line("quit").unwrap();
    session.exp_eof().unwrap();
}

fn shell() -> PtyReplSession {
    // A test that runs in the background of a script ignores Ctrl-C; a shell would keep that, and so would its programs (bash(1),
    // SIGNALS).
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    let mut shell = spawn_bash(Some(PATIENCE_MS)).unwrap();
    shell.execute(&format!("cd {}; export VDBG_TRACE_DIR=$PWD/traces", folder().display()), "").unwrap();
    shell.wait_for_prompt().unwrap();
    shell
}

fn leave(mut shell: PtyReplSession) {
    shell.wait_for_prompt().unwrap();
    shell.send_line("exit").unwrap();
    shell.exp_eof().unwrap();
}

/// The shell gets the terminal back, as it would without the recorder.
#[test]
fn a_program_that_stops_itself() {
    let _turn = alone();
    let program = compile(
        "stops_itself.c",
        "#include <signal.h>\n#include <unistd.h>\n\
         int main(void) { raise(SIGSTOP); write(1, \"going on\\n\", 9); return 3; }\n",
    );
    let mut shell = shell();
    for go_on in ["fg", "kill -CONT $(pgrep -n -x stops_itself)"] {
        shell.send_line(&format!("{VDBG} record -- {}", program.display())).unwrap();
        shell.exp_string("Stopped").unwrap();
        shell.wait_for_prompt().unwrap();
        shell.send_line(go_on).unwrap();
        shell.exp_string("going on").unwrap();
        shell.exp_string("recorded").unwrap();
        shell.send_line("echo done with $((1 + 1))").unwrap();
        shell.exp_string("done with 2").unwrap();
        shell.wait_for_prompt().unwrap();
    }
    shell.send_line("").unwrap();
    leave(shell);
}

#[test]
fn ctrl_z_stops_the_recorded_program_and_fg_goes_on() {
    let _turn = alone();
    const WAITS: &str = r#"#include <stdio.h>
#include <string.h>
int main(void)
{
    char line[80] = "";
    printf("say something\n");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin))
        printf("heard %s", line);
    return 7;
}
"#;
    let program = compile("waits.c", WAITS);
    let mut shell = shell();
    shell.send_line(&format!("{VDBG} record -o waits.trace -- {}", program.display())).unwrap();
    shell.exp_string("say something").unwrap();
    shell.send_control('z').unwrap();
    shell.exp_string("Stopped").unwrap();
    shell.wait_for_prompt().unwrap();
    shell.send_line("fg").unwrap();
    shell.send_line("hello there").unwrap();
    shell.exp_string("heard hello there").unwrap();
    shell.wait_for_prompt().unwrap();
    shell.send_line("echo status $?").unwrap();
    shell.exp_string("status 7").unwrap();
    shell.wait_for_prompt().unwrap();
    shell.send_line(&format!("{VDBG} replay waits.trace --autopilot; echo replayed $?")).unwrap();
    shell.exp_string("heard hello there").unwrap();
    shell.exp_string("no divergence").unwrap();
    shell.exp_string("replayed 7").unwrap();
    leave(shell);
}

#[test]
fn ctrl_c_reaches_the_recorded_program() {
    let _turn = alone();
    let program = compile(
        "sleeps.c",
        "#include <unistd.h>\nint main(void) { write(1, \"ready\\n\", 6); sleep(1000); }\n",
    );
    let mut shell = shell();
    shell
        .send_line(&format!("{VDBG} record -o sleeps.trace -- {}; echo status $?", program.display()))
        .unwrap();
    shell.exp_string("ready").unwrap();
    shell.send_control('c').unwrap();
    shell.wait_for_prompt().unwrap();
    shell.send_line(&format!("{VDBG} replay sleeps.trace --autopilot; echo replayed $?")).unwrap();
    shell.exp_string("no divergence").unwrap();
    shell.exp_string("replayed 130").unwrap();
    leave(shell);
}
