//! OPENINGS that are not those of the samples, or that the sender of HELLO did not sign over this transcript.

use protocol::commitment::{Opening, OpeningError};
use protocol::frame::MessageType;
use protocol::message::Hello;
use protocol::openings::{Digest, OpeningsError};
use protocol::verdict::{Failure, Verdict};
use protocol::verifier::SIGNATURE_BYTES;
use testkit::cast;
use testkit::peer::{HonestPeer, Misled, Tampered, Turn};
use testkit::rehearsal::Rehearsal;

use crate::attacks;
use crate::engines::adversary;
use crate::stage::{change, change_openings, cut, honest, judge, play, rehearsal};

use Failure::Openings;
use Verdict::Contraindicated;

/// The verdict on an Attester of one device with 260 tiles: 3 chunks of fill leaves, 2 of sweep leaves.
fn tall(hook: impl FnMut(&mut Vec<[Opening; 3]>) + Send + 'static) -> Verdict {
    let mut peer = HonestPeer::new(cast::hello(&[260]), |_| cast::engine());
    peer.openings_hook = Some(Box::new(hook));
    judge(&Rehearsal::new(cast::request(&[(64, 2)], 8)), &mut peer)
}

/// Swaps the first two differing openings among those that `pick` names.
fn swap_first_unequal(openings: &mut [[Opening; 3]], pick: impl Fn(usize) -> [(usize, usize); 2]) {
    let [(i, a), (j, b)] = (0..openings.len() - 1)
        .map(pick)
        .find(|&[(i, a), (j, b)]| openings[i][a] != openings[j][b])
        .expect("samples differ");
    let moved = openings[i][a].clone();
    openings[i][a] = openings[j][b].clone();
    openings[j][b] = moved;
}

fn signed_with(peer: impl FnOnce(&mut HonestPeer)) -> Verdict {
    let mut honest = honest();
    peer(&mut honest);
    play(honest)
}

/// The verdict of a Verifier whose connection has this exporter value on an Attester that signed that exporter value.
fn exported(verifiers: Option<[u8; 32]>, attesters: Option<[u8; 32]>) -> Verdict {
    let mut rehearsal = rehearsal();
    rehearsal.tls_exporter = verifiers;
    let mut peer = honest();
    peer.tls_exporter = attesters;
    judge(&rehearsal, &mut peer)
}

/// The verdict on an Attester whose identity is the neutral point, for which anyone can create a signature for any message.
fn weak_identity() -> Verdict {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let hello = Hello {
        identity: protocol::bytes::Identity(neutral),
        ..crate::stage::hello()
    };
    let peer = HonestPeer::new(hello, |_| cast::engine());
    play(Tampered::new(peer, |turn: &mut Turn<'_>| {
        if let Some(frame) = turn.frame(MessageType::Openings) {
            let at = frame.payload.len() - SIGNATURE_BYTES;
            frame.payload[at..].fill(0);
            frame.payload[at] = 1;
        }
    }))
}

attacks! {
    fn no_openings(): "opening-count", Contraindicated(Openings(OpeningsError::Count { expected: 11, actual: 0 })) => change_openings(Vec::clear);
    fn a_sample_missing(): "opening-count", Contraindicated(Openings(OpeningsError::Count { expected: 11, actual: 10 }))
        => change_openings(|openings| drop(openings.pop()));
    fn a_sample_too_many(): "opening-count", Contraindicated(Openings(OpeningsError::Count { expected: 11, actual: 12 }))
        => change_openings(|openings| openings.push(openings[0].clone()));
    fn a_sample_twice_and_one_missing(): "opening-path", Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::Root { .. }, .. }))
        => tall(|openings| openings[0] = openings.iter().find(|other| other[0] != openings[0][0]).expect("samples differ").clone());
    fn openings_empty(): "opening-size",
        Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::ChunkLength { actual: 0, .. }, .. }))
        => change_openings(|openings| for opening in openings.iter_mut().flatten() {
            *opening = Opening { chunk: Vec::new(), siblings: Vec::new() };
        });
    fn a_chunk_too_short(): "opening-size",
        Contraindicated(Openings(OpeningsError::Opening {
            digest: Digest::Pair, error: OpeningError::ChunkLength { expected: 16, actual: 15 }, ..
        })) => change_openings(|openings| cut(&mut openings[0][0].chunk));
    fn a_chunk_too_long(): "opening-size",
        Contraindicated(Openings(OpeningsError::Opening {
            digest: Digest::FillB, error: OpeningError::ChunkLength { expected: 24, actual: 25 }, ..
        })) => change_openings(|openings| openings[0][2].chunk.push(0));
    fn a_sibling_too_few(): "opening-size",
        Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::SiblingCount { .. }, .. }))
        => tall(|openings| cut(&mut openings[3][1].siblings));
    fn a_sibling_too_many(): "opening-size",
        Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::SiblingCount { expected: 0, actual: 1 }, .. }))
        => change_openings(|openings| openings[0][0].siblings.push([0; 32]));
    fn a_leaf_changed_after_sample(): "opening-path",
        Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::Root { .. }, .. }))
        => change_openings(|openings| openings[0][0].chunk[0] ^= 1);
    fn a_sibling_changed(): "opening-path",
        Contraindicated(Openings(OpeningsError::Opening { digest: Digest::FillA, error: OpeningError::Root { .. }, .. }))
        => tall(|openings| openings[3][1].siblings[0][31] ^= 0x80);
    fn samples_reordered(): "opening-path", Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::Root { .. }, .. }))
        => tall(|openings| {
            let other = (1..openings.len()).find(|&i| openings[i][0] != openings[0][0]).expect("samples differ");
            openings.swap(0, other);
        });
    fn devices_reordered(): "opening-size", Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::ChunkLength { .. }, .. }))
        => change_openings(|openings| openings.reverse());
    fn tiles_of_a_pair_swapped(): "opening-path", Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::Root { .. }, .. }))
        => tall(|openings| swap_first_unequal(openings, |i| [(i, 1), (i, 2)]));
    fn openings_from_another_root(): "opening-path",
        Contraindicated(Openings(OpeningsError::Opening { digest: Digest::Pair, error: OpeningError::Root { .. }, .. }))
        => tall(|openings| swap_first_unequal(openings, |i| [(i, 0), (i + 1, 0)]));

    fn signed_by_another_key(): "signature", Contraindicated(Failure::Signature) => signed_with(|peer| peer.key = cast::strangers_key());
    fn signature_changed(): "signature", Contraindicated(Failure::Signature)
        => change(MessageType::Openings, |frame| *frame.payload.last_mut().expect("a signature") ^= 1);
    fn signature_all_zeros(): "signature", Contraindicated(Failure::Signature) => change(MessageType::Openings, |frame| {
        let at = frame.payload.len() - SIGNATURE_BYTES;
        frame.payload[at..].fill(0);
    });
    fn signature_missing(): "malformed-message", Contraindicated(Failure::MalformedMessage { message_type: MessageType::Openings, .. })
        => change(MessageType::Openings, |frame| { let end = frame.payload.len() - SIGNATURE_BYTES; frame.payload.truncate(end); });
    fn shorter_than_a_signature(): "malformed-message",
        Contraindicated(Failure::MalformedMessage { message_type: MessageType::Openings, .. })
        => change(MessageType::Openings, |frame| frame.payload.truncate(63));
    fn openings_with_a_byte_before_the_signature(): "malformed-message",
        Contraindicated(Failure::MalformedMessage { message_type: MessageType::Openings, .. })
        => change(MessageType::Openings, |frame| { let end = frame.payload.len() - SIGNATURE_BYTES; frame.payload.insert(end, 0); });
    fn a_leaf_changed_on_the_way(): "signature", Contraindicated(Failure::Signature)
        => change(MessageType::Openings, |frame| frame.payload[8] ^= 1);
    fn signed_over_another_sample(): "signature", Contraindicated(Failure::Signature)
        => play(Misled::new(honest(), |frame: &mut protocol::frame::Frame| {
            if frame.message_type() == Some(MessageType::Sample) {
                frame.payload[20] ^= 4;
            }
        }));
    fn signed_for_no_connection(): "signature", Contraindicated(Failure::Signature) => exported(Some([5; 32]), None);
    fn signed_for_another_connection(): "signature", Contraindicated(Failure::Signature) => exported(Some([5; 32]), Some([6; 32]));
    fn signed_for_a_connection_that_is_none(): "signature", Contraindicated(Failure::Signature) => exported(None, Some([5; 32]));
    fn an_identity_anyone_can_sign_for(): "signature", Contraindicated(Failure::Signature) => weak_identity();

    fn an_engine_that_alters_openings(): "opening-path",
        Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::Root { .. }, .. })) => adversary(0, "opening-altered", 0.0);
    fn an_engine_that_swaps_openings(): "opening-size",
        Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::ChunkLength { .. }, .. }))
        => adversary(0, "openings-swapped", 0.0);
    fn an_engine_that_opens_nothing(): "opening-size",
        Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::ChunkLength { actual: 0, .. }, .. }))
        => adversary(1, "openings-empty", 0.0);
    fn an_engine_that_opens_one_leaf_for_all(): "opening-size",
        Contraindicated(Openings(OpeningsError::Opening { error: OpeningError::ChunkLength { .. }, .. }))
        => adversary(1, "openings-duplicate", 0.0);
    fn an_engine_that_opens_under_another_root(): "opening-path",
        Contraindicated(Openings(OpeningsError::Opening { digest: Digest::Pair, error: OpeningError::Root { .. }, .. }))
        => adversary(0, "openings-elsewhere", 0.0);
    fn an_engine_that_gives_up_on_the_samples(): "unopened", Contraindicated(Failure::Unopened(_)) => adversary(1, "abort-on-sample", 0.0);
}

#[test]
fn what_is_signed_for_the_connection_is_affirmed() {
    assert_eq!(exported(Some([5; 32]), Some([5; 32])), Verdict::Affirmed);
    assert_eq!(tall(|_| ()), Verdict::Affirmed);
}
