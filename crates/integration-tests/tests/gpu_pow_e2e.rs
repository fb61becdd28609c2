//! The original system's end-to-end test, on the current protocol: seeds, ranges and nonces, on GPUs if there are any.

use std::io;
use std::num::NonZeroUsize;
use std::thread;

use attester::{Device, serve};
use ed25519_dalek::SigningKey;
use engine_cpu::{CpuEngineConfig, Path};
use engines::cpu_devices;
use integration_tests::{DEVICE_BYTES, attester, devices, settings};
use protocol::bytes::{Chain, Identity, Nonce};
use protocol::challenge::Challenge;
use protocol::evidence::{Evidence, EvidenceError};
use protocol::message::Hello;
use protocol::plan::{Iteration, Plan};
use protocol::verdict::Verdict;
use verifier::outcome::Judge;
use verifier::preset::default_assumptions;
use verifier::recompute::Recompute;
use verifier::{Recorded, Unobserved, VerifyError, prove, verify};

const VERIFIER: [u8; 32] = [0x5E; 32];
const ATTESTER: [u8; 32] = [0xA7; 32];

/// Devices whose part of HELLO does not depend on this host's currently free resources: the checksum binds HELLO.
fn fixed(mut devices: Vec<Device>) -> Vec<Device> {
    for device in &mut devices {
        let offer = &mut device.offer;
        (offer.memory_bytes, offer.available_bytes, offer.reserve_bytes) = (1 << 30, 1 << 30, 0);
        (offer.operand_copies, offer.operand_rows) = (0, 0);
        "fixed".clone_into(&mut offer.model);
        offer.labels.clear();
        offer.engine = String::new();
    }
    devices
}

/// This many devices, emulated in plain Rust.
fn plain(count: usize) -> Vec<Device> {
    let config = CpuEngineConfig {
        path: Path::Portable,
        ..CpuEngineConfig::default()
    };
    let count = NonZeroUsize::new(count).expect("at least one device");
    cpu_devices(count, 0, DEVICE_BYTES, config).expect("it runs everywhere")
}

/// A plan of 13 matrices of n = 256 over `count` devices.
fn plan(count: usize) -> Plan {
    let hello = Hello {
        versions: vec![1],
        suites: vec![1],
        identity: Identity([0; 32]),
        software: String::new(),
        labels: Vec::new(),
        devices: fixed(devices(count))
            .iter()
            .map(|device| device.offer.clone())
            .collect(),
    };
    let mut request = settings().request;
    request.verifier = Identity(SigningKey::from_bytes(&VERIFIER).verifying_key().to_bytes());
    request.matrix_dim = Some(256);
    request.iterations = vec![Iteration::new(1024, 3), Iteration::new(192, 1)];
    request.samples = 8;
    let whole = request.plan(&hello).expect("a plan");
    // The remainder goes to the first devices (spec §3.3).
    let shares = (0..count).map(|device| 13 / count + usize::from(device < 13 % count));
    let mut fields = whole.fields().clone();
    let mut matrix_offset = 0;
    for (device, share) in fields.devices.iter_mut().zip(shares) {
        (device.matrix_offset, device.num_matrices) = (matrix_offset, share as u32);
        matrix_offset += share as u64;
    }
    Plan::new(fields).expect("a plan")
}

fn challenge(plan: Plan, nonce: u8) -> Challenge {
    Challenge::sign(
        plan,
        Nonce([nonce; 32]),
        0,
        u64::MAX,
        &SigningKey::from_bytes(&VERIFIER),
    )
}

/// All work under `challenge`, whose bytes determine every value.
fn answer(challenge: &Challenge, devices: Vec<Device>) -> Recorded {
    let (from_verifier, to_attester) = io::pipe().expect("a pipe");
    let (from_attester, to_verifier) = io::pipe().expect("a pipe");
    let served = thread::spawn(move || serve(attester(fixed(devices)), from_verifier, to_verifier));
    let key = SigningKey::from_bytes(&ATTESTER);
    let assumptions = default_assumptions(80);
    let recorded = prove(from_attester, to_attester, challenge, &assumptions, &key, &Unobserved).expect("a session");
    served
        .join()
        .expect("serving does not panic")
        .expect("served to the end");
    recorded
}

fn checksum(recorded: &Recorded) -> Chain {
    recorded.opened.session.checksum().expect("every iteration is done")
}

#[test]
fn gpu_pow_end_to_end_flow() {
    for count in [1, 3] {
        // One device or three: contiguous ranges from 0, with the remainder on the first.
        let plan = plan(count);
        let ranges: Vec<(u64, u32)> = plan
            .devices()
            .iter()
            .map(|d| (d.matrix_offset, d.num_matrices))
            .collect();
        match count {
            1 => assert_eq!(ranges, [(0, 13)]),
            _ => assert_eq!(ranges, [(0, 5), (5, 4), (9, 4)]),
        }

        // The same seed gives the same checksum, another seed gives another.
        let challenged = challenge(plan.clone(), 1);
        let first = answer(&challenged, devices(count));
        assert_eq!(checksum(&first), checksum(&answer(&challenged, devices(count))));
        assert_ne!(
            checksum(&first),
            checksum(&answer(&challenge(plan.clone(), 2), devices(count)))
        );

        // It equals that of plain Rust on the CPU, whatever did the work: GPUs if there are any, otherwise the CPU's
        // fastest path.
        assert_eq!(checksum(&first), checksum(&answer(&challenged, plain(count))));

        // A CPU recomputes the same values that were answered.
        let verified =
            verify(&first.sealed, &Recompute::default(), &Judge::of_nobody(), &Unobserved).expect("evidence");
        assert_eq!(verified.session.verdict(), Some(&Verdict::Affirmed));
        assert_eq!(verified.session.checksum(), Some(checksum(&first)));

        // The answer to one nonce is refused as the answer to another.
        let relabelled = Evidence {
            challenge: Some(challenge(plan, 2)),
            ..first.opened.evidence.clone()
        };
        let sealed = relabelled.seal(&SigningKey::from_bytes(&ATTESTER));
        match verify(&sealed, &Recompute::default(), &Judge::of_nobody(), &Unobserved) {
            Err(VerifyError::Evidence(EvidenceError::Challenge(why))) => assert_eq!(why, "another nonce"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("an answer to another nonce was accepted"),
        }
    }
}
