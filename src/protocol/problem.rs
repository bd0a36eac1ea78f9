//! Problems: what went wrong, as the same code over HTTP, in an event and in a close reason.

use serde::{Deserialize, Serialize};

use super::{JobId, RunId, UploadId};

/// A code of the contract. Its status stands in [`Code::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the contract's own words; a comment would repeat them")]
pub enum Code {
    BadRequest,
    UploadIncomplete,
    Unauthorized,
    SessionExpired,
    OriginNotAllowed,
    UnknownSession,
    UnknownJob,
    UnknownModel,
    NotFound,
    UploadInProgress,
    Canceled,
    UploadTooLarge,
    ImageTooLarge,
    UnsupportedMediaType,
    CorruptImage,
    QueueFull,
    RateLimited,
    JobFailed,
    Internal,
    WarmupFailed,
    Draining,
    Unavailable,
}

impl Code {
    /// As it is spelled on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UploadIncomplete => "upload_incomplete",
            Self::Unauthorized => "unauthorized",
            Self::SessionExpired => "session_expired",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::UnknownSession => "unknown_session",
            Self::UnknownJob => "unknown_job",
            Self::UnknownModel => "unknown_model",
            Self::NotFound => "not_found",
            Self::UploadInProgress => "upload_in_progress",
            Self::Canceled => "canceled",
            Self::UploadTooLarge => "upload_too_large",
            Self::ImageTooLarge => "image_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::CorruptImage => "corrupt_image",
            Self::QueueFull => "queue_full",
            Self::RateLimited => "rate_limited",
            Self::JobFailed => "job_failed",
            Self::Internal => "internal",
            Self::WarmupFailed => "warmup_failed",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
        }
    }

    /// The HTTP status that carries it.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::UploadIncomplete => 400,
            Self::Unauthorized | Self::SessionExpired => 401,
            Self::OriginNotAllowed => 403,
            Self::UnknownSession | Self::UnknownJob | Self::UnknownModel | Self::NotFound => 404,
            Self::UploadInProgress | Self::Canceled => 409,
            Self::UploadTooLarge | Self::ImageTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::CorruptImage => 422,
            Self::QueueFull | Self::RateLimited => 429,
            Self::JobFailed | Self::Internal => 500,
            Self::WarmupFailed | Self::Draining | Self::Unavailable => 503,
        }
    }

    /// The WebSocket close code that ends a socket refused or ended for it.
    pub fn close_code(self) -> u16 {
        match self {
            Self::Unauthorized | Self::SessionExpired | Self::UnknownSession => 4401,
            Self::OriginNotAllowed => 4403,
            Self::QueueFull | Self::RateLimited => 4429,
            Self::UploadTooLarge | Self::ImageTooLarge => 1009,
            Self::Draining => 1012,
            Self::Internal | Self::JobFailed | Self::WarmupFailed | Self::Unavailable => 1011,
            _ => 1008,
        }
    }

    /// True when the same request may well succeed later.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::UploadIncomplete
                | Self::SessionExpired
                | Self::UploadInProgress
                | Self::QueueFull
                | Self::RateLimited
                | Self::JobFailed
                | Self::Internal
                | Self::WarmupFailed
                | Self::Draining
                | Self::Unavailable
        )
    }
}

/// Characters of a message.
const MESSAGE: usize = 400;

/// What went wrong, with what value against which limit, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Whether trying again may help.
    pub retryable: bool,
    /// The upload that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadId>,
    /// The job that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The warm-up that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Seconds to wait before trying again; the `Retry-After` header over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// One that concerns nothing in particular.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let retry_after_s = matches!(code.status(), 429 | 503).then_some(2);
        // A message may quote what a client sent; what goes to a log is bounded.
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        Self { code, message, retryable: code.retryable(), upload: None, job: None, run: None, retry_after_s }
    }

    /// The same, about an upload.
    #[must_use]
    pub fn about_upload(self, upload: &UploadId) -> Self {
        Self { upload: Some(upload.clone()), ..self }
    }

    /// The same, about a job.
    #[must_use]
    pub fn about_job(self, job: &JobId) -> Self {
        Self { job: Some(job.clone()), ..self }
    }

    /// The same, about a warm-up.
    #[must_use]
    pub fn about_run(self, run: &RunId) -> Self {
        Self { run: Some(run.clone()), ..self }
    }

    /// The same, with another time to wait.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_its_json() {
        let upload = UploadId::try_from("u1".to_owned()).expect("an id");
        let problem = Problem::new(Code::UploadTooLarge, "too much").about_upload(&upload);
        let json = serde_json::to_string(&problem).expect("plain data");
        assert_eq!(
            json,
            r#"{"code":"upload_too_large","message":"too much","retryable":false,"upload":"u1"}"#
        );
    }

    #[test]
    fn the_spelling_of_every_code_is_the_same_everywhere() {
        for code in [Code::BadRequest, Code::UploadIncomplete, Code::UnsupportedMediaType, Code::WarmupFailed]
        {
            assert_eq!(serde_json::to_value(code).expect("plain data"), code.as_str());
        }
    }
}
