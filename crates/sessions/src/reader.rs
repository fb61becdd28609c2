//! Reads a connection and stamps what comes, whatever else is going on.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, sink};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use verifier::clock::Clock;

use crate::Member;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// Reads of one connection that may wait to be taken: a peer that sends more than its session takes is not read, and takes nothing
/// from the others (the test `a_flood_while_others_are_waited_for_is_not_read`).
const READS_AHEAD: usize = 8;

/// What is still read of a connection whose session is over, and for how long: a connection that is closed with bytes unread is reset,
/// and its RESULT may be lost with it.
const LINGER_BYTES: u64 = 1 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// Something happened on a connection.
pub(crate) struct Incoming {
    pub(crate) member: Member,
    /// On the common clock (ns), once the last of what came had been read.
    pub(crate) at_ns: u64,
    pub(crate) what: Happened,
    /// One of the reads that may wait; dropped once its bytes are taken.
    pub(crate) read: OwnedSemaphorePermit,
}

pub(crate) enum Happened {
    Came(Vec<u8>),
    /// The connection ended, and what the transport said of it.
    Closed(Option<String>),
}

/// Reads until the connection ends, nobody takes what comes, or the session is `over` (its sender is dropped).
pub(crate) async fn read_until(
    over: oneshot::Receiver<()>,
    member: Member,
    mut from: OwnedReadHalf,
    clock: Clock,
    events: Sender<Incoming>,
) {
    tokio::select! {
        () = read(member, &mut from, clock, events) => {}
        _ = over => {
            // Whether the other end stopped in time changes nothing here.
            let _ = timeout(LINGER, tokio::io::copy(&mut from.take(LINGER_BYTES), &mut sink())).await;
        }
    }
}

async fn read(member: Member, from: &mut OwnedReadHalf, clock: Clock, events: Sender<Incoming>) {
    let reads = Arc::new(Semaphore::new(READS_AHEAD));
    loop {
        let read = Arc::clone(&reads).acquire_owned().await.expect("it is never closed");
        // Memory for a read is taken once there is something to read: most connections are silent most of the time.
        let readable = from.readable().await;
        let mut bytes = Vec::with_capacity(READ_BYTES);
        let count = match readable {
            Ok(()) => from.read_buf(&mut bytes).await,
            Err(error) => Err(error),
        };
        let at_ns = clock.now_ns();
        let what = match count {
            Ok(0) => Happened::Closed(None),
            Ok(_) => Happened::Came(bytes),
            Err(error) => Happened::Closed(Some(error.to_string())),
        };
        let is_last = matches!(what, Happened::Closed(_));
        let incoming = Incoming {
            member,
            at_ns,
            what,
            read,
        };
        // Nobody listens any more once all sessions are over.
        if events.send(incoming).await.is_err() || is_last {
            return;
        }
    }
}
