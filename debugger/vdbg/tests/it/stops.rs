//! Catchpoints, commands of breakpoints, breakpoints by pattern, and lists of names.

use std::sync::OnceLock;

use crate::support::{folder, record, session};

const SOURCE: &str = r#"#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int answers[3];

static int answer_one(int n) { return answers[0] = n; }
static int answer_two(int n) { return answers[1] = n + 1; }

int main(int count, char **arguments)
{
    if (count > 1)
        return 3;
    write(1, "a\n", 2);
    answer_one(5);
    answer_two(5);
    if (fork() == 0) {
        execl(arguments[0], arguments[0], "again", NULL);
        _exit(1);
    }
    wait(NULL);
    write(1, "bc\n", 3);
    return 0;
}
"#;

fn trace() -> &'static str {
    static ONCE: OnceLock<String> = OnceLock::new();
    ONCE.get_or_init(|| record("stops.c", SOURCE))
}

/// The lines that say what was stopped at.
fn stops(commands: &[&str]) -> Vec<String> {
    let text = session(trace(), commands);
    let wanted = |line: &&str| {
        line.contains("atchpoint ") || line.contains("reakpoint ") || line.starts_with("No more")
    };
    let cut = |line: &str| line.split("), ").next().unwrap_or(line).trim_end_matches(')').to_owned();
    text.lines().filter(wanted).map(cut).collect()
}

#[test]
fn system_calls_both_ways() {
    assert_eq!(
        stops(&["catch syscall write", "continue", "continue", "reverse-continue", "reverse-continue"]),
        [
            "Catchpoint 1 (syscall write",
            "Catchpoint 1 (returned from syscall write, result 2",
            "Catchpoint 1 (returned from syscall write, result 3",
            "Catchpoint 1 (returned from syscall write, result 2",
            "No more history: this is the start of the recording.",
        ]
    );
    // Whatever comes first stops.
    assert_eq!(
        stops(&[
            "catch syscall write",
            "break answer_two",
            "continue",
            "continue",
            "continue",
            "reverse-continue",
            "reverse-continue",
        ])[2..],
        [
            "Catchpoint 1 (returned from syscall write, result 2",
            "Breakpoint 2, answer_two (n=5) at stops.c:8",
            "Catchpoint 1 (returned from syscall write, result 3",
            "Breakpoint 2, answer_two (n=5) at stops.c:8",
            "Catchpoint 1 (returned from syscall write, result 2",
        ]
    );
    assert_eq!(
        stops(&["catch syscall write", "condition 1 $rax == 3", "continue", "continue"])[1..],
        ["Catchpoint 1 (returned from syscall write, result 3"]
    );
}

#[test]
fn processes_and_programs() {
    let text = session(trace(), &["catch fork", "catch exec", "continue", "continue", "info breakpoints"]);
    assert!(text.contains("Catchpoint 1 (forked process "), "{text}");
    assert!(text.contains("Catchpoint 2 (exec'd ") && text.contains("/stops), "), "{text}");
    assert!(text.contains("catchpoint     keep y                      exec"), "{text}");
}

#[test]
fn what_cannot_be_caught() {
    let unknown = session(trace(), &["catch rain"]);
    assert!(unknown.contains("catch syscall [NAME…] | signal NAME… | fork"), "{unknown}");
    let call = session(trace(), &["catch syscall wrote"]);
    assert!(call.contains("there is no system call \"wrote\""), "{call}");
    let pattern = session(trace(), &["rbreak ans("]);
    assert!(pattern.contains("is no regular expression"), "{pattern}");
}

/// Commands run at each stop, may go on, and may hide the stop.
#[test]
fn commands_of_a_breakpoint() {
    let script = "rbreak ^answer_\ncommands 1 2\nsilent\nprintf \"n is %d\\n\",n\ncontinue\nend\n\
        break wait\ncommands\nprint answers\nend\ncontinue\ninfo breakpoints\n";
    std::fs::write(folder().join("commands.vdbg"), script).unwrap();
    let text = session(trace(), &["source commands.vdbg"]);
    assert!(text.contains("n is 5\nn is 5\n"), "{text}");
    assert!(text.contains("$1 = {5, 6, 0}"), "{text}");
    assert!(!text.contains("Breakpoint 1, ") && text.contains("Breakpoint 3, "), "{text}");
    assert!(
        text.contains("\tprintf \"n is %d\\n\",n\n\tcontinue\n\tbreakpoint already hit 1 time"),
        "{text}"
    );
}

#[test]
fn names_by_pattern() {
    let text =
        session(trace(), &["info functions ^answer_", "info variables ^answers$", "info types ^Nothing$"]);
    assert_eq!(text, "answer_one\nanswer_two\nanswers\nNo names with debug information match.\n");
}
