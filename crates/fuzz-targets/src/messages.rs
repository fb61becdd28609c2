//! Payloads of every message type (spec §8.4).

use protocol::cbor::Canonical;
use protocol::frame::MessageType;
use protocol::limits::{MAX_ATTESTATION_BYTES, MAX_TEXT_BYTES};
use protocol::message::{
    Abort, Crossed, Filled, Hello, NonceMessage, OpeningsBody, ProgressMessage, Ready, ResultMessage, SaltMessage,
    SampleMessage, Swept,
};
use protocol::plan::{Iteration, Plan};
use protocol::printable::is_printable;
use testkit::cast;

use crate::input::Input;
use crate::{plan, vectors};

/// Parses a payload: an accepted payload has exactly these bytes when encoded again.
///
/// # Panics
///
/// If that does not hold.
pub fn run(data: &[u8]) {
    let Some((&kind, payload)) = data.split_first() else {
        return;
    };
    match MessageType::ALL[usize::from(kind) % MessageType::ALL.len()] {
        MessageType::Hello => {
            if let Some(hello) = same::<Hello>(payload) {
                check_offers(&hello, payload);
            }
        }
        MessageType::Plan => {
            if let Some(plan) = same::<Plan>(payload) {
                plan::check(&plan);
            }
        }
        MessageType::Ready => drop(same::<Ready>(payload)),
        MessageType::Nonce => drop(same::<NonceMessage>(payload)),
        MessageType::Filled => drop(same::<Filled>(payload)),
        MessageType::Salt => drop(same::<SaltMessage>(payload)),
        MessageType::Swept => drop(same::<Swept>(payload)),
        MessageType::Crossed => drop(same::<Crossed>(payload)),
        MessageType::Sample => drop(same::<SampleMessage>(payload)),
        MessageType::Openings => {
            if let Some(attestation) = same::<OpeningsBody>(payload).and_then(|body| body.attestation) {
                assert!((1..=MAX_ATTESTATION_BYTES).contains(&attestation.len()));
            }
        }
        MessageType::Result => {
            if let Some(result) = same::<ResultMessage>(payload) {
                assert!(result.status <= 2 && is_text(&result.reason) && is_text(&result.message));
            }
        }
        MessageType::Abort => {
            if let Some(abort) = same::<Abort>(payload) {
                assert!(is_text(&abort.message));
            }
        }
        MessageType::Progress => drop(same::<ProgressMessage>(payload)),
    }
}

fn same<T: Canonical>(payload: &[u8]) -> Option<T> {
    let value = T::from_bytes(payload).ok()?;
    assert_eq!(value.to_bytes(), payload, "one value has one encoding");
    Some(value)
}

fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && text.chars().all(is_printable)
}

/// A request adapted to what an Attester offers: a plan within it, or a reason.
fn check_offers(hello: &Hello, payload: &[u8]) {
    let mut input = Input::new(payload);
    let iterations = [(64 * (1 + u32::from(input.u8()) % 1024), 1 + u32::from(input.u8()))];
    let mut request = cast::request(&iterations, 1 + u32::from(input.u16()));
    request.matrix_dim = [None, Some(256), Some(32_768), Some(300)][input.below(4)];
    request.device_bytes = [None, Some(input.u64())][input.below(2)];
    request.iterations.resize(1 + input.below(3), Iteration::new(128, 2));
    let Ok(plan) = request.plan(hello) else { return };
    plan::check(&plan);
    let inner_dim = request.iterations.iter().map(|i| i.inner_dim).max().unwrap_or(0);
    for device in plan.devices() {
        let offer = hello.devices.iter().find(|offer| offer.ordinal == device.ordinal);
        let offered = offer.map(|offer| offer.matrices(plan.matrix_dim(), inner_dim));
        assert!(
            offered.is_some_and(|offered| offered >= device.num_matrices.into()),
            "device {} is to hold {} matrices and offers {offered:?}",
            device.ordinal,
            device.num_matrices
        );
    }
}

/// The vectors of every message.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    vectors::load(&["accept", "reject"])
        .into_iter()
        .filter_map(|(name, payload)| {
            let kind = MessageType::ALL.iter().position(|kind| kind.name() == name)?;
            (payload.len() < 4096).then(|| [&[kind as u8][..], &payload].concat())
        })
        .collect()
}
