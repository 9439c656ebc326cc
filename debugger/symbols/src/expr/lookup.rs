//! Parts of containers: `v[1]`, `map["key"]`, `v[2..5]`, and the methods that only look. The program itself is never run.

use super::Error;
use super::casts::with_number;
use crate::Missing;
use crate::scope::Context;
use crate::shapes::{self, Item, Items, Shape, shape};
use crate::types::{Encoding, Kind, Scalar, Type};
use crate::value::Value;
use std::sync::Arc;

/// Boxes, references and pointers that are gone through.
const STEPS_MAX: u32 = 16;

/// Methods that give what they are called on, as far as looking goes.
const SAME: [&str; 16] = [
    "iter",
    "into_iter",
    "as_ref",
    "as_mut",
    "as_deref",
    "as_str",
    "as_slice",
    "as_bytes",
    "borrow",
    "deref",
    "clone",
    "copied",
    "cloned",
    "to_owned",
    "c_str",
    "data",
];

fn at(column: usize) -> impl Fn(Missing) -> Error + Copy {
    move |missing| Error::new(column, missing.to_string())
}

fn truth(truth: bool) -> Value {
    Value::of_int(Scalar::new("bool", Encoding::Bool, 1), i128::from(truth))
}

fn count(count: u64) -> Value {
    Value::of_int(Scalar::new("usize", Encoding::Unsigned, 8), count.into())
}

impl Context<'_> {
    /// What a Rust reference refers to, when that is something with parts; else the value.
    fn referred(&self, value: &Value) -> Result<Option<Value>, Missing> {
        match value.ty.kind() {
            Kind::Pointer { target, .. } if is_reference_to_record(&value.ty, &target) => {
                value.pointee(self.memory)
            }
            _ => Ok(None),
        }
    }

    pub(super) fn index(&self, value: Value, index: &Value, column: usize) -> Result<Value, Error> {
        let fail = at(column);
        let mut value = value.through_reference(self.memory);
        for _ in 0..STEPS_MAX {
            match shape(&value, self.memory).map_err(fail)? {
                Some(Shape::Sequence { len, items, .. }) => return self.element(&items, len, index, column),
                Some(Shape::Text { address, len }) => {
                    let place = self.place(index, len, column)?;
                    let byte = Type::scalar("u8", Encoding::Unsigned, 1);
                    return Ok(Value::at(byte, address.wrapping_add(place)));
                }
                Some(Shape::Boxed { value: inner, .. } | Shape::Same(inner)) => value = inner,
                _ => match self.referred(&value).map_err(fail)? {
                    Some(inner) => value = inner,
                    None => return self.plain_index(&value, index, column),
                },
            }
        }
        Err(Error::new(column, "too many boxes inside each other"))
    }

    /// The elements of arrays and pointers.
    fn plain_index(&self, value: &Value, index: &Value, column: usize) -> Result<Value, Error> {
        let fail = at(column);
        match value.ty.kind() {
            // C reads past the end of arrays by intent (flexible members); Rust's lengths are exact.
            Kind::Array { element, count } => {
                let number = self.whole(index, column)?;
                if value.ty.is_rust() || value.address.is_none() {
                    self.place(index, count.unwrap_or(0), column)?;
                }
                let offset = (number as u64).wrapping_mul(element.size());
                Ok(value.part(element, offset))
            }
            Kind::Pointer { target, .. } => {
                let number = self.whole(index, column)?;
                let address = value.as_u64(self.memory).map_err(fail)?;
                let offset = (number as u64).wrapping_mul(target.size().max(1));
                Ok(Value::at(target, address.wrapping_add(offset)))
            }
            _ => Err(Error::new(column, format!("a value of type {} cannot be indexed", value.type_name()))),
        }
    }

    fn whole(&self, index: &Value, column: usize) -> Result<i128, Error> {
        let number = index.integer(self.memory).map_err(at(column))?;
        number.ok_or_else(|| Error::new(column, "the index is not an integer"))
    }

    /// An index that is inside of a length.
    fn place(&self, index: &Value, len: u64, column: usize) -> Result<u64, Error> {
        let index = self.whole(index, column)?;
        let inside = u64::try_from(index).ok().filter(|&index| index < len);
        inside.ok_or_else(|| Error::new(column, format!("no such element: the length is {len}")))
    }

    /// The element at a place, or under a key.
    fn element(&self, items: &Items, len: u64, index: &Value, column: usize) -> Result<Value, Error> {
        let fail = at(column);
        if items.keyed() {
            let found = self.find(items, len, index, column)?;
            return found.map(|item| item.value).ok_or_else(|| Error::new(column, "no element has this key"));
        }
        let place = self.place(index, len, column)?;
        if let Some(found) = items.nth(place, self.memory).map_err(fail)? {
            return Ok(found);
        }
        let (mut passed, mut found) = (0, None);
        let mut visit = |item: Item| {
            found = (passed == place).then_some(item.value);
            passed += 1;
            found.is_none()
        };
        items.each(len, self.memory, &mut visit).map_err(fail)?;
        found.ok_or_else(|| Error::new(column, "no such element within the first million"))
    }

    /// The item with a key, or the element of a set.
    fn find(&self, items: &Items, len: u64, key: &Value, column: usize) -> Result<Option<Item>, Error> {
        let (mut found, mut failed) = (None, None);
        let mut visit = |item: Item| {
            match self.same(item.key.as_ref().unwrap_or(&item.value), key, column) {
                Ok(true) => found = Some(item),
                Ok(false) => return true,
                Err(error) => failed = Some(error),
            }
            false
        };
        items.each(len, self.memory, &mut visit).map_err(at(column))?;
        failed.map_or(Ok(found), Err)
    }

    fn same(&self, own: &Value, key: &Value, column: usize) -> Result<bool, Error> {
        let text = |value: &Value| shapes::text_of(value, self.memory).map_err(at(column));
        if let (Some(own), Some(key)) = (text(own)?, text(key)?) {
            return Ok(own == key);
        }
        let equal = self.binary("==", own.clone(), key.clone(), column)?;
        super::operators::truth(&equal, self.memory, column)
    }

    /// `v[2..5]`: what lies in a row, as an array.
    pub(super) fn slice(
        &self,
        value: Value,
        (from, to): (Option<Value>, Option<Value>),
        inclusive: bool,
        column: usize,
    ) -> Result<Value, Error> {
        let fail = at(column);
        let mut value = value.through_reference(self.memory);
        for _ in 0..STEPS_MAX {
            let (element, address, len) = match shape(&value, self.memory).map_err(fail)? {
                Some(Shape::Sequence { len, items, .. }) => match items.row() {
                    Some((element, address)) => (element.clone(), address, Some(len)),
                    None => return Err(Error::new(column, "only what lies in a row can be cut")),
                },
                Some(Shape::Text { address, len }) => {
                    (Type::scalar("char", Encoding::SignedChar, 1), address, Some(len))
                }
                Some(Shape::Boxed { value: inner, .. } | Shape::Same(inner)) => {
                    value = inner;
                    continue;
                }
                _ => match self.referred(&value).map_err(fail)? {
                    Some(inner) => {
                        value = inner;
                        continue;
                    }
                    None => self.plain_row(&value, column)?,
                },
            };
            let number = |end: &Value| self.whole(end, column);
            let from = from.as_ref().map(number).transpose()?.unwrap_or(0);
            let to = to.as_ref().map(number).transpose()?.map(|to| to.saturating_add(i128::from(inclusive)));
            let to = to.or(len.map(i128::from)).ok_or_else(|| Error::new(column, "where does it end?"))?;
            let inside = from >= 0 && from <= to && len.is_none_or(|len| to <= i128::from(len));
            if !inside {
                let len = len.map_or_else(|| "unknown".into(), |len| len.to_string());
                return Err(Error::new(column, format!("no such elements: the length is {len}")));
            }
            let offset = (from as u64).wrapping_mul(element.size());
            let ty = Type::Array(Arc::new(element), Some((to - from) as u64));
            return Ok(Value::at(ty, address.wrapping_add(offset)));
        }
        Err(Error::new(column, "too many boxes inside each other"))
    }

    /// Arrays in memory, and what a pointer points to.
    fn plain_row(&self, value: &Value, column: usize) -> Result<(Type, u64, Option<u64>), Error> {
        match (value.ty.kind(), value.address) {
            (Kind::Array { element, count }, Some(address)) => Ok((element, address, count)),
            (Kind::Pointer { target, .. }, _) => {
                Ok((target, value.as_u64(self.memory).map_err(at(column))?, None))
            }
            _ => Err(Error::new(column, format!("a value of type {} cannot be cut", value.type_name()))),
        }
    }

    /// The few methods that only look.
    pub(super) fn method(
        &self,
        value: Value,
        name: &str,
        arguments: &[Value],
        column: usize,
    ) -> Result<Value, Error> {
        let fail = at(column);
        let mut value = value.through_reference(self.memory);
        for _ in 0..STEPS_MAX {
            if arguments.is_empty() && SAME.contains(&name) {
                return Ok(value);
            }
            if let Some(result) = self.known_method(&value, name, arguments, column)? {
                return Ok(result);
            }
            let inner = shapes::inner(&value, self.memory).map_err(fail)?;
            let inner =
                inner.map_or_else(|| value.pointee(self.memory).map_err(fail), |inner| Ok(Some(inner)))?;
            match inner {
                Some(inner) => value = inner,
                None => break,
            }
        }
        Err(Error::new(
            column,
            format!("a value of type {} has no method {name}() that can be looked up", value.type_name()),
        ))
    }

    fn known_method(
        &self,
        value: &Value,
        name: &str,
        arguments: &[Value],
        column: usize,
    ) -> Result<Option<Value>, Error> {
        let fail = at(column);
        let found = shape(value, self.memory).map_err(fail)?;
        match (name, arguments, &found) {
            ("get" | "at" | "nth", [index], Some(Shape::Sequence { len, items, .. })) => {
                return self.element(items, *len, index, column).map(Some);
            }
            ("get", [index], _) if matches!(value.ty.kind(), Kind::Array { .. }) => {
                return self.plain_index(value, index, column).map(Some);
            }
            ("contains" | "contains_key" | "count", [key], Some(Shape::Sequence { len, items, .. })) => {
                return Ok(Some(truth(self.find(items, *len, key, column)?.is_some())));
            }
            ("first" | "front" | "peek", [], Some(Shape::Sequence { len, items, .. })) => {
                let index = count(0);
                return self.end_of(items, *len, &index, column).map(Some);
            }
            ("last" | "back", [], Some(Shape::Sequence { len, items, .. })) => {
                let index = count(len.saturating_sub(1));
                return self.end_of(items, *len, &index, column).map(Some);
            }
            // What is in a cell or an atomic.
            (
                "get" | "load" | "lock" | "read" | "get_ref",
                _,
                Some(Shape::Boxed { value: inner, .. } | Shape::Same(inner)),
            ) if value.ty.is_rust() || name != "get" => return Ok(Some(inner.clone())),
            (_, [_, ..], _) => return Ok(None),
            _ => {}
        }
        let len = match (&found, value.ty.kind()) {
            (Some(Shape::Sequence { len, .. } | Shape::Text { len, .. }), _) => Some(*len),
            (None, Kind::Array { count, .. }) => count,
            _ => None,
        };
        match (name, len) {
            ("len" | "size" | "length" | "count", Some(len)) => return Ok(Some(count(len))),
            ("is_empty" | "empty", Some(len)) => return Ok(Some(truth(len == 0))),
            _ => {}
        }
        self.method_of_choice(value, name, found.as_ref()).map_err(fail)
    }

    fn end_of(&self, items: &Items, len: u64, index: &Value, column: usize) -> Result<Value, Error> {
        if len == 0 {
            return Err(Error::new(column, "it is empty"));
        }
        if !items.keyed() {
            return self.element(items, len, index, column);
        }
        Err(Error::new(column, "it has keys: ask with one"))
    }

    /// Methods of `Option` and `Result`, `std::optional` and the smart pointers.
    fn method_of_choice(
        &self,
        value: &Value,
        name: &str,
        found: Option<&Shape>,
    ) -> Result<Option<Value>, Missing> {
        if let Some(Shape::Words(words)) = found.filter(|_| name == "has_value") {
            return Ok((words == "std::nullopt").then(|| truth(false)));
        }
        if let Some(Shape::Boxed { value: inner, label, .. }) = found {
            match name {
                "has_value" if label == "std::optional" => return Ok(Some(truth(true))),
                "value" => return Ok(Some(inner.clone())),
                "get" => {
                    let address = inner.address().unwrap_or(0);
                    let pointer = Type::Pointer(Arc::new(inner.ty.clone()));
                    return Ok(Some(with_number(pointer, i128::from(address), 8)));
                }
                _ => {}
            }
        }
        let Some(record) = value.record() else { return Ok(None) };
        let Some(variants) = &record.variants else { return Ok(None) };
        let Some(variant) = value.active_variant(variants, self.memory)?.name.clone() else {
            return Ok(None);
        };
        let holds = |name: &str| truth(variant == name);
        Ok(match (name, variant.as_str()) {
            ("is_some", _) => Some(holds("Some")),
            ("is_none", _) => Some(holds("None")),
            ("is_ok", _) => Some(holds("Ok")),
            ("is_err", _) => Some(holds("Err")),
            ("unwrap" | "expect", "Some" | "Ok") | ("unwrap_err", "Err") => value.field("0", self.memory),
            ("unwrap" | "expect" | "unwrap_err", other) => {
                return Err(Missing::NotAvailable(format!("it is {other}")));
            }
            _ => None,
        })
    }
}

/// `&T` of Rust, where `T` has parts: what is asked of it is asked of `T`.
pub(super) fn is_reference_to_record(ty: &Type, target: &Type) -> bool {
    ty.is_rust()
        && ty.name().starts_with('&')
        && matches!(target.kind(), Kind::Record(_) | Kind::Array { .. })
}
