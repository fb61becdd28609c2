//! One session over a pair of byte streams.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use engine_cpu::available_memory_bytes;
use engines::Device;

use protocol::attester::{AttesterSession, Task, Violation};
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::cbor::{Canonical, Label, sendable_text};
use protocol::commitment::Opening;
use protocol::engine::EngineError;
use protocol::frame::{Frame, MessageType};
use protocol::limits::{MAX_LABELS, SUITE, VERSION};
use protocol::message::{Abort, AbortCode, DeviceProgress, Hello, NonceMessage, ProgressMessage, ResultMessage};
use protocol::plan::Plan;
use transport::{FrameError, read_frame};

use crate::attestation::{ATTESTATION_WITHIN, AttestationCommand, AttestationError, Attesting};
use crate::device::{Command, Done, Worker};
use crate::host_memory::{self, HostMemoryError};
use crate::in_step::InStep;
use crate::limits::{LimitPassed, Limits, Watchdog};
use crate::outbox::Outbox;
use crate::telemetry;

/// How often PROGRESS is sent: it keeps the connection alive and shows users that the work proceeds.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// How long devices may take to end once the session is over. A launch on a GPU takes a third of a second; one that
/// never returns must not keep the host's process alive.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long the last frames may take to be written once the session is over: a Verifier that does not read will miss
/// them.
const SENT_WITHIN: Duration = Duration::from_secs(2);

/// How often to check for the manufacturer's attestation while the openings wait for it.
const ATTESTED_EVERY: Duration = Duration::from_millis(10);

/// The attesting host: its software, devices, identity and limits.
pub struct Attester {
    /// Name and version of the software.
    pub software: String,
    /// What HELLO reports about the host.
    pub labels: Vec<Label>,
    /// The devices, ordinals strictly ascending.
    pub devices: Vec<Device>,
    /// The identity that signs OPENINGS.
    pub key: SigningKey,
    /// The command that requests an attestation from the hardware's manufacturer, run during the work once the nonce is
    /// known.
    pub attestation: Option<AttestationCommand>,
    /// The limits for a Verifier.
    pub limits: Limits,
}

/// Why a session ended without RESULT.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A device could not do its work; this was reported to the Verifier.
    #[error("device {device}{}: {error}", in_brackets(uuid.as_deref()))]
    Engine {
        /// The device.
        device: DeviceOrdinal,
        /// Its UUID, where it has one.
        uuid: Option<String>,
        /// The error.
        error: EngineError,
    },
    /// The host has too little memory for the plan; this was reported to the Verifier.
    #[error("out of memory: {0}")]
    HostMemory(HostMemoryError),
    /// The Verifier exceeded a limit of time or work; this was reported to the Verifier.
    #[error(transparent)]
    Limit(LimitPassed),
    /// The Verifier violated the protocol; this was reported to it.
    #[error("the Verifier broke the protocol: {0}")]
    Violation(Violation),
    /// The connection was closed or failed.
    #[error(transparent)]
    Connection(#[from] FrameError),
    /// Nothing could be sent.
    #[error("could not send: {0}")]
    Send(io::Error),
}

impl From<Violation> for ServeError {
    fn from(violation: Violation) -> Self {
        ServeError::Violation(violation)
    }
}

enum Event {
    Frame(Frame),
    Unreadable(FrameError),
    Unsendable(io::Error),
    Device(DeviceOrdinal, Result<Done, EngineError>),
}

/// Serves one session, HELLO to RESULT, over any pair of byte streams, within the Attester's limits. Threads that read
/// and write are abandoned if the streams block; they end with the process.
///
/// # Errors
///
/// [`ServeError`]; reported to the Verifier where possible.
pub fn serve(
    attester: Attester,
    mut from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
) -> Result<ResultMessage, ServeError> {
    let Attester {
        software,
        labels,
        devices,
        key,
        attestation,
        limits,
    } = attester;
    let hello = Hello {
        versions: vec![VERSION],
        suites: vec![SUITE],
        identity: Identity(key.verifying_key().to_bytes()),
        software: sendable_text(&software),
        labels: labels.into_iter().take(MAX_LABELS).collect(),
        devices: devices.iter().map(|device| device.offer.clone()).collect(),
    };
    // Bounded: a Verifier that floods the connection blocks on its own unread messages.
    let (events, incoming) = sync_channel(64);
    let workers = devices
        .into_iter()
        .map(|device| {
            let events = events.clone();
            Worker::start(device, move |ordinal, done| send(&events, Event::Device(ordinal, done)))
        })
        .collect();
    let outbox = Outbox::start(to, {
        let events = events.clone();
        move |error| send(&events, Event::Unsendable(error))
    });
    thread::spawn(move || {
        loop {
            match read_frame(&mut from, AttesterSession::max_payload_bytes) {
                Ok(frame) => send(&events, Event::Frame(frame)),
                Err(error) => return send(&events, Event::Unreadable(error)),
            }
        }
    });
    let uuids = hello.devices.iter().filter_map(|offer| {
        let uuid = offer.labels.iter().find(|label| label.name == "uuid")?;
        Some((offer.ordinal, uuid.value.clone()))
    });
    let uuids = uuids.collect();
    let (session, hello) = AttesterSession::new(hello);
    let mut served = Served {
        session,
        workers,
        uuids,
        key,
        outbox,
        watchdog: Watchdog::start(limits),
        openings: Vec::new(),
        labels: BTreeMap::new(),
        pending: 0,
        attestation,
        attesting: None,
        opening_since: None,
    };
    served.outbox.send(hello);
    served.run(incoming)
}

/// As many labels of each device as fit for all devices, in device order.
fn fair_share(labels: BTreeMap<DeviceOrdinal, Vec<Label>>) -> Vec<Label> {
    let each = MAX_LABELS / labels.len().max(1);
    let kept = labels.into_values().flat_map(|labels| labels.into_iter().take(each));
    kept.collect()
}

fn in_brackets(uuid: Option<&str>) -> String {
    uuid.map(|uuid| format!(" ({uuid})")).unwrap_or_default()
}

/// Prints a notice on standard error; the session continues without an attestation.
fn tell(error: &AttestationError) {
    // If standard error fails, there is nowhere else to report it.
    let _ = writeln!(io::stderr(), "no attestation is carried: {error}");
}

fn send(events: &SyncSender<Event>, event: Event) {
    // There is no receiver once the session is over.
    let _ = events.send(event);
}

struct Served {
    session: AttesterSession,
    workers: Vec<Worker>,
    uuids: BTreeMap<DeviceOrdinal, String>,
    key: SigningKey,
    outbox: Outbox,
    watchdog: Watchdog,
    openings: Vec<Option<[Opening; 3]>>,
    /// What was observed of each device.
    labels: BTreeMap<DeviceOrdinal, Vec<Label>>,
    /// Devices that have not finished their current task.
    pending: usize,
    attestation: Option<AttestationCommand>,
    /// The manufacturer's attestation, running since NONCE.
    attesting: Option<Attesting>,
    /// When SAMPLE was received, until it is answered.
    opening_since: Option<Instant>,
}

impl Served {
    /// Handles events until the session is over. After that there is no receiver: a device's thread with something to
    /// report to a full queue must not block forever, because the session then waits for that thread (the test
    /// `a_flood_keeps_no_device`).
    fn run(&mut self, incoming: Receiver<Event>) -> Result<ResultMessage, ServeError> {
        let mut has_come = false;
        loop {
            self.watchdog.note(self.session.due(), has_come);
            let is_opening = self.opening_since.is_some();
            let left = self.watchdog.left(is_opening).map_err(|limit| self.stop(limit))?;
            let every = if self.send_openings() {
                ATTESTED_EVERY
            } else {
                PROGRESS_EVERY
            };
            let event = match incoming.recv_timeout(every.min(left)) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    has_come = false;
                    self.send_progress();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Err(FrameError::Closed.into()),
            };
            has_come = matches!(event, Event::Frame(_));
            match event {
                Event::Unreadable(error) => return Err(self.why_over(error, &incoming)),
                Event::Unsendable(error) => return Err(ServeError::Send(error)),
                Event::Device(ordinal, Ok(done)) => self.take(ordinal, done)?,
                Event::Device(device, Err(error)) => {
                    let uuid = self.uuids.remove(&device);
                    let mut abort = Abort::from_engine(device, &error);
                    // An ordinal is local to the process; the UUID identifies the card.
                    abort.message = sendable_text(&format!("{error}{}", in_brackets(uuid.as_deref())));
                    self.abort(&abort);
                    return Err(ServeError::Engine { device, uuid, error });
                }
                Event::Frame(frame) => {
                    let task = self.session.received(&frame).inspect_err(|violation| {
                        // The caller receives the error itself.
                        let abort = self.session.abort(&violation.to_abort());
                        self.outbox.send(abort);
                    });
                    let task = task?;
                    if let Task::Finish(result) = task {
                        return Ok(result);
                    }
                    if let Task::Prepare(_) = task {
                        self.check_plan()?;
                    }
                    self.start(task);
                    // After the devices: their window has begun.
                    if frame.message_type() == Some(MessageType::Nonce) {
                        self.begin_attestation(&frame);
                    }
                }
            }
        }
    }

    /// Why the session is over once nothing more can be read. A write that failed on its own (a full disk, for example)
    /// says more than the end of the input. A write that failed because the peer does not read says the same.
    fn why_over(&mut self, error: FrameError, incoming: &Receiver<Event>) -> ServeError {
        self.outbox.end_within(SENT_WITHIN);
        let unsent = incoming.try_iter().find_map(|event| match event {
            Event::Unsendable(error) if error.kind() != io::ErrorKind::BrokenPipe => Some(error),
            _ => None,
        });
        unsent.map_or_else(|| error.into(), ServeError::Send)
    }

    /// Reports to the Verifier that a limit was exceeded; dropping the session then frees its devices.
    fn stop(&mut self, limit: LimitPassed) -> ServeError {
        let device = match limit {
            LimitPassed::Work { device, .. } => Some(device),
            LimitPassed::Idle { .. } | LimitPassed::Session { .. } => None,
        };
        self.abort(&Abort {
            code: limit.abort_code(),
            device,
            message: sendable_text(&limit.to_string()),
        });
        ServeError::Limit(limit)
    }

    /// Before any device allocates memory: the plan determines how much it needs.
    fn check_plan(&mut self) -> Result<(), ServeError> {
        let plan = self.session.plan().expect("preparing follows PLAN");
        if let Err(limit) = self.watchdog.check_work(plan) {
            return Err(self.stop(limit));
        }
        self.check_host_memory()
    }

    /// Compares what all devices keep in host memory with what is available.
    fn check_host_memory(&mut self) -> Result<(), ServeError> {
        let plan = self.session.plan().expect("preparing follows PLAN");
        host_memory::check(plan, available_memory_bytes()).map_err(|error| {
            self.abort(&Abort {
                code: AbortCode::OutOfMemory,
                device: None,
                message: sendable_text(&error.to_string()),
            });
            ServeError::HostMemory(error)
        })
    }

    /// Sends a task to the devices of the plan.
    fn start(&mut self, task: Task) {
        match task {
            Task::Prepare(assignments) => {
                let is_planned = |worker: &Worker| assignments.iter().any(|(g, _)| *g == worker.ordinal);
                self.workers.retain(is_planned);
                self.command(assignments.into_iter().map(|(g, a)| (g, Command::Prepare(a))));
            }
            Task::Fill(task) => {
                let ordinals: Vec<_> = self.workers.iter().map(|worker| worker.ordinal).collect();
                self.command(ordinals.into_iter().map(|g| (g, Command::Fill(task))));
            }
            Task::Sweep { first_salts, sweeps } => {
                let in_step = Arc::new(InStep::new(first_salts.iter().map(|(g, _)| *g)));
                let sweep = |(g, first_salt)| {
                    let in_step = Arc::clone(&in_step);
                    let sweep = Command::Sweep {
                        first_salt,
                        sweeps,
                        in_step,
                    };
                    (g, sweep)
                };
                self.command(first_salts.into_iter().map(sweep));
            }
            Task::Open(sites) => {
                self.opening_since = Some(Instant::now());
                self.openings = vec![None; sites.len()];
                let telemetry_limit = telemetry::limit(self.openings_ms());
                let ordinals: Vec<_> = self.workers.iter().map(|worker| worker.ordinal).collect();
                self.command(ordinals.into_iter().map(|g| {
                    let own = sites.iter().enumerate().filter(|(_, site)| site.sample.device == g);
                    let sites = own.map(|(i, site)| (i, site.clone())).collect();
                    (g, Command::Open { sites, telemetry_limit })
                }));
            }
            Task::Wait | Task::Finish(_) => {}
        }
    }

    fn command(&mut self, commands: impl Iterator<Item = (DeviceOrdinal, Command)>) {
        for (ordinal, command) in commands {
            if let Some(worker) = self.workers.iter().find(|worker| worker.ordinal == ordinal) {
                self.pending += 1;
                worker.send(command);
            }
        }
    }

    /// Handles what a device has finished and reports it to the Verifier.
    fn take(&mut self, ordinal: DeviceOrdinal, done: Done) -> Result<(), ServeError> {
        self.pending -= 1;
        let frame = match done {
            Done::Prepared if self.pending == 0 => self.session.ready(),
            Done::Prepared => return Ok(()),
            Done::Filled(root) => self.session.filled(ordinal, root).map_err(Violation::from)?,
            Done::Swept(roots) => self.session.swept(ordinal, roots).map_err(Violation::from)?,
            Done::Opened(openings, labels) => {
                for (position, opening) in openings {
                    self.openings[position] = Some(opening);
                }
                self.labels.insert(ordinal, labels);
                // The next iteration of the loop sends them.
                return Ok(());
            }
        };
        self.outbox.send(frame);
        Ok(())
    }

    /// Sends OPENINGS once all devices have opened and the manufacturer's attestation is available or too late. Returns
    /// whether they still wait for it.
    fn send_openings(&mut self) -> bool {
        let Some(since) = self.opening_since.filter(|_| self.pending == 0) else {
            return false;
        };
        if !self.end_attestation(since) {
            return true;
        }
        self.opening_since = None;
        let openings = self.openings.drain(..).flatten().collect();
        let labels = fair_share(std::mem::take(&mut self.labels));
        let frame = self.session.openings(openings, labels, &self.key, None);
        self.outbox.send(frame);
        // The devices have no more work: a Verifier that takes its time to decide must not hold them.
        self.workers.iter_mut().for_each(Worker::release);
        false
    }

    fn begin_attestation(&mut self, nonce: &Frame) {
        let Some(command) = self.attestation.take() else { return };
        let Ok(NonceMessage(nonce)) = NonceMessage::from_bytes(&nonce.payload) else {
            return;
        };
        match command.start(&nonce) {
            Ok(attesting) => self.attesting = Some(attesting),
            Err(error) => tell(&error),
        }
    }

    /// Takes the manufacturer's attestation if it arrives in time: within half of the time allowed for the openings,
    /// and within the limit for an attestation. A session without it is equally valid; openings that are late are a
    /// failure. Returns whether the wait is over.
    fn end_attestation(&mut self, opening_since: Instant) -> bool {
        let Some(attesting) = &self.attesting else { return true };
        let limit = ATTESTATION_WITHIN.min(Duration::from_millis(self.openings_ms() / 2));
        let Some(outcome) = attesting.outcome(opening_since.elapsed() >= limit) else {
            return false;
        };
        self.attesting = None;
        match outcome {
            Ok(attestation) => self.session.carry_attestation(attestation),
            Err(error) => tell(&error),
        }
        true
    }

    fn openings_ms(&self) -> u64 {
        let plan = self.session.plan();
        plan.map_or(0, |plan| plan.fields().deadlines.openings_ms)
    }

    fn send_progress(&mut self) {
        let Some(plan) = self.session.plan() else { return };
        // With a Verifier that does not read, these frames would pile up.
        if self.pending == 0 || !self.outbox.is_empty() {
            return;
        }
        let devices = self
            .workers
            .iter()
            .filter_map(|worker| {
                Some(DeviceProgress {
                    device: worker.ordinal,
                    done_tiles: worker.meter.done_tiles.load(Ordering::Relaxed),
                    total_tiles: total_tiles(plan, worker.ordinal)?,
                })
            })
            .collect();
        let progress = ProgressMessage { devices };
        self.outbox.send(Frame::new(MessageType::Progress, progress.to_bytes()));
    }

    fn abort(&mut self, abort: &Abort) {
        let frame = self.session.abort(abort);
        self.outbox.send(frame);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Cancel all at once, so that they end in parallel.
        self.workers.iter().for_each(Worker::cancel);
        let until = Instant::now() + END_WITHIN;
        for worker in self.workers.drain(..) {
            let ordinal = worker.ordinal;
            if !worker.end_until(until) {
                // If standard error fails, there is nowhere else to report it.
                let _ = writeln!(
                    io::stderr(),
                    "device {ordinal} did not end within {END_WITHIN:?} and is left behind"
                );
            }
        }
        self.outbox.end_within(SENT_WITHIN);
    }
}

/// Tiles that a device fills and sweeps in the whole session.
fn total_tiles(plan: &Plan, ordinal: DeviceOrdinal) -> Option<u64> {
    let device = plan.devices().iter().find(|device| device.ordinal == ordinal)?;
    let passes: u64 = plan.iterations().iter().map(|i| 1 + u64::from(i.sweeps)).sum();
    Some(passes * u64::from(plan.assignment(device).tiles()))
}

impl ServeError {
    /// The ABORT code for the error, where one was sent to the Verifier.
    #[must_use]
    pub fn abort_code(&self) -> Option<AbortCode> {
        match self {
            ServeError::Engine { device, error, .. } => Some(Abort::from_engine(*device, error).code),
            ServeError::HostMemory(_) => Some(AbortCode::OutOfMemory),
            ServeError::Limit(limit) => Some(limit.abort_code()),
            ServeError::Violation(violation) => Some(violation.to_abort().code),
            ServeError::Connection(_) | ServeError::Send(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_keeps_its_first_labels() {
        let labels = |devices: u32| {
            let of_device = |g| {
                (
                    DeviceOrdinal(g),
                    (0..8).map(|i| Label::new(&format!("{g} {i}"), "")).collect(),
                )
            };
            fair_share((0..devices).map(of_device).collect())
        };
        assert_eq!(labels(8).len(), 64);
        let of_sixteen = labels(16);
        assert_eq!(of_sixteen.len(), 64);
        assert_eq!(
            (of_sixteen[3].name.as_str(), of_sixteen[4].name.as_str()),
            ("0 3", "1 0")
        );
        assert!(labels(0).is_empty());
    }
}
