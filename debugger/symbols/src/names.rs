//! Qualified names: cutting `a::b<c::d>::e(f)` into its path, and telling whether a user's name means it.

/// The pieces of a path, cut at `::` outside of any bracket.
pub(crate) fn components(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_i32);
    let bytes = name.as_bytes();
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        match byte {
            b'<' | b'(' | b'[' => depth += 1,
            // The arrow of a function type closes nothing.
            b'>' if index == 0 || bytes.get(index - 1) != Some(&b'-') => depth -= 1,
            b')' | b']' => depth -= 1,
            b':' if depth <= 0 && bytes.get(index + 1) == Some(&b':') => {
                parts.push(name.get(start..index).unwrap_or_default());
                start = index + 2;
                index += 1;
            }
            _ => {}
        }
        index += 1;
    }
    parts.push(name.get(start..).unwrap_or_default());
    parts.retain(|part| !part.is_empty());
    parts
}

/// A component without its generic arguments and parameters: `max<int>(int)` is `max`.
pub(crate) fn bare(component: &str) -> &str {
    if component.starts_with("operator") || component.starts_with('<') || component.starts_with('(') {
        return component;
    }
    component.split(['<', '(']).next().unwrap_or(component).trim_end()
}

/// The last component without arguments: the key of every name index.
pub(crate) fn last_component(name: &str) -> &str {
    components(name).last().map_or(name, |last| bare(last))
}

/// Whether `wanted`, as a user types it, means `full`: the whole or a suffix of whole components, with generic
/// arguments and parameters left out or spelled exactly.
pub(crate) fn matches(full: &str, wanted: &str) -> bool {
    if full == wanted {
        return true;
    }
    // Rust's turbofish writes `f::<T>`, which leaves a component that is only arguments.
    let named = |parts: Vec<&'_ str>| -> Vec<String> {
        parts
            .into_iter()
            .filter(|part| !part.starts_with('<') || part.contains(" as "))
            .map(str::to_owned)
            .collect()
    };
    let (full, wanted) = (named(components(full)), named(components(wanted)));
    if wanted.is_empty() || wanted.len() > full.len() {
        return false;
    }
    let same = |(a, b): (&String, &String)| a == b || bare(a) == b;
    full.iter().rev().zip(wanted.iter().rev()).all(same)
}

/// Whether the path `full` ends with the components of `wanted`.
pub(crate) fn path_matches(full: &str, wanted: &str) -> bool {
    let clean = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
    };
    let (full, wanted_parts) = (clean(full), clean(wanted));
    if wanted_parts.is_empty() || (wanted.starts_with('/') && full.len() != wanted_parts.len()) {
        return false;
    }
    full.ends_with(&wanted_parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_of_whole_components() {
        assert!(matches("demo::spoil", "spoil"));
        assert!(matches("demo::spoil", "demo::spoil"));
        assert!(!matches("demo::spoil", "oil"));
        assert!(matches("demo::max<alloc::vec::Vec<u8>>", "max"));
        assert!(matches("ns::max<int>(int, int)", "ns::max"));
        assert!(matches("alloc::vec::Vec<T>::push", "Vec::push"));
        assert!(matches("core::ptr::drop_in_place::<alloc::string::String>", "drop_in_place"));
        assert!(!matches("demo::max<u8>", "max<u16>"));
    }

    #[test]
    fn paths() {
        assert!(path_matches("/home/me/src/main.rs", "src/main.rs"));
        assert!(path_matches("/home/me/src/main.rs", "./main.rs"));
        assert!(!path_matches("/home/me/src/main.rs", "in.rs"));
        assert!(!path_matches("/home/me/src/main.rs", "/src/main.rs"));
    }
}
