//! Frames to be sent to the Verifier, written by a separate thread: a Verifier that does not read must not block the
//! session, its limits or its devices.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use protocol::frame::Frame;
use transport::write_frame;

/// The queue of frames to be sent, in order. It stays small whatever the Verifier does: PROGRESS is dropped while other
/// frames wait, and all other frames are replies to what the Verifier sent.
pub(crate) struct Outbox {
    /// `None` once no more frames are accepted.
    frames: Option<Sender<Frame>>,
    /// Frames queued and not yet written.
    waiting: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Outbox {
    /// Starts the writer thread; `failed` is called with the first write error, after which nothing more is written.
    pub(crate) fn start(mut to: impl Write + Send + 'static, failed: impl FnOnce(io::Error) + Send + 'static) -> Self {
        let (frames, incoming) = channel::<Frame>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let thread = thread::spawn(move || {
            for frame in incoming {
                if let Err(error) = write_frame(&mut to, &frame) {
                    return failed(error);
                }
                left.fetch_sub(1, Ordering::Release);
            }
        });
        Outbox {
            frames: Some(frames),
            waiting,
            thread,
        }
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

    /// Accepts no more frames and waits, for at most `limit`, until all are written or cannot be. A write that hangs is
    /// abandoned.
    pub(crate) fn end_within(&mut self, limit: Duration) {
        self.frames = None;
        let until = Instant::now() + limit;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use protocol::frame::MessageType;

    use super::*;

    /// Blocks every write until the test is over.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Returns an error once the test has ended.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frame() -> Frame {
        Frame::new(MessageType::Ready, vec![7])
    }

    #[test]
    fn frames_are_written_in_order_and_to_the_end() {
        let (mut read, write) = io::pipe().expect("a pipe");
        let mut outbox = Outbox::start(write, |error| panic!("{error}"));
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
        let (_holds, held) = channel();
        let mut stuck = Outbox::start(Stuck(held), |_| ());
        stuck.send(frame());
        stuck.end_within(Duration::from_millis(50));
        assert!(!stuck.is_empty());
        let (read, write) = io::pipe().expect("a pipe");
        drop(read);
        let (sender, failed) = channel();
        let mut gone = Outbox::start(write, move |error| sender.send(error.kind()).expect("the test listens"));
        gone.send(frame());
        assert_eq!(failed.recv(), Ok(io::ErrorKind::BrokenPipe));
        gone.end_within(Duration::from_secs(30));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
