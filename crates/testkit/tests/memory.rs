//! The memory that an open session uses in addition to its OPENINGS: stated here, and measured by the allocator.

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

// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller fulfils the contract of `alloc`, which is the same here.
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

/// The most that a session may use until OPENINGS are requested.
const MOST_BYTES: usize = 256 << 10;

/// A session of eight devices with the standard preset's number of sweeps, up to where SAMPLE is due.
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
    // Values that are created once, such as tables, are created beforehand.
    drop(before_sample(0));
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let sessions: Vec<VerifierDriver> = (1..=16).map(before_sample).collect();
    let taken = (LIVE_BYTES.load(Ordering::Relaxed) - before) / sessions.len();
    println!("{} KiB a session of eight devices", taken / 1024);
    assert!(taken <= MOST_BYTES, "{taken} bytes a session");
    assert!(taken > 1024, "{taken} bytes: nothing was counted");
}
