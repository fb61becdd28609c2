//! Requirements on evidence beyond being well-formed: its maker, its challenge, and the time of receipt. All of them are
//! checked before a tile is recomputed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::bytes::{Identity, hex};
use protocol::challenge::Challenge;
use verifier::Opened;
use verifier::outcome::{Judge, verifier_of};

use crate::refusal::Refusal;

/// The clock of the challenge's issuer and the clock of the time of receipt may differ by this much.
const CLOCK_LEEWAY_MS: u64 = 60_000;

/// Whose evidence is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Evidence of this Attester alone.
    pub attester: Option<Identity>,
    /// Offline evidence for this challenge alone.
    pub challenge: Option<Challenge>,
    /// When offline evidence was received, by this side's clock.
    pub received: SystemTime,
}

impl Wanted {
    /// Evidence of any Attester, received now.
    #[must_use]
    pub fn any() -> Self {
        Wanted {
            attester: None,
            challenge: None,
            received: SystemTime::now(),
        }
    }

    /// The Verifier that is named implicitly by the challenge.
    #[must_use]
    pub fn challenger(&self) -> Option<Identity> {
        self.challenge
            .as_ref()
            .map(|challenge| challenge.plan.fields().verifier)
    }

    /// Lines about the maker of the evidence; or why the evidence is refused.
    pub(crate) fn check(&self, opened: &Opened, judge: &Judge) -> Result<String, Refusal> {
        let (evidence, session) = (&opened.evidence, &opened.session);
        let refused = |why: String| Err(Refusal::refused(why));
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
            let session_of = |challenge: &Challenge| hex(&challenge.plan.fields().session_id);
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
            return Ok(whose);
        };
        let received_unix_ms = unix_ms(self.received);
        if received_unix_ms.saturating_add(CLOCK_LEEWAY_MS) < challenge.issued_unix_ms {
            return refused(format!(
                "received {}, the challenge was issued {}: a clock is wrong",
                time(received_unix_ms),
                time(challenge.issued_unix_ms)
            ));
        }
        if received_unix_ms > challenge.expires_unix_ms {
            return refused(format!(
                "received {}, the challenge expired {}",
                time(received_unix_ms),
                time(challenge.expires_unix_ms)
            ));
        }
        let after_ms = received_unix_ms.saturating_sub(challenge.issued_unix_ms);
        Ok(format!(
            "{whose}challenge    issued {}, received {} later at the latest\n",
            time(challenge.issued_unix_ms),
            humantime::format_duration(Duration::from_secs(after_ms / 1000)),
        ))
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A time on the Verifier's clock, in RFC 3339 if that can represent it.
#[must_use]
pub fn time(unix_ms: u64) -> String {
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
