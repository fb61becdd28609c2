//! Relays the started command's standard error to the Verifier's, only until the session's report is due.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::host_lines::HostLines;

/// How long the remaining output may take to arrive after the command has ended.
const REST_WITHIN: Duration = Duration::from_millis(200);

/// A pause between reads of output that is left out anyway: a flood costs time on the sender's side, not here.
const PAUSE: Duration = Duration::from_millis(10);

/// A thread that shows the output as it arrives.
pub(super) struct Relay {
    shared: Arc<Mutex<Shared>>,
    has_ended: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    lines: HostLines,
    /// Nothing more is shown.
    is_closed: bool,
}

impl Relay {
    /// Shows the output that arrives on `from`.
    ///
    /// # Errors
    ///
    /// If the system provides no thread.
    pub(super) fn start(from: impl Read + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Mutex<Shared>>::default();
        let (end, has_ended) = channel();
        let own = Arc::clone(&shared);
        thread::Builder::new().spawn(move || {
            relay(from, &own);
            // No code waits any more for a thread that was left behind.
            let _ = end.send(());
        })?;
        Ok(Relay { shared, has_ended })
    }

    /// Where text of the host's other streams can be shown too.
    pub(super) fn screen(&self) -> Screen {
        Screen(Arc::clone(&self.shared))
    }

    /// Shows what has arrived and how much was left out; afterwards nothing more is shown, even if a process still holds
    /// the other end.
    pub(super) fn finish(self) {
        // Whether it has ended or not, the following code is correct.
        let _ = self.has_ended.recv_timeout(REST_WITHIN);
        let mut shared = lock(&self.shared);
        let columns = cli::screen_columns();
        shared.lines.end(Instant::now(), columns).iter().for_each(cli::tell);
        shared.is_closed = true;
    }
}

fn relay(mut from: impl Read, shared: &Mutex<Shared>) {
    let mut bytes = [0; 16 << 10];
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        match show(shared, &bytes[..read]) {
            Shown::Closed => return,
            Shown::Flooded => thread::sleep(PAUSE),
            Shown::All => (),
        }
    }
}

/// Shows text of the host among its other lines, within the same limits.
pub(super) struct Screen(Arc<Mutex<Shared>>);

impl Screen {
    pub(super) fn show(&self, text: &[u8]) {
        show(&self.0, text);
    }
}

enum Shown {
    All,
    /// More is left out for a while.
    Flooded,
    /// Nothing more is shown.
    Closed,
}

fn show(shared: &Mutex<Shared>, bytes: &[u8]) -> Shown {
    let mut shared = lock(shared);
    if shared.is_closed {
        return Shown::Closed;
    }
    let rows = shared.lines.take(bytes, Instant::now(), cli::screen_columns());
    // Under the lock: once it is closed, not even a row that was on its way is shown.
    rows.iter().for_each(cli::tell);
    if shared.lines.is_flooded() {
        Shown::Flooded
    } else {
        Shown::All
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
