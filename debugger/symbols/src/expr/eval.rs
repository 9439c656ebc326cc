//! Walks the tree of an expression and looks its names up in the context.

use super::Error;
use super::casts::with_number;
use super::parser::{Expr, Node};
use crate::debug::DieAt;
use crate::memory;
use crate::module::ModuleDie;
use crate::names;
use crate::registers::Registers;
use crate::scope::Context;
use crate::shapes::{Shape, inner, shape};
use crate::types::{Encoding, Kind, Scalar, Type};
use crate::value::Value;
use gimli::constants as dw;
use std::sync::Arc;

impl Context<'_> {
    pub(crate) fn run(&self, expr: &Expr) -> Result<Value, Error> {
        let column = expr.column;
        match &expr.node {
            Node::Integer { value, suffix } => literal(*value, suffix, column),
            Node::Float(value) => Ok(Value::of_f64(*value)),
            Node::Char(value) => Ok(self.character(*value)),
            Node::Text(text) => Ok(Value::of_text(text)),
            Node::Name(name) => self.name(name, column),
            Node::Dollar(name) => self.dollar(name, column),
            Node::Field(inner, name) => self.field(self.run(inner)?, name, column),
            Node::Index(inner, index) => self.index(self.run(inner)?, &self.run(index)?, column),
            Node::Slice(inner, ends) => {
                let end = |end: &Option<Box<Expr>>| end.as_ref().map(|end| self.run(end)).transpose();
                let ends_run = (end(&ends.from)?, end(&ends.to)?);
                self.slice(self.run(inner)?, ends_run, ends.inclusive, column)
            }
            Node::Call(inner, name, arguments) => {
                let arguments: Vec<Value> =
                    arguments.iter().map(|argument| self.run(argument)).collect::<Result<_, _>>()?;
                self.method(self.run(inner)?, name, &arguments, column)
            }
            Node::Unary("*", inner) => self.dereference(self.run(inner)?, column),
            Node::Unary("&", inner) => self.address_of(&self.run(inner)?, column),
            Node::Unary(sign, inner) => self.negate(sign, self.run(inner)?, column),
            Node::Binary(sign, left, right) => self.operator(sign, left, right, column),
            Node::Cast(inner, name) => self.cast(self.run(inner)?, self.resolve_type(name)?, column),
            Node::SizeOf(inner) => {
                Ok(Value::from_u64(self.run(inner)?.through_reference(self.memory).ty.size()))
            }
            Node::SizeOfType(name) => Ok(Value::from_u64(self.resolve_type(name)?.size())),
            Node::Choice(condition, yes, no) => {
                let chosen = if self.truth(condition)? { yes } else { no };
                self.run(chosen)
            }
        }
    }

    fn truth(&self, expr: &Expr) -> Result<bool, Error> {
        let value = self.run(expr)?.through_reference(self.memory);
        super::operators::truth(&value, self.memory, expr.column)
    }

    fn operator(&self, sign: &str, left: &Expr, right: &Expr, column: usize) -> Result<Value, Error> {
        match sign {
            "&&" => Ok(self.boolean(self.truth(left)? && self.truth(right)?)),
            "||" => Ok(self.boolean(self.truth(left)? || self.truth(right)?)),
            "@" => self.repeated(&self.run(left)?, &self.run(right)?, column),
            _ => self.binary(sign, self.run(left)?, self.run(right)?, column),
        }
    }

    /// gdb's `first@count`: an array from its first element.
    fn repeated(&self, first: &Value, count: &Value, column: usize) -> Result<Value, Error> {
        let address = first
            .address
            .ok_or_else(|| Error::new(column, "only values in memory can be extended with '@'"))?;
        let count = count.as_u64(self.memory).map_err(|missing| Error::new(column, missing.to_string()))?;
        Ok(Value::at(Type::Array(Arc::new(first.ty.clone()), Some(count)), address))
    }

    fn character(&self, value: u32) -> Value {
        let scalar = match self.is_rust() || value > 0xff {
            true => Scalar::new("char", Encoding::Unicode, 4),
            false => Scalar::new("char", Encoding::SignedChar, 1),
        };
        Value::of_int(scalar, i128::from(value))
    }

    fn name(&self, name: &str, column: usize) -> Result<Value, Error> {
        match name {
            "true" | "false" => {
                return Ok(Value::of_int(Scalar::new("bool", Encoding::Bool, 1), i128::from(name == "true")));
            }
            "nullptr" | "NULL" => {
                return Ok(with_number(Type::Pointer(Arc::new(Type::Void)), 0, 8));
            }
            _ => {}
        }
        let found = self.local(name).or_else(|| self.implicit(name)).or_else(|| self.global(name));
        let found = found.or_else(|| self.enumerator(name)).or_else(|| self.function(name));
        let found = found.or_else(|| self.data_symbol(name));
        found.ok_or_else(|| Error::new(column, format!("no symbol \"{name}\" in current context")))
    }

    /// A member of `*this`, which C++ code names without `this->`.
    fn implicit(&self, name: &str) -> Option<Value> {
        let this = self.local("this").filter(|this| !this.ty.is_rust())?;
        this.pointee(self.memory).ok()??.field(name, self.memory)
    }

    /// A constant of an enumeration of the frame's own unit.
    pub(super) fn enumerator(&self, name: &str) -> Option<Value> {
        let here = self.frame?.function.as_ref()?;
        let debug = here.module.debug()?;
        let parts = names::components(name);
        let (last, scope) = parts.split_last()?;
        let scope = scope.join("::");
        let types = debug
            .index(here.at.unit)?
            .types
            .iter()
            .filter(|named| scope.is_empty() || names::matches(&named.name, &scope));
        types.into_iter().find_map(|named| {
            let at = DieAt { unit: here.at.unit, offset: named.die };
            debug.die(at).filter(|die| die.tag() == dw::DW_TAG_enumeration_type)?;
            let ty = Type::described(ModuleDie { module: Arc::clone(&here.module), at });
            let Kind::Enum(enumeration) = ty.kind() else { return None };
            let value = enumeration.values.iter().find(|known| known.0 == *last)?.1;
            Some(with_number(ty, value, enumeration.size))
        })
    }

    pub(super) fn function(&self, name: &str) -> Option<Value> {
        let function = self.symbols.functions(name).into_iter().find(|function| !function.inlined)?;
        let debug = function.module.debug();
        let address = function.module.to_file(function.entry);
        let described = debug.and_then(|debug| {
            let unit = debug.unit_at(address)?;
            let offset = debug.index(unit)?.function_at(address)?.die;
            Some(Type::described(ModuleDie {
                module: Arc::clone(&function.module),
                at: DieAt { unit, offset },
            }))
        });
        let ty = described
            .unwrap_or_else(|| Type::scalar("<text variable, no debug info>", Encoding::Unsigned, 1));
        Some(Value::at(ty, function.entry))
    }

    /// Without debug information a variable is a number of its symbol's size.
    pub(super) fn data_symbol(&self, name: &str) -> Option<Value> {
        let (address, size) = self.symbols.data_symbol(name)?;
        let size = if matches!(size, 1 | 2 | 4 | 8) { size } else { 4 };
        Some(Value::at(Type::scalar("<data variable, no debug info>", Encoding::Signed, size), address))
    }

    fn dollar(&self, name: &str, column: usize) -> Result<Value, Error> {
        if let Some(value) = (self.convenience)(name) {
            return Ok(value);
        }
        let Some(part) = Registers::part(name) else {
            return Err(Error::new(column, format!("no register or convenience variable ${name}")));
        };
        let value = self.frame.and_then(|frame| frame.registers.by_name(name));
        let missing = || Error::new(column, format!("register ${name} is not available in this frame"));
        let value = value.ok_or_else(missing)?;
        let mut value = match name {
            "rip" | "pc" => {
                let code = Type::scalar("void ()", Encoding::Unsigned, 1);
                with_number(Type::Pointer(Arc::new(code)), value as i128, 8)
            }
            "rsp" | "sp" | "rbp" | "fp" => with_number(Type::Pointer(Arc::new(Type::Void)), value as i128, 8),
            _ => {
                let names = ["", "int8_t", "int16_t", "", "int", "", "", "", "long"];
                let known = names.get(usize::from(part.size)).copied().unwrap_or("uint128_t");
                let encoding = if part.size == 16 { Encoding::Unsigned } else { Encoding::Signed };
                Value::of_int(Scalar::new(known, encoding, u64::from(part.size)), value as i128)
            }
        };
        value.register = Some(part.number);
        Ok(value)
    }

    fn field(&self, value: Value, name: &str, column: usize) -> Result<Value, Error> {
        let fail = |missing: crate::Missing| Error::new(column, missing.to_string());
        let mut value = value.through_reference(self.memory);
        // `.` goes through pointers and boxes, as in Rust (and as gdb does it).
        for _ in 0..8 {
            if let Some(found) = value.field(name, self.memory) {
                return Ok(found);
            }
            if let Some(found) = self.dynamic(&value).and_then(|whole| whole.field(name, self.memory)) {
                return Ok(found);
            }
            if let Some(missing) = value.absent() {
                return Err(fail(missing.clone()));
            }
            let boxed = inner(&value, self.memory).ok().flatten();
            match boxed.map_or_else(|| value.pointee(self.memory).map_err(fail), |inner| Ok(Some(inner)))? {
                Some(inner) => value = inner,
                None => break,
            }
        }
        match value.ty.kind() {
            Kind::Record(_) => Err(Error::new(column, format!("there is no member named {name}"))),
            _ => Err(Error::new(column, format!("a value of type {} has no members", value.type_name()))),
        }
    }

    fn dereference(&self, value: Value, column: usize) -> Result<Value, Error> {
        let fail = |missing: crate::Missing| Error::new(column, missing.to_string());
        let value = self.decayed(value);
        if let Ok(Some(Shape::Boxed { value, .. })) = shape(&value, self.memory) {
            return Ok(value);
        }
        if let Some(inner) = value.pointee(self.memory).map_err(fail)? {
            return match inner.ty.kind() {
                Kind::Void => Err(Error::new(
                    column,
                    "attempt to take contents of a non-pointer value: cast the void pointer first",
                )),
                _ => Ok(inner),
            };
        }
        // A bare number is an address of a long, as in gdb.
        match value.integer(self.memory).map_err(fail)? {
            Some(address) => Ok(Value::at(Type::scalar("long", Encoding::Signed, 8), address as u64)),
            None => Err(Error::new(column, "attempt to take contents of a non-pointer value")),
        }
    }

    fn address_of(&self, value: &Value, column: usize) -> Result<Value, Error> {
        if value.register.is_some() {
            return Err(Error::new(column, "attempt to take address of value which is in a register"));
        }
        let value = value.clone().through_reference(self.memory);
        let address = value.address.ok_or_else(|| match value.absent() {
            Some(missing) => Error::new(column, missing.to_string()),
            None => Error::new(column, "attempt to take address of value not located in memory"),
        })?;
        Ok(with_number(Type::Pointer(Arc::new(value.ty.clone())), i128::from(address), 8))
    }

    /// The bytes of memory behind an address, for `x`.
    ///
    /// # Errors
    /// Not readable.
    pub fn bytes_at(&self, address: u64, size: usize) -> Result<Vec<u8>, crate::Unreadable> {
        memory::read_bytes(self.memory, address, size.min(memory::TEXT_BYTES_MAX))
    }
}

fn literal(value: u128, suffix: &str, column: usize) -> Result<Value, Error> {
    let too_large = || Error::new(column, "numeric constant too large");
    let named = super::casts::builtin(suffix.trim_start_matches('_'), true).filter(|_| !suffix.is_empty());
    if let Some(Type::Scalar(scalar)) = named {
        return Ok(Value::of_int(scalar, value as i128));
    }
    let unsigned = suffix.contains('u');
    let long = suffix.contains('l');
    let (name, encoding, size) = match (unsigned, long) {
        (false, false) if value <= 0x7fff_ffff => ("int", Encoding::Signed, 4),
        (true, false) if value <= 0xffff_ffff => ("unsigned int", Encoding::Unsigned, 4),
        (false, _) if value <= i64::MAX as u128 => ("long", Encoding::Signed, 8),
        _ if value <= u64::MAX.into() => ("unsigned long", Encoding::Unsigned, 8),
        _ if value <= i128::MAX as u128 => ("__int128", Encoding::Signed, 16),
        _ => return Err(too_large()),
    };
    Ok(Value::of_int(Scalar::new(name, encoding, size), value as i128))
}
