//! A certificate that an issuer's key makes of itself, for readers that take keys from certificates (`x5c`, RFC 7517 §4.7).
//!
//! It proves no more than the key does: whoever trusts the JWK Set trusts the key in it. It depends on the key alone, so that
//! every print of a set is the same.

use std::str::FromStr;

use p384::ecdsa::{DerSignature, SigningKey};
use sha2::{Digest, Sha256};
use x509_cert::TbsCertificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder, Error};
use x509_cert::der::{DateTime, Encode};
use x509_cert::ext::pkix::{KeyUsage, KeyUsages};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

/// Bytes of a serial number: positive, and at most 20 (RFC 5280 §4.1.2.2).
const SERIAL_BYTES: usize = 16;

/// The certificate of the key, DER, with `kid` as its name. It has no end: the set says how long a key counts.
pub(crate) fn self_signed(key: &SigningKey, kid: &str) -> Result<Vec<u8>, Error> {
    let name = Name::from_str(&format!("CN={kid}"))?;
    let mut serial = Sha256::digest(kid.as_bytes())[..SERIAL_BYTES].to_vec();
    serial[0] = serial[0] & 0x7f | 0x40;
    // The latter is "no well-defined expiration date" (RFC 5280 §4.1.2.5).
    let (begins, ends) = (
        DateTime::new(2000, 1, 1, 0, 0, 0)?,
        DateTime::new(9999, 12, 31, 23, 59, 59)?,
    );
    let validity = Validity::new(Time::from(begins), Time::from(ends));
    let spki = SubjectPublicKeyInfoOwned::from_key(key.verifying_key())?;
    let builder = CertificateBuilder::new(OfItself(name), SerialNumber::new(&serial)?, validity, spki)?;
    Ok(builder.build::<_, DerSignature>(key)?.to_der()?)
}

/// Issuer and subject are the same; the key signs data, not certificates.
struct OfItself(Name);

impl BuilderProfile for OfItself {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.0.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> Result<Vec<Extension>, Error> {
        let usage = KeyUsage(KeyUsages::DigitalSignature.into());
        Ok(vec![usage.to_extension(tbs.subject(), &[])?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Algorithm, JwkSet, PublicKey};
    use webpki::EndEntityCert;
    use x509_cert::der::Decode;
    use x509_cert::der::referenced::OwnedToRef;

    #[test]
    fn the_certificate_is_the_keys_own_and_always_the_same() {
        let signer = SigningKey::from_slice(&[9; 48]).expect("a scalar");
        let public = PublicKey::P384(*signer.verifying_key());
        let der = self_signed(&signer, &public.kid()).expect("a certificate");
        assert_eq!(self_signed(&signer, &public.kid()).expect("a certificate"), der);

        let read =
            EndEntityCert::try_from(&der[..].into()).map(|read| read.subject_public_key_info().as_ref().to_vec());
        assert_eq!(read.ok(), public.to_spki());
        let certificate = x509_cert::Certificate::from_der(&der).expect("a certificate");
        let signed = certificate.tbs_certificate().to_der().expect("DER");
        let signature = DerSignature::from_bytes(certificate.signature().raw_bytes()).expect("a signature");
        let check =
            |message: &[u8]| p384::ecdsa::signature::Verifier::verify(signer.verifying_key(), message, &signature);
        assert!(check(&signed).is_ok() && check(&signed[1..]).is_err());
        assert_eq!(
            certificate
                .tbs_certificate()
                .subject_public_key_info()
                .owned_to_ref()
                .algorithm
                .oid
                .to_string(),
            "1.2.840.10045.2.1"
        );
    }

    #[test]
    fn a_key_of_another_algorithm_has_none() {
        for (algorithm, count) in [(Algorithm::EdDsa, 0), (Algorithm::Es256, 0), (Algorithm::Es384, 1)] {
            let key = crate::key::SigningKey::generate(algorithm).expect("a key");
            let set = JwkSet::of_signer(&key).expect("a set");
            assert_eq!(set.chain(&key.public().kid()).len(), count, "{}", algorithm.name());
        }
    }
}
