//! Who may open a session or start work.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::Refusal;
use super::headers::text;
use super::keys::{Keys, normal_origin};
use crate::protocol::Code;

/// The rules of this server.
pub struct Admission {
    keys: Option<Keys>,
    public_origin: Option<String>,
}

/// Where a request comes from.
#[derive(Debug, PartialEq, Eq)]
enum From {
    /// A page of ours.
    Own,
    /// A page of another origin.
    Page(String),
    /// A browser that won't say which page.
    Hidden,
    /// A program.
    Program,
}

impl Admission {
    /// With keys or without, and our own origin where a proxy hides it.
    pub fn new(keys: Option<Keys>, public_url: Option<&str>) -> Self {
        Self { keys, public_origin: public_url.and_then(normal_origin) }
    }

    /// Whether any keys are configured.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether a page of this origin may read our answers.
    pub(super) fn may_read(&self, headers: &HeaderMap) -> Option<String> {
        match self.from(headers) {
            From::Own => text(headers, header::ORIGIN).and_then(normal_origin),
            From::Page(origin) => self.keys.as_ref()?.knows_origin(&origin).then_some(origin),
            From::Hidden | From::Program => None,
        }
    }

    /// Who may open a session: the shop it belongs to, if any.
    pub(super) fn session(
        &self,
        headers: &HeaderMap,
        key: Option<&str>,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let from = self.from(headers);
        let Some(keys) = &self.keys else { return self.without_keys(&from).map(|()| None) };
        let origin = match &from {
            // Our own pages may name a shop, and need not.
            From::Own => {
                let Some(key) = key else { return Ok(None) };
                return keys.shop_of(key, None).map(|(shop, _)| Some(shop)).ok_or_else(unknown_key);
            }
            From::Hidden => return Err(hidden()),
            From::Page(origin) => Some(origin.as_str()),
            From::Program => None,
        };
        let Some(key) = key else {
            return Err(Refusal::new(Code::Unauthorized, "this server needs a publishable key: key=pk_…"));
        };
        match keys.shop_of(key, origin) {
            Some((shop, true)) => Ok(Some(shop)),
            Some((_, false)) => {
                let origin = origin.unwrap_or("of a request without one");
                let message = format!(
                    "the origin {origin} is not on the list of this key; add it to the key's origins"
                );
                Err(Refusal::new(Code::OriginNotAllowed, message))
            }
            None => Err(unknown_key()),
        }
    }

    /// Who may start work without a session: the shop of the secret key, if keys are configured.
    pub(super) fn work(&self, headers: &HeaderMap) -> Result<Option<Arc<str>>, Refusal> {
        let Some(keys) = &self.keys else { return self.without_keys(&self.from(headers)).map(|()| None) };
        match bearer(headers).and_then(|secret| keys.shop_of_secret(secret)) {
            Some(shop) => Ok(Some(shop)),
            None => {
                Err(Refusal::new(Code::Unauthorized, "this needs a secret key: Authorization: Bearer sk_…"))
            }
        }
    }

    /// The shop of the secret key in a request, if there is one.
    pub(super) fn secret(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        self.keys.as_ref()?.shop_of_secret(bearer(headers)?)
    }

    fn without_keys(&self, from: &From) -> Result<(), Refusal> {
        match from {
            From::Own | From::Program => Ok(()),
            From::Hidden => Err(hidden()),
            From::Page(origin) => {
                let message = format!(
                    "the origin {origin} may not use this server: it has no keys, so it serves its own pages only; give it a key file with --keys"
                );
                Err(Refusal::new(Code::OriginNotAllowed, message))
            }
        }
    }

    fn from(&self, headers: &HeaderMap) -> From {
        let site = text(headers, "sec-fetch-site");
        match text(headers, header::ORIGIN) {
            Some("null") => From::Hidden,
            Some(origin) => match normal_origin(origin) {
                Some(origin) if self.is_own(&origin, headers) => From::Own,
                Some(origin) => From::Page(origin),
                None => From::Hidden,
            },
            None => match site {
                Some("same-origin") => From::Own,
                Some("cross-site" | "same-site") => From::Hidden,
                // A page typed into the address bar says "none"; it shows our answer to its own reader only.
                _ => From::Program,
            },
        }
    }

    fn is_own(&self, origin: &str, headers: &HeaderMap) -> bool {
        if self.public_origin.as_deref() == Some(origin) {
            return true;
        }
        let host = text(headers, header::HOST).map(str::to_ascii_lowercase);
        let named = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host.as_deref() == named
    }
}

fn hidden() -> Refusal {
    Refusal::new(
        Code::OriginNotAllowed,
        "a page without an origin may not use this server; serve it from an http or https address",
    )
}

fn unknown_key() -> Refusal {
    Refusal::new(Code::Unauthorized, "this publishable key is not known here; see data-key in the page")
}

/// HTTP/2 names the host in the address and not in a header; from here on it is in the header.
pub(super) async fn name_host(mut request: Request, next: Next) -> Response {
    if !request.headers().contains_key(header::HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    next.run(request).await
}

/// The token of `Authorization: Bearer …`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", "cut.example".parse().expect("a value"));
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("a value"));
        }
        headers
    }

    fn with_keys() -> Admission {
        let text = r#"{"shops":[{"name":"a","publishable":"pk_a","secret":"sk_aaaaaaaaaa","origins":["https://a.example"]}]}"#;
        Admission::new(Some(Keys::parse(text).expect("a good file")), Some("https://own.example/"))
    }

    fn code(answer: Result<Option<Arc<str>>, Refusal>) -> String {
        match answer {
            Ok(shop) => shop.map_or("nobody".to_owned(), |shop| shop.to_string()),
            Err(refusal) => refusal.0.code.as_str().to_owned(),
        }
    }

    #[test]
    fn sessions_with_keys() {
        let admission = with_keys();
        let ask = |pairs: &[(&'static str, &'static str)], key| code(admission.session(&headers(pairs), key));
        assert_eq!(ask(&[("origin", "https://a.example")], Some("pk_a")), "a");
        assert_eq!(ask(&[("origin", "https://b.example")], Some("pk_a")), "origin_not_allowed");
        assert_eq!(ask(&[("origin", "https://a.example")], Some("pk_x")), "unauthorized");
        assert_eq!(ask(&[("origin", "https://a.example")], None), "unauthorized");
        assert_eq!(ask(&[], Some("pk_a")), "origin_not_allowed");
        assert_eq!(ask(&[("origin", "null")], Some("pk_a")), "origin_not_allowed");
        assert_eq!(ask(&[("sec-fetch-site", "cross-site")], Some("pk_a")), "origin_not_allowed");
        assert_eq!(ask(&[("origin", "http://cut.example")], None), "nobody", "our own page, by Host");
        assert_eq!(ask(&[("origin", "https://own.example")], None), "nobody", "our own page, by public URL");
        assert_eq!(ask(&[("sec-fetch-site", "same-origin")], Some("pk_a")), "a", "our own page for a shop");
        assert_eq!(ask(&[("origin", "http://cut.example")], Some("pk_x")), "unauthorized");
    }

    #[test]
    fn sessions_without_keys() {
        let admission = Admission::new(None, None);
        let ask =
            |pairs: &[(&'static str, &'static str)]| code(admission.session(&headers(pairs), Some("pk_any")));
        assert_eq!(ask(&[]), "nobody");
        assert_eq!(ask(&[("origin", "http://cut.example")]), "nobody");
        assert_eq!(ask(&[("origin", "https://evil.example")]), "origin_not_allowed");
        assert_eq!(ask(&[("origin", "null")]), "origin_not_allowed");
        assert_eq!(ask(&[("sec-fetch-site", "cross-site")]), "origin_not_allowed");
    }

    #[test]
    fn work_needs_the_secret_key_where_there_are_keys() {
        let ask = |pairs: &[(&'static str, &'static str)]| code(with_keys().work(&headers(pairs)));
        assert_eq!(ask(&[("authorization", "Bearer sk_aaaaaaaaaa")]), "a");
        assert_eq!(ask(&[("authorization", "bearer sk_wrong")]), "unauthorized");
        assert_eq!(ask(&[("origin", "http://cut.example")]), "unauthorized");
        assert_eq!(code(Admission::new(None, None).work(&headers(&[]))), "nobody");
    }

    #[test]
    fn only_origins_on_a_list_may_read() {
        let may = |origin| with_keys().may_read(&headers(&[("origin", origin)]));
        assert_eq!(may("https://a.example").as_deref(), Some("https://a.example"));
        assert_eq!(may("https://b.example"), None);
        assert_eq!(may("null"), None);
    }
}
