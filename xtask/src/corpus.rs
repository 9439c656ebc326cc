//! `cargo xtask corpus [NAME]`: the longer variants of the tests, which do not fit into the budget of `cargo xtask test`.

use anyhow::{Result, bail};

use crate::{cargo, check, packages};

/// The longer variant of a package's tests.
struct Corpus {
    name: &'static str,
    package: &'static str,
    /// Part of the names of the tests that it is about.
    tests: &'static str,
    /// The variable that makes it longer, and its value.
    variable: (&'static str, &'static str),
}

const CORPORA: &[Corpus] = &[
    Corpus { name: "stepping", package: "tracer", tests: "stepping", variable: ("VDBG_EFFORT", "4") },
    Corpus { name: "generated", package: "e2e", tests: "seeds_from", variable: ("VDBG_SEEDS", "1000..5000") },
    Corpus {
        name: "symbols-fuzz",
        package: "symbols",
        tests: "fuzz",
        variable: ("SYMBOLS_FUZZ_CASES", "5000"),
    },
    Corpus {
        name: "symbols-addresses",
        package: "symbols",
        tests: "addresses_are",
        variable: ("SYMBOLS_SAMPLES", "7000"),
    },
    Corpus {
        name: "symbols-stacks",
        package: "symbols",
        tests: "stacks_are",
        variable: ("SYMBOLS_STACKS", "3000"),
    },
];

pub(crate) fn run(name: Option<&str>) -> Result<()> {
    packages::ensure(packages::COMPILER)?;
    packages::ensure(packages::TESTS)?;
    let chosen: Vec<_> =
        CORPORA.iter().filter(|corpus| name.is_none_or(|name| name == corpus.name)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = CORPORA.iter().map(|corpus| corpus.name).collect();
        bail!("there is no corpus of that name; there are: {}", known.join(", "));
    }
    for Corpus { name, package, tests, variable: (variable, value) } in chosen {
        println!("==> corpus {name}");
        check(cargo().args(["test", "--package", package, "--", tests]).env(variable, value))?;
    }
    Ok(())
}
