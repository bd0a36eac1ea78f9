//! `GET /v1/socket`: a session's log over a WebSocket, and uploads the other way.
//!
//! A socket is accepted first and refused by a `problem` and a close code, because a browser's script
//! can't see the status of a refused handshake.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::AppState;
use super::address::Visitor;
use super::channel::{Channel, OpenQuery};
use super::error::{self, Answer, Refusal};
use super::extract::Query;
use super::ws_recv::RecvLoop;
use super::ws_send::SendLoop;
use crate::clock;
use crate::protocol::{Code, Event, Framed, JobId, Problem};

/// What the contract calls itself among subprotocols.
const SUBPROTOCOL: &str = "warmcut.v1";
/// The contract's bound on a frame, and so on a message.
pub(super) const MAX_FRAME: usize = 1 << 20;
/// tungstenite's default of 128 KiB a socket is 1.3 GB for ten thousand of them (tungstenite#480).
const READ_BUFFER: usize = 4 << 10;
/// One result frame and the events around it; more than that waits in the log.
const MAX_WRITE_BUFFER: usize = 256 << 10;

/// Jobs whose results follow on this socket.
pub(super) type Inline = Arc<Mutex<HashSet<JobId>>>;

/// Why a socket is closed from this side.
#[derive(Debug)]
pub(super) struct Close {
    pub(super) code: u16,
    /// For whoever debugs a client; a browser shows it beside the code.
    pub(super) reason: &'static str,
    pub(super) problem: Option<Problem>,
}

impl Close {
    pub(super) fn because(problem: Problem) -> Self {
        Self { problem: Some(problem.clone()), ..Self::for_code(problem.code) }
    }

    /// Closes for a problem that is in the log already.
    pub(super) fn for_code(code: Code) -> Self {
        Self::plain(code.close_code(), code.as_str())
    }

    /// Closes for a reason that is no problem of the contract.
    pub(super) fn plain(code: u16, reason: &'static str) -> Self {
        Self { code, reason, problem: None }
    }
}

/// Opens or resumes a session over a WebSocket.
pub(super) async fn socket(
    State(app): State<AppState>,
    visitor: Visitor,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    query: Answer<Query<OpenQuery>>,
    headers: HeaderMap,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(WebSocketUpgradeRejection::MethodNotGet(_)) => return error::only("GET").await,
        Err(rejection) => return error::upgrade_required(&rejection.body_text()),
    };
    let token = token_of(&headers);
    let task = app.tracker.token();
    upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_frame_size(MAX_FRAME)
        .max_message_size(MAX_FRAME)
        .on_upgrade(move |socket| async move {
            // Shutdown waits for upgraded connections only because of this token (axum#3831).
            let _task = task;
            let opened = async {
                let Query(query) = query?;
                Channel::open(&app, &headers, &query, token.as_deref(), visitor).await
            };
            match opened.await {
                Ok(channel) => run(app, socket, channel).await,
                Err(Refusal(problem)) => refuse(socket, problem).await,
            }
        })
}

/// The token among the subprotocols `warmcut.v1, bearer.<token>`.
fn token_of(headers: &HeaderMap) -> Option<String> {
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offered
        .flat_map(|list| list.split(','))
        .find_map(|name| name.trim().strip_prefix("bearer."))
        .map(str::to_owned)
}

async fn run(app: AppState, socket: WebSocket, channel: Channel) {
    let (sink, stream) = socket.split();
    let inline = Inline::default();
    // One place is enough: the first reason to close is the one that is told.
    let (close, closed) = mpsc::channel(1);
    let session = Arc::clone(&channel.opened.session);
    let send_loop = SendLoop::new(sink, channel, Arc::clone(&inline), closed);
    let recv_loop = RecvLoop::new(Arc::clone(&app), session, stream, inline, close);
    let mut sending = app.tracker.spawn(send_loop.run());
    // Cancel safety: whichever ends first ends the other; what was received stays with the session.
    tokio::select! {
        () = recv_loop.run() => {
            // The client is gone or was told to go; the last words may still be on their way out.
            if tokio::time::timeout(super::ws_send::FAREWELL, &mut sending).await.is_err() {
                sending.abort();
            }
        }
        _ = &mut sending => {}
    }
}

async fn refuse(mut socket: WebSocket, problem: Problem) {
    let close = Close::because(problem.clone());
    let framed = Framed { event: Event::Problem(problem), at_ms: clock::now_ms(), id: None };
    let farewell = async {
        // The client may be gone already; then there is nobody to tell.
        let _ = socket.send(Message::Text(framed.to_json().into())).await;
        let _ = socket.send(close_message(&close)).await;
        // Until the client has answered the close, so that it sees the code.
        while let Some(Ok(_)) = socket.recv().await {}
    };
    let _ = tokio::time::timeout(super::ws_send::FAREWELL, farewell).await;
}

pub(super) fn close_message(close: &Close) -> Message {
    Message::Close(Some(CloseFrame { code: close.code, reason: close.reason.into() }))
}
