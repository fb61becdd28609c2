//! Engines with one fault each, based on the CPU's engine.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use conformance::{Losable, Subject};
use engine_cpu::{CpuEngine, CpuEngineConfig};
use protocol::bytes::{OperandKey, Root, Salt};
use protocol::commitment::{Commitment, Opening};
use protocol::engine::{Assignment, AssignmentFields, CommitmentId, Engine, EngineError, FillTask, Progress};

use crate::{check_caught, said};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The leaf of the last tile of each fill with n of three blocks is wrong, and its openings agree with that.
    WrongLeaf,
    /// The leaf past the first chunk of each fill is wrong, and its openings agree with that.
    WrongLeafPastAChunk,
    /// A leaf past the first chunk opens as the previous one.
    WrongOpening,
    /// A sweep after another returns the root of the earlier one.
    StaleDigest,
    /// Fills after the first of a preparation use its operands.
    KeepsOperands,
    /// Fills with other salts than the very first use that one.
    KeepsSalt,
    /// Commitments from before a preparation can be opened after it.
    KeepsLeaves,
    /// Works to the end and returns a root even if cancelled.
    IgnoresCancel,
    /// Counts a fill that was cancelled.
    CountsCancelled,
    /// Sweeps the dataset of the fill before one that was cancelled before it started.
    SweepsAfterCancelled,
    /// Allocates more memory than allowed.
    TakesRefusedMemory,
    /// Rejects for lack of memory without figures.
    RefusesWithoutFigures,
    /// Keeps the previous preparation if a new one is rejected.
    KeepsRefused,
    /// Fills with a k above the prepared one.
    FillsUnprepared,
    /// Discards the dataset when a k is rejected.
    ForgetsRefused,
    /// Sweeps before anything was filled.
    SweepsNothing,
    /// The leaf past the last opens as the last.
    OpensPastTheEnd,
    /// Sweep 0 opens as sweep 1.
    OpensSweepZero,
    /// Reports one tile too few.
    TellsTooFew,
    /// Sweeps on a device that is lost.
    AnswersAfterLoss,
    /// Its call on the lost device fails, the next one works again.
    ForgetsTheLoss,
    /// Opens leaves after calls have detected the loss.
    OpensAfterLoss,
    /// Reports a lost device as cancelled.
    NamesTheLossOtherwise,
    /// Waits for a lost device.
    HangsOnLoss,
    /// Computes wrong roots on a device that is back.
    ComesBackWrong,
}

/// An engine of the CPU with this fault.
struct Faulty(Fault);

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

fn cpu(memory_limit_bytes: Option<u64>) -> CpuEngine {
    let config = CpuEngineConfig {
        threads: NonZeroUsize::MIN,
        operand_budget_bytes: 0,
        memory_limit_bytes,
        ..CpuEngineConfig::default()
    };
    CpuEngine::new(config).expect("the best path is available")
}

impl Faulty {
    fn on_device(&self, memory_limit_bytes: Option<u64>, is_gone: Arc<AtomicBool>) -> FaultyEngine {
        let limit = memory_limit_bytes.filter(|_| self.0 != Fault::TakesRefusedMemory);
        FaultyEngine {
            fault: self.0,
            inner: cpu(limit),
            assignment: None,
            altered: Vec::new(),
            fills: 0,
            last_sweep: None,
            operand_key: None,
            fill_salt: None,
            before: Vec::new(),
            is_gone,
            is_lost: false,
            losses: 0,
        }
    }
}

impl Subject for Faulty {
    fn engine(&self, memory_limit_bytes: Option<u64>) -> Box<dyn Engine> {
        Box::new(self.on_device(memory_limit_bytes, Arc::default()))
    }

    fn required_bytes(&self, assignment: &Assignment) -> u64 {
        cpu(None).required_bytes(assignment)
    }

    fn losable(&self) -> Result<Losable<dyn Engine>, &'static str> {
        let is_gone = Arc::new(AtomicBool::new(false));
        let engine = Box::new(self.on_device(None, Arc::clone(&is_gone)));
        // A call that hangs does so forever: a shorter timeout reports it sooner.
        let patience = Duration::from_secs(if self.0 == Fault::HangsOnLoss { 1 } else { 600 });
        Ok(Losable {
            engine,
            lose: Arc::new(move || is_gone.store(true, Ordering::SeqCst)),
            patience,
        })
    }
}

struct FaultyEngine {
    fault: Fault,
    inner: CpuEngine,
    assignment: Option<Assignment>,
    /// Commitments recorded for fills at the same position.
    altered: Vec<Option<Commitment>>,
    fills: u32,
    /// Root of the last sweep since the last fill.
    last_sweep: Option<Root>,
    /// The operands of the first fill of a preparation.
    operand_key: Option<OperandKey>,
    /// The salt of the very first fill.
    fill_salt: Option<Salt>,
    /// First leaves of fills of earlier preparations.
    before: Vec<Opening>,
    /// Whether the device is lost.
    is_gone: Arc<AtomicBool>,
    /// Whether a call has detected that.
    is_lost: bool,
    losses: u32,
}

impl FaultyEngine {
    fn loss(&mut self) -> EngineError {
        self.is_lost = true;
        self.losses += 1;
        match self.fault {
            Fault::NamesTheLossOtherwise => EngineError::Cancelled,
            Fault::HangsOnLoss => loop {
                thread::park();
            },
            _ => EngineError::DeviceLost("unplugged".to_owned()),
        }
    }

    /// Detects a loss, if there is one.
    fn meet(&mut self, ignores: bool) -> Result<(), EngineError> {
        let forgets = self.fault == Fault::ForgetsTheLoss && self.losses > 0;
        if self.is_gone.load(Ordering::SeqCst) && !ignores && !forgets {
            return Err(self.loss());
        }
        Ok(())
    }

    /// The fill with one wrong leaf.
    fn altered(&mut self, iteration: u32, root: &Root, leaf: u32) -> Commitment {
        let tiles = self.assignment.expect("it is prepared").tiles();
        let mut leaves: Vec<u64> = (0..tiles)
            .map(|leaf| {
                let opening = self
                    .inner
                    .open(CommitmentId::Fill { iteration }, leaf)
                    .expect("it is there");
                opening.verify(root, leaf, tiles.into()).expect("it is of the root")
            })
            .collect();
        leaves[leaf as usize] ^= 1 << 40;
        Commitment::new(leaves)
    }
}

/// Never cancels, or reports one tile too few, or both.
struct Deaf<'a> {
    progress: &'a dyn Progress,
    hears: bool,
    withheld: AtomicBool,
}

impl Progress for Deaf<'_> {
    fn advance(&self, tiles: u64) {
        let is_withheld = self.withheld.swap(false, Ordering::Relaxed);
        self.progress.advance(tiles - u64::from(is_withheld));
    }

    fn is_cancelled(&self) -> bool {
        self.progress.is_cancelled() && self.hears
    }
}

impl Engine for FaultyEngine {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        if self.fault == Fault::KeepsLeaves && self.fills > 0 {
            self.before
                .extend(self.inner.open(CommitmentId::Fill { iteration: 0 }, 0));
        }
        let larger = (self.fault == Fault::FillsUnprepared).then(|| {
            Assignment::new(AssignmentFields {
                max_inner_dim: 4096.max(assignment.max_inner_dim()),
                ..assignment.fields()
            })
            .expect("sizes that a plan can have")
        });
        if self.fault == Fault::KeepsRefused && self.assignment.is_some() && assignment.dataset_bytes() > 1 << 40 {
            let requested_bytes = self.inner.required_bytes(assignment);
            return Err(EngineError::OutOfMemory {
                requested_bytes,
                available_bytes: self.inner.available_bytes().unwrap_or(0),
            });
        }
        let prepared = self.inner.prepare(larger.as_ref().unwrap_or(assignment));
        if let (Fault::RefusesWithoutFigures, Err(_)) = (self.fault, &prepared) {
            return Err(EngineError::OutOfMemory {
                requested_bytes: 0,
                available_bytes: 0,
            });
        }
        prepared?;
        // A lost device is back.
        self.is_gone.store(false, Ordering::SeqCst);
        self.is_lost = false;
        self.assignment = Some(*assignment);
        self.altered.clear();
        self.fills = 0;
        self.last_sweep = None;
        self.operand_key = None;
        Ok(())
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.meet(false)?;
        let mut task = *task;
        let first = *self.operand_key.get_or_insert(task.operand_key);
        if self.fault == Fault::KeepsOperands {
            task.operand_key = first;
        }
        let first = *self.fill_salt.get_or_insert(task.fill_salt);
        if self.fault == Fault::KeepsSalt {
            task.fill_salt = first;
        }
        if self.fault == Fault::ComesBackWrong && self.losses > 0 {
            task.fill_salt.0[0] ^= 1;
        }
        if self.fault == Fault::SweepsAfterCancelled && progress.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        if self.fault == Fault::ForgetsRefused
            && let Some(assignment) = self.assignment
            && assignment.check_inner_dim(task.inner_dim).is_err()
        {
            // All of it, by preparing again.
            self.inner.prepare(&assignment)?;
        }
        let heard = Deaf {
            progress,
            hears: self.fault != Fault::IgnoresCancel,
            withheld: AtomicBool::new(self.fault == Fault::TellsTooFew),
        };
        let filled = self.inner.fill(&task, &heard);
        // A device that was lost meanwhile.
        self.meet(false)?;
        if (self.fault, &filled) == (Fault::CountsCancelled, &Err(EngineError::Cancelled)) {
            self.inner.fill(&task, &protocol::engine::Unobserved)?;
            self.fills += 1;
            self.altered.push(None);
        }
        let root = filled?;
        let assignment = self.assignment.expect("it is prepared");
        let tiles = assignment.tiles();
        let wrong = match self.fault {
            Fault::WrongLeaf if assignment.matrix_dim() == 768 => Some(tiles - 1),
            Fault::WrongLeafPastAChunk if tiles > 128 => Some(128),
            _ => None,
        };
        let altered = wrong.map(|leaf| self.altered(self.fills, &root, leaf));
        let root = altered.as_ref().map_or(root, Commitment::root);
        self.altered.push(altered);
        self.fills += 1;
        self.last_sweep = None;
        Ok(root)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        if self.fault == Fault::AnswersAfterLoss && self.is_gone.load(Ordering::SeqCst) {
            return Ok(Root([0; 32]));
        }
        self.meet(false)?;
        if self.fault == Fault::SweepsNothing && self.fills == 0 && self.assignment.is_some() {
            return Ok(Root([0; 32]));
        }
        let heard = Deaf {
            progress,
            hears: self.fault != Fault::IgnoresCancel,
            withheld: AtomicBool::new(false),
        };
        let root = self.inner.sweep(salt, &heard);
        self.meet(false)?;
        let root = root?;
        let first = *self.last_sweep.get_or_insert(root);
        Ok(if self.fault == Fault::StaleDigest { first } else { root })
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        if self.is_lost {
            let is_there = self.inner.open(commitment, leaf).is_ok();
            self.meet(self.fault == Fault::OpensAfterLoss && is_there)?;
        }
        if let CommitmentId::Fill { iteration } = commitment {
            if let Some(Some(altered)) = self.altered.get(iteration as usize) {
                return altered.open(leaf).ok_or(EngineError::NoSuchLeaf { commitment, leaf });
            }
            if (self.fills, iteration, leaf) == (0, 0, 0)
                && let Some(opening) = self.before.last()
            {
                return Ok(opening.clone());
            }
        }
        let opened = self.inner.open(commitment, leaf);
        match (self.fault, &opened, commitment) {
            (Fault::OpensPastTheEnd, Err(_), _) if leaf > 0 => {
                let last = self.inner.open(commitment, leaf - 1);
                last.or(opened)
            }
            (Fault::OpensSweepZero, Err(_), CommitmentId::Sweep { iteration, sweep: 0 }) => {
                let first = self.inner.open(CommitmentId::Sweep { iteration, sweep: 1 }, leaf);
                first.or(opened)
            }
            (Fault::WrongOpening, Ok(_), _) if leaf >= 128 => self.inner.open(commitment, leaf - 1),
            _ => opened,
        }
    }
}

type Conforms = fn(&[&dyn Subject]);

/// Every case of the suite that compares with the reference.
const CASES: [(&str, Conforms); 9] = [
    ("vectors", conformance::every_run_of_the_vectors_is_reproduced),
    ("sizes", conformance::roots_agree_with_the_reference),
    ("leaf counts", conformance::leaf_counts_around_a_chunk),
    ("order", conformance::iterations_and_sweeps_count_as_the_trait_says),
    ("openings", conformance::hostile_openings_are_refused),
    ("refusals", conformance::refusals_do_no_harm),
    ("cancel", conformance::cancelled_work_leaves_nothing_behind),
    ("memory", conformance::memory_that_is_not_there_is_refused_with_figures),
    ("sessions", conformance::repeated_sessions_give_the_same_roots),
];

#[test]
fn an_engine_without_a_fault_passes_every_case() {
    for (case, conforms) in CASES {
        assert_eq!(said(|| conforms(&[&Faulty(Fault::None)])), None, "{case}");
    }
    conformance::a_lost_device_is_an_error_from_then_on(&[&Faulty(Fault::None)]);
}

/// Each of these faults is caught by this case, with this message.
fn are_caught(conforms: Conforms, faults: &[(Fault, &str)]) {
    for &(fault, expected) in faults {
        let said = said(|| conforms(&[&Faulty(Fault::None), &Faulty(fault)]));
        check_caught(&format!("{fault:?}"), expected, said);
    }
}

#[test]
fn the_vectors_catch_what_stays_from_one_iteration_or_sweep_to_the_next() {
    are_caught(
        conformance::every_run_of_the_vectors_is_reproduced,
        &[
            (Fault::StaleDigest, "iteration 0, sweep 2"),
            (Fault::KeepsOperands, "leaf 0 of fill of iteration 1"),
        ],
    );
}

#[test]
fn sizes_catch_a_wrong_leaf_at_one_place() {
    are_caught(
        conformance::roots_agree_with_the_reference,
        &[(Fault::WrongLeaf, "WrongLeaf: Size { matrix_dim: 768, num_matrices: 1")],
    );
}

#[test]
fn leaf_counts_catch_wrong_leaves_past_a_chunk_and_tiles_not_told() {
    are_caught(
        conformance::leaf_counts_around_a_chunk,
        &[
            (Fault::WrongLeafPastAChunk, "WrongLeafPastAChunk, 129 tiles: roots"),
            (
                Fault::WrongOpening,
                "WrongOpening, 129 tiles: leaf 128 of fill of iteration 0 does not belong",
            ),
            (Fault::TellsTooFew, "TellsTooFew, 128 tiles: tiles told"),
        ],
    );
}

#[test]
fn order_catches_leaves_that_outlive_a_preparation_and_sweeps_of_nothing() {
    are_caught(
        conformance::iterations_and_sweeps_count_as_the_trait_says,
        &[
            (Fault::KeepsLeaves, "KeepsLeaves: leaf 0 of fill of iteration 0"),
            (Fault::SweepsNothing, "SweepsNothing: a sweep before a fill"),
        ],
    );
}

#[test]
fn hostile_openings_catch_leaves_that_were_not_made() {
    are_caught(
        conformance::hostile_openings_are_refused,
        &[
            (Fault::OpensPastTheEnd, "OpensPastTheEnd: leaf 129 of fill"),
            (Fault::OpensSweepZero, "OpensSweepZero: leaf 0 of sweep 0"),
        ],
    );
}

#[test]
fn refusals_catch_what_is_not_refused_and_what_is_lost_with_it() {
    are_caught(
        conformance::refusals_do_no_harm,
        &[
            (Fault::FillsUnprepared, "FillsUnprepared: a fill with k = 256"),
            (Fault::ForgetsRefused, "the sweep runs"),
        ],
    );
}

#[test]
fn cancelled_work_catches_who_does_not_listen() {
    are_caught(
        conformance::cancelled_work_leaves_nothing_behind,
        &[
            (Fault::IgnoresCancel, "IgnoresCancel: a fill after 0 tiles"),
            (Fault::CountsCancelled, "CountsCancelled: leaf 0 of fill of iteration 0"),
            (
                Fault::SweepsAfterCancelled,
                "SweepsAfterCancelled: a sweep after a fill that was cancelled after 0 tiles",
            ),
        ],
    );
}

#[test]
fn memory_catches_who_takes_it_or_refuses_without_figures() {
    are_caught(
        conformance::memory_that_is_not_there_is_refused_with_figures,
        &[
            (Fault::TakesRefusedMemory, "TakesRefusedMemory: a byte too little"),
            (Fault::RefusesWithoutFigures, "RefusesWithoutFigures: a byte too little"),
            (Fault::KeepsRefused, "KeepsRefused: leaf 0 of fill of iteration 0"),
        ],
    );
}

#[test]
fn sessions_catch_what_stays_from_one_to_the_next() {
    are_caught(
        conformance::repeated_sessions_give_the_same_roots,
        &[(Fault::KeepsSalt, "KeepsSalt: the session between, 0")],
    );
}

#[test]
fn a_lost_device_catches_who_answers_hangs_or_forgets() {
    are_caught(
        conformance::a_lost_device_is_an_error_from_then_on,
        &[
            (Fault::AnswersAfterLoss, "the next sweep on a lost device gave Ok"),
            (
                Fault::ForgetsTheLoss,
                "the next sweep on a lost device gave Err(Unsupported",
            ),
            (Fault::OpensAfterLoss, "a later opening on a lost device gave Ok"),
            (
                Fault::NamesTheLossOtherwise,
                "a fill on a lost device gave Err(Cancelled)",
            ),
            (Fault::HangsOnLoss, "no answer within 1s"),
            (Fault::ComesBackWrong, "roots on the device that is back"),
        ],
    );
}
