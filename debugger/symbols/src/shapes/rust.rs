//! Shapes of Rust's library types (`alloc`, `core`, `std` and hashbrown), as rustc describes them.

use super::items::{self, Items};
use super::{Shape, first_number, first_pointer, nested, number_in, short, template};
use crate::location::Missing;
use crate::memory::Memory;
use crate::module::ModuleDie;
use crate::types::{Encoding, Kind, Record, Type};
use crate::value::Value;
use std::sync::Arc;

type Shaped = Result<Option<Shape>, Missing>;

/// The shape of a Rust record.
pub(super) fn shape(value: &Value, record: &Record, memory: &dyn Memory) -> Shaped {
    let name = record.name.as_str();
    if let (Some(data), Some(len)) = (value.field("data_ptr", memory), value.field("length", memory)) {
        return fat(name, &data, &len, memory);
    }
    if let (Some(data), Some(table)) = (value.field("pointer", memory), value.field("vtable", memory)) {
        let Some(inner) = concrete(&value.ty, &data, &table, memory)? else { return Ok(None) };
        let label = if name.starts_with("alloc::boxed::Box<") { "Box" } else { "&dyn" };
        return Ok(Some(Shape::boxed(label, inner)));
    }
    let head = name.split('<').next().unwrap_or(name);
    let (path, last) = head.rsplit_once("::").unwrap_or(("", head));
    match path.split("::").next() {
        Some("alloc") => allocated(value, (name, last), memory),
        Some("core") => of_core(value, (path, last), memory),
        Some("std") => of_std(value, (path, last), memory),
        Some("hashbrown") if matches!(last, "HashMap" | "HashSet") => table(value, last, memory),
        _ => Ok(None),
    }
}

/// `&str`, `&[T]`, `Box<[T]>`, `&Path`: a pointer and a length.
fn fat(name: &str, data: &Value, len: &Value, memory: &dyn Memory) -> Shaped {
    let (address, len) = (data.as_u64(memory)?, len.as_u64(memory)?);
    let inner = name.trim_start_matches('&').trim_start_matches("mut ");
    let inner = inner.strip_prefix("alloc::boxed::Box<").unwrap_or(inner);
    let inner = inner.split([',', '>']).next().unwrap_or(inner);
    match inner.rsplit("::").next().unwrap_or(inner) {
        "str" | "OsStr" | "Path" => return Ok(Some(Shape::Text { address, len })),
        // The NUL at its end is not part of the text.
        "CStr" => return Ok(Some(Shape::Text { address, len: len.saturating_sub(1) })),
        _ => {}
    }
    let Kind::Pointer { target, .. } = data.ty.kind() else { return Ok(None) };
    let label = short(name).replace(", Global", "");
    Ok(Some(Shape::Sequence { label, len, items: Items::Row { element: target, address } }))
}

fn sequence(value: &Value, memory: &dyn Memory) -> Shaped {
    let parts = || Some((value.field("len", memory)?, value.field("buf", memory)?, template(&value.ty, 0)?));
    let Some((len, buffer, element)) = parts() else { return Ok(None) };
    let Some(pointer) = first_pointer(&buffer, memory, 0) else { return Ok(None) };
    let (address, len) = (pointer.as_u64(memory)?, len.as_u64(memory)?);
    Ok(Some(Shape::Sequence { label: "Vec".into(), len, items: Items::Row { element, address } }))
}

fn text(sequence: Option<Shape>) -> Option<Shape> {
    match sequence {
        Some(Shape::Sequence { len, items, .. }) => {
            items.row().map(|(_, address)| Shape::Text { address, len })
        }
        _ => None,
    }
}

/// A sequence under another name.
fn labelled(label: &str, shape: Option<Shape>) -> Option<Shape> {
    match shape {
        Some(Shape::Sequence { len, items, .. }) => Some(Shape::Sequence { label: label.into(), len, items }),
        other => other,
    }
}

fn allocated(value: &Value, (name, last): (&str, &str), memory: &dyn Memory) -> Shaped {
    let within = |field: &str| value.field(field, memory);
    match last {
        "String" => match within("vec") {
            Some(inner) => Ok(text(sequence(&inner, memory)?)),
            None => Ok(None),
        },
        "Vec" => sequence(value, memory),
        "VecDeque" => ring(value, memory),
        "BTreeMap" => btree(value, "BTreeMap", memory),
        "BTreeSet" => match within("map") {
            Some(map) => btree(&map, "BTreeSet", memory),
            None => Ok(None),
        },
        "BinaryHeap" => match within("data") {
            Some(data) => Ok(labelled("BinaryHeap", sequence(&data, memory)?)),
            None => Ok(None),
        },
        "LinkedList" => chain(value, memory),
        "CString" => match within("inner") {
            Some(inner) => Ok(match super::shape(&inner, memory)? {
                Some(Shape::Sequence { len, items, .. }) => {
                    items.row().map(|(_, address)| Shape::Text { address, len: len.saturating_sub(1) })
                }
                _ => None,
            }),
            None => Ok(None),
        },
        "Rc" | "Arc" | "Weak" => counted(value, (name, last), memory),
        _ => Ok(None),
    }
}

fn of_core(value: &Value, (path, last): (&str, &str), memory: &dyn Memory) -> Shaped {
    let within = |field: &str| value.field(field, memory);
    let same = |inner: Option<Value>| Ok(inner.map(Shape::Same));
    match (path, last) {
        ("core::cell", "Cell") => Ok(cell(value, memory).map(|inner| Shape::boxed("Cell", inner))),
        ("core::cell", "UnsafeCell" | "SyncUnsafeCell") => same(within("value")),
        ("core::cell", "RefCell") => {
            let borrows = number_in(value, "borrow", memory)?.unwrap_or(0) as i64;
            let note = match borrows {
                0 => String::new(),
                1.. => format!("borrowed: {borrows}"),
                _ => "borrowed mutably".into(),
            };
            Ok(cell(value, memory).map(|value| Shape::Boxed { label: "RefCell".into(), value, note }))
        }
        ("core::cell", "Ref" | "RefMut") => match within("value") {
            Some(inner) => Ok(first_pointer(&inner, memory, 0)
                .map(|pointer| pointer.pointee(memory))
                .transpose()?
                .flatten()
                .map(|target| Shape::boxed(last, target))),
            None => Ok(None),
        },
        ("core::cell::once", "OnceCell") => {
            let Some(inner) = within("inner").and_then(|inner| inner.field("value", memory)) else {
                return Ok(None);
            };
            Ok(Some(match inner.field("0", memory) {
                Some(set) => Shape::boxed("OnceCell", set),
                None => Shape::Words("OnceCell(uninitialised)".into()),
            }))
        }
        ("core::sync::atomic", name) if name.starts_with("Atomic") => {
            let Some(inner) = within("v") else { return Ok(None) };
            let number = first_number(&inner, memory, 0);
            if name == "AtomicBool" {
                let truth = Type::scalar("bool", Encoding::Bool, 1);
                return same(inner.address.map(|address| Value::at(truth, address)));
            }
            same(number.or_else(|| first_pointer(&inner, memory, 0)))
        }
        ("core::time", "Duration") => {
            let parts = (number_in(value, "secs", memory)?, number_in(value, "nanos", memory)?);
            let (Some(seconds), Some(nanos)) = parts else { return Ok(None) };
            Ok(Some(Shape::Words(duration_text(seconds, nanos))))
        }
        ("core::num::nonzero" | "core::num::wrapping" | "core::num::saturating", _) => {
            same(first_number(value, memory, 0))
        }
        ("core::num::niche_types", _) => same(first_number(value, memory, 0)),
        ("core::ptr::non_null", "NonNull") | ("core::ptr::unique", "Unique") => {
            same(within("pointer").filter(|inner| inner.ty.size() == 8))
        }
        ("core::mem::manually_drop", "ManuallyDrop") => same(within("value")),
        ("core::mem::maybe_dangling", "MaybeDangling") => same(within("0")),
        ("core::mem::maybe_uninit", "MaybeUninit") => {
            let note = "may be uninitialised".to_owned();
            let inner = within("value");
            Ok(inner.map(|value| Shape::Boxed { label: "MaybeUninit".into(), value, note }))
        }
        ("core::marker", "PhantomData") => Ok(Some(Shape::Words("PhantomData".into()))),
        ("core::pin", "Pin") => {
            let pointer = within("pointer").or_else(|| within("__pointer"));
            Ok(pointer.map(|pointer| Shape::boxed("Pin", pointer)))
        }
        ("core::ops::range", _) => Ok(range(value, last, memory)),
        ("core::net::ip_addr", "Ipv4Addr" | "Ipv6Addr") => {
            let Some(octets) = within("octets") else { return Ok(None) };
            let bytes = octets.bytes(memory)?;
            let v4 = <[u8; 4]>::try_from(&*bytes).map(|octets| std::net::Ipv4Addr::from(octets).to_string());
            let v6 = <[u8; 16]>::try_from(&*bytes).map(|octets| std::net::Ipv6Addr::from(octets).to_string());
            Ok(v4.or(v6).ok().map(Shape::Words))
        }
        _ => Ok(None),
    }
}

fn of_std(value: &Value, (path, last): (&str, &str), memory: &dyn Memory) -> Shaped {
    let within = |field: &str| value.field(field, memory);
    match last {
        "OsString" | "PathBuf" => match nested(value, "alloc::vec::Vec<u8", memory, 0) {
            Some(inner) => Ok(text(sequence(&inner, memory)?)),
            None => Ok(None),
        },
        "HashMap" | "HashSet" if path.starts_with("std::collections") => match within("base") {
            Some(base) => table(&base, last, memory),
            None => Ok(None),
        },
        "Mutex" | "RwLock" | "ReentrantLock" if path.starts_with("std::sync") => {
            let Some(data) = within("data") else { return Ok(None) };
            let mut notes = Vec::new();
            if number_in(value, "inner", memory)?.unwrap_or(0) != 0 {
                notes.push("locked");
            }
            if number_in(value, "poison", memory)?.unwrap_or(0) != 0 {
                notes.push("poisoned");
            }
            let inner = data.field("value", memory).unwrap_or(data);
            Ok(Some(Shape::Boxed { label: last.into(), value: inner, note: notes.join(", ") }))
        }
        "MutexGuard" | "RwLockReadGuard" | "RwLockWriteGuard" if path.starts_with("std::sync") => {
            guarded(value, last, memory)
        }
        "OnceLock" | "LazyLock" if path.starts_with("std::sync") => once(value, last, memory),
        "Instant" | "SystemTime" if path == "std::time" => {
            let Some(time) = nested(value, "std::sys::pal::unix::time::Timespec", memory, 0)
                .or_else(|| nested(value, "std::sys::time::unix::Timespec", memory, 0))
            else {
                return Ok(None);
            };
            let parts = (number_in(&time, "tv_sec", memory)?, number_in(&time, "tv_nsec", memory)?);
            let (Some(seconds), Some(nanos)) = parts else { return Ok(None) };
            Ok(Some(Shape::Words(match last {
                "Instant" => format!("Instant({})", duration_text(seconds, nanos)),
                _ => date_text(seconds as i64, nanos),
            })))
        }
        _ => Ok(None),
    }
}

/// What is in a cell: `value.value`.
fn cell(value: &Value, memory: &dyn Memory) -> Option<Value> {
    value.field("value", memory)?.field("value", memory)
}

/// `Rc`, `Arc` and their `Weak`: a pointer to the counts and the value behind them.
fn counted(value: &Value, (name, last): (&str, &str), memory: &dyn Memory) -> Shaped {
    let Some(pointer) = value.field("ptr", memory) else { return Ok(None) };
    let shared = name.starts_with("alloc::sync::");
    // One weak count belongs to all strong ones.
    let note = |strong: u64, weak: u64| {
        let weak = weak.saturating_sub(1);
        match (strong, weak) {
            (1, 0) => String::new(),
            (_, 0) => format!("strong: {strong}"),
            _ => format!("strong: {strong}, weak: {weak}"),
        }
    };
    let label = match (last, shared) {
        ("Weak", true) => "sync::Weak",
        _ => last,
    };
    let address = pointer_in(&pointer, memory)?;
    let counts = |address: u64| -> Result<(u64, u64), Missing> {
        Ok((items::word(memory, address)?, items::word(memory, address.wrapping_add(8))?))
    };
    let Some(address) = address else { return Ok(None) };
    if last == "Weak" && address == u64::MAX {
        return Ok(Some(Shape::Words(format!("{label}(to nothing)"))));
    }
    let (strong, weak) = counts(address)?;
    if last == "Weak" && strong == 0 {
        return Ok(Some(Shape::Words(format!("{label}(dropped)"))));
    }
    let inner = match counted_value(&pointer, address, memory)? {
        Some(inner) => inner,
        None => return Ok(None),
    };
    match inner {
        Shape::Same(value) => Ok(Some(Shape::Boxed { label: label.into(), value, note: note(strong, weak) })),
        other => Ok(Some(other)),
    }
}

/// The address that a thin or fat pointer holds.
fn pointer_in(pointer: &Value, memory: &dyn Memory) -> Result<Option<u64>, Missing> {
    first_pointer(pointer, memory, 0).map(|pointer| pointer.as_u64(memory)).transpose()
}

/// The value behind the counts: of a known type, a text, a slice, or of the type that a vtable belongs to.
fn counted_value(pointer: &Value, address: u64, memory: &dyn Memory) -> Shaped {
    /// The two counts.
    const COUNTS_BYTES: u64 = 16;
    let find = |name| find_field(pointer, name, memory, 0);
    if let Some(len) = find("length") {
        let len = len.as_u64(memory)?;
        let name = pointer.ty.name();
        let Some(data) = first_pointer(pointer, memory, 0) else { return Ok(None) };
        if name.contains("<str>") || name.contains("::Path>") || name.contains("::OsStr>") {
            return Ok(Some(Shape::Text { address: address.wrapping_add(COUNTS_BYTES), len }));
        }
        let Kind::Pointer { target, .. } = data.ty.kind() else { return Ok(None) };
        let Some(element) = template(&target, 0).and_then(|slice| element_of(&slice)) else {
            return Ok(None);
        };
        let start = address.wrapping_add(items::behind_links(COUNTS_BYTES, &element));
        let label = "Rc<[T]>".to_owned();
        return Ok(Some(Shape::Sequence { label, len, items: Items::Row { element, address: start } }));
    }
    if let Some(table) = find("vtable") {
        let Some(concrete) = concrete_type(&pointer.ty, &table, memory)? else { return Ok(None) };
        let start = address.wrapping_add(items::behind_links(COUNTS_BYTES, &concrete));
        return Ok(Some(Shape::Same(Value::at(concrete, start))));
    }
    let Some(target) = first_pointer(pointer, memory, 0) else { return Ok(None) };
    let Some(inner) = target.pointee(memory)? else { return Ok(None) };
    Ok(inner.field("value", memory).or_else(|| inner.field("data", memory)).map(Shape::Same))
}

/// The element of a slice's description.
fn element_of(ty: &Type) -> Option<Type> {
    match ty.kind() {
        Kind::Array { element, .. } => Some(element),
        Kind::Record(_) => template(ty, 0),
        _ => Some(ty.clone()),
    }
}

fn find_field(value: &Value, name: &str, memory: &dyn Memory, depth: u32) -> Option<Value> {
    let record = value.record().filter(|_| depth < super::NESTING_MAX)?;
    value.field(name, memory).or_else(|| {
        record
            .members
            .iter()
            .find_map(|member| find_field(&value.member(member, memory), name, memory, depth + 1))
    })
}

/// The value behind a pointer to a trait object, as the type whose vtable it has.
fn concrete(ty: &Type, data: &Value, table: &Value, memory: &dyn Memory) -> Result<Option<Value>, Missing> {
    let address = data.as_u64(memory)?;
    Ok(concrete_type(ty, table, memory)?.map(|concrete| Value::at(concrete, address)))
}

/// The type that a vtable was made for: rustc describes each vtable as a variable, whose type names it
/// (`DW_AT_containing_type`).
fn concrete_type(ty: &Type, table: &Value, memory: &dyn Memory) -> Result<Option<Type>, Missing> {
    let Some(table) = first_pointer(table, memory, 0) else { return Ok(None) };
    let address = table.as_u64(memory)?;
    let Type::Described(described) = ty else { return Ok(None) };
    let module = described.module();
    let found = module.debug().and_then(|debug| debug.type_of_vtable(module.to_file(address)));
    Ok(found.map(|at| Type::described(ModuleDie { module: Arc::clone(module), at })))
}

fn ring(value: &Value, memory: &dyn Memory) -> Shaped {
    let parts = || {
        let buffer = value.field("buf", memory)?;
        let inner = buffer.field("inner", memory).unwrap_or_else(|| buffer.clone());
        let capacity = first_number(&inner.field("cap", memory)?, memory, 0)?;
        Some((
            value.field("head", memory)?,
            value.field("len", memory)?,
            first_pointer(&buffer, memory, 0)?,
            capacity,
            template(&value.ty, 0)?,
        ))
    };
    let Some((head, len, pointer, capacity, element)) = parts() else { return Ok(None) };
    let items = Items::Ring {
        element,
        address: pointer.as_u64(memory)?,
        head: head.as_u64(memory)?,
        capacity: capacity.as_u64(memory)?,
    };
    Ok(Some(Shape::Sequence { label: "VecDeque".into(), len: len.as_u64(memory)?, items }))
}

/// A map or set of hashbrown.
fn table(value: &Value, last: &str, memory: &dyn Memory) -> Shaped {
    let map = if last == "HashSet" { value.field("map", memory) } else { Some(value.clone()) };
    let parts = || {
        let outer = map.as_ref()?.field("table", memory)?;
        let inner = outer.field("table", memory)?;
        let control = first_pointer(&inner.field("ctrl", memory)?, memory, 0)?;
        let mask = inner.field("bucket_mask", memory)?;
        Some((template(&outer.ty, 0)?, control, mask, inner.field("items", memory)?))
    };
    let Some((pair, control, mask, len)) = parts() else { return Ok(None) };
    let items = Items::Buckets {
        pair,
        control: control.as_u64(memory)?,
        mask: mask.as_u64(memory)?,
        keyed: last == "HashMap",
    };
    Ok(Some(Shape::Sequence { label: last.into(), len: len.as_u64(memory)?, items }))
}

fn btree(map: &Value, label: &str, memory: &dyn Memory) -> Shaped {
    let parts = || Some((map.field("root", memory)?, map.field("length", memory)?));
    let Some((root, len)) = parts() else { return Ok(None) };
    let len = len.as_u64(memory)?;
    let row = |len, items| Ok(Some(Shape::Sequence { label: label.into(), len, items }));
    if len == 0 {
        return row(0, Items::Row { element: Type::Void, address: 0 });
    }
    let parts = || {
        let node = root.field("0", memory)?;
        let height = node.field("height", memory)?;
        let pointer = first_pointer(&node.field("node", memory)?, memory, 0)?;
        let leaf = pointer.pointee(memory).ok()??;
        let (key, value) = items::node_types(&leaf.ty)?;
        Some((height, leaf, key, value))
    };
    let Some((height, leaf, key, value)) = parts() else { return Ok(None) };
    let value = (label == "BTreeMap").then_some(value);
    row(len, Items::BTree { root: leaf.into(), height: height.as_u64(memory)?, key, value })
}

fn chain(value: &Value, memory: &dyn Memory) -> Shaped {
    let parts = || {
        let head = first_pointer(&value.field("head", memory)?, memory, 0);
        let len = value.field("len", memory)?;
        Some((head, len, template(&value.ty, 0)?))
    };
    let Some((head, len, element)) = parts() else { return Ok(None) };
    let len = len.as_u64(memory)?;
    let Some(node) = head.filter(|_| len > 0) else {
        let items = Items::Row { element, address: 0 };
        return Ok(Some(Shape::Sequence { label: "LinkedList".into(), len: 0, items }));
    };
    let first = node.as_u64(memory)?;
    let Some(node) = node.pointee(memory)? else { return Ok(None) };
    let place = |name| node.field(name, memory).and_then(|part| part.address);
    let (Some(next), Some(place)) = (place("next"), place("element")) else { return Ok(None) };
    let (link, offset) = (next.wrapping_sub(first), place.wrapping_sub(first));
    let items = Items::Chain { element, first, end: 0, link, offset, keyed: false };
    Ok(Some(Shape::Sequence { label: "LinkedList".into(), len, items }))
}

fn guarded(value: &Value, last: &str, memory: &dyn Memory) -> Shaped {
    if let Some(data) = value.field("data", memory) {
        let target = first_pointer(&data, memory, 0).map(|pointer| pointer.pointee(memory)).transpose()?;
        return Ok(target.flatten().map(|target| Shape::boxed(last, target)));
    }
    let Some(lock) = value.field("lock", memory) else { return Ok(None) };
    let Some(lock) = lock.pointee(memory)? else { return Ok(None) };
    let Some(data) = lock.field("data", memory) else { return Ok(None) };
    let inner = data.field("value", memory).unwrap_or(data);
    Ok(Some(Shape::boxed(last, inner)))
}

/// Initialised when its `Once` is complete.
fn once(value: &Value, last: &str, memory: &dyn Memory) -> Shaped {
    /// `COMPLETE` of std's `sys/sync/once/futex.rs`, without the bit that says that somebody waits.
    const COMPLETE: u64 = 0;
    const INCOMPLETE: u64 = 3;
    const STATE_BITS: u64 = 3;
    let state = number_in(value, "once", memory)?.map(|state| state & STATE_BITS);
    let inner = match last {
        "OnceLock" => cell(value, memory).and_then(|inner| inner.field("value", memory)),
        _ => value
            .field("data", memory)
            .and_then(|data| data.field("value", memory))
            .and_then(|data| data.field("value", memory)),
    };
    Ok(match (state, inner) {
        (Some(COMPLETE), Some(inner)) => Some(Shape::boxed(last, inner)),
        (Some(INCOMPLETE), Some(_)) => Some(Shape::Words(format!("{last}(uninitialised)"))),
        _ => None,
    })
}

fn range(value: &Value, last: &str, memory: &dyn Memory) -> Option<Shape> {
    let part = |name| value.field(name, memory);
    match last {
        "Range" => Some(Shape::Joined { values: vec![part("start")?, part("end")?], sign: ".." }),
        "RangeInclusive" => Some(Shape::Joined { values: vec![part("start")?, part("end")?], sign: "..=" }),
        _ => None,
    }
}

/// `1.5s`, `20ms`, as Rust's `Debug` writes it.
fn duration_text(seconds: u64, nanos: u64) -> String {
    let nanos = u32::try_from(nanos).unwrap_or(0).min(999_999_999);
    format!("{:?}", std::time::Duration::new(seconds, nanos))
}

/// A moment in UTC (`days_from_civil` backwards: H. Hinnant, "chrono-compatible low-level date algorithms").
fn date_text(seconds: i64, nanos: u64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = if nanos == 0 { String::new() } else { format!(".{nanos:09}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}
