//! A device that is lost during work.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use protocol::bytes::Root;
use protocol::engine::{Assignment, Engine, EngineError, Progress, Unobserved};

use crate::subject::{Losable, Subject};
use crate::{FIRST_FILL, FIRST_SWEEP, SWEEP_SALT, assignment, check_openings, expected_roots, roots, task};

/// The call during which the device is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Fill,
    /// The device is lost when the fill checks whether it was cancelled.
    WithinFill,
    Sweep,
    /// The device is lost when the sweep checks whether it was cancelled.
    WithinSweep,
    Open,
}

/// A device that is lost before or during a fill, a sweep or an opening: the call ends with an error for which
/// [`EngineError::is_lost`] holds, and so does every later call until `prepare` returns `Ok`. Nothing hangs, and no
/// call returns a root. An engine that can be prepared again then has the roots of the reference.
///
/// An opening may still be returned from leaves that the engine keeps elsewhere, as long as no call has detected the
/// loss.
pub fn a_lost_device_is_an_error_from_then_on(subjects: &[&dyn Subject]) {
    let assignment = assignment(512, 2, 64);
    let expected = expected_roots(&assignment, 64);
    for subject in subjects {
        for moment in [
            Moment::Fill,
            Moment::WithinFill,
            Moment::Sweep,
            Moment::WithinSweep,
            Moment::Open,
        ] {
            let Some(losable) = or_say(subject, subject.losable()) else {
                break;
            };
            let name = format!("{subject}, lost at {moment:?}");
            within(losable.patience, &name.clone(), move || {
                lose(&name, losable, moment, &assignment, &expected);
            });
        }
    }
}

/// The engine whose device can be lost; otherwise prints a message outside the captured output: a skipped test must be
/// visible.
pub(crate) fn or_say<E: ?Sized>(subject: &dyn Display, losable: Result<Losable<E>, &str>) -> Option<Losable<E>> {
    losable
        .inspect_err(|why| {
            let _ = writeln!(std::io::stderr(), "SKIPPED a lost device, {subject}: {why}");
        })
        .ok()
}

/// Runs work that may hang on a thread that is then abandoned.
pub(crate) fn within<T: Send + 'static>(
    patience: Duration,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, end) = channel();
    let thread = thread::spawn(move || {
        // There is no receiver after the timeout.
        let _ = done.send(work());
    });
    match end.recv_timeout(patience) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("{name}: no answer within {patience:?}"),
        Err(RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it has ended without a result"))
        }
    }
}

/// Fails if a call on a lost device returned a result, or an error of another kind.
pub(crate) fn check_lost<T: std::fmt::Debug>(name: &str, what: &str, result: Result<T, EngineError>) {
    assert!(
        matches!(&result, Err(error) if error.is_lost()),
        "{name}: {what} on a lost device gave {result:?}"
    );
}

fn lose(name: &str, losable: Losable<dyn Engine>, moment: Moment, assignment: &Assignment, expected: &[Root; 2]) {
    let Losable { mut engine, lose, .. } = losable;
    let engine = &mut *engine;
    engine.prepare(assignment).expect("the memory is there");
    let fill = |engine: &mut dyn Engine, progress: &dyn Progress| engine.fill(&task(64), progress);
    let sweep = |engine: &mut dyn Engine, progress: &dyn Progress| engine.sweep(&SWEEP_SALT, progress);
    let loses = Loses {
        lose: &*lose,
        is_lost: AtomicBool::new(false),
    };
    match moment {
        Moment::Fill => {
            lose();
            check_lost(name, "a fill", fill(engine, &Unobserved));
        }
        Moment::WithinFill => {
            let filled = fill(engine, &loses);
            loses.check(name, "a fill", filled, &expected[0]);
        }
        Moment::Sweep => {
            assert_eq!(fill(engine, &Unobserved), Ok(expected[0]), "{name}: root of the fill");
            lose();
            check_lost(name, "a sweep", sweep(engine, &Unobserved));
        }
        Moment::WithinSweep => {
            assert_eq!(fill(engine, &Unobserved), Ok(expected[0]), "{name}: root of the fill");
            let swept = sweep(engine, &loses);
            loses.check(name, "a sweep", swept, &expected[1]);
        }
        Moment::Open => {
            assert_eq!(fill(engine, &Unobserved), Ok(expected[0]), "{name}: root of the fill");
            assert_eq!(sweep(engine, &Unobserved), Ok(expected[1]), "{name}: root of the sweep");
            lose();
            for (id, root, leaf_count) in [(FIRST_SWEEP, expected[1], 4), (FIRST_FILL, expected[0], 8)] {
                match engine.open(id, 3) {
                    Ok(opening) => {
                        let verified = opening.verify(&root, 3, leaf_count);
                        assert!(verified.is_ok(), "{name}: a wrong opening of {id}: {verified:?}");
                    }
                    met => check_lost(name, "an opening", met),
                }
            }
        }
    }
    // An opening, or a call that finished too early, may not have detected the loss.
    check_lost(name, "the next sweep", sweep(engine, &Unobserved));
    let check_all = |engine: &mut dyn Engine| {
        for id in [FIRST_FILL, FIRST_SWEEP] {
            check_lost(name, "a later opening", engine.open(id, 0));
        }
        check_lost(name, "a later sweep", sweep(engine, &Unobserved));
        check_lost(name, "a later fill", fill(engine, &Unobserved));
    };
    check_all(engine);
    match engine.prepare(assignment) {
        Ok(()) => {
            let again = roots(engine, 64);
            assert_eq!(again, Ok(*expected), "{name}: roots on the device that is back");
            check_openings(name, engine, FIRST_FILL, &expected[0], 8);
            check_openings(name, engine, FIRST_SWEEP, &expected[1], 4);
        }
        met => {
            check_lost(name, "prepare", met);
            check_all(engine);
        }
    }
}

/// Makes the device lost once the engine checks whether its work is cancelled.
struct Loses<'a> {
    lose: &'a (dyn Fn() + Sync),
    is_lost: AtomicBool,
}

impl Progress for Loses<'_> {
    fn advance(&self, _: u64) {}

    fn is_cancelled(&self) -> bool {
        if !self.is_lost.swap(true, Ordering::Relaxed) {
            (self.lose)();
        }
        false
    }
}

impl Loses<'_> {
    /// The required result of the call during the loss. A call that never checked for cancellation has not detected it:
    /// so little work may finish too early.
    fn check(&self, name: &str, what: &str, result: Result<Root, EngineError>, expected: &Root) {
        if self.is_lost.swap(true, Ordering::Relaxed) {
            check_lost(name, what, result);
        } else {
            assert_eq!(result, Ok(*expected), "{name}: root of {what}");
            (self.lose)();
        }
    }
}
