//! One session over a pair of byte streams: threads around [`AttesterDriver`].

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use backend::Device;
use ed25519_dalek::SigningKey;
use engine_cpu::available_memory_bytes;

use protocol::attester::{Task, Violation};
use protocol::bytes::{DeviceOrdinal, Identity, Root};
use protocol::cbor::{Canonical, Label, sendable_text};
use protocol::driver::{Action, AttesterDriver, Done, Ended, LimitPassed, Limits};
use protocol::engine::{Dataset, EngineError};
use protocol::frame::{Frame, MessageType};
use protocol::limits::{MAX_LABELS, SUITE, VERSION};
use protocol::message::{Abort, AbortCode, Hello, ResultMessage};
use tracing::{debug, debug_span};
use transport::{FrameError, Stop, Until, write_frame_within};

use crate::attestation::{AttestationCommand, AttestationError, Attesting};
use crate::device::{Command, Worker};
use crate::host_memory::{self, HostMemoryError};
use crate::in_step::InStep;
use crate::outbox::Outbox;
use crate::telemetry;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Events that may wait to be taken: a Verifier that floods waits for its own bytes to be taken.
const EVENTS_AHEAD: usize = 64;

/// How long devices may take to end once the session is over. A launch on a GPU takes a third of a second; one that
/// never returns must not keep the host's process alive.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long the last frames have to be written once the session is over.
const SENT_WITHIN: Duration = Duration::from_secs(2);

/// Who attests, and with what.
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
    /// The system gives no pipe or thread for the session; this was reported to the Verifier.
    #[error(
        "no resources for a session: {0}; it takes a thread for each device and a few more: raise the limits of processes and \
         files (ulimit -u, ulimit -n, pids.max of the container), or offer fewer devices"
    )]
    Resources(io::Error),
}

enum Event {
    Bytes(Vec<u8>),
    /// Nothing more can be read: the end, or an error.
    Closed(Option<io::Error>),
    Unsendable(io::Error),
    Device(DeviceOrdinal, Result<Done, EngineError>),
    Attested(Result<Vec<u8>, AttestationError>),
}

/// Serves one session: HELLO to RESULT, over any pair of byte streams, within the Attester's limits. All threads are joined, but those of
/// devices whose driver does not come back.
///
/// # Errors
///
/// [`ServeError`]; reported to the Verifier where possible.
pub fn serve(
    attester: Attester,
    from: impl Read + AsFd + Send,
    to: impl Write + AsFd + Send + 'static,
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
    let uuids = hello.devices.iter().filter_map(|offer| {
        let uuid = offer.labels.iter().find(|label| label.name == "uuid")?;
        Some((offer.ordinal, uuid.value.clone()))
    });
    let uuids = uuids.collect();
    let (events, incoming) = sync_channel(EVENTS_AHEAD);
    let last = to.as_fd().try_clone_to_owned();
    let outbox = Outbox::start(to, {
        let events = events.clone();
        move |error| send(&events, Event::Unsendable(error))
    });
    let mut outbox = outbox.map_err(|error| {
        let error = ServeError::Resources(error);
        if let Ok(last) = last {
            refuse(File::from(last), AbortCode::Internal, &error);
        }
        error
    })?;
    // Before HELLO is queued, so that ABORT comes in its place.
    let without = |error: io::Error, outbox: &mut Outbox| {
        let error = ServeError::Resources(error);
        outbox.send(abort_frame(AbortCode::Internal, &error));
        outbox.end_within(SENT_WITHIN);
        error
    };
    let workers = devices.into_iter().map(|device| {
        let events = events.clone();
        Worker::start(device, move |ordinal, done| send(&events, Event::Device(ordinal, done)))
    });
    let started = workers.collect::<io::Result<Vec<_>>>();
    let (workers, is_over) = match started.and_then(|workers| Ok((workers, Stop::new()?))) {
        Ok(started) => started,
        Err(error) => return Err(without(error, &mut outbox)),
    };
    let mut served = Served {
        since: Instant::now(),
        driver: AttesterDriver::new(hello, key, limits, attestation.is_some(), None),
        events: events.clone(),
        workers,
        datasets: None,
        in_step: None,
        uuids,
        outbox,
        attestation,
        attesting: None,
        refused: None,
        failed: None,
        broken: None,
    };
    let from = Until::new(from, is_over.clone());
    let _span = debug_span!("session").entered();
    thread::scope(|scope| {
        let reader = thread::Builder::new().spawn_scoped(scope, move || read(from, &events));
        let served = match reader {
            Ok(_) => served.run(incoming),
            Err(error) => Err(without(error, &mut served.outbox)),
        };
        is_over.ask();
        served
    })
}

fn read(mut from: impl Read, events: &SyncSender<Event>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let event = match from.read(&mut buffer) {
            Ok(0) => Event::Closed(None),
            Ok(count) => Event::Bytes(buffer[..count].to_vec()),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => continue,
            Err(error) => Event::Closed(Some(error)),
        };
        let is_last = matches!(event, Event::Closed(_));
        if events.send(event).is_err() || is_last {
            return;
        }
    }
}

/// Tells a Verifier that waits for HELLO that none will come, and why; one that does not read is told nothing.
pub fn refuse(mut to: impl Write + AsFd, code: AbortCode, why: &dyn Display) {
    // If it cannot be sent, the Verifier sees the connection end.
    let _ = write_frame_within(&mut to, &abort_frame(code, why), SENT_WITHIN);
}

fn abort_frame(code: AbortCode, why: &dyn Display) -> Frame {
    let abort = Abort {
        code,
        device: None,
        message: sendable_text(&why.to_string()),
    };
    Frame::new(MessageType::Abort, abort.to_bytes())
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
    /// The clock of the session starts here.
    since: Instant,
    driver: AttesterDriver,
    events: SyncSender<Event>,
    workers: Vec<Worker>,
    /// Where the devices meet that exchange datasets.
    datasets: Option<Arc<InStep<Arc<dyn Dataset>>>>,
    /// Where the devices of the sweeps under way meet.
    in_step: Option<Arc<InStep<Root>>>,
    uuids: BTreeMap<DeviceOrdinal, String>,
    outbox: Outbox,
    attestation: Option<AttestationCommand>,
    /// The manufacturer's attestation, running since NONCE.
    attesting: Option<Attesting>,
    /// Why this host cannot do what the plan asks.
    refused: Option<HostMemoryError>,
    /// The device that could not do its work.
    failed: Option<(DeviceOrdinal, EngineError)>,
    /// How the connection broke.
    broken: Option<io::Error>,
}

impl Served {
    /// Handles events until the session is over. After that there is no receiver: a device's thread with something to
    /// report to a full queue must not block forever, because the session then waits for that thread (the test
    /// `a_flood_keeps_no_device`).
    fn run(&mut self, incoming: Receiver<Event>) -> Result<ResultMessage, ServeError> {
        loop {
            while let Some(action) = self.driver.next_action() {
                self.obey(action);
            }
            if let Some(outcome) = self.driver.outcome().cloned() {
                return outcome.map_err(|ended| self.why_over(ended, &incoming));
            }
            let now_ns = self.now_ns();
            let left = Duration::from_nanos(self.driver.until_ns(now_ns).saturating_sub(now_ns));
            match incoming.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.driver.closed(self.now_ns()),
                Ok(Event::Bytes(bytes)) => self.driver.received(self.now_ns(), bytes),
                Ok(Event::Closed(why)) => {
                    self.broken = why;
                    self.driver.closed(self.now_ns());
                }
                Ok(Event::Unsendable(error)) => return Err(ServeError::Send(error)),
                Ok(Event::Device(device, Ok(done))) => self.driver.done(self.now_ns(), device, done),
                Ok(Event::Device(device, Err(error))) => {
                    let uuid = self.uuids.get(&device).map(String::as_str);
                    self.driver.failed(device, uuid, &error);
                    self.failed = Some((device, error));
                }
                Ok(Event::Attested(outcome)) => self.end_attestation(outcome),
            }
            self.driver.time(self.now_ns());
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Send(frame) => {
                debug!(
                    frame = frame.message_type().map_or("unknown", MessageType::name),
                    bytes = frame.payload.len(),
                    "sent"
                );
                self.outbox.send(frame);
            }
            Action::Start(task) => self.start(task),
            Action::Attest(nonce) => {
                let Some(command) = self.attestation.take() else { return };
                let events = self.events.clone();
                match command.start(&nonce, move |outcome| send(&events, Event::Attested(outcome))) {
                    Ok(attesting) => self.attesting = Some(attesting),
                    Err(error) => {
                        tell(&error);
                        self.driver.attested(self.now_ns(), None);
                    }
                }
            }
            Action::AbandonAttestation => {
                self.attesting = None;
                tell(&AttestationError::TooSlow);
            }
            Action::Release => self.workers.iter_mut().for_each(Worker::release),
            // A Verifier that does not read would have them pile up here.
            Action::Progress if !self.outbox.is_empty() => {}
            Action::Progress => {
                let done = |worker: &Worker| (worker.ordinal, worker.meter.done_tiles.load(Ordering::Relaxed));
                if let Some(frame) = self.driver.progress(self.workers.iter().map(done)) {
                    self.outbox.send(frame);
                }
            }
        }
    }

    fn end_attestation(&mut self, outcome: Result<Vec<u8>, AttestationError>) {
        // One that was stopped has been told of.
        if self.attesting.take().is_none() {
            return;
        }
        let attestation = outcome.inspect_err(tell).ok();
        self.driver.attested(self.now_ns(), attestation);
    }

    /// Why the session is over. A write that failed by itself says more than the end of what came: that of a full disk, say. One that
    /// failed because nobody reads says the same.
    fn why_over(&mut self, ended: Ended, incoming: &Receiver<Event>) -> ServeError {
        let closed = match ended {
            Ended::Violation(violation) => return ServeError::Violation(violation),
            Ended::Limit(limit) => return ServeError::Limit(limit),
            Ended::Aborted(_) => {
                if let Some(error) = self.refused.take() {
                    return ServeError::HostMemory(error);
                }
                let (device, error) = self.failed.take().expect("an ABORT of this side's has a reason");
                let uuid = self.uuids.remove(&device);
                return ServeError::Engine { device, uuid, error };
            }
            Ended::Oversized {
                type_number,
                length_bytes,
                limit_bytes,
            } => FrameError::Oversized {
                type_number,
                length_bytes,
                limit_bytes,
            },
            Ended::Closed(begun) => match (self.broken.take(), begun) {
                (Some(error), _) => FrameError::Io(error),
                (None, Some((read, expected))) => FrameError::Truncated { read, expected },
                (None, None) => FrameError::Closed,
            },
        };
        self.outbox.end_within(SENT_WITHIN);
        let unsent = incoming.try_iter().find_map(|event| match event {
            Event::Unsendable(error) if error.kind() != io::ErrorKind::BrokenPipe => Some(error),
            _ => None,
        });
        unsent.map_or_else(|| closed.into(), ServeError::Send)
    }

    /// Sends a task to the devices of the plan.
    fn start(&mut self, task: Task) {
        match task {
            Task::Prepare(assignments) => {
                let plan = self.driver.plan().expect("preparing follows PLAN");
                if let Err(error) = host_memory::check(plan, available_memory_bytes()) {
                    self.driver.abort(Abort {
                        code: AbortCode::OutOfMemory,
                        device: None,
                        message: sendable_text(&error.to_string()),
                    });
                    self.refused = Some(error);
                    return;
                }
                let is_planned = |worker: &Worker| assignments.iter().any(|(g, _)| *g == worker.ordinal);
                self.workers.retain(is_planned);
                let has_rounds = plan.iterations().iter().any(|iteration| iteration.crossings > 0);
                let exchange = || Arc::new(InStep::new(assignments.iter().map(|(g, _)| *g)));
                self.datasets = has_rounds.then(exchange);
                let prepare = |(g, assignment)| {
                    let datasets = self.datasets.clone();
                    (g, Command::Prepare { assignment, datasets })
                };
                self.command(assignments.iter().copied().map(prepare));
            }
            Task::Fill(task) => self.command_all(|_| Command::Fill(task)),
            Task::Sweep { first_salts, sweeps } => {
                let in_step = Arc::new(InStep::new(first_salts.iter().map(|(g, _)| *g)));
                self.in_step = Some(Arc::clone(&in_step));
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
            Task::Cross(tasks) => self.command(tasks.into_iter().map(|(g, task)| (g, Command::Cross(task)))),
            Task::Open(sites) => {
                let plan = self.driver.plan().expect("SAMPLE follows PLAN");
                let telemetry_limit = telemetry::limit(plan.fields().deadlines.openings_ms);
                let mut leaves = BTreeMap::<DeviceOrdinal, Vec<_>>::new();
                for (sample, site) in sites.iter().enumerate() {
                    for (which, (g, commitment, leaf)) in site.openings().into_iter().enumerate() {
                        leaves.entry(g).or_default().push((sample, which, commitment, leaf));
                    }
                }
                for worker in &self.workers {
                    worker.send(Command::Open {
                        leaves: leaves.remove(&worker.ordinal).unwrap_or_default(),
                        telemetry_limit,
                    });
                }
            }
            Task::Wait | Task::Finish(_) => {}
        }
    }

    fn command_all(&self, command: impl Fn(DeviceOrdinal) -> Command) {
        for worker in &self.workers {
            worker.send(command(worker.ordinal));
        }
    }

    fn command(&self, commands: impl Iterator<Item = (DeviceOrdinal, Command)>) {
        for (ordinal, command) in commands {
            if let Some(worker) = self.workers.iter().find(|worker| worker.ordinal == ordinal) {
                worker.send(command);
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Cancel all at once, so that they end in parallel.
        self.workers.iter().for_each(Worker::cancel);
        if let Some(datasets) = &self.datasets {
            datasets.cancel();
        }
        if let Some(in_step) = &self.in_step {
            in_step.cancel();
        }
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

impl ServeError {
    /// The ABORT code for the error, where one was sent to the Verifier.
    #[must_use]
    pub fn abort_code(&self) -> Option<AbortCode> {
        match self {
            ServeError::Engine { device, error, .. } => Some(Abort::from_engine(*device, error).code),
            ServeError::HostMemory(_) => Some(AbortCode::OutOfMemory),
            ServeError::Limit(limit) => Some(limit.abort_code()),
            ServeError::Violation(violation) => Some(violation.to_abort().code),
            ServeError::Resources(_) => Some(AbortCode::Internal),
            ServeError::Connection(_) | ServeError::Send(_) => None,
        }
    }
}
