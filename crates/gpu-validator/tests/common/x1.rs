//! Sessions in memory with a device of a class that exists only in tests, whose times are made up.

use std::fs;

use protocol::bytes::DeviceOrdinal;
use protocol::cbor::Label;
use protocol::frame::MessageType;
use protocol::message::Hello;
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Tampered, Turn};
use testkit::rehearsal::Rehearsal;

use super::Place;

/// The class of such sessions: 16 MiB at 1 GB/s, 2 Tops.
const X1: &str = "name = \"x1\"\ntitle = \"X1 of the tests\"\nkind = \"gpu\"\nstatus = \"datasheet\"\n\
    models = [\"X1\"]\n\n\
    [capacity]\nmemory_bytes = 16_777_216\nint8_ops_per_s = 2_000_000_000_000\nbandwidth_bytes_per_s = 1_000_000_000\n\n\
    [source]\ndatasheet = \"X1 datasheet\"\n";

pub(crate) fn hello(model: &str, card: u64) -> Hello {
    let mut hello = cast::hello(&[16]);
    hello.devices[0].engine = "cuda".to_owned();
    hello.devices[0].model = model.to_owned();
    hello.devices[0].labels.push(Label::new("uuid", &format!("GPU-{card}")));
    hello
}

/// Sealed evidence of one X1, card `card`, whose fill and sweep take these times.
pub(crate) fn session(model: &str, card: u64, seed: u64, fill_us: u64, sweep_us: u64) -> Vec<u8> {
    let mut rehearsal = Rehearsal::new(cast::request(&[(4096, 32)], 256));
    rehearsal.seed = seed;
    let honest = HonestPeer::new(hello(model, card), |_: DeviceOrdinal| cast::engine());
    let slow = move |turn: &mut Turn<'_>| {
        let us = match () {
            () if turn.answers(MessageType::Nonce) => fill_us,
            // 256 sampled leaves require 32 sweeps.
            () if turn.answers(MessageType::Salt) => 8 * sweep_us,
            () => return,
        };
        turn.actions.insert(0, Action::Wait(us * 1_000));
    };
    rehearsal.run(&mut Tampered::new(honest, slow)).sealed()
}

/// Writes `profiles/x1.toml` and sessions `s0.cbor` to `s5.cbor`, one for each of six cards, to that folder.
pub(crate) fn put_sessions(place: &Place) {
    fs::create_dir(place.path("profiles")).expect("a folder");
    place.put("profiles/x1.toml", X1);
    for card in 0..6 {
        place.put(
            &format!("s{card}.cbor"),
            session("ACME X1", card, card, 9_000 + 40 * card, 5_000 + 20 * card),
        );
    }
}
