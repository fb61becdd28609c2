//! The guide knows every reason, finding and key there is.

use appraisal::finding::FindingKind;
use appraisal::policy::Policy;

const GUIDE: &str = include_str!("../../../docs/results.md");
const REASONS: &str = include_str!("../src/reason.rs");

#[test]
fn every_reason_finding_and_policy_key_is_documented() {
    for kind in FindingKind::ALL {
        assert!(GUIDE.contains(&format!("| `{}` |", kind.name())), "{}", kind.name());
    }
    let codes = REASONS
        .split("fn code(")
        .nth(1)
        .and_then(|text| text.split("fn remedy(").next())
        .expect("codes");
    let codes: Vec<&str> = codes.split('"').skip(1).step_by(2).collect();
    assert!(codes.len() >= 23);
    for code in codes {
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
