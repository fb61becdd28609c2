//! A Verifier's session driven by its caller: bytes in any pieces, times, ends and releases in any order (spec §5,
//! §9.3).

use protocol::bytes::{DeviceOrdinal, Fresh, Identity};
use protocol::derive::derive;
use protocol::driver::{Need, Opener, VerifierDriver};
use protocol::evidence::{Evidence, EvidenceError};
use protocol::verifier::Mode;
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer};

use crate::evidence::challenge;
use crate::input::Input;
use testkit::stand_in::StandIn;

/// A driver, an honest Attester, and the messages in transit between them.
struct Stage {
    opener: Opener,
    driver: VerifierDriver,
    attester: HonestPeer,
    coming: Vec<u8>,
    now_ns: u64,
    drawn: u64,
}

impl Stage {
    fn new(input: &mut Input<'_>) -> Self {
        let is_offline = input.u8() % 2 == 1;
        let sizes = [1, 2, 3, 128, 257];
        let matrices: Vec<u64> = (0..=input.below(3)).map(|_| sizes[input.below(sizes.len())]).collect();
        let hello = cast::hello(&matrices);
        let request = cast::request(
            &[(64, 1 + u32::from(input.u8()) % 3), (128, 1)],
            1 + u32::from(input.u8()),
        );
        let opener = if is_offline {
            Opener::Challenge(challenge(request.plan(&hello).expect("it offers what is asked for")))
        } else {
            Opener::Request(request)
        };
        let mut attester = HonestPeer::new(hello, |_: DeviceOrdinal| Box::new(StandIn::default()));
        let coming = bytes(attester.greet());
        Stage {
            driver: VerifierDriver::new(opener.clone(), 1_000, None),
            opener,
            attester,
            coming,
            now_ns: 0,
            drawn: 0,
        }
    }

    /// Delivers at most `count` bytes.
    fn arrive(&mut self, count: usize) {
        let rest = self.coming.split_off(count.min(self.coming.len()));
        let arrived = std::mem::replace(&mut self.coming, rest);
        self.driver.received(self.now_ns, arrived);
    }

    fn release(&mut self) {
        self.drawn += 1;
        let fresh = Fresh(derive("fuzz", &[&self.drawn.to_le_bytes()]));
        let is_due = matches!(self.driver.need(), Need::Release(_));
        match self.driver.release(self.now_ns, fresh) {
            Some(frame) => {
                assert!(is_due, "{frame:?} was not due");
                let answer = bytes(self.attester.answer(&frame));
                self.coming.extend(answer);
            }
            None => assert!(!matches!(self.driver.need(), Need::Release(_)), "it was due"),
        }
    }

    /// One step of an undisturbed session.
    fn go_on(&mut self) {
        self.now_ns = self.now_ns.saturating_add(1_000);
        match self.driver.need() {
            Need::Release(_) => self.release(),
            Need::Bytes { .. } => self.arrive(usize::MAX),
            Need::Check => self.driver.checked(Ok(())).expect("tiles are due"),
            Need::Nothing => {}
        }
    }
}

fn bytes(actions: Vec<Action>) -> Vec<u8> {
    let frame = |action| match action {
        Action::Frame(frame) => Some([&frame.header()[..], &frame.payload].concat()),
        _ => None,
    };
    actions.into_iter().filter_map(frame).flatten().collect()
}

/// Disturbs an honest session on its way to the Verifier. Whatever happens, replaying its records results in the same
/// session.
///
/// # Panics
///
/// If that does not hold, or if an undisturbed session does not end.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut stage = Stage::new(&mut input);
    let mut is_disturbed = false;
    for _ in 0..256 {
        if input.is_empty() || stage.driver.need() == Need::Nothing {
            break;
        }
        let operation = input.u8() % 16;
        is_disturbed |= operation < 8;
        match operation {
            0 => stage.now_ns = input.u64() >> (input.u8() % 64),
            1 => stage.now_ns = stage.now_ns.saturating_add(u64::from(input.u32()) << (input.u8() % 16)),
            2 => {
                let at = input.below(stage.coming.len().min(64));
                if let Some(byte) = stage.coming.get_mut(at) {
                    *byte ^= input.u8();
                }
            }
            3 => {
                let end = input.below(stage.coming.len() + 1);
                drop(stage.coming.drain(..end));
            }
            4 => {
                let at = input.below(2) * stage.coming.len();
                let inserted = input.sized().to_vec();
                stage.coming.splice(at..at, inserted);
            }
            5 => stage.driver.closed(stage.now_ns, [None, Some("reset")][input.below(2)]),
            6 => stage.driver.stop(stage.now_ns),
            7 => stage.arrive(usize::from(input.u16())),
            8 => stage.driver.time(stage.now_ns),
            9 => stage.release(),
            10 => drop(stage.driver.take_progress()),
            11 if matches!(stage.driver.need(), Need::Bytes { .. }) => stage.arrive(usize::from(input.u8())),
            _ => stage.go_on(),
        }
    }
    check_again(&stage);
    if !is_disturbed {
        (0..100).for_each(|_| stage.go_on());
        let verdict = stage.driver.session().verdict().expect("an undisturbed session ends");
        assert_eq!(verdict.code(), "", "{}", verdict.message());
    }
}

/// Replaying the records results in the same session.
fn check_again(stage: &Stage) {
    let session = stage.driver.session();
    let config = *session.config();
    let evidence = Evidence {
        config,
        started_unix_ms: 0,
        assumptions: cast::assumptions(),
        challenge: match &stage.opener {
            Opener::Challenge(challenge) => Some(challenge.clone()),
            Opener::Request(_) => None,
        },
        sealer: match config.mode {
            Mode::Online => session.verifier().copied().unwrap_or(Identity([0; 32])),
            Mode::Offline => session.hello().map_or(Identity([0; 32]), |hello| hello.identity),
        },
        records: session.records().to_vec(),
    };
    match evidence.replay() {
        Ok(mut again) => {
            if again.step() != session.step() {
                again.checked(Ok(())).expect("tiles were due");
            }
            assert_eq!(again.verdict(), session.verdict());
            assert_eq!(again.windows(), session.windows());
            assert_eq!(again.checksum(), session.checksum());
        }
        Err(EvidenceError::Incomplete(at)) => assert_eq!(at, session.step()),
        Err(error) => panic!("records of this very session are refused: {error}"),
    }
}

/// Undisturbed sessions, and one disturbance of every kind at several places.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for setup in [
        &[0, 0, 0, 0, 0, 0, 0][..],
        &[0, 1, 0, 2, 0, 4, 0, 1, 9],
        &[1, 1, 0, 3, 0, 1, 0, 2, 3],
    ] {
        seeds.push([setup, &[15; 40]].concat());
        for operation in 0..12 {
            for steps in [0, 1, 2, 3, 5, 8, 9] {
                let disturbance = [operation, 1, 0, 0, 0, 0, 0, 0, 0, 0];
                seeds.push([setup, &vec![15; steps], &disturbance, &[15; 30]].concat());
            }
        }
    }
    seeds
}
