//! What a type is made of, in the words of its language: for `ptype`.

use crate::types::{Kind, Member, Record, Type};

/// Members and constants that are written.
const LINES_MAX: usize = 2000;

impl Type {
    /// The type with its members: as C writes it, or as Rust does. With `offsets`, where each member lies, and its size, in
    /// bytes.
    pub fn description(&self, offsets: bool) -> String {
        match self.kind() {
            Kind::Record(record) if record.rust => rust(&record, offsets),
            Kind::Record(record) => c(self, &record, offsets),
            Kind::Enum(enumeration) => {
                let mut lines = vec![format!("{} {{", keyworded("enum", &self.name()))];
                let mut next = 0;
                for (name, value) in enumeration.values.iter().take(LINES_MAX) {
                    let shown = if *value == next { name.clone() } else { format!("{name} = {value}") };
                    lines.push(format!("    {shown},"));
                    next = value.wrapping_add(1);
                }
                lines.push("}".into());
                lines.join("\n")
            }
            // A pointer's target is what one wants to see.
            Kind::Pointer { target, .. } if matches!(target.kind(), Kind::Record(_) | Kind::Enum(_)) => {
                let (name, target) = (self.name(), target.description(offsets));
                let marks = ["&mut ", "&", "*const ", "*mut "];
                match marks.iter().find(|mark| self.is_rust() && name.starts_with(*mark)) {
                    Some(mark) => format!("{mark}{target}"),
                    None => format!("{target} *"),
                }
            }
            _ => {
                // A typedef of something plain is that.
                let name = self.name();
                match self.stripped() {
                    Some(inner) if inner.name() != name => inner.name(),
                    _ => name,
                }
            }
        }
    }
}

fn keyworded(keyword: &str, name: &str) -> String {
    if name.starts_with(keyword) { name.to_owned() } else { format!("{keyword} {name}") }
}

/// `/*   4 | 8 */` in front of a member.
fn place(member: &Member, offsets: bool) -> String {
    if !offsets {
        return "    ".into();
    }
    match member.bits {
        Some((first, width)) => format!("/* {:>5}:{:<2}| {:>5} bits */ ", first / 8, first % 8, width),
        None => format!("/* {:>5}   | {:>5} */      ", member.offset, member.ty.size()),
    }
}

fn c(ty: &Type, record: &Record, offsets: bool) -> String {
    let name = match ty.stripped() {
        Some(inner) => inner.name(),
        None => ty.name(),
    };
    let union = record.members.len() > 1
        && record.members.iter().all(|member| member.offset == 0 && member.bits.is_none());
    let keyword = if union { "union" } else { "struct" };
    let bases: Vec<String> =
        record.members.iter().filter(|member| member.base).map(|base| base.ty.name()).collect();
    let bases = if bases.is_empty() { String::new() } else { format!(" : {}", bases.join(", ")) };
    let mut lines =
        vec![format!("{}{bases} {{", if name.contains(' ') { name } else { keyworded(keyword, &name) })];
    for member in record.members.iter().filter(|member| !member.base).take(LINES_MAX) {
        let bits = member.bits.map_or_else(String::new, |(_, width)| format!(" : {width}"));
        let declared = declared(&member.ty, member.name.as_deref().unwrap_or(""));
        lines.push(format!("{}{declared}{bits};", place(member, offsets)));
    }
    if offsets {
        lines.push(format!("/* total size: {} bytes */", record.size));
    }
    lines.push("}".into());
    lines.join("\n")
}

/// A declaration in C: `int *p`, `char name[8]`, `int (*call)(int)`.
fn declared(ty: &Type, name: &str) -> String {
    let full = ty.name();
    if let Some((before, after)) = full.split_once("(*)") {
        return format!("{before}(*{name}){after}");
    }
    if let Some((element, dimensions)) = full.split_once(" [") {
        return format!("{element} {name}[{dimensions}");
    }
    let space = if full.ends_with('*') || name.is_empty() { "" } else { " " };
    format!("{full}{space}{name}")
}

fn rust(record: &Record, offsets: bool) -> String {
    let name = &record.name;
    if name.starts_with('(') && !offsets {
        return name.clone();
    }
    let Some(variants) = &record.variants else {
        return format!("struct {name} {}", fields(&record.members, "", offsets));
    };
    let mut lines = vec![format!("enum {name} {{")];
    for variant in variants.all.iter().take(LINES_MAX) {
        let Kind::Record(inner) = variant.member.ty.kind() else { continue };
        let own = variant.member.name.clone();
        let own = own.unwrap_or_else(|| crate::names::last_component(&inner.name).to_owned());
        let body =
            if inner.members.is_empty() { String::new() } else { fields(&inner.members, "    ", offsets) };
        let space = if body.starts_with('{') { " " } else { "" };
        lines.push(format!("    {own}{space}{body},"));
    }
    if offsets {
        lines.push(format!("/* total size: {} bytes */", record.size));
    }
    lines.push("}".into());
    lines.join("\n")
}

/// `(u8, u16)` or `{ … }` with a line for each field.
fn fields(members: &[Member], indent: &str, offsets: bool) -> String {
    let name = |member: &Member| member.name.clone().unwrap_or_else(|| "_".into());
    let tuple = !members.is_empty() && members.iter().all(|member| name(member).starts_with("__"));
    if tuple && !offsets {
        let types: Vec<String> = members.iter().map(|member| member.ty.name()).collect();
        return format!("({})", types.join(", "));
    }
    let mut lines = vec!["{".to_owned()];
    for member in members.iter().take(LINES_MAX) {
        let name = name(member);
        lines.push(format!(
            "{}{indent}{}: {},",
            place(member, offsets),
            name.strip_prefix("__").unwrap_or(&name),
            member.ty.name()
        ));
    }
    lines.push(format!("{indent}}}"));
    lines.join("\n")
}
