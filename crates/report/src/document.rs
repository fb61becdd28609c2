//! The content of a report on an appraised session, for every format. Texts are unescaped: each format escapes them itself.

use verifier::units::bytes_per_s;

use crate::figure::{CertifiedFigures, Margin};
use crate::phases::PhaseSpan;
use crate::session::Report;
use crate::telemetry::StatedTelemetry;

/// An appraised session.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// The host's verdict.
    pub verdict: Verdict,
    /// What the verdict means, in plain words.
    pub meaning: String,
    /// The reasons for the verdicts: the host with its session, then each device.
    pub parts: Vec<Part>,
    /// Each device's figures.
    pub devices: Vec<Device<'a>>,
    /// Findings about the host and each device, which are not part of the evidence.
    pub findings: Vec<Finding<'a>>,
    /// The result of NVIDIA's own attestation, row by row; empty if the evidence carries none.
    pub nvidia: Vec<(String, String)>,
    /// The policy's name.
    pub policy_name: &'a str,
    /// The policy's identifier, with its digest.
    pub policy_id: &'a str,
    /// What the policy asks for beyond the default.
    pub asked: &'a [String],
    /// Digest of the profiles, hex.
    pub profiles_blake3: &'a str,
    /// When it was appraised, ms since the Unix epoch.
    pub appraised_unix_ms: u64,
    /// The session's nonce, hex; present once it was sent.
    pub nonce: Option<&'a str>,
    /// The session itself.
    pub session: &'a Report,
}

/// A verdict as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub name: &'static str,
    /// How it maps to a test that passes, fails or is skipped.
    pub test: Test,
}

/// How a test ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// The test passes.
    Passed,
    /// The test fails.
    Failed,
    /// The test is skipped: nothing can be concluded.
    Skipped,
}

/// The host or a device, with its reasons.
#[derive(Clone, Debug)]
pub struct Part {
    /// Whose verdict it is.
    pub title: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<Remark>,
    /// The text that is shown if there is no reason.
    pub otherwise: &'static str,
}

/// One reason.
#[derive(Clone, Debug)]
pub struct Remark {
    /// Its code.
    pub code: &'static str,
    /// Its description.
    pub text: String,
    /// What to do about it; empty if nothing.
    pub remedy: &'static str,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding<'a> {
    /// Where: the host or a device.
    pub place: String,
    /// Which.
    pub kind: &'static str,
    /// Its effect on the verdict.
    pub effect: &'static str,
    /// What was observed.
    pub detail: &'a str,
    /// Its cause.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// One device's figures.
#[derive(Clone, Debug)]
pub struct Device<'a> {
    /// Its ordinal.
    pub ordinal: u32,
    /// The model that it states.
    pub model: &'a str,
    /// The class that its figures are compared with, if there is one with figures.
    pub class: Option<Class<'a>>,
    /// Its share of what is certified for the host.
    pub certified: CertifiedFigures,
    /// Titles of classes that the figures fit.
    pub fits: Vec<&'a str>,
    /// Titles of classes whose devices have less than is certified.
    pub excluded: Vec<&'a str>,
    /// When it was working, one entry per iteration.
    pub phases: &'a [PhaseSpan],
    /// The power, clocks and temperature that it reports.
    pub telemetry: &'a StatedTelemetry,
}

/// A class that a device's figures are compared with.
#[derive(Clone, Debug)]
pub struct Class<'a> {
    /// Its short name.
    pub name: &'a str,
    /// Its name for people.
    pub title: &'a str,
    /// Whether the device itself states this class; otherwise the policy requires it.
    pub is_stated: bool,
    /// The data that the class's limits are based on.
    pub basis: String,
    /// Figure by figure.
    pub margins: &'a [Margin],
}

/// The limits of the protocol and what using each would cost a cheat (spec §7), row by row.
pub(crate) fn limits(session: &Report) -> Vec<(&'static str, String)> {
    let a = &session.assumptions;
    let mut limits = vec![
        (
            "Relay to equal GPUs elsewhere",
            "as many real GPUs as are stated, idle for the session; answers are small, so a network is enough"
                .to_owned(),
        ),
        (
            "Tiles held elsewhere",
            format!(
                "memory there that is read as fast, the host's own included; the bounds assume {}",
                bytes_per_s(a.assumed.helper_bytes_per_s.into())
            ),
        ),
        (
            "Helpers that hold nothing",
            format!(
                "the bounds assume at most {} GPU{} regenerating bytes for each device; more are not excluded",
                a.assumed.helper_gpus,
                if a.assumed.helper_gpus == 1 { "" } else { "s" }
            ),
        ),
        (
            "Work done elsewhere",
            "other GPUs with that rate; a tile's digest has eight bytes, so any network carries T: it is the system's, T_local its \
             devices'"
                .to_owned(),
        ),
        (
            "Two GPUs joined as one, partial copies",
            "each missing a share u moves at least u² N/2 a direction in each sweep".to_owned(),
        ),
        (
            "A larger GPU, or its slices, for smaller ones",
            "a larger GPU: figures can't tell, and the findings name the classes".to_owned(),
        ),
        (
            "Model, firmware, anything before or after the session",
            "not covered: hardware attestation complements this".to_owned(),
        ),
    ];
    if session.fabric.is_some() {
        let cost = "machines or memory that hold both tiles of a pair, and answer beyond the rate that is assumed; one way alone is not \
                    certified, and slow links show only as far as what moved had to use them";
        limits.push(("Links between GPUs", cost.to_owned()));
    }
    limits
}
