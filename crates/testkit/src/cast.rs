//! The parties of a test session: fixed keys, small devices, small requests.

use std::num::NonZeroUsize;

use ed25519_dalek::SigningKey;
use engine_cpu::{CpuEngine, CpuEngineConfig, Path};
use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::engine::Engine;
use protocol::limits::{SUITE, TILE_BYTES, VERSION};
use protocol::message::{DeviceOffer, Hello};
use protocol::plan::{Deadlines, Iteration};
use protocol::request::PlanRequest;
use verifier::outcome::Judge;
use verifier::recompute::Recompute;

/// The Attester's key.
#[must_use]
pub fn attester_key() -> SigningKey {
    SigningKey::from_bytes(&[0xA7; 32])
}

/// The Verifier's key.
#[must_use]
pub fn verifier_key() -> SigningKey {
    SigningKey::from_bytes(&[0x5E; 32])
}

/// A key that belongs to neither.
#[must_use]
pub fn strangers_key() -> SigningKey {
    SigningKey::from_bytes(&[0x57; 32])
}

/// The public part of a key.
#[must_use]
pub fn identity(key: &SigningKey) -> Identity {
    Identity(key.verifying_key().to_bytes())
}

/// HELLO of an Attester whose device g offers exactly `matrices[g]` matrices of 256 x 256 bytes, whatever k is.
#[must_use]
pub fn hello(matrices: &[u64]) -> Hello {
    let offer = |(g, &count): (usize, &u64)| DeviceOffer {
        ordinal: DeviceOrdinal(g as u32),
        engine: "cpu".to_owned(),
        model: "testkit".to_owned(),
        memory_bytes: count * TILE_BYTES as u64,
        available_bytes: count * TILE_BYTES as u64,
        reserve_bytes: 0,
        operand_copies: 0,
        operand_rows: 0,
        labels: Vec::new(),
    };
    Hello {
        versions: vec![VERSION],
        suites: vec![SUITE],
        identity: identity(&attester_key()),
        software: "testkit".to_owned(),
        labels: Vec::new(),
        devices: matrices.iter().enumerate().map(offer).collect(),
    }
}

/// What the Verifier requests: matrices of 256 x 256, all that is offered, iterations of `(k, sweeps)`, one second per phase.
#[must_use]
pub fn request(iterations: &[(u32, u32)], samples: u32) -> PlanRequest {
    PlanRequest {
        session_id: [0x1D; 16],
        verifier: identity(&verifier_key()),
        verifier_name: "verifier".to_owned(),
        audience: "testkit".to_owned(),
        matrix_dim: Some(256),
        devices: None,
        device_bytes: None,
        iterations: iterations
            .iter()
            .map(|&(inner_dim, sweeps)| Iteration::new(inner_dim, sweeps))
            .collect(),
        samples,
        deadlines: Deadlines {
            ready_ms: 1_000,
            fill_ms: 1_000,
            sweep_ms: 1_000,
            openings_ms: 1_000,
        },
    }
}

/// An honest engine: one thread, at most 64 MiB.
#[must_use]
pub fn engine() -> Box<dyn Engine> {
    let config = CpuEngineConfig {
        path: Path::best(),
        threads: NonZeroUsize::MIN,
        operand_budget_bytes: 1 << 20,
        memory_limit_bytes: Some(64 << 20),
        link_bytes_per_s: None,
    };
    Box::new(CpuEngine::new(config).expect("the best path runs here"))
}

/// How sampled tiles are recomputed here: on one thread, with few operands kept.
#[must_use]
pub fn recompute() -> Recompute {
    Recompute {
        path: Path::best(),
        threads: NonZeroUsize::MIN,
        operand_budget_bytes: 1 << 20,
        tile_budget_bytes: 1 << 20,
        ..Recompute::default()
    }
}

/// The judge in tests: it trusts the cast's Verifier, and uses the assumptions of the bounds.
#[must_use]
pub fn judge() -> Judge {
    Judge {
        trusted: vec![identity(&verifier_key())],
        assumptions: assumptions(),
        narrowed_by: None,
    }
}

/// What the bounds assume: an H200's rate, PCIe 5.0 x16, no helper.
#[must_use]
pub fn assumptions() -> Assumptions {
    Assumptions {
        best_rate_ops_per_s: 1_360_000_000_000_000,
        helper_gpus: 1,
        link_in_bytes_per_s: 64_000_000_000,
        link_out_bytes_per_s: 64_000_000_000,
        helper_bytes_per_s: 0,
        on_chip_bytes: 128_000_000,
        error_bits: 20,
    }
}
