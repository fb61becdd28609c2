//! Reads a connection and stamps what comes, whatever else is going on.

use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc::Sender;
use verifier::clock::Clock;

use crate::Member;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// Something happened on a connection.
pub(crate) struct Incoming {
    pub(crate) member: Member,
    /// On the common clock (ns), once the last of what came had been read.
    pub(crate) at_ns: u64,
    pub(crate) what: Happened,
}

pub(crate) enum Happened {
    Came(Vec<u8>),
    /// The connection ended, and what the transport said of it.
    Closed(Option<String>),
}

/// Reads until the connection ends or nobody takes what comes.
pub(crate) async fn read(member: Member, mut from: OwnedReadHalf, clock: Clock, events: Sender<Incoming>) {
    loop {
        // Memory for a read is taken once there is something to read: most connections are silent most of the time.
        if let Err(error) = from.readable().await {
            let what = Happened::Closed(Some(error.to_string()));
            let at_ns = clock.now_ns();
            // Nobody listens any more once all sessions are over.
            let _ = events.send(Incoming { member, at_ns, what }).await;
            return;
        }
        let mut bytes = Vec::with_capacity(READ_BYTES);
        let read = from.read_buf(&mut bytes).await;
        let at_ns = clock.now_ns();
        let what = match read {
            Ok(0) => Happened::Closed(None),
            Ok(_) => Happened::Came(bytes),
            Err(error) => Happened::Closed(Some(error.to_string())),
        };
        let is_last = matches!(what, Happened::Closed(_));
        if events.send(Incoming { member, at_ns, what }).await.is_err() || is_last {
            return;
        }
    }
}
