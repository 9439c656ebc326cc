//! Memory of another process. Reads go through process_vm_readv(2); writes through `/proc/PID/mem`, which also reaches
//! pages that the process itself may not write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const PAGE: usize = 4096;

/// The memory of one process, by the id of any of its threads.
pub(crate) struct Memory {
    thread: i32,
    file: File,
}

impl Memory {
    /// Opens the memory of a process that this one traces.
    pub(crate) fn open(thread: i32) -> io::Result<Memory> {
        let file = File::options().read(true).write(true).open(format!("/proc/{thread}/mem"))?;
        Ok(Memory { thread, file })
    }

    /// The process, by one of its threads.
    pub(crate) fn process(&self) -> i32 {
        self.thread
    }

    /// Fills `buffer` from `address`.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let done = self.read_some(address, buffer)?;
        if done == buffer.len() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EFAULT)) }
    }

    /// Fills as much of `buffer` as is mapped from `address` on, and says how much.
    pub(crate) fn read_some(&self, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
        // SAFETY: the local vector describes a live buffer; the remote one is checked by the kernel.
        let done = unsafe { libc::process_vm_readv(self.thread, &local, 1, &remote, 1, 0) };
        if done > 0 {
            return Ok(done as usize);
        }
        // Memory without read permission (execute-only, guard pages) can still be read through the file.
        self.file.read_at(buffer, address).map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))
    }

    /// Reads pages at these rising addresses, at most `IOV_MAX` of `<limits.h>`, into `buffer`, one after the other, with one
    /// call. Returns how many were read before the first that cannot be.
    pub(crate) fn read_pages(&self, pages: &[u64], buffer: &mut [u8]) -> usize {
        let mut remote: Vec<libc::iovec> = Vec::with_capacity(pages.len());
        for page in pages {
            match remote.last_mut() {
                Some(last) if last.iov_base as u64 + last.iov_len as u64 == *page => last.iov_len += PAGE,
                _ => remote.push(libc::iovec { iov_base: *page as *mut libc::c_void, iov_len: PAGE }),
            }
        }
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: the local vector describes a live buffer; the remote ones are checked by the kernel.
        let done = unsafe {
            libc::process_vm_readv(self.thread, &local, 1, remote.as_ptr(), remote.len() as libc::c_ulong, 0)
        };
        usize::try_from(done).unwrap_or(0) / PAGE
    }

    /// Writes `bytes` at `address`, whatever the page's protection.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, address)
    }

    /// A fixed number of bytes.
    pub(crate) fn array<const N: usize>(&self, address: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// A 64-bit word.
    pub(crate) fn word(&self, address: u64) -> io::Result<u64> {
        self.array(address).map(u64::from_ne_bytes)
    }
}

impl syscalls::ReadMemory for Memory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> bool {
        Memory::read(self, addr, buf).is_ok()
    }
}
