//! The Attester's side.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ed25519_dalek::SigningKey;

use super::decoder::{Decoded, FrameDecoder};
use super::limits::{LimitPassed, Limits, Watchdog};
use crate::attester::{AttesterSession, Task, Violation};
use crate::bytes::{DeviceOrdinal, Nonce, Root};
use crate::cbor::{Canonical, Label, sendable_text};
use crate::commitment::Opening;
use crate::engine::EngineError;
use crate::frame::{Frame, MessageType};
use crate::limits::MAX_LABELS;
use crate::message::{Abort, DeviceProgress, Hello, NonceMessage, ProgressMessage, ResultMessage};
use crate::plan::Plan;

/// How often PROGRESS is due while devices work (ns): it keeps the connection alive and shows users that the work
/// proceeds.
const PROGRESS_EVERY_NS: u64 = 250_000_000;

/// Longest time that openings wait for the manufacturer's attestation, whatever the Verifier's deadline (ns).
const MAX_ATTESTATION_NS: u64 = 300_000_000_000;

/// An action that the caller has to do, in order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write this frame.
    Send(Frame),
    /// Let devices do this task; each device named by it ends with [`AttesterDriver::done`] or
    /// [`AttesterDriver::failed`]. Devices that [`Task::Prepare`] does not name are not used in this session.
    Start(Task),
    /// Request the hardware manufacturer's attestation over this nonce; it ends with [`AttesterDriver::attested`].
    Attest(Nonce),
    /// The manufacturer's attestation is too late: stop it.
    AbandonAttestation,
    /// The devices get no more tasks.
    Release,
    /// PROGRESS is due: send [`AttesterDriver::progress`], unless other frames wait to be written.
    Progress,
}

/// What a device has finished.
#[derive(Clone, Debug)]
pub enum Done {
    /// It has allocated its memory.
    Prepared,
    /// It has filled; its root.
    Filled(Root),
    /// It has swept; all roots.
    Swept(Vec<Root>),
    /// It has computed its leaves of a round; their root.
    Crossed(Root),
    /// It has opened leaves: the sample's position among all samples, which of its three openings, and that one; and the
    /// device's telemetry.
    Opened(Vec<(usize, usize, Opening)>, Vec<Label>),
}

/// Why a session ended without RESULT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The Verifier violated the protocol; this is reported to it.
    Violation(Violation),
    /// One of this Attester's limits was exceeded; this is reported to the Verifier.
    Limit(LimitPassed),
    /// A device could not do its work, or the caller rejected the plan; this is reported to the Verifier.
    Aborted(Abort),
    /// A frame is longer than its limit.
    Oversized {
        /// Number of its type.
        type_number: u32,
        /// The length announced.
        length_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The connection has ended: between two frames, or within one, with the bytes received and expected.
    Closed(Option<(u64, u64)>),
}

/// One session of an Attester, driven by its caller. Times are ns since it started, on the Attester's clock.
pub struct AttesterDriver {
    session: AttesterSession,
    key: SigningKey,
    tls_exporter: Option<[u8; 32]>,
    decoder: FrameDecoder,
    is_closed: bool,
    watchdog: Watchdog,
    actions: VecDeque<Action>,
    /// Devices that have not finished their current task.
    pending: BTreeSet<DeviceOrdinal>,
    next_progress_ns: u64,
    openings: Vec<[Option<Opening>; 3]>,
    /// Telemetry of each device.
    labels: BTreeMap<DeviceOrdinal, Vec<Label>>,
    /// When SAMPLE was received, until it is answered.
    opening_since_ns: Option<u64>,
    maker: Maker,
    outcome: Option<Result<ResultMessage, Ended>>,
}

/// The hardware manufacturer's attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// It will be requested once the nonce is known.
    Wanted,
    /// It is running.
    Asked,
    /// None is requested, or it has ended.
    Over,
}

impl AttesterDriver {
    /// A session that starts with this HELLO. OPENINGS are signed by `key`, and wait for an attestation of the
    /// hardware's manufacturer if `attests`.
    #[must_use]
    pub fn new(hello: Hello, key: SigningKey, limits: Limits, attests: bool, tls_exporter: Option<[u8; 32]>) -> Self {
        let (session, hello) = AttesterSession::new(hello);
        let mut watchdog = Watchdog::new(limits);
        watchdog.note(0, session.due(), false);
        AttesterDriver {
            session,
            key,
            tls_exporter,
            decoder: FrameDecoder::default(),
            is_closed: false,
            watchdog,
            actions: VecDeque::from([Action::Send(hello)]),
            pending: BTreeSet::new(),
            next_progress_ns: 0,
            openings: Vec::new(),
            labels: BTreeMap::new(),
            opening_since_ns: None,
            maker: if attests { Maker::Wanted } else { Maker::Over },
            outcome: None,
        }
    }

    /// The next action for the caller, if any.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How the session ended, once it has; the remaining actions of [`Self::next_action`] must still be done.
    #[must_use]
    pub fn outcome(&self) -> Option<&Result<ResultMessage, Ended>> {
        self.outcome.as_ref()
    }

    /// The latest time to call [`Self::time`] (ns), if nothing happens before.
    #[must_use]
    pub fn until_ns(&self, now_ns: u64) -> u64 {
        let limit_ns = self.watchdog.until_ns(now_ns, self.opening_since_ns.is_some());
        let mut until_ns = limit_ns.unwrap_or(now_ns);
        if !self.pending.is_empty() {
            until_ns = until_ns.min(self.next_progress_ns);
        }
        match self.attestation_until_ns() {
            Some(attested_ns) => until_ns.min(attested_ns),
            None => until_ns,
        }
    }

    /// Handles bytes from the Verifier.
    pub fn received(&mut self, now_ns: u64, bytes: Vec<u8>) {
        self.decoder.push(now_ns, bytes);
        self.take_frames(now_ns);
        self.moved(now_ns);
    }

    /// Handles the end of the connection: no more bytes will be received.
    pub fn closed(&mut self, now_ns: u64) {
        self.is_closed = true;
        self.take_frames(now_ns);
    }

    /// Handles the passing of time: limits may have been exceeded, PROGRESS may be due.
    pub fn time(&mut self, now_ns: u64) {
        if self.outcome.is_some() {
            return;
        }
        if let Err(limit) = self.watchdog.until_ns(now_ns, self.opening_since_ns.is_some()) {
            return self.stop(limit);
        }
        if !self.pending.is_empty() && now_ns >= self.next_progress_ns {
            self.next_progress_ns = now_ns.saturating_add(PROGRESS_EVERY_NS);
            self.actions.push_back(Action::Progress);
        }
        if self.attestation_until_ns().is_some_and(|until_ns| now_ns >= until_ns) {
            // A session without it is equally valid; openings that are late are a failure.
            self.maker = Maker::Over;
            self.actions.push_back(Action::AbandonAttestation);
            self.moved(now_ns);
        }
    }

    /// Handles what a device has finished.
    pub fn done(&mut self, now_ns: u64, device: DeviceOrdinal, done: Done) {
        if self.outcome.is_some() || !self.pending.remove(&device) {
            return;
        }
        let frame = match done {
            Done::Prepared if self.pending.is_empty() => Ok(self.session.ready()),
            Done::Prepared => return,
            Done::Filled(root) => self.session.filled(device, root),
            Done::Swept(roots) => self.session.swept(device, roots),
            Done::Crossed(root) => self.session.crossed(device, root),
            Done::Opened(openings, labels) => {
                for (sample, which, opening) in openings {
                    if let Some(place) = self.openings.get_mut(sample).and_then(|sample| sample.get_mut(which)) {
                        *place = Some(opening);
                    }
                }
                self.labels.insert(device, labels);
                return self.moved(now_ns);
            }
        };
        match frame {
            Ok(frame) => self.actions.push_back(Action::Send(frame)),
            Err(misplaced) => self.end_by_violation(misplaced.into()),
        }
        self.moved(now_ns);
    }

    /// Handles the failure of a device; `uuid` identifies the card, as an ordinal is local to the process.
    pub fn failed(&mut self, device: DeviceOrdinal, uuid: Option<&str>, error: &EngineError) {
        let mut abort = Abort::from_engine(device, error);
        if let Some(uuid) = uuid {
            abort.message = sendable_text(&format!("{error} ({uuid})"));
        }
        self.abort(abort);
    }

    /// Handles the manufacturer's attestation; `None` if there is none.
    pub fn attested(&mut self, now_ns: u64, attestation: Option<Vec<u8>>) {
        if self.maker != Maker::Asked {
            return;
        }
        self.maker = Maker::Over;
        if let Some(attestation) = attestation {
            self.session.carry_attestation(attestation);
        }
        self.moved(now_ns);
    }

    /// Ends the session for a reason of the caller; this is reported to the Verifier.
    pub fn abort(&mut self, abort: Abort) {
        self.end_by(&abort, Ended::Aborted(abort.clone()));
    }

    /// PROGRESS of devices that have done this many tiles. `None` before PLAN has been received.
    #[must_use]
    pub fn progress(&self, done_tiles: impl IntoIterator<Item = (DeviceOrdinal, u64)>) -> Option<Frame> {
        let plan = self.session.plan()?;
        let devices = done_tiles.into_iter().filter_map(|(device, done_tiles)| {
            Some(DeviceProgress {
                device,
                done_tiles,
                total_tiles: total_tiles(plan, device)?,
            })
        });
        let progress = ProgressMessage {
            devices: devices.collect(),
        };
        Some(Frame::new(MessageType::Progress, progress.to_bytes()))
    }

    /// PLAN, once it has been received.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.session.plan()
    }

    fn take_frames(&mut self, now_ns: u64) {
        while self.outcome.is_none() {
            match self.decoder.next(AttesterSession::max_payload_bytes) {
                Decoded::Frame(_, frame) => {
                    self.take(now_ns, &frame);
                    self.watchdog.note(now_ns, self.session.due(), true);
                }
                Decoded::Oversized {
                    type_number,
                    length_bytes,
                    limit_bytes,
                } => {
                    self.outcome = Some(Err(Ended::Oversized {
                        type_number,
                        length_bytes,
                        limit_bytes,
                    }));
                }
                Decoded::Partial => {
                    if self.is_closed {
                        self.outcome = Some(Err(Ended::Closed(self.decoder.begun())));
                    }
                    return;
                }
            }
        }
    }

    fn take(&mut self, now_ns: u64, frame: &Frame) {
        let task = match self.session.received(frame) {
            Ok(task) => task,
            Err(violation) => return self.end_by_violation(violation),
        };
        match &task {
            Task::Wait => return,
            Task::Finish(result) => {
                self.outcome = Some(Ok(result.clone()));
                return;
            }
            Task::Prepare(assignments) => {
                let plan = self.session.plan().expect("preparing follows PLAN");
                // Before any device allocates memory: the plan determines how much it needs.
                if let Err(limit) = self.watchdog.check_work(plan) {
                    return self.stop(limit);
                }
                self.pending = assignments.iter().map(|(device, _)| *device).collect();
            }
            Task::Fill(_) | Task::Sweep { .. } => self.pending = self.planned(),
            Task::Cross(tasks) => self.pending = tasks.iter().map(|(device, _)| *device).collect(),
            Task::Open(sites) => {
                self.pending = self.planned();
                self.openings = vec![[None, None, None]; sites.len()];
                self.opening_since_ns = Some(now_ns);
            }
        }
        self.next_progress_ns = now_ns.saturating_add(PROGRESS_EVERY_NS);
        self.actions.push_back(Action::Start(task));
        // After the devices: their window has begun.
        if self.maker == Maker::Wanted
            && frame.message_type() == Some(MessageType::Nonce)
            && let Ok(NonceMessage(nonce)) = NonceMessage::from_bytes(&frame.payload)
        {
            self.maker = Maker::Asked;
            self.actions.push_back(Action::Attest(nonce));
        }
    }

    fn planned(&self) -> BTreeSet<DeviceOrdinal> {
        let devices = self.session.plan().into_iter().flat_map(|plan| plan.devices());
        devices.map(|device| device.ordinal).collect()
    }

    /// After any event: OPENINGS may be ready, and another message due.
    fn moved(&mut self, now_ns: u64) {
        if self.outcome.is_some() {
            return;
        }
        if self.opening_since_ns.is_some() && self.pending.is_empty() && self.maker != Maker::Asked {
            self.opening_since_ns = None;
            let whole = |[pair, a, b]: [Option<Opening>; 3]| Some([pair?, a?, b?]);
            let openings = self.openings.drain(..).filter_map(whole).collect();
            let labels = fair_share(std::mem::take(&mut self.labels));
            let exporter = self.tls_exporter.as_ref();
            let frame = self.session.openings(openings, labels, &self.key, exporter);
            // A Verifier that takes its time to decide must not hold the devices.
            self.actions.extend([Action::Send(frame), Action::Release]);
        }
        self.watchdog.note(now_ns, self.session.due(), false);
    }

    /// How long the openings wait for the manufacturer's attestation once everything else is ready: half of the time
    /// they have.
    fn attestation_until_ns(&self) -> Option<u64> {
        let since_ns = self
            .opening_since_ns
            .filter(|_| self.maker == Maker::Asked && self.pending.is_empty())?;
        let openings_ms = self.session.plan()?.fields().deadlines.openings_ms;
        let limit_ns = openings_ms.saturating_mul(1_000_000 / 2).min(MAX_ATTESTATION_NS);
        Some(since_ns.saturating_add(limit_ns))
    }

    fn stop(&mut self, limit: LimitPassed) {
        let device = match limit {
            LimitPassed::Work { device, .. } => Some(device),
            LimitPassed::Idle { .. } | LimitPassed::Session { .. } => None,
        };
        let abort = Abort {
            code: limit.abort_code(),
            device,
            message: sendable_text(&limit.to_string()),
        };
        self.end_by(&abort, Ended::Limit(limit));
    }

    fn end_by_violation(&mut self, violation: Violation) {
        self.end_by(&violation.to_abort(), Ended::Violation(violation));
    }

    fn end_by(&mut self, abort: &Abort, ended: Ended) {
        if self.outcome.is_none() {
            self.actions.push_back(Action::Send(self.session.abort(abort)));
            self.outcome = Some(Err(ended));
        }
    }
}

/// As many labels of each device as fit for all devices, in device order.
fn fair_share(labels: BTreeMap<DeviceOrdinal, Vec<Label>>) -> Vec<Label> {
    let each = MAX_LABELS / labels.len().max(1);
    let kept = labels.into_values().flat_map(|labels| labels.into_iter().take(each));
    kept.collect()
}

/// Tiles that a device fills, sweeps and pairs in rounds in the whole session.
fn total_tiles(plan: &Plan, ordinal: DeviceOrdinal) -> Option<u64> {
    let device = plan.devices().iter().find(|device| device.ordinal == ordinal)?;
    let passes: u64 = plan.iterations().iter().map(|i| 1 + u64::from(i.sweeps)).sum();
    let groups = plan.groups();
    // A leaf of a round takes two tiles.
    let crossing: u64 = groups.iter().map(|&k| 2 * plan.group_crossing_leaves(k)).sum();
    Some(passes * u64::from(plan.assignment(device).tiles()) + crossing)
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
