//! Tokens and signatures: derived from a secret, so that nothing about them is stored.
//!
//! A session's token is its id and a keyed hash of it. Whoever holds the secret can check a token
//! without a look-up, and give the same token again to a browser that comes back with its nonce.

use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use crate::protocol::{CutoutId, SessionId};

/// The server's secret: a fresh one for a process that is alone, one for all of a deployment. Clones are the same.
#[derive(Clone)]
pub struct Secret(Arc<RwLock<[u8; 32]>>);

impl Secret {
    /// From the operating system's random numbers.
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        Self::from_bytes(bytes)
    }

    /// As it is shared.
    pub fn to_bytes(&self) -> [u8; 32] {
        *self.0.read()
    }

    /// One that is shared.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Arc::new(RwLock::new(bytes)))
    }

    /// What others have by now; what was made with the one before is none any more.
    pub fn adopt(&self, bytes: [u8; 32]) {
        *self.0.write() = bytes;
    }

    /// The token of a session.
    pub fn token(&self, session: &SessionId) -> String {
        format!("{session}.{}", encode(&self.mac(b"token", session.as_str()).finalize().into_bytes()))
    }

    /// The session that a token is for; none when the token is forged or not one at all.
    pub fn session_of(&self, token: &str) -> Option<SessionId> {
        let (session, mac) = token.rsplit_once('.')?;
        self.verify(b"token", session, mac)?;
        SessionId::try_from(session.to_owned()).ok()
    }

    /// What makes a cutout's lasting address valid until then.
    pub fn sign_cutout(&self, cutout: &CutoutId, expires_ms: u64) -> String {
        encode(&self.mac(b"cutout", &format!("{cutout}.{expires_ms}")).finalize().into_bytes())
    }

    /// Whether a signature was made by [`Self::sign_cutout`] for the same cutout and time.
    pub fn verify_cutout(&self, cutout: &CutoutId, expires_ms: u64, signature: &str) -> bool {
        self.verify(b"cutout", &format!("{cutout}.{expires_ms}"), signature).is_some()
    }

    fn mac(&self, purpose: &[u8], text: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.to_bytes()).expect("a keyed hash takes a key of any length");
        mac.update(purpose);
        mac.update(&[0]);
        mac.update(text.as_bytes());
        mac
    }

    fn verify(&self, purpose: &[u8], text: &str, encoded: &str) -> Option<()> {
        let bytes = BASE32_NOPAD.decode(encoded.to_ascii_uppercase().as_bytes()).ok()?;
        // Compares in constant time.
        self.mac(purpose, text).verify_slice(&bytes).ok()
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_lowercase()
}

/// A short name for a session inside its event ids; not a secret.
pub(super) fn session_tag(session: &SessionId) -> String {
    encode(&Sha256::digest(session.as_str())[..5])
}

/// The digest of a text, for looking secrets up without comparing them byte by byte.
pub fn digest(text: &str) -> [u8; 32] {
    digest_bytes(text.as_bytes())
}

/// The digest of bytes.
pub fn digest_bytes(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_token_names_its_session() {
        let (secret, session) = (Secret::random(), SessionId::random());
        let token = secret.token(&session);
        assert_eq!(secret.session_of(&token), Some(session.clone()));
        assert_eq!(Secret::random().session_of(&token), None, "another server's secret");
        let forged = format!("{}.{}", SessionId::random(), token.rsplit_once('.').expect("has a mac").1);
        assert_eq!(secret.session_of(&forged), None, "another session's mac");
        for bad in ["", ".", "a", "s_1.", "s_1.zz", &token[..token.len() - 8]] {
            assert_eq!(secret.session_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cutouts_signature_holds_for_its_time_only() {
        let secret = Secret::random();
        let id = CutoutId::random();
        let signature = secret.sign_cutout(&id, 1000);
        assert!(secret.verify_cutout(&id, 1000, &signature));
        assert!(!secret.verify_cutout(&id, 1001, &signature));
        assert!(!secret.verify_cutout(&CutoutId::random(), 1000, &signature));
    }
}
