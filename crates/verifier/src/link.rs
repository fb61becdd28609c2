//! The connection of one session: one thread reads and timestamps, another one writes, so that a peer which does neither cannot
//! block the session. No thread polls, and both are joined before the session is over.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use protocol::frame::Frame;
use transport::{Stop, Until, Woken, no_thread, wait_to_read, write_frame};

use crate::clock::Clock;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Reads that may wait for the session.
const READS_AHEAD: usize = 16;

/// Delay between a deadline and its report: bytes that arrived before it may still be in the queue of the reader. Bytes
/// that arrive meanwhile are late according to their own timestamp.
const GRACE: Duration = Duration::from_millis(100);

/// How long the sending of RESULT may take before the connection is dropped.
const RESULT_WITHIN: Duration = Duration::from_secs(2);

/// What a session waited for.
pub(crate) enum Incoming {
    /// Bytes, with the time at which the last of them had been read.
    Bytes(u64, Vec<u8>),
    /// The end of the connection, and what the transport reported about it.
    Closed(u64, Option<String>),
    /// The session is no longer wanted.
    Stopped,
    /// Nothing until this time (ns).
    Nothing(u64),
}

/// The session's end of its connection.
pub(crate) struct Link<'a> {
    clock: Clock,
    incoming: Receiver<Incoming>,
    outgoing: Sender<Outgoing>,
    stop: Option<&'a Stop>,
}

/// A frame, and the channel that is notified when it is written.
type Outgoing = (Frame, Option<Sender<()>>);

/// Ends both threads, however their session ends.
struct End<'a>(&'a Stop);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// Talks over these streams; they are closed afterwards.
///
/// # Errors
///
/// If the system provides no pipe or no thread.
pub(crate) fn over<T>(
    from: impl Read + AsFd + Send,
    to: impl Write + AsFd + Send,
    stop: Option<&Stop>,
    talk: impl FnOnce(&Link<'_>) -> T,
) -> io::Result<T> {
    let clock = Clock::start();
    let is_over = Stop::new()?;
    let to = Until::new(to, is_over.clone());
    thread::scope(|scope| {
        let _end = End(&is_over);
        // Bounded: an Attester that floods has to wait, which only makes its own times longer.
        let (received, incoming) = sync_channel(READS_AHEAD);
        let (outgoing, to_send) = channel();
        let is_over = &is_over;
        let start = thread::Builder::new().spawn_scoped(scope, move || read(from, clock, is_over, stop, &received));
        start.map_err(|error| no_thread(&error))?;
        let start = thread::Builder::new().spawn_scoped(scope, move || write(to, to_send));
        start.map_err(|error| no_thread(&error))?;
        Ok(talk(&Link {
            clock,
            incoming,
            outgoing,
            stop,
        }))
    })
}

fn read(
    mut from: impl Read + AsFd,
    clock: Clock,
    is_over: &Stop,
    stop: Option<&Stop>,
    received: &SyncSender<Incoming>,
) {
    let mut buffer = vec![0; READ_BYTES];
    let mut stops: Vec<&Stop> = [is_over].into_iter().chain(stop).collect();
    loop {
        let event = match wait_to_read(&from, &stops) {
            Ok(Woken::Stopped(0)) => return,
            // The stop is reported once: the session may have ended by itself, and is read until it is over.
            Ok(Woken::Stopped(_)) => {
                stops.truncate(1);
                Incoming::Stopped
            }
            Ok(Woken::Ready) => match from.read(&mut buffer) {
                Ok(0) => Incoming::Closed(clock.now_ns(), None),
                Ok(count) => Incoming::Bytes(clock.now_ns(), buffer[..count].to_vec()),
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => continue,
                Err(e) => Incoming::Closed(clock.now_ns(), Some(e.to_string())),
            },
            Err(e) => Incoming::Closed(clock.now_ns(), Some(e.to_string())),
        };
        let is_last = matches!(event, Incoming::Closed(..));
        if received.send(event).is_err() || is_last {
            return;
        }
    }
}

fn write(mut to: impl Write, to_send: Receiver<Outgoing>) {
    for (frame, written) in to_send {
        // A peer that reads no more ends the session by silence or by its closed end.
        if write_frame(&mut to, &frame).is_err() {
            return;
        }
        if let Some(written) = written {
            // The waiting side may be gone.
            let _ = written.send(());
        }
    }
}

impl Link<'_> {
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    pub(crate) fn send(&self, frame: Frame) {
        // A writer that has ended leaves a closed stream, which the reader reports.
        let _ = self.outgoing.send((frame, None));
    }

    /// Sends the last frame and gives it a moment to be transmitted.
    pub(crate) fn finish(&self, frame: Frame) {
        let (written, wait) = channel();
        if self.outgoing.send((frame, Some(written))).is_ok() {
            // Whether it was transmitted in time makes no difference here.
            let _ = wait.recv_timeout(RESULT_WITHIN);
        }
    }

    /// What comes next, if anything does before the deadline.
    pub(crate) fn receive(&self, until_ns: Option<u64>) -> Incoming {
        // The stop is checked first: otherwise a session with a peer that never pauses could not be stopped.
        if self.is_stopped() {
            return Incoming::Stopped;
        }
        // Received bytes are taken before any deadline is checked: their own timestamp counts.
        let now_ns = self.now_ns();
        let incoming = match (self.incoming.try_recv(), until_ns) {
            (Ok(incoming), _) => Ok(incoming),
            (Err(TryRecvError::Disconnected), _) => Err(RecvTimeoutError::Disconnected),
            (Err(TryRecvError::Empty), None) => self.incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            (Err(TryRecvError::Empty), Some(until_ns)) => {
                let left = Duration::from_nanos(until_ns.saturating_sub(now_ns));
                self.incoming.recv_timeout(left + GRACE)
            }
        };
        match incoming {
            // Ctrl-C at a terminal also ends the command of an Attester: the Attester is not to blame for its end.
            Ok(Incoming::Closed(..)) if self.is_stopped() => Incoming::Stopped,
            Ok(incoming) => incoming,
            Err(RecvTimeoutError::Timeout) => Incoming::Nothing(until_ns.unwrap_or(now_ns)),
            Err(RecvTimeoutError::Disconnected) => Incoming::Closed(self.now_ns(), None),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(Stop::is_asked)
    }
}
