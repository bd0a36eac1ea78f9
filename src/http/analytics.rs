//! `POST /v1/analytics`: what the widget tells of its shoppers, into `/metrics` and nowhere else.
//!
//! `navigator.sendBeacon` sends a string as `text/plain`, with an `Origin` and without a header of our own,
//! so the key stands in the query. Who may open a session may tell how it went.

use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics::{SharedString, counter, histogram};
use serde::Deserialize;
use tokio::time::Instant;

use super::AppState;
use super::address::Visitor;
use super::body::{Announced, SharedBody, refuse};
use super::error::{Answer, Refusal};
use super::extract::Query;
use super::headers::text;
use crate::protocol::analytics::{self, Event};
use crate::protocol::{Code, Problem};

/// As many of the longest events as there may be take a quarter of it.
const MAX_BYTES: u64 = 16 << 10;
/// A body this small comes at once, or within this time over the worst of networks.
const WHOLE: Duration = Duration::from_secs(30);

/// The query.
#[derive(Debug, Deserialize)]
struct Who {
    key: Option<String>,
}

/// Counts the events of a body: all of them or none.
pub(super) async fn tell(State(app): State<AppState>, visitor: Visitor, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let announced = Announced::of(&parts.headers);
    let body = SharedBody::new(body, MAX_BYTES, &app.draining);
    let take = async {
        let Query(Who { key }) = Query::from_request_parts(&mut parts, &app).await?;
        let shop = app.admission.session(&parts.headers, key.as_deref())?;
        may(&app, visitor)?;
        expected(&parts.headers, &announced)?;
        Ok::<_, Refusal>((shop, receive(body.clone()).await?))
    };
    let (shop, bytes) = match take.await {
        Ok(taken) => taken,
        Err(refusal) => {
            note(&refusal);
            return refuse(&app, refusal, body, &announced);
        }
    };
    match analytics::read(&bytes) {
        Ok(events) => {
            let shop = shop.map_or(SharedString::const_str(""), SharedString::from);
            events.iter().for_each(|event| count(event, &shop));
            (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response()
        }
        Err(error) => {
            let refusal = Refusal::new(Code::BadRequest, error.to_string());
            note(&refusal);
            refusal.into_response()
        }
    }
}

/// An address that can't be told from others is not bounded, as it isn't for sessions.
fn may(app: &AppState, Visitor(address): Visitor) -> Answer<()> {
    let Some(address) = address else { return Ok(()) };
    app.analytics_rate.take(address, Instant::now()).map_err(|error| {
        let wait = error.retry_after_s;
        Refusal(Problem::new(Code::RateLimited, error.to_string()).retry_after(wait))
    })
}

/// What can be said of a body before it is read.
fn expected(headers: &HeaderMap, announced: &Announced) -> Answer<()> {
    let mime = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let essence = mime.split(';').next().unwrap_or_default().trim();
    if !["text/plain", "application/json"].iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        let message =
            format!("the type {essence:.40?} is not taken here; send JSON as text/plain or application/json");
        return Err(Refusal::new(Code::UnsupportedMediaType, message));
    }
    if let Some(bytes) = announced.bytes.filter(|bytes| *bytes > MAX_BYTES) {
        let message =
            format!("the body has {bytes} bytes and the limit is {MAX_BYTES}; send fewer events at a time");
        return Err(Refusal::new(Code::UploadTooLarge, message));
    }
    Ok(())
}

async fn receive(mut body: SharedBody) -> Answer<Vec<u8>> {
    let all = async {
        let mut bytes = Vec::new();
        while let Some(piece) = body.piece().await {
            match piece {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(error) => {
                    let incomplete =
                        || Refusal::new(Code::UploadIncomplete, format!("{error}; send it again"));
                    return Err(body.ended_here().unwrap_or_else(incomplete));
                }
            }
        }
        Ok(bytes)
    };
    tokio::time::timeout(WHOLE, all).await.unwrap_or_else(|_| {
        let message = format!("the body did not come within {} s; send it again", WHOLE.as_secs());
        Err(Refusal::new(Code::UploadIncomplete, message))
    })
}

fn note(Refusal(problem): &Refusal) {
    counter!("warmcut_analytics_rejected_total", "code" => problem.code.as_str()).increment(1);
}

/// `shop` is as in the key file, and empty for our own pages, which no shop can be mistaken for.
fn count(event: &Event, shop: &SharedString) {
    let shop = || shop.clone();
    match *event {
        Event::WarmingStarted { trigger, holdout } => counter!(
            "warmcut_analytics_warming_started_total",
            "shop" => shop(), "trigger" => trigger.as_str(), "holdout" => word(holdout)
        )
        .increment(1),
        Event::WarmingCompleted { took, cold, holdout } => histogram!(
            "warmcut_analytics_warming_completed_seconds",
            "shop" => shop(), "cold" => word(cold), "holdout" => word(holdout)
        )
        .record(took),
        Event::UploadStarted { was_warmed, holdout } => counter!(
            "warmcut_analytics_upload_started_total",
            "shop" => shop(), "was_warmed" => word(was_warmed), "holdout" => word(holdout)
        )
        .increment(1),
        Event::CutoutCompleted { took, cached, holdout } => histogram!(
            "warmcut_analytics_cutout_completed_seconds",
            "shop" => shop(), "cached" => word(cached), "holdout" => word(holdout)
        )
        .record(took),
        Event::WarmingAbandoned { trigger, took, ready, holdout } => {
            counter!(
                "warmcut_analytics_warming_abandoned_total",
                "shop" => shop(), "trigger" => trigger.as_str(), "ready" => word(ready), "holdout" => word(holdout)
            )
            .increment(1);
            // Without the trigger: buckets for each of eight would be more than they tell.
            histogram!(
                "warmcut_analytics_warming_abandoned_seconds",
                "shop" => shop(), "ready" => word(ready), "holdout" => word(holdout)
            )
            .record(took);
        }
    }
}

fn word(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn body(
        stream: impl futures_util::Stream<Item = Result<Bytes, axum::Error>> + Send + 'static,
    ) -> SharedBody {
        SharedBody::new(Body::from_stream(stream), MAX_BYTES, &CancellationToken::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_not_waited_for() {
        let begun = Instant::now();
        let drip = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            Some((Ok(Bytes::from_static(b" ")), ()))
        });
        let Err(Refusal(problem)) = receive(body(drip)).await else { panic!("it has no end") };
        assert_eq!((problem.code, begun.elapsed()), (Code::UploadIncomplete, WHOLE));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_goes_on_is_refused_for_that() {
        let gone = || Err(axum::Error::new("reset by peer"));
        let broken = futures_util::stream::iter([Ok(Bytes::from_static(b"{")), gone()]);
        let Err(Refusal(problem)) = receive(body(broken)).await else { panic!("it is not whole") };
        assert_eq!(problem.code, Code::UploadIncomplete);

        let pieces = |count: usize| {
            futures_util::stream::iter((0..count).map(|_| Ok(Bytes::from_static(&[b' '; 1024]))))
        };
        assert_eq!(receive(body(pieces(16))).await.expect("as much as may be").len(), 16 << 10);
        let Err(Refusal(problem)) = receive(body(pieces(17))).await else { panic!("it is too long") };
        assert_eq!(problem.code, Code::UploadTooLarge);
        assert!(problem.message.contains("16384"), "{}", problem.message);
    }

    #[test]
    fn json_is_taken_as_what_a_beacon_sends_it_as() {
        let announced = Announced::of(&HeaderMap::new());
        let ask = |mime: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, mime.parse().expect("a value"));
            expected(&headers, &announced).map_err(|refusal| refusal.0.code)
        };
        for good in ["text/plain", "text/plain;charset=UTF-8", "Text/Plain ; x=y", "application/json"] {
            assert_eq!(ask(good), Ok(()), "{good}");
        }
        for bad in
            ["", "text/html", "text/plainer", "application/x-www-form-urlencoded", "image/png; text/plain"]
        {
            assert_eq!(ask(bad), Err(Code::UnsupportedMediaType), "{bad}");
        }
        assert!(expected(&HeaderMap::new(), &announced).is_err(), "none at all");
    }
}
