//! Recorded evidence that is recomputed later by a queue.

use std::path::PathBuf;
use std::sync::mpsc::{TryRecvError, channel};

use protocol::verdict::{Failure, Verdict};
use testkit::adversary::Adversary;
use testkit::cast;
use testkit::peer::HonestPeer;
use testkit::rehearsal::Rehearsal;
use verifier::VerifyError;
use verifier::budget::Budget;
use verifier::evidence_file::ReadError;
use verifier::queue::{Full, JobError, Queue};
use verifier::recompute::Recompute;

/// Evidence, in a file, of a session with an honest Attester or one whose leaves are made up.
fn evidence(folder: &tempfile::TempDir, name: &str, is_honest: bool) -> PathBuf {
    let mut peer = HonestPeer::new(cast::hello(&[3]), move |_| {
        if is_honest {
            cast::engine()
        } else {
            let junk = Adversary::named("junk-fill").expect("an adversary");
            junk.engine(cast::engine(), 0.4)
        }
    });
    let rehearsed = Rehearsal::new(cast::request(&[(64, 1)], 30)).run(&mut peer);
    let path = folder.path().join(name);
    std::fs::write(&path, rehearsed.sealed()).expect("a file");
    path
}

#[test]
fn each_gets_its_own_verdict_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let honest = evidence(&folder, "honest", true);
    let junk = evidence(&folder, "junk", false);
    let damaged = folder.path().join("damaged");
    std::fs::write(&damaged, b"no evidence").expect("a file");
    let queue = Queue::start(cast::recompute(), Vec::new(), 8).expect("a thread");
    let (send, verdicts) = channel();
    let paths = [&honest, &damaged, &junk, &folder.path().join("missing"), &honest];
    for (number, path) in paths.into_iter().enumerate() {
        let send = send.clone();
        let done = move |checked| send.send((number, checked)).expect("the test listens");
        queue.submit(path.clone(), cast::judge(), done).expect("there is room");
    }
    queue.finish();
    drop(send);
    let verdicts: Vec<_> = verdicts.into_iter().collect();
    assert_eq!(verdicts.len(), 5);
    for (place, (number, checked)) in verdicts.into_iter().enumerate() {
        assert_eq!(place, number);
        let verdict = checked.map(|checked| checked.verified.session.verdict().cloned());
        match (number, verdict) {
            (0 | 4, Ok(Some(Verdict::Affirmed)))
            | (1, Err(JobError::Verify(VerifyError::Evidence(_))))
            | (2, Ok(Some(Verdict::Contraindicated(Failure::Tile(_)))))
            | (3, Err(JobError::Read(ReadError::Io(_)))) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_costs_too_much_is_not_recomputed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = evidence(&folder, "honest", true);
    let recompute = Recompute {
        budget: Budget {
            multiply_adds: 1,
            ..Budget::default()
        },
        ..cast::recompute()
    };
    let queue = Queue::start(recompute, Vec::new(), 1).expect("a thread");
    let (send, verdict) = channel();
    let done = move |checked: Result<_, JobError>| send.send(checked.err()).expect("the test listens");
    queue.submit(path, cast::judge(), done).expect("there is room");
    let error = verdict.recv().expect("a verdict");
    assert!(
        matches!(error, Some(JobError::Verify(VerifyError::TooCostly(_)))),
        "{error:?}"
    );
}

/// The queue holds up to its capacity, reports when it is full, and discards the rest when it is dropped.
#[test]
fn a_queue_is_bounded_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    let queue = Queue::start(cast::recompute(), Vec::new(), 2).expect("a thread");
    let (began, has_begun) = channel();
    let (go_on, wait) = channel::<()>();
    let first = move |_: Result<_, JobError>| {
        began.send(()).expect("the test listens");
        // Until the test drops its end.
        let _ = wait.recv();
    };
    queue
        .submit(missing.clone(), cast::judge(), first)
        .expect("there is room");
    has_begun.recv().expect("the first is under way");
    let (send, done) = channel();
    for _ in 0..2 {
        let send = send.clone();
        let done = move |_: Result<_, JobError>| send.send(()).expect("the test listens");
        queue
            .submit(missing.clone(), cast::judge(), done)
            .expect("there is room");
    }
    assert_eq!(queue.submit(missing, cast::judge(), |_| ()), Err(Full));
    drop(send);
    queue.stop();
    drop(go_on);
    drop(queue);
    assert_eq!(done.try_recv(), Err(TryRecvError::Disconnected));
}
