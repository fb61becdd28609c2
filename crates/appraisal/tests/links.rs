//! What the rounds between devices certify, in reports, verdicts and results: real sessions on CPUs, but for their times.

mod common;

use std::sync::OnceLock;

use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use appraisal::{Appraisal, Subject};
use attestation_result::{Issuance, Tier};
use protocol::frame::MessageType;
use protocol::verdict::Verdict;
use report::{Detail, FabricReport, html, markdown};
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Tampered, Turn};
use testkit::rehearsal::{Rehearsal, Rehearsed};

/// Tiles of each device.
const TILES: u64 = 256;
/// c: every tile is in a leaf of a round.
const CROSSINGS: u32 = 64;

/// Assumptions of a judge who knows these slow devices.
const NARROW: &str = "[assumptions]\nerror_bits = 4\nbest_rate_ops_per_s = 100_000_000_000\nlink_in_bytes_per_s = 1_000_000\n\
                      link_out_bytes_per_s = 1_000_000\non_chip_bytes = 0\n";
/// The most memory that one of them has: half of its tiles.
const MEMORY: &str = "gpu_memory_bytes = 8_388_608\n";

/// A session of devices that meet `crossings` times a round; every CROSSED of the round takes these ms.
fn session(devices: usize, crossings: u32, round_ms: &[u64]) -> Rehearsed {
    let mut request = cast::request(&[(4_096, 4)], 256);
    request.iterations[0].crossings = crossings;
    let peer = HonestPeer::new(cast::hello(&vec![TILES; devices]), |_| cast::engine());
    let mut rounds = round_ms.iter();
    let mut peer = Tampered::new(peer, move |turn: &mut Turn<'_>| {
        for message_type in [MessageType::Filled, MessageType::Swept, MessageType::Crossed] {
            let Some(first) = turn.position(message_type) else {
                continue;
            };
            let ms = match message_type {
                MessageType::Crossed => *rounds.next().expect("a time for each round"),
                _ => 100,
            };
            turn.actions.insert(first, Action::Wait(ms * 1_000_000));
        }
    });
    let rehearsed = Rehearsal::new(request).run(&mut peer);
    assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
    rehearsed
}

/// Three devices, of which the last two to meet take longest.
fn three() -> &'static Rehearsed {
    static SESSION: OnceLock<Rehearsed> = OnceLock::new();
    SESSION.get_or_init(|| session(3, CROSSINGS, &[10, 11, 60]))
}

fn appraised(rehearsed: &Rehearsed, policy: &str) -> Appraisal {
    let sealed = rehearsed.sealed();
    let subject = Subject {
        evidence: &rehearsed.evidence,
        session: &rehearsed.session,
        sealed: &sealed,
    };
    let policy = Policy::parse(
        "policy.toml",
        &format!("{}{policy}", common::CPU),
        &Profiles::embedded(),
    )
    .expect("a policy");
    common::appraise(
        &subject,
        &policy,
        &Profiles::embedded(),
        rehearsed.evidence.started_unix_ms,
    )
}

fn fabric(appraisal: &Appraisal) -> &FabricReport {
    appraisal.report.fabric.as_ref().expect("rounds")
}

fn codes(appraisal: &Appraisal) -> Vec<&'static str> {
    appraisal.reasons.iter().map(|reason| reason.code()).collect()
}

#[test]
fn every_pair_is_certified_and_shown_everywhere() {
    let appraisal = appraised(
        three(),
        &format!("{NARROW}{MEMORY}[host]\nrequire_all_pairs = true\nmin_link_bytes_per_s = 1_000\n"),
    );
    assert_eq!(appraisal.verdict, Tier::Affirming, "{:?}", appraisal.reasons);
    let fabric = fabric(&appraisal);
    assert_eq!(
        (fabric.gpu_memory_bytes, fabric.inner_dim, fabric.no_bound.as_ref()),
        (8 << 20, 4_096, None)
    );
    assert_eq!(fabric.devices(), [0, 1, 2]);
    let windows: Vec<f64> = fabric.pairs.iter().map(|pair| pair.window_ms).collect();
    assert!(
        windows[0] >= 10.0 && windows[1] > windows[0] && windows[2] >= 60.0,
        "{windows:?}"
    );
    let least = fabric.least().link_bytes_per_s.expect("a bound");
    let [a, b] = fabric.slowest_first()[0].devices;
    assert_eq!(fabric.slowest_first()[0].round, 2);

    let text = appraisal.report.text(Detail::Figures);
    assert!(text.contains("links        every two of 3 devices at least "), "{text}");
    assert!(
        text.contains("all bounds of links together") && !text.contains("no bound     links"),
        "{text}"
    );
    assert!(!text.contains("any path  round"), "{text}");
    let all = appraisal.report.text(Detail::All);
    assert!(
        all.contains(&format!("\n{a} and {b}  ")) && all.contains(&format!("{:.3} s", windows[2] / 1e3)),
        "{all}"
    );

    let json: serde_json::Value = serde_json::from_str(&appraisal.to_json()).expect("JSON");
    assert_eq!(json["report"]["fabric"]["pairs"][2]["link_bytes_per_s"], least);
    let page = html(&appraisal.document());
    assert!(page.contains("Links between GPUs") && page.contains(&format!("devices {a} and {b}: links between GPUs")));
    assert_eq!(page.matches("class=\"cell\"").count(), 6);
    assert!(markdown(&appraisal.document()).contains(&format!("| {a} and {b} | ")));

    let result = appraisal.to_result(&Issuance::default());
    let claim = result.submods["host"].claim("fabric").clone();
    assert_eq!(
        (&claim["min_link_bytes_per_s"], &claim["pairs"]),
        (&least.into(), &3.into())
    );
    assert!(
        claim.as_object().expect("a map").values().all(|value| !value.is_null()),
        "{claim}"
    );
    // For manual inspection of the page.
    if let Some(folder) = std::env::var_os("APPRAISAL_REPORTS") {
        std::fs::write(std::path::PathBuf::from(folder).join("links.html"), &page).expect("a write");
    }
}

#[test]
fn more_than_is_certified_is_not_met() {
    let judged = |least: u64| {
        appraised(
            three(),
            &format!("{NARROW}{MEMORY}[host]\nmin_link_bytes_per_s = {least}\n"),
        )
    };
    let least = fabric(&judged(1)).least().link_bytes_per_s.expect("a bound");
    assert_eq!(judged(least).verdict, Tier::Affirming);
    let short = judged(least + 1);
    assert_eq!(
        (short.verdict, codes(&short)),
        (Tier::Contraindicated, vec!["links-below-minimum"])
    );
    assert!(
        short.reasons[0].to_string().contains("1 of 3 pairs have less"),
        "{}",
        short.reasons[0]
    );
}

#[test]
fn a_larger_gpu_could_hold_the_tiles_of_two_and_the_policy_can_exclude_it() {
    let ask = "[host]\nrequire_all_pairs = true\n";
    let appraisal = appraised(three(), &format!("{NARROW}{ask}"));
    assert_eq!(
        (appraisal.verdict, codes(&appraisal)),
        (Tier::None, vec!["links-not-shown"])
    );
    let why = fabric(&appraisal).no_bound.clone().expect("a reason");
    assert!(
        why.contains("one GPU with 402.3 GiB") && why.contains("assumptions.gpu_memory_bytes"),
        "{why}"
    );
    let text = appraisal.report.text(Detail::Figures);
    assert!(text.contains(&format!("no bound     links: {why}")), "{text}");
    // Nothing is asked of links by default: the verdict does not depend on them.
    assert_eq!(appraised(three(), NARROW).verdict, Tier::Affirming);
}

#[test]
fn evidence_without_rounds_shows_no_links() {
    let without = session(2, 0, &[]);
    for ask in ["require_all_pairs = true", "min_link_bytes_per_s = 1"] {
        let appraisal = appraised(&without, &format!("{NARROW}{MEMORY}[host]\n{ask}\n"));
        assert!(appraisal.report.fabric.is_none());
        assert_eq!(
            (appraisal.verdict, codes(&appraisal)),
            (Tier::None, vec!["links-not-shown"]),
            "{ask}"
        );
    }
    let appraisal = appraised(&without, &format!("{NARROW}{MEMORY}"));
    assert_eq!(appraisal.verdict, Tier::Affirming);
    assert!(!appraisal.to_json().contains("\"fabric\""));
    assert!(
        appraisal.to_result(&Issuance::default()).submods["host"]
            .claim("fabric")
            .is_null()
    );
    assert!(!appraisal.report.text(Detail::All).contains("links  "));
}

#[test]
fn a_pair_that_is_far_slower_than_the_others_is_named() {
    let slow = |appraisal: &Appraisal| {
        let mut found = appraisal.findings.iter();
        found
            .find(|finding| finding.kind.name() == "slow-link")
            .map(|finding| finding.detail.clone())
    };
    let appraisal = appraised(three(), &format!("{NARROW}{MEMORY}"));
    let [a, b] = fabric(&appraisal).pairs[2].devices;
    let detail = slow(&appraisal).expect("60 ms after 11");
    let ms = |round: usize| format!("{:.0} ms", fabric(&appraisal).pairs[round].window_ms);
    assert!(
        detail.starts_with(&format!("devices {a} and {b} took {} for", ms(2))),
        "{detail}"
    );
    assert!(detail.ends_with(&format!("the median pair, {}", ms(1))), "{detail}");
    assert_eq!(appraisal.verdict, Tier::Affirming, "a note");
    for even in [[60, 110, 60], [1, 2, 40]] {
        assert_eq!(
            slow(&appraised(&session(3, CROSSINGS, &even), NARROW)),
            None,
            "{even:?}"
        );
    }
    assert_eq!(
        slow(&appraised(&session(2, CROSSINGS, &[90]), NARROW)),
        None,
        "one pair"
    );
}
