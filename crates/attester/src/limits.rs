//! What an Attester grants a Verifier at most (spec §5.7): idle time, total time, and work.
//!
//! The Verifier chooses the plan and its deadlines, up to a year each. Without the Attester's own limits, a Verifier
//! that falls silent or requests too much would hold the devices for as long as it likes (`attester:
//! a_verifier_that_falls_silent_holds_no_device`).

use std::time::{Duration, Instant};

use protocol::bytes::DeviceOrdinal;
use protocol::frame::MessageType;
use protocol::message::AbortCode;
use protocol::plan::Plan;

/// A byte read in a sweep counts as this many operations: about what a data-centre GPU computes in the time of the
/// read.
pub const OPERATIONS_A_SWEPT_BYTE: u32 = 256;

/// How much time and work an Attester grants a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest wait for a frame from the Verifier while one is due.
    pub idle: Duration,
    /// Longest session, from HELLO on. While samples are opened, the idle limit is added: stopping then is a failed
    /// session (spec §5.7).
    pub session: Duration,
    /// Most work of one device in the whole plan (operations, as counted by [`work`]).
    pub work: u128,
}

impl Limits {
    /// No limits: for a Verifier that is as trusted as the Attester, for example in the same process.
    pub const NONE: Limits = Limits {
        idle: Duration::MAX,
        session: Duration::MAX,
        work: u128::MAX,
    };
}

impl Default for Limits {
    /// Ten minutes of idle time, two hours in total, and 10^18 operations per device: twelve minutes of an H200, and
    /// four times what the largest preset requests of the largest GPU.
    fn default() -> Self {
        Limits {
            idle: Duration::from_secs(600),
            session: Duration::from_secs(2 * 3600),
            work: 1_000_000_000_000_000_000,
        }
    }
}

/// One of the Attester's limits was exceeded; this was reported to the Verifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitPassed {
    /// Nothing was received from the Verifier while a message was due.
    #[error("the Attester's limit of idle time is {} s, and no {due} came from the Verifier", limit.as_secs_f64())]
    Idle {
        /// The message that was due.
        due: MessageType,
        /// The limit.
        limit: Duration,
    },
    /// The session took too long.
    #[error("the Attester's limit of a session's time is {} s, and it is not over", limit.as_secs_f64())]
    Session {
        /// The limit.
        limit: Duration,
    },
    /// The plan requests too much work.
    #[error(
        "the Attester's limit of work is {limit} operations a device, and the plan asks {asked} of device {device}"
    )]
    Work {
        /// The device with the most work.
        device: DeviceOrdinal,
        /// Its work (operations).
        asked: u128,
        /// The limit (operations).
        limit: u128,
    },
}

impl LimitPassed {
    /// The code reported to the Verifier: a plan that is too large is one that this Attester does not run; anything
    /// else stops the session.
    #[must_use]
    pub fn abort_code(&self) -> AbortCode {
        match self {
            LimitPassed::Work { .. } => AbortCode::Unsupported,
            LimitPassed::Idle { .. } | LimitPassed::Session { .. } => AbortCode::Cancelled,
        }
    }
}

/// Work of each device in the whole plan (operations): two for every multiplication of a fill, and
/// [`OPERATIONS_A_SWEPT_BYTE`] for every byte that a sweep reads.
pub fn work(plan: &Plan) -> impl Iterator<Item = (DeviceOrdinal, u128)> + '_ {
    plan.devices().iter().map(|device| {
        let bytes = u128::from(plan.assignment(device).dataset_bytes());
        let a_byte = plan.iterations().iter().map(|iteration| {
            2 * u128::from(iteration.inner_dim) + u128::from(iteration.sweeps) * u128::from(OPERATIONS_A_SWEPT_BYTE)
        });
        (device.ordinal, bytes * a_byte.sum::<u128>())
    })
}

/// The clocks of one session.
pub(crate) struct Watchdog {
    limits: Limits,
    begin: Instant,
    /// The message due from the Verifier, and since when.
    due: Option<(MessageType, Instant)>,
}

impl Watchdog {
    pub(crate) fn start(limits: Limits) -> Self {
        Watchdog {
            limits,
            begin: Instant::now(),
            due: None,
        }
    }

    /// Whether a plan exceeds the limits; checked before any resource is taken for it.
    pub(crate) fn check_work(&self, plan: &Plan) -> Result<(), LimitPassed> {
        let limit = self.limits.work;
        match work(plan).max_by_key(|(_, asked)| *asked) {
            Some((device, asked)) if asked > limit => Err(LimitPassed::Work { device, asked, limit }),
            _ => Ok(()),
        }
    }

    /// Records which message is due now. A received frame restarts the wait if another one is due at once.
    pub(crate) fn note(&mut self, due: Option<MessageType>, has_come: bool) {
        self.due = match (due, self.due) {
            (Some(due), Some((before, since))) if due == before && !has_come => Some((due, since)),
            (due, _) => due.map(|due| (due, Instant::now())),
        };
    }

    /// Time until the next limit; an error if one has been exceeded. `is_opening`: the samples are known and not yet
    /// opened.
    pub(crate) fn left(&self, is_opening: bool) -> Result<Duration, LimitPassed> {
        let Limits { idle, session, .. } = self.limits;
        let grace = if is_opening { idle } else { Duration::ZERO };
        let mut left = session.saturating_add(grace).saturating_sub(self.begin.elapsed());
        if left.is_zero() {
            return Err(LimitPassed::Session { limit: session });
        }
        if let Some((due, since)) = self.due {
            left = left.min(idle.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return Err(LimitPassed::Idle { due, limit: idle });
            }
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);

    fn watchdog(idle: Duration, session: Duration) -> Watchdog {
        Watchdog::start(Limits {
            idle,
            session,
            ..Limits::NONE
        })
    }

    #[test]
    fn silence_counts_only_while_something_is_due() {
        let mut clock = watchdog(LIMIT, Duration::MAX);
        clock.note(None, false);
        thread::sleep(LIMIT);
        assert!(clock.left(false).is_ok(), "the devices work");
        clock.note(Some(MessageType::Salt), false);
        assert!(clock.left(false).is_ok_and(|left| left <= LIMIT));
        thread::sleep(LIMIT);
        clock.note(Some(MessageType::Salt), false);
        let passed = LimitPassed::Idle {
            due: MessageType::Salt,
            limit: LIMIT,
        };
        assert_eq!(
            clock.left(false),
            Err(passed.clone()),
            "what happens here is no word of the Verifier's"
        );
        assert_eq!(
            passed.to_string(),
            "the Attester's limit of idle time is 0.04 s, and no SALT came from the Verifier"
        );
        clock.note(Some(MessageType::Sample), false);
        assert!(clock.left(false).is_ok(), "another message is due");
        thread::sleep(LIMIT);
        clock.note(Some(MessageType::Sample), true);
        assert!(clock.left(false).is_ok(), "one came");
    }

    #[test]
    fn a_session_ends_but_not_between_sample_and_openings() {
        let clock = watchdog(Duration::from_secs(3600), LIMIT);
        thread::sleep(LIMIT);
        assert_eq!(clock.left(false), Err(LimitPassed::Session { limit: LIMIT }));
        assert!(clock.left(true).is_ok());
        assert!(watchdog(LIMIT, Duration::MAX).left(true).is_ok(), "no overflow");
    }
}
