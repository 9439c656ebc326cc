//! Making a trace self-contained: everything that it refers to is there and is its own, so that it can be moved.
//!
//! The mapped files of a trace are hard links into a store that traces share. Packing gives the trace copies of its own,
//! and checks that each file that an event or a snapshot names is there in its full length. Nothing else is outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::event::{Change, Effect, EventKind, Mapping, MemoryOp, SharedObject, Source, StoredFile};
use crate::store::{DataRanges, copy_whole};
use crate::{Damage, Reader, TraceError, io, recorder_of};

/// A trace that is self-contained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Number of mapped files that it has.
    pub files: u64,
    /// How many of them were shared with other traces.
    pub copied: u64,
    /// Bytes of the mapped files.
    pub bytes: u64,
    /// What is wrong with the trace: only the events before can be replayed.
    pub damage: Option<Damage>,
}

/// Makes a trace self-contained. What it has of its own stays as it is.
///
/// # Errors
/// When it is still being recorded, a file that it refers to is missing, or a copy cannot be made.
pub fn pack(directory: &Path, data_ranges: DataRanges) -> Result<Packed, TraceError> {
    if let Some(recorder) = recorder_of(directory) {
        return Err(TraceError::BeingRecorded { path: directory.to_owned(), recorder });
    }
    let reader = Reader::open(directory)?;
    let mut packed = Packed { damage: reader.damage().cloned(), ..Packed::default() };
    for (path, len) in referred_files(&reader)? {
        let meta = match path.metadata() {
            Ok(meta) if meta.len() >= len => meta,
            Ok(meta) => {
                return Err(TraceError::Corrupt {
                    path,
                    what: format!("it has {} bytes instead of {len}", meta.len()),
                });
            }
            Err(source) => return Err(TraceError::Io { action: "read", path, source }),
        };
        packed.files += 1;
        packed.bytes += meta.len();
    }
    let files = directory.join("files");
    for entry in io("read", &files, std::fs::read_dir(&files))? {
        let path = io("read", &files, entry)?.path();
        let meta = io("read", &path, path.symlink_metadata())?;
        if meta.is_file() && meta.nlink() > 1 {
            let file = io("open", &path, File::open(&path))?;
            io("copy a mapped file to", &path, copy_whole(&file, &path, data_ranges))?;
            packed.copied += 1;
        }
    }
    Ok(packed)
}

/// The stored files that events and snapshots name, with the length that each must have.
fn referred_files(reader: &Reader) -> Result<BTreeMap<PathBuf, u64>, TraceError> {
    let mut files = BTreeMap::new();
    let mut each = |stored: &StoredFile| {
        let len = files.entry(reader.file(stored)).or_default();
        *len = stored.len.max(*len);
    };
    for number in reader.first()..reader.len() {
        let event = reader.event(number)?;
        match &event.kind {
            EventKind::Syscall { effect, .. } | EventKind::SyscallExit { effect, .. } => match effect {
                Effect::Exec(image) => of_mappings(&image.mappings, &mut each),
                Effect::Memory(ops) => of_ops(ops, &mut each),
                _ => {}
            },
            EventKind::Change(changes) => {
                changes.iter().for_each(|Change { ops, .. }| of_ops(ops, &mut each));
            }
            EventKind::Snapshot { .. } => {
                let state = reader.state(&event)?;
                state.spaces.iter().for_each(|space| of_mappings(&space.mappings, &mut each));
                state.objects.iter().for_each(|object| of_object(&object.object, &mut each));
            }
            _ => {}
        }
    }
    Ok(files)
}

fn of_ops(ops: &[MemoryOp], each: &mut dyn FnMut(&StoredFile)) {
    for op in ops {
        match op {
            MemoryOp::Map(mapping) => of_mappings(std::slice::from_ref(mapping), each),
            MemoryOp::Resize { object, .. } => of_object(object, each),
            _ => {}
        }
    }
}

fn of_mappings(mappings: &[Mapping], each: &mut dyn FnMut(&StoredFile)) {
    for mapping in mappings {
        match &mapping.source {
            Source::File { file, .. } => each(file),
            Source::Shared { object, .. } => of_object(object, each),
            Source::Zero => {}
        }
    }
}

fn of_object(object: &SharedObject, each: &mut dyn FnMut(&StoredFile)) {
    object.initial.iter().for_each(each);
}
