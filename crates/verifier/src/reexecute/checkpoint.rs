//! Jobs that are done, kept between runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use protocol::verifier::VerifierSession;
use serde::{Deserialize, Serialize};

use super::{Job, ReexecuteError, jobs};

/// The jobs that are done, kept in a file between runs.
pub struct Checkpoint {
    path: Option<PathBuf>,
    state: CheckpointState,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointState {
    /// BLAKE3 of the sealed evidence, hex.
    evidence: String,
    done: Vec<Job>,
}

impl Checkpoint {
    /// No file: a run that is broken off begins anew.
    #[must_use]
    pub fn none(evidence_blake3: &str) -> Self {
        Checkpoint {
            path: None,
            state: CheckpointState {
                evidence: evidence_blake3.to_owned(),
                done: Vec::new(),
            },
        }
    }

    /// The jobs that `path` says are done for this evidence; a new file if there is none.
    ///
    /// # Errors
    ///
    /// [`ReexecuteError::Checkpoint`] for a file that cannot be read, is no checkpoint, or another evidence's.
    pub fn resume(path: &Path, evidence_blake3: &str) -> Result<Self, ReexecuteError> {
        let failed = |error| ReexecuteError::Checkpoint {
            path: path.to_owned(),
            error,
        };
        let mut checkpoint = Checkpoint::none(evidence_blake3);
        checkpoint.path = Some(path.to_owned());
        match fs::read(path) {
            Ok(bytes) => {
                let state: CheckpointState = serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?;
                if state.evidence != evidence_blake3 {
                    return Err(failed(io::Error::other(format!(
                        "belongs to evidence {}, this is {evidence_blake3}",
                        state.evidence
                    ))));
                }
                checkpoint.state = state;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => checkpoint.save()?,
            Err(error) => return Err(failed(error)),
        }
        Ok(checkpoint)
    }

    /// Jobs done so far.
    #[must_use]
    pub fn done(&self) -> &[Job] {
        &self.state.done
    }

    pub(super) fn finish(&mut self, job: Job) -> Result<(), ReexecuteError> {
        self.state.done.push(job);
        self.save()
    }

    /// Writes beside the file and renames: a run that is broken off leaves the old or the new one.
    fn save(&self) -> Result<(), ReexecuteError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let bytes = serde_json::to_vec(&self.state).expect("a checkpoint has only strings and numbers");
        fs::write(&beside, bytes)
            .and_then(|()| fs::rename(&beside, path))
            .map_err(|error| {
                // What is half-written is of no use; where even that fails, the error above says why.
                let _ = fs::remove_file(&beside);
                ReexecuteError::Checkpoint {
                    path: path.clone(),
                    error,
                }
            })
    }

    /// Whether no job of the session is left.
    pub(super) fn is_whole(&self, session: &VerifierSession) -> bool {
        jobs(session).is_ok_and(|jobs| jobs.iter().all(|job| self.done().contains(job)))
    }
}
