//! All checks of evidence that cost little, in their order, and whether its tiles are then worth recomputing.

use appraisal::policy::Policy;
use keystore::KeyError;
use protocol::bytes::Identity;
use protocol::evidence::Evidence;
use report::Report;
use verifier::Opened;
use verifier::outcome::{Judge, Outcome};

use crate::refusal::Refusal;
use crate::wanted::Wanted;

/// What evidence must meet.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Its assumptions and Verifiers; nothing else of the policy is asked here.
    pub policy: &'a Policy,
    /// Verifiers whose evidence counts, beside those of the policy.
    pub named: &'a [Identity],
    /// Whose evidence is wanted.
    pub wanted: &'a Wanted,
}

/// Evidence can be neither admitted nor refused: no Verifier is named, and this host's own key cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the Verifier's key: {0}")]
pub struct OwnKeyError(KeyError);

/// Evidence that meets the requirements; its tiles are still to be recomputed, unless there is a verdict.
pub struct Admitted {
    /// The evidence and its session.
    pub opened: Opened,
    /// Its sealed bytes.
    pub sealed: Vec<u8>,
    /// Its judge.
    pub judge: Judge,
    /// Lines about its maker, for people.
    pub whose: String,
}

/// The result of the checks that cost little.
pub enum Admission {
    /// It is refused.
    Refused(Refusal),
    /// Nobody named its Verifier: there is no verdict, whatever its tiles are, so none is recomputed
    /// (`gpu-validator: evidence_of_a_verifier_that_nobody_named_costs_no_tile`).
    Untrusted(Box<Admitted>),
    /// Its tiles decide.
    Trusted(Box<Admitted>),
}

/// Admits evidence that was opened, or says why not.
///
/// # Errors
///
/// [`OwnKeyError`].
pub fn admit((opened, sealed): (Opened, Vec<u8>), rules: &Rules<'_>) -> Result<Admission, OwnKeyError> {
    // Naming a challenge is naming its Verifier.
    let named: Vec<Identity> = rules.named.iter().copied().chain(rules.wanted.challenger()).collect();
    let judge = judge(rules.policy, &named, &opened.evidence)?;
    let whose = match rules.wanted.check(&opened, &judge) {
        Ok(whose) => whose,
        Err(refusal) => return Ok(Admission::Refused(refusal)),
    };
    let is_trusted = judge.trusts(&opened.evidence, &opened.session);
    let admitted = Box::new(Admitted {
        opened,
        sealed,
        judge,
        whose,
    });
    Ok(if is_trusted {
        Admission::Trusted(admitted)
    } else {
        Admission::Untrusted(admitted)
    })
}

/// The judge of evidence under a policy: the Verifiers that are named, here or by the policy; this host's own if none is.
///
/// # Errors
///
/// [`OwnKeyError`], only where this host's own key decides.
pub fn judge(policy: &Policy, named: &[Identity], evidence: &Evidence) -> Result<Judge, OwnKeyError> {
    let own = match named.is_empty() && policy.session.verifiers.is_empty() {
        true => own_verifier()?,
        false => None,
    };
    Ok(policy.judge(named, own, &evidence.assumptions))
}

/// The key of this host's own Verifier, if it exists at the default path; it is not created.
///
/// # Errors
///
/// [`OwnKeyError`] if there is a key that cannot be used.
pub fn own_verifier() -> Result<Option<Identity>, OwnKeyError> {
    let Ok(path) = keystore::default_path("verifier") else {
        return Ok(None);
    };
    match keystore::load(&path) {
        Ok(key) => Ok(Some(Identity(key.verifying_key().to_bytes()))),
        Err(KeyError::File(error)) if error.kind() == Some(std::io::ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(OwnKeyError(error)),
    }
}

impl Admitted {
    /// The outcome without the tiles, and its report: for evidence whose Verifier nobody named.
    #[must_use]
    pub fn untested(&self) -> (Outcome, Report) {
        let Opened { evidence, session } = &self.opened;
        let outcome = Outcome::new(evidence, session, &self.judge, None);
        let report = Report::of(evidence, session, &self.sealed, &self.judge, &outcome);
        (outcome, report)
    }
}
