//! The key file: shops with their publishable keys, secret keys and origins.
//!
//! ```json
//! {"shops": [{"name": "demo", "publishable": "pk_demo", "secret": "sk_…", "origins": ["https://shop.example"]}]}
//! ```

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::session::token::digest;

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It can't be read.
    #[error("the key file {path} can't be read: {reason}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        reason: std::io::Error,
    },
    /// It isn't what it should be.
    #[error(
        "the key file is not as it should be: {0}; it looks like {{\"shops\": [{{\"name\": \"demo\", \"publishable\": \"pk_…\", \"secret\": \"sk_…\", \"origins\": [\"https://shop.example\"]}}]}}"
    )]
    Json(serde_json::Error),
    /// A key or an origin has the wrong form, or stands there twice.
    #[error("the key file: shop {shop:?}: {reason}")]
    Shop {
        /// Which shop.
        shop: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    shops: Vec<ShopEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShopEntry {
    name: String,
    publishable: String,
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    origins: Vec<String>,
}

struct Shop {
    name: Arc<str>,
    origins: HashSet<String>,
}

/// Shops by their keys.
#[derive(Default)]
pub struct Keys {
    publishable: HashMap<String, Shop>,
    /// By digest, so that a look-up tells nothing of how much of a guess was right.
    secret: HashMap<[u8; 32], Arc<str>>,
    origins: HashSet<String>,
}

impl Keys {
    /// From a file.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| KeysError::Read { path: path.display().to_string(), reason })?;
        Self::parse(&text)
    }

    /// From the file's text.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        // Not a source: the message has it, and who prints both would say it twice.
        let file: File = serde_json::from_str(text).map_err(KeysError::Json)?;
        let mut keys = Self::default();
        for ShopEntry { name, publishable, secret, origins } in file.shops {
            let wrong = |reason: String| KeysError::Shop { shop: name.clone(), reason };
            if !publishable.starts_with("pk_") {
                return Err(wrong("a publishable key begins with pk_".into()));
            }
            let origins: HashSet<String> = origins
                .iter()
                .map(|origin| {
                    normal_origin(origin).ok_or_else(|| {
                        wrong(format!("{origin:?} is not an origin such as https://shop.example"))
                    })
                })
                .collect::<Result<_, _>>()?;
            let shop: Arc<str> = name.as_str().into();
            if let Some(secret) = &secret {
                if !secret.starts_with("sk_") || secret.len() < 12 {
                    return Err(wrong("a secret key begins with sk_ and has 12 characters or more".into()));
                }
                if keys.secret.insert(digest(secret), Arc::clone(&shop)).is_some() {
                    return Err(wrong("its secret key is another shop's too".into()));
                }
            }
            keys.origins.extend(origins.iter().cloned());
            if keys.publishable.insert(publishable, Shop { name: shop, origins }).is_some() {
                return Err(wrong("its publishable key is another shop's too".into()));
            }
        }
        Ok(keys)
    }

    /// How many shops there are.
    pub fn shops(&self) -> usize {
        self.publishable.len()
    }

    /// The shop of a publishable key, and whether a page of this origin may use it.
    pub(super) fn shop_of(&self, publishable: &str, origin: Option<&str>) -> Option<(Arc<str>, bool)> {
        let shop = self.publishable.get(publishable)?;
        Some((Arc::clone(&shop.name), origin.is_some_and(|origin| shop.origins.contains(origin))))
    }

    /// The shop of a secret key.
    pub(super) fn shop_of_secret(&self, secret: &str) -> Option<Arc<str>> {
        self.secret.get(&digest(secret)).cloned()
    }

    /// Whether an origin stands on any key's list.
    pub(super) fn knows_origin(&self, origin: &str) -> bool {
        self.origins.contains(origin)
    }
}

/// Scheme, host and port as browsers send them: lower case, without path or final slash.
pub fn normal_origin(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let plain = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    plain.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_its_shop_and_its_origins() {
        let keys = Keys::parse(
            r#"{"shops":[{"name":"a","publishable":"pk_a","secret":"sk_aaaaaaaaaa","origins":["https://A.example/"]},
                        {"name":"b","publishable":"pk_b","origins":["http://127.0.0.1:9000"]}]}"#,
        )
        .expect("a good file");
        let shop = |key, origin| keys.shop_of(key, Some(origin)).map(|(name, may)| (name.to_string(), may));
        assert_eq!(shop("pk_a", "https://a.example"), Some(("a".into(), true)));
        assert_eq!(shop("pk_a", "http://127.0.0.1:9000"), Some(("a".into(), false)));
        assert_eq!(shop("pk_x", "https://a.example"), None);
        assert_eq!(keys.shop_of_secret("sk_aaaaaaaaaa").as_deref(), Some("a"));
        assert_eq!(keys.shop_of_secret("sk_aaaaaaaaab"), None);
        assert!(keys.knows_origin("http://127.0.0.1:9000") && !keys.knows_origin("https://evil.example"));
    }

    #[test]
    fn mistakes_in_the_file_are_named() {
        for (text, says) in [
            (r#"{"shops":[{"name":"a","publishable":"x"}]}"#, "begins with pk_"),
            (r#"{"shops":[{"name":"a","publishable":"pk_a","secret":"geheim"}]}"#, "begins with sk_"),
            (r#"{"shops":[{"name":"a","publishable":"pk_a","origins":["shop.example"]}]}"#, "not an origin"),
            (
                r#"{"shops":[{"name":"a","publishable":"pk_a"},{"name":"b","publishable":"pk_a"}]}"#,
                "another shop's",
            ),
            (r#"{"shops":[{"name":"a","publishable":"pk_a","orgins":[]}]}"#, "orgins"),
        ] {
            let error = Keys::parse(text).err().expect("refused").to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
