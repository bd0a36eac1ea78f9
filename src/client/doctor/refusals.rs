//! Whether a refusal is one that a shopper can be told of.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method};

use super::Patient;
use super::channels::OpenStream;
use super::check::{Fault, Outcome, ok};
use crate::client::server::accepted;
use crate::client::{ClientError, Pass, snapshot};
use crate::protocol::{Code, UploadId};

/// A refusal of what is too long must come while most of it is still on its way.
const TOO_LATE: Duration = Duration::from_secs(5);

/// Slow enough that the whole would take far longer than [`TOO_LATE`].
const PAUSE: Duration = Duration::from_millis(20);
const PIECE: u64 = 16 << 10;

pub(super) async fn no_photo(patient: &Patient, open: &OpenStream) -> Outcome {
    let request = patient.server.request(Method::POST, &uploads(&open.pass))?.bearer_auth(&open.pass.token);
    let response = request.header(CONTENT_TYPE, "image/jpeg").body("This is no photo.\n").send().await?;
    expect(accepted("POST of a text as JPEG", response).await, Code::UnsupportedMediaType)?;
    Ok(ok("a text named .jpg gets 415 unsupported_media_type"))
}

pub(super) async fn too_large(patient: &Patient, open: &OpenStream) -> Outcome {
    let declared = open.session.limits.max_upload_bytes + 1;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let body = stream::unfold(declared, move |left| {
        let counter = Arc::clone(&counter);
        async move {
            let piece = left.min(PIECE);
            if piece == 0 {
                return None;
            }
            tokio::time::sleep(PAUSE).await;
            counter.fetch_add(piece, Ordering::Relaxed);
            let zeros = Bytes::from(vec![0; usize::try_from(piece).unwrap_or(0)]);
            Some((Ok::<_, Infallible>(zeros), left - piece))
        }
    });
    let request = patient.server.request(Method::POST, &uploads(&open.pass))?.bearer_auth(&open.pass.token);
    let request = request.header(CONTENT_TYPE, "image/jpeg").header(CONTENT_LENGTH, declared);
    let answer = tokio::time::timeout(TOO_LATE, request.body(Body::wrap_stream(body)).send()).await;
    let sent = sent.load(Ordering::Relaxed);
    let response = match answer {
        Err(_) => {
            let why = format!("no answer after {sent} of {declared} bytes");
            return Err(Fault::new(
                why,
                "a proxy reads the whole body first (nginx: proxy_request_buffering off)",
            ));
        }
        Ok(Err(error)) => {
            let why =
                format!("the connection broke before the answer could be read: {}", ClientError::from(error));
            return Err(Fault::new(why, "a proxy must not close it at once"));
        }
        Ok(Ok(response)) => response,
    };
    expect(accepted("POST of too many bytes", response).await, Code::UploadTooLarge)?;
    Ok(ok(format!("{declared} bytes get 413 upload_too_large after {sent} of them")))
}

pub(super) async fn strangers(patient: &Patient, open: &OpenStream) -> Outcome {
    let forged = Pass { session: open.pass.session.clone(), token: "forged".to_owned() };
    expect(snapshot(&patient.server, &forged).await, Code::Unauthorized)?;
    Ok(ok("a forged token gets 401 unauthorized"))
}

fn uploads(pass: &Pass) -> String {
    format!("/v1/sessions/{}/uploads?upload={}", pass.session, UploadId::random())
}

fn expect<T>(answer: Result<T, ClientError>, code: Code) -> Result<(), Fault> {
    match answer {
        Err(ClientError::Refused(problem)) if problem.code == code => Ok(()),
        Err(ClientError::Refused(problem)) => {
            let why = format!("it was refused as {}, not as {}", problem.code.as_str(), code.as_str());
            Err(Fault::new(why, "is the server of another version?"))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err(Fault::new("it was accepted", "is the server of another version?")),
    }
}
