//! What evidence must be beyond well-formed: whose, for which challenge, and received in time. All of it is known before a tile
//! is recomputed.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use cli::{known_verifier, parse_time};
use protocol::bytes::{Identity, unhex};
use protocol::challenge::Challenge;
use verifier::{Opened, challenge_file};

/// The clock of the challenge's issuer and the one that says when evidence was received may differ by this much.
const CLOCK_LEEWAY_MS: u64 = 60_000;

/// Options that say whose evidence is wanted.
#[derive(Args)]
pub(crate) struct WantedOptions {
    /// Accept evidence of this Verifier alone (its public key, hex)
    #[arg(long, value_name = "KEY", value_parser = parse_identity)]
    verifier: Option<Identity>,

    /// Accept evidence of this Attester alone (its public key, hex)
    #[arg(long, value_name = "KEY", value_parser = parse_identity)]
    attester: Option<Identity>,

    /// Accept offline evidence for this challenge alone
    #[arg(long, value_name = "FILE")]
    challenge: Option<PathBuf>,

    /// When offline evidence was received (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    received: Option<SystemTime>,
}

/// What is wanted, with the files read and the time taken.
pub(crate) struct Wanted {
    verifier: Option<Identity>,
    attester: Option<Identity>,
    challenge: Option<Challenge>,
    is_received_given: bool,
    received_unix_ms: u64,
}

/// Evidence that is not what is wanted, and why.
pub(crate) struct Refused(pub(crate) String);

fn parse_identity(text: &str) -> Result<Identity, String> {
    let key = unhex(text).and_then(|bytes| bytes.try_into().ok());
    key.map(Identity)
        .ok_or_else(|| "no public key; expected 64 hexadecimal digits".to_owned())
}

impl WantedOptions {
    /// Reads what the options name. Evidence counts as received now, whatever recomputing it takes.
    pub(crate) fn wanted(&self) -> anyhow::Result<Wanted> {
        let received = self.received.unwrap_or_else(SystemTime::now);
        let challenge = match &self.challenge {
            Some(path) => Some(challenge_file::read(path).with_context(|| format!("challenge {}", path.display()))?),
            None => None,
        };
        Ok(Wanted {
            verifier: self.verifier,
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
    /// What is to be told of whose evidence it is, in lines; or why it is refused.
    ///
    /// A challenge that nobody here issued could have been made by the very host that answers it, at leisure: whoever checks
    /// offline evidence must name it or its Verifier (spec §10.4).
    pub(crate) fn check(&self, opened: &Opened) -> anyhow::Result<Result<String, Refused>> {
        let (evidence, session) = (&opened.evidence, &opened.session);
        let refused = |why: String| Ok(Err(Refused(why)));
        let or_none =
            |identity: Option<Identity>| identity.map_or("nobody".to_owned(), |identity| identity.to_string());
        let verifier = session.verifier().copied();
        if self.verifier.is_some() && self.verifier != verifier {
            return refused(format!(
                "the evidence is of Verifier {}; expected {}",
                or_none(verifier),
                or_none(self.verifier)
            ));
        }
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
        // A key that cannot be read matters only where it could decide.
        let known = if self.verifier.is_some() || self.challenge.is_some() {
            None
        } else if evidence.challenge.is_some() {
            known_verifier()?
        } else {
            known_verifier().unwrap_or_default()
        };
        let whose = match verifier {
            None => "none: the session ended before PLAN".to_owned(),
            Some(key) if self.verifier.is_some() => format!("{key}, the one asked for"),
            Some(key) if self.challenge.is_some() => format!("{key}, of the challenge asked for"),
            Some(key) if known == Some(key) => format!("{key}, this host's own"),
            Some(key) => format!("{key}, which nobody named: --verifier KEY refuses all others"),
        };
        let whose = format!("verifier     {whose}\n");
        let Some(challenge) = &evidence.challenge else {
            anyhow::ensure!(
                !self.is_received_given,
                "--received: no effect on evidence of an online session, which has times of its own"
            );
            return Ok(Ok(whose));
        };
        let issuer = challenge.plan.fields().verifier;
        anyhow::ensure!(
            self.challenge.is_some() || self.verifier.is_some() || known == Some(issuer),
            "the challenge is of Verifier {issuer}, which is not this host's own and was not named; expected --challenge FILE, \
             or --verifier KEY of a Verifier that you trust"
        );
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

/// A time of the Verifier's, RFC 3339 where that has a form for it.
pub(crate) fn time(unix_ms: u64) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(unix_ms))
        // RFC 3339 ends with the year 9999.
        .filter(|_| unix_ms < 253_402_300_800_000)
        .map_or_else(
            || format!("{unix_ms} ms"),
            |at| humantime::format_rfc3339_seconds(at).to_string(),
        )
}
