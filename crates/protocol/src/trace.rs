//! The commitments of a session so far, and all values derived from them: chains, salts, sites of leaves (spec §4).
//!
//! Attester and Verifier each build a [`Trace`] from the same messages; equal messages result in equal values.

use crate::bytes::{Chain, DeviceOrdinal, Fresh, Nonce, OperandKey, Root, Salt};
use crate::cbor::Canonical;
use crate::derive;
use crate::digest::matching;
use crate::engine::{CommitmentId, CrossTask, FillTask, Pass};
use crate::frame::{Frame, MessageType};
use crate::matching::Crossing;
use crate::message::{Crossed, Filled, SaltMessage, Stage, Swept};
use crate::plan::{DevicePlan, Plan};
use crate::sampling::Sample;
use crate::tile::TileCoordinate;

/// The commitments of a session from NONCE on.
#[derive(Clone, Debug)]
pub struct Trace {
    plan: Plan,
    chain: Chain,
    iterations: Vec<IterationTrace>,
}

/// One iteration of a [`Trace`]; lists are in the plan's device order.
#[derive(Clone, Debug)]
pub struct IterationTrace {
    /// The chain that the iteration's operands are derived from.
    pub chain: Chain,
    /// Fill roots received.
    pub fill_roots: Vec<Option<Root>>,
    /// The Verifier's v, once sent.
    pub v: Option<Fresh>,
    /// Roots of each device's sweeps, once received.
    pub sweep_roots: Vec<Vec<Root>>,
    /// Salt of each device's sweeps, known once all devices' roots are.
    pub sweep_salts: Vec<Vec<Salt>>,
    /// The rounds begun so far.
    pub rounds: Vec<RoundTrace>,
    /// The Verifier's w, once drawn.
    pub w: Option<Fresh>,
}

/// One round of an iteration's tournament; lists are in the plan's device order.
#[derive(Clone, Debug)]
pub struct RoundTrace {
    /// The bytes that the Verifier began it with.
    pub fresh: Fresh,
    /// Salt of each device's leaves.
    pub salts: Vec<Salt>,
    /// Roots received; a device that rests has none.
    pub roots: Vec<Option<Root>>,
}

/// A commitment or a salt that does not fit the state of the session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// For another iteration.
    #[error("iteration {actual} where iteration {expected} is under way")]
    Iteration {
        /// The current iteration.
        expected: u32,
        /// The iteration named.
        actual: u32,
    },
    /// For a device that the plan does not have.
    #[error("device {0} is not in the plan")]
    UnknownDevice(DeviceOrdinal),
    /// A second commitment where the first is final.
    #[error("device {device} committed twice in iteration {iteration}")]
    Duplicate {
        /// Iteration, from 0.
        iteration: u32,
        /// The device.
        device: DeviceOrdinal,
    },
    /// The number of roots differs from the plan's number of sweeps.
    #[error("device {device} sent {actual} sweep roots, expected {expected}")]
    RootCount {
        /// The device.
        device: DeviceOrdinal,
        /// Sweeps of the iteration.
        expected: u32,
        /// Roots received.
        actual: usize,
    },
    /// For another round.
    #[error("round {actual} where round {expected} is under way")]
    Round {
        /// The current round.
        expected: u32,
        /// The round named.
        actual: u32,
    },
    /// A root of a device that rests in the round.
    #[error("device {device} rests in round {round}")]
    Rests {
        /// Round, from 0.
        round: u32,
        /// The device.
        device: DeviceOrdinal,
    },
    /// v where w is due, for example.
    #[error("salt {actual:?} where {expected:?} is due")]
    Stage {
        /// The stage due.
        expected: Stage,
        /// The stage received.
        actual: Stage,
    },
}

/// The origin of one sampled leaf of a sweep or a round: all that is needed to recompute it (spec §4, §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The sample.
    pub sample: Sample,
    /// k of its iteration.
    pub inner_dim: u32,
    /// Key of its iteration's operands.
    pub operand_key: OperandKey,
    /// Salt of its iteration's fill digests.
    pub fill_salt: Salt,
    /// Salt of its sweep or round.
    pub pair_salt: Salt,
    /// The devices of the two tiles; they differ for a leaf that crosses.
    pub holders: [DeviceOrdinal; 2],
    /// Indices of the tiles paired in the leaf, each within its device; equal for an odd last tile.
    pub pair: [u32; 2],
    /// Coordinates of the two tiles.
    pub tiles: [TileCoordinate; 2],
    /// Roots of the two devices' fill digests.
    pub fill_roots: [Root; 2],
    /// Fill leaves under these roots.
    pub fill_leaves: [u64; 2],
    /// Root of the leaves of the sweep or round.
    pub pair_root: Root,
    /// Leaves under that root.
    pub pair_leaves: u64,
}

impl Site {
    /// The openings of the site, in their order: the device that makes each, the commitment, and the leaf.
    #[must_use]
    pub fn openings(&self) -> [(DeviceOrdinal, CommitmentId, u32); 3] {
        let Sample {
            device,
            iteration,
            pass,
            leaf,
        } = self.sample;
        let fill = CommitmentId::Fill { iteration };
        [
            (device, CommitmentId::of_pass(iteration, pass), leaf),
            (self.holders[0], fill, self.pair[0]),
            (self.holders[1], fill, self.pair[1]),
        ]
    }
}

impl Trace {
    /// The trace of a session whose NONCE was just sent; `hello` and `plan_bytes` are the payloads as sent.
    #[must_use]
    pub fn begin(plan: &Plan, nonce: &Nonce, hello: &[u8], plan_bytes: &[u8]) -> Self {
        let chain = derive::chain_0(nonce, hello, plan_bytes);
        let mut trace = Trace {
            plan: plan.clone(),
            chain,
            iterations: Vec::new(),
        };
        trace.open_iteration();
        trace
    }

    /// The current iteration or, once all are done, the number of iterations.
    #[must_use]
    pub fn current(&self) -> u32 {
        let done = self.iterations.last().is_some_and(|last| last.w.is_some());
        self.iterations.len() as u32 - u32::from(!done)
    }

    /// All iterations started so far.
    #[must_use]
    pub fn iterations(&self) -> &[IterationTrace] {
        &self.iterations
    }

    /// The session's checksum, once every iteration is done.
    #[must_use]
    pub fn checksum(&self) -> Option<Chain> {
        (self.current() as usize == self.plan.iterations().len()).then_some(self.chain)
    }

    /// The fill task of every device in the current iteration.
    #[must_use]
    pub fn fill_task(&self) -> FillTask {
        let last = self.last();
        let iteration = self.plan.iterations()[self.iterations.len() - 1];
        FillTask {
            inner_dim: iteration.inner_dim,
            operand_key: derive::operand_key(&last.chain),
            fill_salt: derive::fill_salt(&last.chain),
            sweeps: iteration.sweeps,
        }
    }

    /// Adds a fill root; returns whether it was the iteration's last.
    ///
    /// # Errors
    ///
    /// [`Misplaced`]; the trace is unchanged.
    pub fn filled(&mut self, filled: &Filled) -> Result<bool, Misplaced> {
        let g = self.place(filled.iteration, filled.device)?;
        let last = self.last_mut();
        if last.fill_roots[g].is_some() {
            return Err(Misplaced::Duplicate {
                iteration: filled.iteration,
                device: filled.device,
            });
        }
        last.fill_roots[g] = Some(filled.root);
        Ok(last.fill_roots.iter().all(Option::is_some))
    }

    /// Adds v or w.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] for another iteration or stage than is due.
    pub fn salted(&mut self, salt: &SaltMessage) -> Result<(), Misplaced> {
        self.check_iteration(salt.iteration)?;
        let last = self.last();
        let begun = last.rounds.len() as u32;
        let expected = match last.v {
            None => Stage::V,
            Some(_) if begun < self.plan.rounds(salt.iteration) => Stage::Round(begun),
            Some(_) => Stage::W,
        };
        if salt.stage != expected {
            return Err(Misplaced::Stage {
                expected,
                actual: salt.stage,
            });
        }
        match salt.stage {
            Stage::V => self.last_mut().v = Some(salt.fresh),
            Stage::Round(_) => {
                let chain = self.last().chain;
                let devices = self.plan.devices();
                let salts = devices
                    .iter()
                    .map(|d| derive::crossing_salt(&chain, &salt.fresh, d.ordinal));
                let round = RoundTrace {
                    fresh: salt.fresh,
                    salts: salts.collect(),
                    roots: vec![None; devices.len()],
                };
                self.last_mut().rounds.push(round);
            }
            Stage::W => {
                let last = self.last_mut();
                last.w = Some(salt.fresh);
                let of_sweeps = last.sweep_roots.iter().filter_map(|roots| roots.last().copied());
                let of_rounds = last
                    .rounds
                    .iter()
                    .flat_map(|round| round.roots.iter().flatten().copied());
                let roots: Vec<Root> = of_sweeps.chain(of_rounds).collect();
                self.chain = derive::next_chain(&last.chain, &salt.fresh, &roots);
                if self.iterations.len() < self.plan.iterations().len() {
                    self.open_iteration();
                }
            }
        }
        Ok(())
    }

    /// Salt of each device's first sweep of the current iteration; empty before v.
    #[must_use]
    pub fn first_sweep_salts(&self) -> Vec<(DeviceOrdinal, Salt)> {
        let last = self.last();
        let roots: Vec<Root> = last.fill_roots.iter().copied().flatten().collect();
        let salt = |v, g| derive::first_sweep_salt(&last.chain, v, &roots, g);
        last.v.as_ref().map_or_else(Vec::new, |v| {
            self.plan
                .devices()
                .iter()
                .map(|device| (device.ordinal, salt(v, device.ordinal)))
                .collect()
        })
    }

    /// Adds the roots of one device's sweeps; returns whether it was the iteration's last device.
    ///
    /// # Errors
    ///
    /// [`Misplaced`]; the trace is unchanged.
    pub fn swept(&mut self, swept: &Swept) -> Result<bool, Misplaced> {
        let g = self.place(swept.iteration, swept.device)?;
        let sweeps = self.plan.iterations()[swept.iteration as usize].sweeps;
        if !self.last().sweep_roots[g].is_empty() {
            return Err(Misplaced::Duplicate {
                iteration: swept.iteration,
                device: swept.device,
            });
        }
        if swept.roots.len() != sweeps as usize {
            return Err(Misplaced::RootCount {
                device: swept.device,
                expected: sweeps,
                actual: swept.roots.len(),
            });
        }
        let last = self.last_mut();
        last.sweep_roots[g].clone_from(&swept.roots);
        let is_last = last.sweep_roots.iter().all(|roots| !roots.is_empty());
        if is_last {
            let salts = self.sweep_salts();
            self.last_mut().sweep_salts = salts;
        }
        Ok(is_last)
    }

    /// The tasks of the current round, for the devices that meet another; empty before the first round.
    #[must_use]
    pub fn cross_tasks(&self) -> Vec<(DeviceOrdinal, CrossTask)> {
        let rounds = &self.last().rounds;
        let Some(current) = rounds.last() else {
            return Vec::new();
        };
        let round = rounds.len() as u32 - 1;
        let task = |(place, device): (usize, &DevicePlan)| {
            let other = self.plan.opponent(round, place)?;
            let task = CrossTask {
                round,
                crossings: self.plan.iterations()[self.iterations.len() - 1].crossings,
                salt: current.salts[place],
                other,
                other_salt: current.salts[other],
            };
            Some((device.ordinal, task))
        };
        self.plan.devices().iter().enumerate().filter_map(task).collect()
    }

    /// The current round, from 0.
    ///
    /// # Panics
    ///
    /// Before the first one of the iteration.
    #[must_use]
    pub fn round(&self) -> u32 {
        let begun = self.last().rounds.len() as u32;
        begun.checked_sub(1).expect("a round is under way")
    }

    /// Adds the root of one device in the current round; returns whether it was the round's last.
    ///
    /// # Errors
    ///
    /// [`Misplaced`]; the trace is unchanged.
    pub fn crossed(&mut self, crossed: &Crossed) -> Result<bool, Misplaced> {
        let g = self.place(crossed.iteration, crossed.device)?;
        let round = self.round();
        if crossed.round != round {
            return Err(Misplaced::Round {
                expected: round,
                actual: crossed.round,
            });
        }
        if self.plan.opponent(round, g).is_none() {
            return Err(Misplaced::Rests {
                round,
                device: crossed.device,
            });
        }
        let devices = self.plan.devices().len();
        let current = self.last_mut().rounds.last_mut().expect("a round is under way");
        if current.roots[g].is_some() {
            return Err(Misplaced::Duplicate {
                iteration: crossed.iteration,
                device: crossed.device,
            });
        }
        current.roots[g] = Some(crossed.root);
        Ok(current.roots.iter().flatten().count() == 2 * (devices / 2))
    }

    /// Salts of all sweeps of the current iteration, device by device, once all roots are known.
    fn sweep_salts(&self) -> Vec<Vec<Salt>> {
        let roots = &self.last().sweep_roots;
        let mut salts = self.first_sweep_salts();
        let mut all: Vec<Vec<Salt>> = vec![Vec::new(); salts.len()];
        for sweep in 0..roots[0].len() {
            for (all, (_, salt)) in all.iter_mut().zip(&salts) {
                all.push(*salt);
            }
            let joint: Vec<Root> = roots.iter().map(|roots| roots[sweep]).collect();
            derive::advance_sweep_salts(&mut salts, &joint);
        }
        all
    }

    /// The FILLED messages of the current iteration in ordinal order, as they enter the transcript (spec §5).
    #[must_use]
    pub fn filled_frames(&self) -> Vec<Frame> {
        let frame = |(device, root): (&DevicePlan, &Option<Root>)| {
            let filled = Filled {
                iteration: self.current(),
                device: device.ordinal,
                root: (*root)?,
            };
            Some(Frame::new(MessageType::Filled, filled.to_bytes()))
        };
        self.plan
            .devices()
            .iter()
            .zip(&self.last().fill_roots)
            .filter_map(frame)
            .collect()
    }

    /// The SWEPT messages of the current iteration in ordinal order, as they enter the transcript (spec §5).
    #[must_use]
    pub fn swept_frames(&self) -> Vec<Frame> {
        let frame = |(device, roots): (&DevicePlan, &Vec<Root>)| {
            let swept = Swept {
                iteration: self.current(),
                device: device.ordinal,
                roots: roots.clone(),
            };
            Frame::new(MessageType::Swept, swept.to_bytes())
        };
        self.plan
            .devices()
            .iter()
            .zip(&self.last().sweep_roots)
            .map(frame)
            .collect()
    }

    /// The CROSSED messages of the current round in ordinal order, as they enter the transcript (spec §5).
    #[must_use]
    pub fn crossed_frames(&self) -> Vec<Frame> {
        let rounds = &self.last().rounds;
        let roots = rounds.last().map_or(&[][..], |round| &round.roots);
        let frame = |(device, root): (&DevicePlan, &Option<Root>)| {
            let crossed = Crossed {
                iteration: self.current(),
                round: rounds.len() as u32 - 1,
                device: device.ordinal,
                root: (*root)?,
            };
            Some(Frame::new(MessageType::Crossed, crossed.to_bytes()))
        };
        self.plan.devices().iter().zip(roots).filter_map(frame).collect()
    }

    /// The origin of a sampled leaf.
    ///
    /// # Panics
    ///
    /// If the sample is not one of this plan's or its iteration is not done.
    #[must_use]
    pub fn site(&self, sample: Sample) -> Site {
        let g = self.index(sample.device).expect("samples name devices of the plan");
        let iteration = &self.iterations[sample.iteration as usize];
        let tiles_of = |place: usize| self.plan.assignment(&self.plan.devices()[place]).tiles();
        let (pair_salt, pair_root, pair_leaves, of_b, (a, b)) = match sample.pass {
            Pass::Sweep(sweep) => {
                let sweep = sweep as usize - 1;
                let salt = iteration.sweep_salts[g][sweep];
                let pair = matching(&salt, tiles_of(g)).pair(sample.leaf);
                let leaves = self.plan.sweep_leaves(&self.plan.devices()[g]);
                (salt, iteration.sweep_roots[g][sweep], leaves, g, pair)
            }
            Pass::Round(round) => {
                let RoundTrace { salts, roots, .. } = &iteration.rounds[round as usize];
                let other = self
                    .plan
                    .opponent(round, g)
                    .expect("samples are of rounds without rest");
                let crossing = Crossing {
                    own: matching(&salts[g], tiles_of(g)),
                    other: matching(&salts[other], tiles_of(other)),
                    crossings: self.plan.iterations()[sample.iteration as usize].crossings,
                };
                let of_b = if crossing.crosses(sample.leaf) { other } else { g };
                let root = roots[g].expect("the iteration is done");
                (salts[g], root, crossing.leaves(), of_b, crossing.pair(sample.leaf))
            }
        };
        let (places, pair) = ([g, of_b], [a, b]);
        let coordinate = |at: usize| {
            let assignment = self.plan.assignment(&self.plan.devices()[places[at]]);
            TileCoordinate::from_index(pair[at], assignment.matrix_offset(), assignment.matrix_dim())
        };
        Site {
            sample,
            inner_dim: self.plan.iterations()[sample.iteration as usize].inner_dim,
            operand_key: derive::operand_key(&iteration.chain),
            fill_salt: derive::fill_salt(&iteration.chain),
            pair_salt,
            holders: places.map(|place| self.plan.devices()[place].ordinal),
            pair,
            tiles: [coordinate(0), coordinate(1)],
            fill_roots: places.map(|place| iteration.fill_roots[place].expect("the iteration is done")),
            fill_leaves: places.map(|place| tiles_of(place).into()),
            pair_root,
            pair_leaves: pair_leaves.into(),
        }
    }

    /// Position of a device in the plan.
    fn index(&self, device: DeviceOrdinal) -> Option<usize> {
        self.plan
            .devices()
            .iter()
            .position(|d: &DevicePlan| d.ordinal == device)
    }

    fn place(&self, iteration: u32, device: DeviceOrdinal) -> Result<usize, Misplaced> {
        self.check_iteration(iteration)?;
        self.index(device).ok_or(Misplaced::UnknownDevice(device))
    }

    fn check_iteration(&self, actual: u32) -> Result<(), Misplaced> {
        let expected = self.current();
        if actual == expected && (actual as usize) < self.plan.iterations().len() {
            Ok(())
        } else {
            Err(Misplaced::Iteration { expected, actual })
        }
    }

    fn open_iteration(&mut self) {
        let devices = self.plan.devices().len();
        self.iterations.push(IterationTrace {
            chain: self.chain,
            fill_roots: vec![None; devices],
            v: None,
            sweep_roots: vec![Vec::new(); devices],
            sweep_salts: vec![Vec::new(); devices],
            rounds: Vec::new(),
            w: None,
        });
    }

    fn last(&self) -> &IterationTrace {
        self.iterations.last().expect("a trace begins with an iteration")
    }

    fn last_mut(&mut self) -> &mut IterationTrace {
        self.iterations.last_mut().expect("a trace begins with an iteration")
    }
}
