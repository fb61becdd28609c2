//! What an Attester grants a Verifier at most (spec §5.7): idle time, total time, and work.
//!
//! The Verifier chooses the plan and its deadlines, up to a year each. Without the Attester's own limits, a Verifier
//! that falls silent or requests too much would hold the devices for as long as it likes (`attester:
//! a_verifier_that_falls_silent_holds_no_device`).

use std::time::Duration;

use crate::bytes::DeviceOrdinal;
use crate::frame::MessageType;
use crate::message::AbortCode;
use crate::plan::Plan;

/// Operations that a byte read in a sweep counts as: about what a data-centre GPU computes while it reads one.
pub const OPERATIONS_PER_SWEPT_BYTE: u32 = 256;

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
/// [`OPERATIONS_PER_SWEPT_BYTE`] for every byte that a sweep reads; a round counts as a sweep.
pub fn work(plan: &Plan) -> impl Iterator<Item = (DeviceOrdinal, u128)> + '_ {
    plan.devices().iter().map(|device| {
        let bytes = u128::from(plan.assignment(device).dataset_bytes());
        let per_byte = (0..).zip(plan.iterations()).map(|(t, iteration)| {
            let passes = u128::from(iteration.sweeps) + u128::from(plan.rounds(t));
            2 * u128::from(iteration.inner_dim) + passes * u128::from(OPERATIONS_PER_SWEPT_BYTE)
        });
        (device.ordinal, bytes * per_byte.sum::<u128>())
    })
}

/// When the limits of one session pass. Times are ns since it began.
pub(crate) struct Watchdog {
    limits: Limits,
    /// What is due from the Verifier, and since when.
    due: Option<(MessageType, u64)>,
}

impl Watchdog {
    pub(crate) fn new(limits: Limits) -> Self {
        Watchdog { limits, due: None }
    }

    /// Whether a plan exceeds the limits; checked before any resource is taken for it.
    pub(crate) fn check_work(&self, plan: &Plan) -> Result<(), LimitPassed> {
        let limit = self.limits.work;
        match work(plan).max_by_key(|(_, asked)| *asked) {
            Some((device, asked)) if asked > limit => Err(LimitPassed::Work { device, asked, limit }),
            _ => Ok(()),
        }
    }

    /// Notes what is due now. After a frame that came, the wait for the next one starts again, if another is due at once.
    pub(crate) fn note(&mut self, now_ns: u64, due: Option<MessageType>, has_come: bool) {
        self.due = match (due, self.due) {
            (Some(due), Some((before, since_ns))) if due == before && !has_come => Some((due, since_ns)),
            (due, _) => due.map(|due| (due, now_ns)),
        };
    }

    /// When the next limit passes; an error if one has. `is_opening`: the samples are known and not yet opened.
    pub(crate) fn until_ns(&self, now_ns: u64, is_opening: bool) -> Result<u64, LimitPassed> {
        let Limits { idle, session, .. } = self.limits;
        let grace = if is_opening { idle } else { Duration::ZERO };
        let mut until_ns = nanoseconds(session.saturating_add(grace));
        if now_ns >= until_ns {
            return Err(LimitPassed::Session { limit: session });
        }
        if let Some((due, since_ns)) = self.due {
            until_ns = until_ns.min(since_ns.saturating_add(nanoseconds(idle)));
            if now_ns >= until_ns {
                return Err(LimitPassed::Idle { due, limit: idle });
            }
        }
        Ok(until_ns)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);
    const LIMIT_NS: u64 = 40_000_000;

    fn watchdog(idle: Duration, session: Duration) -> Watchdog {
        Watchdog::new(Limits {
            idle,
            session,
            ..Limits::NONE
        })
    }

    #[test]
    fn silence_counts_only_while_something_is_due() {
        let mut clock = watchdog(LIMIT, Duration::MAX);
        clock.note(0, None, false);
        assert_eq!(clock.until_ns(10 * LIMIT_NS, false), Ok(u64::MAX), "the devices work");
        clock.note(10 * LIMIT_NS, Some(MessageType::Salt), false);
        assert_eq!(clock.until_ns(11 * LIMIT_NS - 1, false), Ok(11 * LIMIT_NS));
        clock.note(11 * LIMIT_NS - 1, Some(MessageType::Salt), false);
        let passed = LimitPassed::Idle {
            due: MessageType::Salt,
            limit: LIMIT,
        };
        assert_eq!(
            clock.until_ns(11 * LIMIT_NS, false),
            Err(passed.clone()),
            "what happens here is not from the Verifier"
        );
        assert_eq!(
            passed.to_string(),
            "the Attester's limit of idle time is 0.04 s, and no SALT came from the Verifier"
        );
        clock.note(11 * LIMIT_NS, Some(MessageType::Sample), false);
        assert_eq!(
            clock.until_ns(11 * LIMIT_NS, false),
            Ok(12 * LIMIT_NS),
            "another message is due"
        );
        clock.note(12 * LIMIT_NS, Some(MessageType::Sample), true);
        assert_eq!(clock.until_ns(12 * LIMIT_NS, false), Ok(13 * LIMIT_NS), "one came");
    }

    #[test]
    fn a_session_ends_but_not_between_sample_and_openings() {
        let clock = watchdog(Duration::from_secs(3600), LIMIT);
        assert_eq!(clock.until_ns(LIMIT_NS - 1, false), Ok(LIMIT_NS));
        assert_eq!(
            clock.until_ns(LIMIT_NS, false),
            Err(LimitPassed::Session { limit: LIMIT })
        );
        assert!(clock.until_ns(LIMIT_NS, true).is_ok());
        assert_eq!(
            watchdog(LIMIT, Duration::MAX).until_ns(0, true),
            Ok(u64::MAX),
            "no overflow"
        );
    }
}
