//! A Verifier's request for a session, from a preset and what is asked otherwise.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::limits::MIN_SAMPLES_FOR_BOUND;
use protocol::plan::{Deadlines, Iteration};
use protocol::request::PlanRequest;

use crate::preset::{Preset, default_assumptions};
use crate::recompute::Recompute;
use crate::session::{SessionError, Settings, fill_random};

/// What is asked of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFields {
    /// How much work.
    pub preset: Preset,
    /// Only these devices; `None` for all that are offered.
    pub devices: Option<Vec<DeviceOrdinal>>,
    /// k and sweeps of each iteration; `None` for the preset's.
    pub iterations: Option<Vec<Iteration>>,
    /// Leaves checked per device and distinct k; `None` for the preset's.
    pub samples: Option<u32>,
    /// Whether fewer samples than certify anything are accepted.
    pub few_samples: bool,
    /// n; `None` for what wastes little memory.
    pub matrix_dim: Option<u32>,
    /// Most dataset per device, bytes; `None` for the preset's.
    pub device_bytes: Option<u64>,
    /// For whom the evidence is made.
    pub audience: String,
    /// How long each phase may take; `None` for the preset's.
    pub phase_deadline: Option<Duration>,
    /// How long HELLO may take.
    pub hello_deadline: Duration,
    /// The soundness error of a device and distinct k is 2^-this.
    pub error_bits: u32,
}

/// Why there are no such settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// They would certify nothing.
    #[error(transparent)]
    TooFewSamples(#[from] TooFewSamples),
    /// The system returned no randomness.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// A request whose samples are too few to certify anything, however large the devices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooFewSamples {
    /// Too few were asked for.
    #[error("{samples} samples; fewer than {least} certify nothing")]
    Asked {
        /// As many as that.
        samples: u32,
        /// The fewest that certify anything.
        least: u32,
    },
    /// A device has too few leaves.
    #[error("a device has {leaves} leaves to sample in all its sweeps, and fewer than {least} samples certify nothing")]
    Leaves {
        /// As many as that.
        leaves: u32,
        /// The fewest that certify anything.
        least: u32,
    },
}

impl Settings {
    /// Settings for what is asked; a fresh session id is drawn.
    ///
    /// # Errors
    ///
    /// [`SettingsError`].
    pub fn new(fields: SettingsFields, recompute: Recompute, key: SigningKey) -> Result<Self, SettingsError> {
        let SettingsFields {
            preset,
            devices,
            iterations,
            samples,
            few_samples,
            matrix_dim,
            device_bytes,
            audience,
            phase_deadline,
            hello_deadline,
            error_bits,
        } = fields;
        let mut request = preset.request(Identity(key.verifying_key().to_bytes()));
        fill_random(&mut request.session_id)?;
        request.audience = audience;
        request.devices = devices;
        request.matrix_dim = matrix_dim.or(request.matrix_dim);
        request.device_bytes = device_bytes.or(request.device_bytes);
        request.iterations = iterations.unwrap_or(request.iterations);
        request.samples = samples.unwrap_or(request.samples);
        if !few_samples {
            ensure_enough_samples(&request)?;
        }
        if let Some(limit) = phase_deadline {
            let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            request.deadlines = Deadlines {
                ready_ms: limit_ms,
                fill_ms: limit_ms,
                sweep_ms: limit_ms,
                openings_ms: limit_ms,
            };
        }
        Ok(Settings {
            request,
            assumptions: Assumptions {
                helper_gpus: preset.helper_gpus(),
                ..default_assumptions(error_bits)
            },
            narrowed_by: None,
            hello_deadline,
            recompute,
            key,
        })
    }
}

/// Rejects a request whose samples are too few to certify anything, however large the devices are.
///
/// # Errors
///
/// [`TooFewSamples`].
pub fn ensure_enough_samples(request: &PlanRequest) -> Result<(), TooFewSamples> {
    let least = MIN_SAMPLES_FOR_BOUND;
    if request.samples < least {
        let samples = request.samples;
        return Err(TooFewSamples::Asked { samples, least });
    }
    let of_any = PlanRequest {
        devices: None,
        ..request.clone()
    };
    // If no plan is possible, the code that makes the real one reports why.
    let Ok(plan) = of_any.plan_for_any(1) else {
        return Ok(());
    };
    let leaves = plan.most_effective_samples();
    if leaves < least {
        return Err(TooFewSamples::Leaves { leaves, least });
    }
    Ok(())
}
