//! Forced points are found again in interpreters, whose registers repeat all the time.

use std::path::Path;
use std::time::Duration;

use trace::EventKind;
use tracer::{Direction, Mode, NoJudge, OpenOptions, Session, Stop, Stops};

use crate::support::{Random, count, effort, finish, isolated, open, record, scratch, start_recording};

const PYTHON: &str = "/usr/bin/python3";
const PERL: &str = "/usr/bin/perl";

/// How many forced points a test must have found again.
const POINTS: u64 = 200;

/// What a recording may take.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn forced_points_in_python_are_found_again() {
    isolated("points_in_python");
}

#[test]
fn forced_points_in_perl_are_found_again() {
    isolated("points_in_perl");
}

#[test]
fn points_of_signals_from_outside_are_found_again() {
    isolated("points_from_outside");
}

#[test]
fn lines_that_differ_at_every_visit_are_forgiven() {
    isolated("points_among_remains");
}

/// Replays to the end; how many forced points were found on the way.
fn found_again(trace: &Path) -> u64 {
    let mut session = open(trace);
    let points = count(&session, |kind| matches!(kind, EventKind::ForcedPoint { .. })) as u64;
    to_the_end(&mut session);
    // Interrupted all the time to make checkpoints, which must not be taken for anything else.
    let spacing = Some(Duration::from_millis(20));
    let options = OpenOptions { checkpoint_spacing: spacing, ..OpenOptions::default() };
    to_the_end(&mut Session::open(trace, options).unwrap_or_else(|error| panic!("{error}")));
    points
}

fn to_the_end(session: &mut Session) {
    let stop = session.resume(Direction::Forward, Mode::Run, &Stops::default(), &mut NoJudge);
    assert_eq!(stop.unwrap_or_else(|error| panic!("{error}")), Stop::End);
    assert_eq!(*session.position(), session.end().expect("an end"));
}

/// Runs a script with timers of several periods until there are enough points.
fn points_of_a_script(interpreter: &str, script: &str) {
    const ROUNDS_MAX: u64 = 12;
    let path = scratch("script");
    std::fs::write(&path, script).expect("the script can be written");
    let (mut points, mut random) = (0, Random(41));
    for round in 0..ROUNDS_MAX * effort() {
        let period_us = 1500 + random.below(4000);
        let script = path.to_string_lossy().into_owned();
        let arguments = [script.as_str(), &format!("0.{period_us:06}"), "60"];
        let trace = record(&format!("trace-{round}"), Path::new(interpreter), &arguments);
        points += found_again(&trace);
        if points >= POINTS * effort() {
            return;
        }
    }
    panic!("only {points} forced points came about");
}

pub(crate) fn points_in_python() {
    points_of_a_script(
        PYTHON,
        r"
import signal, sys
ticks = 0
def on_alarm(number, frame):
    global ticks
    ticks += 1
signal.signal(signal.SIGALRM, on_alarm)
period, wanted = float(sys.argv[1]), int(sys.argv[2])
signal.setitimer(signal.ITIMER_REAL, period, period)
total, words = 0, {}
while ticks < wanted:
    for i in range(200):
        total = (total * 31 + i) & 0xffffffff
        words[total % 101] = str(total)
signal.setitimer(signal.ITIMER_REAL, 0, 0)
",
    );
}

pub(crate) fn points_in_perl() {
    points_of_a_script(
        PERL,
        r"
use Time::HiRes qw(setitimer ITIMER_REAL);
my ($period, $wanted) = @ARGV;
my ($ticks, $total, %words) = (0, 0);
$SIG{ALRM} = sub { $ticks++ };
setitimer(ITIMER_REAL, $period, $period);
while ($ticks < $wanted) {
    for my $i (0 .. 199) {
        $total = ($total * 31 + $i) & 0xffffffff;
        $words{$total % 101} = qq($total);
    }
}
setitimer(ITIMER_REAL, 0);
",
    );
}

/// Signals from a process that is not recorded, at random times.
pub(crate) fn points_from_outside() {
    let script = r"
import os, signal, sys
ticks = 0
def on_signal(number, frame):
    global ticks
    ticks += 1
signal.signal(signal.SIGUSR1, on_signal)
with open(sys.argv[1] + '.new', 'w') as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + '.new', sys.argv[1])
total, text = 0, ''
while ticks < int(sys.argv[2]):
    total = (total * 7 + len(text)) % 1000003
    text = text[-50:] + chr(97 + total % 26)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
";
    let (pid_file, wanted) = (scratch("pid"), "60");
    let pid_path = pid_file.to_string_lossy().into_owned();
    let (mut recorder, trace) =
        start_recording("trace", Path::new(PYTHON), &["-c", script, &pid_path, wanted]);
    let mut random = Random(42);
    let mut process = None;
    let begun = std::time::Instant::now();
    while recorder.try_wait().expect("our own child").is_none() && begun.elapsed() < LIMIT {
        process = process.or_else(|| std::fs::read_to_string(&pid_file).ok()?.parse::<i32>().ok());
        if let Some(process) = process {
            // SAFETY: kill(2) takes no pointers. The process is a descendant of the recorder, which has not been seen
            // to end; a signal to a process that has just ended fails.
            unsafe { libc::kill(process, libc::SIGUSR1) };
        }
        std::thread::sleep(Duration::from_micros(5000 + random.below(25_000)));
    }
    assert_eq!(finish(&mut recorder, LIMIT), Some(0));
    let points = found_again(&trace);
    println!("{points} forced points");
    assert!(points >= 20, "only {points} forced points came about");
}

/// Some lines of a point's fingerprint are made to differ, as remains of signal frames do; the search for it is interrupted
/// for checkpoints several times.
pub(crate) fn points_among_remains() {
    const SPOILT: usize = 3;
    // Few calls, so that each is an event of its own.
    let trace = crate::support::Program::compile_with("remains.c", &["-static"]).record("trace", &[]);
    let reader = trace::Reader::open(&trace).expect("a trace");
    let copy = scratch("spoilt");
    std::fs::create_dir(&copy).expect("a directory");
    let mut writer = trace::Writer::create(&copy, reader.header(), None).expect("a trace");
    let mut spoilt = 0;
    for number in 0..reader.len() {
        assert!(reader.calls(number).expect("an event").is_none(), "its data is in the events file");
        let mut event = reader.event(number).expect("an event");
        if let EventKind::ForcedPoint { fingerprint } = &mut event.kind {
            for line in fingerprint.lines.iter_mut().take(SPOILT) {
                line.hash ^= 1;
                spoilt += 1;
            }
        }
        writer.event(event).expect("it can be written");
    }
    assert!(spoilt >= SPOILT, "{spoilt} lines were there to be spoilt");
    writer.finish(Some(0), 0).expect("it can be written");
    for file in ["data", "end.json"] {
        std::fs::copy(trace.join(file), copy.join(file)).expect("it can be copied");
    }
    std::fs::rename(trace.join("files"), copy.join("files")).expect("it can be moved");
    found_again(&copy);
}
