//! `vdbg pack`: a recording that can be taken to another machine.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::archive::Archive;
use crate::{cli, out, traces};

pub(crate) fn pack(options: &cli::Pack) -> anyhow::Result<ExitCode> {
    let directory = trace::resolve(options.directory.as_deref())?;
    // Said before anything is done.
    let archive =
        options.output.as_deref().map(|path| Archive::create(path, &name(&directory))).transpose()?;
    let packed = tracer::pack(&directory)?;
    let mut text = format!(
        "{} is self-contained: {} mapped files ({}), {} of which it shared with other recordings until now\n",
        directory.display(),
        packed.files,
        traces::size_text(packed.bytes),
        packed.copied
    );
    if let (Some(mut archive), Some(path)) = (archive, &options.output) {
        archive.directory("", &directory)?;
        archive.finish()?;
        writeln!(text, "{} holds all of it; unpack it with `tar --zstd -xf`", path.display())?;
    }
    text.push_str(
        "In it are the programs and libraries, with the debug information that they have; separate debug files and sources are not.\n",
    );
    out::write(&text)?;
    if let Some(damage) = packed.damage {
        out::error(&format!(
            "warning: the recording is damaged ({damage}); what can be read of it is packed"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn name(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
