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

/// Makes blocks, in memory that is used again: for large blocks getting it from the kernel would cost as much as the
/// compression.
pub(crate) struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Packer {
    /// With a compression level of zstd's.
    pub(crate) fn new(level: i32) -> std::io::Result<Packer> {
        Ok(Packer { compressor: zstd::bulk::Compressor::new(level)?, out: Vec::new() })
    }

    /// Compresses `raw` and puts the header before it.
    pub(crate) fn pack(&mut self, first: u64, count: u32, raw: &[u8]) -> std::io::Result<&[u8]> {
        self.pack_marked(MAGIC, first, count, raw)
    }

    /// As [`Packer::pack`], for a run of calls.
    pub(crate) fn pack_calls(&mut self, first: u64, count: u32, raw: &[u8]) -> std::io::Result<&[u8]> {
        self.pack_marked(MAGIC_CALLS, first, count, raw)
    }

    fn pack_marked(&mut self, magic: [u8; 4], first: u64, count: u32, raw: &[u8]) -> std::io::Result<&[u8]> {
        /// Length of the header without its checksum.
        const CHECKED_BYTES: usize = HEADER_BYTES - 4;
        assert!(raw.len() <= BLOCK_RAW_BYTES_MAX, "a block outgrew its bound");
        let room = HEADER_BYTES + zstd::zstd_safe::compress_bound(raw.len());
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        let (header, packed) = self.out.split_at_mut(HEADER_BYTES);
        let len = self.compressor.compress_to_buffer(raw, packed)?;
        let words = [&first.to_le_bytes()[..], &count.to_le_bytes()];
        let lens = [(raw.len() as u32).to_le_bytes(), (len as u32).to_le_bytes()];
        let fields = [&magic[..], &words.concat(), &lens.concat()].concat();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&fields);
        crc.update(&packed[..len]);
        header[..CHECKED_BYTES].copy_from_slice(&fields);
        header[CHECKED_BYTES..].copy_from_slice(&crc.finalize().to_le_bytes());
        Ok(&self.out[..HEADER_BYTES + len])
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
