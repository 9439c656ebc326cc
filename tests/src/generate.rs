//! Programs from seeds: each seed gives a C program that makes random system calls, starts threads and children, and
//! takes signals. The program folds everything it observes into a checksum and prints it at the end, so that a replay
//! that gives the program anything else than the recording shows in its output.
//!
//! A program is a sequence of steps. Steps of the first thread are drawn from all kinds, those of other threads from
//! the kinds that are safe beside others; whoever forks does so before there are threads, or forks children that use
//! only what may be used then.

use std::fmt::Write as _;

use crate::Random;

/// How large a generated program may be.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Steps of the first thread.
    pub steps: u64,
    /// Steps of each other thread.
    pub thread_steps: u64,
    /// Threads beside the first, at most.
    pub threads: u64,
}

impl Default for Size {
    fn default() -> Size {
        Size { steps: 60, thread_steps: 25, threads: 4 }
    }
}

/// Who makes a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    First,
    Thread,
    Child,
}

/// The program of a seed.
pub fn program(seed: u64, size: Size) -> String {
    let mut random = Random(seed);
    let mut text = format!("// Generated from seed {seed}.\n{PRELUDE}");
    let threads = random.below(size.threads + 1);
    for thread in 0..threads {
        let _ = writeln!(text, "static void *thread_{thread}(void *argument) {{");
        steps(&mut random, By::Thread, size.thread_steps, &mut text);
        text.push_str("    return argument;\n}\n\n");
    }
    let children = random.below(3);
    for child in 0..children {
        let _ = writeln!(text, "static int child_{child}(void) {{");
        steps(&mut random, By::Child, size.thread_steps, &mut text);
        text.push_str("    return (int)(checksum & 63);\n}\n\n");
    }
    main_function(&mut random, size, threads, children, &mut text);
    text
}

fn main_function(random: &mut Random, size: Size, threads: u64, children: u64, text: &mut String) {
    text.push_str("int main(void) {\n    begin();\n");
    if random.below(2) == 0 {
        let _ = writeln!(text, "    start_timer({});", 1000 + random.below(20_000));
    }
    for child in 0..children {
        let _ = writeln!(
            text,
            "    pid_t pid_{child} = fork();\n    if (pid_{child} == 0)\n        _exit(child_{child}());"
        );
    }
    for thread in 0..threads {
        let _ = writeln!(
            text,
            "    pthread_t id_{thread};\n    must(pthread_create(&id_{thread}, NULL, thread_{thread}, NULL) == 0);"
        );
    }
    steps(random, By::First, size.steps, text);
    for thread in 0..threads {
        let _ = writeln!(text, "    pthread_join(id_{thread}, NULL);");
    }
    for child in 0..children {
        let _ = writeln!(text, "    reap(pid_{child});");
    }
    text.push_str("    return end();\n}\n");
}

fn steps(random: &mut Random, by: By, count: u64, text: &mut String) {
    let count = 1 + random.below(count.max(1));
    for _ in 0..count {
        let (statement, allowed) = step(random);
        if allowed.contains(&by) {
            let _ = writeln!(text, "    {statement}");
        }
    }
}

const ALL: &[By] = &[By::First, By::Thread, By::Child];
const ALONE: &[By] = &[By::First, By::Child];
const FIRST: &[By] = &[By::First];

/// A statement, and who may make it.
fn step(random: &mut Random) -> (String, &'static [By]) {
    let (a, b) = (random.next_u64() >> 16, random.below(64));
    let small = 1 + a % 5000;
    match random.below(26) {
        0 => (format!("write_file({b}, {small});"), ALL),
        1 => (format!("read_file({b}, {small});"), ALL),
        2 => (format!("through_pipe({small});"), ALL),
        3 => ("look_at_clocks();".into(), ALL),
        4 => (format!("random_bytes({});", 1 + small % 300), ALL),
        5 => (format!("map_and_unmap({}, {b});", 1 + small % 40), ALL),
        6 => (format!("remap({}, {});", 1 + small % 20, 1 + b), ALL),
        7 => (format!("heap({});", small * 16), ALL),
        8 => (format!("grow_break({});", small % 9), FIRST),
        9 => (format!("compute({});", a % 4_000_000), ALL),
        10 => (format!("counted({small});"), ALL),
        11 => ("announce();".into(), ALL),
        12 => (format!("wait_a_little({b});"), ALL),
        13 => (format!("atomics({small});"), ALL),
        14 => (format!("for (int i = 0; i < {}; i++)\n        sched_yield();", 1 + b), ALL),
        15 => (format!("usleep({});", small), ALL),
        16 => ("kill(getpid(), SIGUSR1);".into(), ALL),
        17 => (format!("to_self({b});"), ALL),
        18 => (format!("blocked_signal({b});"), ALL),
        19 => (format!("forked({small});"), ALONE),
        20 => ("spawned();".into(), ALONE),
        21 => (format!("protected({});", 1 + b % 8), FIRST),
        22 => (format!("time_out({});", 1 + b % 8), ALL),
        23 => (format!("names({b});"), ALL),
        24 => (format!("vectors({small});"), ALL),
        _ => (format!("shared_with_child({});", 1 + b % 4), ALONE),
    }
}

/// What the steps call.
const PRELUDE: &str = include_str!("prelude.c");
