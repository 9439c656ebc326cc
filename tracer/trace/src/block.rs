//! Blocks: the unit of compression and of damage. A file of the trace is a sequence of blocks, each a fixed header
//! and a zstd frame; whatever follows the first bad block is not trusted.

/// A block is closed when its raw contents reach this size.
pub(crate) const BLOCK_RAW_BYTES_GOAL: usize = 256 << 10;

/// No block's raw contents are larger: a bound for readers of damaged files.
pub const BLOCK_RAW_BYTES_MAX: usize = 8 << 20;

/// No single piece that the recorder appends is larger, so that a block never outgrows its bound.
pub const DATA_PIECE_BYTES_MAX: usize = 4 << 20;

/// Size of the encoded [`BlockHeader`], in bytes.
pub(crate) const HEADER_BYTES: usize = 28;

const MAGIC: [u8; 4] = *b"VDB1";

/// The mark of a block of calls ([`crate::calls`]).
const MAGIC_CALLS: [u8; 4] = *b"VDC1";

/// Header of a block. All numbers are little-endian on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    /// Number of the first event, or offset of the first byte of data.
    pub(crate) first: u64,
    /// Number of events, or 0 for data.
    pub(crate) count: u32,
    /// It holds a run of calls.
    pub(crate) calls: bool,
    /// Bytes before compression.
    pub(crate) raw_len: u32,
    /// Bytes after compression.
    pub(crate) packed_len: u32,
}

/// Makes blocks. What it works with is kept from block to block: fresh memory would cost more than the compression of what
/// compresses badly.
pub(crate) struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    level: i32,
    packed: Vec<u8>,
    block: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(level: i32) -> std::io::Result<Packer> {
        let compressor = zstd::bulk::Compressor::new(level)?;
        Ok(Packer { compressor, level, packed: Vec::new(), block: Vec::new() })
    }

    /// Changes the compression level for the blocks to come.
    pub(crate) fn set_level(&mut self, level: i32) -> std::io::Result<()> {
        if level != self.level {
            self.compressor.set_compression_level(level)?;
            self.level = level;
        }
        Ok(())
    }

    /// Compresses `raw`, a run of calls or not, and puts the header before it.
    pub(crate) fn pack(&mut self, calls: bool, first: u64, count: u32, raw: &[u8]) -> std::io::Result<&[u8]> {
        assert!(raw.len() <= BLOCK_RAW_BYTES_MAX, "a block outgrew its bound");
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.compressor.compress_to_buffer(raw, &mut self.packed)?;
        let out = &mut self.block;
        out.clear();
        out.extend_from_slice(if calls { &MAGIC_CALLS } else { &MAGIC });
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.packed.len() as u32).to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(out);
        crc.update(&self.packed);
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        out.extend_from_slice(&self.packed);
        Ok(out)
    }
}

/// Reads a header. `Err` says what is wrong with it.
pub(crate) fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Result<BlockHeader, &'static str> {
    let calls = bytes[..4] == MAGIC_CALLS;
    if bytes[..4] != MAGIC && !calls {
        return Err("a block does not start with its mark");
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let header = BlockHeader {
        first: u64::from_le_bytes(bytes[4..12].try_into().expect("eight bytes")),
        count: word(12),
        calls,
        raw_len: word(16),
        packed_len: word(20),
    };
    let packed_max = zstd::zstd_safe::compress_bound(BLOCK_RAW_BYTES_MAX);
    if header.raw_len as usize > BLOCK_RAW_BYTES_MAX || header.packed_len as usize > packed_max {
        return Err("a block claims an impossible size");
    }
    Ok(header)
}

/// Checks the sum over header and contents.
pub(crate) fn check_sum(head: &[u8; HEADER_BYTES], packed: &[u8]) -> Result<(), &'static str> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..HEADER_BYTES - 4]);
    crc.update(packed);
    let agrees = head[HEADER_BYTES - 4..] == crc.finalize().to_le_bytes();
    if agrees { Ok(()) } else { Err("a block's checksum does not agree") }
}

/// Checks the sum over header and contents, and decompresses.
pub(crate) fn decode_body(
    head: &[u8; HEADER_BYTES],
    header: &BlockHeader,
    packed: &[u8],
) -> Result<Vec<u8>, &'static str> {
    check_sum(head, packed)?;
    let raw =
        zstd::bulk::decompress(packed, header.raw_len as usize).map_err(|_| "a block does not decompress")?;
    if raw.len() != header.raw_len as usize { Err("a block has the wrong length") } else { Ok(raw) }
}
