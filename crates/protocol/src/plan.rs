//! The plan: all the work of a session, chosen by the Verifier alone (spec §3).
//!
//! A [`Plan`] cannot be invalid: every constructor checks every limit.

use std::collections::HashMap;

use crate::bytes::{DeviceOrdinal, Identity};
use crate::cbor::{Canonical, Malformed, Reader, Writer};
use crate::engine::{Assignment, AssignmentFields};
use crate::limits::{
    DEADLINE_RANGE_MS, MAX_DEVICES, MAX_SAMPLES, MAX_SWEEPS, MAX_SWEEPS_PER_ITERATION, SUITE, TILE_SIDE, VERSION,
    is_inner_dim, is_matrix_dim,
};
use crate::matching::Matching;
use crate::tournament;

/// A whole session's work, valid by construction (spec §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(PlanFields);

/// The unchecked fields of a plan; [`Plan::new`] validates them (spec §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFields {
    /// 16 bytes that name the session.
    pub session_id: [u8; 16],
    /// The Verifier: the key that signs the evidence.
    pub verifier: Identity,
    /// The Verifier's name for people.
    pub verifier_name: String,
    /// The intended recipient of the evidence.
    pub audience: String,
    /// n: a matrix has n x n elements of one byte.
    pub matrix_dim: u32,
    /// The matrices of each device, ordinals ascending.
    pub devices: Vec<DevicePlan>,
    /// The work, in order.
    pub iterations: Vec<Iteration>,
    /// Leaves checked per device and distinct k.
    pub samples: u32,
    /// How long each phase may take.
    pub deadlines: Deadlines,
}

/// The matrices of one device (spec §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePlan {
    /// The device.
    pub ordinal: DeviceOrdinal,
    /// Global index of its first matrix.
    pub matrix_offset: u64,
    /// How many it holds, >= 1.
    pub num_matrices: u32,
}

/// One fill and the sweeps over it (spec §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iteration {
    /// k: length of the dot products; a byte of the dataset costs 2k operations.
    pub inner_dim: u32,
    /// Sweeps over the filled dataset.
    pub sweeps: u32,
    /// c: leaves that each device computes with another's tiles, in each round of the tournament after the sweeps; 0 for no
    /// tournament.
    pub crossings: u32,
}

impl Iteration {
    /// An iteration without a tournament.
    #[must_use]
    pub const fn new(inner_dim: u32, sweeps: u32) -> Self {
        Iteration {
            inner_dim,
            sweeps,
            crossings: 0,
        }
    }
}

/// How long each phase may take, in milliseconds (spec §3, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From sending PLAN to READY.
    pub ready_ms: u64,
    /// From sending NONCE or SALT w to the last FILLED of an iteration.
    pub fill_ms: u64,
    /// From sending SALT v to the last SWEPT of an iteration.
    pub sweep_ms: u64,
    /// From sending SAMPLE to OPENINGS.
    pub openings_ms: u64,
}

impl Plan {
    /// The plan of these fields, if they are within the bounds of spec §3.
    ///
    /// # Errors
    ///
    /// [`Malformed::Value`] names the first field outside its bounds.
    pub fn new(fields: PlanFields) -> Result<Self, Malformed> {
        let n = fields.matrix_dim;
        if !is_matrix_dim(n) {
            return Err(Malformed::value(
                "matrix_dim",
                "a multiple of 256 within 256..=32768",
                n,
            ));
        }
        if fields.devices.is_empty() || fields.devices.len() > MAX_DEVICES {
            return Err(Malformed::value("devices", "1 to 64", fields.devices.len()));
        }
        let tiles_per_matrix = u64::from(n / TILE_SIDE as u32).pow(2);
        let mut next_offset = 0;
        for device in &fields.devices {
            if device.matrix_offset != next_offset {
                return Err(Malformed::value("matrix_offset", next_offset, device.matrix_offset));
            }
            if device.num_matrices == 0 || u64::from(device.num_matrices) * tiles_per_matrix > u64::from(u32::MAX) {
                return Err(Malformed::value(
                    "num_matrices",
                    "1 or more, at most 2^32 - 1 tiles",
                    device.num_matrices,
                ));
            }
            next_offset += u64::from(device.num_matrices);
        }
        if !fields.devices.is_sorted_by(|a, b| a.ordinal < b.ordinal) {
            return Err(Malformed::value("ordinal", "strictly ascending", "another order"));
        }
        if fields.iterations.is_empty() {
            return Err(Malformed::value("iterations", "1 or more", 0));
        }
        let fewest_tiles = fields
            .devices
            .iter()
            .map(|device| u64::from(device.num_matrices) * tiles_per_matrix);
        // Every tile is in at most one leaf of a round.
        let most_crossings = match fields.devices.len() {
            1 => 0,
            _ => fewest_tiles.min().unwrap_or(0) / 4,
        };
        for Iteration {
            inner_dim,
            sweeps,
            crossings,
        } in fields.iterations.iter().copied()
        {
            if !is_inner_dim(inner_dim) {
                return Err(Malformed::value(
                    "inner_dim",
                    "a multiple of 64 within 64..=65536",
                    inner_dim,
                ));
            }
            if !(1..=MAX_SWEEPS_PER_ITERATION).contains(&sweeps) {
                return Err(Malformed::value("sweeps", "1..=4096", sweeps));
            }
            if u64::from(crossings) > most_crossings {
                return Err(Malformed::value(
                    "crossings",
                    format!("at most {most_crossings}, a quarter of the fewest tiles of two or more devices"),
                    crossings,
                ));
            }
        }
        let passes = |i: &Iteration| u64::from(i.sweeps) + u64::from(rounds(i, fields.devices.len()));
        let all_passes: u64 = fields.iterations.iter().map(passes).sum();
        if all_passes > u64::from(MAX_SWEEPS) {
            return Err(Malformed::value(
                "sum of sweeps and rounds",
                "at most 65536",
                all_passes,
            ));
        }
        if !(1..=MAX_SAMPLES).contains(&fields.samples) {
            return Err(Malformed::value("samples", "1..=65536", fields.samples));
        }
        let Deadlines {
            ready_ms,
            fill_ms,
            sweep_ms,
            openings_ms,
        } = fields.deadlines;
        for deadline in [ready_ms, fill_ms, sweep_ms, openings_ms] {
            if !DEADLINE_RANGE_MS.contains(&deadline) {
                return Err(Malformed::value("deadline", "1 ms to 366 days", deadline));
            }
        }
        Ok(Plan(fields))
    }

    /// The fields, for reading.
    #[must_use]
    pub fn fields(&self) -> &PlanFields {
        &self.0
    }

    /// n: a matrix has n x n elements of one byte.
    #[must_use]
    pub fn matrix_dim(&self) -> u32 {
        self.0.matrix_dim
    }

    /// The devices, ordinals ascending.
    #[must_use]
    pub fn devices(&self) -> &[DevicePlan] {
        &self.0.devices
    }

    /// The iterations in order.
    #[must_use]
    pub fn iterations(&self) -> &[Iteration] {
        &self.0.iterations
    }

    /// The assignment of `device`.
    #[must_use]
    pub fn assignment(&self, device: &DevicePlan) -> Assignment {
        let fields = AssignmentFields {
            matrix_dim: self.0.matrix_dim,
            matrix_offset: device.matrix_offset,
            num_matrices: device.num_matrices,
            max_inner_dim: self
                .0
                .iterations
                .iter()
                .map(|i| i.inner_dim)
                .max()
                .expect("a plan has iterations"),
        };
        Assignment::new(fields).expect("a plan has the bounds of an assignment, and few devices")
    }

    /// Leaves of one of `device`'s sweeps.
    #[must_use]
    pub fn sweep_leaves(&self, device: &DevicePlan) -> u32 {
        Matching::leaves(self.assignment(device).tiles())
    }

    /// Rounds of the tournament of an iteration (< the number of iterations); 0 if it has none.
    #[must_use]
    pub fn rounds(&self, iteration: u32) -> u32 {
        rounds(&self.0.iterations[iteration as usize], self.0.devices.len())
    }

    /// Position in the plan of the device that the one at `place` meets in `round`; `None` if it rests.
    #[must_use]
    pub fn opponent(&self, round: u32, place: usize) -> Option<usize> {
        tournament::opponent(self.0.devices.len(), round, place)
    }

    /// The distinct k in order of first appearance: each is a group with its own samples and figures (spec §6).
    #[must_use]
    pub fn groups(&self) -> Vec<u32> {
        let mut groups = Vec::new();
        for iteration in &self.0.iterations {
            if !groups.contains(&iteration.inner_dim) {
                groups.push(iteration.inner_dim);
            }
        }
        groups
    }

    /// Leaves of all of `device`'s sweeps with this k.
    #[must_use]
    pub fn group_leaves(&self, device: &DevicePlan, inner_dim: u32) -> u64 {
        let sweeps: u64 = self
            .0
            .iterations
            .iter()
            .filter(|i| i.inner_dim == inner_dim)
            .map(|i| u64::from(i.sweeps))
            .sum();
        sweeps * u64::from(self.sweep_leaves(device))
    }

    /// Leaves of each device in all rounds with this k: half of them cross to another device.
    #[must_use]
    pub fn group_crossing_leaves(&self, inner_dim: u32) -> u64 {
        let of_group = self.0.iterations.iter().filter(|i| i.inner_dim == inner_dim);
        let of_rounds: u64 = of_group.map(|i| 2 * u64::from(i.crossings)).sum();
        of_rounds * u64::from(tournament::meetings(self.0.devices.len()))
    }

    /// The effective number of samples of each device in the rounds with this k (spec §3).
    #[must_use]
    pub fn effective_crossing_samples(&self, inner_dim: u32) -> u32 {
        u64::from(self.0.samples).min(self.group_crossing_leaves(inner_dim)) as u32
    }

    /// s: the effective number of samples of `device` in a group, min(samples, leaves) (spec §3).
    #[must_use]
    pub fn effective_samples(&self, device: &DevicePlan, inner_dim: u32) -> u32 {
        u64::from(self.0.samples).min(self.group_leaves(device, inner_dim)) as u32
    }

    /// The effective samples of the device and group that has the most: under [`MIN_SAMPLES_FOR_BOUND`] nothing is certified.
    ///
    /// [`MIN_SAMPLES_FOR_BOUND`]: crate::limits::MIN_SAMPLES_FOR_BOUND
    #[must_use]
    pub fn most_effective_samples(&self) -> u32 {
        let groups = self.groups();
        let of_device = |device| groups.iter().map(move |k| self.effective_samples(device, *k));
        self.devices().iter().flat_map(of_device).max().unwrap_or(0)
    }

    /// The effective samples of all devices and groups: openings of a whole session (spec §3).
    #[must_use]
    pub fn total_samples(&self) -> u64 {
        // A plan may have 65536 groups: one pass over its iterations for all of them.
        let mut groups = HashMap::new();
        for iteration in &self.0.iterations {
            let (sweeps, crossings) = groups.entry(iteration.inner_dim).or_insert((0, 0));
            *sweeps += u64::from(iteration.sweeps);
            *crossings += 2 * u64::from(iteration.crossings);
        }
        let meetings = u64::from(tournament::meetings(self.0.devices.len()));
        let of_device = |device: &DevicePlan| -> u64 {
            let leaves = u64::from(self.sweep_leaves(device));
            let drawn = |of: u64| u64::from(self.0.samples).min(of);
            let of_group = |(sweeps, crossings)| drawn(sweeps * leaves) + drawn(crossings * meetings);
            groups.values().copied().map(of_group).sum()
        };
        self.0.devices.iter().map(of_device).sum()
    }
}

fn rounds(iteration: &Iteration, devices: usize) -> u32 {
    match iteration.crossings {
        0 => 0,
        _ => tournament::rounds(devices),
    }
}

impl Canonical for Plan {
    fn write(&self, to: &mut Writer) {
        let p = &self.0;
        to.array(11);
        to.uint(u64::from(VERSION));
        to.uint(u64::from(SUITE));
        to.bytes(&p.session_id);
        to.bytes(&p.verifier.0);
        to.text(&p.verifier_name);
        to.text(&p.audience);
        to.uint(u64::from(p.matrix_dim));
        to.list(&p.devices);
        to.list(&p.iterations);
        to.uint(u64::from(p.samples));
        p.deadlines.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("plan", 11)?;
        for (field, expected) in [("version", VERSION), ("suite", SUITE)] {
            let actual = from.uint(field)?;
            if actual != u64::from(expected) {
                return Err(Malformed::value(field, expected, actual));
            }
        }
        Plan::new(PlanFields {
            session_id: from.array_of_bytes("session_id")?,
            verifier: Identity(from.array_of_bytes("verifier")?),
            verifier_name: from.text("verifier_name")?,
            audience: from.text("audience")?,
            matrix_dim: from.uint32("matrix_dim")?,
            devices: from.list("devices", 1..=MAX_DEVICES)?,
            iterations: from.list("iterations", 1..=MAX_SWEEPS as usize)?,
            samples: from.uint32("samples")?,
            deadlines: Deadlines::read(from)?,
        })
    }
}

impl Canonical for DevicePlan {
    fn write(&self, to: &mut Writer) {
        to.array(3);
        to.uint(u64::from(self.ordinal.0));
        to.uint(self.matrix_offset);
        to.uint(u64::from(self.num_matrices));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("device plan", 3)?;
        Ok(DevicePlan {
            ordinal: DeviceOrdinal(from.uint32("ordinal")?),
            matrix_offset: from.uint("matrix_offset")?,
            num_matrices: from.uint32("num_matrices")?,
        })
    }
}

impl Canonical for Iteration {
    fn write(&self, to: &mut Writer) {
        to.array(if self.crossings == 0 { 2 } else { 3 });
        to.uint(u64::from(self.inner_dim));
        to.uint(u64::from(self.sweeps));
        if self.crossings > 0 {
            to.uint(u64::from(self.crossings));
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let items = from.array_within("iteration", 2..=3)?;
        let mut iteration = Iteration::new(from.uint32("inner_dim")?, from.uint32("sweeps")?);
        if items == 3 {
            iteration.crossings = from.uint32("crossings")?;
            if iteration.crossings == 0 {
                return Err(Malformed::value("crossings", "1 or more, or absent", 0));
            }
        }
        Ok(iteration)
    }
}

impl Canonical for Deadlines {
    fn write(&self, to: &mut Writer) {
        to.array(4);
        [self.ready_ms, self.fill_ms, self.sweep_ms, self.openings_ms]
            .into_iter()
            .for_each(|ms| to.uint(ms));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("deadlines", 4)?;
        Ok(Deadlines {
            ready_ms: from.uint("ready_ms")?,
            fill_ms: from.uint("fill_ms")?,
            sweep_ms: from.uint("sweep_ms")?,
            openings_ms: from.uint("openings_ms")?,
        })
    }
}
