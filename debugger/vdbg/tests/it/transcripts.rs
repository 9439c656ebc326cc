//! Sessions with small programs, forwards and backwards.

use std::sync::OnceLock;

use crate::support::{check, record, session, text, vdbg};

const DEMO: &str = r#"#include <stdio.h>
#include <stdlib.h>

struct account { char name[8]; long balance; };
static struct account accounts[3];
static int calls;

static int add(int a, int b)
{
    calls++;
    return a + b;
}

static void rename_account(struct account *account, const char *name)
{
    for (int i = 0; i < 10; i++)
        account->name[i] = name[i];
}

static long total(void)
{
    long sum = 0;
    for (int i = 0; i < 3; i++)
        sum = add(sum, accounts[i].balance);
    return sum;
}

int main(void)
{
    for (int i = 0; i < 3; i++)
        accounts[i].balance = 100 * (i + 1);
    long before = total();
    rename_account(&accounts[1], "overflow!");
    long after = total();
    if (before != after)
        *(volatile int *)0 = 1;
    return 0;
}
"#;

fn demo() -> &'static str {
    static ONCE: OnceLock<String> = OnceLock::new();
    ONCE.get_or_init(|| record("demo.c", DEMO))
}

#[test]
fn from_the_crash_back_to_the_guilty_line() {
    check(
        demo(),
        &[
            "continue",
            "print accounts[1].balance",
            "watch accounts[1].balance",
            "reverse-continue",
            "bt",
            "p i",
        ],
        r#"
Program received signal SIGSEGV, Segmentation fault.
main () at demo.c:36
36	        *(volatile int *)0 = 1;
$1 = 33
Hardware watchpoint 1: accounts[1].balance

Hardware watchpoint 1: accounts[1].balance

Old value = 200
New value = 33
ADDR in rename_account (account=ADDR <accounts+16>, name=ADDR "overflow!") at demo.c:17
17	        account->name[i] = name[i];
#0  ADDR in rename_account (account=ADDR <accounts+16>, name=ADDR "overflow!") at demo.c:17
#1  ADDR in main () at demo.c:33
$2 = 8
"#,
    );
}

#[test]
fn last_finds_the_write() {
    let out = session(demo(), &["continue", "last accounts[1].balance", "last accounts[1].balance"]);
    assert!(out.contains("accounts[1].balance: 200 -> 33, written here"), "{out}");
    assert!(out.contains("accounts[1].balance: 0 -> 200, written here"), "{out}");
    assert!(out.contains("31\t        accounts[i].balance = 100 * (i + 1);"), "{out}");
}

#[test]
fn steps_and_their_reverse() {
    check(
        demo(),
        &["b total", "c", "s", "s", "s", "s", "s", "s", "rs", "rs", "rs", "rn", "rn", "rn"],
        r#"
Breakpoint 1 at ADDR: file demo.c, line 22.

Breakpoint 1, total () at demo.c:22
22	    long sum = 0;
23	    for (int i = 0; i < 3; i++)
24	        sum = add(sum, accounts[i].balance);
add (a=0, b=100) at demo.c:10
10	    calls++;
11	    return a + b;
12	}
total () at demo.c:24
24	        sum = add(sum, accounts[i].balance);
add (a=0, b=100) at demo.c:12
12	}
11	    return a + b;
10	    calls++;
total () at demo.c:24
24	        sum = add(sum, accounts[i].balance);
23	    for (int i = 0; i < 3; i++)

Breakpoint 1, total () at demo.c:22
22	    long sum = 0;
"#,
    );
}

#[test]
fn finish_and_reverse_finish() {
    check(
        demo(),
        &[
            "tbreak add",
            "c",
            "finish",
            "reverse-next",
            "next",
            "b add if b == 300",
            "c",
            "reverse-finish",
            "info b",
        ],
        r#"
Temporary breakpoint 1 at ADDR: file demo.c, line 10.

Temporary breakpoint 1, add (a=0, b=100) at demo.c:10
10	    calls++;
Run till exit from #0  add (a=0, b=100) at demo.c:10
total () at demo.c:24
24	        sum = add(sum, accounts[i].balance);
Value returned is $1 = 100
24	        sum = add(sum, accounts[i].balance);
23	    for (int i = 0; i < 3; i++)
Breakpoint 2 at ADDR: file demo.c, line 10.

Breakpoint 2, add (a=300, b=300) at demo.c:10
10	    calls++;
Run back to call of #0  add (a=300, b=300) at demo.c:10
ADDR in total () at demo.c:24
24	        sum = add(sum, accounts[i].balance);
Num     Type           Disp Enb Address            What
2       breakpoint     keep y   ADDR in add at demo.c:10
	stop only if b == 300
	breakpoint already hit 1 time
"#,
    );
}

#[test]
fn both_ends_are_said() {
    let out = session(demo(), &["d", "rc", "c", "c", "c", "goto start", "rsi"]);
    assert_eq!(out.matches("No more history: this is the start of the recording.").count(), 2, "{out}");
    assert!(
        out.contains("[end of the recording: the program was killed by SIGSEGV, Segmentation fault]"),
        "{out}"
    );
}

#[test]
fn counts_and_ignores() {
    let out = session(
        demo(),
        &["b add", "ignore 1 4", "c", "p calls", "info b", "rc 2", "p calls", "d 1", "info b"],
    );
    assert!(out.contains("$1 = 4") && out.contains("breakpoint already hit 5 times"), "{out}");
    assert!(out.contains("$2 = 2") && out.ends_with("No breakpoints or watchpoints.\n"), "{out}");
}

#[test]
fn stepping_one_instruction_there_and_back() {
    let commands =
        ["b rename_account", "c", "info registers", "stepi 25", "reverse-stepi 25", "info registers"];
    let out = session(demo(), &commands);
    let registers: Vec<&str> =
        out.split("rax  ").skip(1).map(|part| part.split("gs_base").next().unwrap()).collect();
    assert_eq!(registers.len(), 2, "{out}");
    assert_eq!(registers[0], registers[1]);
}

#[test]
fn checkpoints_and_times() {
    let out = session(
        demo(),
        &[
            "b rename_account",
            "c",
            "checkpoint",
            "goto end",
            "restart 1",
            "when",
            "goto 50%",
            "info checkpoints",
            "goto 0s",
        ],
    );
    assert!(out.contains("Checkpoint 1 at event") && out.contains("1   event"), "{out}");
    assert!(out.matches("rename_account (account=").count() >= 4, "{out}");
}

#[test]
fn values_memory_and_code() {
    let out = session(
        demo(),
        &[
            "b 33",
            "c",
            "p before",
            "p/x before",
            "p $ + 1",
            "p $$2",
            "set $i = 2",
            "p accounts[$i]",
            "x/2dw &calls",
            "x/s \"\"",
            "echo done\\n",
        ],
    );
    for part in ["$1 = 600", "$2 = 0x258", "$3 = 601", "$4 = 600", "balance = 300}"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn json_lines() {
    let output =
        vdbg(&["replay", demo(), "--json", "-e", "b total", "-e", "c", "-e", "bt", "-e", "p nothing"]);
    let out = text(&output.stdout);
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1]["stop"]["reason"], "breakpoint-hit");
    assert_eq!(lines[1]["stop"]["frame"]["line"], 22);
    assert_eq!(lines[2]["frames"][1]["function"], "main");
    assert_eq!((&lines[3]["ok"], output.status.code()), (&serde_json::Value::Bool(false), Some(1)));
}

#[test]
fn autopilot_reproduces_output_and_status() {
    let source =
        "#include <stdio.h>\nint main(void) { puts(\"out\"); fputs(\"err\\n\", stderr); return 7; }\n";
    let trace = record("speak.c", source);
    let output = vdbg(&["replay", &trace, "--autopilot"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("out\n", Some(7)));
    let errors = text(&output.stderr);
    assert!(errors.starts_with("err\n") && errors.contains("events replayed, no divergence"), "{errors}");
}

#[test]
fn rust_programs() {
    let source = r#"
fn grow(list: &mut Vec<u32>, by: u32) {
    list.push(by);
}
fn main() {
    let mut list = Vec::new();
    for by in 1..4 {
        grow(&mut list, by);
    }
    std::process::exit(list.len() as i32);
}
"#;
    let trace = record("rusty.rs", source);
    let out = session(&trace, &["b grow if by == 3", "c", "bt 2", "p list.len()", "rc", "c"]);
    assert!(out.contains("rusty::grow (list=") && out.contains("by=3) at rusty.rs:3"), "{out}");
    assert!(out.contains("$1 = 2"), "{out}");
}

/// A call that a fatal signal interrupts never returns: nothing behind it may be executed on the way back.
#[test]
fn back_from_a_signal_that_ends_a_waiting_call() {
    let source = "#include <unistd.h>
int step;
int main(void) {
    char byte;
    int ends[2];
    pipe(ends);
    alarm(1);
    step = 1;
    read(ends[0], &byte, 1);
    step = 2;
    return 0;
}
";
    let trace = record("waiting.c", source);
    let out = session(&trace, &["continue", "reverse-stepi", "print step", "stepi", "stepi", "print step"]);
    assert!(out.contains("SIGALRM"), "{out}");
    assert_eq!(out.matches("= 1\n").count(), 2, "{out}");
    assert!(!out.contains("= 2\n"), "{out}");
}

/// Two threads wait for each other until a signal ends both: from the end it is one step to where both are.
#[test]
fn the_end_of_a_deadlock_says_where_all_threads_are() {
    let source = r"
#include <pthread.h>
#include <unistd.h>
pthread_barrier_t both;
pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER, two = PTHREAD_MUTEX_INITIALIZER;
void *other(void *unused) {
    pthread_mutex_lock(&two);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(&one);
    return unused;
}
int main(void) {
    pthread_t thread;
    pthread_barrier_init(&both, 0, 2);
    pthread_create(&thread, 0, other, 0);
    pthread_mutex_lock(&one);
    pthread_barrier_wait(&both);
    ualarm(200000, 0);
    pthread_mutex_lock(&two);
}
";
    let trace = record("deadlock.c", source);
    let said = session(&trace, &["goto end"]);
    assert!(said.contains("killed by SIGALRM") && said.contains("[1 more thread ended with it"), "{said}");
    let event = said.split_once("`goto ").and_then(|(_, rest)| rest.split('`').next()).expect("a place");
    let said = session(&trace, &[&format!("goto {event}"), "info threads"]);
    assert!(said.contains("Thread 1") && said.contains("Thread 2"), "{said}");
}
