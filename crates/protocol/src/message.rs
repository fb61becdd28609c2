//! The payloads of all messages except PLAN, which has its own module (spec §8).

use crate::bytes::{DeviceOrdinal, Fresh, Identity, Nonce, Root};
use crate::cbor::{Canonical, Label, Malformed, Reader, Writer, sendable_text};
use crate::commitment::Opening;
use crate::engine::EngineError;
use crate::limits::{
    MAX_ATTESTATION_BYTES, MAX_DEVICES, MAX_LABELS, MAX_ROUNDS, MAX_SWEEPS_PER_ITERATION, SUITE, VERSION,
};

/// The stage of SALT that begins round 0; 0 is v, 1 is w.
const FIRST_ROUND_STAGE: u64 = 2;

/// Most entries of a list of versions or suites.
const MAX_VERSIONS: usize = 16;

/// HELLO: who the Attester is and what it offers. All of it is stated by the Attester; none of it is evidence (spec §1, §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions it supports.
    pub versions: Vec<u32>,
    /// Suites it supports.
    pub suites: Vec<u32>,
    /// The Ed25519 key that signs OPENINGS.
    pub identity: Identity,
    /// Name and version of its software.
    pub software: String,
    /// What it states about the host.
    pub labels: Vec<Label>,
    /// Its devices, ordinals strictly ascending.
    pub devices: Vec<DeviceOffer>,
}

/// One device of HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceOffer {
    /// The device's ordinal in this session.
    pub ordinal: DeviceOrdinal,
    /// The engine that drives it, for example `cuda` or `cpu`.
    pub engine: String,
    /// The model it states.
    pub model: String,
    /// Total memory it states (bytes).
    pub memory_bytes: u64,
    /// Memory that can be allocated now (bytes).
    pub available_bytes: u64,
    /// The part of it that the engine needs for any plan (bytes).
    pub reserve_bytes: u64,
    /// Operands of n x k bytes held in addition to the dataset.
    pub operand_copies: u32,
    /// Operand rows of k bytes held in addition to these.
    pub operand_rows: u32,
    /// What else it states: UUID, PCI address, driver, clocks.
    pub labels: Vec<Label>,
}

impl Hello {
    /// Whether it supports this crate's version and suite.
    #[must_use]
    pub fn speaks_ours(&self) -> bool {
        self.versions.contains(&VERSION) && self.suites.contains(&SUITE)
    }
}

impl DeviceOffer {
    /// Matrices of `n` x `n` bytes the device offers for plans with inner dimensions up to `k` (spec §3).
    #[must_use]
    pub fn matrices(&self, n: u32, k: u32) -> u64 {
        let left = self.available_bytes.saturating_sub(self.reserve_bytes);
        left.saturating_sub(self.operand_bytes(n, k)) / u64::from(n).pow(2)
    }

    /// Bytes that its operands take in addition to a dataset of matrices of `n` x `n`, with inner dimensions up to `k`
    /// (spec §3).
    #[must_use]
    pub fn operand_bytes(&self, n: u32, k: u32) -> u64 {
        let rows = u128::from(n) * u128::from(self.operand_copies) + u128::from(self.operand_rows);
        u64::try_from(rows * u128::from(k)).unwrap_or(u64::MAX)
    }
}

/// READY: no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready;

/// NONCE: the challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceMessage(pub Nonce);

/// FILLED: the root of one device's fill digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Iteration, from 0.
    pub iteration: u32,
    /// The device.
    pub device: DeviceOrdinal,
    /// Root of its fill digests.
    pub root: Root,
}

/// Which of an iteration's random values a SALT carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// v: sent after the last FILLED; the sweeps are derived from it.
    V,
    /// w: sent after the last SWEPT, or the last CROSSED; the next chain is derived from it.
    W,
    /// A round of the tournament begins, from 0: sent after the last SWEPT, or the last CROSSED of the round before.
    Round(u32),
}

/// SALT: fresh random bytes of the Verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaltMessage {
    /// v, w or a round.
    pub stage: Stage,
    /// Iteration, from 0.
    pub iteration: u32,
    /// The bytes.
    pub fresh: Fresh,
}

/// SWEPT: the roots of all of an iteration's sweeps of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Iteration, from 0.
    pub iteration: u32,
    /// The device.
    pub device: DeviceOrdinal,
    /// Root of each sweep, in order.
    pub roots: Vec<Root>,
}

/// CROSSED: the root of one device's leaves in a round of the tournament.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// Iteration, from 0.
    pub iteration: u32,
    /// Round within the iteration, from 0.
    pub round: u32,
    /// The device.
    pub device: DeviceOrdinal,
    /// Root of its leaves.
    pub root: Root,
}

/// SAMPLE: the seed that the samples are expanded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleMessage(pub Fresh);

/// The signed part of OPENINGS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningsBody {
    /// For each sample, in order: its sweep leaf, fill leaf a, fill leaf b.
    pub openings: Vec<[Opening; 3]>,
    /// Telemetry of the Attester during the session: power, clocks, temperature.
    pub labels: Vec<Label>,
    /// The hardware manufacturer's attestation over this session's nonce, 1 to [`MAX_ATTESTATION_BYTES`] bytes; carried
    /// for others to verify, and not part of the proof.
    pub attestation: Option<Vec<u8>>,
}

/// Why an Attester cannot continue (spec §5, §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum AbortCode {
    /// The memory that the plan requires is not available.
    OutOfMemory = 1,
    /// A device stopped answering.
    DeviceLost = 2,
    /// A driver call failed.
    DriverError = 3,
    /// A device computes wrong results.
    SelfTestFailed = 4,
    /// The Attester does not run this plan.
    Unsupported = 5,
    /// The Attester's operator stopped it.
    Cancelled = 6,
    /// The Verifier violated the protocol.
    ProtocolViolation = 7,
    /// Anything else.
    Internal = 8,
}

impl AbortCode {
    /// Every code, in numeric order.
    pub const ALL: [AbortCode; 8] = [
        AbortCode::OutOfMemory,
        AbortCode::DeviceLost,
        AbortCode::DriverError,
        AbortCode::SelfTestFailed,
        AbortCode::Unsupported,
        AbortCode::Cancelled,
        AbortCode::ProtocolViolation,
        AbortCode::Internal,
    ];

    /// The code as text, for example `out-of-memory`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AbortCode::OutOfMemory => "out-of-memory",
            AbortCode::DeviceLost => "device-lost",
            AbortCode::DriverError => "driver-error",
            AbortCode::SelfTestFailed => "self-test-failed",
            AbortCode::Unsupported => "unsupported",
            AbortCode::Cancelled => "cancelled",
            AbortCode::ProtocolViolation => "protocol-violation",
            AbortCode::Internal => "internal",
        }
    }
}

impl AbortCode {
    /// The code of an engine's error.
    #[must_use]
    pub fn of_engine(error: &EngineError) -> Self {
        match error {
            EngineError::OutOfMemory { .. } => AbortCode::OutOfMemory,
            EngineError::DeviceLost(_) => AbortCode::DeviceLost,
            EngineError::Driver { .. } => AbortCode::DriverError,
            EngineError::SelfTest(_) => AbortCode::SelfTestFailed,
            EngineError::Unsupported(_) => AbortCode::Unsupported,
            EngineError::Cancelled => AbortCode::Cancelled,
            EngineError::NoSuchLeaf { .. } => AbortCode::Internal,
        }
    }
}

/// ABORT: the Attester cannot continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// Why.
    pub code: AbortCode,
    /// The device it happened on, if any.
    pub device: Option<DeviceOrdinal>,
    /// Readable text: what failed, with figures.
    pub message: String,
}

impl Abort {
    /// The ABORT for an engine's error on `device`.
    #[must_use]
    pub fn from_engine(device: DeviceOrdinal, error: &EngineError) -> Self {
        Abort {
            code: AbortCode::of_engine(error),
            device: Some(device),
            message: sendable_text(&error.to_string()),
        }
    }
}

/// RESULT: the Verifier's decision, for the Attester's information; others check the evidence instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultMessage {
    /// 0 affirmed, 1 contraindicated, 2 could not run: also the commands' exit codes.
    pub status: u32,
    /// The reason's code; empty when affirmed.
    pub reason: String,
    /// The reason as readable text.
    pub message: String,
}

/// PROGRESS: the progress of each device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressMessage {
    /// One entry per device at work.
    pub devices: Vec<DeviceProgress>,
}

/// One device's part of PROGRESS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceProgress {
    /// The device.
    pub device: DeviceOrdinal,
    /// Tiles done in this session.
    pub done_tiles: u64,
    /// Tiles of the whole session.
    pub total_tiles: u64,
}

impl Canonical for Hello {
    fn write(&self, to: &mut Writer) {
        to.array(6);
        for list in [&self.versions, &self.suites] {
            to.array(list.len());
            list.iter().for_each(|&v| to.uint(v.into()));
        }
        to.bytes(&self.identity.0);
        to.text(&self.software);
        to.list(&self.labels);
        to.list(&self.devices);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let numbers = |from: &mut Reader<'_>, field| {
            let len = from.array_within(field, 1..=MAX_VERSIONS)?;
            (0..len).map(|_| from.uint32(field)).collect::<Result<Vec<_>, _>>()
        };
        from.array("hello", 6)?;
        let hello = Hello {
            versions: numbers(from, "versions")?,
            suites: numbers(from, "suites")?,
            identity: Identity(from.array_of_bytes("identity")?),
            software: from.text("software")?,
            labels: from.list("host labels", 0..=MAX_LABELS)?,
            devices: from.list("devices", 1..=MAX_DEVICES)?,
        };
        if !hello.devices.is_sorted_by(|a, b| a.ordinal < b.ordinal) {
            return Err(Malformed::value("ordinal", "strictly ascending", "another order"));
        }
        Ok(hello)
    }
}

impl Canonical for DeviceOffer {
    fn write(&self, to: &mut Writer) {
        to.array(9);
        to.uint(self.ordinal.0.into());
        to.text(&self.engine);
        to.text(&self.model);
        to.uint(self.memory_bytes);
        to.uint(self.available_bytes);
        to.uint(self.reserve_bytes);
        to.uint(self.operand_copies.into());
        to.uint(self.operand_rows.into());
        to.list(&self.labels);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("device", 9)?;
        Ok(DeviceOffer {
            ordinal: DeviceOrdinal(from.uint32("ordinal")?),
            engine: from.text("engine")?,
            model: from.text("model")?,
            memory_bytes: from.uint("memory_bytes")?,
            available_bytes: from.uint("available_bytes")?,
            reserve_bytes: from.uint("reserve_bytes")?,
            operand_copies: from.uint32("operand_copies")?,
            operand_rows: from.uint32("operand_rows")?,
            labels: from.list("device labels", 0..=MAX_LABELS)?,
        })
    }
}

impl Canonical for Ready {
    fn write(&self, to: &mut Writer) {
        to.array(0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("ready", 0).map(|()| Ready)
    }
}

impl Canonical for NonceMessage {
    fn write(&self, to: &mut Writer) {
        to.array(1);
        to.bytes(&self.0.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("nonce", 1)?;
        Ok(NonceMessage(Nonce(from.array_of_bytes("nonce")?)))
    }
}

impl Canonical for Filled {
    fn write(&self, to: &mut Writer) {
        to.array(3);
        to.uint(self.iteration.into());
        to.uint(self.device.0.into());
        to.bytes(&self.root.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("filled", 3)?;
        Ok(Filled {
            iteration: from.uint32("iteration")?,
            device: DeviceOrdinal(from.uint32("ordinal")?),
            root: Root(from.array_of_bytes("root")?),
        })
    }
}

impl Canonical for SaltMessage {
    fn write(&self, to: &mut Writer) {
        to.array(3);
        to.uint(match self.stage {
            Stage::V => 0,
            Stage::W => 1,
            Stage::Round(round) => FIRST_ROUND_STAGE + u64::from(round),
        });
        to.uint(self.iteration.into());
        to.bytes(&self.fresh.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("salt", 3)?;
        Ok(SaltMessage {
            stage: match from.uint("stage")? {
                0 => Stage::V,
                1 => Stage::W,
                other => match u32::try_from(other - FIRST_ROUND_STAGE) {
                    Ok(round) if round < MAX_ROUNDS => Stage::Round(round),
                    _ => return Err(Malformed::value("stage", "0 (v), 1 (w) or 2 to 64 (a round)", other)),
                },
            },
            iteration: from.uint32("iteration")?,
            fresh: Fresh(from.array_of_bytes("fresh bytes")?),
        })
    }
}

impl Canonical for Swept {
    fn write(&self, to: &mut Writer) {
        to.array(3);
        to.uint(self.iteration.into());
        to.uint(self.device.0.into());
        to.array(self.roots.len());
        self.roots.iter().for_each(|root| to.bytes(&root.0));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("swept", 3)?;
        let (iteration, device) = (from.uint32("iteration")?, DeviceOrdinal(from.uint32("ordinal")?));
        let len = from.array_within("roots", 1..=MAX_SWEEPS_PER_ITERATION as usize)?;
        let roots = (0..len)
            .map(|_| from.array_of_bytes("root").map(Root))
            .collect::<Result<_, _>>()?;
        Ok(Swept {
            iteration,
            device,
            roots,
        })
    }
}

impl Canonical for Crossed {
    fn write(&self, to: &mut Writer) {
        to.array(4);
        to.uint(self.iteration.into());
        to.uint(self.round.into());
        to.uint(self.device.0.into());
        to.bytes(&self.root.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("crossed", 4)?;
        let crossed = Crossed {
            iteration: from.uint32("iteration")?,
            round: from.uint32("round")?,
            device: DeviceOrdinal(from.uint32("ordinal")?),
            root: Root(from.array_of_bytes("root")?),
        };
        if crossed.round >= MAX_ROUNDS {
            return Err(Malformed::value("round", "0 to 62", crossed.round));
        }
        Ok(crossed)
    }
}

impl Canonical for SampleMessage {
    fn write(&self, to: &mut Writer) {
        to.array(1);
        to.bytes(&self.0.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("sample", 1)?;
        Ok(SampleMessage(Fresh(from.array_of_bytes("seed")?)))
    }
}

impl OpeningsBody {
    /// The body whose canonical bytes are `bytes`, with its first `most` samples alone, and how many it has. Those left out
    /// are held to the same form: a sample with nothing in it has 10 bytes, and takes fourteen times that to keep.
    ///
    /// # Errors
    ///
    /// [`Malformed`] as in [`Canonical::from_bytes`].
    pub fn first_samples(bytes: &[u8], most: u64) -> Result<(Self, usize), Malformed> {
        let (mut reader, mut again) = (Reader::new(bytes), Writer::default());
        let read = Self::read_first(&mut reader, most, &mut again)?;
        reader.check_whole(bytes, &again.into_bytes())?;
        Ok(read)
    }

    /// Reads a body, keeps its first `most` samples, and writes all of it `again`; the number of its samples beside it.
    fn read_first(from: &mut Reader<'_>, most: u64, again: &mut Writer) -> Result<(Self, usize), Malformed> {
        let items = from.array_within("openings", 2..=3)?;
        let len = from.array_within("samples", 0..=usize::MAX)?;
        again.array(items);
        again.array(len);
        // No reservation: memory grows only with the bytes received.
        let mut openings = Vec::new();
        for _ in 0..len {
            from.array("openings of a sample", 3)?;
            let sample = [Opening::read(from)?, Opening::read(from)?, Opening::read(from)?];
            again.list(&sample);
            if (openings.len() as u64) < most {
                openings.push(sample);
            }
        }
        let body = OpeningsBody {
            openings,
            labels: from.list("session labels", 0..=MAX_LABELS)?,
            attestation: match items {
                2 => None,
                _ => Some(from.bytes("attestation", MAX_ATTESTATION_BYTES)?.to_vec()),
            },
        };
        if body.attestation.as_ref().is_some_and(Vec::is_empty) {
            return Err(Malformed::value("attestation", "at least 1 byte", 0));
        }
        body.write_beside_samples(again);
        Ok((body, len))
    }

    /// Labels and attestation. The optional item is absent, not null: what has none is as short as before there was any.
    fn write_beside_samples(&self, to: &mut Writer) {
        to.list(&self.labels);
        if let Some(attestation) = &self.attestation {
            to.bytes(attestation);
        }
    }
}

impl Canonical for OpeningsBody {
    fn write(&self, to: &mut Writer) {
        to.array(2 + usize::from(self.attestation.is_some()));
        to.array(self.openings.len());
        for sample in &self.openings {
            to.list(sample);
        }
        self.write_beside_samples(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (body, _) = Self::read_first(from, u64::MAX, &mut Writer::default())?;
        Ok(body)
    }
}

impl Canonical for Opening {
    fn write(&self, to: &mut Writer) {
        to.array(2);
        to.bytes(&self.chunk);
        to.array(self.siblings.len());
        self.siblings.iter().for_each(|sibling| to.bytes(sibling));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("opening", 2)?;
        let chunk = from.bytes("chunk", blake3::CHUNK_LEN)?.to_vec();
        // 2^32 leaves of 8 bytes are 2^25 chunks.
        let len = from.array_within("siblings", 0..=25)?;
        let siblings = (0..len)
            .map(|_| from.array_of_bytes("sibling"))
            .collect::<Result<_, _>>()?;
        Ok(Opening { chunk, siblings })
    }
}

impl Canonical for Abort {
    fn write(&self, to: &mut Writer) {
        to.array(3);
        to.uint((self.code as u32).into());
        match self.device {
            Some(device) => to.uint(device.0.into()),
            None => to.null(),
        }
        to.text(&self.message);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("abort", 3)?;
        let number = from.uint32("code")?;
        let code = AbortCode::ALL
            .into_iter()
            .find(|&code| code as u32 == number)
            .ok_or_else(|| Malformed::value("code", "1..=8", number))?;
        Ok(Abort {
            code,
            device: from.optional(|from| from.uint32("ordinal").map(DeviceOrdinal))?,
            message: from.text("message")?,
        })
    }
}

impl Canonical for ResultMessage {
    fn write(&self, to: &mut Writer) {
        to.array(3);
        to.uint(self.status.into());
        to.text(&self.reason);
        to.text(&self.message);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("result", 3)?;
        let status = from.uint32("status")?;
        if status > 2 {
            return Err(Malformed::value("status", "0, 1 or 2", status));
        }
        Ok(ResultMessage {
            status,
            reason: from.text("reason")?,
            message: from.text("message")?,
        })
    }
}

impl Canonical for ProgressMessage {
    fn write(&self, to: &mut Writer) {
        to.array(1);
        to.list(&self.devices);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("progress", 1)?;
        Ok(ProgressMessage {
            devices: from.list("devices", 0..=MAX_DEVICES)?,
        })
    }
}

impl Canonical for DeviceProgress {
    fn write(&self, to: &mut Writer) {
        to.array(3);
        to.uint(self.device.0.into());
        to.uint(self.done_tiles);
        to.uint(self.total_tiles);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("device progress", 3)?;
        Ok(DeviceProgress {
            device: DeviceOrdinal(from.uint32("ordinal")?),
            done_tiles: from.uint("done_tiles")?,
            total_tiles: from.uint("total_tiles")?,
        })
    }
}
