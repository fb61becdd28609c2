//! Fuzz targets: each target is a function of bytes that panics if a property of the code is violated.
//!
//! `fuzz/` calls them with libFuzzer, guided by coverage; `tests/replay.rs` calls them on the stable toolchain with the
//! inputs kept in `fuzz/corpus`, the vectors of the spec, and mutations of both. Hostile bytes may be rejected; they
//! must not cause a panic, a hang, memory use beyond their size, or affirm anything that was not committed to.

pub mod challenge;
pub mod checksum;
pub mod documents;
pub mod driver;
pub mod evidence;
pub mod frames;
mod input;
pub mod messages;
pub mod plan;
pub mod session;
pub mod tokens;
mod vectors;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is also that of its libFuzzer program and of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// The function to run; panics are findings.
    pub run: fn(&[u8]),
    /// Initial inputs, made from the vectors of the spec.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const ALL: [Target; 16] = [
    Target {
        name: "frames",
        run: frames::run,
        seeds: frames::seeds,
    },
    Target {
        name: "messages",
        run: messages::run,
        seeds: messages::seeds,
    },
    Target {
        name: "plan",
        run: plan::run,
        seeds: plan::seeds,
    },
    Target {
        name: "evidence_bytes",
        run: evidence::run_bytes,
        seeds: evidence::seeds_of_bytes,
    },
    Target {
        name: "evidence_records",
        run: evidence::run_records,
        seeds: evidence::seeds_of_records,
    },
    Target {
        name: "challenge",
        run: challenge::run,
        seeds: challenge::seeds,
    },
    Target {
        name: "verifier_session",
        run: session::run_verifier,
        seeds: session::seeds,
    },
    Target {
        name: "driver",
        run: driver::run,
        seeds: driver::seeds,
    },
    Target {
        name: "attester_session",
        run: session::run_attester,
        seeds: session::seeds,
    },
    Target {
        name: "checksum",
        run: checksum::run,
        seeds: checksum::seeds,
    },
    Target {
        name: "policy",
        run: documents::run_policy,
        seeds: documents::seeds_of_policies,
    },
    Target {
        name: "profile",
        run: documents::run_profile,
        seeds: documents::seeds_of_profiles,
    },
    Target {
        name: "jwks",
        run: documents::run_jwks,
        seeds: documents::seeds_of_jwks,
    },
    Target {
        name: "result_jwt",
        run: tokens::run_jwt,
        seeds: tokens::seeds_of_jwts,
    },
    Target {
        name: "result_cwt",
        run: tokens::run_cwt,
        seeds: tokens::seeds_of_cwts,
    },
    Target {
        name: "nvidia_eat",
        run: tokens::run_nvidia_eat,
        seeds: tokens::seeds_of_nvidia_eats,
    },
];
