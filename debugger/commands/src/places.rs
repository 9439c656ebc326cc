//! From places as users write them to addresses.

use symbols::Symbols;

use crate::debugger::Debugger;
use crate::error::CommandError;
use crate::linespec::Linespec;
use crate::points::Place;

/// Addresses of one place at most: a name such as `new` has thousands in a large Rust program.
const PLACES_MAX: usize = 2000;

/// The addresses of a place among these modules; addresses are not looked up here.
pub(crate) fn resolve(symbols: &Symbols, spec: &Linespec) -> Vec<Place> {
    let mut places = match spec {
        Linespec::FileLine(file, line) => lines(symbols, file, *line),
        Linespec::Function(name) => functions(symbols, name),
        Linespec::FileFunction(file, name) => {
            let of_file = |place: &Place| place.file.as_deref().is_some_and(|path| is_suffix(path, file));
            functions(symbols, name).into_iter().filter(of_file).collect()
        }
        Linespec::Here | Linespec::Line(_) | Linespec::Offset(_) | Linespec::Address(_) => Vec::new(),
    };
    places.truncate(PLACES_MAX);
    places
}

fn lines(symbols: &Symbols, file: &str, line: u32) -> Vec<Place> {
    let found = symbols.line_addresses(file, line);
    let place = |found: symbols::LineAt| Place {
        address: found.address,
        function: found.function.map(|name| name.to_string()),
        file: Some(found.file.to_string()),
        line: found.line,
    };
    found.into_iter().map(place).collect()
}

fn functions(symbols: &Symbols, name: &str) -> Vec<Place> {
    symbols.functions(name).into_iter().map(|function| at_address(symbols, function.body)).collect()
}

/// What stands at an address.
pub(crate) fn at_address(symbols: &Symbols, address: u64) -> Place {
    let location = symbols.location(address);
    Place {
        address,
        function: location.function.map(|name| name.to_string()),
        file: location.file.map(|path| path.to_string()),
        line: location.line,
    }
}

/// Whether a path ends with these components.
pub(crate) fn is_suffix(path: &str, suffix: &str) -> bool {
    path.strip_suffix(suffix)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('/') || suffix.starts_with('/'))
}

impl Debugger {
    /// Reads a place, with everything that depends on where the session is now made definite.
    pub(crate) fn linespec(&mut self, text: &str) -> Result<Linespec, CommandError> {
        let spec = Linespec::parse(text).map_err(CommandError::Other)?;
        Ok(match spec {
            Linespec::Here => Linespec::Address(format!("{:#x}", self.frame()?.pc)),
            Linespec::Line(line) => Linespec::FileLine(self.current_file()?.0, line),
            Linespec::Offset(offset) => {
                let (file, line) = self.current_file()?;
                let line = i64::from(line).saturating_add(offset).clamp(1, i64::from(u32::MAX));
                Linespec::FileLine(file, line as u32)
            }
            spec => spec,
        })
    }

    /// The addresses of a place in the selected thread's program.
    pub(crate) fn addresses(&mut self, spec: &Linespec) -> Result<Vec<Place>, CommandError> {
        let symbols = self.symbols()?;
        if let Linespec::Address(expression) = spec {
            let address = self.eval_number(expression)?;
            return Ok(vec![at_address(&symbols, address)]);
        }
        Ok(resolve(&symbols, spec))
    }

    /// The source file and line that bare line numbers refer to: the selected frame's, else that of `main`.
    pub(crate) fn current_file(&mut self) -> Result<(String, u32), CommandError> {
        if let Some((file, line)) = self.listing.place() {
            return Ok((file, line));
        }
        if let Ok(frame) = self.frame()
            && let Some(file) = &frame.location.file
        {
            return Ok((file.to_string(), frame.location.line));
        }
        let symbols = self.symbols()?;
        let main = functions(&symbols, "main").into_iter().find(|place| place.file.is_some());
        let main = main.and_then(|place| Some((place.file?, place.line)));
        main.ok_or_else(|| {
            CommandError::other(
                "there is no current source file here: write FILE:LINE, or go to code with debug information",
            )
        })
    }

    /// Why a place has no address, as an error.
    pub(crate) fn no_such_place(&mut self, spec: &Linespec) -> CommandError {
        let text = match spec {
            Linespec::FileLine(file, line) => {
                let symbols = self.symbols();
                let known = symbols
                    .is_ok_and(|symbols| symbols.source_files().iter().any(|path| is_suffix(path, file)));
                match known {
                    true => format!("there is no code at or after line {line} of {file}"),
                    false => format!(
                        "there is no source file {file} in the program; `info sources` lists them (was it compiled with -g?)"
                    ),
                }
            }
            Linespec::Function(name) | Linespec::FileFunction(_, name) => {
                format!("there is no function \"{name}\" in the program or in any library it loads")
            }
            _ => "there is no such place".into(),
        };
        CommandError::Other(text)
    }
}

#[cfg(test)]
mod tests {
    use super::is_suffix;

    #[test]
    fn suffixes_are_whole_components() {
        assert!(is_suffix("/a/b.c", "b.c") && is_suffix("/a/b.c", "a/b.c") && is_suffix("/a/b.c", "/a/b.c"));
        assert!(!is_suffix("/a/bb.c", "b.c"));
    }
}
