//! The elements of library containers, wherever they lie: in a row, in a ring, in the nodes of a table, tree or list.

use super::template;
use crate::location::Missing;
use crate::memory::Memory;
use crate::types::{Encoding, Kind, Type};
use crate::value::Value;

/// Elements walked of one container at most: for a key that is looked up, or a count.
const WALK_MAX: u64 = 1 << 20;

/// The height of a tree that is followed: no more than this fits into memory.
const HEIGHT_MAX: u64 = 64;

/// Edges of a node of a Rust B-tree (`CAPACITY` of alloc's `btree/node.rs`, and one).
const NODE_KEYS_MAX: u64 = 64;

/// An element, with its key where there are keys.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) key: Option<Value>,
    pub(crate) value: Value,
}

/// Where the elements are.
#[derive(Clone, Debug)]
pub(crate) enum Items {
    /// One after the other.
    Row { element: Type, address: u64 },
    /// In a buffer that begins again at its end (Rust's `VecDeque`).
    Ring { element: Type, address: u64, head: u64, capacity: u64 },
    /// Bits of words (`std::vector<bool>`).
    Bits { address: u64, first: u64 },
    /// In blocks of equal length, whose addresses lie in a row (`std::deque`). `first`: place in the first block.
    Blocks { element: Type, map: u64, first: u64, per_block: u64 },
    /// In front of the control bytes of a hash table (hashbrown).
    Buckets { pair: Type, control: u64, mask: u64, keyed: bool },
    /// In a Rust B-tree. `root`: its root as a leaf.
    BTree { root: Box<Value>, height: u64, key: Type, value: Option<Type> },
    /// In a red-black tree (libstdc++). `header`: the node that is nobody's; the element lies `offset` behind its node.
    RedBlack { element: Type, header: u64, offset: u64, keyed: bool },
    /// In nodes of which each points to the next, up to one at `end`. `link` and `offset`: where the pointer and the element are.
    Chain { element: Type, first: u64, end: u64, link: u64, offset: u64, keyed: bool },
}

impl Items {
    /// Hands the elements to `visit` in order until it returns false.
    ///
    /// # Errors
    /// Memory that cannot be read, or what cannot be such a container.
    pub(crate) fn each(
        &self,
        len: u64,
        memory: &dyn Memory,
        visit: &mut dyn FnMut(Item) -> bool,
    ) -> Result<(), Missing> {
        match self {
            Self::Row { .. } | Self::Ring { .. } | Self::Bits { .. } | Self::Blocks { .. } => {
                for index in 0..len.min(WALK_MAX) {
                    let Some(value) = self.nth(index, memory)? else { break };
                    if !visit(Item { key: None, value }) {
                        break;
                    }
                }
                Ok(())
            }
            Self::Buckets { pair, control, mask, keyed } => {
                buckets(memory, pair, (*control, *mask), len, &mut |value| {
                    visit(split(value, *keyed, memory))
                })
            }
            Self::BTree { root, height, key, value } => {
                let types = (key, value.as_ref());
                btree(memory, root, *height, types, 0, visit).map(drop)
            }
            Self::RedBlack { element, header, offset, keyed } => {
                let mut at = word(memory, header.wrapping_add(16))?;
                for _ in 0..len.min(WALK_MAX) {
                    if at == *header || at == 0 {
                        break;
                    }
                    let value = Value::at(element.clone(), at.wrapping_add(*offset));
                    if !visit(split(value, *keyed, memory)) {
                        break;
                    }
                    at = successor(memory, at)?;
                }
                Ok(())
            }
            Self::Chain { element, first, end, link, offset, keyed } => {
                let mut at = *first;
                for _ in 0..len.min(WALK_MAX) {
                    if at == *end || at == 0 {
                        break;
                    }
                    let value = Value::at(element.clone(), at.wrapping_add(*offset));
                    if !visit(split(value, *keyed, memory)) {
                        break;
                    }
                    at = word(memory, at.wrapping_add(*link))?;
                }
                Ok(())
            }
        }
    }

    /// The element at a place, where that can be told without a walk; it is not checked against the length.
    pub(crate) fn nth(&self, index: u64, memory: &dyn Memory) -> Result<Option<Value>, Missing> {
        Ok(match self {
            Self::Row { element, address } => {
                let offset = index.wrapping_mul(element.size());
                Some(Value::at(element.clone(), address.wrapping_add(offset)))
            }
            Self::Ring { element, address, head, capacity } => {
                let place = head.wrapping_add(index);
                let place = if place >= *capacity { place.wrapping_sub(*capacity) } else { place };
                let offset = place.wrapping_mul(element.size());
                Some(Value::at(element.clone(), address.wrapping_add(offset)))
            }
            Self::Bits { address, first } => {
                let bit = first.wrapping_add(index);
                let mut byte = [0];
                memory.read(address.wrapping_add(bit / 8), &mut byte)?;
                let truth = byte[0] >> (bit % 8) & 1;
                Some(Value::of_bytes(Type::scalar("bool", Encoding::Bool, 1), vec![truth]))
            }
            Self::Blocks { element, map, first, per_block } => {
                let place = first.wrapping_add(index);
                let per_block = (*per_block).max(1);
                let block = word(memory, map.wrapping_add((place / per_block).wrapping_mul(8)))?;
                let offset = (place % per_block).wrapping_mul(element.size());
                Some(Value::at(element.clone(), block.wrapping_add(offset)))
            }
            _ => None,
        })
    }

    /// Whether its elements are found by keys.
    pub(crate) fn keyed(&self) -> bool {
        match self {
            Self::Buckets { keyed, .. } | Self::RedBlack { keyed, .. } | Self::Chain { keyed, .. } => *keyed,
            Self::BTree { value, .. } => value.is_some(),
            Self::Row { .. } | Self::Ring { .. } | Self::Bits { .. } | Self::Blocks { .. } => false,
        }
    }

    /// The element type and the address of elements that lie in a row.
    pub(crate) fn row(&self) -> Option<(&Type, u64)> {
        match self {
            Self::Row { element, address } => Some((element, *address)),
            _ => None,
        }
    }
}

/// A pair as key and value: Rust's tuples and `std::pair`.
fn split(pair: Value, keyed: bool, memory: &dyn Memory) -> Item {
    let part = |names: [&str; 2]| names.iter().find_map(|name| pair.field(name, memory));
    let (key, value) = (part(["__0", "first"]), part(["__1", "second"]));
    match (keyed, key, value) {
        (true, Some(key), Some(value)) => Item { key: Some(key), value },
        // A set is a table of pairs with nothing.
        (false, Some(key), Some(nothing)) if nothing.ty.size() == 0 && pair.ty.is_rust() => {
            Item { key: None, value: key }
        }
        _ => Item { key: None, value: pair },
    }
}

/// The full buckets of a hashbrown table: those whose control byte has its high bit clear (hashbrown, `raw/mod.rs`). Bucket
/// `n` ends `n` elements before the control bytes.
fn buckets(
    memory: &dyn Memory,
    pair: &Type,
    (control, mask): (u64, u64),
    len: u64,
    visit: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Missing> {
    const PIECE: usize = 4096;
    let (size, mut found) = (pair.size(), 0);
    let count = mask.wrapping_add(1);
    let mut bytes = vec![0; PIECE];
    let mut at = 0;
    while at < count && found < len && at < WALK_MAX.saturating_mul(2) {
        let piece = (count - at).min(PIECE as u64) as usize;
        let Some(buffer) = bytes.get_mut(..piece) else { break };
        memory.read(control.wrapping_add(at), buffer)?;
        for (place, _) in buffer.iter().enumerate().filter(|(_, byte)| **byte & 0x80 == 0) {
            let number = at + place as u64;
            let address = control.wrapping_sub(number.wrapping_add(1).wrapping_mul(size));
            found += 1;
            if found > len || !visit(Value::at(pair.clone(), address)) {
                return Ok(());
            }
        }
        at += piece as u64;
    }
    Ok(())
}

/// In order: the first edge, then each key with the edge behind it. Says whether to go on.
fn btree(
    memory: &dyn Memory,
    node: &Value,
    height: u64,
    types: (&Type, Option<&Type>),
    depth: u64,
    visit: &mut dyn FnMut(Item) -> bool,
) -> Result<bool, Missing> {
    let broken = || Missing::NotAvailable("not a B-tree as it is known".into());
    if height > HEIGHT_MAX || depth > HEIGHT_MAX {
        return Err(broken());
    }
    let part = |name| node.field(name, memory).ok_or_else(broken);
    let len = part("len")?.as_u64(memory)?;
    if len > NODE_KEYS_MAX {
        return Err(broken());
    }
    let edges = if height == 0 { None } else { Some(edges_of(node, memory).ok_or_else(broken)?) };
    let child = |index: u64| -> Result<Option<Value>, Missing> {
        let Some(edges) = edges else { return Ok(None) };
        let address = word(memory, edges.wrapping_add(index.wrapping_mul(8)))?;
        Ok(Some(Value::at(node.ty.clone(), address)))
    };
    let (keys, values) = (part("keys")?, part("vals")?);
    let element = |row: &Value, ty: &Type, index: u64| row.part(ty.clone(), index.wrapping_mul(ty.size()));
    for index in 0..=len {
        if let Some(child) = child(index)?
            && !btree(memory, &child, height - 1, types, depth + 1, visit)?
        {
            return Ok(false);
        }
        if index < len {
            let key = element(&keys, types.0, index);
            let item = match types.1 {
                Some(ty) => Item { key: Some(key), value: element(&values, ty, index) },
                None => Item { key: None, value: key },
            };
            if !visit(item) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Where the edges of an inner node are: its type is known from the leaf's pointer to its parent.
fn edges_of(leaf: &Value, memory: &dyn Memory) -> Option<u64> {
    let parent = super::first_pointer(&leaf.field("parent", memory)?, memory, 0)?;
    let Kind::Pointer { target, .. } = parent.ty.kind() else { return None };
    Value::at(target, leaf.address?).field("edges", memory)?.address
}

/// The next node in order of a red-black tree of libstdc++ (`_Rb_tree_increment`): colour, parent, left, right.
fn successor(memory: &dyn Memory, node: u64) -> Result<u64, Missing> {
    const PARENT: u64 = 8;
    const LEFT: u64 = 16;
    const RIGHT: u64 = 24;
    let broken = || Missing::NotAvailable("not a tree as it is known".into());
    let mut at = word(memory, node.wrapping_add(RIGHT))?;
    if at != 0 {
        for _ in 0..2 * HEIGHT_MAX {
            let left = word(memory, at.wrapping_add(LEFT))?;
            if left == 0 {
                return Ok(at);
            }
            at = left;
        }
        return Err(broken());
    }
    let mut below = node;
    at = word(memory, node.wrapping_add(PARENT))?;
    for _ in 0..2 * HEIGHT_MAX {
        if word(memory, at.wrapping_add(RIGHT))? != below {
            // The header is its own root's parent.
            let last = word(memory, below.wrapping_add(RIGHT))? == at;
            return Ok(if last { below } else { at });
        }
        below = at;
        at = word(memory, at.wrapping_add(PARENT))?;
    }
    Err(broken())
}

pub(super) fn word(memory: &dyn Memory, address: u64) -> Result<u64, Missing> {
    let mut bytes = [0; 8];
    memory.read(address, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The node's element type and where it lies behind the node's links.
pub(super) fn behind_links(links: u64, element: &Type) -> u64 {
    links.next_multiple_of(alignment(element, 0).max(1))
}

/// The alignment of a type, from its parts.
fn alignment(ty: &Type, depth: u32) -> u64 {
    const DEPTH_MAX: u32 = 8;
    match ty.kind() {
        Kind::Record(record) if depth < DEPTH_MAX => {
            record.members.iter().map(|member| alignment(&member.ty, depth + 1)).max().unwrap_or(1)
        }
        Kind::Array { element, .. } => alignment(&element, depth + 1),
        Kind::Scalar(scalar) => scalar.size.clamp(1, 16).next_power_of_two(),
        Kind::Enum(enumeration) => enumeration.size.clamp(1, 16).next_power_of_two(),
        _ => 8,
    }
}

/// The key and value types of a B-tree's node.
pub(super) fn node_types(leaf: &Type) -> Option<(Type, Type)> {
    Some((template(leaf, 0)?, template(leaf, 1)?))
}
