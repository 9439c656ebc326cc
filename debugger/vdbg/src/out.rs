//! Standard output and standard error. Writing never panics, and a reader that has gone is no error worth a message.

use std::io::{self, ErrorKind, Write};

/// Writes to standard output.
pub(crate) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line to standard error in the manner of all messages.
pub(crate) fn error(message: &str) {
    let _ = writeln!(io::stderr(), "vdbg: {message}");
}

/// The cause is that nobody reads our output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}
