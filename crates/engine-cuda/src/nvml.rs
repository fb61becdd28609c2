//! Queries of NVIDIA's management library, all of which have a timeout.
//!
//! Its calls can block forever if a driver is in trouble, and then also for devices that work well. Its answers are
//! labels (spec §1): a session without them is equally valid, so nothing may wait for them (`attester:
//! labels_that_never_come_hold_nothing_up`).

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nvml_wrapper::{Device, Nvml};

use crate::calls::{self, Watch};

/// What the UUID of a slice begins with in NVML.
pub(crate) const SLICE: &str = "MIG-";

/// How long NVML may take to answer all queries about a device, or to report its telemetry.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The text in place of an answer that did not arrive in time: `no answer within 5 s`.
pub(crate) fn no_answer(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f64())
}

/// Returns the answer of `ask` if it arrives within `limit`; otherwise abandons its thread, as a call that hangs cannot
/// be stopped.
///
/// # Errors
///
/// Why there is no answer.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (sender, answer) = channel();
    let watch = Watch::default();
    let watched = watch.clone();
    let asking = move || {
        // There is no receiver once the limit has passed.
        let _ = sender.send(watched.run(ask));
    };
    let thread = thread::Builder::new().name("nvml".to_owned()).spawn(asking);
    thread.map_err(|error| format!("no thread: {error}"))?;
    answer.recv_timeout(limit).map_err(|error| match error {
        RecvTimeoutError::Timeout => match watch.longest() {
            Some(call) => format!("{call}: {}", no_answer(limit)),
            None => no_answer(limit),
        },
        RecvTimeoutError::Disconnected => "the question failed".to_owned(),
    })
}

/// The initialised library.
///
/// # Errors
///
/// Why it is not available.
pub(crate) fn start() -> Result<Nvml, String> {
    let _call = calls::enter("nvmlInit");
    Nvml::init().map_err(|error| format!("NVML: {error}"))
}

/// NVML's handle of a device, and its UUID in NVML; a slice's UUID has another prefix there.
///
/// # Errors
///
/// Why there is no such device.
pub(crate) fn device<'a>(nvml: &'a Nvml, uuid: &str) -> Result<(Device<'a>, String), String> {
    let slice = uuid.replacen("GPU-", SLICE, 1);
    match nvml.device_by_uuid(uuid) {
        Ok(device) => Ok((device, uuid.to_owned())),
        Err(error) => nvml
            .device_by_uuid(slice.as_str())
            .map(|device| (device, slice))
            .map_err(|_| format!("NVML: no device {uuid}: {error}")),
    }
}

/// The card of a slice with this UUID in NVML; `None` for a card, or if NVML does not report it.
pub(crate) fn card_of_slice<'a>(device: &Device<'a>, uuid: &str) -> Option<Device<'a>> {
    let is_slice = uuid.starts_with(SLICE);
    is_slice.then(|| device.mig_parent_device().ok()).flatten()
}

/// Asks about all these devices in parallel, in threads that may never end: each has the full time.
pub(crate) fn of_each<D: Send + 'static, T: Send + 'static>(
    devices: impl IntoIterator<Item = D>,
    ask: impl Fn(D) -> T + Copy + Send + 'static,
) -> Vec<Result<T, String>> {
    let asked = devices.into_iter();
    let asked: Vec<_> = asked
        .map(|device| thread::spawn(move || within(ANSWER_WITHIN, move || ask(device))))
        .collect();
    let answers = asked.into_iter().map(thread::JoinHandle::join);
    answers
        .map(|answer| answer.unwrap_or_else(|_| Err("the question failed".to_owned())))
        .collect()
}

/// Free memory of the device with this UUID; `None` if NVML does not report it in time.
pub(crate) fn free_bytes(uuid: String) -> Option<u64> {
    let free = move || {
        let nvml = start().ok()?;
        let (device, _) = device(&nvml, &uuid).ok()?;
        known(device.memory_info().ok()?.free)
    };
    within(ANSWER_WITHIN, free).ok()?
}

/// A figure, unless it is one of the values by which NVML reports that there is none: all bits set, in 32 or in 64
/// bits.
pub(crate) fn known<T: Copy + Into<u64>>(figure: T) -> Option<T> {
    let is_sentinel = matches!(figure.into(), 0xFFFF_FFFF | u64::MAX);
    (!is_sentinel).then_some(figure)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_question_that_hangs_is_left_behind() {
        let start = Instant::now();
        let (_holds, held) = channel::<()>();
        let limit = Duration::from_millis(50);
        let answer = within(limit, move || held.recv().is_ok());
        assert_eq!(answer, Err("no answer within 0.05 s".to_owned()));
        assert!(start.elapsed() < ANSWER_WITHIN);
        let starting = || {
            let _call = calls::enter("nvmlInit");
            let (_holds, held) = channel::<()>();
            held.recv().is_ok()
        };
        assert_eq!(
            within(limit, starting),
            Err("nvmlInit: no answer within 0.05 s".to_owned())
        );
        assert_eq!(within(ANSWER_WITHIN, || 7), Ok(7));
        assert!(within(ANSWER_WITHIN, || -> u8 { panic!("a question that panics") }).is_err());
        assert_eq!(no_answer(ANSWER_WITHIN), "no answer within 5 s");
    }

    #[test]
    fn what_nvml_does_not_have_is_no_figure() {
        assert_eq!((known(u32::MAX), known(u64::MAX)), (None, None));
        assert_eq!(known(u64::from(u32::MAX)), None, "a 32-bit figure in a wider field");
        assert_eq!(
            (known(41_u32), known(0_u32), known(1_u64 << 40)),
            (Some(41), Some(0), Some(1 << 40))
        );
    }
}
