//! Shapes of the types of the C++ library, as libstdc++ lays them out.

use super::items::{self, Items};
use super::{Shape, first_pointer, number_in, template};
use crate::location::Missing;
use crate::memory::Memory;
use crate::types::{Kind, Record, Type};
use crate::value::Value;

type Shaped = Result<Option<Shape>, Missing>;

/// Links of a node of a tree of libstdc++ (`_Rb_tree_node_base`): colour, parent, left, right.
const TREE_LINKS_BYTES: u64 = 32;

/// Links of a node of `std::list`: next and previous.
const LIST_LINKS_BYTES: u64 = 16;

/// The link of a node of `std::forward_list` and of the hash tables.
const SINGLE_LINK_BYTES: u64 = 8;

/// Parts of a tuple.
const PARTS_MAX: usize = 64;

/// The shape of a C++ record.
pub(super) fn shape(value: &Value, record: &Record, memory: &dyn Memory) -> Shaped {
    let Some(own) = record.name.strip_prefix("std::") else { return Ok(None) };
    let own = own.strip_prefix("__cxx11::").unwrap_or(own);
    let head = own.split('<').next().unwrap_or(own);
    let at = |path: &[&str]| path.iter().try_fold(value.clone(), |value, name| value.field(name, memory));
    match head {
        "basic_string" | "string" if own.starts_with("basic_string<char,") || head == "string" => {
            let parts = at(&["_M_dataplus", "_M_p"]).zip(value.field("_M_string_length", memory));
            text(parts, memory)
        }
        "basic_string_view" | "string_view" => {
            text(value.field("_M_str", memory).zip(value.field("_M_len", memory)), memory)
        }
        "vector" if own.starts_with("vector<bool") => bits(value, memory),
        "vector" => vector(value, memory),
        "array" => {
            let Some(elements) = value.field("_M_elems", memory) else { return Ok(None) };
            let (Kind::Array { element, count }, Some(address)) = (elements.ty.kind(), elements.address)
            else {
                return Ok(Some(Shape::Same(elements)));
            };
            let items = Items::Row { element, address };
            Ok(Some(Shape::Sequence { label: "std::array".into(), len: count.unwrap_or(0), items }))
        }
        "map" | "multimap" | "set" | "multiset" => tree(value, head, memory),
        "unordered_map" | "unordered_multimap" | "unordered_set" | "unordered_multiset" => {
            table(value, head, memory)
        }
        "deque" => deque(value, memory),
        "list" => list(value, memory),
        "forward_list" => forward_list(value, memory),
        "stack" | "queue" | "priority_queue" => Ok(value.field("c", memory).map(Shape::Same)),
        "unique_ptr" => {
            let Some(pointer) =
                value.field("_M_t", memory).and_then(|inner| first_pointer(&inner, memory, 0))
            else {
                return Ok(None);
            };
            owned("std::unique_ptr", &pointer, String::new(), memory)
        }
        "shared_ptr" | "weak_ptr" | "__shared_ptr" | "__weak_ptr" => counted(value, head, memory),
        "optional" => {
            let Some(payload) = value.field("_M_payload", memory) else { return Ok(None) };
            let Some(engaged) = payload.field("_M_engaged", memory) else { return Ok(None) };
            if engaged.as_u64(memory)? == 0 {
                return Ok(Some(Shape::Words("std::nullopt".into())));
            }
            let inner = payload.field("_M_payload", memory).and_then(|inner| inner.field("_M_value", memory));
            Ok(inner.map(|inner| Shape::boxed("std::optional", inner)))
        }
        "variant" => {
            let Some(index) = value.field("_M_index", memory) else { return Ok(None) };
            let (index, valueless) = (index.as_u64(memory)?, 1_u64 << (8 * index.size().min(7)));
            if index + 1 == valueless {
                return Ok(Some(Shape::Words("std::variant(valueless)".into())));
            }
            // Whatever it is lies at the start of the union.
            let Some(ty) = usize::try_from(index).ok().and_then(|index| template(&value.ty, index)) else {
                return Ok(None);
            };
            let label = format!("std::variant[{index}]");
            Ok(Some(Shape::boxed(label, value.part(ty, 0))))
        }
        "tuple" => {
            let mut parts = Vec::new();
            heads(value, memory, &mut parts);
            parts.sort_by_key(|part| part.0);
            let values = parts.into_iter().map(|part| part.1).collect();
            Ok(Some(Shape::Joined { values, sign: ", " }))
        }
        "function" => {
            let parts = value.field("_M_invoker", memory).zip(value.field("_M_manager", memory));
            let Some((invoker, manager)) = parts else { return Ok(None) };
            if manager.as_u64(memory)? == 0 {
                return Ok(Some(Shape::Words("std::function(empty)".into())));
            }
            Ok(Some(Shape::Code { label: "std::function".into(), address: invoker.as_u64(memory)? }))
        }
        "reference_wrapper" => {
            let Some(pointer) = value.field("_M_data", memory) else { return Ok(None) };
            Ok(pointer.pointee(memory)?.map(|inner| Shape::boxed("std::reference_wrapper", inner)))
        }
        "atomic" | "atomic_flag" | "__atomic_base" => {
            let inner = value.field("_M_i", memory);
            let base = || {
                let base = value.field("_M_base", memory).or_else(|| value.field("_M_b", memory))?;
                base.field("_M_i", memory).or_else(|| base.field("_M_p", memory))
            };
            Ok(inner.or_else(base).map(Shape::Same))
        }
        _ => Ok(None),
    }
}

fn text(parts: Option<(Value, Value)>, memory: &dyn Memory) -> Shaped {
    let Some((pointer, len)) = parts else { return Ok(None) };
    let Kind::Pointer { target, .. } = pointer.ty.kind() else { return Ok(None) };
    if !super::is_byte_char(&target) {
        return Ok(None);
    }
    Ok(Some(Shape::Text { address: pointer.as_u64(memory)?, len: len.as_u64(memory)? }))
}

fn vector(value: &Value, memory: &dyn Memory) -> Shaped {
    let Some(implementation) = value.field("_M_impl", memory) else { return Ok(None) };
    let start = implementation.field("_M_start", memory);
    let ends = start.zip(implementation.field("_M_finish", memory)).zip(template(&value.ty, 0));
    let Some(((start, finish), element)) = ends else { return Ok(None) };
    let (address, end) = (start.as_u64(memory)?, finish.as_u64(memory)?);
    let len = end.checked_sub(address).zip(Some(element.size()).filter(|&size| size != 0));
    Ok(len.map(|(bytes, size)| Shape::Sequence {
        label: "std::vector".into(),
        len: bytes / size,
        items: Items::Row { element, address },
    }))
}

fn bits(value: &Value, memory: &dyn Memory) -> Shaped {
    let Some(implementation) = value.field("_M_impl", memory) else { return Ok(None) };
    let place = |name: &str| -> Result<Option<(u64, u64)>, Missing> {
        let Some(iterator) = implementation.field(name, memory) else { return Ok(None) };
        let parts = iterator.field("_M_p", memory).zip(iterator.field("_M_offset", memory));
        let Some((pointer, offset)) = parts else { return Ok(None) };
        Ok(Some((pointer.as_u64(memory)?, offset.as_u64(memory)?)))
    };
    let (Some((address, first)), Some((end, last))) = (place("_M_start")?, place("_M_finish")?) else {
        return Ok(None);
    };
    let Some(bytes) = end.checked_sub(address) else { return Ok(None) };
    let len = bytes.saturating_mul(8).saturating_add(last).saturating_sub(first);
    Ok(Some(Shape::Sequence {
        label: "std::vector<bool>".into(),
        len,
        items: Items::Bits { address, first },
    }))
}

fn tree(value: &Value, head: &str, memory: &dyn Memory) -> Shaped {
    let parts = || {
        let tree = value.field("_M_t", memory)?;
        let implementation = tree.field("_M_impl", memory)?;
        let header = implementation.field("_M_header", memory)?;
        // `_Rb_tree<Key, Value, …>`.
        Some((implementation.field("_M_node_count", memory)?, header.address?, template(&tree.ty, 1)?))
    };
    let Some((len, header, element)) = parts() else { return Ok(None) };
    let offset = items::behind_links(TREE_LINKS_BYTES, &element);
    let items = Items::RedBlack { element, header, offset, keyed: head.ends_with("map") };
    Ok(Some(Shape::Sequence { label: format!("std::{head}"), len: len.as_u64(memory)?, items }))
}

fn table(value: &Value, head: &str, memory: &dyn Memory) -> Shaped {
    let parts = || {
        let table = value.field("_M_h", memory)?;
        let first = table.field("_M_before_begin", memory)?.field("_M_nxt", memory)?;
        // `_Hashtable<Key, Value, …>`.
        Some((table.field("_M_element_count", memory)?, first, template(&table.ty, 1)?))
    };
    let Some((len, first, element)) = parts() else { return Ok(None) };
    let offset = items::behind_links(SINGLE_LINK_BYTES, &element);
    let keyed = head.ends_with("map");
    let items = Items::Chain { element, first: first.as_u64(memory)?, end: 0, link: 0, offset, keyed };
    Ok(Some(Shape::Sequence { label: format!("std::{head}"), len: len.as_u64(memory)?, items }))
}

fn deque(value: &Value, memory: &dyn Memory) -> Shaped {
    /// Bytes of a block, at most (`_GLIBCXX_DEQUE_BUF_SIZE`).
    const BLOCK_BYTES: u64 = 512;
    let place = |name: &str, part: &str| -> Result<Option<u64>, Missing> {
        let iterator =
            value.field("_M_impl", memory).and_then(|implementation| implementation.field(name, memory));
        let pointer = iterator.and_then(|iterator| iterator.field(part, memory));
        pointer.map(|pointer| pointer.as_u64(memory)).transpose()
    };
    let start = (place("_M_start", "_M_cur")?, place("_M_start", "_M_first")?, place("_M_start", "_M_node")?);
    let finish =
        (place("_M_finish", "_M_cur")?, place("_M_finish", "_M_first")?, place("_M_finish", "_M_node")?);
    let (Some(element), (Some(cur), Some(first), Some(map)), (Some(end), Some(last), Some(last_map))) =
        (template(&value.ty, 0), start, finish)
    else {
        return Ok(None);
    };
    let size = element.size().max(1);
    let per_block = (BLOCK_BYTES / size).max(1);
    let first = cur.wrapping_sub(first) / size;
    let blocks = last_map.wrapping_sub(map) / 8;
    let len = blocks.saturating_mul(per_block).saturating_add(end.wrapping_sub(last) / size);
    let items = Items::Blocks { element, map, first, per_block };
    Ok(Some(Shape::Sequence { label: "std::deque".into(), len: len.saturating_sub(first), items }))
}

fn list(value: &Value, memory: &dyn Memory) -> Shaped {
    let parts = || {
        let node = value.field("_M_impl", memory)?.field("_M_node", memory)?;
        Some((
            node.address?,
            node.field("_M_next", memory)?,
            node.field("_M_size", memory)?,
            template(&value.ty, 0)?,
        ))
    };
    let Some((end, first, len, element)) = parts() else { return Ok(None) };
    let offset = items::behind_links(LIST_LINKS_BYTES, &element);
    let items = Items::Chain { element, first: first.as_u64(memory)?, end, link: 0, offset, keyed: false };
    Ok(Some(Shape::Sequence { label: "std::list".into(), len: len.as_u64(memory)?, items }))
}

/// It does not know its length: that is counted.
fn forward_list(value: &Value, memory: &dyn Memory) -> Shaped {
    let parts = || {
        let head = value.field("_M_impl", memory)?.field("_M_head", memory)?;
        Some((head.field("_M_next", memory)?, template(&value.ty, 0)?))
    };
    let Some((first, element)) = parts() else { return Ok(None) };
    let offset = items::behind_links(SINGLE_LINK_BYTES, &element);
    let items = Items::Chain { element, first: first.as_u64(memory)?, end: 0, link: 0, offset, keyed: false };
    let mut len = 0;
    items.each(u64::MAX, memory, &mut |_| {
        len += 1;
        true
    })?;
    Ok(Some(Shape::Sequence { label: "std::forward_list".into(), len, items }))
}

/// A pointer that owns what it points to.
fn owned(label: &str, pointer: &Value, note: String, memory: &dyn Memory) -> Shaped {
    if pointer.as_u64(memory)? == 0 {
        return Ok(Some(Shape::Words(format!("{label}(nullptr)"))));
    }
    Ok(pointer.pointee(memory)?.map(|value| Shape::Boxed { label: label.into(), value, note }))
}

fn counted(value: &Value, head: &str, memory: &dyn Memory) -> Shaped {
    let Some(pointer) = value.field("_M_ptr", memory) else { return Ok(None) };
    let label = format!("std::{}", head.trim_start_matches('_'));
    let Some(counts) = value.field("_M_refcount", memory).and_then(|counts| counts.field("_M_pi", memory))
    else {
        return Ok(None);
    };
    if counts.as_u64(memory)? == 0 {
        return owned(&label, &pointer, String::new(), memory);
    }
    let Some(counts) = counts.pointee(memory)? else { return Ok(None) };
    let uses = number_in(&counts, "_M_use_count", memory)?.unwrap_or(0);
    // All strong ones together hold one weak count.
    let weak = number_in(&counts, "_M_weak_count", memory)?.unwrap_or(0).saturating_sub(u64::from(uses > 0));
    if uses == 0 {
        return Ok(Some(Shape::Words(format!("{label}(expired)"))));
    }
    let note = match (uses, weak) {
        (1, 0) => String::new(),
        (_, 0) => format!("uses: {uses}"),
        _ => format!("uses: {uses}, weak: {weak}"),
    };
    owned(&label, &pointer, note, memory)
}

/// The parts of a tuple with their places: each is in a base class of its own.
fn heads(value: &Value, memory: &dyn Memory, found: &mut Vec<(u64, Value)>) {
    let Some(record) = value.record() else { return };
    for member in record.members.iter().filter(|member| member.base) {
        let base = value.member(member, memory);
        let name = base.ty.name();
        if found.len() >= PARTS_MAX {
            return;
        }
        let Some(arguments) = name.strip_prefix("std::_Head_base<") else {
            heads(&base, memory, found);
            continue;
        };
        let digits: String = arguments.chars().take_while(char::is_ascii_digit).collect();
        let Ok(place) = digits.parse() else { continue };
        let inner = base.field("_M_head_impl", memory);
        let inner = inner.or_else(|| template(&base.ty, 0).map(|ty: Type| base.part(ty, 0)));
        found.extend(inner.map(|inner| (place, inner)));
    }
}
