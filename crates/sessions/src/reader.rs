//! Reads a connection and timestamps what it receives, independently of everything else.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, sink};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use verifier::clock::Clock;

use crate::settings::Member;

/// Bytes per read.
const READ_BYTES: usize = 16 << 10;

/// Reads of one connection that may be queued: a peer that sends more than its session consumes is not read, and takes
/// nothing from the others (the test `a_flood_while_others_are_waited_for_is_not_read`).
const READS_AHEAD: usize = 8;

/// How much is still read, and for how long, of a connection whose session is over: a connection closed with unread
/// bytes is reset, and its RESULT may be lost.
const LINGER_BYTES: u64 = 1 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// An event on a connection.
pub(crate) struct Incoming {
    pub(crate) member: Member,
    /// On the common clock (ns), taken when the last byte had been read.
    pub(crate) at_ns: u64,
    pub(crate) what: Happened,
    /// The permit of this read; dropped once its bytes are consumed.
    pub(crate) read: OwnedSemaphorePermit,
}

pub(crate) enum Happened {
    Came(Vec<u8>),
    /// The connection ended, with the transport's error if any.
    Closed(Option<String>),
}

/// Reads until the connection ends, the receiver is gone, or the session is `over` (its sender is dropped).
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
            // Whether the peer stopped in time does not matter here.
            let _ = timeout(LINGER, tokio::io::copy(&mut from.take(LINGER_BYTES), &mut sink())).await;
        }
    }
}

async fn read(member: Member, from: &mut OwnedReadHalf, clock: Clock, events: Sender<Incoming>) {
    let reads = Arc::new(Semaphore::new(READS_AHEAD));
    loop {
        let read = Arc::clone(&reads).acquire_owned().await.expect("it is never closed");
        // Memory for a read is allocated once there is something to read: most connections are idle most of the time.
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
        // There is no receiver once all sessions are over.
        if events.send(incoming).await.is_err() || is_last {
            return;
        }
    }
}
