//! One of several devices is lost during its work: the session identifies it by ordinal and UUID, the others end, and the
//! host attests again. On GPUs if there are any.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use attester::{Device, ServeError};
use integration_tests::{attester, devices, run, settings};
use protocol::bytes::{DeviceOrdinal, Root, Salt};
use protocol::cbor::Label;
use protocol::commitment::Opening;
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::verdict::Verdict;
use verifier::Unobserved;

const COUNT: usize = 3;
const LOST: usize = 1;
const UUID: &str = "GPU-00000000-0000-0000-0000-000000000001";

/// When a device is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Fill,
    SecondSweep,
}

/// A device that is lost at some point, or never; counted when it is dropped.
struct Watched {
    engine: Box<dyn Engine>,
    lost_at: Option<Moment>,
    sweeps: usize,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Engine for Watched {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.engine.prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        if self.lost_at == Some(Moment::Fill) {
            return Err(EngineError::DeviceLost("fell off the bus".to_owned()));
        }
        self.engine.fill(task, progress)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.sweeps += 1;
        if self.lost_at == Some(Moment::SecondSweep) && self.sweeps == 2 {
            return Err(EngineError::DeviceLost("fell off the bus".to_owned()));
        }
        self.engine.sweep(salt, progress)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.engine.open(commitment, leaf)
    }
}

fn watched(lost_at: Option<Moment>, dropped: &Arc<AtomicUsize>) -> Vec<Device> {
    let watch = |(i, device): (usize, Device)| {
        let mut offer = device.offer;
        offer.labels = vec![Label::new("uuid", &UUID.replace("01", &format!("{i:02}")))];
        Device {
            offer,
            engine: Box::new(Watched {
                engine: device.engine,
                lost_at: lost_at.filter(|_| i == LOST),
                sweeps: 0,
                dropped: Arc::clone(dropped),
            }),
            telemetry: device.telemetry,
        }
    };
    devices(COUNT).into_iter().enumerate().map(watch).collect()
}

#[test]
fn a_lost_device_is_named_and_the_others_end() {
    for moment in [Moment::Fill, Moment::SecondSweep] {
        let dropped = Arc::default();
        let (attestation, served) = run(attester(watched(Some(moment), &dropped)), &settings(), &Unobserved);
        let Some(Verdict::CouldNotRun(obstacle)) = attestation.session.verdict() else {
            panic!("{moment:?}: {:?}", attestation.session.verdict());
        };
        let verdict = Verdict::CouldNotRun(obstacle.clone());
        assert_eq!(verdict.code(), "device-lost", "{moment:?}");
        let expected = format!("device lost: fell off the bus ({UUID})");
        assert!(verdict.message().contains("device 1") && verdict.message().contains(&expected));
        match served {
            Err(ServeError::Engine { device, uuid, error }) => {
                assert_eq!((device, uuid.as_deref()), (DeviceOrdinal(1), Some(UUID)));
                assert_eq!(error, EngineError::DeviceLost("fell off the bus".to_owned()));
            }
            other => panic!("{moment:?}: {other:?}"),
        }
        assert_eq!(
            dropped.load(Ordering::SeqCst),
            COUNT,
            "{moment:?}: every engine has ended"
        );
    }
    // The same host again, with all devices present.
    let dropped = Arc::default();
    let (attestation, _) = run(attester(watched(None, &dropped)), &settings(), &Unobserved);
    assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
}
