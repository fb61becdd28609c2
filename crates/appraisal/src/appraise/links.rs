//! The reasons against what the rounds between devices certify.

use report::{FabricReport, Report};

use crate::policy::Policy;
use crate::reason::Reason;

/// The reasons against a session that a policy asks links of. If it is not affirmed, another reason already says so.
pub(super) fn reasons(policy: &Policy, report: &Report) -> Option<Reason> {
    let asked = &policy.host;
    if report.host.is_none() || !asked.asks_for_pairs() {
        return None;
    }
    let Some(fabric) = &report.fabric else {
        let why = "the session had no rounds between devices: nothing is known of links".to_owned();
        let (short, pairs) = (0, 0);
        return Some(Reason::LinksNotShown { short, pairs, why });
    };
    shortfall(asked.min_link_bytes_per_s, fabric)
}

/// A pair without any bound was not tested, so it speaks neither for nor against the host. Where something is certified over any
/// path, the links are as fast as that says.
fn shortfall(least: Option<u64>, fabric: &FabricReport) -> Option<Reason> {
    let pairs = fabric.pairs.len() as u32;
    let without = fabric.pairs.iter();
    let short = without
        .filter(|pair| pair.exchange.exchange_bytes_per_s.is_none())
        .count() as u32;
    let tested = fabric.slowest_first().into_iter();
    let mut tested = tested.filter(|pair| pair.exchange.exchange_bytes_per_s.is_some());
    let slowest = tested.next();
    if let (Some(least), Some(slowest)) = (least, slowest)
        && slowest.exchange.link_bytes_per_s < Some(least)
    {
        let is_short = |pair: &&report::PairReport| pair.exchange.link_bytes_per_s < Some(least);
        return Some(Reason::LinksBelowMinimum {
            devices: slowest.devices,
            certified: slowest.exchange.link_bytes_per_s,
            least,
            short: fabric.pairs.iter().filter(is_short).count() as u32,
            pairs,
        });
    }
    (short > 0 || pairs == 0).then(|| Reason::LinksNotShown {
        short,
        pairs,
        why: fabric.no_bound.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use report::{ExchangeReport, PairReport};

    use super::*;

    fn fabric(figures: &[(Option<u64>, Option<u64>)]) -> FabricReport {
        let pair = |(at, &(link, any)): (usize, &(Option<u64>, Option<u64>))| PairReport {
            devices: [[0, 1], [1, 2], [0, 2]][at],
            round: at as u32,
            window_ms: 110.0,
            exchange: ExchangeReport {
                exchange_bytes_per_s: any,
                link_bytes_per_s: link,
            },
        };
        FabricReport {
            gpu_memory_bytes: 150_754_820_096,
            inner_dim: 65_536,
            pairs: figures.iter().enumerate().map(pair).collect(),
            bisection: ExchangeReport::default(),
            chances: 7,
            no_bound: Some("the reason".to_owned()),
        }
    }

    const FAST: (Option<u64>, Option<u64>) = (Some(410), Some(650));

    #[test]
    fn the_slowest_pair_is_held_against_the_minimum() {
        let one_slow = fabric(&[FAST, (Some(60), Some(300)), FAST]);
        assert_eq!(shortfall(Some(60), &one_slow), None);
        let expected = Reason::LinksBelowMinimum {
            devices: [1, 2],
            certified: Some(60),
            least: 61,
            short: 1,
            pairs: 3,
        };
        assert_eq!(shortfall(Some(61), &one_slow), Some(expected));
        // What the links to the hosts could have carried is no link between GPUs.
        let over_hosts = fabric(&[FAST, FAST, (None, Some(300))]);
        let Some(reason) = shortfall(Some(1), &over_hosts) else {
            panic!("nothing over links")
        };
        assert_eq!(reason.code(), "links-below-minimum");
        assert!(
            reason
                .to_string()
                .starts_with("nothing certified over links between devices 0 and 2"),
            "{reason}"
        );
    }

    #[test]
    fn a_pair_without_a_bound_is_not_shown_whatever_is_asked() {
        let untested = fabric(&[FAST, (None, None), FAST]);
        for least in [None, Some(1)] {
            let reason = shortfall(least, &untested).expect("a reason");
            assert_eq!(reason.code(), "links-not-shown", "{least:?}");
            assert!(
                reason.to_string().contains("1 of 3 pairs of devices: the reason"),
                "{reason}"
            );
        }
        assert_eq!(shortfall(None, &fabric(&[FAST, (None, Some(1)), FAST])), None);
        assert_eq!(
            shortfall(None, &fabric(&[])).map(|reason| reason.code()),
            Some("links-not-shown")
        );
    }
}
