//! Sessions over real connections: concurrent, recorded, verified afterwards, certified together.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::cbor::Canonical;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, HEADER_BYTES, MessageType, parse_header};
use protocol::joint::JointError;
use protocol::message::{Abort, AbortCode};
use protocol::verdict::{Failure, Obstacle, Verdict};
use protocol::verifier::Outgoing;
use sessions::{Ran, Settings, run};
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer};
use testkit::stand_in::StandIn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use verifier::clock::Clock;
use verifier::queue::Queue;

/// Plays `peer` at the other end of a connection, until the Verifier has decided or it closes.
async fn play(mut peer: Box<dyn Peer + Send>, mut connection: TcpStream) {
    let mut actions = peer.greet();
    loop {
        for action in actions {
            let sent = match action {
                Action::Frame(frame) => {
                    let bytes = [&frame.header()[..], &frame.payload].concat();
                    connection.write_all(&bytes).await
                }
                Action::Bytes(bytes) => connection.write_all(&bytes).await,
                Action::Wait(ns) => {
                    tokio::time::sleep(std::time::Duration::from_nanos(ns)).await;
                    Ok(())
                }
                Action::Close => return,
                Action::Hang => {
                    // Until the Verifier gives up.
                    let _ = connection.read_to_end(&mut Vec::new()).await;
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
        let mut header = [0; HEADER_BYTES];
        if connection.read_exact(&mut header).await.is_err() {
            return;
        }
        let (type_number, length) = parse_header(&header);
        let mut payload = vec![0; length as usize];
        if connection.read_exact(&mut payload).await.is_err() || type_number == 10 {
            return;
        }
        actions = peer.answer(&Frame {
            type_number,
            payload: payload.into(),
        });
    }
}

fn settings(folder: &Path) -> Settings {
    let mut request = cast::request(&[(4096, 2), (64, 1)], 4);
    request.deadlines.fill_ms = 20_000;
    request.deadlines.sweep_ms = 20_000;
    request.deadlines.openings_ms = 20_000;
    request.deadlines.ready_ms = 20_000;
    Settings {
        request,
        hello_deadline_ms: 20_000,
        assumptions: cast::assumptions(),
        key: cast::verifier_key(),
        folder: folder.to_owned(),
        opening_at_once: 3,
    }
}

fn honest() -> Box<dyn Peer + Send> {
    Box::new(HonestPeer::new(cast::hello(&[3]), |_| cast::engine()))
}

/// Runs these peers concurrently.
fn at_once(peers: Vec<Box<dyn Peer + Send>>, settings: &Settings) -> Ran {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut connections = Vec::new();
        for peer in peers {
            let theirs = TcpStream::connect(address).await.expect("a connection");
            connections.push(listener.accept().await.expect("a connection").0);
            tokio::spawn(play(peer, theirs));
        }
        run(connections, Clock::start(), settings).await.expect("sessions")
    })
}

fn verified(path: &Path) -> (Vec<u8>, verifier::Verified) {
    let sealed = std::fs::read(path).expect("evidence");
    let opened = verifier::open(&sealed).expect("evidence");
    let recomputed = opened.recompute(&cast::recompute(), &mut [], &cast::judge(), &verifier::Unobserved);
    (sealed, recomputed.expect("a verdict"))
}

#[test]
fn sessions_at_once_are_recorded_and_certified_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    let ran = at_once((0..12).map(|_| honest()).collect(), &settings);
    assert_eq!(ran.sessions.len(), 12);
    assert!(ran.sessions.iter().all(|one| one.verdict.is_none() && one.was_sampled));
    let releases: Vec<Outgoing> = ran.release_skews_ns.iter().map(|(outgoing, _)| *outgoing).collect();
    assert_eq!(releases.len(), 1 + 2 * 2, "{releases:?}");

    let record = ran.record(|_| true).expect("a record");
    // Recomputed afterwards, in a queue.
    let queue = Queue::start(cast::recompute(), Vec::new(), 12).expect("a thread");
    let (send, verdicts) = std::sync::mpsc::channel();
    for one in &ran.sessions {
        let send = send.clone();
        let done = move |checked| send.send(checked).expect("the test listens");
        queue
            .submit(one.path.clone(), cast::judge(), done)
            .expect("there is room");
    }
    queue.finish();
    drop(send);
    let checked: HashMap<_, _> = verdicts
        .into_iter()
        .map(|checked| checked.expect("a verdict"))
        .map(|checked| (checked.evidence, checked.verified.session))
        .collect();
    assert!(
        checked
            .values()
            .all(|session| session.verdict() == Some(&Verdict::Affirmed))
    );
    let sessions: Vec<_> = checked.iter().map(|(hash, session)| (*hash, session)).collect();
    let certified = record
        .certified(&sessions, &cast::assumptions())
        .expect("they ran at once");
    assert_eq!((certified.shares.len(), certified.windows.len()), (12, 2));
    // Every phase was delayed until the last session was ready: each session's own window is nearly the common one.
    for (hash, session) in &sessions {
        let began_ns = record
            .members()
            .iter()
            .find(|one| one.evidence == *hash)
            .expect("a member")
            .began_ns;
        let own = &session.windows()[0];
        let (own_v_ns, common) = (began_ns + own.fill_start_ns + own.fill_ns, &certified.windows[0]);
        assert!(began_ns + own.fill_start_ns >= common.fill_start_ns);
        assert!(own_v_ns <= common.fill_start_ns + common.fill_ns);
    }
    assert!(matches!(
        record.certified(&sessions[1..], &cast::assumptions()),
        Err(JointError::Missing(_))
    ));
}

/// A peer that closes, one that hangs and one that sends garbage end by themselves; the others continue.
#[test]
fn a_session_that_ends_holds_nobody_up() {
    struct Only(Vec<Action>);
    impl Peer for Only {
        fn greet(&mut self) -> Vec<Action> {
            std::mem::take(&mut self.0)
        }
        fn answer(&mut self, _: &Frame) -> Vec<Action> {
            vec![Action::Hang]
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.hello_deadline_ms = 1_500;
    let wrong = HonestPeer::new(cast::hello(&[3]), |_| Box::new(StandIn::default()));
    let peers: Vec<Box<dyn Peer + Send>> = vec![
        honest(),
        Box::new(Only(vec![Action::Close])),
        Box::new(Only(vec![Action::Hang])),
        Box::new(Only(vec![Action::Bytes(vec![0xFF; 40])])),
        Box::new(wrong),
        honest(),
    ];
    let ran = at_once(peers, &settings);
    let verdict = |member: usize| {
        let one = ran
            .sessions
            .iter()
            .find(|one| one.member == member)
            .expect("each is recorded");
        let recorded = Evidence::open(&std::fs::read(&one.path).expect("a file")).expect("evidence");
        assert_eq!(recorded.sealer, cast::identity(&cast::verifier_key()));
        one.verdict.clone()
    };
    assert!(matches!(
        verdict(1),
        Some(Verdict::CouldNotRun(Obstacle::Disconnected { .. }))
    ));
    assert!(matches!(verdict(2), Some(Verdict::CouldNotRun(Obstacle::Late { .. }))));
    assert!(matches!(
        verdict(3),
        Some(Verdict::CouldNotRun(Obstacle::NotThisProtocol(_)))
    ));
    for member in [0, 4, 5] {
        assert_eq!(verdict(member), None, "{member}");
    }
    // Made-up leaves pass every cheap check: the record contains the sessions whose tiles agree.
    let is_affirmed = |one: &sessions::Recorded| match verified(&one.path).1.session.verdict() {
        Some(Verdict::Affirmed) => true,
        Some(Verdict::Contraindicated(Failure::Tile(_))) => false,
        other => panic!("{other:?}"),
    };
    let record = ran.record(is_affirmed).expect("two are affirmed");
    assert_eq!((record.members().len(), record.sampled()), (2, 3));
}

/// A peer that keeps sending while the others are waited for is not read forever: its data stays in its connection, and
/// is premature.
#[test]
fn a_flood_while_others_are_waited_for_is_not_read() {
    const FLOOD_BYTES: usize = 64 << 20;
    const KERNEL_BYTES: u32 = 128 << 10;
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    /// READY, and then FILLED after FILLED before it is requested.
    async fn flood(mut connection: TcpStream) {
        let mut peer = HonestPeer::new(cast::hello(&[3]), |_| cast::engine());
        for action in peer.greet() {
            let Action::Frame(frame) = action else { continue };
            let sent = connection
                .write_all(&[&frame.header()[..], &frame.payload].concat())
                .await;
            sent.expect("HELLO is read");
        }
        let mut header = [0; HEADER_BYTES];
        connection.read_exact(&mut header).await.expect("PLAN");
        let mut plan = vec![0; parse_header(&header).1 as usize];
        connection.read_exact(&mut plan).await.expect("PLAN");
        let ready = Frame::new(MessageType::Ready, vec![0x80]);
        connection
            .write_all(&[&ready.header()[..], &ready.payload].concat())
            .await
            .expect("READY is read");
        let filled = Frame::new(MessageType::Filled, vec![0; 60_000]);
        let filled = [&filled.header()[..], &filled.payload].concat();
        while WRITTEN.load(Ordering::Relaxed) < FLOOD_BYTES && connection.write_all(&filled).await.is_ok() {
            WRITTEN.fetch_add(filled.len(), Ordering::Relaxed);
        }
    }
    /// READY one second late.
    struct Slow(HonestPeer);
    impl Peer for Slow {
        fn greet(&mut self) -> Vec<Action> {
            self.0.greet()
        }
        fn answer(&mut self, frame: &Frame) -> Vec<Action> {
            let mut actions = self.0.answer(frame);
            if frame.message_type() == Some(MessageType::Plan) {
                actions.insert(0, Action::Wait(1_000_000_000));
            }
            actions
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ran = runtime.expect("a runtime").block_on(async {
        // By default the kernel lets a connection's unread data grow to tens of MiB on some machines.
        let socket = || {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(KERNEL_BYTES).expect("a buffer");
            socket.set_send_buffer_size(KERNEL_BYTES).expect("a buffer");
            socket
        };
        let listener = socket();
        listener.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let listener = listener.listen(8).expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut connections = Vec::new();
        let theirs = socket().connect(address).await.expect("a connection");
        connections.push(listener.accept().await.expect("a connection").0);
        tokio::spawn(flood(theirs));
        let theirs = TcpStream::connect(address).await.expect("a connection");
        connections.push(listener.accept().await.expect("a connection").0);
        let slow = HonestPeer::new(cast::hello(&[3]), |_| cast::engine());
        tokio::spawn(play(Box::new(Slow(slow)), theirs));
        run(connections, Clock::start(), &settings).await.expect("sessions")
    });
    let of = |member: usize| ran.sessions.iter().find(|one| one.member == member).expect("recorded");
    assert!(
        matches!(of(0).verdict, Some(Verdict::Contraindicated(Failure::Premature { .. }))),
        "{:?}",
        of(0).verdict
    );
    assert_eq!(of(1).verdict, None);
    // What the kernel's two buffers hold, and little more.
    let written = WRITTEN.load(Ordering::Relaxed);
    assert!(written < FLOOD_BYTES / 16, "{written} bytes of {FLOOD_BYTES}");
}

/// A plan of the maximum length does not fit into a connection at once.
#[test]
fn a_long_plan_arrives() {
    /// Reports that it is too much once the whole of PLAN has been received.
    struct Refuses(HonestPeer);
    impl Peer for Refuses {
        fn greet(&mut self) -> Vec<Action> {
            self.0.greet()
        }
        fn answer(&mut self, frame: &Frame) -> Vec<Action> {
            assert_eq!(frame.message_type(), Some(MessageType::Plan));
            assert!(frame.payload.len() > 200_000, "{}", frame.payload.len());
            let abort = Abort {
                code: AbortCode::Unsupported,
                device: None,
                message: "too much".to_owned(),
            };
            vec![Action::Frame(Frame::new(MessageType::Abort, abort.to_bytes()))]
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    settings.request.iterations = vec![settings.request.iterations[1]; 65_536];
    let peer = HonestPeer::new(cast::hello(&[3]), |_| cast::engine());
    let ran = at_once(vec![Box::new(Refuses(peer))], &settings);
    assert!(
        matches!(&ran.sessions[0].verdict, Some(Verdict::CouldNotRun(Obstacle::Aborted { abort, .. }))
            if abort.code == AbortCode::Unsupported),
        "{:?}",
        ran.sessions[0].verdict
    );
}

/// Evidence that cannot be written is an error that names the file.
#[test]
fn a_full_or_missing_folder_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(&folder.path().join("absent"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let error = runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let theirs = TcpStream::connect(listener.local_addr().expect("an address"))
            .await
            .expect("a connection");
        let ours = listener.accept().await.expect("a connection").0;
        drop(theirs);
        run(vec![ours], Clock::start(), &settings).await.expect_err("no folder")
    });
    assert!(error.to_string().contains("absent"), "{error}");
}
