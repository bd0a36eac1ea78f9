//! Identifiers. Each is its own type, so that a job can't be passed where a run is meant.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a string from outside is not an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an id is 1 to 64 characters of A-Z a-z 0-9 _ - . but this one is {0:?}")]
pub struct IdError(String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// A fresh one with 128 random bits.
            pub fn random() -> Self {
                Self(random_name($prefix))
            }

            /// The text that travels.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                if is_id(&text) { Ok(Self(text)) } else { Err(IdError(text.chars().take(80).collect())) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// One browser's visit.
    SessionId, "s_");
id!(
    /// One warm-up.
    RunId, "r_");
id!(
    /// One photo on its way in; the browser chooses it.
    UploadId, "u_");
id!(
    /// One request to the model.
    JobId, "j_");
id!(
    /// A finished cutout, for a shop's server or an order.
    CutoutId, "c_");

impl JobId {
    /// The job of an upload is always the same, so that a repeated upload finds it again.
    pub fn of(session: &SessionId, upload: &UploadId) -> Self {
        let digest = Sha256::new()
            .chain_update(session.as_str())
            .chain_update([0])
            .chain_update(upload.as_str())
            .finalize();
        Self(format!("j_{}", BASE32_NOPAD.encode(&digest[..16]).to_lowercase()))
    }
}

impl CutoutId {
    /// The same photo with the same options is the same cutout.
    pub fn of(digest: &[u8; 32]) -> Self {
        Self(format!("c_{}", BASE32_NOPAD.encode(&digest[..20]).to_lowercase()))
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// A name for what never travels, such as a process among others: a prefix and 128 random bits.
pub fn random_name(prefix: &str) -> String {
    format!("{prefix}{}", random_text())
}

fn random_text() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    BASE32_NOPAD.encode(&bytes).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_from_outside_are_short_and_plain() {
        for good in ["a", "u_1", "3f2b-77.x", &"x".repeat(64)] {
            assert!(UploadId::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "../x", "a/b", &"x".repeat(65)] {
            assert!(UploadId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_job_of_an_upload_is_always_the_same() {
        let (session, upload) = (SessionId::random(), UploadId::random());
        assert_eq!(JobId::of(&session, &upload), JobId::of(&session, &upload));
        assert_ne!(JobId::of(&session, &upload), JobId::of(&SessionId::random(), &upload));
    }
}
