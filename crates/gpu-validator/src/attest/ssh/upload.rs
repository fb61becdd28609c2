//! The talk with `host.sh`: the host's architecture, the program's bytes, and the answer.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use cli::WorkProgress;
use protocol::limits::MAX_GREETING_BYTES;
use protocol::printable::printable;
use sha2::{Digest, Sha256};
use transport::{Stop, Until};
use verifier::Observer;

use super::attester_file::Architecture;

/// What a line for the Verifier begins with; all others are what the login prints.
const MARK: &str = "gpu-attestor-ssh ";

/// How long sending the program may take.
const SENT_WITHIN: Duration = Duration::from_secs(600);

/// From when on progress is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// Parts that progress is counted in (bytes).
const PART_BYTES: usize = 64 << 10;

/// Why the program does not run there.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    /// This side was asked to stop.
    #[error("stopped")]
    Stopped,
    /// The host does not answer.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// The program was not taken in time.
    #[error(
        "gpu-attestor was not received within {}: the connection is too slow, or the host does not read",
        humantime::format_duration(SENT_WITHIN)
    )]
    Slow,
    /// The connection ended before an answer.
    #[error("the connection ended before the host's shell answered")]
    Closed,
    /// Something else answers.
    #[error("the host's shell does not do what it is told to; expected a login that can run commands of a POSIX shell")]
    OtherAnswer,
    /// No folder there can be used.
    #[error(
        "no folder on the host can hold a program: tried {0}; expected one that is writable and not mounted noexec, TMPDIR for example"
    )]
    NoFolder(String),
    /// The program does not fit.
    #[error("gpu-attestor cannot be written to {0} on the host: is there space?")]
    NotWritten(String),
    /// Nothing there computes SHA-256.
    #[error("the host has neither sha256sum, shasum nor openssl to check what it received; expected one of them")]
    NoHash,
    /// Other bytes arrived.
    #[error("the host received other bytes than were sent: their SHA-256 is {got}, expected {expected}")]
    OtherBytes { got: String, expected: String },
    /// The program does not start there.
    #[error(
        "gpu-attestor does not start on the host, which says: {0}; `cargo xtask dist` builds one for glibc 2.17 or later"
    )]
    DoesNotStart(String),
    /// The stream failed.
    #[error("the connection broke: {0}")]
    Io(io::Error),
}

/// The host's end of the connection, until the program runs there.
pub(super) struct Host<'a, R, W> {
    from: Until<R>,
    to: Until<W>,
    answer_within: Duration,
    observer: &'a dyn Observer,
}

impl<'a, R: Read + AsFd, W: Write + AsFd> Host<'a, R, W> {
    /// A host that has `answer_within` for each answer. `observer` sees what its login prints, and can end all waiting.
    ///
    /// # Errors
    ///
    /// If the system provides no pipe.
    pub(super) fn new(from: R, to: W, answer_within: Duration, observer: &'a dyn Observer) -> io::Result<Self> {
        let stop = observer.stop().map_or_else(Stop::new, |stop| Ok(stop.clone()))?;
        Ok(Host {
            from: Until::new(from, stop.clone()),
            to: Until::new(to, stop),
            answer_within,
            observer,
        })
    }

    /// Sends the script, and returns what `uname -sm` printed: whatever the host wants it to be.
    ///
    /// # Errors
    ///
    /// [`UploadError`].
    pub(super) fn begin(&mut self, script: &[u8]) -> Result<String, UploadError> {
        self.send(script, self.answer_within, |_| ())?;
        match split(&self.answer()?) {
            ("host", uname) => Ok(uname.to_owned()),
            ("error", error) => Err(refusal(error, "")),
            _ => Err(UploadError::OtherAnswer),
        }
    }

    /// Sends the program; returns once it is about to run there, with its standard input and output at these streams.
    ///
    /// The host computes the hash, and says whether it fits: this finds accidents, a full disk say. A host that lies runs
    /// what it likes, as it could anyway.
    ///
    /// # Errors
    ///
    /// [`UploadError`].
    pub(super) fn upload(
        &mut self,
        program: &[u8],
        architecture: Architecture,
        is_quiet: bool,
    ) -> Result<(), UploadError> {
        let hash: String = Sha256::digest(program)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let header = format!("{} {hash}\n", program.len());
        let (since, mut progress) = (Instant::now(), None);
        let sent = self.send(&[header.as_bytes(), program].concat(), SENT_WITHIN, |sent| {
            if progress.is_none() && since.elapsed() >= SHOWN_AFTER {
                let text = format!(
                    "sending gpu-attestor for {architecture} ({} MB)",
                    program.len() / 1_000_000
                );
                progress = Some((WorkProgress::new(&text, program.len() as u64, is_quiet), 0));
            }
            if let Some((bar, shown)) = &mut progress {
                bar.advance((sent - *shown) as u64);
                *shown = sent;
            }
        });
        drop(progress);
        match sent {
            Err(UploadError::Late(_)) => return Err(UploadError::Slow),
            sent => sent?,
        }
        match split(&self.answer()?) {
            ("ready", _) => Ok(()),
            ("error", error) => Err(refusal(error, &hash)),
            _ => Err(UploadError::OtherAnswer),
        }
    }

    /// Sends all of it, unless nobody reads: the other side has ended then, and its last answer says why.
    fn send(&mut self, bytes: &[u8], within: Duration, mut sent: impl FnMut(usize)) -> Result<(), UploadError> {
        self.to.set_deadline(Instant::now() + within);
        let mut done = 0;
        for part in bytes.chunks(PART_BYTES) {
            match self.to.write_all(part).and_then(|()| self.to.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written.map_err(|error| failure(error, within))?,
            }
            done += part.len();
            sent(done);
        }
        Ok(())
    }

    /// The next line that begins with the mark, without it. The lines before it are shown. What follows it is not read yet:
    /// the program's first message comes next.
    fn answer(&mut self) -> Result<String, UploadError> {
        self.from.set_deadline(Instant::now() + self.answer_within);
        let mut read = 0;
        loop {
            let mut line = Vec::new();
            let ended = self.line(&mut line, &mut read);
            if let Some(answer) = line.strip_prefix(MARK.as_bytes()) {
                ended?;
                return Ok(printable(&String::from_utf8_lossy(answer)));
            }
            // The script begins a line before each answer.
            if !line.is_empty() {
                line.push(b'\n');
                self.observer.greeted(&line);
            }
            ended?;
        }
    }

    /// Reads up to the end of a line; `read` counts bytes, and is limited.
    fn line(&mut self, line: &mut Vec<u8>, read: &mut usize) -> Result<(), UploadError> {
        while *read < MAX_GREETING_BYTES {
            *read += 1;
            let mut byte = [0];
            match self.from.read(&mut byte) {
                Ok(0) => return Err(UploadError::Closed),
                Ok(_) if byte == *b"\n" => return Ok(()),
                Ok(_) => line.extend(byte),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(failure(error, self.answer_within)),
            }
        }
        Err(UploadError::OtherAnswer)
    }
}

fn failure(error: io::Error, within: Duration) -> UploadError {
    match error.kind() {
        ErrorKind::ConnectionAborted => UploadError::Stopped,
        ErrorKind::TimedOut => UploadError::Late(within),
        _ => UploadError::Io(error),
    }
}

/// What the script's error means.
fn refusal(error: &str, expected: &str) -> UploadError {
    let (kind, detail) = split(error);
    let detail = detail.to_owned();
    match kind {
        "folder" => UploadError::NoFolder(detail),
        "write" => UploadError::NotWritten(detail),
        "tools" => UploadError::NoHash,
        "hash" => UploadError::OtherBytes {
            got: detail,
            expected: expected.to_owned(),
        },
        "start" => UploadError::DoesNotStart(detail),
        _ => UploadError::OtherAnswer,
    }
}

/// The first word, and the rest.
fn split(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}
