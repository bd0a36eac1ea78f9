//! What to do about an error, for who runs the server.

use crate::client::ClientError;
use crate::protocol::Code;

/// Something to try; none when the message says it already.
pub(super) fn about(error: &ClientError) -> Option<&'static str> {
    Some(match error {
        ClientError::Http(error) if error.is_connect() => {
            "see whether it runs, and whether address, port and certificate are right"
        }
        ClientError::Http(_) => {
            "something between here and the server cuts the connection; look at its time limits and log"
        }
        ClientError::Socket(_) => {
            "a proxy must pass Upgrade, Connection and Sec-WebSocket-Protocol on, over HTTP/1.1"
        }
        ClientError::Refused(problem) => match problem.code {
            Code::Unauthorized => "give the shop's --key pk_… (and --origin), or --secret sk_…",
            Code::OriginNotAllowed => {
                "give the --origin that stands with the key in the keys file, or add it there"
            }
            Code::RateLimited | Code::QueueFull => {
                "the server is busy; try again later or look at its limits"
            }
            Code::WarmupFailed => "see last_error at /model-status and the server's log",
            Code::Draining => "the server is going away; try again",
            Code::Unavailable => "the server can't reach its Redis or its store; see its log",
            _ => return None,
        },
        ClientError::Status { status: 300..=399, .. } => "give the address that it redirects to",
        ClientError::Status { status: 401 | 403, .. } => {
            "something before warmcut asks who we are; let the paths of the contract through"
        }
        ClientError::Status { status: 404, .. } => {
            "is this a warmcut server, and the path in the address right?"
        }
        ClientError::Status { status: 413, .. } => "a proxy's limit is below the server's; raise it there",
        ClientError::Status { status: 502..=504, .. } => {
            "a proxy answers in the server's place; look at its upstream"
        }
        ClientError::Closed { code: 4401, .. } => "give the shop's --key pk_…",
        ClientError::Closed { code: 4403, .. } => {
            "give the --origin that stands with the key in the keys file"
        }
        ClientError::Closed { code: 1006, .. } | ClientError::Ended => {
            "a proxy's time limit is shorter than 15 s, or the server stopped"
        }
        ClientError::TimedOut { .. } => "see the server's log",
        ClientError::Garbled { .. } => {
            "the server is of another version, or something on the way rewrites it"
        }
        _ => return None,
    })
}
