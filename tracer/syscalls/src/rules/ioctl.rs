//! `ioctl(2)`: by command where one is known, by the direction and size coded in its number where not.
//!
//! Numbers made with `_IOR` and `_IOWR` say how many bytes the kernel writes at the argument. Numbers from
//! before that scheme say nothing, and some numbers lie; both kinds are in the table of known commands.
//! Drivers whose structures hold pointers to further memory (graphics, video, USB, …) are never known.
//!
//! Known commands are reported on failure too, since some write their structure back whatever the
//! outcome; only `ENOTTY` (not such a device), `EBADF` and `ENOSYS` rule that out.

use super::command;
use super::ioctl_commands;
use crate::outcome::Outcome;
use crate::writes::Call;

/// The argument of `ioctl`.
const ARG: usize = 2;

/// `_IOC_READ` of `asm-generic/ioctl.h`: the kernel writes.
const DIRECTION_READ: u64 = 2;

/// Reports by command.
pub(super) fn ioctl(call: &mut Call<'_>) {
    const EBADF: i32 = 9;
    const ENOTTY: i32 = 25;
    const ENOSYS: i32 = 38;
    if matches!(call.outcome, Outcome::Failed(EBADF | ENOTTY | ENOSYS)) {
        return;
    }
    let request = call.arg(1);
    if structured(call, request) {
        return;
    }
    match ioctl_commands::find(request) {
        Some(command) => command::effect(call, command.effect),
        None => decode(call, request),
    }
}

/// Commands with arrays or pointers in their structures. Returns whether the command is one of them.
fn structured(call: &mut Call<'_>, request: u64) -> bool {
    let arg = call.args[ARG];
    let word = |call: &Call<'_>, offset| call.u32_at(arg.wrapping_add(offset)).map_or(0, u64::from);
    match request {
        // SIOCGIFCONF: struct ifconf { int len; void *buf; }
        0x8912 => {
            let (len, buf) = (word(call, 0), call.u64_at(arg.wrapping_add(8)).unwrap_or(0));
            call.report(arg, 16);
            call.report(buf, len);
        }
        // FS_IOC_FIEMAP: 32 bytes, then fm_mapped_extents of 56 bytes.
        0xc020_660b => call.report(arg, 32 + word(call, 20).min(word(call, 24)) * 56),
        // FIDEDUPERANGE: 24 bytes, then dest_count (a u16) of 32 bytes.
        0xc018_9436 => call.report(arg, 24 + (word(call, 16) & 0xffff) * 32),
        // FS_IOC_GETFSMAP: 192 bytes, then fmh_entries of 64 bytes; with a count of 0 they are only counted.
        0xc0c0_583b => call.report(arg, 192 + word(call, 8).min(word(call, 12)) * 64),
        // BLKREPORTZONE: 16 bytes, then nr_zones of 64 bytes.
        0xc010_1282 => call.report(arg, 16 + word(call, 8) * 64),
        // PERF_EVENT_IOC_QUERY_BPF: the room, the count, then ids.
        0xc008_240a => call.report(arg, 8 + word(call, 0) * 4),
        // FS_IOC_GET_ENCRYPTION_POLICY_EX: a u64 length, then the policy.
        0xc009_6616 => call.report(arg, 8 + word(call, 0)),
        // FS_IOC_MEASURE_VERITY: two u16, the second of which is the digest's length.
        0xc004_6686 => call.report(arg, 4 + (word(call, 0) >> 16)),
        // FS_IOC_READ_VERITY_METADATA: the buffer is the fourth word of 64 bits.
        0xc028_6687 => {
            let buffer = call.u64_at(arg.wrapping_add(24)).unwrap_or(0);
            call.report(buffer, call.returned());
        }
        // PAGEMAP_SCAN: 96 bytes with a pointer to an array of 24 bytes an element, `ret` of them.
        0xc060_6610 => {
            let (array, room) = (call.u64_at(arg.wrapping_add(40)), call.u64_at(arg.wrapping_add(48)));
            call.report(arg, 96);
            call.report(array.unwrap_or(0), call.returned().min(room.unwrap_or(0)).saturating_mul(24));
        }
        // PROCMAP_QUERY: 104 bytes with pointers to a name and a build id.
        0xc068_6611 => {
            let [name, build_id] = [88, 96].map(|at| call.u64_at(arg.wrapping_add(at)).unwrap_or(0));
            let (name_len, build_id_len) = (word(call, 80), word(call, 84));
            call.report(arg, 104);
            call.report(name, name_len);
            call.report(build_id, build_id_len);
        }
        // Device mapper: the buffer's length is the fourth word.
        0xc138_fd00..=0xc138_fdff => call.report(arg, word(call, 12)),
        // SG_IO: struct sg_io_hdr with data, or a vector of buffers, and sense bytes.
        0x2285 => scsi(call, arg),
        _ => return false,
    }
    true
}

/// `struct sg_io_hdr` (`include/scsi/sg.h`): 88 bytes; transfers from the device write the data.
fn scsi(call: &mut Call<'_>, arg: u64) {
    let Some(header) = call.bytes_at::<88>(arg) else { return call.unknown() };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let (sense_len, vector_count) = (header[9], u16::from_le_bytes([header[10], header[11]]));
    call.report(arg, 88);
    call.report(long(32), u64::from(sense_len));
    if vector_count == 0 {
        call.report(long(16), u64::from(word(12)));
    } else {
        super::structures::iovec(call, long(16), u64::from(vector_count), u64::from(word(12)));
    }
}

/// Types (the second byte) whose structures are known to hold pointers: the argument is reported, and more
/// may have been written.
const TYPES_WITH_POINTERS: &[u8] = &[
    b'd', // graphics
    b'V', // video
    b'U', // USB and sound control
    b'A', b'C', // sound
    b'B', b'P', // frame buffers, parallel and PCI
    b'N', // NVMe
    b'F', b'K', // nVidia and AMD compute
    b'H', // HID and Bluetooth
    b'M', // flash memory and RAID
    b'b', // binder
    b'i', // InfiniBand and others
    b'v', // virtualisation and others
    0x89, // sockets: bonding, bridging, private
    0x8b, // wireless
    0x93, // autofs
    0x94, // btrfs
    0x98, // mm
    0xae, // KVM
    0xaf, // vhost
    0xb6, 0xb8, // media
    0xe5, // FUSE
];

/// An unknown number: what its direction and size say.
fn decode(call: &mut Call<'_>, request: u64) {
    let (direction, size, device) = (request >> 30 & 3, request >> 16 & 0x3fff, (request >> 8) as u8);
    if direction & DIRECTION_READ != 0 {
        call.report(call.args[ARG], size);
    }
    // _IOC_NONE with a size of 0 is what numbers from before the scheme look like.
    if direction == 0 || TYPES_WITH_POINTERS.contains(&device) {
        call.unknown();
    }
}
