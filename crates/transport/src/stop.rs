//! Reads and writes that another thread, or a signal, can end: there is no polling, and no thread is left blocked in a
//! stream whose other end does nothing.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Most bytes that are written at once: a pipe or socket that is ready takes as many without blocking (POSIX: `PIPE_BUF`).
pub(crate) const WRITE_BYTES: usize = 4096;

/// A request to stop, visible to code that checks it and to code that waits. It cannot be withdrawn.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    is_asked: Arc<AtomicBool>,
    /// Becomes readable once the stop is requested.
    readable: PipeReader,
    writer: PipeWriter,
}

impl Stop {
    /// A stop that is not requested yet.
    ///
    /// # Errors
    ///
    /// If the system provides no pipe.
    pub fn new() -> io::Result<Self> {
        let (readable, writer) = io::pipe()?;
        Ok(Stop(Arc::new(Inner {
            is_asked: Arc::default(),
            readable,
            writer,
        })))
    }

    /// Requests the stop.
    pub fn ask(&self) {
        // The first byte is enough, and more might block.
        if !self.0.is_asked.swap(true, Ordering::AcqRel) {
            // This end holds the other one open.
            let _ = (&self.0.writer).write(&[0]);
        }
    }

    /// Whether the stop is requested.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::Acquire)
    }

    /// The flag that a signal handler sets, and the descriptor that it then writes a byte to: a handler may do both, but
    /// may not call [`Self::ask`].
    ///
    /// # Errors
    ///
    /// If the system provides no more file descriptors.
    pub fn for_signals(&self) -> io::Result<(Arc<AtomicBool>, OwnedFd)> {
        let writer = self.0.writer.try_clone()?;
        Ok((Arc::clone(&self.0.is_asked), writer.into()))
    }
}

/// What a thread waits for on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Reading,
    Writing,
}

/// The event that came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The stream: there are bytes, or it has ended.
    Ready,
    /// The stop at this index is requested.
    Stopped(usize),
}

/// Waits until `stream` can be read, or one of `stops` is requested; a stop takes precedence if both are the case.
///
/// # Errors
///
/// Those of the system's `poll`.
pub fn wait_to_read(stream: impl AsFd, stops: &[&Stop]) -> io::Result<Woken> {
    wait(stream.as_fd(), For::Reading, stops, None)
}

/// Waits until `stream` takes bytes, `limit` at most.
pub(crate) fn wait_to_write(stream: impl AsFd, limit: Duration) -> io::Result<()> {
    let until = Instant::now() + limit;
    loop {
        let left = left(until)?;
        match poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is left until then, for `poll`.
fn left(until: Instant) -> io::Result<Timespec> {
    Timespec::try_from(until.saturating_duration_since(Instant::now()))
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn wait(stream: BorrowedFd<'_>, awaited: For, stops: &[&Stop], deadline: Option<Instant>) -> io::Result<Woken> {
    let flags = match awaited {
        For::Reading => PollFlags::IN,
        For::Writing => PollFlags::OUT,
    };
    let stopped = stops
        .iter()
        .map(|stop| PollFd::from_borrowed_fd(stop.0.readable.as_fd(), PollFlags::IN));
    let mut waits: Vec<PollFd<'_>> = stopped.chain([PollFd::from_borrowed_fd(stream, flags)]).collect();
    loop {
        let left = deadline.map(left).transpose()?;
        match poll(&mut waits, left.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        // This includes ends and errors: the following read or write reports them.
        match waits.iter().position(|wait| !wait.revents().is_empty()) {
            Some(place) if place < stops.len() => return Ok(Woken::Stopped(place)),
            Some(_) => return Ok(Woken::Ready),
            None => {}
        }
    }
}

/// A stream whose reads and writes end with [`io::ErrorKind::ConnectionAborted`] once a stop is requested, and with
/// [`io::ErrorKind::TimedOut`] after a deadline, if one is set.
#[derive(Debug)]
pub struct Until<S> {
    stream: S,
    stop: Stop,
    deadline: Option<Instant>,
}

impl<S: AsFd> Until<S> {
    /// This stream, until `stop` is requested.
    pub fn new(stream: S, stop: Stop) -> Self {
        Until {
            stream,
            stop,
            deadline: None,
        }
    }

    /// From now on nothing is read or written after `deadline`.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    fn wait(&self, awaited: For) -> io::Result<()> {
        match wait(self.stream.as_fd(), awaited, &[&self.stop], self.deadline)? {
            Woken::Ready => Ok(()),
            Woken::Stopped(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl<S: AsFd + Read> Read for Until<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(For::Reading)?;
        self.stream.read(buffer)
    }
}

impl<S: AsFd + Write> Write for Until<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(For::Writing)?;
        self.stream.write(&bytes[..bytes.len().min(WRITE_BYTES)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use protocol::frame::{Frame, MessageType};

    use super::*;

    /// Reads and writes of a stream whose other end does nothing, ended from another thread.
    fn is_ended(stream: impl AsFd + Read + Send, other: impl AsFd + Write + Send) {
        let stop = Stop::new().expect("a pipe");
        let mut reads = Until::new(stream, stop.clone());
        let mut writes = Until::new(other, stop.clone());
        thread::scope(|scope| {
            let read = scope.spawn(move || reads.read(&mut [0; 16]).map_err(|error| error.kind()));
            let write = scope.spawn(move || writes.write_all(&vec![0; 64 << 20]).map_err(|error| error.kind()));
            assert!(!stop.is_asked());
            stop.ask();
            stop.ask();
            assert!(stop.is_asked());
            assert_eq!(read.join().expect("no panic"), Err(io::ErrorKind::ConnectionAborted));
            assert_eq!(write.join().expect("no panic"), Err(io::ErrorKind::ConnectionAborted));
        });
    }

    #[test]
    fn pipes_are_ended() {
        let (from, _silent) = io::pipe().expect("a pipe");
        let (_unread, to) = io::pipe().expect("a pipe");
        is_ended(from, to);
    }

    #[test]
    fn sockets_are_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let from = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (_other, _) = listener.accept().expect("a connection");
        is_ended(from.try_clone().expect("a socket"), from);
    }

    #[test]
    fn a_deadline_ends_reads_and_writes() {
        let (from, _silent) = io::pipe().expect("a pipe");
        let (_unread, to) = io::pipe().expect("a pipe");
        let stop = Stop::new().expect("a pipe");
        let (mut from, mut to) = (Until::new(from, stop.clone()), Until::new(to, stop));
        let deadline = Instant::now() + Duration::from_millis(50);
        from.set_deadline(deadline);
        to.set_deadline(deadline);
        let read = from.read(&mut [0; 16]).expect_err("silent");
        assert_eq!(read.kind(), io::ErrorKind::TimedOut);
        let written = to.write_all(&vec![0; 64 << 20]).expect_err("unread");
        assert_eq!(written.kind(), io::ErrorKind::TimedOut);
        assert!(Instant::now() >= deadline);
    }

    #[test]
    fn what_is_there_is_read_and_written_whole() {
        let stop = Stop::new().expect("a pipe");
        let (from, to) = io::pipe().expect("a pipe");
        let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let (mut from, mut to) = (Until::new(from, stop.clone()), Until::new(to, stop));
        let read = thread::scope(|scope| {
            scope.spawn(|| {
                to.write_all(&bytes).expect("all is read");
                drop(to);
            });
            let mut read = Vec::new();
            from.read_to_end(&mut read).expect("all is written");
            read
        });
        assert!(read == bytes);
    }

    #[test]
    fn a_stop_comes_before_what_can_be_read() {
        let (first, second) = (Stop::new().expect("a pipe"), Stop::new().expect("a pipe"));
        let (from, mut to) = io::pipe().expect("a pipe");
        to.write_all(&[1]).expect("there is room");
        assert_eq!(wait_to_read(&from, &[&first, &second]).expect("poll"), Woken::Ready);
        second.ask();
        assert_eq!(
            wait_to_read(&from, &[&first, &second]).expect("poll"),
            Woken::Stopped(1)
        );
    }

    #[test]
    fn a_last_frame_is_written_where_it_is_taken() {
        let frame = Frame::new(MessageType::Abort, vec![7; 20]);
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        crate::write_frame_within(&mut writer, &frame, Duration::from_secs(60)).expect("a write");
        let read = crate::read_frame(&mut reader, |_| 100).expect("a frame");
        assert_eq!(read.payload, frame.payload);
        // A pipe that is full, and stays so.
        let mut filling = Until::new(writer.try_clone().expect("a pipe"), Stop::new().expect("a pipe"));
        while wait_to_write(&writer, Duration::ZERO).is_ok() {
            filling.write_all(&[0; WRITE_BYTES]).expect("it is ready");
        }
        let refused = crate::write_frame_within(&mut writer, &frame, Duration::from_millis(20));
        assert_eq!(refused.expect_err("full").kind(), io::ErrorKind::TimedOut);
        let long = Frame::new(MessageType::Abort, vec![7; WRITE_BYTES]);
        let refused = crate::write_frame_within(&mut writer, &long, Duration::ZERO);
        assert_eq!(refused.expect_err("long").kind(), io::ErrorKind::InvalidInput);
    }
}
