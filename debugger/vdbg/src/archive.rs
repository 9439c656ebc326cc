//! Archives: ustar (pax interchange format, POSIX.1-2024, `pax`), packed with zstd, as `tar --zstd` reads them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

const BLOCK: usize = 512;

/// zstd's own default.
const LEVEL: i32 = 3;

/// The longest member name that fits without an extension.
const NAME_BYTES_MAX: usize = 100;

/// An archive that is being written. Dropped before it is finished, it is removed.
pub(crate) struct Archive {
    path: PathBuf,
    out: Option<zstd::Encoder<'static, File>>,
    /// The folder that all members are in.
    folder: String,
}

impl Archive {
    /// Begins an archive at `path`, which must not be there yet.
    pub(crate) fn create(path: &Path, folder: &str) -> anyhow::Result<Archive> {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.with_context(|| {
            let advice = match path.metadata() {
                Ok(meta) if meta.is_dir() => "it is a directory: name a file with -o",
                Ok(_) => "it is there already: remove it, or name another file with -o",
                Err(_) => "name a file in a directory that you may write to with -o",
            };
            format!("cannot create {} ({advice})", path.display())
        })?;
        let out = zstd::Encoder::new(file, LEVEL).context("cannot begin to compress")?;
        Ok(Archive { path: path.to_owned(), out: Some(out), folder: folder.to_owned() })
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        self.member(name, text.len() as u64, &mut text.as_bytes())
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let len = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
        self.member(name, len, &mut file)
    }

    /// Adds all files below a directory, with their paths in it.
    pub(crate) fn directory(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut paths =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        paths.sort();
        for path in paths {
            let Some(last) = path.file_name().map(|last| last.to_string_lossy().into_owned()) else {
                continue;
            };
            let name = if name.is_empty() { last } else { format!("{name}/{last}") };
            match path.symlink_metadata()?.file_type() {
                kind if kind.is_dir() => self.directory(&name, &path)?,
                kind if kind.is_file() => self.file(&name, &path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the end.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let written = || format!("cannot write {}", self.path.display());
        if let Some(mut out) = self.out.take() {
            let end = out.write_all(&[0; 2 * BLOCK]).and_then(|()| out.finish().map(drop));
            if end.is_err() {
                let _ = std::fs::remove_file(&self.path);
            }
            end.with_context(written)?;
        }
        Ok(())
    }

    fn member(&mut self, name: &str, len: u64, from: &mut dyn Read) -> anyhow::Result<()> {
        let head = head(&format!("{}/{name}", self.folder), len)?;
        let Some(out) = &mut self.out else { bail!("the archive is finished") };
        let mut write = || -> io::Result<u64> {
            out.write_all(&head)?;
            let copied = io::copy(&mut from.take(len), out)?;
            let padding = len.next_multiple_of(BLOCK as u64) - len;
            out.write_all(&vec![0; padding as usize])?;
            Ok(copied)
        };
        let copied = write().with_context(|| format!("cannot write {}", self.path.display()))?;
        if copied != len {
            bail!("{name} has become shorter while it was packed");
        }
        Ok(())
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The header block of a member.
fn head(name: &str, len: u64) -> anyhow::Result<[u8; BLOCK]> {
    /// What eleven octal digits can say.
    const OCTAL_MAX: u64 = 0o77_777_777_777;
    if name.len() > NAME_BYTES_MAX {
        bail!("the name {name} is too long for an archive");
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if len <= OCTAL_MAX {
        put(124, format!("{len:011o}\0").as_bytes());
    } else {
        // As GNU tar writes it: the first bit set, then the number, the high byte first.
        put(124, &[0x80, 0, 0, 0]);
        put(128, &len.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}
