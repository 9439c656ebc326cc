//! Writing a trace: the recorder hands over events and data, a thread of its own packs and writes them, so that
//! compression is off the critical path. What has waited for [`FLUSH_INTERVAL`] is written even if its block is not
//! full, so that a killed recorder loses little.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::block::{self, BLOCK_RAW_BYTES_GOAL, DATA_PIECE_BYTES_MAX};
use crate::event::{DataRef, Event, ThreadId};
use crate::reader::WireEvent;
use crate::registers::Registers;
use crate::{End, Header, TraceError, io};

/// The longest time that anything stays unwritten.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// How many messages may wait for the writing thread before the recorder waits for it.
const QUEUE_MESSAGES_MAX: usize = 1024;

/// Compression level: zstd's fastest regular one, since it runs beside the program.
const LEVEL: i32 = 1;

enum Message {
    Event(Box<Event>),
    Data(Vec<u8>),
    Flush,
}

/// An open trace that is being written.
pub struct Writer {
    directory: PathBuf,
    queue: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<Result<(), TraceError>>>,
    events: u64,
    data_len: u64,
}

impl Writer {
    /// Starts a trace in an existing, empty directory.
    ///
    /// # Errors
    /// When a file cannot be created.
    pub fn create(directory: &Path, header: &Header) -> Result<Writer, TraceError> {
        write_json(&directory.join("header.json"), header)?;
        let events = Stream::create(directory.join("events"))?;
        let data = Stream::create(directory.join("data"))?;
        let (queue, receiver) = sync_channel(QUEUE_MESSAGES_MAX);
        let worker = Worker { events, data, registers: HashMap::new() };
        let thread = std::thread::Builder::new()
            .name("trace-writer".into())
            .spawn(move || worker.run(&receiver))
            .map_err(|source| TraceError::Io {
                action: "start a thread for",
                path: directory.to_owned(),
                source,
            })?;
        let directory = directory.to_owned();
        Ok(Writer { directory, queue: Some(queue), thread: Some(thread), events: 0, data_len: 0 })
    }

    /// Number of events so far.
    pub fn events(&self) -> u64 {
        self.events
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

    /// Asks for everything so far to be written soon.
    ///
    /// # Errors
    /// As [`Writer::data`].
    pub fn flush(&mut self) -> Result<(), TraceError> {
        self.send(Message::Flush)
    }

    /// Writes what is left and closes the trace.
    ///
    /// # Errors
    /// When something could not be written; what was written before replays.
    pub fn finish(mut self, status: i32, duration_ns: u64) -> Result<(), TraceError> {
        self.close()?;
        write_json(
            &self.directory.join("end.json"),
            &End { events: self.events, data_len: self.data_len, status, duration_ns },
        )
    }

    fn send(&mut self, message: Message) -> Result<(), TraceError> {
        let queue = self.queue.as_ref().expect("the queue is there until the trace is closed");
        if queue.send(message).is_ok() {
            return Ok(());
        }
        // The thread only hangs up when it failed: hand on its reason.
        self.close()?;
        Err(TraceError::Corrupt {
            path: self.directory.clone(),
            what: "the writing thread ended early".into(),
        })
    }

    fn close(&mut self) -> Result<(), TraceError> {
        self.queue = None;
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
    raw: Vec<u8>,
    first: u64,
    count: u32,
    since: Instant,
}

impl Stream {
    fn create(path: PathBuf) -> Result<Stream, TraceError> {
        let file = io("create", &path, File::create_new(&path))?;
        Ok(Stream { path, file, raw: Vec::new(), first: 0, count: 0, since: Instant::now() })
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
        let packed = io("compress", &self.path, block::encode(self.first, self.count, &self.raw, LEVEL))?;
        io("write", &self.path, self.file.write_all(&packed))?;
        self.first += advance;
        self.count = 0;
        self.raw.clear();
        Ok(())
    }
}

struct Worker {
    events: Stream,
    data: Stream,
    /// The last registers of each thread in the current block of events.
    registers: HashMap<ThreadId, Registers>,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Message>) -> Result<(), TraceError> {
        loop {
            match queue.recv_timeout(FLUSH_INTERVAL) {
                Ok(Message::Event(event)) => self.event(&event)?,
                Ok(Message::Data(bytes)) => self.data(&bytes)?,
                Ok(Message::Flush) | Err(RecvTimeoutError::Timeout) => self.flush()?,
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
            if self.events.since.elapsed() > FLUSH_INTERVAL && !self.events.raw.is_empty() {
                self.flush()?;
            }
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), TraceError> {
        let before = self.registers.insert(event.thread, event.registers).unwrap_or_default();
        let bytes = WireEvent::encode(event, &before);
        self.events.push(&bytes, 1);
        if self.events.raw.len() >= BLOCK_RAW_BYTES_GOAL { self.flush() } else { Ok(()) }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), TraceError> {
        self.data.push(bytes, 0);
        if self.data.raw.len() >= BLOCK_RAW_BYTES_GOAL { self.flush_data() } else { Ok(()) }
    }

    fn flush_data(&mut self) -> Result<(), TraceError> {
        self.data.flush(self.data.raw.len() as u64)
    }

    /// Data goes first, so that no event on disk refers to data that is not.
    fn flush(&mut self) -> Result<(), TraceError> {
        self.flush_data()?;
        self.registers.clear();
        self.events.flush(u64::from(self.events.count))
    }
}
