//! An open channel of a session, whichever way it is carried.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ClientError, Poll, Server, Socket, Stream};
use crate::protocol::{Event, Framed, SessionEvent, SessionId};

/// The events that we know. The contract may gain others, which we skip.
const KNOWN: [&str; 11] =
    ["session", "stage", "ready", "upload", "job", "preview", "cutout", "problem", "reset", "drain", "ping"];

/// How a channel is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// A WebSocket.
    Ws,
    /// Server-sent events.
    Sse,
    /// Snapshots, again and again.
    Poll,
}

impl Transport {
    /// All of them, in the order in which the widget tries them.
    pub const ALL: [Self; 3] = [Self::Ws, Self::Sse, Self::Poll];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
        })
    }
}

/// What authorises further requests of a session.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Which.
    pub session: SessionId,
    /// Its token.
    pub token: String,
}

impl From<&SessionEvent> for Pass {
    fn from(event: &SessionEvent) -> Self {
        Self { session: event.session.clone(), token: event.token.clone() }
    }
}

/// Where to go on.
#[derive(Clone, Copy, Debug)]
pub struct Resume<'a> {
    /// Whose session.
    pub pass: &'a Pass,
    /// The last event that was seen; none wants the whole log.
    pub last_id: Option<&'a str>,
}

/// An event as it came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The event.
    pub framed: Framed,
    /// The picture that came with it on a WebSocket.
    pub body: Option<Bytes>,
}

impl From<Framed> for Arrival {
    fn from(framed: Framed) -> Self {
        Self { framed, body: None }
    }
}

/// An open channel.
#[derive(Debug)]
pub enum Channel {
    /// Over a WebSocket.
    Socket(Box<Socket>),
    /// Over server-sent events.
    Stream(Box<Stream>),
    /// Over snapshots.
    Poll(Box<Poll>),
}

impl Channel {
    /// Opens a session, or another channel of one. Returns when the server's first bytes are there:
    /// the switch to WebSocket, the stream's first chunk, or the session's description.
    pub async fn open(
        server: &Server,
        transport: Transport,
        resume: Option<Resume<'_>>,
    ) -> Result<Self, ClientError> {
        Ok(match transport {
            Transport::Ws => Self::Socket(Box::new(Socket::open(server, resume).await?)),
            Transport::Sse => Self::Stream(Box::new(Stream::open(server, resume).await?)),
            Transport::Poll => Self::Poll(Box::new(Poll::open(server, resume).await?)),
        })
    }

    /// Something was done that has news. Where they come by themselves this does nothing.
    pub fn hurry(&mut self) {
        if let Self::Poll(poll) = self {
            poll.hurry();
        }
    }

    /// The next event; waits for it.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing: what had come is kept for the next one.
    pub async fn next(&mut self) -> Result<Arrival, ClientError> {
        match self {
            Self::Socket(socket) => socket.next().await,
            Self::Stream(stream) => stream.next().await.map(Arrival::from),
            Self::Poll(poll) => poll.next().await.map(Arrival::from),
        }
    }
}

/// The session that a channel's first event describes. A WebSocket is accepted first and refused then.
pub(super) fn session_of(framed: &Framed) -> Result<SessionEvent, ClientError> {
    match &framed.event {
        Event::Session(session) => Ok(session.as_ref().clone()),
        Event::Problem(problem) => Err(ClientError::Refused(Box::new(problem.clone()))),
        other => Err(ClientError::garbled(
            "the channel",
            format!("its first event is {}, not session", other.kind()),
        )),
    }
}

/// Reads one event; none for a type that we don't know.
pub(super) fn read_event(json: &str) -> Result<Option<Framed>, ClientError> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    let error = match serde_json::from_str(json) {
        Ok(framed) => return Ok(Some(framed)),
        Err(error) => error,
    };
    match serde_json::from_str::<Kind>(json) {
        Ok(kind) if !KNOWN.contains(&kind.r#type.as_str()) => Ok(None),
        _ => Err(ClientError::garbled(
            "an event",
            format!("{error} in {}", super::server::quote(json.as_bytes())),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_are_skipped_and_broken_events_are_not() {
        assert_eq!(read_event(r#"{"type":"confetti","at_ms":1}"#).expect("skipped"), None);
        let ping = read_event(r#"{"type":"ping","at_ms":5,"more":1}"#).expect("good");
        assert_eq!(ping, Some(Framed { event: Event::Ping {}, at_ms: 5, id: None }));
        for bad in [r#"{"type":"ready","at_ms":1}"#, r#"{"at_ms":1}"#, "", r#"{"type":"ping"}"#] {
            assert_eq!(read_event(bad).expect_err("broken").code(), "garbled", "{bad}");
        }
    }
}
