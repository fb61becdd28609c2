//! A Verifier's request, before it knows the Attester; HELLO turns it into a plan (spec §3).

use crate::bytes::{DeviceOrdinal, Identity};
use crate::limits::{MATRIX_DIM_RANGE, SUITE, TILE_SIDE, VERSION};
use crate::message::{DeviceOffer, Hello};
use crate::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};

/// Matrices a device should hold at least, so that less than a 1024th of its memory is lost to whole matrices.
const WANTED_MATRICES: u64 = 1024;

/// Matrix sizes to choose from if none is requested, largest first.
const MATRIX_DIMS: [u32; 7] = [16_384, 8_192, 4_096, 2_048, 1_024, 512, 256];

/// A session's work without its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRequest {
    /// 16 bytes that name the session.
    pub session_id: [u8; 16],
    /// The Verifier.
    pub verifier: Identity,
    /// The Verifier's name for people.
    pub verifier_name: String,
    /// The intended recipient of the evidence.
    pub audience: String,
    /// n; `None` for the largest that wastes little of each device's memory.
    pub matrix_dim: Option<u32>,
    /// The requested devices; `None` for all.
    pub devices: Option<Vec<DeviceOrdinal>>,
    /// Most bytes of dataset per device; `None` for all it offers.
    pub device_bytes: Option<u64>,
    /// The work. Crossings are the most that are wanted: a plan has at most a quarter of the fewest tiles, and none with one
    /// device.
    pub iterations: Vec<Iteration>,
    /// Leaves checked per device and distinct k.
    pub samples: u32,
    /// How long each phase may take.
    pub deadlines: Deadlines,
}

/// Why no plan fits a HELLO.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// A requested device does not exist.
    #[error("device {missing} was asked for; offered are {}", offered.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    MissingDevice {
        /// The device.
        missing: DeviceOrdinal,
        /// The devices of HELLO.
        offered: Vec<DeviceOrdinal>,
    },
    /// A device has too little memory even for one matrix and its operands.
    #[error(
        "device {device} has {available_bytes} bytes to fill, too little for one matrix of n = {matrix_dim} with operands of k = {inner_dim}, \
        which takes {needed_bytes} bytes"
    )]
    TooSmall {
        /// The device.
        device: DeviceOrdinal,
        /// Its offer without its reserve, or less if less was requested.
        available_bytes: u64,
        /// The memory required.
        needed_bytes: u64,
        /// n.
        matrix_dim: u32,
        /// Largest k.
        inner_dim: u32,
    },
    /// The request itself is outside its limits.
    #[error(transparent)]
    Invalid(#[from] crate::cbor::Malformed),
}

impl PlanRequest {
    /// The plan for this many devices with any amount of memory: the Attester may not be known yet.
    ///
    /// # Errors
    ///
    /// As [`PlanRequest::plan`].
    pub fn plan_for_any(&self, devices: u32) -> Result<Plan, NoPlan> {
        let offer = |ordinal| DeviceOffer {
            ordinal: DeviceOrdinal(ordinal),
            engine: String::new(),
            model: String::new(),
            memory_bytes: u64::MAX,
            available_bytes: u64::MAX,
            reserve_bytes: 0,
            operand_copies: 0,
            operand_rows: 0,
            labels: Vec::new(),
        };
        let hello = Hello {
            versions: vec![VERSION],
            suites: vec![SUITE],
            identity: Identity([0; 32]),
            software: String::new(),
            labels: Vec::new(),
            devices: (0..devices).map(offer).collect(),
        };
        self.plan(&hello)
    }

    /// The plan for the devices of `hello`: each gets what it offers, up to `device_bytes`.
    ///
    /// # Errors
    ///
    /// [`NoPlan`] names the device or field that prevents a plan.
    pub fn plan(&self, hello: &Hello) -> Result<Plan, NoPlan> {
        let devices = self.chosen(hello)?;
        let inner_dim = self.iterations.iter().map(|i| i.inner_dim).max().unwrap_or(0);
        let offers = |n: u32| -> Vec<u64> {
            let cap = self.device_bytes.unwrap_or(u64::MAX) / (u64::from(n) * u64::from(n));
            let tiles_per_matrix = u64::from(n / TILE_SIDE as u32).pow(2);
            let cap = cap.min(u64::from(u32::MAX) / tiles_per_matrix);
            devices
                .iter()
                .map(|offer| offer.matrices(n, inner_dim).min(cap))
                .collect()
        };
        let matrix_dim = match self.matrix_dim {
            Some(n) if MATRIX_DIM_RANGE.contains(&n) => n,
            // Rejected by Plan::new.
            Some(_) => TILE_SIDE as u32,
            None => MATRIX_DIMS
                .into_iter()
                .find(|&n| offers(n).iter().all(|&matrices| matrices >= WANTED_MATRICES))
                .unwrap_or(MATRIX_DIMS[MATRIX_DIMS.len() - 1]),
        };
        let offers = offers(matrix_dim);
        if let Some((offer, _)) = devices.iter().zip(&offers).find(|&(_, &matrices)| matrices == 0) {
            let matrix_bytes = u64::from(matrix_dim).pow(2);
            let offered_bytes = offer.available_bytes.saturating_sub(offer.reserve_bytes);
            // Less than a matrix was requested, or the device has less.
            let (available_bytes, needed_bytes) = match self.device_bytes {
                Some(asked_bytes) if asked_bytes < matrix_bytes => (asked_bytes.min(offered_bytes), matrix_bytes),
                _ => (
                    offered_bytes,
                    matrix_bytes.saturating_add(offer.operand_bytes(matrix_dim, inner_dim)),
                ),
            };
            return Err(NoPlan::TooSmall {
                device: offer.ordinal,
                available_bytes,
                needed_bytes,
                matrix_dim,
                inner_dim,
            });
        }
        let iterations = self.iterations_of(&offers, matrix_dim);
        let mut matrix_offset = 0;
        let devices = devices
            .iter()
            .zip(offers)
            .map(|(offer, matrices)| {
                let device = DevicePlan {
                    ordinal: offer.ordinal,
                    matrix_offset,
                    num_matrices: u32::try_from(matrices).unwrap_or(u32::MAX),
                };
                matrix_offset += matrices;
                device
            })
            .collect();
        Ok(Plan::new(PlanFields {
            session_id: self.session_id,
            verifier: self.verifier,
            verifier_name: self.verifier_name.clone(),
            audience: self.audience.clone(),
            matrix_dim: self.matrix_dim.unwrap_or(matrix_dim),
            devices,
            iterations,
            samples: self.samples,
            deadlines: self.deadlines,
        })?)
    }

    /// The iterations of a plan for devices with this many matrices each.
    fn iterations_of(&self, matrices: &[u64], matrix_dim: u32) -> Vec<Iteration> {
        let tiles_per_matrix = u64::from(matrix_dim / TILE_SIDE as u32).pow(2);
        let most = match matrices {
            [] | [_] => 0,
            matrices => matrices.iter().min().map_or(0, |fewest| fewest * tiles_per_matrix / 4),
        };
        let within = |iteration: &Iteration| Iteration {
            crossings: u64::from(iteration.crossings).min(most) as u32,
            ..*iteration
        };
        self.iterations.iter().map(within).collect()
    }

    fn chosen<'a>(&self, hello: &'a Hello) -> Result<Vec<&'a DeviceOffer>, NoPlan> {
        let Some(asked) = &self.devices else {
            return Ok(hello.devices.iter().collect());
        };
        if let Some(&missing) = asked
            .iter()
            .find(|&&g| hello.devices.iter().all(|offer| offer.ordinal != g))
        {
            return Err(NoPlan::MissingDevice {
                missing,
                offered: hello.devices.iter().map(|offer| offer.ordinal).collect(),
            });
        }
        Ok(hello
            .devices
            .iter()
            .filter(|offer| asked.contains(&offer.ordinal))
            .collect())
    }
}
