//! Certificates of public keys (RFC 5280): chains that lead from a key of a JWK Set (`x5c`, RFC 7517 §4.7) to given roots.
//!
//! The path is built and checked by webpki: signatures, names, times, basic constraints, name constraints. The permitted use
//! of a key (EKU) and revocation are not checked: nothing is fetched here.

use std::fmt;

use p256::ecdsa::signature::Verifier as _;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, UnixTime, alg_id,
};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert};

use crate::key::PublicKey;

/// Certificates at which chains may end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots(Vec<CertificateDer<'static>>);

/// Why roots cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// Not PEM.
    #[error("no PEM: {0}")]
    NoPem(String),
    /// The PEM contains no certificate.
    #[error("no certificate; expected one or more in PEM")]
    Empty,
    /// Not a certificate at which a chain can end.
    #[error("certificate {index}: {problem}")]
    Certificate {
        /// Its position, from 0.
        index: usize,
        /// What is wrong.
        problem: String,
    },
}

/// Why a key's chain does not prove that the key is trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The key has no certificate.
    #[error("no certificates come with it (x5c)")]
    Missing,
    /// The first entry is not a certificate.
    #[error("its certificate: {0}")]
    Malformed(String),
    /// The first certificate belongs to another key.
    #[error("its certificate is of another key")]
    AnotherKey,
    /// No path to a root at that time.
    #[error("no chain to a given root: {0}")]
    Untrusted(String),
}

impl Roots {
    /// Certificates in PEM: roots, or intermediate ones that are trusted directly.
    ///
    /// # Errors
    ///
    /// [`RootsError`]; nothing is skipped.
    pub fn parse(pem: &str) -> Result<Self, RootsError> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| RootsError::NoPem(error.to_string()))?;
        for (index, certificate) in certificates.iter().enumerate() {
            anchor_from_trusted_cert(certificate).map_err(|error| RootsError::Certificate {
                index,
                problem: error.to_string(),
            })?;
        }
        match certificates.is_empty() {
            true => Err(RootsError::Empty),
            false => Ok(Roots(certificates)),
        }
    }

    /// Checks that `chain` (DER, the key's own certificate first) belongs to `key` and led to a root at `at_s`, s since
    /// the Unix epoch.
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub fn check(&self, chain: &[Vec<u8>], key: &PublicKey, at_s: u64) -> Result<(), ChainError> {
        let chain: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(&der[..])).collect();
        let (own, intermediates) = chain.split_first().ok_or(ChainError::Missing)?;
        let certificate = EndEntityCert::try_from(own).map_err(|error| ChainError::Malformed(error.to_string()))?;
        if key.to_spki().as_deref() != Some(certificate.subject_public_key_info().as_ref()) {
            return Err(ChainError::AnotherKey);
        }
        let untrusted = |error: Error| ChainError::Untrusted(error.to_string());
        let anchors = self.0.iter().map(anchor_from_trusted_cert);
        let anchors = anchors.collect::<Result<Vec<_>, _>>().map_err(untrusted)?;
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at_s));
        certificate
            .verify_for_usage(ALGORITHMS, &anchors, intermediates, time, AnyUsage, None, None)
            .map(|_| ())
            .map_err(untrusted)
    }
}

/// Accepts any purpose that a certificate states for its key.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

/// The signature algorithms that certificates may use.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[&Ecdsa::P384, &Ecdsa::P256];

#[derive(Clone, Copy)]
enum Ecdsa {
    /// P-256 with SHA-256.
    P256,
    /// P-384 with SHA-384.
    P384,
}

impl fmt::Debug for Ecdsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ecdsa::P256 => "ES256",
            Ecdsa::P384 => "ES384",
        })
    }
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let is_valid = match self {
            Ecdsa::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(public_key).is_ok_and(|key| {
                p256::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }),
            Ecdsa::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(public_key).is_ok_and(|key| {
                p384::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }),
        };
        match is_valid {
            true => Ok(()),
            false => Err(InvalidSignature),
        }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self {
            Ecdsa::P256 => alg_id::ECDSA_P256,
            Ecdsa::P384 => alg_id::ECDSA_P384,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self {
            Ecdsa::P256 => alg_id::ECDSA_SHA256,
            Ecdsa::P384 => alg_id::ECDSA_SHA384,
        }
    }
}

/// A root of keys, an intermediate certificate and a key's own, all P-384 and valid from 2026-11-24 for a hundred years;
/// the root's, intermediate's and own key are the bytes 0x51, 0x52 and 0x53 repeated. Made by OpenSSL.
#[cfg(test)]
pub(crate) mod fixtures {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    pub(crate) const ROOT: &str = include_str!("../tests/certificates/root.pem");
    /// Of the same name as the root, with another key.
    pub(crate) const OTHER_ROOT: &str = include_str!("../tests/certificates/other-root.pem");
    pub(crate) const INTERMEDIATE: &str = include_str!("../tests/certificates/intermediate.pem");
    pub(crate) const LEAF: &str = include_str!("../tests/certificates/leaf.pem");
    /// 2027-01-15.
    pub(crate) const VALID_S: u64 = 1_800_000_000;

    pub(crate) fn der(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes())
            .expect("a certificate")
            .to_vec()
    }

    pub(crate) fn key() -> p384::ecdsa::SigningKey {
        p384::ecdsa::SigningKey::from_slice(&[0x53; 48]).expect("a scalar")
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{INTERMEDIATE, LEAF, OTHER_ROOT, ROOT, VALID_S, der, key};
    use super::*;

    #[test]
    fn a_chain_to_a_given_root_vouches_for_its_key_alone() {
        let leaf = PublicKey::P384(*key().verifying_key());
        let stranger = p384::ecdsa::SigningKey::from_slice(&[5; 48]).expect("a scalar");
        let stranger = PublicKey::P384(*stranger.verifying_key());
        let chain = [der(LEAF), der(INTERMEDIATE)];
        let roots = Roots::parse(ROOT).expect("a root");
        assert_eq!(roots.check(&chain, &leaf, VALID_S), Ok(()));
        // The intermediate certificate is trusted directly.
        let trusted = Roots::parse(&[OTHER_ROOT, INTERMEDIATE].concat()).expect("two");
        assert_eq!(trusted.check(&chain[..1], &leaf, VALID_S), Ok(()));

        assert_eq!(roots.check(&[], &leaf, VALID_S), Err(ChainError::Missing));
        assert_eq!(roots.check(&chain, &stranger, VALID_S), Err(ChainError::AnotherKey));
        let untrusted = |roots: &str, chain: &[Vec<u8>], at_s| {
            let error = Roots::parse(roots).expect("roots").check(chain, &leaf, at_s);
            assert!(matches!(error, Err(ChainError::Untrusted(_))), "{error:?}");
        };
        untrusted(ROOT, &chain[..1], VALID_S);
        untrusted(OTHER_ROOT, &chain, VALID_S);
        untrusted(ROOT, &chain, 1_700_000_000);
        untrusted(ROOT, &chain, 5_000_000_000);
    }

    #[test]
    fn every_flipped_bit_of_a_chain_is_refused() {
        let leaf = PublicKey::P384(*key().verifying_key());
        let roots = Roots::parse(ROOT).expect("a root");
        let chain = [der(LEAF), der(INTERMEDIATE)];
        for certificate in 0..2 {
            for byte in (0..chain[certificate].len()).step_by(5) {
                let mut changed = chain.clone();
                changed[certificate][byte] ^= 1 << (byte % 8);
                assert!(
                    roots.check(&changed, &leaf, VALID_S).is_err(),
                    "{certificate}: byte {byte}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_root_is_refused() {
        assert_eq!(Roots::parse(""), Err(RootsError::Empty));
        let broken = ROOT.replacen("MII", "!!!", 1);
        assert!(matches!(Roots::parse(&broken), Err(RootsError::NoPem(_))));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let second = Roots::parse(&[ROOT, nonsense].concat());
        assert!(
            matches!(second, Err(RootsError::Certificate { index: 1, .. })),
            "{second:?}"
        );
    }
}
