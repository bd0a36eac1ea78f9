//! What can go wrong between us and a server, and the short code that reports count it under.

use std::borrow::Cow;
use std::error::Error as _;
use std::path::PathBuf;

use tokio_tungstenite::tungstenite;

use crate::protocol::Problem;

/// Why a client's step didn't work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address can't be one of a server.
    #[error("{url:?} is not a server's address: {why}")]
    BadAddress {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// An argument that can't travel as a header or as a number of seconds.
    #[error("{name} can't be used: {why}")]
    BadArgument {
        /// The flag without its dashes.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The photo's file.
    #[error("the photo {path} can't be read: {source}")]
    Photo {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The photo is of no kind that a server takes.
    #[error("the photo is neither JPEG nor PNG nor WebP; its first bytes are {head:02x?}")]
    NotAPhoto {
        /// Its first bytes, eight at most.
        head: Vec<u8>,
    },
    /// No TLS at all.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
    /// No connection, or one that broke.
    #[error("{}", causes(.0))]
    Http(#[source] Box<reqwest::Error>),
    /// The same for a WebSocket.
    #[error("{0}")]
    Socket(#[source] Box<tungstenite::Error>),
    /// The server said no, in the contract's words.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server said no in other words: a proxy, or no warmcut.
    #[error("the answer to {what} is {status} {body:?}")]
    Status {
        /// Method and path.
        what: String,
        /// As HTTP has it.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The server closed the WebSocket.
    #[error("the socket was closed with {code} {reason:?}")]
    Closed {
        /// As RFC 6455 has it; 1006 when there was no close frame.
        code: u16,
        /// As the server gave it.
        reason: String,
    },
    /// The stream ended.
    #[error("the stream ended")]
    Ended,
    /// Something that the contract doesn't allow.
    #[error("{what} is not what the contract says: {why}")]
    Garbled {
        /// What came.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A cutout that is none.
    #[error("the cutout is not what its event says: {0}")]
    WrongCutout(String),
    /// A run, upload or job that ended badly and without a problem that says why.
    #[error("it ended as {0:?} without saying why")]
    Unexplained(String),
    /// Nothing came in time.
    #[error("{what} took longer than {seconds} s")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: f64,
    },
}

impl ClientError {
    /// The same for the same cause, whatever the values: what errors are counted under.
    pub fn code(&self) -> Cow<'static, str> {
        match self {
            Self::BadAddress { .. } | Self::BadArgument { .. } => "bad_argument".into(),
            Self::Photo { .. } | Self::NotAPhoto { .. } => "bad_photo".into(),
            Self::Tls(_) => "tls".into(),
            Self::Http(error) if error.is_connect() => "connect".into(),
            Self::Http(_) => "connection_lost".into(),
            Self::Socket(error) => match error.as_ref() {
                tungstenite::Error::Io(_) | tungstenite::Error::Tls(_) | tungstenite::Error::Url(_) => {
                    "connect".into()
                }
                _ => "websocket".into(),
            },
            Self::Refused(problem) => problem.code.as_str().into(),
            Self::Status { status, .. } => format!("http_{status}").into(),
            Self::Closed { code, .. } => format!("closed_{code}").into(),
            Self::Ended => "ended".into(),
            Self::Garbled { .. } => "garbled".into(),
            Self::WrongCutout(_) => "wrong_cutout".into(),
            Self::Unexplained(_) => "unexplained".into(),
            Self::TimedOut { .. } => "timeout".into(),
        }
    }

    /// True when the caller gave something that can't work, before any server was asked.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::BadAddress { .. } | Self::BadArgument { .. } | Self::Photo { .. } | Self::NotAPhoto { .. }
        )
    }

    /// True when a channel broke and its session may well go on over another one.
    pub fn is_lost_channel(&self) -> bool {
        match self {
            Self::Http(_) | Self::Socket(_) | Self::Ended => true,
            // Going away, broken, restarting, too slow: the server keeps the session.
            Self::Closed { code, .. } => matches!(code, 1001 | 1006 | 1012 | 1013),
            Self::Status { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }

    /// True when the server may still be at it: we don't know how it ended.
    pub(super) fn is_silence(&self) -> bool {
        self.is_lost_channel() || matches!(self, Self::TimedOut { .. })
    }

    pub(super) fn garbled(what: &'static str, why: impl ToString) -> Self {
        Self::Garbled { what, why: why.to_string() }
    }
}

impl From<reqwest::Error> for ClientError {
    fn from(error: reqwest::Error) -> Self {
        // The address carries the shop's key, and every report names the server already.
        Self::Http(Box::new(error.without_url()))
    }
}

impl From<tungstenite::Error> for ClientError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Self::Closed { code: 1006, reason: String::new() }
            }
            tungstenite::Error::Http(response) => {
                let status = response.status().as_u16();
                let body = response.into_body().unwrap_or_default();
                super::server::refusal("the WebSocket's handshake".into(), status, &body)
            }
            other => Self::Socket(Box::new(other)),
        }
    }
}

/// "connection refused" stands at the end of the chain, below three layers that say "error".
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
