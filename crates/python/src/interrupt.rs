//! Long work without the interpreter's lock, which Ctrl-C ends.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use verifier::Stop;

use crate::error;

/// How often signals are looked for. Python runs their handlers only where it is asked to, in its main thread.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The outcome of `work`, which ends early once `stop` is asked; a signal asks.
pub(crate) fn interruptible<T: Send>(py: Python<'_>, stop: &Stop, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    thread::scope(|scope| {
        let (done, mut ended) = sync_channel(1);
        let worker = thread::Builder::new().spawn_scoped(scope, move || {
            // The receiver waits until this thread has ended.
            let _ = done.send(work());
        });
        let worker = worker.map_err(|error| error::resources(&error))?;
        let mut signal = None;
        loop {
            let receiver = &mut ended;
            match py.detach(move || receiver.recv_timeout(LOOK_EVERY)) {
                Ok(outcome) => return signal.map_or(Ok(outcome), Err),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(raised) = py.check_signals() {
                        stop.ask();
                        signal = Some(raised);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let panic = py.detach(|| worker.join()).expect_err("it has not sent its outcome");
                    resume_unwind(panic);
                }
            }
        }
    })
}
