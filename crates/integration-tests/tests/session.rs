//! Affirmed sessions, and the result of checking their evidence again.

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::Mutex;

use engine_cpu::{Path, TileComputerError};
use integration_tests::{attester, cpu, run, settings};
use protocol::certified::Certified;
use protocol::verdict::Verdict;
use report::Report;
use verifier::recompute::{Recompute, RecomputeError};
use verifier::{Observer, SessionError, Settings, Stop, Unobserved, VerifyError, attest, verify};

#[test]
fn a_session_is_affirmed_and_its_evidence_too() {
    for devices in [1, 3] {
        let (attestation, result) = run(attester(cpu(devices)), &settings(), &Unobserved);
        assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
        assert_eq!(result.expect("a RESULT").status, 0);
        let plan = attestation.session.plan().expect("a plan");
        assert_eq!(plan.devices().len(), devices);

        let verified = verify(
            &attestation.sealed,
            &Recompute::default(),
            &attestation.judge(),
            &Unobserved,
        )
        .expect("evidence");
        assert_eq!(verified.session.verdict(), Some(&Verdict::Affirmed));
        assert_eq!(verified.session.checksum(), attestation.session.checksum());
        assert!(verified.session.checksum().is_some());
        let report =
            |evidence, session| Report::new(evidence, session, &attestation.sealed, &attestation.judge()).to_json();
        assert_eq!(
            report(&verified.evidence, &verified.session),
            report(&attestation.evidence, &attestation.session)
        );
        println!(
            "{}",
            Report::new(
                &verified.evidence,
                &verified.session,
                &attestation.sealed,
                &attestation.judge()
            )
            .text(report::Detail::All)
        );
    }
}

/// A problem on the Verifier's side that would surface at the end is reported before the Attester is asked for anything.
#[test]
fn a_verifier_that_cannot_recompute_asks_for_no_work() {
    let lacking = Path::ALL.into_iter().find(|path| !path.is_available());
    let settings = Settings {
        recompute: Recompute {
            path: lacking.expect("x86-64 and ARM paths are not on one CPU"),
            ..Recompute::default()
        },
        ..settings()
    };
    let (from_attester, _silent) = io::pipe().expect("a pipe");
    let (mut asked, to_attester) = io::pipe().expect("a pipe");
    let outcome = attest(from_attester, to_attester, &settings, &Unobserved);
    assert!(matches!(
        outcome,
        Err(SessionError::Recompute(RecomputeError::Cpu(
            TileComputerError::Unsupported(_)
        )))
    ));
    let mut sent = Vec::new();
    asked.read_to_end(&mut sent).expect("the other end is closed");
    assert!(sent.is_empty());
}

/// Stops the check once this many samples agree, and keeps what they certify.
struct StopsAfter {
    samples: usize,
    stop: Stop,
    certified: Mutex<Vec<Option<Certified>>>,
}

impl Observer for StopsAfter {
    fn recomputed(&self, done: usize, _total: usize) {
        if done >= self.samples {
            self.stop.ask();
        }
    }

    fn certified_so_far(&self, certified: &dyn Fn() -> Option<Certified>) {
        self.certified.lock().expect("no panic").push(certified());
    }

    fn stop(&self) -> Option<&Stop> {
        Some(&self.stop)
    }
}

#[test]
fn a_check_that_is_stopped_certifies_what_it_came_to() {
    let (attestation, _) = run(attester(cpu(2)), &settings(), &Unobserved);
    // A small tile budget: many short batches, so that the checks closely follow the order of drawing.
    let recompute = Recompute {
        threads: NonZeroUsize::MIN,
        tile_budget_bytes: 32 * 65_536,
        ..Recompute::default()
    };
    let all = verify(&attestation.sealed, &recompute, &attestation.judge(), &Unobserved).expect("evidence");
    let total = all.session.tile_checks().len();
    let observer = StopsAfter {
        samples: total / 2,
        stop: Stop::new().expect("a pipe"),
        certified: Mutex::default(),
    };
    let Err(VerifyError::Stopped(stopped)) = verify(&attestation.sealed, &recompute, &attestation.judge(), &observer)
    else {
        panic!("it was to stop after {} of {total}", total / 2);
    };
    let so_far = &stopped.so_far;
    assert!(so_far.done >= total / 2 && so_far.done < total, "{so_far:?}");
    assert_eq!(stopped.session.verdict(), None);
    // Two devices, two distinct k.
    assert_eq!(so_far.groups.len(), 4);
    for group in &so_far.groups {
        assert!(group.first_agreeing <= group.drawn);
        assert!(
            group.first_agreeing + 8 >= group.drawn.min(so_far.done / 4),
            "{group:?}"
        );
    }
    // A bound requires 256 samples per group: half of the 336 leaves with k = 4096 are not enough.
    let certified = observer.certified.into_inner().expect("no panic");
    assert_eq!(certified.len(), so_far.done);
    assert!(
        certified
            .iter()
            .all(|certified| certified.as_ref().is_some_and(|c| c.host.tensor_ops_per_s.is_none()))
    );

    let observer = StopsAfter {
        samples: total + 1,
        stop: Stop::new().expect("a pipe"),
        certified: Mutex::default(),
    };
    verify(&attestation.sealed, &recompute, &attestation.judge(), &observer).expect("nothing stopped it");
    let bounds: Vec<u128> = observer
        .certified
        .into_inner()
        .expect("no panic")
        .into_iter()
        .filter_map(|certified| Some(certified?.host.tensor_ops_per_s?.value))
        .collect();
    assert!(bounds.is_sorted() && bounds.len() > 1, "a bound only grows: {bounds:?}");
    let whole = all
        .session
        .certified(&all.evidence.assumptions)
        .expect("an affirmed session");
    assert_eq!(
        bounds.last().copied(),
        whole.host.tensor_ops_per_s.map(|bound| bound.value)
    );
}

#[test]
fn the_verdict_does_not_depend_on_threads_or_room() {
    let (attestation, _) = run(attester(cpu(2)), &settings(), &Unobserved);
    for (threads, operand_budget_bytes, tile_budget_bytes) in [(1, 0, 0), (5, 1 << 20, 1 << 20), (3, 1 << 30, 1 << 30)]
    {
        let recompute = Recompute {
            threads: NonZeroUsize::new(threads).expect("not zero"),
            operand_budget_bytes,
            tile_budget_bytes,
            ..Recompute::default()
        };
        let verified = verify(&attestation.sealed, &recompute, &attestation.judge(), &Unobserved).expect("evidence");
        assert_eq!(verified.session.verdict(), Some(&Verdict::Affirmed));
    }
}
