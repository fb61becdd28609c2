//! What the rounds between devices certify of links, for readers (spec §6.6).

use protocol::fabric::{Exchange, Fabric};
use protocol::limits::{MIN_INNER_DIM_FOR_MEMORY, MIN_SAMPLES_FOR_BOUND};
use protocol::verifier::VerifierSession;
use serde::{Deserialize, Serialize};
use verifier::outcome::{Judge, Outcome};
use verifier::units::{bytes, bytes_per_s};

/// What the rounds of a session certify of what moved between GPUs: lower bounds, both directions together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FabricReport {
    /// The most memory that one GPU behind the session is assumed to have, bytes.
    pub gpu_memory_bytes: u64,
    /// k of the group that the figures come from.
    pub inner_dim: u32,
    /// Every two devices of the plan, round by round.
    pub pairs: Vec<PairReport>,
    /// Between two halves of the system's GPUs, however it is divided, in the mean over the rounds.
    pub bisection: ExchangeReport,
    /// The probability that these bounds together are false is at most this many times that of `error_bits`.
    pub chances: usize,
    /// Why pairs have no bound of links, and what to do about it; null if all have one.
    pub no_bound: Option<String>,
}

/// What is certified of two devices: their share of what moved in their round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PairReport {
    /// Their ordinals.
    pub devices: [u32; 2],
    /// Their round, from 0.
    pub round: u32,
    /// Its window, ms.
    pub window_ms: f64,
    /// Their share.
    #[serde(flatten)]
    pub exchange: ExchangeReport,
}

/// Lower bounds of bytes/s between GPUs, both directions together; null where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExchangeReport {
    /// Bytes/s over any path.
    pub exchange_bytes_per_s: Option<u64>,
    /// Bytes/s that cannot have gone over the links to the hosts: they went over links between GPUs.
    pub link_bytes_per_s: Option<u64>,
}

impl From<Exchange> for ExchangeReport {
    fn from(exchange: Exchange) -> Self {
        ExchangeReport {
            exchange_bytes_per_s: exchange.any_path_bytes_per_s,
            link_bytes_per_s: exchange.links_bytes_per_s,
        }
    }
}

impl ExchangeReport {
    /// Both figures with units: links, any path.
    pub(crate) fn cells(&self) -> [String; 2] {
        [self.link_bytes_per_s, self.exchange_bytes_per_s]
            .map(|value| value.map_or("no bound".to_owned(), |value| bytes_per_s(value.into())))
    }
}

impl FabricReport {
    /// What a session with this outcome certifies for `judge`; `None` without rounds, and where nothing is certified at all.
    #[must_use]
    pub fn of(session: &VerifierSession, outcome: &Outcome, judge: &Judge) -> Option<Self> {
        let certified = |gpu_memory_bytes| outcome.fabric(session, judge, gpu_memory_bytes);
        let fabric = certified(judge.gpu_memory_bytes())?;
        let samples = session.plan()?.effective_crossing_samples(fabric.inner_dim);
        let stated = session.hello()?.devices.iter().map(|offer| offer.memory_bytes);
        let stated = stated.max().unwrap_or(0);
        let what_if = WhatIf {
            samples,
            without_memory: gains_bound(&fabric, certified(0).as_ref()),
            stated_memory: Some(stated)
                .filter(|&stated| stated > 0 && gains_bound(&fabric, certified(stated).as_ref())),
        };
        let pairs = fabric.pairs.iter().map(|pair| PairReport {
            devices: pair.devices.map(|device| device.0),
            round: pair.round,
            window_ms: pair.window_ns as f64 / 1e6,
            exchange: pair.exchange.into(),
        });
        let mut report = FabricReport {
            gpu_memory_bytes: fabric.gpu_memory_bytes,
            inner_dim: fabric.inner_dim,
            pairs: pairs.collect(),
            bisection: fabric.bisection.into(),
            chances: fabric.chances,
            no_bound: None,
        };
        report.no_bound = report.why_no_bound(judge, &what_if);
        Some(report)
    }

    /// What every two devices have at least; no bound where a pair has none.
    #[must_use]
    pub fn least(&self) -> ExchangeReport {
        let least = |figure: fn(&ExchangeReport) -> Option<u64>| {
            let figures = self.pairs.iter().map(|pair| figure(&pair.exchange));
            figures.min().flatten()
        };
        ExchangeReport {
            exchange_bytes_per_s: least(|exchange| exchange.exchange_bytes_per_s),
            link_bytes_per_s: least(|exchange| exchange.link_bytes_per_s),
        }
    }

    /// The pairs, those with the least over links first.
    #[must_use]
    pub fn slowest_first(&self) -> Vec<&PairReport> {
        let mut pairs: Vec<&PairReport> = self.pairs.iter().collect();
        pairs.sort_by_key(|pair| (pair.exchange.link_bytes_per_s, pair.exchange.exchange_bytes_per_s));
        pairs
    }

    /// How many devices meet.
    #[must_use]
    pub fn devices(&self) -> Vec<u32> {
        let mut devices: Vec<u32> = self.pairs.iter().flat_map(|pair| pair.devices).collect();
        devices.sort_unstable();
        devices.dedup();
        devices
    }

    /// The figures of all pairs in a sentence.
    pub(crate) fn summary(&self) -> String {
        let both = |exchange: &ExchangeReport| match (exchange.link_bytes_per_s, exchange.exchange_bytes_per_s) {
            (Some(links), Some(any)) => {
                let [links, any] = [links, any].map(|value| bytes_per_s(value.into()));
                format!("at least {links} over links between GPUs ({any} over any path)")
            }
            (_, Some(any)) => format!("at least {} over any path", bytes_per_s(any.into())),
            _ => "no bound".to_owned(),
        };
        let bound = self
            .pairs
            .iter()
            .filter(|pair| pair.exchange.exchange_bytes_per_s.is_some());
        let (bound, all) = (bound.count(), self.pairs.len());
        let pairs = match bound == 0 || bound == all {
            true => format!("every two of {} devices {}", self.devices().len(), both(&self.least())),
            false => format!("only {bound} of {all} pairs of devices have a bound"),
        };
        format!("{pairs}; bisection {}; both ways together", both(&self.bisection))
    }

    /// What a reader must know to read the figures.
    pub(crate) fn notes(&self, error_bits: u32) -> [String; 3] {
        [
            format!(
                "all bounds of links together are false with probability at most {} x 2^-{error_bits}",
                self.chances
            ),
            "the figure of two devices is their share of what the system moved in their round, both ways together: it is not of two \
             physical cards, one way alone is not certified, and a lower bound does not say how much faster the links are"
                .to_owned(),
            format!(
                "not excluded for links: machines behind the session that hold copies of tiles and answer, beyond the rate that is \
                 assumed; a GPU with more memory than {}",
                bytes(self.gpu_memory_bytes.into())
            ),
        ]
    }

    fn why_no_bound(&self, judge: &Judge, what_if: &WhatIf) -> Option<String> {
        let without = || {
            self.pairs
                .iter()
                .filter(|pair| pair.exchange.link_bytes_per_s.is_none())
        };
        let (count, all) = (without().count(), self.pairs.len());
        if count == 0 {
            return None;
        }
        let has_exchange = without().all(|pair| pair.exchange.exchange_bytes_per_s.is_some());
        let a = &judge.assumptions;
        let why = if self.inner_dim < MIN_INNER_DIM_FOR_MEMORY {
            format!("no rounds have k >= {MIN_INNER_DIM_FOR_MEMORY}: run them in iterations with a larger k")
        } else if what_if.samples < MIN_SAMPLES_FOR_BOUND {
            format!(
                "{} samples of the rounds, fewer than {MIN_SAMPLES_FOR_BOUND}: ask for more samples or more crossings",
                what_if.samples
            )
        } else if has_exchange {
            format!(
                "the links to the hosts that are assumed, {} in and {} out, could have carried all that moved: name those of the \
                 hosts at hand in the policy (assumptions.link_in_bytes_per_s, assumptions.link_out_bytes_per_s); if that was done, \
                 nothing faster joins the devices",
                bytes_per_s(a.link_in_bytes_per_s.into()),
                bytes_per_s(a.link_out_bytes_per_s.into())
            )
        } else if what_if.without_memory {
            let stated = what_if.stated_memory.map_or(
                "; and have the devices offer all of their memory".to_owned(),
                |stated| {
                    format!(
                        "; with {}, which a device states, there is a bound",
                        bytes(stated.into())
                    )
                },
            );
            format!(
                "one GPU with {}, as assumed, could hold the tiles of two devices and answer without a link: name the memory of the \
                 GPUs at hand in the policy (assumptions.gpu_memory_bytes){stated}",
                bytes(self.gpu_memory_bytes.into())
            )
        } else {
            "what the samples may have missed, and what the GPUs that are assumed regenerate, explains all that moved: ask for more \
             samples, more crossings or a larger k"
                .to_owned()
        };
        Some(match count == all {
            true => why,
            false => format!("{count} of {all} pairs: {why}"),
        })
    }
}

/// What would be certified under other assumptions.
struct WhatIf {
    /// Effective samples of each device in the rounds.
    samples: u32,
    /// Whether a pair that has no bound had one if GPUs had no memory.
    without_memory: bool,
    /// The largest memory that a device states, if a pair that has no bound had one where no GPU has more.
    stated_memory: Option<u64>,
}

/// Whether a pair that has no bound has one in `other`.
fn gains_bound(fabric: &Fabric, other: Option<&Fabric>) -> bool {
    let others = other.map(|other| &other.pairs[..]).unwrap_or_default();
    fabric.pairs.iter().zip(others).any(|(pair, other)| {
        let [before, after] = [pair, other].map(|pair| pair.exchange.any_path_bytes_per_s);
        before.is_none() && after.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(devices: [u32; 2], round: u32, exchange: Option<u64>, link: Option<u64>) -> PairReport {
        PairReport {
            devices,
            round,
            window_ms: 111.5,
            exchange: ExchangeReport {
                exchange_bytes_per_s: exchange,
                link_bytes_per_s: link,
            },
        }
    }

    fn fabric(pairs: Vec<PairReport>) -> FabricReport {
        FabricReport {
            gpu_memory_bytes: 150_754_820_096,
            inner_dim: 65_536,
            pairs,
            bisection: ExchangeReport::default(),
            chances: 7,
            no_bound: None,
        }
    }

    fn three(figures: [(Option<u64>, Option<u64>); 3]) -> FabricReport {
        let [a, b, c] = figures;
        fabric(vec![
            pair([0, 1], 0, a.0, a.1),
            pair([1, 2], 1, b.0, b.1),
            pair([0, 2], 2, c.0, c.1),
        ])
    }

    const FAST: (Option<u64>, Option<u64>) = (Some(650_000_000_000), Some(410_000_000_000));
    const SLOW: (Option<u64>, Option<u64>) = (Some(300_000_000_000), None);

    #[test]
    fn the_least_pair_speaks_for_all() {
        let all = three([FAST, FAST, (Some(640_000_000_000), Some(400_000_000_000))]);
        assert_eq!(all.least().link_bytes_per_s, Some(400_000_000_000));
        assert_eq!(all.least().exchange_bytes_per_s, Some(640_000_000_000));
        assert_eq!(all.slowest_first()[0].devices, [0, 2]);
        assert_eq!(all.devices(), [0, 1, 2]);
        let summary = all.summary();
        assert!(
            summary.starts_with("every two of 3 devices at least 400.0 GB/s over links"),
            "{summary}"
        );
        let one_without = three([FAST, SLOW, FAST]);
        assert_eq!(one_without.least().link_bytes_per_s, None);
        assert_eq!(one_without.least().exchange_bytes_per_s, Some(300_000_000_000));
        assert_eq!(one_without.slowest_first()[0].devices, [1, 2]);
        let none = three([FAST, (None, None), FAST]);
        assert!(none.summary().starts_with("only 2 of 3 pairs"), "{}", none.summary());
        assert!(three([(None, None); 3]).summary().contains("3 devices no bound"));
    }

    #[test]
    fn every_missing_bound_has_a_reason_and_a_remedy() {
        let judge = Judge::of_nobody();
        let what_if = |samples, without_memory, stated_memory| WhatIf {
            samples,
            without_memory,
            stated_memory,
        };
        let why = |fabric: &FabricReport, what_if: &WhatIf| fabric.why_no_bound(&judge, what_if);
        let enough = what_if(1280, true, Some(150_754_820_096));
        assert_eq!(why(&three([FAST; 3]), &enough), None);
        let nothing = three([(None, None); 3]);
        let of = |fabric: &FabricReport, what_if: &WhatIf| why(fabric, what_if).expect("a reason");
        let memory = of(&nothing, &enough);
        assert!(
            memory.contains("assumptions.gpu_memory_bytes") && memory.contains("which a device states"),
            "{memory}"
        );
        assert!(of(&nothing, &what_if(1280, true, None)).contains("offer all of their memory"));
        assert!(of(&nothing, &what_if(1280, false, None)).contains("more crossings or a larger k"));
        assert!(of(&nothing, &what_if(255, false, None)).starts_with("255 samples"));
        let flat = FabricReport {
            inner_dim: 2048,
            ..nothing
        };
        assert!(of(&flat, &enough).contains("k >= 4096"), "{}", of(&flat, &enough));
        let links = of(&three([FAST, SLOW, FAST]), &enough);
        assert!(
            links.starts_with("1 of 3 pairs: ") && links.contains("assumptions.link_in_bytes_per_s"),
            "{links}"
        );
    }
}
