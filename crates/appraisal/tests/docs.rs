//! The guide covers every existing reason, finding and key.

use appraisal::finding::FindingKind;
use appraisal::policy::Policy;
use appraisal::reason::Reason;

const GUIDE: &str = include_str!("../../../docs/results.md");

#[test]
fn every_reason_finding_and_policy_key_is_documented() {
    for kind in FindingKind::ALL {
        assert!(GUIDE.contains(&format!("| `{}` |", kind.name())), "{}", kind.name());
    }
    assert_eq!(Reason::CODES.len(), 30);
    for code in Reason::CODES {
        assert!(GUIDE.contains(&format!("| `{code}` |")), "{code}");
    }
    let mut policy = Policy::default();
    policy.device.class = Some("h200".to_owned());
    for line in policy.to_toml().lines() {
        if let Some((key, _)) = line.split_once(" = ") {
            assert!(GUIDE.contains(key), "{key}");
        }
    }
}
