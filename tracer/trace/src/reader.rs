//! Reading a trace. The files are indexed by their block headers when a trace is opened; blocks are unpacked when
//! they are needed and the last few are kept. Whatever a damaged file says, memory stays bounded by the block size.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::block::{self, BlockHeader, HEADER_BYTES};
use crate::calls::{self, Calls, CallsRun};
use crate::directory::recorder_of;
use crate::event::{DataRef, Event, EventKind, SpaceId, ThreadId};
use crate::registers::{self, Registers};
use crate::segment;
use crate::snapshot::{SnapshotPlace, State};
use crate::{End, Header, TRACE_VERSION, TraceError, io};

/// How many unpacked blocks of each file are kept.
const CACHED_BLOCKS: usize = 8;

/// An event as it is encoded: registers as the words that differ from the thread's previous event in the block.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireEvent {
    space: SpaceId,
    thread: ThreadId,
    time_ns: u64,
    changed: u32,
    words: Vec<u64>,
    kind: EventKind,
}

impl WireEvent {
    pub(crate) fn encode(event: &Event, before: &Registers) -> Vec<u8> {
        let (old, new) = (before.words(), event.registers.words());
        let differs = |i: &usize| old[*i] != new[*i];
        let wire = WireEvent {
            space: event.space,
            thread: event.thread,
            time_ns: event.time_ns,
            changed: (0..registers::COUNT).filter(differs).fold(0, |mask, i| mask | 1 << i),
            words: (0..registers::COUNT).filter(differs).map(|i| new[i]).collect(),
            kind: event.kind.clone(),
        };
        postcard::to_stdvec(&wire).expect("events have only plain values")
    }

    fn into_event(self, before: &Registers) -> Option<Event> {
        let mut words = before.words();
        let mut changed = self.words.into_iter();
        for (i, word) in words.iter_mut().enumerate().filter(|(i, _)| self.changed & (1 << i) != 0) {
            let _ = i;
            *word = changed.next()?;
        }
        let registers = Registers::from_words(words);
        Some(Event {
            space: self.space,
            thread: self.thread,
            time_ns: self.time_ns,
            registers,
            kind: self.kind,
        })
    }
}

/// Why a trace ends before its recorder meant it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What was found.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// A trace opened for reading. Cheap to share; every method takes `&self`.
pub struct Reader {
    directory: PathBuf,
    header: Header,
    end: Option<End>,
    recorder: Option<i32>,
    events: BlockFile<EventBlock>,
    data: BlockFile<Vec<u8>>,
    count: u64,
    damage: Option<Damage>,
    snapshots: Vec<SnapshotPlace>,
}

impl Reader {
    /// Opens a trace and finds its longest good prefix.
    ///
    /// # Errors
    /// When there is no trace, or it was written by a newer version, or its header cannot be read.
    pub fn open(directory: &Path) -> Result<Reader, TraceError> {
        let header = read_header(directory)?;
        // The recorder writes the end before it goes.
        let recorder = recorder_of(directory);
        let end: Option<End> = std::fs::read(directory.join("end.json"))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let Streams { events: (events, events_damage), data: (data, data_damage) } =
            Streams::open(directory, recorder.is_some())?;
        let mut reader = Reader {
            directory: directory.to_owned(),
            header,
            recorder: recorder.filter(|_| end.is_none()),
            end,
            count: events.len,
            events,
            data,
            damage: events_damage.or(data_damage),
            snapshots: read_snapshots(directory),
        };
        reader.check_blocks()?;
        reader.check_lengths();
        reader.cut_to_good_prefix()?;
        let first = reader.first();
        reader.snapshots.retain(|place| (first..reader.count).contains(&place.event));
        if reader.end.is_none() && reader.damage.as_ref().is_some_and(|damage| damage.what == CUT_OFF) {
            // That is how a recorder leaves it that is killed while it writes.
            reader.damage = None;
        }
        Ok(reader)
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The process that was recording it when it was opened: more comes, and a ring's oldest part goes.
    pub fn recorder(&self) -> Option<i32> {
        self.recorder
    }

    /// How the recording ended; `None` when its recorder was killed, or is still at it.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Where the trace is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Number of the event behind the last that can be replayed.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Number of the first event that is there: not 0 where only the newest part was kept.
    pub fn first(&self) -> u64 {
        self.events.blocks.first().map_or(0, |block| block.header.first)
    }

    /// Nothing can be replayed.
    pub fn is_empty(&self) -> bool {
        self.count <= self.first()
    }

    /// What is wrong with the files, if the good prefix is not all.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// The event of this number.
    ///
    /// # Errors
    /// When there is none, or its block is damaged.
    pub fn event(&self, number: u64) -> Result<Event, TraceError> {
        if number >= self.count || number < self.first() {
            return Err(TraceError::NoSuchEvent(number));
        }
        let (index, first) = self.events.block_of(number).ok_or(TraceError::NoSuchEvent(number))?;
        let block = self.events.block(index, decode_events)?;
        let event = match &*block {
            EventBlock::Events(events) => events.get((number - first) as usize).cloned(),
            EventBlock::Calls(calls) => calls.event((number - first) as usize, index),
        };
        event.ok_or_else(|| self.events.corrupt("a block has fewer events than it says"))
    }

    /// The run of calls that an event belongs to, if it does.
    ///
    /// # Errors
    /// When its block is damaged.
    pub fn calls(&self, number: u64) -> Result<Option<CallsRun>, TraceError> {
        let Some((index, first)) = self.events.block_of(number).filter(|_| number < self.count) else {
            return Ok(None);
        };
        if !self.events.blocks[index].header.calls {
            return Ok(None);
        }
        Ok(Some(CallsRun { calls: self.events.block(index, decode_events)?, first }))
    }

    /// The bytes of a piece of data.
    ///
    /// # Errors
    /// When the piece lies outside the stream, or its block is damaged.
    pub fn data(&self, piece: DataRef) -> Result<Vec<u8>, TraceError> {
        if let Some(index) = calls::inline_block(piece) {
            return self.inline_data(index, piece);
        }
        let end = piece.offset.checked_add(piece.len).filter(|end| *end <= self.data.len);
        let end = end.ok_or_else(|| self.data.corrupt("an event refers to data that is not there"))?;
        let mut bytes = Vec::with_capacity(piece.len as usize);
        let mut at = piece.offset;
        while at < end {
            let (index, first) =
                self.data.block_of(at).ok_or_else(|| self.data.corrupt("a piece of data is missing"))?;
            let block = self.data.block(index, |raw, _| Some(raw))?;
            let from = (at - first) as usize;
            let to = block.len().min((end - first) as usize);
            bytes.extend_from_slice(&block[from..to]);
            at = first + to as u64;
        }
        Ok(bytes)
    }

    fn inline_data(&self, index: usize, piece: DataRef) -> Result<Vec<u8>, TraceError> {
        let missing = || self.events.corrupt("an event refers to data that is not there");
        if index >= self.events.blocks.len() {
            return Err(missing());
        }
        match &*self.events.block(index, decode_events)? {
            EventBlock::Calls(calls) => calls.data(piece).map(<[u8]>::to_vec).ok_or_else(missing),
            EventBlock::Events(_) => Err(missing()),
        }
    }

    /// Where the snapshots are, in order.
    pub fn snapshots(&self) -> &[SnapshotPlace] {
        &self.snapshots
    }

    /// The state that a snapshot has.
    ///
    /// # Errors
    /// When the event is none, or its data is damaged.
    pub fn state(&self, event: &Event) -> Result<State, TraceError> {
        let EventKind::Snapshot { state } = &event.kind else {
            return Err(self.events.corrupt("an event that should be a snapshot is none"));
        };
        let mut bytes = Vec::new();
        for piece in state {
            bytes.extend_from_slice(&self.data(*piece)?);
        }
        State::decode(&bytes).ok_or_else(|| self.data.corrupt("a snapshot cannot be read"))
    }

    /// Path of a stored file.
    pub fn file(&self, stored: &crate::StoredFile) -> PathBuf {
        // A hostile trace must not name a file outside itself.
        let name = Path::new(&stored.stored).file_name().unwrap_or_default();
        self.directory.join("files").join(name)
    }

    /// Drops everything from the first block on whose checksum does not agree.
    fn check_blocks(&mut self) -> Result<(), TraceError> {
        if let Some(what) = self.events.cut_at_bad_block()? {
            self.damage.get_or_insert(Damage { path: self.events.path.clone(), what });
            self.count = self.events.len;
        }
        if let Some(what) = self.data.cut_at_bad_block()? {
            self.damage.get_or_insert(Damage { path: self.data.path.clone(), what });
        }
        Ok(())
    }

    /// A file that was cut between two blocks looks whole; how long it was says otherwise.
    fn check_lengths(&mut self) {
        let Some(end) = &self.end else { return };
        for (path, len, written) in
            [(&self.events.path, self.events.len, end.events), (&self.data.path, self.data.len, end.data_len)]
        {
            if len < written && self.damage.is_none() {
                self.damage = Some(Damage { path: path.clone(), what: "its end is missing".into() });
            }
        }
    }

    /// Finds the first event that does not decode or refers to data that is not there. A trace that was closed
    /// properly and has no damage is not read through for it.
    fn cut_to_good_prefix(&mut self) -> Result<(), TraceError> {
        if self.damage.is_none() && self.end.is_some() {
            return Ok(());
        }
        for index in 0..self.events.blocks.len() {
            let header = self.events.blocks[index].header;
            let good = match self.events.block(index, decode_events) {
                Ok(block) => match &*block {
                    EventBlock::Events(events) => {
                        events.iter().take_while(|event| self.has_data_of(event)).count() as u64
                    }
                    // Their data is in the block itself.
                    EventBlock::Calls(_) => u64::from(header.count),
                },
                Err(TraceError::Corrupt { path, what }) => {
                    self.damage.get_or_insert(Damage { path, what });
                    0
                }
                Err(other) => return Err(other),
            };
            if good < u64::from(header.count) {
                self.count = header.first + good;
                return Ok(());
            }
        }
        Ok(())
    }

    fn has_data_of(&self, event: &Event) -> bool {
        let mut all = true;
        event.kind.for_each_data(&mut |piece: DataRef| {
            all &= piece.offset.checked_add(piece.len).is_some_and(|end| end <= self.data.len);
        });
        all
    }
}

/// The two streams of a trace as they were opened, each with what is wrong with it.
struct Streams {
    events: (BlockFile<EventBlock>, Option<Damage>),
    data: (BlockFile<Vec<u8>>, Option<Damage>),
}

impl Streams {
    /// Opens both. The recorder of a ring may remove the oldest segment meanwhile: then both are opened anew, so that they
    /// begin at the same one.
    fn open(directory: &Path, being_recorded: bool) -> Result<Streams, TraceError> {
        /// A segment is megabytes: so many do not go while a few files are opened.
        const TRIES_MAX: usize = 20;
        let mut tries = 0;
        loop {
            let first = segment::numbers(directory).first().copied();
            let streams = (|| {
                let events = BlockFile::open(directory, "events", |h| u64::from(h.count))?;
                let data = BlockFile::open(directory, "data", |h| u64::from(h.raw_len))?;
                Ok(Streams { events, data })
            })();
            tries += 1;
            let moved = being_recorded && segment::numbers(directory).first().copied() != first;
            if !moved || tries == TRIES_MAX {
                return streams;
            }
        }
    }
}

/// Where the trace says that snapshots are; they only save time, so what cannot be read is left out.
fn read_snapshots(directory: &Path) -> Vec<SnapshotPlace> {
    let text = std::fs::read_to_string(directory.join("snapshots")).unwrap_or_default();
    let mut places: Vec<SnapshotPlace> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    places.sort_by_key(|place| place.event);
    places
}

/// The header of a trace, without looking at the rest.
///
/// # Errors
/// As [`Reader::open`].
pub fn read_header(directory: &Path) -> Result<Header, TraceError> {
    let path = directory.join("header.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(TraceError::NotATrace(directory.to_owned()));
        }
        Err(error) => return io("read", &path, Err(error)),
    };
    let corrupt = |what: String| TraceError::Corrupt { path: path.clone(), what };
    // The version is looked at first: a newer header may have other fields.
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
    let found = value.get("version").and_then(serde_json::Value::as_u64);
    let found = found.ok_or_else(|| corrupt("it has no format version".into()))?;
    if found > u64::from(TRACE_VERSION) {
        return Err(TraceError::NewerVersion { found: found as u32, supported: TRACE_VERSION });
    }
    serde_json::from_value(value).map_err(|error| corrupt(error.to_string()))
}

/// What a block of the events file holds.
pub(crate) enum EventBlock {
    Events(Vec<Event>),
    Calls(Box<Calls>),
}

fn decode_events(raw: Vec<u8>, header: &BlockHeader) -> Option<EventBlock> {
    if header.calls {
        return Calls::decode(&raw, header.count).map(|calls| EventBlock::Calls(Box::new(calls)));
    }
    let mut registers: HashMap<ThreadId, Registers> = HashMap::new();
    let mut rest = raw.as_slice();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (wire, left) = postcard::take_from_bytes::<WireEvent>(rest).ok()?;
        rest = left;
        let last = registers.entry(wire.thread).or_default();
        let event = wire.into_event(last)?;
        *last = event.registers;
        events.push(event);
    }
    (events.len() == header.count as usize).then_some(EventBlock::Events(events))
}

#[derive(Clone, Copy)]
struct Block {
    /// Which of the files it is in.
    file: usize,
    /// Position of the block header in the file.
    at: u64,
    header: BlockHeader,
}

type Cache<T> = std::sync::Mutex<VecDeque<(usize, Arc<T>)>>;

/// One stream of blocks, in one file or several segments, with its index.
struct BlockFile<T> {
    /// The first file, which stands for all of them in messages.
    path: PathBuf,
    files: Vec<File>,
    blocks: Vec<Block>,
    /// Number of the event, or offset of the byte of data, behind the last.
    len: u64,
    cache: Cache<T>,
}

impl<T> BlockFile<T> {
    fn open(
        directory: &Path,
        stream: &str,
        extent: impl Fn(&BlockHeader) -> u64,
    ) -> Result<(BlockFile<T>, Option<Damage>), TraceError> {
        let numbers = segment::numbers(directory);
        let first = segment::path(directory, stream, numbers.first().copied().unwrap_or(0));
        let mut all =
            BlockFile { path: first, files: Vec::new(), blocks: Vec::new(), len: 0, cache: Cache::default() };
        let mut damage = None;
        // Without any, the message names the usual one.
        let numbers = if numbers.is_empty() { vec![0] } else { numbers };
        for number in numbers {
            let path = segment::path(directory, stream, number);
            // The last segment may have been begun by a recorder that was killed right then.
            if !all.files.is_empty() && !path.exists() {
                break;
            }
            let what = all.add(&path, number > 0 && all.files.is_empty(), &extent)?;
            if let Some(what) = what {
                damage = Some(Damage { path, what: what.into() });
                break;
            }
        }
        Ok((all, damage))
    }

    /// Adds the blocks of a file; says what is wrong with it. Where earlier segments are gone, the first block says where it
    /// begins.
    fn add(
        &mut self,
        path: &Path,
        begins_anywhere: bool,
        extent: impl Fn(&BlockHeader) -> u64,
    ) -> Result<Option<&'static str>, TraceError> {
        let file = io("open", path, File::open(path))?;
        let size = io("read", path, file.metadata())?.len();
        let mut at = 0;
        let mut wrong = None;
        while at < size {
            let expected = (!begins_anywhere || at > 0).then_some(self.len);
            match read_block_header(&file, at, size, expected) {
                Ok(header) => {
                    self.blocks.push(Block { file: self.files.len(), at, header });
                    self.len = header.first + extent(&header);
                    at += HEADER_BYTES as u64 + u64::from(header.packed_len);
                }
                Err(what) => {
                    wrong = Some(what);
                    break;
                }
            }
        }
        self.files.push(file);
        Ok(wrong)
    }

    /// The block that holds this event number or data offset, and where it starts.
    fn block_of(&self, position: u64) -> Option<(usize, u64)> {
        let index = self.blocks.partition_point(|block| block.header.first <= position).checked_sub(1)?;
        Some((index, self.blocks[index].header.first))
    }

    fn block(
        &self,
        index: usize,
        decode: impl FnOnce(Vec<u8>, &BlockHeader) -> Option<T>,
    ) -> Result<Arc<T>, TraceError> {
        let mut cache = self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(found) = cache.iter().position(|(i, _)| *i == index) {
            let entry = cache.remove(found).expect("it was just found");
            let block = Arc::clone(&entry.1);
            cache.push_front(entry);
            return Ok(block);
        }
        let raw = self.unpack(&self.blocks[index])?;
        let header = self.blocks[index].header;
        let block =
            decode(raw, &header).ok_or_else(|| self.corrupt("a block holds something else than events"))?;
        let block = Arc::new(block);
        cache.push_front((index, Arc::clone(&block)));
        cache.truncate(CACHED_BLOCKS);
        Ok(block)
    }

    /// Reads through the whole file once; the sum is computed at memory speed.
    fn cut_at_bad_block(&mut self) -> Result<Option<String>, TraceError> {
        let mut packed = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let mut head = [0; HEADER_BYTES];
            let file = &self.files[block.file];
            io("read", &self.path, file.read_exact_at(&mut head, block.at))?;
            packed.resize(block.header.packed_len as usize, 0);
            io("read", &self.path, file.read_exact_at(&mut packed, block.at + HEADER_BYTES as u64))?;
            if let Err(what) = block::check_sum(&head, &packed) {
                self.len = block.header.first;
                self.blocks.truncate(index);
                return Ok(Some(what.into()));
            }
        }
        Ok(None)
    }

    fn unpack(&self, block: &Block) -> Result<Vec<u8>, TraceError> {
        let (file, header) = (&self.files[block.file], &block.header);
        let mut head = [0; HEADER_BYTES];
        io("read", &self.path, file.read_exact_at(&mut head, block.at))?;
        let mut packed = vec![0; header.packed_len as usize];
        io("read", &self.path, file.read_exact_at(&mut packed, block.at + HEADER_BYTES as u64))?;
        block::decode_body(&head, header, &packed).map_err(|what| self.corrupt(what))
    }

    fn corrupt(&self, what: &str) -> TraceError {
        TraceError::Corrupt { path: self.path.clone(), what: what.into() }
    }
}

/// A file ends within a block.
const CUT_OFF: &str = "the last block is cut off";

fn read_block_header(
    file: &File,
    at: u64,
    size: u64,
    expected: Option<u64>,
) -> Result<BlockHeader, &'static str> {
    let mut head = [0; HEADER_BYTES];
    file.read_exact_at(&mut head, at).map_err(|_| CUT_OFF)?;
    let header = block::decode_header(&head)?;
    if expected.is_some_and(|expected| header.first != expected) {
        return Err("a block is missing or out of order");
    }
    if at + HEADER_BYTES as u64 + u64::from(header.packed_len) > size {
        return Err(CUT_OFF);
    }
    Ok(header)
}
