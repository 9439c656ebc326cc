//! Types as the debug information describes them, read one level at a time: a type may contain itself.

use crate::debug::{Debug, Die, DieAt, LINKS_MAX};
use crate::module::ModuleDie;
use gimli::AttributeValue;
use gimli::constants as dw;
use std::sync::Arc;

/// Members, enumerators and parameters read of one type at most.
const MEMBERS_MAX: usize = 100_000;
/// Nesting of a type's printed name.
const NAME_DEPTH_MAX: u32 = 12;

/// A type: of the debug information, or made by an expression.
#[derive(Clone, Debug)]
pub enum Type {
    /// `void`, or nothing known.
    Void,
    /// A scalar without debug information: literals, registers, results.
    Scalar(Scalar),
    /// A pointer made by `&`.
    Pointer(Arc<Type>),
    /// An array made by `@`, or one dimension of several.
    Array(Arc<Type>, Option<u64>),
    /// A type of the debug information.
    Described(Described),
}

/// A reference to a type in debug information.
#[derive(Clone, Debug)]
pub struct Described(pub(crate) ModuleDie);

/// A scalar's name, encoding and size in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// As it is printed.
    pub name: Arc<str>,
    /// How its bits are read.
    pub encoding: Encoding,
    /// In bytes.
    pub size: u64,
}

/// How a scalar's bits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Two's complement.
    Signed,
    /// Without sign.
    Unsigned,
    /// IEEE 754, or x87 when it has 16 bytes.
    Float,
    /// Zero is false.
    Bool,
    /// A C character with a sign.
    SignedChar,
    /// A C character without a sign.
    UnsignedChar,
    /// A Unicode code point or unit.
    Unicode,
}

/// What a type is, with names and qualifiers taken off.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Void,
    Scalar(Scalar),
    Pointer { target: Type, reference: bool },
    Record(Record),
    Array { element: Type, count: Option<u64> },
    Enum(Enum),
    Function,
}

#[derive(Clone, Debug)]
pub(crate) struct Enum {
    /// What stands before a constant's name: the path of the type, or of its namespace.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) signed: bool,
    pub(crate) values: Vec<(String, i128)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) rust: bool,
    pub(crate) members: Vec<Member>,
    pub(crate) variants: Option<Variants>,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: Option<String>,
    pub(crate) ty: Type,
    pub(crate) offset: u64,
    /// Position from the start of the record and width, in bits.
    pub(crate) bits: Option<(u64, u64)>,
    pub(crate) base: bool,
    /// Where it is declared.
    pub(crate) line: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Variants {
    pub(crate) tag: Option<Member>,
    pub(crate) all: Vec<Variant>,
}

#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// Values of the tag, as inclusive ranges; empty for the variant that takes all others.
    pub(crate) tags: Vec<(u128, u128)>,
    pub(crate) member: Member,
}

impl Scalar {
    pub(crate) fn new(name: &str, encoding: Encoding, size: u64) -> Self {
        Self { name: name.into(), encoding, size }
    }

    pub(crate) fn is_signed(&self) -> bool {
        matches!(self.encoding, Encoding::Signed | Encoding::SignedChar)
    }

    pub(crate) fn is_char(&self) -> bool {
        matches!(self.encoding, Encoding::SignedChar | Encoding::UnsignedChar | Encoding::Unicode)
    }
}

impl Type {
    pub(crate) fn scalar(name: &str, encoding: Encoding, size: u64) -> Self {
        Self::Scalar(Scalar::new(name, encoding, size))
    }

    pub(crate) fn described(die: ModuleDie) -> Self {
        Self::Described(Described(die))
    }

    /// The type as one would write it, with the path of its namespaces.
    pub fn name(&self) -> String {
        self.name_at(0)
    }

    fn name_at(&self, depth: u32) -> String {
        if depth > NAME_DEPTH_MAX {
            return "…".into();
        }
        match self {
            Self::Void => "void".into(),
            Self::Scalar(scalar) => scalar.name.to_string(),
            Self::Pointer(target) => pointer_name(target, "*", depth),
            Self::Array(element, count) => {
                format!(
                    "{} [{}]",
                    element.name_at(depth + 1),
                    count.map_or(String::new(), |count| count.to_string())
                )
            }
            Self::Described(described) => described.name(depth).unwrap_or_else(|| "{anonymous}".into()),
        }
    }

    /// Size in bytes; 0 when it has none.
    pub fn size(&self) -> u64 {
        match self.kind() {
            Kind::Void => 0,
            Kind::Scalar(scalar) => scalar.size,
            Kind::Pointer { .. } => 8,
            Kind::Record(record) => record.size,
            Kind::Array { element, count } => element.size().saturating_mul(count.unwrap_or(0)),
            Kind::Enum(enumeration) => enumeration.size,
            Kind::Function => 1,
        }
    }

    /// What the type is, behind typedefs and qualifiers.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Void => Kind::Void,
            Self::Scalar(scalar) => Kind::Scalar(scalar.clone()),
            Self::Pointer(target) => Kind::Pointer { target: target.as_ref().clone(), reference: false },
            Self::Array(element, count) => Kind::Array { element: element.as_ref().clone(), count: *count },
            Self::Described(described) => described.kind().unwrap_or(Kind::Void),
        }
    }

    /// The type behind typedefs and qualifiers, when it is described.
    pub(crate) fn stripped(&self) -> Option<Type> {
        let Self::Described(Described(own)) = self else { return None };
        let debug = own.module.debug()?;
        let mut at = own.at;
        for _ in 0..LINKS_MAX {
            let die = debug.die(at)?;
            let named = matches!(
                die.tag(),
                dw::DW_TAG_typedef
                    | dw::DW_TAG_const_type
                    | dw::DW_TAG_volatile_type
                    | dw::DW_TAG_atomic_type
            );
            match debug.linked(at, &die, dw::DW_AT_type).filter(|_| named) {
                Some(next) => at = next,
                None => break,
            }
        }
        Some(Self::described(ModuleDie { module: Arc::clone(&own.module), at }))
    }

    /// A class without data, as empty bases are.
    pub(crate) fn is_empty_record(&self) -> bool {
        let Kind::Record(record) = self.kind() else { return false };
        record.members.iter().all(|member| member.base && member.ty.is_empty_record())
    }

    /// Whether the type comes from a Rust unit.
    pub fn is_rust(&self) -> bool {
        match self {
            Self::Described(Described(die)) => {
                let language = die.module.debug().and_then(|debug| debug.language(die.at.unit));
                language == Some(dw::DW_LANG_Rust)
            }
            Self::Pointer(inner) | Self::Array(inner, _) => inner.is_rust(),
            Self::Void | Self::Scalar(_) => false,
        }
    }
}

/// `int *`, `&str` from its parts; a pointer to a function or array is written around its name.
fn pointer_name(target: &Type, mark: &str, depth: u32) -> String {
    let name = target.name_at(depth + 1);
    if let Some((before, after)) =
        name.split_once(" (").filter(|_| name.ends_with(')') && !name.contains("(*"))
    {
        return format!("{before} ({mark})({after}");
    }
    if let Some((before, after)) = name.split_once(" [").filter(|_| name.ends_with(']')) {
        return format!("{before} ({mark})[{after}");
    }
    let space = if name.ends_with('*') { "" } else { " " };
    format!("{name}{space}{mark}")
}

impl Described {
    /// The module whose debug information holds it.
    pub(crate) fn module(&self) -> &Arc<crate::module::Module> {
        &self.0.module
    }

    fn parts(&self) -> Option<(&Debug, DieAt, Die)> {
        let debug = self.0.module.debug()?;
        Some((debug, self.0.at, debug.die(self.0.at)?))
    }

    fn with(&self, at: DieAt) -> Type {
        Type::described(ModuleDie { module: Arc::clone(&self.0.module), at })
    }

    /// The type a DIE's `DW_AT_type` means; without one it is void.
    fn inner(&self, debug: &Debug, at: DieAt, die: &Die) -> Type {
        debug.linked(at, die, dw::DW_AT_type).map_or(Type::Void, |at| self.with(at))
    }

    fn name(&self, depth: u32) -> Option<String> {
        let (debug, at, die) = self.parts()?;
        if die.tag() != dw::DW_TAG_subprogram
            && let Some(name) = qualified_name(debug, at, &die)
        {
            return Some(with_keyword(debug, at, &die, &name));
        }
        let inner = || self.inner(debug, at, &die).name_at(depth + 1);
        Some(match die.tag() {
            dw::DW_TAG_pointer_type => pointer_name(&self.inner(debug, at, &die), "*", depth),
            dw::DW_TAG_reference_type => pointer_name(&self.inner(debug, at, &die), "&", depth),
            dw::DW_TAG_rvalue_reference_type => pointer_name(&self.inner(debug, at, &die), "&&", depth),
            dw::DW_TAG_const_type => match self.inner(debug, at, &die).kind() {
                Kind::Pointer { .. } => format!("{} const", inner()),
                _ => format!("const {}", inner()),
            },
            dw::DW_TAG_volatile_type => format!("volatile {}", inner()),
            dw::DW_TAG_restrict_type => format!("{} restrict", inner()),
            dw::DW_TAG_atomic_type => format!("_Atomic {}", inner()),
            dw::DW_TAG_array_type => array_name(inner(), &self.counts(debug, at)),
            dw::DW_TAG_subroutine_type | dw::DW_TAG_subprogram => {
                format!("{} ({})", inner(), self.parameters(debug, at, depth))
            }
            dw::DW_TAG_structure_type => "struct {...}".into(),
            dw::DW_TAG_union_type => "union {...}".into(),
            dw::DW_TAG_enumeration_type => "enum {...}".into(),
            _ => return None,
        })
    }

    fn parameters(&self, debug: &Debug, at: DieAt, depth: u32) -> String {
        let mut names = Vec::new();
        debug.children(at, |child, die| {
            if die.tag() == dw::DW_TAG_formal_parameter && names.len() < MEMBERS_MAX {
                names.push(self.inner(debug, child, die).name_at(depth + 1));
            }
        });
        if names.is_empty() { "void".into() } else { names.join(", ") }
    }

    fn kind(&self) -> Option<Kind> {
        let debug = self.0.module.debug()?;
        let mut at = self.0.at;
        for _ in 0..LINKS_MAX {
            let die = debug.die(at)?;
            match die.tag() {
                dw::DW_TAG_typedef
                | dw::DW_TAG_const_type
                | dw::DW_TAG_volatile_type
                | dw::DW_TAG_restrict_type
                | dw::DW_TAG_atomic_type
                | dw::DW_TAG_immutable_type
                | dw::DW_TAG_packed_type => match debug.linked(at, &die, dw::DW_AT_type) {
                    Some(next) => at = next,
                    None => return Some(Kind::Void),
                },
                _ => return self.kind_of(debug, at, &die),
            }
        }
        None
    }

    fn kind_of(&self, debug: &Debug, at: DieAt, die: &Die) -> Option<Kind> {
        let pointer = |reference| Kind::Pointer { target: self.inner(debug, at, die), reference };
        Some(match die.tag() {
            dw::DW_TAG_base_type => Kind::Scalar(scalar(debug, at, die)),
            dw::DW_TAG_pointer_type => pointer(false),
            dw::DW_TAG_reference_type | dw::DW_TAG_rvalue_reference_type => pointer(true),
            dw::DW_TAG_structure_type | dw::DW_TAG_class_type | dw::DW_TAG_union_type => {
                match self.completed(debug, at, die) {
                    Some((module, at, die)) => {
                        let other = Self(ModuleDie { module: Arc::clone(&module), at });
                        Kind::Record(other.record(module.debug()?, at, &die))
                    }
                    None => Kind::Record(self.record(debug, at, die)),
                }
            }
            dw::DW_TAG_array_type => self.array(debug, at, die),
            dw::DW_TAG_enumeration_type => Kind::Enum(self.enumeration(debug, at, die)),
            dw::DW_TAG_subroutine_type | dw::DW_TAG_subprogram => Kind::Function,
            // The offset of a member, or a function with its adjustment (Itanium C++ ABI, 2.3).
            dw::DW_TAG_ptr_to_member_type => {
                let function = matches!(self.inner(debug, at, die).kind(), Kind::Function);
                let size = if function { 16 } else { 8 };
                Kind::Scalar(Scalar::new("pointer to member", Encoding::Signed, size))
            }
            _ => Kind::Void,
        })
    }

    /// The DIE that holds this type's members, behind qualifiers and declarations.
    pub(crate) fn definition(&self) -> Option<ModuleDie> {
        let debug = self.0.module.debug()?;
        let mut at = self.0.at;
        for _ in 0..LINKS_MAX {
            let die = debug.die(at)?;
            match debug.linked(at, &die, dw::DW_AT_type) {
                Some(next) => at = next,
                None => {
                    let whole = self.completed(debug, at, &die).map(|(_, at, _)| at);
                    return Some(ModuleDie { module: Arc::clone(&self.0.module), at: whole.unwrap_or(at) });
                }
            }
        }
        None
    }

    /// The whole type for a declaration: by signature, else by name in the same module.
    fn completed(
        &self,
        debug: &Debug,
        at: DieAt,
        die: &Die,
    ) -> Option<(Arc<crate::module::Module>, DieAt, Die)> {
        if !die.has_attr(dw::DW_AT_declaration) && !die.has_attr(dw::DW_AT_signature) {
            return None;
        }
        let module = Arc::clone(&self.0.module);
        if let Some(at) = debug.linked(at, die, dw::DW_AT_signature) {
            let die = debug.die(at)?;
            if !die.has_attr(dw::DW_AT_declaration) {
                return Some((module, at, die));
            }
            return definition_of(debug, at).and_then(|at| Some((module, at, debug.die(at)?)));
        }
        if let Some(at) = definition_of(debug, at) {
            return Some((module, at, debug.die(at)?));
        }
        let name = debug.own_name(at.unit, die)?;
        debug.types_named(&name).into_iter().find_map(|(_, at)| {
            let other = debug.die(at).filter(|other| other.tag() == die.tag())?;
            Some((Arc::clone(&module), at, other))
        })
    }

    fn record(&self, debug: &Debug, at: DieAt, die: &Die) -> Record {
        let mut record = Record {
            name: qualified_name(debug, at, die).unwrap_or_default(),
            size: number(die, dw::DW_AT_byte_size).unwrap_or(0),
            rust: debug.language(at.unit) == Some(dw::DW_LANG_Rust),
            members: Vec::new(),
            variants: None,
        };
        let mut part = None;
        debug.children(at, |child, die| match die.tag() {
            dw::DW_TAG_member | dw::DW_TAG_inheritance
                if !is_static(die) && record.members.len() < MEMBERS_MAX =>
            {
                record.members.push(self.member(debug, child, die));
            }
            dw::DW_TAG_variant_part => part = Some((child, die.clone())),
            _ => {}
        });
        record.variants = part.map(|(at, die)| self.variants(debug, at, &die));
        record
    }

    fn member(&self, debug: &Debug, at: DieAt, die: &Die) -> Member {
        let ty = self.inner(debug, at, die);
        let offset = number(die, dw::DW_AT_data_member_location).unwrap_or(0);
        let bits = number(die, dw::DW_AT_bit_size).map(|width| {
            if let Some(first) = number(die, dw::DW_AT_data_bit_offset) {
                return (first, width);
            }
            // The old form counts from the most significant bit of a storage unit.
            let storage = number(die, dw::DW_AT_byte_size).unwrap_or_else(|| ty.size()).saturating_mul(8);
            let from_top = number(die, dw::DW_AT_bit_offset).unwrap_or(0);
            let first = storage.saturating_sub(from_top).saturating_sub(width);
            (offset.saturating_mul(8).saturating_add(first), width)
        });
        let bits = bits.filter(|&(_, width)| width > 0 && width <= 128);
        Member {
            name: debug.own_name(at.unit, die),
            ty,
            offset,
            bits,
            base: die.tag() == dw::DW_TAG_inheritance,
            line: number(die, dw::DW_AT_decl_line),
        }
    }

    fn variants(&self, debug: &Debug, at: DieAt, die: &Die) -> Variants {
        let tag_at = debug.linked(at, die, dw::DW_AT_discr);
        let tag = tag_at.and_then(|at| Some(self.member(debug, at, &debug.die(at)?)));
        let width = tag.as_ref().map_or(8, |tag| tag.ty.size());
        let mut all = Vec::new();
        debug.children(at, |child, die| {
            if die.tag() == dw::DW_TAG_variant && all.len() < MEMBERS_MAX {
                let tags = tags(die, width);
                debug.children(child, |child, die| {
                    if die.tag() == dw::DW_TAG_member {
                        all.push(Variant { tags: tags.clone(), member: self.member(debug, child, die) });
                    }
                });
            }
        });
        Variants { tag, all }
    }

    fn counts(&self, debug: &Debug, at: DieAt) -> Vec<Option<u64>> {
        let mut counts = Vec::new();
        debug.children(at, |_, die| {
            if die.tag() == dw::DW_TAG_subrange_type && counts.len() < 16 {
                let lower = number(die, dw::DW_AT_lower_bound).unwrap_or(0);
                let upper = number(die, dw::DW_AT_upper_bound);
                // An upper bound of -1 is how compilers write an array of length 0.
                let span = upper.and_then(|upper| upper.wrapping_add(1).checked_sub(lower));
                counts.push(number(die, dw::DW_AT_count).or(span));
            }
        });
        counts
    }

    fn array(&self, debug: &Debug, at: DieAt, die: &Die) -> Kind {
        let counts = self.counts(debug, at);
        let mut element = self.inner(debug, at, die);
        for count in counts.iter().skip(1).rev() {
            element = Type::Array(Arc::new(element), *count);
        }
        Kind::Array { element, count: counts.first().copied().flatten() }
    }

    fn enumeration(&self, debug: &Debug, at: DieAt, die: &Die) -> Enum {
        let base = match self.inner(debug, at, die).kind() {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        };
        let mut values: Vec<(String, i128)> = Vec::new();
        debug.children(at, |child, die| {
            if die.tag() == dw::DW_TAG_enumerator && values.len() < MEMBERS_MAX {
                let value = die.attr_value(dw::DW_AT_const_value).and_then(constant);
                values.extend(debug.own_name(child.unit, die).zip(value));
            }
        });
        let signed = base.as_ref().map_or_else(|| values.iter().any(|value| value.1 < 0), Scalar::is_signed);
        let size = number(die, dw::DW_AT_byte_size).or(base.map(|base| base.size)).unwrap_or(4);
        let name = qualified_name(debug, at, die).unwrap_or_default();
        let scoped = die.has_attr(dw::DW_AT_enum_class) || debug.language(at.unit) == Some(dw::DW_LANG_Rust);
        let path = if scoped { name } else { name.rsplit_once("::").map_or("", |cut| cut.0).to_owned() };
        Enum { path, size, signed, values }
    }
}

/// C names structures with their keyword, and gdb writes the short form of its integers.
fn with_keyword(debug: &Debug, at: DieAt, die: &Die, name: &str) -> String {
    let keyword = match die.tag() {
        dw::DW_TAG_base_type => return short_integer(name).to_owned(),
        dw::DW_TAG_structure_type => "struct",
        dw::DW_TAG_union_type => "union",
        dw::DW_TAG_enumeration_type => "enum",
        _ => return name.to_owned(),
    };
    if debug.is_c(at.unit) { format!("{keyword} {name}") } else { name.to_owned() }
}

/// The type of the same unit that completes a declaration: type units write namespaces so.
fn definition_of(debug: &Debug, declaration: DieAt) -> Option<DieAt> {
    let unit = declaration.unit;
    let mut types = debug.index(unit)?.types.iter().map(|named| DieAt { unit, offset: named.die });
    types.find(|&at| {
        let die = debug.die(at);
        die.and_then(|die| debug.linked(at, &die, dw::DW_AT_specification)) == Some(declaration)
    })
}

fn short_integer(name: &str) -> &str {
    match name {
        "long int" => "long",
        "short int" => "short",
        "long long int" => "long long",
        "long unsigned int" => "unsigned long",
        "short unsigned int" => "unsigned short",
        "long long unsigned int" => "unsigned long long",
        other => other,
    }
}

fn array_name(element: String, counts: &[Option<u64>]) -> String {
    let dimensions: String = counts
        .iter()
        .map(|count| format!("[{}]", count.map_or(String::new(), |count| count.to_string())))
        .collect();
    let split = element.find(" [").unwrap_or(element.len());
    let (base, rest) = element.split_at(split);
    format!("{base} {dimensions}{}", rest.trim_start())
}

fn scalar(debug: &Debug, at: DieAt, die: &Die) -> Scalar {
    let name = debug.own_name(at.unit, die).unwrap_or_default();
    let encoding = match die.attr_value(dw::DW_AT_encoding) {
        Some(AttributeValue::Encoding(encoding)) => encoding,
        _ => dw::DW_ATE_unsigned,
    };
    let rust = debug.language(at.unit) == Some(dw::DW_LANG_Rust);
    let encoding = match encoding {
        dw::DW_ATE_signed if name == "wchar_t" => Encoding::Unicode,
        dw::DW_ATE_signed => Encoding::Signed,
        dw::DW_ATE_float => Encoding::Float,
        dw::DW_ATE_boolean => Encoding::Bool,
        // Rust's i8 and u8 are numbers, whatever some compilers call them.
        dw::DW_ATE_signed_char if rust => Encoding::Signed,
        dw::DW_ATE_unsigned_char if rust => Encoding::Unsigned,
        dw::DW_ATE_signed_char => Encoding::SignedChar,
        dw::DW_ATE_unsigned_char => Encoding::UnsignedChar,
        dw::DW_ATE_UTF => Encoding::Unicode,
        _ => Encoding::Unsigned,
    };
    Scalar { name: name.into(), encoding, size: number(die, dw::DW_AT_byte_size).unwrap_or(0) }
}

/// The name with its namespaces, from the unit's index; functions' local types have their own name only.
fn qualified_name(debug: &Debug, at: DieAt, die: &Die) -> Option<String> {
    // A type in a unit of its own is named there.
    let whole = debug.linked(at, die, dw::DW_AT_signature);
    let at = whole.unwrap_or(at);
    let whole = whole.and_then(|at| debug.die(at));
    let die = whole.as_ref().unwrap_or(die);
    let types = &debug.index(at.unit)?.types;
    if let Ok(place) = types.binary_search_by_key(&at.offset, |named| named.die) {
        return types.get(place).map(|named| named.name.to_string());
    }
    debug.own_name(at.unit, die)
}

pub(crate) fn number(die: &Die, name: gimli::DwAt) -> Option<u64> {
    match die.attr_value(name)? {
        AttributeValue::Sdata(value) => Some(value as u64),
        AttributeValue::Exprloc(expression) => plus_constant(&expression),
        value => value.udata_value(),
    }
}

/// `DW_OP_plus_uconst N`: how old compilers wrote a member's offset.
fn plus_constant(expression: &gimli::Expression<crate::image::R>) -> Option<u64> {
    let mut bytes = expression.0;
    match gimli::Operation::parse(&mut bytes, ENCODING).ok()? {
        gimli::Operation::PlusConstant { value } => Some(value),
        _ => None,
    }
}

const ENCODING: gimli::Encoding =
    gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };

fn is_static(die: &Die) -> bool {
    die.has_attr(dw::DW_AT_external) || die.has_attr(dw::DW_AT_declaration)
}

fn constant(value: AttributeValue<crate::image::R>) -> Option<i128> {
    match value {
        AttributeValue::Udata(value) => Some(i128::from(value)),
        AttributeValue::Data8(value) => Some(i128::from(value as i64)),
        AttributeValue::Data16(value) => Some(value as i128),
        other => other.sdata_value().map(i128::from),
    }
}

/// The tags of a variant, cut to the width of the tag: compilers write them with and without sign.
fn tags(die: &Die, width: u64) -> Vec<(u128, u128)> {
    let mask = if width >= 16 { u128::MAX } else { (1 << (width * 8)) - 1 };
    match die.attr_value(dw::DW_AT_discr_value) {
        Some(AttributeValue::Block(bytes)) => {
            let mut wide = [0; 16];
            wide.iter_mut().zip(bytes.slice()).for_each(|(to, from)| *to = *from);
            let value = u128::from_le_bytes(wide) & mask;
            return vec![(value, value)];
        }
        Some(value) => {
            let value = constant(value).map(|value| value as u128 & mask);
            return value.map(|value| (value, value)).into_iter().collect();
        }
        None => {}
    }
    let Some(AttributeValue::Block(list)) = die.attr_value(dw::DW_AT_discr_list) else { return Vec::new() };
    discriminant_list(list).into_iter().map(|(low, high)| (low & mask, high & mask)).collect()
}

/// `DW_AT_discr_list`: labels and ranges in LEB128, here read as unsigned.
fn discriminant_list(list: crate::image::R) -> Vec<(u128, u128)> {
    use gimli::Reader;
    let mut list = list;
    let mut found = Vec::new();
    while found.len() < MEMBERS_MAX {
        let Ok(kind) = list.read_u8() else { break };
        let Ok(low) = list.read_uleb128() else { break };
        let high = if kind == 1 { list.read_uleb128().unwrap_or(low) } else { low };
        found.push((u128::from(low), u128::from(high)));
    }
    found
}
