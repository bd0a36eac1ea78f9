//! A channel over server-sent events.

use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use reqwest::{Method, Response};

use super::channel::read_event;
use super::sse::{SseEvent, SseFrame, SseParser};
use super::{ClientError, Resume, Server};
use crate::protocol::Framed;

/// An open event stream.
#[derive(Debug)]
pub struct Stream {
    response: Response,
    parser: SseParser,
}

impl Stream {
    /// Opens a session, or another channel of one, and waits for the first bytes.
    pub async fn open(server: &Server, resume: Option<Resume<'_>>) -> Result<Self, ClientError> {
        let mut stream = Self::request(server, resume).await?;
        stream.fill().await?;
        Ok(stream)
    }

    /// The same, but returns at the headers: for who wants to know whether something holds the rest back.
    pub async fn request(server: &Server, resume: Option<Resume<'_>>) -> Result<Self, ClientError> {
        let request = match resume {
            None => server.request_url(Method::GET, server.opening_url("/v1/events")?),
            Some(Resume { pass, last_id }) => {
                let request = server.request(Method::GET, "/v1/events")?.bearer_auth(&pass.token);
                match last_id {
                    Some(id) => request.header("last-event-id", id),
                    None => request,
                }
            }
        };
        let response =
            request.header(ACCEPT, "text/event-stream").header(CACHE_CONTROL, "no-store").send().await?;
        let response = super::server::accepted("GET /v1/events", response).await?;
        Ok(Self { response, parser: SseParser::default() })
    }

    /// What the server said before the first byte.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next event; waits for it.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub async fn next(&mut self) -> Result<Framed, ClientError> {
        loop {
            match self.next_frame().await? {
                SseFrame::Event(event) => {
                    if let Some(framed) = read(&event)? {
                        return Ok(framed);
                    }
                }
                SseFrame::Comment(_) | SseFrame::Retry(_) => {}
            }
        }
    }

    /// The next comment, delay or event, as it stands on the wire; waits for it.
    pub async fn next_frame(&mut self) -> Result<SseFrame, ClientError> {
        loop {
            match self.parser.next_frame() {
                Some(frame) => return Ok(frame),
                None => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        let chunk = self.response.chunk().await?.ok_or(ClientError::Ended)?;
        self.parser.push(&chunk).map_err(|error| ClientError::garbled("the stream", error))
    }
}

/// An event says its type and id twice, and both must agree.
fn read(event: &SseEvent) -> Result<Option<Framed>, ClientError> {
    let Some(framed) = read_event(&event.data)? else { return Ok(None) };
    let (outer, inner) = (event.event.as_str(), framed.event.kind());
    if outer != inner {
        return Err(ClientError::garbled(
            "an event",
            format!("event: says {outer} and the data say {inner}"),
        ));
    }
    // What belongs to the channel has no id and leaves the stream's last one standing.
    if framed.id.is_some() && framed.id != event.last_id {
        let why = format!("id: says {:?} and the data say {:?}", event.last_id, framed.id);
        return Err(ClientError::garbled("an event", why));
    }
    Ok(Some(framed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, id: Option<&str>, data: &str) -> SseEvent {
        SseEvent { event: kind.into(), data: data.into(), last_id: id.map(Into::into) }
    }

    #[test]
    fn type_and_id_must_agree() {
        let reset = r#"{"type":"reset","reason":"old","at_ms":1}"#;
        assert!(read(&event("reset", Some("1.0.a"), reset)).is_ok_and(|framed| framed.is_some()));
        assert!(read(&event("message", None, reset)).is_err());
        let problem =
            r#"{"type":"problem","code":"canceled","message":"m","retryable":false,"at_ms":1,"id":"2"}"#;
        assert!(read(&event("problem", Some("2"), problem)).is_ok());
        assert!(read(&event("problem", Some("1"), problem)).is_err());
    }
}
