//! The offline form's challenge: a whole plan and a nonce in a file, signed by the Verifier (spec §5, §10).

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::bytes::Nonce;
use crate::cbor::{Canonical, Malformed, Reader, Writer};
use crate::derive::derive;
use crate::plan::Plan;

/// What an Attester is to prove without a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The work; its Verifier signs the challenge.
    pub plan: Plan,
    /// The single-use nonce.
    pub nonce: Nonce,
    /// When it was issued, ms since the Unix epoch.
    pub issued_unix_ms: u64,
    /// Until when evidence may be received, ms since the Unix epoch.
    pub expires_unix_ms: u64,
    signature: [u8; 64],
}

/// Why a challenge is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Not a challenge.
    #[error("malformed challenge: {0}")]
    Malformed(Malformed),
    /// Not signed by the Verifier that its plan names.
    #[error("the challenge is not signed by the Verifier that its plan names")]
    Signature,
}

impl From<Malformed> for ChallengeError {
    fn from(error: Malformed) -> Self {
        ChallengeError::Malformed(error)
    }
}

impl Challenge {
    /// A challenge signed with `key`, which must be that of the plan's Verifier for anyone to accept it.
    #[must_use]
    pub fn sign(plan: Plan, nonce: Nonce, issued_unix_ms: u64, expires_unix_ms: u64, key: &SigningKey) -> Self {
        let mut challenge = Challenge {
            plan,
            nonce,
            issued_unix_ms,
            expires_unix_ms,
            signature: [0; 64],
        };
        challenge.signature = key.sign(&challenge.signed_message()).to_bytes();
        challenge
    }

    /// The challenge in `bytes`, its signature checked.
    ///
    /// # Errors
    ///
    /// [`ChallengeError`] for other bytes or another signer.
    pub fn verify(bytes: &[u8]) -> Result<Self, ChallengeError> {
        let challenge = Challenge::from_bytes(bytes)?;
        challenge.check_signature()?;
        Ok(challenge)
    }

    /// Checks that the Verifier of the plan signed this.
    ///
    /// # Errors
    ///
    /// [`ChallengeError::Signature`].
    pub fn check_signature(&self) -> Result<(), ChallengeError> {
        VerifyingKey::from_bytes(&self.plan.fields().verifier.0)
            .and_then(|key| key.verify_strict(&self.signed_message(), &Signature::from_bytes(&self.signature)))
            .map_err(|_| ChallengeError::Signature)
    }

    fn signed_message(&self) -> [u8; 32] {
        let mut unsigned = Writer::default();
        self.write_unsigned(&mut unsigned);
        derive("challenge", &[&unsigned.into_bytes()])
    }

    fn write_unsigned(&self, to: &mut Writer) {
        self.plan.write(to);
        to.bytes(&self.nonce.0);
        to.uint(self.issued_unix_ms);
        to.uint(self.expires_unix_ms);
    }
}

impl Canonical for Challenge {
    fn write(&self, to: &mut Writer) {
        to.array(5);
        self.write_unsigned(to);
        to.bytes(&self.signature);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("challenge", 5)?;
        Ok(Challenge {
            plan: Plan::read(from)?,
            nonce: Nonce(from.array_of_bytes("nonce")?),
            issued_unix_ms: from.uint("issued")?,
            expires_unix_ms: from.uint("expires")?,
            signature: from.array_of_bytes("signature")?,
        })
    }
}
