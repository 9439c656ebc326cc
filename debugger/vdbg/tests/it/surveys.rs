//! Tables over a whole recording, and walking among visited places.

use std::sync::OnceLock;

use crate::support::{record, session};

const SOURCE: &str = r#"#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>

struct point { int x, y; };
struct mixed { double a; long b; };
struct large { long n[4]; };

static int total;
static jmp_buf back;

static int factorial(int n) { return n < 2 ? 1 : n * factorial(n - 1); }
static struct point scale(struct point p, int k) { return (struct point){ p.x * k, p.y * k }; }
static struct mixed mix(double d) { return (struct mixed){ d * 2, 7 }; }
static struct large spread(long n) { return (struct large){ { n, n + 1, n + 2, n + 3 } }; }
static double half(float f) { return f / 2; }
static void add(int n) { total += n; }
static void jump(int n) { if (n == 0) longjmp(back, 1); jump(n - 1); }

static void *worker(void *argument)
{
    add(100);
    return argument;
}

int main(void)
{
    pthread_t thread;
    for (int i = 1; i < 4; i++) {
        add(i);
        printf("i=%d\n", i);
        fflush(stdout);
    }
    factorial(3);
    scale((struct point){ 1, 2 }, 3);
    mix(1.5);
    spread(5);
    half(3);
    if (setjmp(back) == 0)
        jump(2);
    pthread_create(&thread, 0, worker, 0);
    pthread_join(thread, 0);
    fprintf(stderr, "warning: %d", total);
    fprintf(stderr, " in all\n");
    return 0;
}
"#;

fn trace() -> &'static str {
    static ONCE: OnceLock<String> = OnceLock::new();
    ONCE.get_or_init(|| record("surveys.c", SOURCE))
}

/// The rows of a table without event numbers and times.
fn rows(commands: &[&str]) -> Vec<String> {
    let text = session(trace(), commands);
    let row = |line: &str| match line.split_once(" thread ") {
        Some((head, rest)) if head.contains("event") => {
            let (thread, rest) = rest.split_at(4);
            format!("{} t{} {}", head.split_whitespace().next().unwrap_or(""), thread.trim(), rest.trim())
        }
        _ => line.to_owned(),
    };
    text.lines().map(row).collect()
}

#[test]
fn every_call_with_what_it_returned() {
    assert_eq!(
        rows(&["calls factorial", "calls scale", "calls mix", "calls spread", "calls half"]),
        [
            "1 t1 factorial (n=3) = 6  from main at surveys.c:34",
            "2 t1 factorial (n=2) = 2  from factorial at surveys.c:12",
            "3 t1 factorial (n=1) = 1  from factorial at surveys.c:12",
            "1 t1 scale (p=..., k=3) = {x = 3, y = 6}  from main at surveys.c:35",
            "1 t1 mix (d=1.5) = {a = 3, b = 7}  from main at surveys.c:36",
            "1 t1 spread (n=5) = {n = {5, 6, 7, 8}}  from main at surveys.c:37",
            "1 t1 half (f=3) = 1.5  from main at surveys.c:38",
        ]
    );
    // Calls of all threads, and those that never return.
    assert_eq!(
        rows(&["calls add if n > 2", "calls jump", "calls/2 add"]),
        [
            "1 t1 add (n=3)  from main at surveys.c:30",
            "2 t2 add (n=100)  from worker at surveys.c:22",
            "1 t1 jump (n=2)  from main at surveys.c:40",
            "2 t1 jump (n=1)  from jump at surveys.c:18",
            "3 t1 jump (n=0)  from jump at surveys.c:18",
            "1 t1 add (n=1)  from main at surveys.c:30",
            "2 t1 add (n=2)  from main at surveys.c:30",
            "There are more than 2: /20 behind the command's name shows more.",
        ]
    );
}

#[test]
fn every_hit_and_every_write() {
    assert_eq!(
        rows(&["hits surveys.c:31 print i, total", "hits add if n == 100", "hits surveys.c:31 if i > 9"]),
        [
            "1 t1 i = 1, total = 1",
            "2 t1 i = 2, total = 3",
            "3 t1 i = 3, total = 6",
            "1 t2 add (n=100) at surveys.c:17",
            "Nothing in the whole recording.",
        ]
    );
    assert_eq!(
        rows(&["writes total"]),
        [
            "1 t1 0 -> 1  add at surveys.c:17",
            "2 t1 1 -> 3  add at surveys.c:17",
            "3 t1 3 -> 6  add at surveys.c:17",
            "4 t2 6 -> 106  add at surveys.c:17",
        ]
    );
}

#[test]
fn every_line_that_was_printed() {
    assert_eq!(rows(&["output"]), ["1 t1 i=1", "2 t1 i=2", "3 t1 i=3", "4 t1 warning: 106 in all"]);
    let text = session(trace(), &["output", "goto output 2"]);
    assert!(text.contains("write"), "{text}");
}

/// A row is a place to go to, and the session stays where it was while a table is made.
#[test]
fn rows_and_visited_places() {
    let commands = [
        "break half",
        "continue",
        "hits add print n",
        "print f",
        "goto row 2",
        "print n",
        "back",
        "print f",
        "forward",
        "print n",
        "info breakpoints",
    ];
    let text = session(trace(), &commands);
    for shown in ["$1 = 3", "$2 = 2", "$3 = 3", "$4 = 2", "in half at surveys.c:16"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let no_row = session(trace(), &["goto row 1"]);
    assert!(no_row.contains("there is no table yet"), "{no_row}");
    let nowhere = session(trace(), &["back"]);
    assert!(nowhere.contains("no place that was visited before"), "{nowhere}");
    let bad = session(trace(), &["hits/x main"]);
    assert!(bad.contains("\"/x\" is no number of rows"), "{bad}");
}
