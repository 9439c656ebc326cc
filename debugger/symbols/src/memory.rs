//! The one door to a process's memory: live, recorded or from a core file, the caller says which.
//! Nothing here knows ptrace; helpers bound every read by a named limit.

/// The longest C string or text body that is read to be shown.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;

/// The bytes at an address could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot access memory at address {addr:#x}")]
pub struct Unreadable {
    /// The first address of the read that failed.
    pub addr: u64,
}

/// Reads the memory of one address space.
pub trait Memory {
    /// Fills the whole of `buf` from `addr`, or reads nothing and says so.
    ///
    /// # Errors
    /// [`Unreadable`] when any byte of the range is not mapped or not recorded.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Unreadable>;
}

/// A memory in which nothing is readable: for questions about symbols alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMemory;

impl Memory for NoMemory {
    fn read(&self, addr: u64, _: &mut [u8]) -> Result<(), Unreadable> {
        Err(Unreadable { addr })
    }
}

/// Reads `size` (at most 8) bytes as a little-endian number.
pub(crate) fn read_uint(memory: &dyn Memory, addr: u64, size: usize) -> Result<u64, Unreadable> {
    let mut bytes = [0; 8];
    let part = bytes.get_mut(..size).ok_or(Unreadable { addr })?;
    memory.read(addr, part)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Reads a 64-bit word.
pub(crate) fn read_u64(memory: &dyn Memory, addr: u64) -> Result<u64, Unreadable> {
    read_uint(memory, addr, 8)
}

/// Reads `size` bytes into a new buffer.
pub(crate) fn read_bytes(memory: &dyn Memory, addr: u64, size: usize) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = vec![0; size];
    memory.read(addr, &mut bytes)?;
    Ok(bytes)
}

/// Reads up to a NUL or `limit` bytes; the flag tells whether the NUL was found.
/// Steps never cross a 64-byte line, so a string that ends just before an unmapped page is read whole.
pub(crate) fn read_cstr(memory: &dyn Memory, addr: u64, limit: usize) -> Result<(Vec<u8>, bool), Unreadable> {
    let limit = limit.min(TEXT_BYTES_MAX);
    let mut text = Vec::new();
    while text.len() < limit {
        let at = addr.wrapping_add(text.len() as u64);
        let step = (64 - (at % 64) as usize).min(limit - text.len());
        let chunk = match read_bytes(memory, at, step) {
            Ok(chunk) => chunk,
            Err(error) if text.is_empty() => return Err(error),
            Err(_) => return Ok((text, false)),
        };
        if let Some(end) = chunk.iter().position(|&byte| byte == 0) {
            text.extend_from_slice(chunk.get(..end).unwrap_or_default());
            return Ok((text, true));
        }
        text.extend(chunk);
    }
    Ok((text, false))
}
