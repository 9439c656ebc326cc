//! Log points: `dprintf`, which prints at each visit and goes on; and `printf`.
//!
//! Going forward the referee fills the template at each hit. Going backward hits are met out of order, so each is a stop
//! of its own. What was printed is kept until the command has a reply to write to.

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::output::Reply;
use crate::parse;
use crate::printf::Template;

/// A run ends when log points have printed so much; it can be continued.
pub(crate) const LOG_BYTES_MAX: usize = 16 << 20;

impl Debugger {
    /// `dprintf PLACE,"FORMAT",EXPRESSION…`.
    pub(crate) fn dprintf(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let (place, template) = parse::split_template(arguments).ok_or_else(|| CommandError::Usage {
            what: "a place, a comma and a format are needed".into(),
            usage: "dprintf PLACE,\"FORMAT\",EXPRESSION…",
        })?;
        let template = self.template(template)?;
        self.add_break(false, place, Some(template), reply)
    }

    /// `printf "FORMAT",EXPRESSION…`.
    pub(crate) fn printf(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let template = self.template(arguments)?;
        let text = self.with_context(|context| template.fill(context))?;
        reply.text(text);
        Ok(Flow::Continue)
    }

    fn template(&mut self, text: &str) -> Result<Template, CommandError> {
        let template = Template::parse(text).map_err(CommandError::Other)?;
        for expression in template.expressions() {
            self.with_context(|context| context.check(expression))?
                .map_err(|error| CommandError::expression(expression, error))?;
        }
        Ok(template)
    }

    /// Prints for a log point where the session stands. Whether the point is one.
    pub(crate) fn log(&mut self, id: u32) -> bool {
        let Some(template) = self.points.get(id).and_then(|point| point.template.clone()) else {
            return false;
        };
        self.moved();
        match self.with_context(|context| template.fill(context)) {
            Ok(text) => self.logged.push_str(&text),
            Err(error) => self.logged.push_str(&format!("<{error}>\n")),
        }
        true
    }

    /// Writes what log points have printed.
    pub(crate) fn flush_log(&mut self, reply: &mut Reply<'_>) {
        if !self.logged.is_empty() {
            reply.text(std::mem::take(&mut self.logged));
        }
    }
}
