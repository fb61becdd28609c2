//! What a session takes while it is open, beside its OPENINGS: stated here, and counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::bytes::Fresh;
use protocol::derive::derive;
use protocol::driver::{Need, Opener, VerifierDriver};
use protocol::verifier::Outgoing;
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer};
use testkit::stand_in::StandIn;

/// The system's allocator, counting.
struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`, which is this one's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most that a session may take until it is asked for its OPENINGS.
const MOST_BYTES: usize = 256 << 10;

/// A session of eight devices and as many sweeps as the standard preset has, up to where SAMPLE is due.
fn before_sample(seed: u64) -> VerifierDriver {
    let mut peer = HonestPeer::new(cast::hello(&[128; 8]), |_| Box::new(StandIn::default()));
    let request = cast::request(&[(20_480, 32), (2_048, 2), (2_048, 2)], 1280);
    let mut driver = VerifierDriver::new(Opener::Request(request), 1_000, None);
    let (mut actions, mut now_ns) = (peer.greet(), 0u64);
    loop {
        for action in actions.drain(..) {
            if let Action::Frame(frame) = action {
                driver.received(now_ns, [&frame.header()[..], &frame.payload].concat());
            }
        }
        match driver.need() {
            Need::Release(Outgoing::Sample) => return driver,
            Need::Release(_) => {
                now_ns += 1;
                let fresh = Fresh(derive("memory", &[&seed.to_le_bytes(), &now_ns.to_le_bytes()]));
                let frame = driver.release(now_ns, fresh).expect("a message is due");
                actions = peer.answer(&frame);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_open_session_takes_little_beside_its_openings() {
    // What is made once, say tables, is made before.
    drop(before_sample(0));
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let sessions: Vec<VerifierDriver> = (1..=16).map(before_sample).collect();
    let taken = (LIVE_BYTES.load(Ordering::Relaxed) - before) / sessions.len();
    println!("{} KiB a session of eight devices", taken / 1024);
    assert!(taken <= MOST_BYTES, "{taken} bytes a session");
    assert!(taken > 1024, "{taken} bytes: nothing was counted");
}
