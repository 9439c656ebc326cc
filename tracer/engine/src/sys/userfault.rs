//! Which pages of a process were written: userfaultfd(2) in its asynchronous write-protect mode, read with the
//! `PAGEMAP_SCAN` ioctl (Documentation/admin-guide/mm/pagemap.rst). Soft-dirty bits are configured out on many kernels.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `UFFD_USER_MODE_ONLY | O_CLOEXEC | O_NONBLOCK`: what an ordinary user may ask for.
pub(crate) const OPEN_FLAGS: u64 = 1 | (libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;

const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFD_API: u64 = 0xaa;
/// `UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_ASYNC`.
const FEATURES: u64 = 1 | 1 << 12 | 1 << 15;
const UFFDIO_WRITEPROTECT: u64 = 0xc018_aa06;
const REGISTER_MODE_WP: u64 = 2;
const PAGEMAP_SCAN: u64 = 0xc060_6610;
/// `PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC`.
const SCAN_AND_PROTECT: u64 = 1 | 2;
const PAGE_IS_WRITTEN: u64 = 2;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;

/// How many ranges one scan call returns.
const RANGES_PER_CALL: usize = 512;

/// The arguments of `PAGEMAP_SCAN` (`struct pm_scan_arg` of `<linux/fs.h>`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    ranges: u64,
    ranges_len: u64,
    pages_max: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ScannedRange {
    start: u64,
    end: u64,
    categories: u64,
}

/// Calls `each` with every range of `start..end` that holds memory of the process's own: present or swapped out, and not
/// merely a view of a file. With `shared`, views of files count too.
pub(crate) fn pages_in_use(
    process: i32,
    start: u64,
    end: u64,
    shared: bool,
    each: &mut dyn FnMut(u64, u64),
) -> io::Result<()> {
    let pagemap = File::open(format!("/proc/{process}/pagemap"))?;
    let not_file = if shared { 0 } else { PAGE_IS_FILE };
    let how = Scan {
        category_inverted: not_file,
        category_mask: not_file,
        category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        return_mask: PAGE_IS_PRESENT,
        ..Scan::default()
    };
    scan_pages(&pagemap, start, end, how, each)
}

/// Write tracking of one address space.
pub(crate) struct WriteTracker {
    userfault: OwnedFd,
    pagemap: File,
}

impl WriteTracker {
    /// Takes over the userfaultfd `descriptor` of a traced process, which the process may close afterwards.
    pub(crate) fn adopt(process: i32, descriptor: i32) -> io::Result<WriteTracker> {
        let pidfd = descriptor_of(libc::SYS_pidfd_open, [i64::from(process), 0, 0])?;
        let get = [i64::from(pidfd.as_raw_fd()), i64::from(descriptor), 0];
        let userfault = descriptor_of(libc::SYS_pidfd_getfd, get)?;
        let mut api = [UFFD_API, FEATURES, 0u64];
        control(&userfault, UFFDIO_API, api.as_mut_ptr().cast())?;
        let pagemap = File::open(format!("/proc/{process}/pagemap"))?;
        Ok(WriteTracker { userfault, pagemap })
    }

    /// Begins to track a range. Its pages count as written until the next scan.
    pub(crate) fn track(&self, start: u64, end: u64) -> io::Result<()> {
        let mut register = [start, end - start, REGISTER_MODE_WP, 0u64];
        control(&self.userfault, UFFDIO_REGISTER, register.as_mut_ptr().cast())
    }

    /// Takes the protection from a range, so that writes to it cost nothing. Its pages count as written until the next
    /// scan.
    pub(crate) fn release(&self, start: u64, end: u64) -> io::Result<()> {
        let mut unprotect = [start, end - start, 0u64];
        control(&self.userfault, UFFDIO_WRITEPROTECT, unprotect.as_mut_ptr().cast())
    }

    /// Calls `each` with every range of pages written since the last scan, and protects them again.
    pub(crate) fn scan(&self, start: u64, end: u64, each: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
        let how = Scan {
            flags: SCAN_AND_PROTECT,
            category_mask: PAGE_IS_WRITTEN,
            return_mask: PAGE_IS_WRITTEN,
            ..Scan::default()
        };
        scan_pages(&self.pagemap, start, end, how, each)
    }
}

fn scan_pages(
    pagemap: &File,
    start: u64,
    end: u64,
    how: Scan,
    each: &mut dyn FnMut(u64, u64),
) -> io::Result<()> {
    let mut at = start;
    let mut ranges = [ScannedRange::default(); RANGES_PER_CALL];
    while at < end {
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start: at,
            end,
            ranges: ranges.as_mut_ptr() as u64,
            ranges_len: ranges.len() as u64,
            ..how
        };
        let found = control_count(pagemap, PAGEMAP_SCAN, (&raw mut scan).cast())?;
        ranges[..found].iter().for_each(|range| each(range.start, range.end));
        if scan.walk_end <= at {
            break;
        }
        at = scan.walk_end;
    }
    Ok(())
}

fn descriptor_of(call: i64, args: [i64; 3]) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open and pidfd_getfd take numbers only.
    let result = unsafe { libc::syscall(call, args[0], args[1], args[2]) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

fn control(fd: &impl AsRawFd, kind: u64, argument: *mut libc::c_void) -> io::Result<()> {
    control_count(fd, kind, argument).map(drop)
}

fn control_count(fd: &impl AsRawFd, kind: u64, argument: *mut libc::c_void) -> io::Result<usize> {
    // SAFETY: each caller passes the structure that its request reads and writes, alive for the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), kind, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}
