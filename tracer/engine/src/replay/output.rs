//! What the program prints: the bytes of its writes, which are not in the trace but in its memory when it makes them.

use std::cell::RefCell;
use std::rc::Rc;

use trace::{Effect, Event, EventKind};

use super::world::World;
use super::{Direction, Mode, NoJudge, Session, Stop, Stops};
use crate::TracerError;

/// What the program has written to its standard output or error with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The event of the call's return.
    pub event: u64,
    /// What was written.
    pub bytes: Vec<u8>,
    /// It was written to the standard error.
    pub error: bool,
}

/// Takes what the program writes.
pub type OutputSink = Box<dyn FnMut(Written)>;

impl Session {
    /// Sends what the program writes to its standard output and error to `sink` from now on.
    pub fn reproduce_output(&mut self, sink: OutputSink) {
        self.output = Some(sink);
    }

    /// Passes on what the program writes. Only first-time forward replay has a sink.
    pub(super) fn reproduce(&mut self, event: &Event) -> Result<(), TracerError> {
        let (EventKind::Syscall { result, effect: Effect::Output { error }, .. }
        | EventKind::SyscallExit { result, effect: Effect::Output { error }, .. }) = &event.kind
        else {
            return Ok(());
        };
        if self.at.event < self.reproduced {
            return Ok(());
        }
        self.reproduced = self.at.event + 1;
        let Some(sink) = self.output.as_mut() else { return Ok(()) };
        let bytes = written_bytes(&self.world, event, *result as u64)?;
        sink(Written { event: self.at.event, bytes, error: *error });
        Ok(())
    }

    /// All that the program writes, found by going through the recording from its start to its end, where the session stands
    /// then. False when that was interrupted, or when it is too much to be kept (256 MB).
    ///
    /// # Errors
    /// As [`Session::resume`].
    pub fn all_output(&mut self) -> Result<(Vec<Written>, bool), TracerError> {
        const BYTES_MAX: usize = 256 << 20;
        self.goto(&self.start())?;
        let found = Rc::new(RefCell::new((Vec::new(), 0)));
        let (sink, interrupt) = (Rc::clone(&found), self.interrupt.clone());
        let before = self.output.replace(Box::new(move |written| {
            let mut found = sink.borrow_mut();
            found.1 += written.bytes.len();
            found.0.push(written);
            if found.1 > BYTES_MAX {
                interrupt.request();
            }
        }));
        let reproduced = std::mem::take(&mut self.reproduced);
        let stop = self.resume(Direction::Forward, Mode::Run, &Stops::default(), &mut NoJudge);
        (self.output, self.reproduced) = (before, reproduced.max(self.reproduced));
        let found = std::mem::take(&mut found.borrow_mut().0);
        Ok((found, stop? == Stop::End))
    }
}

/// What a write-like call wrote, from the program's memory.
fn written_bytes(world: &World, event: &Event, len: u64) -> Result<Vec<u8>, TracerError> {
    /// No single call can write more (write(2), NOTES).
    const WRITE_BYTES_MAX: u64 = 0x7fff_f000;
    let [_, address, count, ..] = event.registers.arguments();
    let len = len.min(WRITE_BYTES_MAX);
    let memory = world.memory_of(event.thread)?;
    let mut bytes = Vec::new();
    let mut take = |address: u64, len: u64| -> Result<(), TracerError> {
        let start = bytes.len();
        bytes.resize(start + len as usize, 0);
        memory.read(address, &mut bytes[start..]).map_err(|_| TracerError::Unmapped(address))
    };
    if event.registers.orig_rax as i64 != libc::SYS_writev {
        take(address, len)?;
        return Ok(bytes);
    }
    let mut left = len;
    for index in 0..count.min(libc::UIO_MAXIOV as u64) {
        let base = memory.word(address + 16 * index).map_err(|_| TracerError::Unmapped(address))?;
        let size = memory.word(address + 16 * index + 8).map_err(|_| TracerError::Unmapped(address))?;
        take(base, size.min(left))?;
        left -= size.min(left);
    }
    Ok(bytes)
}
