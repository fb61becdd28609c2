//! The one task that drives all sessions.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use barrier::Barrier;
use protocol::bytes::{Fresh, Identity};
use protocol::cbor::Canonical;
use protocol::driver::{Need, Opener, VerifierDriver};
use protocol::frame::{Frame, MessageType};
use protocol::request::PlanRequest;
use protocol::verifier::Outgoing;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::debug;
use verifier::clock::Clock;

use crate::error::RunError;
use crate::folder::Folder;
use crate::ran::{Ran, Recorded};
use crate::reader::{self, Happened, Incoming};
use crate::settings::{Member, Settings};

/// Reads that may be queued over all connections; more stays in the connections.
const READS_AHEAD: usize = 4096;

/// How much later than it passes a deadline is enforced.
const GRACE: Duration = Duration::from_millis(250);

/// How often deadlines are checked.
const TICK: Duration = Duration::from_millis(20);

/// Runs a session on each of these connections concurrently, by this clock.
///
/// # Errors
///
/// [`RunError`] for local errors only; whatever an Attester does ends only its own session.
pub async fn run(connections: Vec<TcpStream>, clock: Clock, settings: &Settings) -> Result<Ran, RunError> {
    let (events, incoming) = mpsc::channel(READS_AHEAD);
    let verifier = Identity(settings.key.verifying_key().to_bytes());
    let mut ends = Vec::new();
    for (member, connection) in connections.into_iter().enumerate() {
        // Small messages are sent without delay. A connection that does not allow this is only slower.
        let _ = connection.set_nodelay(true);
        let (from, to) = connection.into_split();
        let (is_open, over) = oneshot::channel();
        tokio::spawn(reader::read_until(over, member, from, clock, events.clone()));
        ends.push(Some(End {
            driver: VerifierDriver::new(
                Opener::Request(PlanRequest {
                    session_id: session_id()?,
                    ..settings.request.clone()
                }),
                settings.hello_deadline_ms,
                None,
            ),
            began_ns: clock.now_ns(),
            to,
            _is_open: is_open,
            unsent: Vec::new(),
            was_sampled: false,
            waiting: Vec::new(),
        }));
    }
    drop(events);
    let run = Run {
        settings,
        clock,
        incoming,
        barrier: Barrier::new(0..ends.len()),
        ends,
        to_open: VecDeque::new(),
        opening: BTreeSet::new(),
        folder: Folder::new(settings.folder.clone()),
        ran: Ran {
            verifier,
            sessions: Vec::new(),
            release_skews_ns: Vec::new(),
        },
    };
    run.until_the_end().await
}

/// The Verifier's end of one session.
struct End {
    driver: VerifierDriver,
    began_ns: u64,
    to: OwnedWriteHalf,
    /// Dropped with the session, which stops reading its connection.
    _is_open: oneshot::Sender<()>,
    /// Bytes that the connection has not accepted yet.
    unsent: Vec<u8>,
    was_sampled: bool,
    /// Reads whose bytes wait for a release.
    waiting: Vec<OwnedSemaphorePermit>,
}

struct Run<'a> {
    settings: &'a Settings,
    clock: Clock,
    incoming: mpsc::Receiver<Incoming>,
    barrier: Barrier<Member>,
    /// Each session until it is recorded.
    ends: Vec<Option<End>>,
    /// Sessions that may be sent SAMPLE once others have opened theirs.
    to_open: VecDeque<Member>,
    /// Sessions that were sent SAMPLE and have not ended.
    opening: BTreeSet<Member>,
    folder: Folder,
    ran: Ran,
}

impl Run<'_> {
    async fn until_the_end(mut self) -> Result<Ran, RunError> {
        let mut next_look_ns = 0;
        while self.ran.sessions.len() < self.ends.len() {
            let event = tokio::time::timeout(TICK, self.incoming.recv()).await.ok().flatten();
            if let Some(event) = event {
                self.take(event)?;
                // Everything received is handled before deadlines are checked.
                while let Ok(event) = self.incoming.try_recv() {
                    self.take(event)?;
                }
            }
            let now_ns = self.clock.now_ns();
            if now_ns >= next_look_ns {
                self.look_at_deadlines()?;
                next_look_ns = now_ns + TICK.as_nanos() as u64;
            }
        }
        Ok(self.ran)
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), RunError> {
        let Incoming {
            member,
            at_ns,
            what,
            read,
        } = incoming;
        // Was read before its session was over.
        let Some(end) = &mut self.ends[member] else {
            return Ok(());
        };
        let local_ns = at_ns.saturating_sub(end.began_ns);
        match what {
            Happened::Came(bytes) => end.driver.received(local_ns, bytes),
            Happened::Closed(why) => end.driver.closed(local_ns, why.as_deref()),
        }
        if !end.driver.wants_bytes() {
            end.waiting.push(read);
        }
        self.moved(member)
    }

    /// A message received before a deadline has an earlier timestamp, but may still be queued: deadlines are enforced a
    /// little later. Messages received in between are late by their own timestamp.
    fn look_at_deadlines(&mut self) -> Result<(), RunError> {
        let now_ns = self.clock.now_ns().saturating_sub(GRACE.as_nanos() as u64);
        for member in 0..self.ends.len() {
            if let Some(end) = &mut self.ends[member] {
                end.send(&[]);
                end.driver.time(now_ns.saturating_sub(end.began_ns));
                if !matches!(end.driver.need(), Need::Bytes { .. } | Need::Release(_)) {
                    self.moved(member)?;
                }
            }
        }
        Ok(())
    }

    /// A session has progressed: it may be over, and others may have waited for it.
    fn moved(&mut self, member: Member) -> Result<(), RunError> {
        if let Some(end) = &self.ends[member] {
            let need = end.driver.need();
            self.barrier.update(member, need);
            if matches!(need, Need::Check | Need::Nothing) {
                self.record(member)?;
            }
        }
        while let Some(release) = self.barrier.release() {
            if release.outgoing == Outgoing::Sample {
                // Nothing is timed from here on: the sessions need not be asked at once.
                for member in release.members {
                    self.barrier.update(member, Need::Check);
                    self.to_open.push_back(member);
                }
                continue;
            }
            let first_ns = self.clock.now_ns();
            for &member in &release.members {
                self.release(member)?;
            }
            let skew_ns = self.clock.now_ns() - first_ns;
            debug!(outgoing = ?release.outgoing, members = release.members.len(), skew_ns, "released");
            if release.outgoing != Outgoing::Plan {
                self.ran.release_skews_ns.push((release.outgoing, skew_ns));
            }
        }
        self.open_more()
    }

    /// Sends SAMPLE to as many sessions as may open at a time.
    fn open_more(&mut self) -> Result<(), RunError> {
        while self.opening.len() < self.settings.opening_at_once.max(1) {
            let Some(member) = self.to_open.pop_front() else { break };
            // A session that has ended meanwhile opens nothing.
            if let Some(end) = &mut self.ends[member] {
                end.was_sampled = true;
                self.opening.insert(member);
                self.release(member)?;
            }
        }
        Ok(())
    }

    fn release(&mut self, member: Member) -> Result<(), RunError> {
        let fresh = fresh()?;
        let Some(end) = &mut self.ends[member] else {
            return Ok(());
        };
        let at_ns = self.clock.now_ns().saturating_sub(end.began_ns);
        if let Some(frame) = end.driver.release(at_ns, fresh) {
            end.send(&bytes_of(&frame));
        }
        if end.driver.wants_bytes() {
            end.waiting.clear();
        }
        let need = end.driver.need();
        self.barrier.update(member, need);
        if need == Need::Nothing {
            self.record(member)?;
        }
        Ok(())
    }

    /// Seals and writes the evidence of a session that is over, and frees the session.
    fn record(&mut self, member: Member) -> Result<(), RunError> {
        let Some(mut end) = self.ends[member].take() else {
            return Ok(());
        };
        let verdict = end.driver.session().verdict().cloned();
        let message = verifier::result_message(verdict.as_ref());
        end.send(&bytes_of(&Frame::new(MessageType::Result, message.to_bytes())));
        let (path, evidence) = self.folder.write(member, end.driver.session(), self.settings)?;
        self.opening.remove(&member);
        debug!(
            member,
            verdict = verdict.as_ref().map_or("none yet", |verdict| verdict.code()),
            "recorded"
        );
        self.ran.sessions.push(Recorded {
            member,
            path,
            evidence,
            began_ns: end.began_ns,
            was_sampled: end.was_sampled,
            verdict,
        });
        Ok(())
    }
}

impl End {
    /// Appends these bytes to the unsent ones and sends what the connection accepts at once, without blocking. The rest
    /// is retried whenever deadlines are checked.
    fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        if self.unsent.is_empty() {
            return;
        }
        // A closed connection is reported by its reader.
        let taken = self.to.try_write(&self.unsent).unwrap_or(0);
        drop(self.unsent.drain(..taken));
    }
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    [&frame.header()[..], &frame.payload].concat()
}

fn fresh() -> Result<Fresh, RunError> {
    let mut bytes = [0; 32];
    verifier::fill_random(&mut bytes).map_err(RunError::Randomness)?;
    Ok(Fresh(bytes))
}

fn session_id() -> Result<[u8; 16], RunError> {
    let mut bytes = [0; 16];
    verifier::fill_random(&mut bytes).map_err(RunError::Randomness)?;
    Ok(bytes)
}
