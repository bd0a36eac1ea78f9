//! A server's address and how we speak HTTP to it.
//!
//! Requests go straight to the server, whatever proxy the environment names, and follow no
//! redirects: a measurement that silently went elsewhere would be none.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use reqwest::header::{HeaderValue, ORIGIN};
use reqwest::{Method, RequestBuilder, Response, Url};
use rustls::{ClientConfig, RootCertStore};

use super::ClientError;
use crate::protocol::Problem;

/// A connection that takes longer won't come.
const CONNECT: Duration = Duration::from_secs(20);

/// How much of an unexpected answer stands in a message.
const QUOTED: usize = 120;

/// Who we say we are.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// A publishable key, `pk_…`.
    pub key: Option<String>,
    /// The page that we pretend to be on.
    pub origin: Option<String>,
}

/// For whoever has an address and nothing more to ask.
pub(crate) fn plain_client() -> Result<reqwest::Client, ClientError> {
    http(&tls()?)
}

fn http(tls: &ClientConfig) -> Result<reqwest::Client, ClientError> {
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .user_agent(concat!("warmcut/", env!("CARGO_PKG_VERSION")));
    Ok(http.build()?)
}

/// A server to talk to. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Server {
    base: Url,
    http: reqwest::Client,
    tls: Arc<ClientConfig>,
    key: Option<String>,
    origin: Option<HeaderValue>,
}

impl Server {
    /// Looks at the address; connects to nothing yet.
    pub fn new(address: &str, identity: Identity) -> Result<Self, ClientError> {
        let base = parse_address(address)?;
        let origin = identity.origin.map(HeaderValue::try_from).transpose();
        let origin =
            origin.map_err(|error| ClientError::BadArgument { name: "origin", why: error.to_string() })?;
        let tls = Arc::new(tls()?);
        let http = http(&tls)?;
        Ok(Self { base, http, tls, key: identity.key, origin })
    }

    /// Where it is.
    pub fn address(&self) -> &Url {
        &self.base
    }

    /// For connections that reqwest doesn't make.
    pub(super) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// The page that we pretend to be on.
    pub(super) fn origin(&self) -> Option<&HeaderValue> {
        self.origin.as_ref()
    }

    /// A path of the contract at this server. One with a query keeps it.
    pub fn url(&self, path: &str) -> Result<Url, ClientError> {
        // A server may live below a path, which `join` would drop.
        let whole = format!("{}{}", self.base.as_str().trim_end_matches('/'), path);
        Url::parse(&whole).map_err(|error| ClientError::BadAddress { url: whole, why: error.to_string() })
    }

    /// Where a new session opens: the path with our key, a trigger and a fresh nonce.
    pub(super) fn opening_url(&self, path: &str) -> Result<Url, ClientError> {
        let mut url = self.url(path)?;
        let mut query = url.query_pairs_mut();
        if let Some(key) = &self.key {
            query.append_pair("key", key);
        }
        query.append_pair("trigger", "upload").append_pair("open", &nonce());
        drop(query);
        Ok(url)
    }

    /// A request that says where we come from.
    pub(super) fn request_url(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.origin {
            Some(origin) => request.header(ORIGIN, origin),
            None => request,
        }
    }

    /// The same for a path.
    pub fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClientError> {
        Ok(self.request_url(method, self.url(path)?))
    }

    /// `GET path`, whatever the status is.
    pub async fn get(&self, path: &str) -> Result<Response, ClientError> {
        Ok(self.request(Method::GET, path)?.send().await?)
    }
}

/// What every connection of ours trusts: the system's roots, read once. They are hundreds of files on
/// some systems, and thousands of sockets open at once.
fn tls() -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(|error| ClientError::Tls(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What a user may type: `https://cut.example.com`, with a path if the server lives below one.
pub fn parse_address(address: &str) -> Result<Url, ClientError> {
    let bad = |why: String| ClientError::BadAddress { url: address.to_owned(), why };
    let url =
        Url::parse(address).map_err(|error| bad(format!("{error}; write it like http://127.0.0.1:8080")))?;
    match url.scheme() {
        "http" | "https" if url.query().is_none() && url.fragment().is_none() => Ok(url),
        "http" | "https" => Err(bad("it must end before the query".to_owned())),
        other => Err(bad(format!("the scheme is {other}, not http or https"))),
    }
}

/// The answer itself when it is a success, the problem in it otherwise.
pub(super) async fn accepted(what: &str, response: Response) -> Result<Response, ClientError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    // The status has been said; a body that breaks off takes nothing from it.
    let body = response.bytes().await.unwrap_or_default();
    Err(refusal(what.to_owned(), status, &body))
}

/// A refusal as the contract has it, or as something else said it.
pub(super) fn refusal(what: String, status: u16, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Refused(Box::new(problem)),
        Err(_) => ClientError::Status { what, status, body: quote(body) },
    }
}

/// The beginning of a body, for a message.
pub(super) fn quote(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(QUOTED).collect()
}

/// 128 random bits, as `open` wants them.
fn nonce() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    BASE32_NOPAD.encode(&bytes).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Code;

    #[test]
    fn addresses_are_of_http_servers() {
        for good in ["http://127.0.0.1:8080", "https://cut.example.com/", "https://example.com/cut"] {
            assert!(parse_address(good).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:8080", "ws://x", "https://x/?key=1", "http://", "x"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_below_a_path_keeps_it() {
        let server = Server::new("https://example.com/cut/", Identity::default()).expect("good");
        assert_eq!(server.url("/v1/events").expect("good").as_str(), "https://example.com/cut/v1/events");
    }

    #[test]
    fn an_opening_carries_the_key_and_a_nonce_of_its_own() {
        let identity = Identity { key: Some("pk_a b".into()), origin: None };
        let server = Server::new("http://h", identity).expect("good");
        let (one, two) = (
            server.opening_url("/v1/events").expect("good"),
            server.opening_url("/v1/events").expect("good"),
        );
        assert!(one.as_str().starts_with("http://h/v1/events?key=pk_a+b&trigger=upload&open="), "{one}");
        assert_ne!(one, two);
        assert!(nonce().len() >= 22);
    }

    #[test]
    fn refusals_keep_their_problem() {
        let body =
            br#"{"type":"about:blank","status":429,"code":"queue_full","message":"m","retryable":true}"#;
        let ClientError::Refused(problem) = refusal("x".into(), 429, body) else { panic!("not a problem") };
        assert_eq!(problem.code, Code::QueueFull);
        assert_eq!(refusal("x".into(), 502, b"<html>").code(), "http_502");
    }
}
