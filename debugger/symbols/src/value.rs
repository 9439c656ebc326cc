//! Values: a type with bytes, or with the address where the bytes are. Memory is read late, so that
//! `table[5].name` touches nothing but the name.

use crate::location::{Missing, Place};
use crate::memory::{self, Memory};
use crate::types::{Encoding, Kind, Member, Record, Scalar, Type, Variants};
use std::ops::Range;
use std::sync::Arc;

/// The largest value that is read whole.
pub(crate) const VALUE_BYTES_MAX: u64 = 16 << 20;

/// A typed value of the program, or of an expression.
#[derive(Clone, Debug)]
pub struct Value {
    pub(crate) ty: Type,
    pub(crate) data: Data,
    /// Where it lies in memory.
    pub(crate) address: Option<u64>,
    /// The register that holds it.
    pub(crate) register: Option<u16>,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// At `address`, not read yet.
    Memory,
    Bytes {
        bytes: Arc<[u8]>,
        holes: Vec<Range<usize>>,
    },
    Missing(Missing),
}

impl Value {
    pub(crate) fn at(ty: Type, address: u64) -> Self {
        Self { ty, data: Data::Memory, address: Some(address), register: None }
    }

    pub(crate) fn of_bytes(ty: Type, bytes: Vec<u8>) -> Self {
        let data = Data::Bytes { bytes: bytes.into(), holes: Vec::new() };
        Self { ty, data, address: None, register: None }
    }

    pub(crate) fn missing(ty: Type, missing: Missing) -> Self {
        Self { ty, data: Data::Missing(missing), address: None, register: None }
    }

    pub(crate) fn of_place(ty: Type, place: Result<Place, Missing>) -> Self {
        match place {
            Ok(Place::Memory(address)) => Self::at(ty, address),
            Ok(Place::Bytes { bytes, holes, register }) => {
                Self { ty, data: Data::Bytes { bytes: bytes.into(), holes }, address: None, register }
            }
            Err(missing) => Self::missing(ty, missing),
        }
    }

    /// A number of a scalar type, cut to its size.
    pub(crate) fn of_int(scalar: Scalar, number: i128) -> Self {
        let size = scalar.size.min(16) as usize;
        let bytes = number.to_le_bytes().get(..size).unwrap_or_default().to_vec();
        Self::of_bytes(Type::Scalar(scalar), bytes)
    }

    /// A signed 64-bit number, as convenience variables hold them.
    pub fn from_i64(number: i64) -> Self {
        Self::of_int(Scalar::new("long", Encoding::Signed, 8), i128::from(number))
    }

    /// An unsigned 64-bit number.
    pub fn from_u64(number: u64) -> Self {
        Self::of_int(Scalar::new("unsigned long", Encoding::Unsigned, 8), i128::from(number))
    }

    pub(crate) fn of_f64(number: f64) -> Self {
        Self::of_bytes(Type::scalar("double", Encoding::Float, 8), number.to_le_bytes().to_vec())
    }

    /// A text of an expression, without an address in the program.
    pub(crate) fn of_text(text: &[u8]) -> Self {
        let element = Type::scalar("char", Encoding::SignedChar, 1);
        let mut bytes = text.to_vec();
        bytes.push(0);
        Self::of_bytes(Type::Array(Arc::new(element), Some(bytes.len() as u64)), bytes)
    }

    /// Bytes of a type, as they were at an address at some time: the old value of a watchpoint.
    pub fn typed(ty: Type, bytes: Vec<u8>, address: u64) -> Self {
        Self { address: Some(address), ..Self::of_bytes(ty, bytes) }
    }

    /// Bytes of a type that lie nowhere in memory: what a function returned.
    pub fn in_register(ty: Type, bytes: Vec<u8>) -> Self {
        Self::of_bytes(ty, bytes)
    }

    /// The value's type.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The name of the value's type.
    pub fn type_name(&self) -> String {
        self.ty.name()
    }

    /// Its address, when it lies in memory: what `&` gives and what a watchpoint watches.
    pub fn address(&self) -> Option<u64> {
        self.address
    }

    /// The DWARF number of the register that holds it, when a single one does.
    pub fn register(&self) -> Option<u16> {
        self.register
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match &self.data {
            Data::Bytes { bytes, .. } => bytes.len() as u64,
            _ => self.ty.size(),
        }
    }

    /// Why it has no value, when it has none.
    pub fn absent(&self) -> Option<&Missing> {
        match &self.data {
            Data::Missing(missing) => Some(missing),
            _ => None,
        }
    }

    /// All of its bytes.
    ///
    /// # Errors
    /// Optimised out (or partly), not readable, or too large.
    pub fn bytes(&self, memory: &dyn Memory) -> Result<Arc<[u8]>, Missing> {
        match &self.data {
            Data::Missing(missing) => Err(missing.clone()),
            Data::Bytes { holes, .. } if !holes.is_empty() => Err(Missing::OptimizedOut),
            Data::Bytes { bytes, .. } => Ok(Arc::clone(bytes)),
            Data::Memory => Ok(self.read(memory)?.into()),
        }
    }

    fn read(&self, memory: &dyn Memory) -> Result<Vec<u8>, Missing> {
        let address = self.address.ok_or(Missing::OptimizedOut)?;
        let size = self.ty.size();
        if size > VALUE_BYTES_MAX {
            return Err(Missing::NotAvailable(format!("value of {size} bytes is too large to read whole")));
        }
        Ok(memory::read_bytes(memory, address, size as usize)?)
    }

    /// The same value with its bytes read now: a copy that later memory does not change.
    #[must_use]
    pub fn loaded(mut self, memory: &dyn Memory) -> Self {
        if matches!(self.data, Data::Memory) && self.ty.size() <= VALUE_BYTES_MAX {
            self.data = match self.read(memory) {
                Ok(bytes) => Data::Bytes { bytes: bytes.into(), holes: Vec::new() },
                Err(missing) => Data::Missing(missing),
            };
        }
        self
    }

    /// A part of the value, of another type.
    pub(crate) fn part(&self, ty: Type, offset: u64) -> Self {
        let address = self.address.map(|address| address.wrapping_add(offset));
        let size = ty.size();
        let data = match &self.data {
            Data::Memory => Data::Memory,
            Data::Missing(missing) => Data::Missing(missing.clone()),
            Data::Bytes { bytes, holes } => cut(bytes, holes, offset, size),
        };
        Self { ty, data, address, register: None }
    }

    /// A member of a record value.
    pub(crate) fn member(&self, member: &Member, memory: &dyn Memory) -> Self {
        match member.bits {
            None => self.part(member.ty.clone(), member.offset),
            Some((first, width)) => self.bit_field(member, first, width, memory),
        }
    }

    fn bit_field(&self, member: &Member, first: u64, width: u64, memory: &dyn Memory) -> Self {
        let size = (first % 8 + width).div_ceil(8).min(17);
        let byte = Type::scalar("unsigned char", Encoding::Unsigned, 1);
        let storage = self.part(Type::Array(Arc::new(byte), Some(size)), first / 8);
        let bytes = match storage.bytes(memory) {
            Ok(bytes) => bytes,
            Err(missing) => return Self::missing(member.ty.clone(), missing),
        };
        let bit = |index: u64| {
            let byte = bytes.get((index / 8) as usize).copied().unwrap_or(0);
            u128::from(byte >> (index % 8) & 1)
        };
        let raw = (0..width.min(128)).fold(0_u128, |sum, index| sum | bit(first % 8 + index) << index);
        let signed = match member.ty.kind() {
            Kind::Scalar(scalar) => scalar.is_signed(),
            Kind::Enum(enumeration) => enumeration.signed,
            _ => false,
        };
        let unused = 128 - width.clamp(1, 128) as u32;
        let number = if signed { (raw << unused) as i128 >> unused } else { raw as i128 };
        let bytes = number.to_le_bytes();
        let size = member.ty.size().min(16) as usize;
        Self::of_bytes(member.ty.clone(), bytes.get(..size).unwrap_or_default().to_vec())
    }

    /// The value as an integer when its type is one (or a pointer, enumeration, character or truth value).
    pub(crate) fn integer(&self, memory: &dyn Memory) -> Result<Option<i128>, Missing> {
        let signed = match self.ty.kind() {
            Kind::Scalar(scalar) if scalar.encoding == Encoding::Float => return Ok(None),
            Kind::Scalar(scalar) => scalar.is_signed(),
            Kind::Enum(enumeration) => enumeration.signed,
            Kind::Pointer { reference, .. } if !reference && self.ty.size() == 8 => false,
            _ => return Ok(None),
        };
        let bytes = self.bytes(memory)?;
        Ok(Some(integer_of(&bytes, signed)))
    }

    /// The value as a number with a fraction, when its type is one.
    pub(crate) fn float(&self, memory: &dyn Memory) -> Result<Option<f64>, Missing> {
        match self.ty.kind() {
            Kind::Scalar(scalar) if scalar.encoding == Encoding::Float => {
                Ok(Some(float_of(&self.bytes(memory)?)))
            }
            _ => Ok(None),
        }
    }

    /// Integer value as unsigned 64 bits, for addresses and counts.
    ///
    /// # Errors
    /// It is no integer, or has no value.
    pub fn as_u64(&self, memory: &dyn Memory) -> Result<u64, Missing> {
        let number = self.integer(memory)?;
        number.map(|number| number as u64).ok_or_else(|| Missing::NotAvailable("not an integer".into()))
    }

    /// What a pointer points to.
    pub(crate) fn pointee(&self, memory: &dyn Memory) -> Result<Option<Self>, Missing> {
        let Kind::Pointer { target, .. } = self.ty.kind() else { return Ok(None) };
        let bytes = self.bytes(memory)?;
        Ok(Some(Self::at(target, integer_of(&bytes, false) as u64)))
    }

    /// A C++ reference stands for what it refers to.
    pub(crate) fn through_reference(self, memory: &dyn Memory) -> Self {
        match self.ty.kind() {
            Kind::Pointer { target, reference: true } => match self.bytes(memory) {
                Ok(bytes) => Self::at(target, integer_of(&bytes, false) as u64),
                Err(missing) => Self::missing(target, missing),
            },
            _ => self,
        }
    }

    pub(crate) fn record(&self) -> Option<Record> {
        match self.ty.kind() {
            Kind::Record(record) => Some(record),
            _ => None,
        }
    }

    /// The member of this name: own, of an anonymous member, of a base class, or of the active variant.
    pub(crate) fn field(&self, name: &str, memory: &dyn Memory) -> Option<Self> {
        self.field_at(name, memory, 0)
    }

    fn field_at(&self, name: &str, memory: &dyn Memory, depth: u32) -> Option<Self> {
        let record = self.record().filter(|_| depth < 16)?;
        let is_name = |member: &&Member| {
            let own = member.name.as_deref();
            // Rust's tuple fields are `__0`, and users write `.0`.
            own == Some(name) || own.and_then(|own| own.strip_prefix("__")) == Some(name)
        };
        if let Some(member) = record.members.iter().find(is_name) {
            return Some(self.member(member, memory));
        }
        let hidden = record.members.iter().filter(|member| member.base || member.name.is_none());
        let hidden = hidden.map(|member| self.member(member, memory)).collect::<Vec<_>>();
        let active = record.variants.as_ref().and_then(|variants| self.active_variant(variants, memory).ok());
        let active = active.map(|member| self.member(member, memory));
        hidden.into_iter().chain(active).find_map(|inner| inner.field_at(name, memory, depth + 1))
    }

    /// The variant that the tag says is there.
    pub(crate) fn active_variant<'a>(
        &self,
        variants: &'a Variants,
        memory: &dyn Memory,
    ) -> Result<&'a Member, Missing> {
        let broken = || Missing::NotAvailable("no variant has this tag".into());
        let Some(tag) = &variants.tag else {
            return variants.all.first().map(|variant| &variant.member).ok_or_else(broken);
        };
        let bytes = self.member(tag, memory).bytes(memory)?;
        let value = integer_of(&bytes, false) as u128;
        let has = |ranges: &[(u128, u128)]| ranges.iter().any(|&(low, high)| low <= value && value <= high);
        let found = variants.all.iter().find(|variant| has(&variant.tags));
        let found = found.or_else(|| variants.all.iter().find(|variant| variant.tags.is_empty()));
        found.map(|variant| &variant.member).ok_or_else(broken)
    }
}

fn cut(bytes: &Arc<[u8]>, holes: &[Range<usize>], offset: u64, size: u64) -> Data {
    let range = || {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        Some((start..end, bytes.get(start..end)?))
    };
    let Some((range, part)) = range() else {
        return Data::Missing(Missing::NotAvailable("part lies outside of its value".into()));
    };
    let inside = holes.iter().filter(|hole| hole.start < range.end && range.start < hole.end);
    let moved = inside.map(|hole| {
        hole.start.saturating_sub(range.start)..hole.end.saturating_sub(range.start).min(part.len())
    });
    let holes: Vec<_> = moved.collect();
    if holes.first().is_some_and(|hole| hole.start == 0 && hole.end >= part.len() && !part.is_empty()) {
        return Data::Missing(Missing::OptimizedOut);
    }
    Data::Bytes { bytes: part.into(), holes }
}

/// Little-endian bytes, at most 16 of them, as a number.
pub(crate) fn integer_of(bytes: &[u8], signed: bool) -> i128 {
    let mut wide = [0; 16];
    wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let unused = 128 - 8 * bytes.len().clamp(1, 16) as u32;
    let number = u128::from_le_bytes(wide);
    if signed { (number << unused) as i128 >> unused } else { number as i128 }
}

/// IEEE bytes of 4 or 8, or the x87 form of 10 and more, rounded to double.
pub(crate) fn float_of(bytes: &[u8]) -> f64 {
    match bytes.len() {
        4 => f64::from(f32::from_bits(integer_of(bytes, false) as u32)),
        10.. => extended_of(bytes),
        _ => f64::from_bits(integer_of(bytes, false) as u64),
    }
}

fn extended_of(bytes: &[u8]) -> f64 {
    let mantissa = integer_of(bytes.get(..8).unwrap_or_default(), false) as u64;
    let head = integer_of(bytes.get(8..10).unwrap_or_default(), false) as i32;
    let sign = if head & 0x8000 != 0 { -1.0 } else { 1.0 };
    match head & 0x7fff {
        0x7fff if mantissa << 1 == 0 => sign * f64::INFINITY,
        0x7fff => f64::NAN,
        exponent => sign * (mantissa as f64) * 2_f64.powi(exponent - 16383 - 63),
    }
}
