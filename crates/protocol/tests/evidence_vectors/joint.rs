//! The vectors of joint records: sessions, the record of them, and their common windows.

use serde_json::{Value, json};

use protocol::bounds::Assumptions;
use protocol::bytes::{Identity, hex};
use protocol::cbor::Canonical;
use protocol::evidence::Evidence;
use protocol::joint::{EvidenceHash, JointError, JointMember, JointRecord};
use protocol::verifier::{Mode, VerifierSession};

use crate::session::{ASSUMPTIONS, NONCE, attester_key, evidence, seal, session_with, verifier_key, verify};

const BEGAN_NS: [u64; 2] = [0, 5_000_000];

pub(crate) struct JointVector {
    pub(crate) name: &'static str,
    about: &'static str,
    record: Vec<u8>,
    evidence: Vec<Vec<u8>>,
    /// The common windows, [fill, sweep] in ns; or the beginning of this crate's error.
    expected: Result<Vec<[u64; 2]>, &'static str>,
}

impl JointVector {
    pub(crate) fn file(&self) -> Value {
        let evidence: Vec<String> = self.evidence.iter().map(|sealed| hex(sealed)).collect();
        let mut file = json!({"about": self.about, "type": "JOINT", "hex": hex(&self.record), "evidence": evidence});
        match &self.expected {
            Ok(windows) => file["windows"] = json!(windows),
            Err(_) => file["refused"] = true.into(),
        }
        file
    }

    fn windows(&self) -> Result<Vec<[u64; 2]>, JointError> {
        let record = JointRecord::open(&self.record)?;
        let sessions: Vec<(EvidenceHash, VerifierSession)> = (self.evidence.iter())
            .map(|sealed| (EvidenceHash::of(sealed), verify(sealed).expect("evidence")))
            .collect();
        let sessions: Vec<_> = sessions.iter().map(|(hash, session)| (*hash, session)).collect();
        let certified = record.certified(&sessions, &ASSUMPTIONS)?;
        assert_eq!(certified.assumptions, ASSUMPTIONS);
        Ok(certified.windows.iter().map(|w| [w.fill_ns, w.sweep_ns]).collect())
    }
}

fn online(nonce: [u8; 32]) -> Evidence {
    evidence(
        Mode::Online,
        session_with(Mode::Online, false, nonce).records().to_vec(),
    )
}

fn record(sampled: u32, evidence: &[Vec<u8>]) -> JointRecord {
    let member = |(sealed, began_ns): (&Vec<u8>, u64)| JointMember {
        evidence: EvidenceHash::of(sealed),
        began_ns,
    };
    let members = evidence.iter().zip(BEGAN_NS).map(member).collect();
    JointRecord::new(Identity(verifier_key().verifying_key().to_bytes()), sampled, members).expect("two sessions")
}

/// Two sessions whose messages take a millisecond each; the second begins 5 ms after the first.
pub(crate) fn vectors() -> Vec<JointVector> {
    let (first, second) = (online(NONCE), online([0x4F; 32]));
    let two = vec![seal(&first), seal(&second)];
    let sealed = record(2, &two).seal(&verifier_key());
    // NONCE is sent at 4 ms, v at 7, the last SWEPT arrives at 9; w at 10, v at 13, SWEPT at 15.
    let windows = vec![[8_000_000, 7_000_000]; 2];
    let vector = |name, about, record, evidence, expected| JointVector {
        name,
        about,
        record,
        evidence,
        expected,
    };
    let with = |other: Vec<u8>| {
        let evidence = vec![two[0].clone(), other];
        (record(2, &evidence).seal(&verifier_key()), evidence)
    };
    let mut resealed = first.clone();
    resealed.assumptions = Assumptions {
        error_bits: 21,
        ..ASSUMPTIONS
    };
    let (twice_record, twice) = with(seal(&resealed));
    let offline = evidence(
        Mode::Offline,
        session_with(Mode::Offline, false, NONCE).records().to_vec(),
    );
    let (offline_record, with_offline) = with(seal(&offline));
    let mut invented = second.clone();
    invented.records = session_with(Mode::Online, true, [0x4F; 32]).records().to_vec();
    let (invented_record, with_invented) = with(seal(&invented));
    let mut changed = sealed.clone();
    changed[60] ^= 1;
    let item = record(2, &two).to_bytes();
    // The sessions, which are at the end of the item, in swapped order: one has a time of 0, the other one of four bytes.
    let mut unsorted = item.clone();
    let sessions = item.len() - (35 + 1) - (35 + 5);
    unsorted[sessions..].rotate_left(first_member_bytes(&item[sessions..]));
    let sealed_as_it_is = |item: &[u8]| {
        use ed25519_dalek::Signer;
        let signature = verifier_key()
            .sign(&protocol::derive::derive("joint", &[item]))
            .to_bytes();
        [item, &signature[..]].concat()
    };
    assert_eq!(sealed_as_it_is(&item), sealed);
    vec![
        vector(
            "two",
            "two sessions, held back for nobody",
            sealed.clone(),
            two.clone(),
            Ok(windows.clone()),
        ),
        vector(
            "two-in-another-order",
            "the same, its evidence in another order",
            sealed.clone(),
            vec![two[1].clone(), two[0].clone()],
            Ok(windows.clone()),
        ),
        vector(
            "three-sampled",
            "a third session was sampled and does not remain",
            record(3, &two).seal(&verifier_key()),
            two.clone(),
            Ok(windows),
        ),
        vector(
            "one-missing",
            "evidence of one session is not given",
            sealed.clone(),
            two[..1].to_vec(),
            Err("the joint record has evidence"),
        ),
        vector(
            "one-too-many",
            "evidence is given that the record does not have",
            record(1, &two[..1]).seal(&verifier_key()),
            two.clone(),
            Err("evidence"),
        ),
        vector(
            "one-twice",
            "evidence is given twice",
            sealed.clone(),
            vec![two[0].clone(), two[0].clone()],
            Err("evidence"),
        ),
        vector(
            "one-session-sealed-twice",
            "two seals of one session, with other assumptions",
            twice_record,
            twice,
            Err("evidence"),
        ),
        vector(
            "offline",
            "one of them is offline",
            offline_record,
            with_offline,
            Err("evidence"),
        ),
        vector(
            "one-failed",
            "tiles of one of them are wrong",
            invented_record,
            with_invented,
            Err("evidence"),
        ),
        vector(
            "another-verifier",
            "the record is sealed by another Verifier than the sessions are of",
            JointRecord::new(
                Identity(attester_key().verifying_key().to_bytes()),
                2,
                record(2, &two).members().to_vec(),
            )
            .expect("two sessions")
            .seal(&attester_key()),
            two.clone(),
            Err("evidence"),
        ),
        vector(
            "byte-changed",
            "a byte of the record is another than was sealed",
            changed,
            two.clone(),
            Err("the joint record was changed"),
        ),
        vector(
            "unsorted",
            "the sessions are not in ascending order of their evidence",
            sealed_as_it_is(&unsorted),
            two.clone(),
            Err("malformed joint record: sessions: expected ascending order"),
        ),
        vector(
            "shorter-than-a-seal",
            "63 bytes",
            sealed[..63].to_vec(),
            two,
            Err("a joint record of 63 bytes is too short"),
        ),
    ]
}

/// The number of bytes of the first session in these: an array of two, 32 bytes, a time.
fn first_member_bytes(members: &[u8]) -> usize {
    let time_bytes = match members[35] & 0x1F {
        0..24 => 1,
        24 => 2,
        25 => 3,
        26 => 5,
        _ => 9,
    };
    35 + time_bytes
}

#[test]
fn every_joint_record_comes_to_what_its_vector_says() {
    for v in vectors() {
        match (v.windows(), &v.expected) {
            (Ok(windows), Ok(expected)) => assert_eq!(&windows, expected, "{}", v.name),
            (Err(error), Err(begins)) => assert!(error.to_string().starts_with(begins), "{}: {error}", v.name),
            (other, _) => panic!("{}: {other:?}", v.name),
        }
    }
}
