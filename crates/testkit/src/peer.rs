//! The Attester's end of a connection, which answers messages: honestly, or with changed answers.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;

use protocol::attester::{AttesterSession, Task};
use protocol::bytes::{DeviceOrdinal, Root};
use protocol::commitment::Opening;
use protocol::derive::advance_sweep_salts;
use protocol::engine::{Engine, EngineError, Unobserved};
use protocol::frame::{Frame, MessageType};
use protocol::message::{Abort, Hello};
use protocol::plan::Plan;
use protocol::trace::Site;

use crate::cast;

/// An action of an Attester on its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends a whole message.
    Frame(Frame),
    /// Sends these bytes, which need not be a message.
    Bytes(Vec<u8>),
    /// Lets this many nanoseconds pass.
    Wait(u64),
    /// Closes its end.
    Close,
    /// Does nothing more, and keeps its end open.
    Hang,
}

/// The party at the Attester's end.
pub trait Peer {
    /// What it does before it receives anything.
    fn greet(&mut self) -> Vec<Action>;

    /// What it does when the Verifier has sent `frame`.
    fn answer(&mut self, frame: &Frame) -> Vec<Action>;
}

/// Changes what is opened before it is signed.
pub type OpeningsHook = Box<dyn FnMut(&mut Vec<[Opening; 3]>) + Send>;

/// The honest Attester, on one thread: its engines work while it answers.
pub struct HonestPeer {
    session: AttesterSession,
    greeting: Frame,
    engines: Vec<(DeviceOrdinal, Box<dyn Engine>)>,
    /// The key that signs OPENINGS.
    pub key: SigningKey,
    /// The TLS exporter value that is signed with OPENINGS.
    pub tls_exporter: Option<[u8; 32]>,
    /// Changes the openings before they are signed.
    pub openings_hook: Option<OpeningsHook>,
}

impl HonestPeer {
    /// The Attester that says `hello` and serves its devices with `engine(g)`.
    #[must_use]
    pub fn new(hello: Hello, mut engine: impl FnMut(DeviceOrdinal) -> Box<dyn Engine>) -> Self {
        let engines = hello.devices.iter().map(|d| (d.ordinal, engine(d.ordinal))).collect();
        let (session, greeting) = AttesterSession::new(hello);
        HonestPeer {
            session,
            greeting,
            engines,
            key: cast::attester_key(),
            tls_exporter: None,
            openings_hook: None,
        }
    }

    /// The Attester's own session.
    #[must_use]
    pub fn session(&self) -> &AttesterSession {
        &self.session
    }

    fn engine(&mut self, g: DeviceOrdinal) -> &mut dyn Engine {
        let (_, engine) = self
            .engines
            .iter_mut()
            .find(|(ordinal, _)| *ordinal == g)
            .expect("plans name devices of HELLO");
        engine.as_mut()
    }

    /// Connects the devices if the plan has rounds.
    fn connect(&mut self, planned: &[DeviceOrdinal]) -> Result<(), (DeviceOrdinal, EngineError)> {
        let has_rounds = |plan: &Plan| plan.iterations().iter().any(|iteration| iteration.crossings > 0);
        if !self.session.plan().is_some_and(has_rounds) {
            return Ok(());
        }
        let dataset = |&g: &DeviceOrdinal| self.engine(g).dataset().map_err(|e| (g, e));
        let datasets = planned.iter().map(dataset).collect::<Result<Vec<_>, _>>()?;
        for &g in planned {
            self.engine(g).connect(&datasets).map_err(|e| (g, e))?;
        }
        Ok(())
    }

    fn open(&mut self, site: &Site) -> Result<[Opening; 3], (DeviceOrdinal, EngineError)> {
        let [pair, a, b] = site.openings();
        let mut open = |(g, commitment, leaf)| self.engine(g).open(commitment, leaf).map_err(|e| (g, e));
        Ok([open(pair)?, open(a)?, open(b)?])
    }

    fn work(&mut self, task: Task) -> Result<Vec<Action>, (DeviceOrdinal, EngineError)> {
        let planned: Vec<DeviceOrdinal> = self
            .session
            .plan()
            .map(|plan| plan.devices().iter().map(|device| device.ordinal).collect())
            .unwrap_or_default();
        let frames = match task {
            Task::Prepare(assignments) => {
                for (g, assignment) in assignments {
                    self.engine(g).prepare(&assignment).map_err(|e| (g, e))?;
                }
                self.connect(&planned)?;
                vec![self.session.ready()]
            }
            Task::Fill(task) => planned
                .into_iter()
                .map(|g| {
                    let root = self.engine(g).fill(&task, &Unobserved).map_err(|e| (g, e))?;
                    Ok(self.session.filled(g, root).expect("each device fills once"))
                })
                .collect::<Result<_, _>>()?,
            Task::Sweep {
                first_salts: mut salts,
                sweeps,
            } => {
                let mut all: BTreeMap<DeviceOrdinal, Vec<Root>> = BTreeMap::new();
                for _ in 0..sweeps {
                    let mut roots = Vec::new();
                    for (g, salt) in &salts {
                        let root = self.engine(*g).sweep(salt, &Unobserved).map_err(|e| (*g, e))?;
                        all.entry(*g).or_default().push(root);
                        roots.push(root);
                    }
                    advance_sweep_salts(&mut salts, &roots);
                }
                let swept = |(g, roots)| self.session.swept(g, roots).expect("each device sweeps once");
                all.into_iter().map(swept).collect()
            }
            Task::Cross(tasks) => tasks
                .into_iter()
                .map(|(g, task)| {
                    let root = self.engine(g).cross(&task, &Unobserved).map_err(|e| (g, e))?;
                    Ok(self.session.crossed(g, root).expect("each device crosses once a round"))
                })
                .collect::<Result<_, _>>()?,
            Task::Open(sites) => {
                let mut openings = sites
                    .iter()
                    .map(|site| self.open(site))
                    .collect::<Result<Vec<_>, _>>()?;
                if let Some(hook) = &mut self.openings_hook {
                    hook(&mut openings);
                }
                let tls_exporter = self.tls_exporter;
                let frame = self
                    .session
                    .openings(openings, Vec::new(), &self.key, tls_exporter.as_ref());
                vec![frame]
            }
            Task::Wait => Vec::new(),
            Task::Finish(_) => return Ok(vec![Action::Close]),
        };
        Ok(frames.into_iter().map(Action::Frame).collect())
    }
}

impl Peer for HonestPeer {
    fn greet(&mut self) -> Vec<Action> {
        vec![Action::Frame(self.greeting.clone())]
    }

    fn answer(&mut self, frame: &Frame) -> Vec<Action> {
        let abort = match self.session.received(frame) {
            Ok(task) => match self.work(task) {
                Ok(actions) => return actions,
                Err((g, error)) => Abort::from_engine(g, &error),
            },
            Err(violation) => violation.to_abort(),
        };
        vec![Action::Frame(self.session.abort(&abort)), Action::Close]
    }
}

/// What a peer is about to do, and why.
pub struct Turn<'a> {
    /// The message it answers; `None` for HELLO.
    pub to: Option<&'a Frame>,
    /// What it would do.
    pub actions: Vec<Action>,
}

impl Turn<'_> {
    /// Whether this turn answers a message of this type.
    #[must_use]
    pub fn answers(&self, message_type: MessageType) -> bool {
        self.to.is_some_and(|frame| frame.message_type() == Some(message_type))
    }

    /// Position of the first frame of this type among the actions.
    #[must_use]
    pub fn position(&self, message_type: MessageType) -> Option<usize> {
        self.actions
            .iter()
            .position(|action| matches!(action, Action::Frame(frame) if frame.message_type() == Some(message_type)))
    }

    /// The first frame of this type among the actions.
    pub fn frame(&mut self, message_type: MessageType) -> Option<&mut Frame> {
        let position = self.position(message_type)?;
        match &mut self.actions[position] {
            Action::Frame(frame) => Some(frame),
            _ => None,
        }
    }
}

/// A peer whose turns are changed before they take effect.
pub struct Tampered<P, F> {
    inner: P,
    tamper: F,
}

impl<P: Peer, F: FnMut(&mut Turn<'_>)> Tampered<P, F> {
    /// `inner`, whose every turn passes through `tamper`.
    #[must_use]
    pub fn new(inner: P, tamper: F) -> Self {
        Tampered { inner, tamper }
    }

    fn turn(&mut self, to: Option<&Frame>, actions: Vec<Action>) -> Vec<Action> {
        let mut turn = Turn { to, actions };
        (self.tamper)(&mut turn);
        turn.actions
    }
}

impl<P: Peer, F: FnMut(&mut Turn<'_>)> Peer for Tampered<P, F> {
    fn greet(&mut self) -> Vec<Action> {
        let actions = self.inner.greet();
        self.turn(None, actions)
    }

    fn answer(&mut self, frame: &Frame) -> Vec<Action> {
        let actions = self.inner.answer(frame);
        self.turn(Some(frame), actions)
    }
}

/// A peer that receives messages other than those that were sent.
pub struct Misled<P, F> {
    inner: P,
    mislead: F,
}

impl<P: Peer, F: FnMut(&mut Frame)> Misled<P, F> {
    /// `inner`, to which every message comes through `mislead`.
    #[must_use]
    pub fn new(inner: P, mislead: F) -> Self {
        Misled { inner, mislead }
    }
}

impl<P: Peer, F: FnMut(&mut Frame)> Peer for Misled<P, F> {
    fn greet(&mut self) -> Vec<Action> {
        self.inner.greet()
    }

    fn answer(&mut self, frame: &Frame) -> Vec<Action> {
        let mut frame = frame.clone();
        (self.mislead)(&mut frame);
        self.inner.answer(&frame)
    }
}
