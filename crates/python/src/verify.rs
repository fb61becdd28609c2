//! Evidence, checked by the code of `gpu-validator verify`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use appraisal::Subject;
use evidence_check::{Admission, Admitted, Refusal, Rules, Wanted, admit, open, open_file};
use protocol::bytes::{Identity, unhex};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use report::{Report, evidence_blake3};
use serde::Serialize;
use serde_json::json;
use verifier::budget::{Budget, TMAC};
use verifier::challenge_file::{self, ChallengeFileError};
use verifier::outcome::Judge;
use verifier::recompute::Recompute;
use verifier::reexecute::FullReport;
use verifier::{Opened, Stop, Verified, VerifyError};

use crate::error;
use crate::full::{Unfinished, full};
use crate::interrupt::interruptible;
use crate::policy::Policy;

/// Largest number of threads, as for the commands.
const MAX_THREADS: usize = 1024;

/// Sealed bytes, or the file that has them.
#[derive(FromPyObject)]
pub(crate) enum Source {
    Bytes(PyBackedBytes),
    Path(PathBuf),
}

/// What evidence comes to.
enum Checked {
    /// As JSON.
    Json(String),
    Refused(Refusal),
    Failed(PyErr),
}

/// The report on evidence, as JSON.
#[pyfunction]
#[pyo3(signature = (
    evidence, verifiers, policy, attester, challenge, received_unix_ms, threads, max_cost_tmac, max_memory_bytes, is_full
))]
#[allow(clippy::too_many_arguments, reason = "python/src/gpu_attestor/_verify.py names them")]
pub(crate) fn verify(
    py: Python<'_>,
    evidence: Source,
    verifiers: Vec<String>,
    policy: Py<Policy>,
    attester: Option<String>,
    challenge: Option<PathBuf>,
    received_unix_ms: Option<u64>,
    threads: Option<usize>,
    max_cost_tmac: f64,
    max_memory_bytes: u64,
    is_full: bool,
) -> PyResult<String> {
    let wanted = Wanted {
        attester: attester.map(|key| identity("attester", &key)).transpose()?,
        challenge: match challenge {
            None => None,
            Some(path) => Some(challenge_file::read(&path).map_err(|error| match error {
                ChallengeFileError::Io(error) => error::os(&error, &path),
                other => PyValueError::new_err(format!("challenge {}: {other}", path.display())),
            })?),
        },
        // Evidence counts as received now, however long its recomputation takes.
        received: received_unix_ms.map_or_else(SystemTime::now, |ms| UNIX_EPOCH + Duration::from_millis(ms)),
    };
    let recompute = Recompute {
        budget: budget(max_cost_tmac, max_memory_bytes)?,
        ..recompute(threads)?
    };
    let asked = Asked {
        evidence,
        verifiers,
        policy: policy.get(),
        wanted,
        recompute,
        is_received_given: received_unix_ms.is_some(),
    };
    judged(py, asked, |verified, sealed, judge, recompute, stop| {
        if !is_full {
            return Ok(Report::new(&verified.evidence, &verified.session, sealed, judge).to_json());
        }
        let full = full(verified, &evidence_blake3(sealed), judge, recompute, stop)?;
        let report = Report::of(&verified.evidence, &verified.session, sealed, judge, &full.outcome);
        let report = VerifiedReport {
            report,
            full_reexecution: full.report,
        };
        Ok(serde_json::to_string(&report).expect("plain values"))
    })
}

/// The appraisal of evidence, as JSON; a report where there is none.
#[pyfunction]
#[pyo3(signature = (evidence, verifiers, policy, attester, threads, max_cost_tmac, max_memory_bytes))]
#[allow(
    clippy::too_many_arguments,
    reason = "python/src/gpu_attestor/_appraise.py names them"
)]
pub(crate) fn appraise(
    py: Python<'_>,
    evidence: Source,
    verifiers: Vec<String>,
    policy: Py<Policy>,
    attester: Option<String>,
    threads: Option<usize>,
    max_cost_tmac: f64,
    max_memory_bytes: u64,
) -> PyResult<String> {
    let wanted = Wanted {
        attester: attester.map(|key| identity("attester", &key)).transpose()?,
        ..Wanted::any()
    };
    let recompute = Recompute {
        budget: budget(max_cost_tmac, max_memory_bytes)?,
        ..recompute(threads)?
    };
    let Policy { policy: own, profiles } = policy.get();
    let now_unix_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let asked = Asked {
        evidence,
        verifiers,
        policy: policy.get(),
        wanted,
        recompute,
        is_received_given: false,
    };
    judged(py, asked, |verified, sealed, judge, _, _| {
        let subject = Subject::from((verified, sealed));
        Ok(appraisal::appraise(&subject, own, profiles, judge, now_unix_ms).to_json())
    })
}

/// A report with what repeating all work came to, as the command prints it.
#[derive(Serialize)]
struct VerifiedReport {
    #[serde(flatten)]
    report: Report,
    full_reexecution: FullReport,
}

/// Evidence, and what is asked of it.
struct Asked<'a> {
    evidence: Source,
    verifiers: Vec<String>,
    policy: &'a Policy,
    wanted: Wanted,
    recompute: Recompute,
    /// Whether the caller said when it was received.
    is_received_given: bool,
}

/// What is made of evidence whose samples were recomputed.
trait Form: FnOnce(&Verified, &[u8], &Judge, &Recompute, &Stop) -> Result<String, Unfinished> {}

impl<F: FnOnce(&Verified, &[u8], &Judge, &Recompute, &Stop) -> Result<String, Unfinished>> Form for F {}

/// What evidence comes to, in the form of `form` if its tiles decide.
fn judged(py: Python<'_>, asked: Asked<'_>, form: impl Form + Send) -> PyResult<String> {
    let named = asked
        .verifiers
        .iter()
        .map(|key| identity("verifiers", key))
        .collect::<PyResult<Vec<_>>>()?;
    let stop = Stop::new().map_err(|error| error::resources(&error))?;
    let checked = interruptible(py, &stop, || check(asked, &named, &stop, form))?;
    match checked {
        Checked::Json(json) => Ok(json),
        Checked::Refused(refusal) => match error::refusal(&refusal) {
            Some(error) => Err(error),
            None => {
                let (verdict, reason, message) = (refusal.verdict(), refusal.code(), refusal.why());
                Ok(json!({ "verdict": verdict, "reason": reason, "message": message }).to_string())
            }
        },
        Checked::Failed(error) => Err(error),
    }
}

fn check(asked: Asked<'_>, named: &[Identity], stop: &Stop, form: impl Form) -> Checked {
    let Asked {
        wanted,
        recompute,
        is_received_given,
        ..
    } = asked;
    let rules = Rules {
        policy: &asked.policy.policy,
        named,
        wanted: &wanted,
    };
    let opened = match asked.evidence {
        Source::Bytes(bytes) => open(&bytes, &recompute.budget).map(|opened| (opened, bytes.to_vec())),
        Source::Path(path) => match open_file(&path, &recompute.budget) {
            Ok(opened) => opened,
            Err(error) => return Checked::Failed(error::os(&error, &path)),
        },
    };
    let admission = match opened.map(|opened| admit(opened, &rules)) {
        Ok(Ok(admission)) => admission,
        Ok(Err(error)) => return Checked::Failed(error::own_key(&error)),
        Err(refusal) => return Checked::Refused(refusal),
    };
    let is_unused = |opened: &Opened| is_received_given && opened.evidence.challenge.is_none();
    let unused = || {
        Checked::Failed(PyValueError::new_err(
            "received: no effect on evidence of an online session, which has times of its own",
        ))
    };
    let admitted = match admission {
        Admission::Refused(refusal) => return Checked::Refused(refusal),
        Admission::Untrusted(admitted) | Admission::Trusted(admitted) if is_unused(&admitted.opened) => {
            return unused();
        }
        Admission::Untrusted(admitted) => return Checked::Json(admitted.untested().1.to_json()),
        Admission::Trusted(admitted) => *admitted,
    };
    let Admitted {
        opened, sealed, judge, ..
    } = admitted;
    match opened.recompute(&recompute, &mut [], &judge, stop) {
        Ok(verified) => match form(&verified, &sealed, &judge, &recompute, stop) {
            Ok(json) => Checked::Json(json),
            Err(Unfinished::Stopped) => stopped("stopped before all of the work was done again".to_owned()),
            Err(Unfinished::Failed(why)) => Checked::Failed(error::full(&why)),
        },
        Err(VerifyError::Recompute(error)) => Checked::Failed(error::recompute(&error)),
        // The signal that stopped it is raised instead.
        Err(error) => match Refusal::of(error) {
            Ok(refusal) => Checked::Refused(refusal),
            Err(error) => stopped(error.to_string()),
        },
    }
}

fn stopped(why: String) -> Checked {
    Checked::Failed(error::StoppedError::new_err(("stopped", why)))
}

/// The public key in a text.
fn identity(what: &str, key: &str) -> PyResult<Identity> {
    let bytes = unhex(key).and_then(|bytes| bytes.try_into().ok());
    bytes.map(Identity).ok_or_else(|| {
        PyValueError::new_err(format!(
            "{what}: {key:?} is no public key; expected 64 hexadecimal digits"
        ))
    })
}

/// The default way to recompute, on this many threads.
pub(crate) fn recompute(threads: Option<usize>) -> PyResult<Recompute> {
    let default = Recompute::default();
    let Some(threads) = threads else { return Ok(default) };
    match NonZeroUsize::new(threads).filter(|threads| threads.get() <= MAX_THREADS) {
        Some(threads) => Ok(Recompute { threads, ..default }),
        None => Err(PyValueError::new_err(format!(
            "threads: {threads}; expected 1 to {MAX_THREADS}"
        ))),
    }
}

fn budget(max_cost_tmac: f64, memory_bytes: u64) -> PyResult<Budget> {
    // Up to the largest work that a plan can ask for.
    if !(0.0..=1e12).contains(&max_cost_tmac) {
        return Err(PyValueError::new_err(format!(
            "max_cost: {max_cost_tmac}; expected 10^12 multiply-adds like 500 or 0.5"
        )));
    }
    Ok(Budget {
        multiply_adds: (max_cost_tmac * TMAC as f64).ceil() as u128,
        memory_bytes,
    })
}
