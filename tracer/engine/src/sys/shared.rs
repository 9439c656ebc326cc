//! Memory that is shared with the traced processes: a file that both map (mmap(2), `MAP_SHARED`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A mapped range of shared memory. Others write to it at any time, so it is only read and written through atomics and
/// copies.
pub(crate) struct Shared {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process; all access goes through atomics and bounded copies.
unsafe impl Send for Shared {}

impl Shared {
    /// Makes a file of `len` bytes and maps it.
    pub(crate) fn create(path: &Path, len: usize) -> io::Result<Shared> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        let made = Shared::map(&file, len);
        if made.is_err() {
            let _ = std::fs::remove_file(path);
        }
        made
    }

    fn map(file: &File, len: usize) -> io::Result<Shared> {
        // Where the disk is full, this has to be known now: later it would be a SIGBUS.
        // SAFETY: the call takes numbers only; the descriptor is our own.
        let error = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len as i64) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory of this process.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Shared { start, len })
    }

    fn at<T>(&self, offset: u64) -> *mut T {
        let offset = offset as usize;
        assert!(
            offset + size_of::<T>() <= self.len && offset.is_multiple_of(align_of::<T>()),
            "outside of it"
        );
        // SAFETY: the range lies inside the mapping.
        unsafe { self.start.as_ptr().add(offset).cast() }
    }

    pub(crate) fn u32(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: in bounds and aligned; any bytes are a valid value; the mapping lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }

    pub(crate) fn u64(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }
    }

    pub(crate) fn word(&self, offset: u64) -> u64 {
        self.u64(offset).load(Ordering::Acquire)
    }

    pub(crate) fn set_word(&self, offset: u64, value: u64) {
        self.u64(offset).store(value, Ordering::Release);
    }

    /// A copy of a range that nobody writes to at the time.
    pub(crate) fn copy(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.copy_to(offset, len, &mut bytes);
        bytes
    }

    /// As [`Shared::copy`], into a buffer, in place of what it holds.
    pub(crate) fn copy_to(&self, offset: u64, len: usize, bytes: &mut Vec<u8>) {
        assert!(offset as usize + len <= self.len, "outside of it");
        bytes.clear();
        bytes.reserve(len);
        // SAFETY: source and target have `len` bytes and do not overlap; the bytes are initialised by the copy.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.as_ptr().add(offset as usize), bytes.as_mut_ptr(), len);
            bytes.set_len(len);
        }
    }

    /// Writes to a range that nobody else uses at the time.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        assert!(offset as usize + bytes.len() <= self.len, "outside of it");
        // SAFETY: as in `copy`.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.start.as_ptr().add(offset as usize),
                bytes.len(),
            );
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `create` and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Wakes a thread that waits for a word of shared memory to change (futex(2), `FUTEX_WAKE`).
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: the kernel only uses the address of the word, to find who waits there.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}
