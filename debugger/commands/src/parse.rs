//! Taking command lines apart. Pure functions over text.

/// The first word and what follows it, both trimmed.
pub(crate) fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start())
}

/// A line's command word, its `/FORMAT` without the slash, and the arguments: `x/4gx $sp`, `p/x n`, `list 5`.
/// A command word ends at the first character that is no letter, digit, `-` or `_`; `p*x` is `p` and `*x`.
pub(crate) fn split_command(line: &str) -> (&str, &str, &str) {
    let line = line.trim();
    let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    let end = line.find(|letter| !is_word(letter)).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    match rest.strip_prefix('/') {
        Some(rest) => {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (format, arguments) = rest.split_at(end);
            (word, format, arguments.trim())
        }
        None => (word, "", rest.trim()),
    }
}

/// Cuts `… if CONDITION` off a breakpoint's place.
pub(crate) fn split_condition(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    let begins = |rest: &str| {
        rest.strip_prefix("if").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '(']))
    };
    if begins(text) {
        return ("", Some(text[2..].trim()));
    }
    let found = text.char_indices().find(|(at, letter)| {
        letter.is_whitespace() && text.get(at + letter.len_utf8()..).is_some_and(begins)
    });
    match found {
        Some((at, letter)) => (text[..at].trim(), Some(text[at + letter.len_utf8() + 2..].trim())),
        None => (text, None),
    }
}

/// Cuts `PLACE,"FORMAT"…` at the comma before the format.
pub(crate) fn split_template(text: &str) -> Option<(&str, &str)> {
    let quote = text.find('"')?;
    let place = text[..quote].trim_end().strip_suffix(',')?;
    Some((place.trim(), &text[quote..]))
}

/// Cuts a list at its commas, those in brackets and quotes left alone.
pub(crate) fn arguments(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let (mut start, mut depth, mut quote, mut escaped) = (0, 0_u32, None, false);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                all.push(text[start..at].trim());
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    all.push(text[start..].trim());
    all
}

/// A number, decimal or `0x…`.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The position of a top-level assignment's `=` in an expression, if there is one.
pub(crate) fn assignment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'=') => {
                let before = at.checked_sub(1).and_then(|at| bytes.get(at));
                let compares = matches!(before, Some(b'!' | b'<' | b'>')) && !shift_before(bytes, at)
                    || bytes.get(..at).is_some_and(|before| before.ends_with(b".."));
                if bytes.get(at + 1) == Some(&b'=') {
                    at += 1;
                } else if !compares {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
        at += 1;
    }
    None
}

/// `<<=` and `>>=` assign.
fn shift_before(bytes: &[u8], at: usize) -> bool {
    let of = |back: usize| at.checked_sub(back).and_then(|at| bytes.get(at));
    of(1) == of(2) && matches!(of(1), Some(b'<' | b'>'))
}

/// A list of numbers and ranges such as `1 3-5`.
pub(crate) fn numbers(text: &str) -> Result<Vec<u32>, String> {
    /// More than anybody has.
    const RANGE_MAX: u32 = 100_000;
    let mut all = Vec::new();
    for word in text.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        let bad = || format!("\"{word}\" is no number");
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last): (u32, u32) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        if last < first || last - first > RANGE_MAX {
            return Err(format!("\"{word}\" is no range"));
        }
        all.extend(first..=last);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_formats() {
        assert_eq!(split_command("x/4gx $sp"), ("x", "4gx", "$sp"));
        assert_eq!(split_command("  p/x n + 1 "), ("p", "x", "n + 1"));
        assert_eq!(split_command("p*x"), ("p", "", "*x"));
        assert_eq!(split_command("reverse-step 3"), ("reverse-step", "", "3"));
        assert_eq!(split_command("p a/b"), ("p", "", "a/b"));
        assert_eq!(split_command(""), ("", "", ""));
        assert_eq!(first_word("a  b c"), ("a", "b c"));
    }

    #[test]
    fn conditions() {
        assert_eq!(split_condition("main if x == 1"), ("main", Some("x == 1")));
        assert_eq!(split_condition("if x"), ("", Some("x")));
        assert_eq!(split_condition("demo.c:3 if(a)"), ("demo.c:3", Some("(a)")));
        assert_eq!(split_condition("iffy"), ("iffy", None));
        assert_eq!(split_condition("main if"), ("main", Some("")));
    }

    #[test]
    fn templates_and_arguments() {
        let split = Some(("demo.c:3", "\"a, b %d\", f[1,2], 'x'"));
        assert_eq!(split_template("demo.c:3, \"a, b %d\", f[1,2], 'x'"), split);
        assert_eq!(split_template("demo.c:3 \"a\""), None);
        assert_eq!(split_template("demo.c:3"), None);
        assert_eq!(arguments("a, f[1,2], \"x, \\\" y\", ','"), ["a", "f[1,2]", "\"x, \\\" y\"", "','"]);
        assert_eq!(arguments(""), [""]);
    }

    #[test]
    fn assignments() {
        assert_eq!(assignment("x = 1"), Some(2));
        assert_eq!(assignment("x == 1 && y <= 2 && z != 3"), None);
        assert_eq!(assignment("x <<= 1"), Some(4));
        assert_eq!(assignment("\"a=b\"[0] == 'x'"), None);
        assert_eq!(assignment("x += 1"), Some(3));
        assert_eq!(assignment("v[1..=2]"), None);
    }

    #[test]
    fn number_lists() {
        assert_eq!(numbers("1 3-5,7").unwrap(), [1, 3, 4, 5, 7]);
        assert!(numbers("x").is_err() && numbers("5-3").is_err() && numbers("1-4000000000").is_err());
        assert_eq!((number("0x10"), number("12"), number("z")), (Some(16), Some(12), None));
    }
}
