//! Running commands with a limit, and other commands beside them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The longest time that one run of one program may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of running a command.
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
    pub(crate) time: Duration,
}

/// Runs a command; whatever still runs of it after [`PATIENCE`] is ended. What it prints goes through files of this folder.
pub(crate) fn run_limited(mut command: Command, folder: &Path) -> Result<Ran> {
    use std::os::unix::process::CommandExt;
    let files = (folder.join(".output"), folder.join(".errors"));
    let (output, errors) = (std::fs::File::create(&files.0)?, std::fs::File::create(&files.1)?);
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    let since = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if since.elapsed() > PATIENCE {
            end_group(&child);
            child.wait()?;
            bail!("not done within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let time = since.elapsed();
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    let errors = String::from_utf8_lossy(&read(&files.1)).into_owned();
    Ok(Ran { status: status.code(), output: read(&files.0), errors, time })
}

/// Something that runs as long as the value lives.
pub(crate) struct Beside(Child);

impl Beside {
    pub(crate) fn start(mut command: Command) -> Result<Beside> {
        use std::os::unix::process::CommandExt;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        Ok(Beside(child))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        end_group(&self.0);
        let _ = self.0.wait();
    }
}

fn end_group(child: &Child) {
    // The group has the child's id.
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
}

/// The last thing that a command said.
pub(crate) fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing")
}

/// The size of the files of a folder, without the folders in it.
pub(crate) fn size_of(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let meta = entry?.metadata()?;
        total += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(total)
}
