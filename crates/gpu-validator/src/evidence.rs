//! Evidence files from others: read and opened within a budget, or refused.

use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use cli::{RecomputeOptions, parse_bytes};
use evidence_check::{Refusal, open_file};
use verifier::Opened;
use verifier::budget::{Budget, TMAC};
use verifier::recompute::Recompute;

/// What checking evidence may cost: whoever sends it chooses its plan.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct BudgetOptions {
    /// Most work to recompute samples, 10^12 multiply-adds (Tmac); evidence that needs more is refused at once
    #[arg(long, value_name = "TMAC", default_value = "500")]
    max_cost: Cost,

    #[command(flatten)]
    memory: MemoryOptions,
}

/// What reading evidence may take.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct MemoryOptions {
    /// Most memory to read evidence; larger evidence is refused unread
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "4GiB")]
    max_memory: u64,
}

/// Multiply-adds.
#[derive(Clone, Copy, Debug)]
struct Cost(u128);

impl FromStr for Cost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix("Tmac").unwrap_or(text).trim_end();
        let tmac = number.parse::<f64>().ok();
        // Up to the largest work that a plan can ask for.
        tmac.filter(|tmac| (0.0..=1e12).contains(tmac))
            .map(|tmac| Cost((tmac * TMAC as f64).ceil() as u128))
            .ok_or_else(|| "expected 10^12 multiply-adds like 500 or 0.5".to_owned())
    }
}

impl BudgetOptions {
    fn budget(&self) -> Budget {
        Budget {
            multiply_adds: self.max_cost.0,
            memory_bytes: self.memory.max_memory,
        }
    }

    /// The engines for recomputation, within this budget.
    pub(crate) fn recompute(&self, options: &RecomputeOptions) -> Recompute {
        Recompute {
            budget: self.budget(),
            ..options.recompute()
        }
    }
}

impl MemoryOptions {
    /// The evidence in a file for display, without recomputing a tile; the inner error says why it is refused.
    pub(crate) fn open(&self, path: &Path) -> anyhow::Result<Result<Opened, Refusal>> {
        let budget = Budget {
            multiply_adds: u128::MAX,
            memory_bytes: self.max_memory,
        };
        Ok(match open(path, &budget)? {
            Err(refusal) => Err(refusal),
            Ok((opened, sealed)) => match budget.check_shown(sealed.len() as u64) {
                Ok(()) => Ok(opened),
                Err(error) => Err(error.into()),
            },
        })
    }
}

/// The evidence in a file, completely checked except for the tiles, with its sealed bytes; the inner error says why it is
/// refused.
///
/// The outer error is why the file cannot be read.
pub(crate) fn open(path: &Path, budget: &Budget) -> anyhow::Result<Result<(Opened, Vec<u8>), Refusal>> {
    open_file(path, budget).with_context(|| format!("evidence {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_parsed_or_explained() {
        let parsed = |text: &str| text.parse::<Cost>().map(|cost| cost.0);
        assert_eq!(parsed("500"), Ok(500 * TMAC));
        assert_eq!(parsed("0.5 Tmac"), Ok(TMAC / 2));
        assert_eq!(parsed("0"), Ok(0));
        for wrong in ["", "-1", "much", "NaN", "inf", "1e13", "5Gmac"] {
            assert!(parsed(wrong).is_err_and(|e| e.contains("like 500 or 0.5")), "{wrong}");
        }
    }
}
