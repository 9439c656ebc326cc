//! `cargo xtask corpus [NAME]`: the longer variants of the tests, which do not fit into the budget of `cargo xtask test`.

use anyhow::{Result, bail};

use crate::{cargo, check, packages};

/// A corpus: its name, the package whose tests it runs, and what it sets.
const CORPORA: &[(&str, &str, &[(&str, &str)])] = &[
    ("generated", "e2e", &[("VDBG_SEEDS", "1000..1400")]),
    ("symbols-fuzz", "symbols", &[("SYMBOLS_FUZZ_CASES", "5000")]),
];

pub(crate) fn run(name: Option<&str>) -> Result<()> {
    packages::ensure(packages::COMPILER)?;
    packages::ensure(packages::TESTS)?;
    let chosen: Vec<_> =
        CORPORA.iter().filter(|(known, ..)| name.is_none_or(|name| name == *known)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = CORPORA.iter().map(|(name, ..)| *name).collect();
        bail!("there is no corpus of that name; there are: {}", known.join(", "));
    }
    for (name, package, variables) in chosen {
        println!("==> corpus {name}");
        check(cargo().args(["test", "--package", package]).envs(variables.iter().copied()))?;
    }
    Ok(())
}
