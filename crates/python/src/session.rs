//! One session without IO: bytes in with their time, bytes out.

use std::mem;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use keystore::SigningKey;
use protocol::bytes::{DeviceOrdinal, Fresh, Identity};
use protocol::driver::{Need, VerifierDriver};
use protocol::frame::Frame;
use protocol::plan::Iteration;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use report::Report;
use verifier::clock::Clock;
use verifier::preset::Preset;
use verifier::settings::{SettingsError, SettingsFields, TooFewSamples};
use verifier::{Attestation, Recorded, Settings, Stop, fill_random, result_frame, result_message};

use crate::error::{self, StoppedError};
use crate::interrupt::interruptible;
use crate::policy::Policy;
use crate::verify::recompute;

/// One session of a Verifier, driven by its caller.
#[pyclass(frozen, module = "gpu_attestor._native")]
pub(crate) struct Session {
    settings: Settings,
    clock: Clock,
    started: SystemTime,
    stop: Stop,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    /// Bytes that are to be written to the host. The Verifier sends little, however much the host sends.
    output: Vec<u8>,
    /// Text of the host that was not taken yet; the driver limits it.
    greeting: Vec<u8>,
    /// Whether RESULT was among them.
    has_ended: bool,
}

enum Stage {
    /// Boxed: a driver is large.
    Talking(Box<VerifierDriver>),
    /// Sealed; with tiles to be recomputed, or a verdict.
    Recorded(Box<Recorded>),
    /// A thread recomputes.
    Checking,
    /// Nothing is left to do: its evidence, sealed.
    Over(Vec<u8>),
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (
        preset, policy, devices, iterations, samples, few_samples, matrix_dim, device_memory, audience, phase_deadline, hello_deadline,
        error_bits, key, threads
    ))]
    #[allow(
        clippy::too_many_arguments,
        reason = "python/src/gpu_attestor/_session.py names them"
    )]
    fn new(
        preset: &str,
        policy: &Policy,
        devices: Option<Vec<u32>>,
        iterations: Option<Vec<(u32, u32)>>,
        samples: Option<u32>,
        few_samples: bool,
        matrix_dim: Option<u32>,
        device_memory: Option<u64>,
        audience: String,
        phase_deadline: Option<f64>,
        hello_deadline: f64,
        error_bits: u32,
        key: Option<PathBuf>,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        let preset: Preset = preset
            .parse()
            .map_err(|why| PyValueError::new_err(format!("preset: {why}")))?;
        let seconds = |name: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|error| PyValueError::new_err(format!("{name}: {seconds} seconds: {error}")))
        };
        if !(1..=256).contains(&error_bits) {
            return Err(PyValueError::new_err(format!(
                "error_bits: {error_bits}; expected 1 to 256"
            )));
        }
        let fields = SettingsFields {
            preset,
            devices: devices.map(|devices| devices.into_iter().map(DeviceOrdinal).collect()),
            iterations: iterations.map(|iterations| {
                let iteration = |(inner_dim, sweeps)| Iteration::new(inner_dim, sweeps);
                iterations.into_iter().map(iteration).collect()
            }),
            samples,
            few_samples,
            matrix_dim,
            device_bytes: device_memory,
            audience,
            phase_deadline: phase_deadline
                .map(|limit| seconds("phase_deadline", limit))
                .transpose()?,
            hello_deadline: seconds("hello_deadline", hello_deadline)?,
            error_bits,
        };
        let recompute = recompute(threads)?;
        recompute.check().map_err(|error| error::recompute(&error))?;
        let key = load_key(key)?;
        let mut settings = Settings::new(fields, recompute, key).map_err(|error| match error {
            SettingsError::TooFewSamples(TooFewSamples::Asked { samples, least }) => PyValueError::new_err(format!(
                "samples: {samples}; fewer than {least} certify nothing; expected more, or few_samples=True too"
            )),
            SettingsError::TooFewSamples(TooFewSamples::Leaves { leaves, least }) => PyValueError::new_err(format!(
                "device_memory: a device has {leaves} leaves to sample in all its sweeps, and fewer than {least} samples \
                 certify nothing; expected more memory, or few_samples=True too"
            )),
            SettingsError::Session(error) => error::session(&error),
        })?;
        let judge = policy.policy.judge(&[], None, &settings.assumptions);
        settings.assumptions = judge.assumptions;
        settings.narrowed_by = judge.narrowed_by;
        let stop = Stop::new().map_err(|error| error::resources(&error))?;
        Ok(Session {
            clock: Clock::start(),
            started: SystemTime::now(),
            state: Mutex::new(State {
                stage: Stage::Talking(Box::new(settings.driver())),
                output: Vec::new(),
                greeting: Vec::new(),
                has_ended: false,
            }),
            settings,
            stop,
        })
    }

    #[getter]
    fn is_under_way(&self) -> bool {
        matches!(self.lock().stage, Stage::Talking(_))
    }

    #[getter]
    fn timeout(&self) -> Option<f64> {
        match &self.lock().stage {
            Stage::Talking(driver) => match driver.need() {
                Need::Bytes {
                    until_ns: Some(until_ns),
                } => {
                    let left_ns = until_ns.saturating_sub(self.clock.now_ns());
                    Some(Duration::from_nanos(left_ns).as_secs_f64())
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn take_output<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &mem::take(&mut self.lock().output))
    }

    /// Text of the host before its first message.
    fn take_greeting<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &mem::take(&mut self.lock().greeting))
    }

    fn receive(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        // Before anything else: they count as received now.
        let at_ns = self.clock.now_ns();
        py.detach(|| self.drive(|driver| driver.received(at_ns, data.to_vec())))
    }

    #[pyo3(signature = (why))]
    fn receive_end(&self, py: Python<'_>, why: Option<&str>) -> PyResult<()> {
        let at_ns = self.clock.now_ns();
        py.detach(|| self.drive(|driver| driver.closed(at_ns, why)))
    }

    fn advance(&self, py: Python<'_>) -> PyResult<()> {
        let now_ns = self.clock.now_ns();
        py.detach(|| self.drive(|driver| driver.time(now_ns)))
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.stop.ask();
        let at_ns = self.clock.now_ns();
        py.detach(|| self.drive(|driver| driver.stop(at_ns)))
    }

    /// Stops it if it is under way, and tells the host how it ended, unless it was told.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.stop(py)?;
        let mut state = self.lock();
        if let Stage::Recorded(recorded) = &state.stage {
            let message = result_message(recorded.opened.session.verdict());
            state.end(&result_frame(&message));
        }
        Ok(())
    }

    /// The sealed evidence.
    fn record<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let state = self.lock();
        match &state.stage {
            Stage::Recorded(recorded) => Ok(PyBytes::new(py, &recorded.sealed)),
            Stage::Over(sealed) => Ok(PyBytes::new(py, sealed)),
            Stage::Talking(_) => Err(PyRuntimeError::new_err(
                "the session is under way: it has no evidence yet",
            )),
            Stage::Checking => Err(PyRuntimeError::new_err("the session is being checked")),
        }
    }

    /// The report as JSON, and the sealed evidence.
    fn check<'py>(&self, py: Python<'py>) -> PyResult<(String, Bound<'py, PyBytes>)> {
        let recorded = self.begin_check()?;
        let sealed = recorded.sealed.clone();
        let attestation = interruptible(py, &self.stop, || (*recorded).check(&self.settings, &self.stop));
        let mut state = self.lock();
        state.stage = Stage::Over(sealed.clone());
        let attestation: Attestation = attestation?.map_err(|error| error::session(&error))?;
        state.end(&result_frame(&attestation.result_message()));
        drop(state);
        let sealed = PyBytes::new(py, &sealed);
        if let Some(partial) = attestation.partial() {
            let why = format!(
                "stopped after {} of {} samples; the evidence can be verified",
                partial.samples_checked, partial.samples_drawn
            );
            return Err(StoppedError::new_err((partial.reason, why, py.None(), sealed.unbind())));
        }
        let report = Report::new(
            &attestation.evidence,
            &attestation.session,
            &attestation.sealed,
            &attestation.judge(),
        );
        Ok((report.to_json(), sealed))
    }
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an event to a session that is under way, and does what is due then; one that is over ignores it.
    fn drive(&self, event: impl FnOnce(&mut VerifierDriver)) -> PyResult<()> {
        let mut state = self.lock();
        let State {
            stage,
            output,
            greeting,
            ..
        } = &mut *state;
        let Stage::Talking(driver) = stage else { return Ok(()) };
        event(driver);
        // Nobody takes it, and it is limited.
        driver.take_progress().for_each(drop);
        greeting.extend(driver.take_greeting());
        while let Need::Release(_) = driver.need() {
            let mut fresh = [0; 32];
            fill_random(&mut fresh).map_err(|error| error::session(&error))?;
            // Stamped before the write (spec §5). The caller writes it late at worst, which makes the windows longer.
            if let Some(frame) = driver.release(self.clock.now_ns(), Fresh(fresh)) {
                append(output, &frame);
            }
        }
        if matches!(driver.need(), Need::Check | Need::Nothing) {
            let Stage::Talking(driver) = mem::replace(stage, Stage::Checking) else {
                return Ok(());
            };
            let recorded = self.settings.seal(driver.into_session(), self.started);
            *stage = Stage::Recorded(Box::new(recorded));
        }
        Ok(())
    }

    fn begin_check(&self) -> PyResult<Box<Recorded>> {
        let mut state = self.lock();
        match mem::replace(&mut state.stage, Stage::Checking) {
            Stage::Recorded(recorded) => Ok(recorded),
            other => {
                let why = match other {
                    Stage::Talking(_) => "the session is under way: there is nothing to check yet",
                    _ => "the session is checked once",
                };
                state.stage = other;
                Err(PyRuntimeError::new_err(why))
            }
        }
    }
}

impl State {
    /// Tells the host how the session ended, once.
    fn end(&mut self, result: &Frame) {
        if !mem::replace(&mut self.has_ended, true) {
            append(&mut self.output, result);
        }
    }
}

fn append(output: &mut Vec<u8>, frame: &Frame) {
    output.extend(frame.header());
    output.extend_from_slice(&frame.payload);
}

/// The key in `file` or at the default path; created on first use.
fn load_key(file: Option<PathBuf>) -> PyResult<SigningKey> {
    let key = match file {
        Some(file) => keystore::load_or_create(&file),
        None => keystore::load_or_create_default("verifier"),
    };
    key.map_err(|error| error::key(&error))
}

/// The public key (hex) of this host's Verifier, or of the key in this file; created on first use.
#[pyfunction]
#[pyo3(signature = (key=None))]
pub(crate) fn identity(key: Option<PathBuf>) -> PyResult<String> {
    let key = load_key(key)?;
    Ok(Identity(key.verifying_key().to_bytes()).to_string())
}
