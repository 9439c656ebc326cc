//! A bar for work that takes long: on a terminal only, and not before half a second has gone.

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracer::Interrupt;

/// Work shorter than this shows nothing.
const DELAY: Duration = Duration::from_millis(500);

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// The bar of one piece of work. Dropping it takes the bar away.
pub(crate) struct Progress {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to look at a session's work.
    pub(crate) fn begin(interrupt: Interrupt, events: u64) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress { done: None, thread: None };
        }
        let (done, wait) = channel();
        let thread = std::thread::Builder::new()
            .name("progress".into())
            .spawn(move || show(&interrupt, events, &wait));
        Progress { done: Some(done), thread: thread.ok() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn show(interrupt: &Interrupt, events: u64, done: &Receiver<()>) {
    let begun = Instant::now();
    let mut bar = None;
    while done.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        if begun.elapsed() < DELAY {
            continue;
        }
        let bar = bar.get_or_insert_with(|| new_bar(events));
        bar.set_position(interrupt.event());
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

fn new_bar(events: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(events), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "{bar:30} {percent:>3}%  event {pos} of {len}  {elapsed}  (Ctrl-C stops)",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
