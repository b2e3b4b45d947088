//! Encryption of records, which contain secrets, for every store.
//!
//! The cipher is AES-256-GCM-SIV, which stays secure if a random nonce repeats. The record's id is
//! the associated data, so that one record cannot be passed off as another.

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::key::RecordId;

/// The salt that keys are derived with. Changing it makes all existing records unreadable.
const PURPOSE: &[u8] = b"totp-facade idempotency records 1";

/// A key that encrypts and decrypts records.
pub(super) struct Sealer(LessSafeKey);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// A random key, which ends with the process.
    pub(super) fn random() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(key.as_mut_slice()).expect("the system has random bytes");
        Self::from_key(key.as_slice())
    }

    /// The key derived from a Stytch secret, which is the same in all replicas of the service.
    pub(super) fn derived(secret: &SecretString) -> Self {
        let secret = Salt::new(HKDF_SHA256, PURPOSE).extract(secret.expose_secret().as_bytes());
        let mut key = Zeroizing::new([0; 32]);
        secret
            .expand(&[b"key"], HKDF_SHA256)
            .and_then(|key_material| key_material.fill(key.as_mut_slice()))
            .expect("32 bytes can be derived");
        Self::from_key(key.as_slice())
    }

    fn from_key(key: &[u8]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).expect("32 bytes")))
    }

    /// Encrypts `plain`, where it is encoded. Only [`Sealer::open`] with the same id decrypts it.
    pub(super) fn seal(&self, id: RecordId, plain: &impl prost::Message) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).expect("the system has random bytes");
        let length = NONCE_LEN + plain.encoded_len() + AES_256_GCM_SIV.tag_len();
        let mut sealed = Vec::with_capacity(length);
        sealed.extend_from_slice(&nonce);
        plain.encode(&mut sealed).expect("a vector grows");
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(id));
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, aad, &mut sealed[NONCE_LEN..])
            .expect("a record is far smaller than what can be sealed");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Decrypts what [`Sealer::seal`] returned. Returns `None` if the key or the id is another, or
    /// the bytes were changed.
    pub(super) fn open(&self, id: RecordId, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let length = self.0.open_in_place(nonce, Aad::from(id), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message as _;

    use super::*;

    fn of_secret(secret: &str) -> Sealer {
        Sealer::derived(&SecretString::from(secret.to_owned()))
    }

    #[test]
    fn a_record_decrypts_only_with_the_same_secret_and_name() {
        let plain = Bytes::from_static(b"plain");
        let sealed = of_secret("secret").seal(RecordId::of_test("a"), &plain);

        let opened = |sealer: &Sealer, key: &str, sealed: &[u8]| {
            let plain = sealer.open(RecordId::of_test(key), sealed)?;
            Some(Bytes::decode(plain.as_slice()).expect("what was encoded"))
        };
        assert_eq!(opened(&of_secret("secret"), "a", &sealed), Some(plain));
        assert_eq!(opened(&of_secret("rotated"), "a", &sealed), None, "another secret");
        assert_eq!(opened(&of_secret("secret"), "b", &sealed), None, "another record");
        assert_eq!(opened(&Sealer::random(), "a", &sealed), None, "another process");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(opened(&of_secret("secret"), "a", &changed), None, "byte {at} changed");
            assert_eq!(opened(&of_secret("secret"), "a", &sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn the_same_is_never_sealed_twice_alike() {
        let sealer = Sealer::random();

        let sealed = [(); 2].map(|()| sealer.seal(RecordId::of_test("a"), &"plain".to_owned()));

        assert_ne!(sealed[0], sealed[1]);
    }
}
