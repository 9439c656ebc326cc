//! What is said about a divergence: the call stack of the recording and that of the replay, and registers that differ.

use symbols::{Registers, Symbols};

use crate::debugger::{Debugger, Focus};
use crate::error::CommandError;
use crate::spaces::{self, ThreadMemory};

/// Frames shown of each stack.
const FRAMES_MAX: usize = 32;

impl Debugger {
    /// What can be said about the divergence that a command has just ended with; `None` when there was none, or it has
    /// been told already.
    pub fn divergence_report(&mut self) -> Option<String> {
        let found = self.session.take_divergence()?;
        self.focus = Focus { thread: Some(found.thread), ..Focus::default() };
        let mut text = String::new();
        for (title, words) in [
            (
                format!("The recording at event {}, thread {}:", found.event, found.thread),
                found.recorded.words(),
            ),
            ("The replay, where it stands instead:".into(), found.replayed.words()),
        ] {
            text.push_str(&format!("{title}\n"));
            match self.stack_of(&Registers::from_user_regs(&words)) {
                Ok(stack) => text.push_str(&stack),
                Err(error) => text.push_str(&format!("  (no call stack: {error})\n")),
            }
        }
        text.push_str("Registers that differ (at recording, now):\n");
        let mut differ = false;
        for (name, recorded, replayed) in found.registers() {
            differ = true;
            text.push_str(&format!("  {name:<8} {recorded:#018x} {replayed:#018x}\n"));
        }
        if !differ {
            text.push_str("  none\n");
        }
        self.moved();
        text.push_str("Both stacks are read from the memory of the replay. `vdbg bugreport` packs what a maintainer needs.");
        Some(text)
    }

    fn stack_of(&mut self, registers: &Registers) -> Result<String, CommandError> {
        let thread = self.thread()?;
        // The layout may have changed within the event that the known ones are of.
        let symbols: std::rc::Rc<Symbols> = self.symbols()?;
        let memory = ThreadMemory { session: self.session.view(), thread };
        let mut registers = registers.clone();
        registers.xmm = spaces::registers(self.session.view(), thread)?.xmm;
        self.focus.frames = symbols.frames_up_to(&registers, &memory, FRAMES_MAX);
        self.focus.complete = true;
        let mut text = String::new();
        for level in 0..self.focus.frames.len() {
            text.push_str(&format!("  #{level:<2} {}\n", self.frame_text(level)?));
        }
        Ok(text)
    }
}
