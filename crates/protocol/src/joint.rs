//! Several sessions at once: which evidence belongs together on one clock, and what it certifies in total (spec §6.5, §10.5).

use std::collections::HashSet;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::bounds::Assumptions;
use crate::bytes::Identity;
use crate::cbor::{Canonical, Malformed, Reader, Writer};
use crate::certified::{Bounds, HostBounds, joint_bounds, measured};
use crate::derive::derive;
use crate::limits::{MAX_JOINT_SESSIONS, MIN_SAMPLES_FOR_BOUND};
use crate::plan::Iteration;
use crate::verdict::Verdict;
use crate::verifier::{Mode, SIGNATURE_BYTES, VerifierSession, Windows};

/// The marker at the beginning of the record, inside the CBOR.
const MAGIC: &str = "gpu-attestor joint";

/// Version of the record's format.
const JOINT_VERSION: u64 = 1;

/// Hash of sealed evidence, which identifies a session of a joint record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EvidenceHash(pub [u8; 32]);

impl EvidenceHash {
    /// The hash of these sealed bytes.
    #[must_use]
    pub fn of(sealed: &[u8]) -> Self {
        EvidenceHash(derive("joint evidence", &[sealed]))
    }
}

impl std::fmt::Display for EvidenceHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::bytes::hex(&self.0))
    }
}

/// One session of a joint record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JointMember {
    /// Its evidence.
    pub evidence: EvidenceHash,
    /// Time on the joint clock at which its own clock was at 0, ns.
    pub began_ns: u64,
}

/// The sessions that ran at once and remained to the end, on the common clock of their Verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JointRecord {
    /// The owner of the clock: the Verifier of every session, which seals the record.
    verifier: Identity,
    /// Sessions to which SAMPLE was sent, including those that did not remain: each had a chance to cheat undetected.
    sampled: u32,
    /// The sessions, in ascending order of the evidence hash.
    members: Vec<JointMember>,
}

/// Why sessions do not make a joint record, or certify nothing together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JointError {
    /// Not a joint record, or an incomplete one.
    #[error("malformed joint record: {0}")]
    Malformed(#[from] Malformed),
    /// Too short to hold a seal.
    #[error("a joint record of {0} bytes is too short to hold a seal: it was cut short, or is none")]
    TooShort(usize),
    /// The seal is not a signature of the Verifier over these bytes.
    #[error("the joint record was changed or damaged, or was not sealed by {0}")]
    Seal(Identity),
    /// The evidence of a session is missing.
    #[error("the joint record has evidence {0}, which is not given")]
    Missing(EvidenceHash),
    /// Some evidence is not named in the record, or is given twice.
    #[error("evidence {0} is not in the joint record, or is given twice")]
    Foreign(EvidenceHash),
    /// A session has another Verifier than the record.
    #[error("evidence {evidence} is of another Verifier than the joint record, which is of {expected}")]
    Verifier {
        /// The evidence.
        evidence: EvidenceHash,
        /// The record's Verifier.
        expected: Identity,
    },
    /// A session is offline or is not affirmed.
    #[error("evidence {evidence} cannot be one of several at once: {why}")]
    NotAffirmed {
        /// The evidence.
        evidence: EvidenceHash,
        /// The code of its verdict, or the fact that it was offline.
        why: String,
    },
    /// The record has the same session twice, with two seals.
    #[error("evidence {0} is of a session that another evidence is of")]
    Twice(EvidenceHash),
    /// A session has other iterations than the first session.
    #[error("evidence {0} has other iterations than the first: their phases do not belong together")]
    Iterations(EvidenceHash),
    /// Times beyond the range of the joint clock.
    #[error("the times of evidence {0} are beyond the joint clock")]
    Clock(EvidenceHash),
}

/// What sessions that ran at once certify together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JointCertified {
    /// What the bounds assume.
    pub assumptions: Assumptions,
    /// For the system behind all sessions.
    pub system: HostBounds,
    /// Each session's share of it, in the record's order: what the devices of its plan add.
    pub shares: Vec<HostBounds>,
    /// The common windows of each iteration.
    pub windows: Vec<Windows>,
    /// In how many ways samples can have missed what they must not: all bounds together are false with at most this many times
    /// 2^-`error_bits`.
    pub sampled_groups: u64,
}

impl JointRecord {
    /// The record of these sessions of `verifier`, whatever their order; SAMPLE was sent to `sampled` sessions, these included.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for no session, too many sessions, one session twice, or more sessions than were sampled.
    pub fn new(verifier: Identity, sampled: u32, mut members: Vec<JointMember>) -> Result<Self, Malformed> {
        members.sort_unstable();
        if members.is_empty() || members.len() > MAX_JOINT_SESSIONS {
            return Err(Malformed::value(
                "sessions",
                format!("1..={MAX_JOINT_SESSIONS}"),
                members.len(),
            ));
        }
        if let Some(pair) = members.windows(2).find(|pair| pair[0].evidence == pair[1].evidence) {
            return Err(Malformed::value("sessions", "each once", pair[0].evidence));
        }
        if (sampled as usize) < members.len() {
            return Err(Malformed::value(
                "sampled",
                format!("at least {}", members.len()),
                sampled,
            ));
        }
        Ok(JointRecord {
            verifier,
            sampled,
            members,
        })
    }

    /// The Verifier whose clock it is.
    #[must_use]
    pub fn verifier(&self) -> Identity {
        self.verifier
    }

    /// Number of sessions to which SAMPLE was sent, including those of the record.
    #[must_use]
    pub fn sampled(&self) -> u32 {
        self.sampled
    }

    /// Its sessions, in ascending order of their evidence hashes.
    #[must_use]
    pub fn members(&self) -> &[JointMember] {
        &self.members
    }

    /// The record's bytes, sealed with `key`: canonical CBOR and an Ed25519 signature over derive("joint", CBOR).
    ///
    /// # Panics
    ///
    /// If `key` is not the Verifier's.
    #[must_use]
    pub fn seal(&self, key: &SigningKey) -> Vec<u8> {
        assert_eq!(key.verifying_key().to_bytes(), self.verifier.0, "the Verifier's key");
        let mut bytes = self.to_bytes();
        let signature = key.sign(&derive("joint", &[&bytes])).to_bytes();
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// The record in `bytes`, its seal checked.
    ///
    /// # Errors
    ///
    /// [`JointError`] for anything except a sealed record.
    pub fn open(bytes: &[u8]) -> Result<Self, JointError> {
        let (body, signature) = bytes
            .split_last_chunk::<SIGNATURE_BYTES>()
            .ok_or(JointError::TooShort(bytes.len()))?;
        let record = JointRecord::from_bytes(body)?;
        VerifyingKey::from_bytes(&record.verifier.0)
            .and_then(|key| key.verify_strict(&derive("joint", &[body]), &Signature::from_bytes(signature)))
            .map_err(|_| JointError::Seal(record.verifier))?;
        Ok(record)
    }

    /// What its sessions certify together under these assumptions (spec §6.5): `sessions` are those of the evidence that it names,
    /// each affirmed, in any order.
    ///
    /// # Errors
    ///
    /// [`JointError`] unless they are exactly the sessions of the record, online, of this Verifier, and with the same
    /// iterations.
    pub fn certified(
        &self,
        sessions: &[(EvidenceHash, &VerifierSession)],
        assumptions: &Assumptions,
    ) -> Result<JointCertified, JointError> {
        let sessions = self.in_order(sessions)?;
        let windows = self.windows(&sessions)?;
        let plans = || {
            sessions
                .iter()
                .map(|session| session.plan().expect("an affirmed session has a plan"))
        };
        let devices: Vec<_> = plans()
            .flat_map(|plan| measured(plan, &windows, |_, _| u32::MAX))
            .collect();
        let groups_of = |session: usize| {
            let before: usize = plans().take(session).map(|plan| plan.devices().len()).sum();
            let own = &devices[before..before + sessions[session].plan().map_or(0, |plan| plan.devices().len())];
            own.iter()
                .flatten()
                .filter(|group| group.samples >= MIN_SAMPLES_FOR_BOUND)
                .count() as u64
        };
        let most_groups = (0..sessions.len()).map(groups_of).max().unwrap_or(0);
        let (system, of_devices) = joint_bounds(&devices, assumptions);
        let mut rest = &of_devices[..];
        let shares = plans().map(|plan| {
            let (own, others) = rest.split_at(plan.devices().len());
            rest = others;
            sum(own)
        });
        Ok(JointCertified {
            assumptions: *assumptions,
            system,
            shares: shares.collect(),
            windows,
            sampled_groups: u64::from(self.sampled) * most_groups,
        })
    }

    /// The sessions in the record's order, after the check that they belong to it.
    fn in_order<'a>(
        &self,
        sessions: &[(EvidenceHash, &'a VerifierSession)],
    ) -> Result<Vec<&'a VerifierSession>, JointError> {
        let mut given = HashSet::new();
        for (evidence, _) in sessions {
            let is_member = self
                .members
                .binary_search_by_key(evidence, |member| member.evidence)
                .is_ok();
            if !is_member || !given.insert(*evidence) {
                return Err(JointError::Foreign(*evidence));
            }
        }
        let mut nonces = HashSet::new();
        let mut ordered: Vec<&VerifierSession> = Vec::new();
        for JointMember { evidence, .. } in &self.members {
            let found = sessions.iter().find(|(other, _)| other == evidence);
            let session = found.ok_or(JointError::Missing(*evidence))?.1;
            let not_affirmed = |why: &str| JointError::NotAffirmed {
                evidence: *evidence,
                why: why.to_owned(),
            };
            if session.config().mode == Mode::Offline {
                return Err(not_affirmed("no clock of a Verifier ran"));
            }
            match session.verdict() {
                Some(Verdict::Affirmed) => {}
                Some(verdict) => return Err(not_affirmed(verdict.code())),
                None => return Err(not_affirmed("its tiles are not recomputed")),
            }
            if session.verifier() != Some(&self.verifier) {
                return Err(JointError::Verifier {
                    evidence: *evidence,
                    expected: self.verifier,
                });
            }
            // The first chain derives from the nonce, which is never drawn twice: evidence with the same chain is one
            // session, even if sealed twice.
            let chain = session.trace().map(|trace| trace.iterations()[0].chain);
            if !nonces.insert(chain) {
                return Err(JointError::Twice(*evidence));
            }
            // Rounds come after the sweeps of an iteration: in no common window. How many leaves cross depends on each host.
            let iterations = |session: &VerifierSession| -> Option<Vec<(u32, u32)>> {
                let of = |iteration: &Iteration| (iteration.inner_dim, iteration.sweeps);
                session.plan().map(|plan| plan.iterations().iter().map(of).collect())
            };
            if ordered
                .first()
                .is_some_and(|first| iterations(first) != iterations(session))
            {
                return Err(JointError::Iterations(*evidence));
            }
            ordered.push(session);
        }
        Ok(ordered)
    }

    /// The common windows: each from the first sending to the last answer, or to the last sending of v (spec §6.5).
    fn windows(&self, sessions: &[&VerifierSession]) -> Result<Vec<Windows>, JointError> {
        let count = sessions.first().map_or(0, |session| session.windows().len());
        let mut windows = Vec::new();
        for iteration in 0..count {
            let (mut fill_ns, mut v_ns, mut swept_ns) = (u64::MAX, (u64::MAX, 0), 0);
            for (member, session) in self.members.iter().zip(sessions) {
                let own = &session.windows()[iteration];
                let at = |ns: Option<u64>| ns.ok_or(JointError::Clock(member.evidence));
                let filling = at(member.began_ns.checked_add(own.fill_start_ns))?;
                let v = at(filling.checked_add(own.fill_ns))?;
                fill_ns = fill_ns.min(filling);
                v_ns = (v_ns.0.min(v), v_ns.1.max(v));
                swept_ns = swept_ns.max(at(v.checked_add(own.sweep_ns))?);
            }
            windows.push(Windows {
                fill_start_ns: fill_ns,
                fill_ns: v_ns.1 - fill_ns,
                sweep_ns: swept_ns - v_ns.0,
                ..Windows::default()
            });
        }
        Ok(windows)
    }
}

/// The sum of bounds; `None` if no device has one.
fn sum(devices: &[Bounds]) -> HostBounds {
    let add = |of: fn(&Bounds) -> Option<crate::certified::Bound>| {
        let bounds = devices.iter().filter_map(of);
        bounds.fold(None, |sum: Option<crate::certified::Bound<u128>>, bound| {
            Some(crate::certified::Bound {
                value: sum.map_or(0, |sum| sum.value) + u128::from(bound.value),
                inner_dim: bound.inner_dim,
            })
        })
    };
    Bounds {
        memory_bytes: add(|b| b.memory_bytes),
        bandwidth_bytes_per_s: add(|b| b.bandwidth_bytes_per_s),
        tensor_ops_per_s: add(|b| b.tensor_ops_per_s),
        local_tensor_ops_per_s: add(|b| b.local_tensor_ops_per_s),
    }
}

impl Canonical for JointMember {
    fn write(&self, to: &mut Writer) {
        to.array(2);
        to.bytes(&self.evidence.0);
        to.uint(self.began_ns);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("session", 2)?;
        Ok(JointMember {
            evidence: EvidenceHash(from.array_of_bytes("evidence")?),
            began_ns: from.uint("began")?,
        })
    }
}

impl Canonical for JointRecord {
    fn write(&self, to: &mut Writer) {
        to.array(5);
        to.text(MAGIC);
        to.uint(JOINT_VERSION);
        to.bytes(&self.verifier.0);
        to.uint(self.sampled.into());
        to.list(&self.members);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("joint record", 5)?;
        let magic = from.text("magic")?;
        if magic != MAGIC {
            return Err(Malformed::value("magic", MAGIC, magic));
        }
        let version = from.uint("joint record version")?;
        if version != JOINT_VERSION {
            return Err(Malformed::value("joint record version", JOINT_VERSION, version));
        }
        let verifier = Identity(from.array_of_bytes("verifier")?);
        let sampled = from.uint32("sampled")?;
        let members: Vec<JointMember> = from.list("sessions", 1..=MAX_JOINT_SESSIONS)?;
        if !members.is_sorted() {
            return Err(Malformed::value("sessions", "ascending order of evidence", "another"));
        }
        JointRecord::new(verifier, sampled, members)
    }
}
