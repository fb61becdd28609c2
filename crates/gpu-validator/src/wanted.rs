//! Requirements on evidence beyond being well-formed: its maker, its challenge, and the time of receipt. All of them are
//! checked before a tile is recomputed.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use cli::{input_path, parse_time};
use protocol::bytes::Identity;
use protocol::challenge::Challenge;
use verifier::outcome::{Judge, verifier_of};
use verifier::{Opened, challenge_file};

use crate::judge::parse_identity;

/// The clock of the challenge's issuer and the clock of the time of receipt may differ by this much.
const CLOCK_LEEWAY_MS: u64 = 60_000;

/// Options that say whose evidence is wanted.
#[derive(Args)]
pub(crate) struct WantedOptions {
    /// Accept only evidence of this Attester (its public key, hex)
    #[arg(long, value_name = "KEY", value_parser = parse_identity)]
    attester: Option<Identity>,

    /// Accept only offline evidence for this challenge
    #[arg(long, value_name = "FILE", value_parser = input_path())]
    challenge: Option<PathBuf>,

    /// When offline evidence was received (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    received: Option<SystemTime>,
}

/// The requirements, with the files read and the current time taken.
pub(crate) struct Wanted {
    attester: Option<Identity>,
    challenge: Option<Challenge>,
    is_received_given: bool,
    received_unix_ms: u64,
}

/// Why evidence does not meet the requirements.
pub(crate) struct Refused(pub(crate) String);

impl WantedOptions {
    /// Reads the files that the options name. Evidence counts as received now, however long its recomputation takes.
    pub(crate) fn wanted(&self) -> anyhow::Result<Wanted> {
        let received = self.received.unwrap_or_else(SystemTime::now);
        let challenge = match &self.challenge {
            Some(path) => Some(challenge_file::read(path).with_context(|| format!("challenge {}", path.display()))?),
            None => None,
        };
        Ok(Wanted {
            attester: self.attester,
            challenge,
            is_received_given: self.received.is_some(),
            received_unix_ms: received
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        })
    }
}

impl Wanted {
    /// The Verifier that is named implicitly by the challenge.
    pub(crate) fn challenger(&self) -> Option<Identity> {
        self.challenge
            .as_ref()
            .map(|challenge| challenge.plan.fields().verifier)
    }

    /// Lines about the maker of the evidence; or why the evidence is refused.
    pub(crate) fn check(&self, opened: &Opened, judge: &Judge) -> anyhow::Result<Result<String, Refused>> {
        let (evidence, session) = (&opened.evidence, &opened.session);
        let refused = |why: String| Ok(Err(Refused(why)));
        let or_none =
            |identity: Option<Identity>| identity.map_or("nobody".to_owned(), |identity| identity.to_string());
        let attester = session.hello().map(|hello| hello.identity);
        if self.attester.is_some() && self.attester != attester {
            return refused(format!(
                "the evidence is of Attester {}; expected {}",
                or_none(attester),
                or_none(self.attester)
            ));
        }
        if let Some(expected) = &self.challenge
            && evidence.challenge.as_ref() != Some(expected)
        {
            let session_of = |challenge: &Challenge| protocol::bytes::hex(&challenge.plan.fields().session_id);
            return refused(format!(
                "the evidence answers {}; expected the challenge of session {}",
                (evidence.challenge.as_ref()).map_or("no challenge".to_owned(), |other| {
                    format!("another challenge, of session {}", session_of(other))
                }),
                session_of(expected)
            ));
        }
        let whose = match verifier_of(evidence, session) {
            None => "none".to_owned(),
            Some(key) if judge.trusted.contains(&key) => format!("{key}, which counts here"),
            Some(key) => format!("{key}, which nobody named"),
        };
        let whose = format!("verifier     {whose}\n");
        let Some(challenge) = &evidence.challenge else {
            anyhow::ensure!(
                !self.is_received_given,
                "--received: no effect on evidence of an online session, which has times of its own"
            );
            return Ok(Ok(whose));
        };
        if self.received_unix_ms.saturating_add(CLOCK_LEEWAY_MS) < challenge.issued_unix_ms {
            return refused(format!(
                "received {}, the challenge was issued {}: a clock is wrong",
                time(self.received_unix_ms),
                time(challenge.issued_unix_ms)
            ));
        }
        if self.received_unix_ms > challenge.expires_unix_ms {
            return refused(format!(
                "received {}, the challenge expired {}",
                time(self.received_unix_ms),
                time(challenge.expires_unix_ms)
            ));
        }
        let after_ms = self.received_unix_ms.saturating_sub(challenge.issued_unix_ms);
        Ok(Ok(format!(
            "{whose}challenge    issued {}, received {} later at the latest\n",
            time(challenge.issued_unix_ms),
            humantime::format_duration(Duration::from_secs(after_ms / 1000)),
        )))
    }
}

/// A time on the Verifier's clock, in RFC 3339 if that can represent it.
pub(crate) fn time(unix_ms: u64) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(unix_ms))
        // RFC 3339 ends with the year 9999.
        .filter(|_| unix_ms < 253_402_300_800_000)
        .map_or_else(
            || format!("{unix_ms} ms"),
            // The millisecond may decide.
            |at| match unix_ms % 1000 {
                0 => humantime::format_rfc3339_seconds(at).to_string(),
                _ => humantime::format_rfc3339_millis(at).to_string(),
            },
        )
}
