//! The outcome of evidence for its judge: the session's verdict, if a trusted Verifier recorded it and it certifies
//! anything.
//!
//! Everything that prints, signs or exits with a verdict calls this module, so that all commands agree (spec §10.2).

use protocol::bounds::Assumptions;
use protocol::bytes::Identity;
use protocol::certified::Certified;
use protocol::evidence::Evidence;
use protocol::fabric::Fabric;
use protocol::limits::MIN_SAMPLES_FOR_BOUND;
use protocol::plan::Plan;
use protocol::verdict::Verdict;
use protocol::verifier::{Mode, VerifierSession};

use crate::hardware::ON_SALE;
use crate::preset::{DEFAULT_ERROR_BITS, default_assumptions};
use crate::reexecute::RootMismatch;

/// The relying party: the Verifiers and the assumptions it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judge {
    /// Verifiers whose clock and randomness are trusted. Evidence of any other Verifier could have been made by the
    /// host itself, without time limits (the test `evidence_by_a_verifier_of_the_hosts_own_is_affirmed_by_nobody`).
    pub trusted: Vec<Identity>,
    /// The assumptions of bounds. Those in the evidence apply only where they are more cautious, which the caller must
    /// ensure.
    pub assumptions: Assumptions,
    /// What narrows the hardware table, if anything does.
    pub narrowed_by: Option<Narrowing>,
}

/// A policy that narrows the hardware table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowing {
    /// The policy's name.
    pub policy: String,
    /// The most memory that it assumes of one GPU behind the session, bytes; `None` for that of the table. No evidence states
    /// this assumption, so the judge's counts alone.
    pub gpu_memory_bytes: Option<u64>,
}

/// The outcome of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every check passed and the result is not empty: bounds online, work done offline.
    Affirmed(Option<Box<Certified>>),
    /// A check failed.
    Contraindicated {
        /// The reason's code.
        code: &'static str,
        /// The reason as readable text.
        message: String,
    },
    /// No result: the session could not run.
    CouldNotRun {
        /// The reason's code.
        code: &'static str,
        /// The reason as readable text.
        message: String,
    },
    /// No result: its Verifier is not trusted, or nothing is certified.
    None(NoVerdict),
}

/// Why a session whose checks passed has no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVerdict {
    /// No trusted Verifier was named.
    #[error(
        "the evidence is of Verifier {}, which is neither this host's own nor named: whoever made it had the clock. Name a \
         Verifier that you trust with --verifier KEY, or in the policy's session.verifiers",
        .0.map_or("unknown".to_owned(), |key| key.to_string())
    )]
    UnknownVerifier(Option<Identity>),
    /// Every check passed, and no bound follows.
    #[error("every check passed and nothing is certified: {0}")]
    NothingCertified(&'static str),
}

impl NoVerdict {
    /// The reason's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            NoVerdict::UnknownVerifier(_) => "unknown-verifier",
            NoVerdict::NothingCertified(_) => "nothing-certified",
        }
    }
}

impl Judge {
    /// A judge that trusts no Verifier: evidence is checked completely, but never affirmed.
    #[must_use]
    pub fn of_nobody() -> Self {
        Judge {
            trusted: Vec::new(),
            assumptions: default_assumptions(DEFAULT_ERROR_BITS),
            narrowed_by: None,
        }
    }

    /// The most memory that one GPU behind the session is assumed to have, bytes.
    #[must_use]
    pub fn gpu_memory_bytes(&self) -> u64 {
        let narrowed = self.narrowed_by.as_ref().and_then(|by| by.gpu_memory_bytes);
        narrowed.unwrap_or(ON_SALE.gpu_memory_bytes.value)
    }

    /// Whether the evidence's Verifier is trusted.
    #[must_use]
    pub fn trusts(&self, evidence: &Evidence, session: &VerifierSession) -> bool {
        verifier_of(evidence, session).is_some_and(|key| self.trusted.contains(&key))
    }
}

impl Outcome {
    /// The outcome of a finished session; `mismatch` is a difference found by full re-execution.
    ///
    /// # Panics
    ///
    /// If the session has no verdict yet, and its Verifier is trusted.
    #[must_use]
    pub fn new(evidence: &Evidence, session: &VerifierSession, judge: &Judge, mismatch: Option<&RootMismatch>) -> Self {
        if !judge.trusts(evidence, session) {
            return Outcome::None(NoVerdict::UnknownVerifier(verifier_of(evidence, session)));
        }
        match (session.verdict().expect("a finished session"), mismatch) {
            (Verdict::Affirmed, Some(mismatch)) => Outcome::Contraindicated {
                code: "full-mismatch",
                message: mismatch.to_string(),
            },
            (Verdict::Affirmed, None) => Outcome::of_affirmed(session, &judge.assumptions),
            (verdict @ Verdict::Contraindicated(_), _) => Outcome::Contraindicated {
                code: verdict.code(),
                message: verdict.message(),
            },
            (verdict @ Verdict::CouldNotRun(_), _) => Outcome::CouldNotRun {
                code: verdict.code(),
                message: verdict.message(),
            },
        }
    }

    fn of_affirmed(session: &VerifierSession, assumptions: &Assumptions) -> Self {
        let nothing = |why| Outcome::None(NoVerdict::NothingCertified(why));
        if session.config().mode == Mode::Offline {
            return match most_samples(session) >= MIN_SAMPLES_FOR_BOUND {
                true => Outcome::Affirmed(None),
                false => nothing("fewer than 256 samples of every device and k"),
            };
        }
        match session.certified(assumptions) {
            Ok(certified) if !certified.host.is_empty() => Outcome::Affirmed(Some(Box::new(certified))),
            _ if most_samples(session) < MIN_SAMPLES_FOR_BOUND => {
                nothing("fewer than 256 samples of every device and k")
            }
            _ => nothing("what is assumed of links, helpers and on-chip memory explains all that was measured"),
        }
    }

    /// "affirmed", "contraindicated", "could not run" or "none".
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Affirmed(_) => "affirmed",
            Outcome::Contraindicated { .. } => "contraindicated",
            Outcome::CouldNotRun { .. } => "could not run",
            Outcome::None(_) => "none",
        }
    }

    /// The reason's code; empty when affirmed.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Outcome::Affirmed(_) => "",
            Outcome::Contraindicated { code, .. } | Outcome::CouldNotRun { code, .. } => code,
            Outcome::None(why) => why.code(),
        }
    }

    /// The reason as readable text; empty when affirmed.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Outcome::Affirmed(_) => String::new(),
            Outcome::Contraindicated { message, .. } | Outcome::CouldNotRun { message, .. } => message.clone(),
            Outcome::None(why) => why.to_string(),
        }
    }

    /// Whether the evidence's Verifier was not named as trusted.
    #[must_use]
    pub fn is_unvouched(&self) -> bool {
        matches!(self, Outcome::None(NoVerdict::UnknownVerifier(_)))
    }

    /// The certified bounds.
    #[must_use]
    pub fn certified(&self) -> Option<&Certified> {
        match self {
            Outcome::Affirmed(certified) => certified.as_deref(),
            _ => None,
        }
    }

    /// What the rounds between devices certify if no GPU has more than `gpu_memory_bytes`; `None` without rounds, and where no
    /// bound is certified at all.
    #[must_use]
    pub fn fabric(&self, session: &VerifierSession, judge: &Judge, gpu_memory_bytes: u64) -> Option<Fabric> {
        self.certified()?;
        session.fabric(&judge.assumptions, gpu_memory_bytes).ok().flatten()
    }
}

/// The Verifier that the evidence depends on: online the one that sealed it; offline the one that signed the challenge.
/// A session that ended before PLAN has one too.
#[must_use]
pub fn verifier_of(evidence: &Evidence, session: &VerifierSession) -> Option<Identity> {
    match (evidence.config.mode, &evidence.challenge) {
        (Mode::Online, _) => Some(session.verifier().copied().unwrap_or(evidence.sealer)),
        (Mode::Offline, Some(challenge)) => Some(challenge.plan.fields().verifier),
        (Mode::Offline, None) => None,
    }
}

/// The number of effective samples of the device and group with the most; `None` without a plan.
fn most_samples(session: &VerifierSession) -> u32 {
    session.plan().map_or(0, Plan::most_effective_samples)
}
