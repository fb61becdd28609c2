//! The thread that drives one device of this host.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use backend::{Device, panic_message};
use protocol::bytes::{DeviceOrdinal, Root, Salt};
use protocol::cbor::Label;
use protocol::derive::next_sweep_salt;
use protocol::driver::Done;
use protocol::engine::{Assignment, CommitmentId, CrossTask, Dataset, EngineError, FillTask, LinkPath, Progress};
use tracing::debug_span;

use crate::in_step::InStep;
use crate::telemetry::Watch;

/// A task for a device's thread.
pub(crate) enum Command {
    Prepare {
        assignment: Assignment,
        /// Where the datasets of all devices are exchanged, if the plan has rounds.
        datasets: Option<Arc<InStep<Arc<dyn Dataset>>>>,
    },
    Fill(FillTask),
    Sweep {
        first_salt: Salt,
        sweeps: u32,
        /// Where the roots of all devices are exchanged after each sweep.
        in_step: Arc<InStep<Root>>,
    },
    Cross(CrossTask),
    Open {
        /// The sample's position among all samples, which of its openings, and the leaf.
        leaves: Vec<(usize, usize, CommitmentId, u32)>,
        /// How long the telemetry labels may take.
        telemetry_limit: Duration,
    },
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Prepare { .. } => "prepare",
            Command::Fill(_) => "fill",
            Command::Sweep { .. } => "sweep",
            Command::Cross(_) => "cross",
            Command::Open { .. } => "open",
        }
    }
}

/// A device's thread. It ends by itself once this is dropped and its work is done.
pub(crate) struct Worker {
    pub(crate) ordinal: DeviceOrdinal,
    pub(crate) meter: Arc<Meter>,
    /// `None` once the device gets no more tasks.
    commands: Option<Sender<Command>>,
    thread: JoinHandle<()>,
    /// Nothing is sent: its other end is gone once the thread has ended.
    ended: Receiver<()>,
}

/// The state of a device.
#[derive(Default)]
pub(crate) struct Meter {
    pub(crate) done_tiles: AtomicU64,
    is_cancelled: AtomicBool,
}

impl Progress for Meter {
    fn advance(&self, tiles: u64) {
        self.done_tiles.fetch_add(tiles, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

impl Worker {
    /// Starts the device's thread; `report` is called for every finished task, and with an error for a panic.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub(crate) fn start(
        mut device: Device,
        report: impl Fn(DeviceOrdinal, Result<Done, EngineError>) + Send + 'static,
    ) -> io::Result<Self> {
        let ordinal = device.offer.ordinal;
        let meter = Arc::new(Meter::default());
        let (commands, incoming) = channel();
        let (end, ended) = channel();
        let thread = thread::Builder::new().spawn({
            let meter = Arc::clone(&meter);
            move || {
                // Dropped after the device and its memory.
                let _end = end;
                work(&mut device, ordinal, &meter, &incoming, &report);
                drop(device);
            }
        })?;
        Ok(Worker {
            ordinal,
            meter,
            commands: Some(commands),
            thread,
            ended,
        })
    }

    pub(crate) fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // A thread that has ended has reported why.
            let _ = commands.send(command);
        }
    }

    /// Lets the thread end, and frees the device's memory, once it has done its tasks.
    pub(crate) fn release(&mut self) {
        self.commands = None;
    }

    pub(crate) fn cancel(&self) {
        self.meter.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Cancels the work and waits for the thread to end, at most until `until`. Returns whether it ended. A thread that
    /// has not is abandoned with its engine: waiting for a device that hangs would block everything else.
    pub(crate) fn end_until(self, until: Instant) -> bool {
        self.cancel();
        let Worker {
            commands,
            thread,
            ended,
            ..
        } = self;
        drop(commands);
        let left = until.saturating_duration_since(Instant::now());
        if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        // A panic was reported as an error.
        let _ = thread.join();
        true
    }
}

fn work(
    device: &mut Device,
    ordinal: DeviceOrdinal,
    meter: &Meter,
    commands: &Receiver<Command>,
    report: &dyn Fn(DeviceOrdinal, Result<Done, EngineError>),
) {
    let mut iteration = 0;
    let mut watch = None;
    let mut links = None;
    while let Ok(command) = commands.recv() {
        let done = catch_unwind(AssertUnwindSafe(|| {
            obey(device, ordinal, meter, &mut iteration, &mut watch, &mut links, command)
        }));
        let done = done.unwrap_or_else(|panic| {
            let text = panic_message(&*panic);
            Err(EngineError::DeviceLost(format!("the engine panicked: {text}")))
        });
        let is_over = done.is_err();
        report(ordinal, done);
        if is_over {
            return;
        }
    }
}

/// How a device reads the tiles of the others; nothing where it reads only memory of its own.
fn links_label(own: DeviceOrdinal, devices: &[DeviceOrdinal], paths: &[LinkPath]) -> Option<Label> {
    let over = |path: LinkPath| {
        let reached = devices.iter().zip(paths).filter(|(_, of)| **of == path);
        let reached: Vec<String> = reached.map(|(device, _)| device.to_string()).collect();
        (!reached.is_empty()).then(|| format!("{path} to {}", reached.join(" ")))
    };
    let links: Vec<String> = [LinkPath::Peer, LinkPath::Staged]
        .into_iter()
        .filter_map(over)
        .collect();
    (!links.is_empty()).then(|| Label::new(&format!("device {own} links"), &links.join(", ")))
}

/// `iteration` counts the fills started.
fn obey(
    device: &mut Device,
    ordinal: DeviceOrdinal,
    meter: &Meter,
    iteration: &mut u32,
    watch: &mut Option<Watch>,
    links: &mut Option<Label>,
    command: Command,
) -> Result<Done, EngineError> {
    let _span = debug_span!("device", %ordinal, does = command.name()).entered();
    let engine = &mut device.engine;
    match command {
        Command::Prepare { assignment, datasets } => {
            engine.prepare(&assignment)?;
            if let Some(datasets) = datasets {
                let shared = datasets.meet(ordinal, engine.dataset()?)?;
                *links = links_label(ordinal, datasets.devices(), &engine.connect(&shared)?);
            }
            *watch = device.telemetry.take().map(Watch::start);
            Ok(Done::Prepared)
        }
        Command::Fill(task) => {
            *iteration += 1;
            engine.fill(&task, meter).map(Done::Filled)
        }
        Command::Sweep {
            first_salt,
            sweeps,
            in_step,
        } => {
            let mut salt = first_salt;
            let mut roots = Vec::new();
            for _ in 0..sweeps {
                let root = engine.sweep(&salt, meter)?;
                let joint = in_step.meet(ordinal, root)?;
                salt = next_sweep_salt(&salt, &joint, ordinal);
                roots.push(root);
            }
            Ok(Done::Swept(roots))
        }
        Command::Cross(task) => engine.cross(&task, meter).map(Done::Crossed),
        Command::Open {
            leaves,
            telemetry_limit,
        } => {
            let openings = leaves
                .into_iter()
                .map(|(sample, which, commitment, leaf)| Ok((sample, which, engine.open(commitment, leaf)?)))
                .collect::<Result<_, EngineError>>()?;
            let labels = watch.take().map(|watch| watch.finish(ordinal, telemetry_limit));
            let mut labels: Vec<Label> = labels.unwrap_or_default();
            labels.extend(links.take());
            Ok(Done::Opened(openings, labels))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::commitment::Opening;
    use protocol::engine::{AssignmentFields, Engine};
    use protocol::message::DeviceOffer;

    /// Keeps preparing until the test is over, cancelled or not: a driver that never returns.
    struct Hanging(Receiver<()>);

    impl Engine for Hanging {
        fn prepare(&mut self, _: &Assignment) -> Result<(), EngineError> {
            // Returns an error once the test has ended.
            let _ = self.0.recv();
            Ok(())
        }

        fn fill(&mut self, _: &FillTask, _: &dyn Progress) -> Result<Root, EngineError> {
            Err(EngineError::Cancelled)
        }

        fn sweep(&mut self, _: &Salt, _: &dyn Progress) -> Result<Root, EngineError> {
            Err(EngineError::Cancelled)
        }

        fn open(&mut self, _: CommitmentId, _: u32) -> Result<Opening, EngineError> {
            Err(EngineError::Cancelled)
        }
    }

    #[test]
    fn a_label_says_how_the_others_are_read() {
        let devices = [0, 1, 2, 5].map(DeviceOrdinal);
        let label = |paths| links_label(DeviceOrdinal(0), &devices, paths).map(|label| (label.name, label.value));
        let paths = [LinkPath::Same, LinkPath::Peer, LinkPath::Staged, LinkPath::Peer];
        let expected = ("device 0 links".to_owned(), "peer to 1 5, staged to 2".to_owned());
        assert_eq!(label(&paths), Some(expected));
        assert_eq!(label(&[LinkPath::Same; 4]), None);
    }

    #[test]
    fn a_device_that_hangs_is_left_behind_and_an_idle_one_ends() {
        let soon = || Instant::now() + Duration::from_millis(50);
        let (_holds, held) = channel();
        let start = |receiver| {
            let offer = DeviceOffer {
                ordinal: DeviceOrdinal(0),
                engine: String::new(),
                model: String::new(),
                memory_bytes: 0,
                available_bytes: 0,
                reserve_bytes: 0,
                operand_copies: 0,
                operand_rows: 0,
                labels: Vec::new(),
            };
            let device = Device {
                offer,
                engine: Box::new(Hanging(receiver)),
                telemetry: None,
            };
            Worker::start(device, |_, _| ()).expect("a thread")
        };
        let hanging = start(held);
        hanging.send(Command::Prepare {
            assignment: Assignment::new(AssignmentFields {
                matrix_dim: 256,
                matrix_offset: 0,
                num_matrices: 1,
                max_inner_dim: 64,
            })
            .expect("sizes that a plan can have"),
            datasets: None,
        });
        assert!(!hanging.end_until(soon()));
        let idle = start(channel().1);
        assert!(idle.end_until(Instant::now() + Duration::from_secs(30)));
    }
}
