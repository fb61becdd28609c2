//! Frames to be sent to the Verifier, written by a separate thread: a Verifier that does not read must not block the
//! session, its limits or its devices.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use protocol::frame::Frame;
use transport::{Stop, Until, write_frame};

/// The queue of frames to be sent, in order. It stays small whatever the Verifier does: PROGRESS is dropped while other
/// frames wait, and all other frames are replies to what the Verifier sent.
pub(crate) struct Outbox {
    /// `None` once no more frames are accepted.
    frames: Option<Sender<Frame>>,
    /// Frames queued and not yet written.
    waiting: Arc<AtomicUsize>,
    stop: Stop,
    /// Nothing is sent: its other end is gone once all is written or cannot be.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Outbox {
    /// Starts to write; `failed` is called with the first write that does not succeed, after which nothing more is written.
    ///
    /// # Errors
    ///
    /// If the system gives no pipe or thread.
    pub(crate) fn start(
        to: impl Write + AsFd + Send + 'static,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Stop::new()?;
        let mut to = Until::new(to, stop.clone());
        let (frames, incoming) = channel::<Frame>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let (end, ended) = channel();
        let thread = thread::Builder::new().spawn(move || {
            let _end: Sender<()> = end;
            for frame in incoming {
                if let Err(error) = write_frame(&mut to, &frame) {
                    return failed(error);
                }
                left.fetch_sub(1, Ordering::Release);
            }
        })?;
        Ok(Outbox {
            frames: Some(frames),
            waiting,
            stop,
            ended,
            thread: Some(thread),
        })
    }

    /// Queues a frame; never blocks.
    pub(crate) fn send(&self, frame: Frame) {
        if let Some(frames) = &self.frames {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            // A writer thread that has ended has reported why.
            let _ = frames.send(frame);
        }
    }

    /// Whether everything has been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Takes no more, and waits until all is written or cannot be, `limit` at most: a Verifier that does not read is told nothing.
    pub(crate) fn end_within(&mut self, limit: Duration) {
        self.frames = None;
        // Nothing is ever sent: the other end is gone, or the time is over.
        let _ = self.ended.recv_timeout(limit);
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            // A panic has been printed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use protocol::frame::MessageType;

    use super::*;

    fn frame() -> Frame {
        Frame::new(MessageType::Ready, vec![7])
    }

    #[test]
    fn frames_are_written_in_order_and_to_the_end() {
        let (mut read, write) = io::pipe().expect("a pipe");
        let mut outbox = Outbox::start(write, |error| panic!("{error}")).expect("a thread");
        outbox.send(frame());
        outbox.send(Frame::new(MessageType::Ready, vec![8]));
        outbox.end_within(Duration::from_secs(30));
        assert!(outbox.is_empty());
        for expected in [7, 8] {
            let frame = transport::read_frame(&mut read, |_| 100).expect("a frame");
            assert_eq!(frame.payload[..], [expected]);
        }
    }

    #[test]
    fn a_reader_that_is_stuck_or_gone_holds_nothing_up() {
        let start = Instant::now();
        let (_unread, write) = io::pipe().expect("a pipe");
        let mut stuck = Outbox::start(write, |_| ()).expect("a thread");
        stuck.send(Frame::new(MessageType::Ready, vec![7; 1 << 20]));
        stuck.end_within(Duration::from_millis(50));
        assert!(!stuck.is_empty());
        let (read, write) = io::pipe().expect("a pipe");
        drop(read);
        let (sender, failed) = channel();
        let mut gone =
            Outbox::start(write, move |error| sender.send(error.kind()).expect("the test listens")).expect("a thread");
        gone.send(frame());
        assert_eq!(failed.recv(), Ok(io::ErrorKind::BrokenPipe));
        gone.end_within(Duration::from_secs(30));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
