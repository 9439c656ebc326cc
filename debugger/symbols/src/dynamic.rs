//! What an object of C++ really is: the class whose vtable it points to (Itanium C++ ABI, 2.5.2).

use crate::memory;
use crate::scope::Context;
use crate::types::{Kind, Record, Type};
use crate::value::Value;

/// Bases inside each other.
const DEPTH_MAX: u32 = 16;

impl Context<'_> {
    /// The whole object of which a value of a class with virtual functions is a base. `None` when the value is all there is,
    /// or when that cannot be told.
    pub(crate) fn dynamic(&self, value: &Value) -> Option<Value> {
        /// In front of a vtable's functions are the offset to the whole object and the type's information.
        const OFFSET_BYTES: u64 = 16;
        let address = value.address()?;
        if !value.record().is_some_and(|record| is_polymorphic(&record, 0)) {
            return None;
        }
        let word = |at: u64| {
            let bytes = memory::read_bytes(self.memory, at, 8).ok()?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let table = word(address)?;
        let (symbol, _) = self.symbols.symbol_at(table)?;
        let class = symbol.strip_prefix("{vtable(").and_then(|rest| rest.strip_suffix(")}"));
        let class = class.or_else(|| symbol.strip_prefix("vtable for "))?;
        let offset = word(table.wrapping_sub(OFFSET_BYTES))?;
        if class == value.type_name() {
            return None;
        }
        let ty = self.symbols.types(class).into_iter().next().map(Type::described)?;
        matches!(ty.kind(), Kind::Record(_)).then(|| Value::at(ty, address.wrapping_add(offset)))
    }
}

/// A class with a pointer to a vtable at its start.
fn is_polymorphic(record: &Record, depth: u32) -> bool {
    let first = record.members.iter().filter(|member| member.offset == 0 && depth < DEPTH_MAX);
    first.into_iter().any(|member| {
        let own = member.name.as_deref().is_some_and(|name| name.starts_with("_vptr"));
        own || member.base
            && matches!(member.ty.kind(), Kind::Record(base) if is_polymorphic(&base, depth + 1))
    })
}
