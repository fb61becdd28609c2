//! Measures many concurrent sessions over loopback: the duration of releases, the delay of timestamps, resources per
//! session.
//!
//! `cargo run --release -p sessions --example at_once -- 2000`. The Attesters run in a separate process; their devices
//! make up the values they commit to, so that only the Verifier's side is measured.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, thread};

use ed25519_dalek::SigningKey;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, HEADER_BYTES, MessageType, parse_header};
use protocol::record::Event;
use sessions::{Settings, run};
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer};
use testkit::stand_in::StandIn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use verifier::clock::Clock;

/// Time since boot, where [`Clock`] counts from its start (ns).
fn boot_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn key(member: usize) -> SigningKey {
    let mut bytes = [0xA0; 32];
    bytes[..8].copy_from_slice(&(member as u64).to_le_bytes());
    SigningKey::from_bytes(&bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match &arguments[..] {
        [count] => runtime.block_on(verifier_side(count.parse()?)),
        [count, address, file] => runtime.block_on(attesters_side(count.parse()?, address, file)),
        _ => Err("expected the number of sessions".into()),
    }
}

async fn verifier_side(count: usize) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let sent = folder.path().join("sent");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut attesters = Command::new(std::env::current_exe()?)
        .args([&count.to_string(), &listener.local_addr()?.to_string()])
        .arg(&sent)
        .spawn()?;
    let mut request = cast::request(&[(4096, 4), (4096, 4), (64, 1)], 256);
    let limit_ms = 120_000;
    request.deadlines.ready_ms = limit_ms;
    request.deadlines.fill_ms = limit_ms;
    request.deadlines.sweep_ms = limit_ms;
    request.deadlines.openings_ms = limit_ms;
    let settings = Settings {
        request,
        hello_deadline_ms: limit_ms,
        assumptions: cast::assumptions(),
        key: cast::verifier_key(),
        folder: folder.path().to_owned(),
        opening_at_once: 16,
    };
    let before_bytes = resident_bytes();
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(listener.accept().await?.0);
    }
    let most = Most::watch();
    let (clock, began_ns) = (Clock::start(), boot_ns());
    let ran = run(connections, clock, &settings).await?;
    let elapsed_ns = clock.now_ns();
    let most_bytes = most.end();
    attesters.wait()?;

    let sent = fs::read_to_string(&sent)?;
    let mut sent_ns = HashMap::new();
    for line in sent.lines() {
        let mut parts = line.split(' ');
        let mut next = || parts.next().unwrap_or_default();
        let name = (next().to_owned(), next().to_owned(), next().to_owned());
        sent_ns.insert(name, next().parse::<u64>()?);
    }
    let mut delays_ns = Vec::new();
    let mut evidence_bytes = 0;
    for one in &ran.sessions {
        let sealed = fs::read(&one.path)?;
        evidence_bytes += sealed.len();
        let evidence = Evidence::open(&sealed)?;
        let session = evidence.replay()?;
        let identity = session.hello().ok_or("no HELLO")?.identity.to_string();
        for record in &evidence.records {
            let Event::Received(frame) = &record.event else {
                continue;
            };
            let Some(name) = name(&identity, frame) else { continue };
            let stamped_ns = began_ns + one.began_ns + record.at_ns;
            let sent_ns = sent_ns.get(&name).ok_or("not sent")?;
            delays_ns.push(stamped_ns.saturating_sub(*sent_ns));
        }
    }
    delays_ns.sort_unstable();
    let whole = ran.sessions.iter().filter(|one| one.verdict.is_none()).count();
    let ms = |ns: u64| ns as f64 / 1e6;
    println!(
        "{count} sessions, {whole} recorded to the end in {:.2} s",
        elapsed_ns as f64 / 1e9
    );
    for (outgoing, skew_ns) in &ran.release_skews_ns {
        println!("release of {outgoing:?}: first to last {:.2} ms", ms(*skew_ns));
    }
    let at = |share: f64| ms(delays_ns[((delays_ns.len() - 1) as f64 * share) as usize]);
    println!(
        "stamping delay of {} answers: median {:.3} ms, p99 {:.3} ms, most {:.3} ms",
        delays_ns.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    println!(
        "resident memory: {:.1} KiB a session at most, evidence {:.1} KiB a session",
        most_bytes.saturating_sub(before_bytes) as f64 / 1024.0 / count as f64,
        evidence_bytes as f64 / 1024.0 / count as f64
    );
    Ok(())
}

/// The Attester and the commitment that a message belongs to.
fn name(identity: &str, frame: &Frame) -> Option<(String, String, String)> {
    let kind = frame.message_type()?;
    let is_commitment = matches!(kind, MessageType::Filled | MessageType::Swept);
    // The iteration is the first item of the array: small numbers take one byte.
    is_commitment.then(|| (identity.to_owned(), kind.to_string(), frame.payload[1].to_string()))
}

async fn attesters_side(count: usize, address: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let mut peers = Vec::new();
    for member in 0..count {
        let connection = TcpStream::connect(address).await?;
        connection.set_nodelay(true)?;
        peers.push(tokio::spawn(play(member, connection)));
    }
    let mut lines = String::new();
    for peer in peers {
        for ((identity, kind, iteration), at_ns) in peer.await? {
            writeln!(lines, "{identity} {kind} {iteration} {at_ns}")?;
        }
    }
    fs::write(file, lines)?;
    Ok(())
}

/// Plays an honest Attester to the end. Returns when each commitment was sent.
async fn play(member: usize, mut connection: TcpStream) -> Vec<((String, String, String), u64)> {
    let mut hello = cast::hello(&[128]);
    hello.identity = cast::identity(&key(member));
    let identity = hello.identity.to_string();
    let mut peer = HonestPeer::new(hello, |_| Box::new(StandIn::default()));
    peer.key = key(member);
    let (mut sent, mut actions) = (Vec::new(), peer.greet());
    loop {
        for action in actions {
            let Action::Frame(frame) = action else { continue };
            let bytes = [&frame.header()[..], &frame.payload].concat();
            sent.extend(name(&identity, &frame).map(|name| (name, boot_ns())));
            if connection.write_all(&bytes).await.is_err() {
                return sent;
            }
        }
        let mut header = [0; HEADER_BYTES];
        if connection.read_exact(&mut header).await.is_err() {
            return sent;
        }
        let (type_number, length) = parse_header(&header);
        let mut payload = vec![0; length as usize];
        if connection.read_exact(&mut payload).await.is_err() || type_number == MessageType::Result as u32 {
            return sent;
        }
        actions = peer.answer(&Frame {
            type_number,
            payload: payload.into(),
        });
    }
}

fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = pages.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

static MOST: AtomicU64 = AtomicU64::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// The peak resident memory.
struct Most(thread::JoinHandle<()>);

impl Most {
    fn watch() -> Self {
        Most(thread::spawn(|| {
            while !IS_OVER.load(Ordering::Relaxed) {
                MOST.fetch_max(resident_bytes(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        }))
    }

    fn end(self) -> u64 {
        IS_OVER.store(true, Ordering::Relaxed);
        // The thread ends within ten milliseconds.
        let _ = self.0.join();
        MOST.load(Ordering::Relaxed)
    }
}
