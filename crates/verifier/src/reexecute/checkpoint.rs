//! Finished jobs, kept between runs.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use protocol::verifier::VerifierSession;
use serde::{Deserialize, Serialize};

use super::error::ReexecuteError;
use super::job::{Job, jobs};

/// Longest file that is read, bytes: 64 bytes for each of the 65,536 iterations of 64 devices.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The finished jobs, kept in a file between runs.
pub struct Checkpoint {
    /// The file itself, with symbolic links resolved.
    path: Option<PathBuf>,
    /// The jobs loaded from the file.
    permissions: Option<Permissions>,
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
    /// No file: an interrupted run starts from the beginning.
    #[must_use]
    pub fn none(evidence_blake3: &str) -> Self {
        Checkpoint {
            path: None,
            permissions: None,
            state: CheckpointState {
                evidence: evidence_blake3.to_owned(),
                done: Vec::new(),
            },
        }
    }

    /// The jobs that the file at `path` lists as finished for this evidence; creates the file if there is none.
    ///
    /// # Errors
    ///
    /// [`ReexecuteError::Checkpoint`] if the file cannot be read and written, is no regular file, is no checkpoint, or
    /// belongs to other evidence.
    pub fn resume(path: &Path, evidence_blake3: &str) -> Result<Self, ReexecuteError> {
        let failed = |error| ReexecuteError::Checkpoint {
            path: path.to_owned(),
            error,
        };
        let mut checkpoint = Checkpoint::none(evidence_blake3);
        checkpoint.path = Some(path.to_owned());
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
                checkpoint.save()?;
                return Ok(checkpoint);
            }
            Err(error) => return Err(failed(error)),
        };
        if !found.is_file() {
            return Err(failed(io::Error::other("is no file; expected one")));
        }
        if found.permissions().readonly() {
            return Err(failed(io::Error::other(
                "may not be written; expected a file with write permission",
            )));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(failed(io::Error::other(format!(
                "is longer than {MAX_FILE_BYTES} bytes"
            ))));
        }
        let state: CheckpointState = serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?;
        if state.evidence != evidence_blake3 {
            return Err(failed(io::Error::other(format!(
                "belongs to evidence {}, this is {evidence_blake3}",
                state.evidence
            ))));
        }
        checkpoint.path = Some(fs::canonicalize(path).map_err(failed)?);
        checkpoint.permissions = Some(found.permissions());
        checkpoint.state = state;
        Ok(checkpoint)
    }

    /// Jobs finished so far.
    #[must_use]
    pub fn done(&self) -> &[Job] {
        &self.state.done
    }

    pub(super) fn finish(&mut self, job: Job) -> Result<(), ReexecuteError> {
        self.state.done.push(job);
        self.save()
    }

    /// Writes a temporary file and renames it: an interrupted run leaves either the old file or the new one.
    fn save(&self) -> Result<(), ReexecuteError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let bytes = serde_json::to_vec(&self.state).expect("a checkpoint has only strings and numbers");
        fs::write(&beside, bytes)
            .and_then(|()| match &self.permissions {
                Some(old) => fs::set_permissions(&beside, old.clone()),
                None => Ok(()),
            })
            .and_then(|()| fs::rename(&beside, path))
            .map_err(|error| {
                // A half-written file is useless; if it cannot be removed, the error above is still the one to report.
                let _ = fs::remove_file(&beside);
                ReexecuteError::Checkpoint {
                    path: path.clone(),
                    error,
                }
            })
    }

    /// Whether the session has no unfinished job.
    pub(super) fn is_whole(&self, session: &VerifierSession) -> bool {
        jobs(session).is_ok_and(|jobs| jobs.iter().all(|job| self.done().contains(job)))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    #[test]
    fn what_is_no_file_is_refused_and_a_link_stays_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let made = Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs");
        assert!(made.success());
        symlink("/dev/zero", at("device")).expect("a link");
        symlink("nothing", at("dangling")).expect("a link");
        for name in ["pipe", "device", "."] {
            let error = Checkpoint::resume(&at(name), "00").err().expect("no checkpoint");
            assert!(
                error.to_string().contains("is no file; expected one"),
                "{name}: {error}"
            );
        }
        assert!(Checkpoint::resume(&at("dangling"), "00").is_err());

        Checkpoint::resume(&at("done"), "00").expect("a new file");
        fs::set_permissions(at("done"), Permissions::from_mode(0o640)).expect("chmod");
        symlink("done", at("link")).expect("a link");
        let mut checkpoint = Checkpoint::resume(&at("link"), "00").expect("the old file");
        let job = Job {
            iteration: 1,
            device_index: 2,
        };
        checkpoint.finish(job).expect("a write");
        assert!(at("link").is_symlink());
        let mode = fs::metadata(at("done")).expect("the file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o640);
        assert_eq!(Checkpoint::resume(&at("done"), "00").expect("the file").done(), [job]);
        assert!(Checkpoint::resume(&at("done"), "01").is_err());

        fs::set_permissions(at("done"), Permissions::from_mode(0o440)).expect("chmod");
        assert!(Checkpoint::resume(&at("done"), "00").is_err());
    }
}
