//! `GET /v1/events`: a session's log as server-sent events.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, header};
use axum::response::IntoResponse;
use bytes::Bytes;

use super::AppState;
use super::address::Visitor;
use super::channel::{Channel, Next, OpenQuery};
use super::error::Answer;
use super::extract::Query;
use crate::protocol::{Delivery, Framed};

/// The first bytes: a comment, so that a proxy has something to pass on, and how long a bare
/// `EventSource` waits before it comes back. In one block with the first event: some clients take a
/// block without an event for an empty one.
const PREAMBLE: &str = ": warmcut\nretry: 2000\n";

/// Opens or resumes a session over SSE.
pub(super) async fn events(
    State(app): State<AppState>,
    method: Method,
    visitor: Visitor,
    headers: HeaderMap,
    Query(query): Query<OpenQuery>,
) -> Answer {
    // A router answers HEAD as GET; nobody who asks for headers means to open a session.
    if method != Method::GET {
        return Ok(super::error::only("GET").await);
    }
    let channel = Channel::open(&app, &headers, &query, None, visitor).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        // nginx and others buffer a response unless told not to.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let stream = stream(channel);
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Pulled by the connection: while the client doesn't read, nothing is made for it.
fn stream(mut channel: Channel) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    async_stream::stream! {
        yield Ok(Bytes::from_static(PREAMBLE.as_bytes()));
        yield Ok(frame(&channel.hello()));
        let mut told = false;
        loop {
            match channel.next(&mut told).await {
                Next::Entry(entry) => {
                    let session = &channel.opened.session;
                    let json = entry.json(&session.id, session.opened_at_ms, Delivery::Url);
                    let id = entry.key.to_id(&session.id);
                    yield Ok(Bytes::from(format!("event: {}\nid: {id}\ndata: {json}\n\n", entry.event.kind())));
                }
                Next::Own(framed) => yield Ok(frame(&framed)),
                Next::Expired | Next::TooSlow | Next::Closing => break,
            }
        }
    }
}

fn frame(framed: &Framed) -> Bytes {
    Bytes::from(format!("event: {}\ndata: {}\n\n", framed.event.kind(), framed.to_json()))
}
