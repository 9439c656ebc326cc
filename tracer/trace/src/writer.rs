//! Writing a trace: the recorder hands over events and data, a thread of its own packs and writes them, so that
//! compression is off the critical path. What has waited for [`FLUSH_INTERVAL`] is written even if its block is not
//! full, so that a killed recorder loses little.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::block::{BLOCK_RAW_BYTES_GOAL, DATA_PIECE_BYTES_MAX, Packer};
use crate::calls::{self, Calls, CallsContext};
use crate::event::{DataRef, Event, ThreadId};
use crate::reader::WireEvent;
use crate::registers::Registers;
use crate::snapshot::SnapshotPlace;
use crate::{End, Header, TraceError, io};
use crate::{directory, segment};

/// The longest time that anything stays unwritten.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// The writing thread is woken when so many messages or bytes wait: waking it for each would cost the recorder more than
/// the system call that it records.
const WAKE_MESSAGES: usize = 1024;
const WAKE_BYTES: usize = 256 << 10;

/// How many messages and bytes may wait before the recorder waits for the writing thread.
const QUEUE_MESSAGES_MAX: usize = 16 << 10;
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Compression level: zstd's fastest regular one, since it runs beside the program.
const LEVEL: i32 = 1;

/// The level while so much waits that the recorder would soon have to wait too: one that does not code literals.
const HURRIED_LEVEL: i32 = -1;
const HURRY_BYTES: usize = 2 << 20;

/// How many buffers are kept for the recorder to fill again, and how large they are at least: fresh memory costs more than
/// what is put into it.
const SPARES_MAX: usize = 20;
const SPARE_BYTES_MIN: usize = 64 << 10;

enum Message {
    Event(Box<Event>),
    Data(Vec<u8>),
    Calls(Box<CallsContext>, Vec<u8>, u64),
    Snapshot(SnapshotPlace),
    BeginSegment,
    Save(Box<RingCopy>),
    Flush,
}

/// What a copy of a ring is to be.
struct RingCopy {
    target: PathBuf,
    end: End,
    /// What the recorder has warned of until then.
    warnings: Vec<String>,
}

/// Calls that take less than this become events like others: a block of their own would not be worth it.
const CALLS_BLOCK_BYTES_MIN: usize = 4 << 10;

/// What waits for the writing thread.
#[derive(Default)]
struct Backlog {
    messages: Vec<Message>,
    bytes: usize,
    /// Buffers whose contents have been written.
    spares: Vec<Vec<u8>>,
    /// No more will come.
    closed: bool,
    /// The writing thread takes no more: it has failed.
    hung_up: bool,
}

#[derive(Default)]
struct Queue {
    backlog: Mutex<Backlog>,
    /// Something is to be written.
    work: Condvar,
    /// Something has been taken.
    room: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds a message; waits while too much waits already. False when nobody will take it.
    fn send(&self, message: Message) -> bool {
        let mut backlog = self.lock();
        while !backlog.hung_up
            && (backlog.messages.len() >= QUEUE_MESSAGES_MAX || backlog.bytes >= QUEUE_BYTES_MAX)
        {
            backlog = self.room.wait(backlog).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let urgent = matches!(message, Message::Flush | Message::Save(..));
        let was_enough = backlog.is_enough();
        backlog.bytes += match &message {
            Message::Data(bytes) => bytes.len(),
            Message::Calls(_, bytes, _) => bytes.len(),
            Message::Event(_)
            | Message::Snapshot(_)
            | Message::BeginSegment
            | Message::Save(..)
            | Message::Flush => 0,
        };
        backlog.messages.push(message);
        if urgent || !was_enough && backlog.is_enough() {
            self.work.notify_one();
        }
        !backlog.hung_up
    }

    /// Keeps a buffer whose contents have been written.
    fn recycle(&self, mut buffer: Vec<u8>) {
        let mut backlog = self.lock();
        if buffer.capacity() >= SPARE_BYTES_MIN && backlog.spares.len() < SPARES_MAX {
            buffer.clear();
            backlog.spares.push(buffer);
        }
    }

    /// Takes what waits, when there is enough of it or [`FLUSH_INTERVAL`] has passed; `None` at the end.
    fn take(&self, taken: &mut Vec<Message>) -> Option<Taken> {
        let waits = |backlog: &mut Backlog| !backlog.closed && !backlog.is_enough();
        let (mut backlog, result) = self
            .work
            .wait_timeout_while(self.lock(), FLUSH_INTERVAL, waits)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::swap(&mut backlog.messages, taken);
        let bytes = std::mem::take(&mut backlog.bytes);
        self.room.notify_one();
        (!taken.is_empty() || !backlog.closed).then_some(Taken { quiet: result.timed_out(), bytes })
    }
}

/// What the writing thread has got.
struct Taken {
    /// Nothing came for [`FLUSH_INTERVAL`].
    quiet: bool,
    bytes: usize,
}

impl Backlog {
    fn is_enough(&self) -> bool {
        self.messages.len() >= WAKE_MESSAGES || self.bytes >= WAKE_BYTES
    }
}

/// An open trace that is being written.
pub struct Writer {
    directory: PathBuf,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<Result<(), TraceError>>>,
    events: u64,
    data_len: u64,
    finished: bool,
    /// Bytes that have been written to the files.
    written: Arc<AtomicU64>,
}

impl Writer {
    /// Starts a trace in an existing, empty directory. With `ring`, segments are removed when all together have more bytes.
    ///
    /// # Errors
    /// When a file cannot be created.
    pub fn create(directory: &Path, header: &Header, ring: Option<u64>) -> Result<Writer, TraceError> {
        write_json(&directory.join("header.json"), header)?;
        let events = Stream::create(directory.join("events"))?;
        let data = Stream::create(directory.join("data"))?;
        let queue = Arc::new(Queue::default());
        let written = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            events,
            data,
            registers: HashMap::new(),
            directory: directory.to_owned(),
            ring,
            segment: 0,
            complete: VecDeque::new(),
            before: 0,
            written: Arc::clone(&written),
        };
        let shared = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("trace-writer".into())
            .spawn(move || worker.run(&shared))
            .map_err(|source| TraceError::Io {
                action: "start a thread for",
                path: directory.to_owned(),
                source,
            })?;
        let directory = directory.to_owned();
        Ok(Writer {
            directory,
            queue,
            thread: Some(thread),
            events: 0,
            data_len: 0,
            finished: false,
            written,
        })
    }

    /// An empty buffer for [`Writer::calls`], which may have room from an earlier call.
    pub fn buffer(&self) -> Vec<u8> {
        self.queue.lock().spares.pop().unwrap_or_default()
    }

    /// Takes a buffer back that was not used up.
    pub fn put_back(&self, buffer: Vec<u8>) {
        self.queue.recycle(buffer);
    }

    /// Number of events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Length of the data stream so far, in bytes, without what the agent has logged.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Appends bytes to the data stream.
    ///
    /// # Errors
    /// When the trace can no longer be written, for instance because the disk is full.
    ///
    /// # Panics
    /// When a piece is larger than [`DATA_PIECE_BYTES_MAX`].
    pub fn data(&mut self, bytes: Vec<u8>) -> Result<DataRef, TraceError> {
        assert!(bytes.len() <= DATA_PIECE_BYTES_MAX, "a piece of data outgrew its bound");
        let piece = DataRef { offset: self.data_len, len: bytes.len() as u64 };
        if !bytes.is_empty() {
            self.data_len += piece.len;
            self.send(Message::Data(bytes))?;
        }
        Ok(piece)
    }

    /// Appends an event and returns its number.
    ///
    /// # Errors
    /// As [`Writer::data`].
    pub fn event(&mut self, event: Event) -> Result<u64, TraceError> {
        let number = self.events;
        self.events += 1;
        self.send(Message::Event(Box::new(event)))?;
        Ok(number)
    }

    /// Appends `count` calls as the agent has logged them; they write `data` bytes to memory.
    ///
    /// # Errors
    /// As [`Writer::data`].
    pub fn calls(
        &mut self,
        context: CallsContext,
        bytes: Vec<u8>,
        count: u64,
        data: u64,
    ) -> Result<(), TraceError> {
        self.events += count;
        if bytes.len() < CALLS_BLOCK_BYTES_MIN {
            self.data_len += data;
        }
        self.send(Message::Calls(Box::new(context), bytes, count))
    }

    /// Says that the event written last is a snapshot, taken at this time.
    ///
    /// # Errors
    /// As [`Writer::data`].
    pub fn note_snapshot(&mut self, time_ns: u64) -> Result<(), TraceError> {
        self.send(Message::Snapshot(SnapshotPlace { event: self.events - 1, time_ns }))
    }

    /// Bytes that have been written to the trace's files of events and data, also to those that were removed.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Begins a segment with the snapshot that comes next. What comes from now on refers to nothing before.
    ///
    /// # Errors
    /// As [`Writer::data`].
    pub fn begin_segment(&mut self) -> Result<(), TraceError> {
        self.send(Message::BeginSegment)
    }

    /// Makes a trace of its own of all that is there, in a new directory; it gets there soon. It says why it was made.
    ///
    /// # Errors
    /// As [`Writer::data`].
    pub fn save(&mut self, target: PathBuf, because: String, duration_ns: u64) -> Result<(), TraceError> {
        let end = End { copied_because: Some(because), ..self.end(None, duration_ns) };
        let warnings = directory::warnings(&self.directory);
        self.send(Message::Save(Box::new(RingCopy { target, end, warnings })))
    }

    fn end(&self, status: Option<i32>, duration_ns: u64) -> End {
        End {
            events: self.events,
            data_len: self.data_len,
            status: status.unwrap_or(0),
            running: status.is_none(),
            duration_ns,
            copied_because: None,
        }
    }

    /// Asks for everything so far to be written soon.
    ///
    /// # Errors
    /// As [`Writer::data`].
    pub fn flush(&mut self) -> Result<(), TraceError> {
        self.send(Message::Flush)
    }

    /// Writes what is left and closes the trace; `status` is that of the first process, if it has
    /// ended. What is appended afterwards is lost.
    ///
    /// # Errors
    /// When something could not be written; what was written before replays.
    pub fn finish(&mut self, status: Option<i32>, duration_ns: u64) -> Result<(), TraceError> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        self.close()?;
        write_json(&self.directory.join("end.json"), &self.end(status, duration_ns))
    }

    fn send(&mut self, message: Message) -> Result<(), TraceError> {
        if self.finished {
            return Ok(());
        }
        if self.queue.send(message) {
            return Ok(());
        }
        // The thread only hangs up when it has failed: hand on its reason.
        self.close()?;
        Err(TraceError::Corrupt {
            path: self.directory.clone(),
            what: "the writing thread ended early".into(),
        })
    }

    fn close(&mut self) -> Result<(), TraceError> {
        self.queue.lock().closed = true;
        self.queue.work.notify_one();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // An error was either reported by an earlier call, or the recording is being given up for another reason.
        let _ = self.close();
    }
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), TraceError> {
    let text = serde_json::to_vec_pretty(value).expect("the header has only plain values");
    io("write", path, std::fs::write(path, text))
}

/// One file of blocks.
struct Stream {
    path: PathBuf,
    file: File,
    packer: Packer,
    raw: Vec<u8>,
    first: u64,
    count: u32,
    since: Instant,
    /// Bytes in the file.
    written: u64,
}

impl Stream {
    fn create(path: PathBuf) -> Result<Stream, TraceError> {
        let file = io("create", &path, File::create_new(&path))?;
        let packer = io("prepare compression for", &path, Packer::new(LEVEL))?;
        Ok(Stream {
            path,
            file,
            packer,
            raw: Vec::new(),
            first: 0,
            count: 0,
            since: Instant::now(),
            written: 0,
        })
    }

    /// Goes on in another file; everything has been written.
    fn go_on_in(&mut self, path: PathBuf) -> Result<(), TraceError> {
        self.file = io("create", &path, File::create_new(&path))?;
        (self.path, self.written) = (path, 0);
        Ok(())
    }

    fn set_level(&mut self, level: i32) -> Result<(), TraceError> {
        io("prepare compression for", &self.path, self.packer.set_level(level))
    }

    fn push(&mut self, bytes: &[u8], count: u32) {
        if self.raw.is_empty() {
            self.since = Instant::now();
        }
        self.raw.extend_from_slice(bytes);
        self.count += count;
    }

    /// Writes the block; `advance` is what the next one starts after it.
    fn flush(&mut self, advance: u64) -> Result<(), TraceError> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let packed = self.packer.pack(false, self.first, self.count, &self.raw);
        let packed = io("compress", &self.path, packed)?;
        io("write", &self.path, self.file.write_all(packed))?;
        self.written += packed.len() as u64;
        self.first += advance;
        self.count = 0;
        self.raw.clear();
        Ok(())
    }
}

impl Stream {
    /// Writes a block of calls behind what has been flushed.
    fn write_calls(&mut self, raw: &[u8], count: u64) -> Result<(), TraceError> {
        let packed = self.packer.pack(true, self.first, count as u32, raw);
        let packed = io("compress", &self.path, packed)?;
        io("write", &self.path, self.file.write_all(packed))?;
        self.written += packed.len() as u64;
        self.first += count;
        Ok(())
    }
}

/// Tells the recorder, however the writing thread ends, that nothing more is taken.
struct HangUp<'a>(&'a Queue);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        self.0.lock().hung_up = true;
        self.0.room.notify_one();
    }
}

struct Worker {
    events: Stream,
    data: Stream,
    /// The last registers of each thread in the current block of events.
    registers: HashMap<ThreadId, Registers>,
    directory: PathBuf,
    /// How many bytes all segments may have together.
    ring: Option<u64>,
    /// Number of the segment that is written.
    segment: u64,
    /// Those before it: number and bytes.
    complete: VecDeque<(u64, u64)>,
    written: Arc<AtomicU64>,
    /// Of those, the bytes of complete segments.
    before: u64,
}

impl Worker {
    fn run(mut self, queue: &Queue) -> Result<(), TraceError> {
        let _hang_up = HangUp(queue);
        let mut messages = Vec::new();
        while let Some(taken) = queue.take(&mut messages) {
            let level = if taken.bytes >= HURRY_BYTES { HURRIED_LEVEL } else { LEVEL };
            self.events.set_level(level)?;
            self.data.set_level(level)?;
            for message in messages.drain(..) {
                match message {
                    Message::Event(event) => self.event(&event)?,
                    Message::Data(bytes) => self.data(&bytes)?,
                    Message::Calls(context, bytes, count) => {
                        self.calls(&context, &bytes, count)?;
                        queue.recycle(bytes);
                    }
                    Message::Snapshot(place) => self.snapshot(&place)?,
                    Message::BeginSegment => self.begin_segment()?,
                    Message::Save(copy) => self.save(&copy)?,
                    Message::Flush => self.flush()?,
                }
            }
            let due = self.events.since.elapsed() > FLUSH_INTERVAL && !self.events.raw.is_empty();
            if taken.quiet || due {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn event(&mut self, event: &Event) -> Result<(), TraceError> {
        let before = self.registers.insert(event.thread, event.registers).unwrap_or_default();
        let bytes = WireEvent::encode(event, &before);
        self.events.push(&bytes, 1);
        if self.events.raw.len() >= BLOCK_RAW_BYTES_GOAL { self.flush() } else { Ok(()) }
    }

    fn calls(&mut self, context: &CallsContext, bytes: &[u8], count: u64) -> Result<(), TraceError> {
        if bytes.len() >= CALLS_BLOCK_BYTES_MIN {
            self.flush()?;
            return self.events.write_calls(&Calls::encode(context, bytes), count);
        }
        let mut data = Vec::new();
        let mut events = Vec::new();
        let first = self.data.first + self.data.raw.len() as u64;
        let mut put = |piece: &[u8]| {
            let offset = first + data.len() as u64;
            data.extend_from_slice(piece);
            DataRef { offset, len: piece.len() as u64 }
        };
        let whole = calls::unpack(context, bytes, count, &mut put, &mut |event| events.push(event));
        if whole.is_none() {
            let what = "the program has written into the memory of its recorder".into();
            return Err(TraceError::Corrupt { path: self.events.path.clone(), what });
        }
        self.data(&data)?;
        events.iter().try_for_each(|event| self.event(event))
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), TraceError> {
        self.data.push(bytes, 0);
        if self.data.raw.len() >= BLOCK_RAW_BYTES_GOAL { self.flush_data() } else { Ok(()) }
    }

    /// Adds a snapshot to the list, when it is in the events file.
    fn snapshot(&mut self, place: &SnapshotPlace) -> Result<(), TraceError> {
        self.flush()?;
        let mut line = serde_json::to_vec(place).expect("it has only plain values");
        line.push(b'\n');
        let path = self.directory.join("snapshots");
        let file = File::options().append(true).create(true).open(&path);
        io("write", &path, file.and_then(|mut file| file.write_all(&line)))
    }

    /// Goes on in new files, and removes the oldest ones when there are too many bytes in all. One complete segment stays in
    /// any case.
    fn begin_segment(&mut self) -> Result<(), TraceError> {
        self.flush()?;
        let bytes = self.events.written + self.data.written;
        self.before += bytes;
        self.complete.push_back((self.segment, bytes));
        self.segment += 1;
        self.events.go_on_in(segment::path(&self.directory, "events", self.segment))?;
        self.data.go_on_in(segment::path(&self.directory, "data", self.segment))?;
        let Some(ring) = self.ring else { return Ok(()) };
        while self.complete.len() > 1 && self.complete.iter().map(|(_, bytes)| bytes).sum::<u64>() > ring {
            let Some((oldest, _)) = self.complete.pop_front() else { break };
            for stream in ["events", "data"] {
                let path = segment::path(&self.directory, stream, oldest);
                io("remove", &path, std::fs::remove_file(&path))?;
            }
        }
        Ok(())
    }

    /// Makes a trace of all that is there. Complete segments never change, so they are shared.
    fn save(&mut self, copy: &RingCopy) -> Result<(), TraceError> {
        let target = &copy.target;
        self.flush()?;
        // Nobody is to see half a trace.
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let making = target.with_file_name(format!("{name}.making"));
        // A recorder that was killed may have left one.
        let _ = std::fs::remove_dir_all(&making);
        directory::make(&making)?;
        let files = making.join("files");
        io("create", &files, std::fs::create_dir(&files))?;
        let entries = |path: &Path| -> Result<Vec<PathBuf>, TraceError> {
            let entries = io("read", path, std::fs::read_dir(path))?;
            Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        };
        let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
        for file in entries(&self.directory.join("files"))? {
            let copy = files.join(name(&file));
            let shared = std::fs::hard_link(&file, &copy);
            io("share", &copy, shared.or_else(|_| std::fs::copy(&file, &copy).map(drop)))?;
        }
        for number in self.complete.iter().map(|(number, _)| *number).chain([self.segment]) {
            for stream in ["events", "data"] {
                let path = segment::path(&self.directory, stream, number);
                let copy = making.join(name(&path));
                let shared = if number == self.segment {
                    std::fs::copy(&path, &copy).map(drop)
                } else {
                    std::fs::hard_link(&path, &copy)
                };
                io("save", &copy, shared)?;
            }
        }
        for file in ["header.json", "snapshots"].map(|file| self.directory.join(file)) {
            if file.exists() {
                let copy = making.join(name(&file));
                io("save", &copy, std::fs::copy(&file, &copy))?;
            }
        }
        copy.warnings.iter().for_each(|warning| directory::note_warning(&making, warning));
        write_json(&making.join("end.json"), &copy.end)?;
        io("save", target, std::fs::rename(&making, target))
    }

    fn flush_data(&mut self) -> Result<(), TraceError> {
        self.data.flush(self.data.raw.len() as u64)
    }

    /// Data goes first, so that no event on disk refers to data that is not.
    fn flush(&mut self) -> Result<(), TraceError> {
        self.flush_data()?;
        self.registers.clear();
        self.events.flush(u64::from(self.events.count))?;
        self.written.store(self.before + self.events.written + self.data.written, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Message, Queue, WAKE_BYTES};

    #[test]
    fn the_writing_thread_is_woken_by_enough_bytes() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| queue.take(&mut Vec::new()));
            // Long enough for it to wait, most of the time.
            std::thread::sleep(Duration::from_millis(20));
            assert!(queue.send(Message::Data(vec![0; WAKE_BYTES])));
            let taken = taken.join().expect("no panic").expect("something was sent");
            assert!(!taken.quiet, "nobody woke it");
            assert_eq!(taken.bytes, WAKE_BYTES);
        });
    }
}
