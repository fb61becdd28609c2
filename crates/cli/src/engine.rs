//! `--engine`: the name of an engine of a table, or `auto`.

use std::fmt;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use engines::{Backend, named};

const AUTO: &str = "auto";

/// The requested engine.
#[derive(Clone, Copy)]
pub enum EngineChoice {
    /// The first engine of the table that is available.
    Auto,
    /// Only this engine.
    Only(&'static dyn Backend),
}

impl EngineChoice {
    /// Whether the command chooses the engine.
    #[must_use]
    pub fn is_auto(self) -> bool {
        matches!(self, EngineChoice::Auto)
    }
}

impl fmt::Debug for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineChoice::Auto => AUTO,
            EngineChoice::Only(backend) => backend.name(),
        })
    }
}

/// Accepts `auto` and the names of a table.
#[must_use]
pub fn engine_parser(table: &'static [&'static dyn Backend]) -> impl TypedValueParser<Value = EngineChoice> {
    let auto = PossibleValue::new(AUTO).help("The first of these that this host has; the output names it");
    let names = table
        .iter()
        .map(|backend| PossibleValue::new(backend.name()).help(backend.about()));
    PossibleValuesParser::new([auto].into_iter().chain(names))
        .map(|name| named(table, &name).map_or(EngineChoice::Auto, EngineChoice::Only))
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};
    use engines::ENGINES;

    use super::*;

    fn parsed(name: &str) -> Result<EngineChoice, clap::Error> {
        let engine = Arg::new("engine").value_parser(engine_parser(ENGINES));
        let mut matches = Command::new("test").arg(engine).try_get_matches_from(["test", name])?;
        Ok(matches.remove_one("engine").expect("it was given"))
    }

    #[test]
    fn every_engine_of_the_table_can_be_asked_for_and_nothing_else() {
        for backend in ENGINES {
            let choice = parsed(backend.name()).expect("it is in the table");
            assert!(matches!(choice, EngineChoice::Only(only) if only.name() == backend.name()));
        }
        assert!(parsed("auto").expect("it is a value").is_auto());
        for other in ["CPU", "gpu", ""] {
            let refused = parsed(other).expect_err("it is in no table").to_string();
            assert!(refused.contains("auto") && refused.contains("cpu"), "{refused}");
        }
    }
}
