//! The values the prompt remembers: `$1`, `$`, `$$` and convenience variables.

use std::collections::HashMap;

use symbols::Value;

/// Values that `print` has shown, and variables the user has set.
#[derive(Default)]
pub(crate) struct Values {
    history: Vec<Value>,
    variables: HashMap<String, Value>,
}

impl Values {
    /// What `$name` stands for.
    pub(crate) fn lookup(&self, name: &str) -> Option<Value> {
        match name.parse::<usize>() {
            Ok(number) => self.history.get(number.checked_sub(1)?).cloned(),
            Err(_) => self.variables.get(name).cloned(),
        }
    }

    /// Adds to the history and returns the number.
    pub(crate) fn push(&mut self, value: Value) -> usize {
        self.history.push(value);
        self.history.len()
    }

    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.variables.insert(name.to_owned(), value);
    }

    /// Convenience variables in order of their names.
    pub(crate) fn variables(&self) -> Vec<(&str, &Value)> {
        let mut all: Vec<_> = self.variables.iter().map(|(name, value)| (name.as_str(), value)).collect();
        all.sort_by_key(|(name, _)| *name);
        all
    }

    /// Writes `$`, `$$` and `$$N` out as the numbers they stand for.
    ///
    /// # Errors
    /// There is no such value yet.
    pub(crate) fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        let mut quote = None;
        while let Some(letter) = rest.chars().next() {
            let after = &rest[letter.len_utf8()..];
            match quote {
                Some(open) if letter == open => quote = None,
                None if matches!(letter, '"' | '\'') => quote = Some(letter),
                _ => {}
            }
            rest = after;
            if letter != '$' || quote.is_some() || continues(after) {
                out.push(letter);
                continue;
            }
            let back = match after.strip_prefix('$') {
                None => 0,
                Some(after) => {
                    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
                    let back = if digits == 0 { Ok(1) } else { after[..digits].parse::<usize>() };
                    rest = &after[digits..];
                    back.map_err(|_| "there are not so many values".to_owned())?
                }
            };
            let number = self.history.len().checked_sub(back).filter(|number| *number > 0);
            let number = number.ok_or("the value history is empty; `print` fills it")?;
            out.push_str(&format!("${number}"));
        }
        Ok(out)
    }
}

/// The dollar begins a name.
fn continues(after: &str) -> bool {
    after.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_numbers() {
        let mut values = Values::default();
        assert!(values.expand("$").is_err());
        for number in 1..=3 {
            values.push(Value::from_i64(number));
        }
        assert_eq!(values.expand("$ + $$ * $$2").unwrap(), "$3 + $2 * $1");
        assert_eq!(values.expand("$rsp + '$'").unwrap(), "$rsp + '$'");
        assert_eq!(values.expand("$x").unwrap(), "$x");
    }
}
