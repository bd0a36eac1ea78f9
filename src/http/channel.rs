//! What SSE and WebSocket share: who opens, where the replay starts, what is said when.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use serde::Deserialize;

use super::AppState;
use super::address::Visitor;
use super::admission::bearer;
use super::error::{Answer, Refusal};
use super::headers::text;
use crate::clock;
use crate::protocol::{Code, Event, Framed, SessionEvent, Trigger};
use crate::session::follow::Start;
use crate::session::registry::ChannelGuard;
use crate::session::{Follower, LogError, Opened, Opening};
use crate::warmup::{Cause, PoolError};

/// A client that comes back waits so long, so that not all of them come at once to what starts next.
const RECONNECT: Duration = Duration::from_millis(1000);

/// The query of a request that opens or resumes.
#[derive(Debug, Default, Deserialize)]
pub(super) struct OpenQuery {
    pub(super) key: Option<String>,
    pub(super) trigger: Option<String>,
    pub(super) open: Option<String>,
    pub(super) token: Option<String>,
    pub(super) last_event_id: Option<String>,
}

/// A session that is open for a channel.
pub(super) struct Channel {
    pub(super) app: AppState,
    pub(super) opened: Opened,
    pub(super) follower: Follower,
    /// Counts the channel.
    pub(super) _guard: ChannelGuard,
}

/// Opens a session or finds the one that the token or the nonce is for, and wakes the model if this is
/// an intent.
pub(super) async fn open(
    app: &AppState,
    headers: &HeaderMap,
    query: &OpenQuery,
    token: Option<&str>,
    Visitor(address): Visitor,
) -> Answer<Opened> {
    if app.draining.is_cancelled() {
        return Err(Refusal::new(Code::Draining, "the server is going away; try again in a moment"));
    }
    let trigger = query.trigger.as_deref();
    if let Some(unknown) = trigger.filter(|trigger| Trigger::named(trigger).is_none()) {
        let known = Trigger::ALL.map(Trigger::as_str).join(", ");
        let message = format!("trigger={unknown:.40} is not known; it is one of {known}");
        return Err(Refusal::new(Code::BadRequest, message));
    }
    let opened = match token.or(bearer(headers)).or(query.token.as_deref()) {
        Some(token) => app.sessions.find(token).await?,
        None => {
            let shop = app.admission.session(headers, query.key.as_deref())?;
            let origin = text(headers, "origin").map(str::to_owned);
            let opening =
                Opening { nonce: query.open.clone(), key: query.key.clone(), origin, shop, address };
            app.sessions.open(opening).await?
        }
    };
    // A browser that merely reconnects shows no new intent.
    if !opened.resumed || (trigger.is_some() && last_event_id(headers, query).is_none()) {
        let cause = Cause {
            trigger: trigger.unwrap_or("manual").to_owned(),
            session: Some(opened.session.id.clone()),
            explicit: trigger == Some("manual"),
        };
        match app.pool.ensure_warm(cause).await {
            // The session shows the run that failed, and when the next may start.
            Ok(_) | Err(PoolError::Cooling { .. } | PoolError::Warming | PoolError::NotHere) => {}
            // A shopper who only looks isn't told of budgets; the photo, if one comes, may warm yet.
            Err(PoolError::Spent { .. }) => {}
            Err(error @ (PoolError::Draining | PoolError::Unavailable)) => return Err(error.into()),
        }
    }
    // Only now, so that the session sees the run that it began from its start.
    app.logs.create(&opened.session.id).await?;
    Ok(opened)
}

/// The header wins over the query.
fn last_event_id<'a>(headers: &'a HeaderMap, query: &'a OpenQuery) -> Option<&'a str> {
    text(headers, "last-event-id").or(query.last_event_id.as_deref()).filter(|id| !id.is_empty())
}

impl Channel {
    /// Opens a channel that replays from the id that the client gave.
    pub(super) async fn open(
        app: &AppState,
        headers: &HeaderMap,
        query: &OpenQuery,
        token: Option<&str>,
        visitor: Visitor,
    ) -> Answer<Self> {
        let opened = open(app, headers, query, token, visitor).await?;
        let guard = opened.session.channel()?;
        let start = Start::from_last_id(last_event_id(headers, query), &opened.session.id);
        let follower = Follower::start(Arc::clone(&app.logs), opened.session.id.clone(), start).await?;
        Ok(Self { app: Arc::clone(app), opened, follower, _guard: guard })
    }

    /// The first event.
    pub(super) fn hello(&self) -> Framed {
        self.of_channel(Event::Session(Box::new(session_event(&self.app, &self.opened))))
    }

    /// The server is going away.
    pub(super) fn drain(&self) -> Framed {
        let reconnect_in_ms = clock::millis(RECONNECT);
        self.of_channel(Event::Drain { reconnect_in_ms })
    }

    /// An event that belongs to the channel and not to the log.
    pub(super) fn of_channel(&self, event: Event) -> Framed {
        Framed { event, at_ms: clock::now_ms(), id: None }
    }
}

/// What a browser needs to know of its session.
pub(super) fn session_event(app: &AppState, opened: &Opened) -> SessionEvent {
    SessionEvent {
        session: opened.session.id.clone(),
        token: opened.token.clone(),
        expires_in_ms: clock::millis(app.sessions.ttl()),
        resumed: opened.resumed,
        limits: app.limits.clone(),
        models: app.intake.models().to_vec(),
    }
}

/// What a channel does next.
pub(super) enum Next {
    /// Send this event of the log.
    Entry(Arc<crate::session::Entry>),
    /// Send this event of the channel.
    Own(Framed),
    /// The session is gone.
    Expired,
    /// The client can't keep up.
    TooSlow,
    /// The server goes.
    Closing,
}

impl Channel {
    /// Waits for what comes next. `told` remembers that the client knows of the drain.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken from the log until it is returned.
    pub(super) async fn next(&mut self, told: &mut bool) -> Next {
        use crate::session::Followed;
        let draining = self.app.draining.clone();
        let closing = self.app.closing.clone();
        let event = tokio::select! {
            // What is in the log goes before the farewell.
            biased;
            followed = self.follower.next() => match followed {
                Ok(Followed::Entry(entry)) => return Next::Entry(entry),
                Ok(Followed::Reset) => Event::Reset { reason: "the id is unknown or too old".to_owned() },
                Ok(Followed::TooSlow) => {
                    metrics::counter!("warmcut_channels_too_slow_total").increment(1);
                    return Next::TooSlow;
                }
                Err(LogError::NoSession) => return Next::Expired,
                // The client comes back, and by then they can be read again or it hears why not.
                Err(LogError::Unavailable) => return Next::Closing,
            },
            () = draining.cancelled(), if !*told => {
                *told = true;
                return Next::Own(self.drain());
            }
            () = closing.cancelled() => return Next::Closing,
            () = tokio::time::sleep(self.app.ping_every) => Event::Ping {},
        };
        Next::Own(self.of_channel(event))
    }
}
