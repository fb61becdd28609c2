//! Many concurrent sessions over an async runtime (spec §5.2): connections in, sealed evidence out. Nothing is
//! recomputed here: evidence can be verified at any time, by anyone.
//!
//! One task drives all sessions by one clock; one task per connection reads and timestamps. An open session needs its
//! driver and a read buffer; its OPENINGS is written to a file as soon as it has been received, and only a few sessions
//! are asked for it at a time.

mod folder;
mod reader;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use barrier::Barrier;
use ed25519_dalek::SigningKey;
use protocol::bounds::Assumptions;
use protocol::bytes::{Fresh, Identity};
use protocol::cbor::Canonical;
use protocol::driver::{Need, Opener, VerifierDriver};
use protocol::frame::{Frame, MessageType};
use protocol::joint::{EvidenceHash, JointMember, JointRecord};
use protocol::request::PlanRequest;
use protocol::verdict::Verdict;
use protocol::verifier::Outgoing;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::debug;
use verifier::clock::Clock;

use self::folder::Folder;
use self::reader::{Happened, Incoming};

/// The index of a session's connection, from 0.
pub type Member = usize;

/// Reads that may be queued over all connections; more stays in the connections.
const READS_AHEAD: usize = 4096;

/// How much later than it passes a deadline is enforced.
const GRACE: Duration = Duration::from_millis(250);

/// How often deadlines are checked.
const TICK: Duration = Duration::from_millis(20);

/// The requirements that all sessions share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The work: sessions certify something together only if all have the same iterations.
    pub request: PlanRequest,
    /// How long HELLO may take (ms).
    pub hello_deadline_ms: u64,
    /// The assumptions recorded in the evidence.
    pub assumptions: Assumptions,
    /// The Verifier's key, which seals the evidence.
    pub key: SigningKey,
    /// The folder for evidence: `0.cbor`, `1.cbor` and so on, by connection.
    pub folder: PathBuf,
    /// How many sessions are asked for OPENINGS at a time: these are held in memory until they are written.
    pub opening_at_once: usize,
}

/// A recorded session.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its connection.
    pub member: Member,
    /// Its evidence.
    pub path: PathBuf,
    /// The evidence's hash.
    pub evidence: EvidenceHash,
    /// When its clock was at 0, ns on the common clock.
    pub began_ns: u64,
    /// Whether SAMPLE was sent to it.
    pub was_sampled: bool,
    /// The verdict; `None` if tiles are still to be recomputed.
    pub verdict: Option<Verdict>,
}

/// Sessions that ran concurrently, in the order in which they ended.
#[derive(Clone, Debug)]
pub struct Ran {
    verifier: Identity,
    /// All of them.
    pub sessions: Vec<Recorded>,
    /// How long each release of a message took, from the first member to the last (ns), in order.
    pub release_skews_ns: Vec<(Outgoing, u64)>,
}

/// Why sessions could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Evidence could not be written.
    #[error("evidence {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// The system returned no randomness.
    #[error("no randomness: {0}")]
    Randomness(verifier::SessionError),
}

impl Ran {
    /// The record of the affirmed sessions, for which `is_affirmed` returns true after their tiles were recomputed.
    /// `None` if there are none.
    #[must_use]
    pub fn record(&self, is_affirmed: impl Fn(&Recorded) -> bool) -> Option<JointRecord> {
        let affirmed = self
            .sessions
            .iter()
            .filter(|one| one.verdict.is_none() && is_affirmed(one));
        let members = affirmed.map(|one| JointMember {
            evidence: one.evidence,
            began_ns: one.began_ns,
        });
        let sampled = self.sessions.iter().filter(|one| one.was_sampled).count();
        JointRecord::new(self.verifier, u32::try_from(sampled).ok()?, members.collect()).ok()
    }
}

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
