//! Challenge files (spec §10.3).

use protocol::bytes::Nonce;
use protocol::cbor::Canonical;
use protocol::challenge::{Challenge, ChallengeError};
use protocol::plan::Plan;
use testkit::cast;
use verifier::challenge_file::{ChallengeFile, ChallengeFileError, parse};

use crate::vectors;

/// Parses bytes as a challenge file, as the challenge in one, and as the plan of a challenge that is signed here.
///
/// # Panics
///
/// If an accepted file contains something other than what was signed.
pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(challenge) = parse(text)
    {
        assert_eq!(round_trip(&challenge).ok(), Some(challenge));
    }
    if let Ok(challenge) = Challenge::from_bytes(data) {
        assert_eq!(challenge.to_bytes(), data, "one challenge has one encoding");
        match (challenge.check_signature(), round_trip(&challenge)) {
            (Ok(()), Ok(read)) => assert_eq!(read, challenge),
            (Err(_), Err(ChallengeFileError::Challenge(ChallengeError::Signature))) => {}
            (signature, read) => panic!("{signature:?}, and the file {read:?}"),
        }
    }
    if let Ok(plan) = Plan::from_bytes(data) {
        let is_own = plan.fields().verifier == cast::identity(&cast::verifier_key());
        let challenge = Challenge::sign(plan, Nonce([data.len() as u8; 32]), 1, 2, &cast::verifier_key());
        assert_eq!(
            challenge.check_signature().is_ok(),
            is_own,
            "its plan's Verifier alone signs"
        );
        assert_eq!(round_trip(&challenge).is_ok(), is_own);
    }
}

fn round_trip(challenge: &Challenge) -> Result<Challenge, ChallengeFileError> {
    parse(&ChallengeFile::from(challenge).to_json())
}

/// A challenge in three forms: its file, its bytes, its plan; and the vectors of PLAN.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let plan = cast::request(&[(64, 2), (128, 1)], 4)
        .plan(&cast::hello(&[3, 2]))
        .expect("a plan");
    let challenge = Challenge::sign(plan.clone(), Nonce([0xC4; 32]), 1_000, 2_000, &cast::verifier_key());
    let mut seeds = vec![
        ChallengeFile::from(&challenge).to_json().into_bytes(),
        challenge.to_bytes(),
        plan.to_bytes(),
    ];
    let vectors = vectors::load(&["accept"]).into_iter();
    seeds.extend(
        vectors
            .filter(|(name, payload)| name == "PLAN" && payload.len() < 4096)
            .map(|(_, payload)| payload),
    );
    seeds
}
