//! What a request's address says, refused with a problem where axum would answer with a text of its own.

use axum::extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::Refusal;
use crate::protocol::Code;

/// The query, each name once.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match AxumQuery::from_request_parts(parts, state).await {
            Ok(AxumQuery(query)) => Ok(Self(query)),
            Err(rejection) => Err(unreadable("query", &rejection.body_text())),
        }
    }
}

/// The path's variable parts.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match AxumPath::from_request_parts(parts, state).await {
            Ok(AxumPath(path)) => Ok(Self(path)),
            Err(rejection) => Err(unreadable("path", &rejection.body_text())),
        }
    }
}

/// axum's text is "what failed: why"; what failed is said in the contract's words.
fn unreadable(part: &str, text: &str) -> Refusal {
    let why = text.split_once(": ").map_or(text, |(_, why)| why);
    let message = format!(
        "the {part} of this address can't be read: {why}; send each name once, percent-encoded as UTF-8"
    );
    Refusal::new(Code::BadRequest, message)
}
