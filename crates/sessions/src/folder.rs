//! Evidence in files.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

use protocol::bytes::Identity;
use protocol::evidence::Evidence;
use protocol::joint::EvidenceHash;
use protocol::verifier::VerifierSession;

use crate::error::RunError;
use crate::settings::{Member, Settings};

pub(crate) struct Folder {
    path: PathBuf,
    started_unix_ms: u64,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Folder {
            path,
            started_unix_ms: since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Seals and writes a session's evidence, whole or not at all.
    pub(crate) fn write(
        &self,
        member: Member,
        session: &VerifierSession,
        settings: &Settings,
    ) -> Result<(PathBuf, EvidenceHash), RunError> {
        let evidence = Evidence {
            config: *session.config(),
            started_unix_ms: self.started_unix_ms,
            assumptions: settings.assumptions,
            challenge: None,
            sealer: Identity(settings.key.verifying_key().to_bytes()),
            records: session.records().to_vec(),
        };
        let sealed = evidence.seal(&settings.key);
        let path = self.path.join(format!("{member}.cbor"));
        let part = self.path.join(format!("{member}.cbor.part"));
        let written: io::Result<()> = fs::write(&part, &sealed).and_then(|()| fs::rename(&part, &path));
        match written {
            Ok(()) => Ok((path, EvidenceHash::of(&sealed))),
            Err(error) => Err(RunError::Write { path, error }),
        }
    }
}
