//! Which call of a driver library each thread of some work is in, and a limit for each call.
//!
//! A driver in trouble may never return from a call, and such a call cannot be stopped. While devices are found and
//! opened nobody else sets a limit: there is no session yet, and so no phase with a deadline. So that work runs on a
//! thread of its own, which is left behind when a call takes too long. Other threads are not watched: a call in a fill
//! or a sweep costs one look at a thread-local variable.

use std::cell::RefCell;
use std::panic;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::no_cuda::NoCuda;

/// Interval at which calls in progress are looked at.
const INTERVAL: Duration = Duration::from_millis(20);

thread_local! {
    /// The work that this thread does, and its place there.
    static HERE: RefCell<Option<(Watch, Place)>> = const { RefCell::new(None) };
}

/// A call in progress, and when it began.
type Call = (&'static str, Instant);

/// What one thread does.
#[derive(Default)]
struct Doing {
    call: Option<Call>,
    /// The device that its calls are about.
    device: Option<String>,
}

#[derive(Clone, Default)]
struct Place(Arc<Mutex<Doing>>);

impl Place {
    fn lock(&self) -> MutexGuard<'_, Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads of some work.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Vec<Place>>>);

/// Runs `work` on a thread of its own, and returns its result. If a call of a driver library takes longer than `limit`,
/// there or on a thread that it has [`handed_on`] work to, these threads are left behind.
///
/// # Errors
///
/// [`NoCuda::Hangs`] names the call; [`NoCuda::Failed`] if there is no thread.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoCuda> {
    let (sender, result) = channel();
    let watch = Watch::default();
    let watched = watch.clone();
    let working = move || {
        // There is no receiver once a call has passed the limit.
        let _ = sender.send(watched.run(work));
    };
    let thread = thread::Builder::new().name("driver".to_owned()).spawn(working);
    let thread = thread.map_err(|error| NoCuda::Failed(format!("no thread: {error}")))?;
    loop {
        match result.recv_timeout(INTERVAL) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => watch.check(limit)?,
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => panic::resume_unwind(panic),
                Ok(()) => return Err(NoCuda::Failed("the work ended without a result".to_owned())),
            },
        }
    }
}

/// `work` for another thread, watched as this one is.
pub(crate) fn handed_on<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let watch = HERE.with_borrow(|here| here.as_ref().map(|(watch, _)| watch.clone()));
    move || match watch {
        Some(watch) => watch.run(work),
        None => work(),
    }
}

/// Runs `work`, whose calls are about this device.
pub(crate) fn about<T>(device: String, work: impl FnOnce() -> T) -> T {
    let before = here().map(|place| {
        let before = place.lock().device.replace(device);
        (place, before)
    });
    let result = work();
    if let Some((place, before)) = before {
        place.lock().device = before;
    }
    result
}

/// Records that this thread is in a call, until the value is dropped.
pub(crate) fn enter(call: &'static str) -> InCall {
    InCall(here().map(|place| {
        let outer = place.lock().call.replace((call, Instant::now()));
        (place, outer)
    }))
}

/// A call in progress, if its thread is watched.
pub(crate) struct InCall(Option<(Place, Option<Call>)>);

impl Drop for InCall {
    fn drop(&mut self) {
        if let Some((place, outer)) = self.0.take() {
            place.lock().call = outer;
        }
    }
}

fn here() -> Option<Place> {
    HERE.with_borrow(|here| here.as_ref().map(|(_, place)| place.clone()))
}

impl Watch {
    /// Runs `work` on this thread, watched.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let place = Place::default();
        self.lock().push(place.clone());
        let outer = HERE.replace(Some((self.clone(), place)));
        let result = work();
        HERE.set(outer);
        result
    }

    /// The call that has been in progress for longest.
    pub(crate) fn longest(&self) -> Option<&'static str> {
        self.oldest().map(|((call, _), _)| call)
    }

    fn oldest(&self) -> Option<(Call, Option<String>)> {
        let threads = self.lock();
        let calls = threads.iter().filter_map(|place| {
            let doing = place.lock();
            Some((doing.call?, doing.device.clone()))
        });
        calls.min_by_key(|((_, began), _)| *began)
    }

    fn check(&self, limit: Duration) -> Result<(), NoCuda> {
        match self.oldest() {
            Some(((call, began), device)) if began.elapsed() > limit => Err(NoCuda::Hangs {
                // The suffix is of the symbol, not of the name in the documentation.
                call: call.strip_suffix("_v2").unwrap_or(call),
                device,
                limit,
            }),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    fn hang() {
        let (_holds, held) = channel::<()>();
        let _ = held.recv();
    }

    #[test]
    fn a_call_that_hangs_is_named_with_its_device() {
        let hanging = |device: Option<&str>| {
            Err(NoCuda::Hangs {
                call: "cuInit",
                device: device.map(str::to_owned),
                limit: SHORT,
            })
        };
        let calls = || {
            drop(enter("cuDeviceGet"));
            let _call = enter("cuInit");
            // One that returned within it.
            drop(enter("dlopen"));
            hang();
        };
        assert_eq!(within(SHORT, calls), hanging(None));
        assert_eq!(
            within(SHORT, move || about("GPU 1".to_owned(), calls)),
            hanging(Some("GPU 1"))
        );
        let on_another = move || {
            about("GPU 0".to_owned(), || drop(enter("cuDeviceGet")));
            thread::scope(|scope| {
                scope.spawn(handed_on(|| about("GPU 1".to_owned(), calls)));
            });
        };
        assert_eq!(within(SHORT, on_another), hanging(Some("GPU 1")));
    }

    #[test]
    fn only_single_calls_have_a_limit() {
        let slow = || {
            for _ in 0..4 {
                let _call = enter("cuInit");
                thread::sleep(SHORT / 2);
            }
            thread::sleep(SHORT * 2);
            7
        };
        assert_eq!(within(SHORT, slow), Ok(7));
        let panics = panic::catch_unwind(|| within(SHORT, || panic!("work that panics")));
        assert!(panics.is_err());
    }
}
