//! Telemetry of a device at work, on a separate thread: a session waits for it only up to a limit.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use backend::Telemetry;
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::Label;

/// The name of the label that says why there is no telemetry of a device.
const WITHOUT: &str = "telemetry";

/// Longest time that telemetry may take to return its labels at the end.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Running telemetry of one device.
pub(crate) struct Watch {
    stop: Sender<()>,
    seen: Receiver<Result<Vec<(String, String)>, String>>,
}

impl Watch {
    /// Starts the telemetry and returns at once: READY does not wait for labels.
    pub(crate) fn start(mut telemetry: Box<dyn Telemetry>) -> Self {
        let (stop, stopped) = channel();
        let (sender, seen) = channel();
        let watch = move || {
            let outcome = telemetry.start().and_then(|()| {
                // A message, or the end of the session.
                let _ = stopped.recv();
                telemetry.finish()
            });
            // There is no receiver if the limit has passed.
            let _ = sender.send(outcome);
        };
        // If no thread can be started, no labels arrive; this is reported at the end.
        let _ = thread::Builder::new().name("watch".to_owned()).spawn(watch);
        Watch { stop, seen }
    }

    /// Labels of what was observed of the device, or one that says why there are none. Returns within `limit` in any
    /// case.
    pub(crate) fn finish(self, device: DeviceOrdinal, limit: Duration) -> Vec<Label> {
        // A thread that has ended needs no message.
        let _ = self.stop.send(());
        let seen = self.seen.recv_timeout(limit).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(format!("no answer within {} s", limit.as_secs_f64())),
            RecvTimeoutError::Disconnected => Err("the watch failed".to_owned()),
        });
        let seen = seen.unwrap_or_else(|why| vec![(WITHOUT.to_owned(), why)]);
        seen.iter()
            .map(|(name, value)| Label::new(&format!("device {device} {name}"), value))
            .collect()
    }
}

/// How long OPENINGS may wait for labels: a quarter of the time it has, and at most [`ANSWER_WITHIN`]. A late answer is
/// a failed session, which labels are not worth.
pub(crate) fn limit(openings_ms: u64) -> Duration {
    ANSWER_WITHIN.min(Duration::from_millis(openings_ms / 4))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    type Answer<T> = Box<dyn FnMut() -> Result<T, String> + Send>;

    struct Played {
        start: Answer<()>,
        finish: Answer<Vec<(String, String)>>,
    }

    impl Telemetry for Played {
        fn start(&mut self) -> Result<(), String> {
            (self.start)()
        }

        fn finish(&mut self) -> Result<Vec<(String, String)>, String> {
            (self.finish)()
        }
    }

    fn hang() {
        thread::sleep(Duration::from_secs(3600));
    }

    /// Names and values of the labels, and how long they took.
    fn seen(start: Answer<()>, finish: Answer<Vec<(String, String)>>, limit_ms: u64) -> Vec<(String, String)> {
        let begin = Instant::now();
        let watch = Watch::start(Box::new(Played { start, finish }));
        let labels = watch.finish(DeviceOrdinal(3), Duration::from_millis(limit_ms));
        assert!(begin.elapsed() < Duration::from_secs(60));
        labels.into_iter().map(|label| (label.name, label.value)).collect()
    }

    fn one(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn what_does_not_answer_leaves_a_label_and_no_more() {
        let sees = || Box::new(|| Ok(one("energy_j", "5"))) as Answer<_>;
        assert_eq!(seen(Box::new(|| Ok(())), sees(), 60_000), one("device 3 energy_j", "5"));
        let without = |why| one("device 3 telemetry", why);
        let hangs_at_start = Box::new(|| {
            hang();
            Ok(())
        });
        assert_eq!(seen(hangs_at_start, sees(), 50), without("no answer within 0.05 s"));
        let hangs_at_end = Box::new(|| {
            hang();
            Ok(Vec::new())
        });
        assert_eq!(
            seen(Box::new(|| Ok(())), hangs_at_end, 50),
            without("no answer within 0.05 s")
        );
        let refused = Box::new(|| Err("NVML: no device".to_owned()));
        assert_eq!(seen(refused, sees(), 60_000), without("NVML: no device"));
        assert_eq!(
            seen(Box::new(|| panic!("in the library")), sees(), 60_000),
            without("the watch failed")
        );
    }

    #[test]
    fn openings_wait_a_quarter_of_their_time_at_most() {
        assert_eq!(limit(10_000), Duration::from_millis(2500));
        assert_eq!(limit(1_800_000), ANSWER_WITHIN);
        assert_eq!(limit(1), Duration::ZERO);
    }
}
