//! A peer at the end of real byte streams.

use std::io::{self, Read, Write};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use protocol::attester::AttesterSession;
use protocol::frame::MessageType;
use transport::{read_frame, write_frame};
use verifier::{Attestation, Observer, Settings, attest};

use crate::peer::{Action, Peer};

/// Attests `peer` over two pipes.
///
/// # Panics
///
/// If the system provides no pipes or randomness, or the peer panics.
pub fn attest_peer(peer: impl Peer + Send + 'static, settings: &Settings, observer: &dyn Observer) -> Attestation {
    let (from_verifier, to_attester) = io::pipe().expect("a pipe");
    let (from_attester, to_verifier) = io::pipe().expect("a pipe");
    let played = play_on_a_thread(peer, from_verifier, to_verifier);
    let attestation = attest(from_attester, to_attester, settings, observer).expect("a session");
    played.join().expect("peers do not panic");
    attestation
}

fn play_on_a_thread(
    peer: impl Peer + Send + 'static,
    from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || play(peer, from, to))
}

/// Plays `peer` until it closes, the Verifier has decided, or the streams end.
pub fn play(mut peer: impl Peer, mut from: impl Read, mut to: impl Write) {
    let mut actions = peer.greet();
    loop {
        for action in actions {
            // A Verifier that has decided reads no more: nothing is left to do then.
            let sent = match action {
                Action::Frame(frame) => write_frame(&mut to, &frame),
                Action::Bytes(bytes) => to.write_all(&bytes).and_then(|()| to.flush()),
                Action::Wait(ns) => {
                    thread::sleep(Duration::from_nanos(ns));
                    Ok(())
                }
                Action::Close => return,
                Action::Hang => {
                    // Waits until the Verifier gives up; how its end closes does not matter.
                    let _ = io::copy(&mut from, &mut io::sink());
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
        match read_frame(&mut from, AttesterSession::max_payload_bytes) {
            Ok(frame) if frame.message_type() == Some(MessageType::Result) => return,
            Ok(frame) => actions = peer.answer(&frame),
            Err(_) => return,
        }
    }
}
