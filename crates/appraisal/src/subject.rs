//! What is appraised.

use protocol::bytes::Nonce;
use protocol::cbor::Canonical;
use protocol::evidence::Evidence;
use protocol::frame::MessageType;
use protocol::message::NonceMessage;
use protocol::record::Event;
use protocol::verifier::VerifierSession;

/// What is appraised: a finished session, live or from verified evidence.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The evidence; the caller must have checked its seal.
    pub evidence: &'a Evidence,
    /// Its session, with its verdict: tiles recomputed.
    pub session: &'a VerifierSession,
    /// The evidence's sealed bytes.
    pub sealed: &'a [u8],
}

impl<'a> From<(&'a verifier::Verified, &'a [u8])> for Subject<'a> {
    fn from((verified, sealed): (&'a verifier::Verified, &'a [u8])) -> Self {
        Subject {
            evidence: &verified.evidence,
            session: &verified.session,
            sealed,
        }
    }
}

impl<'a> From<&'a verifier::Attestation> for Subject<'a> {
    fn from(attestation: &'a verifier::Attestation) -> Self {
        Subject {
            evidence: &attestation.evidence,
            session: &attestation.session,
            sealed: &attestation.sealed,
        }
    }
}

/// The nonce of a session; `None` before it was sent.
#[must_use]
pub fn nonce(session: &VerifierSession) -> Option<Nonce> {
    session.records().iter().find_map(|record| match &record.event {
        Event::Sent(frame) if frame.message_type() == Some(MessageType::Nonce) => {
            NonceMessage::from_bytes(&frame.payload).ok().map(|message| message.0)
        }
        _ => None,
    })
}
