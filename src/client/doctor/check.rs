//! A check's result, and the book that they are written in.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::advice;
use crate::client::ClientError;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As the contract says.
    Ok,
    /// It works, but look at it.
    Warn,
    /// It doesn't work.
    Fail,
    /// It couldn't be checked.
    Skip,
    /// Not a result: something takes its time.
    Wait,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The same in every report.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen; for a failure, why and what to do.
    pub detail: String,
    /// How long it took.
    pub took_ms: u64,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, detail, .. } = self;
        match self.verdict {
            Verdict::Ok => write!(f, "ok    {name}: {detail}"),
            Verdict::Warn => write!(f, "warn  {name}: {detail}"),
            Verdict::Fail => write!(f, "FAIL  {name}: {detail}"),
            Verdict::Skip => write!(f, "skip  {name}: {detail}"),
            Verdict::Wait => write!(f, "...   {name}: {detail}"),
        }
    }
}

/// All checks, in the order in which they were made.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct DoctorReport {
    /// One for each.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// True when nothing failed.
    pub fn succeeded(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Fail)
    }
}

/// What a check that didn't fail has to say, and what later checks need from it.
pub(super) struct Finding<T = ()> {
    verdict: Verdict,
    text: String,
    value: T,
}

impl<T> Finding<T> {
    pub(super) fn with<U>(self, value: U) -> Finding<U> {
        Finding { verdict: self.verdict, text: self.text, value }
    }
}

/// A check's outcome.
pub(super) type Outcome<T = ()> = Result<Finding<T>, Fault>;

pub(super) fn ok(text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Ok, text: text.into(), value: () }
}

pub(super) fn warn(text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Warn, text: text.into(), value: () }
}

pub(super) fn skip(text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Skip, text: text.into(), value: () }
}

/// Why a check failed and what to do about it.
#[derive(Debug)]
pub(super) struct Fault(String);

impl Fault {
    pub(super) fn new(why: impl fmt::Display, todo: impl fmt::Display) -> Self {
        Self(format!("{why}; {todo}"))
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        match advice::about(&error) {
            Some(todo) => Self::new(error, todo),
            None => Self(error.to_string()),
        }
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        ClientError::from(error).into()
    }
}

/// Writes checks down and tells them at once.
pub(super) struct Book<'a> {
    report: DoctorReport,
    tell: &'a mut dyn FnMut(&Check),
    patience: Duration,
}

impl<'a> Book<'a> {
    pub(super) fn new(patience: Duration, tell: &'a mut dyn FnMut(&Check)) -> Self {
        Self { report: DoctorReport::default(), tell, patience }
    }

    /// Makes a check. What it found is there when it did not fail.
    pub(super) async fn check<T>(
        &mut self,
        name: &'static str,
        check: impl Future<Output = Outcome<T>>,
    ) -> Option<T> {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(self.patience, check).await;
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (verdict, detail, value) = match outcome {
            Ok(Ok(Finding { verdict, text, value })) => (verdict, text, Some(value)),
            Ok(Err(Fault(text))) => (Verdict::Fail, text, None),
            Err(_) => {
                let seconds = self.patience.as_secs();
                (
                    Verdict::Fail,
                    format!("no end after {seconds} s; see the server's log, or give it more with --timeout"),
                    None,
                )
            }
        };
        self.write(Check { name, verdict, detail, took_ms });
        value
    }

    /// Says that a check can't be made.
    pub(super) fn skip(&mut self, name: &'static str, why: &str) {
        self.write(Check { name, verdict: Verdict::Skip, detail: why.to_owned(), took_ms: 0 });
    }

    /// Says that something takes its time; not part of the report.
    pub(super) fn waiting(&mut self, name: &'static str, detail: String) {
        (self.tell)(&Check { name, verdict: Verdict::Wait, detail, took_ms: 0 });
    }

    pub(super) fn close(self) -> DoctorReport {
        self.report
    }

    fn write(&mut self, check: Check) {
        (self.tell)(&check);
        self.report.checks.push(check);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_check_has_its_line_and_failures_count() {
        let mut lines = vec![];
        let mut tell = |check: &Check| lines.push(check.to_string());
        let mut book = Book::new(Duration::from_secs(9), &mut tell);
        assert_eq!(book.check("health", async { Ok(ok("answers in 3 ms").with(7)) }).await, Some(7));
        book.waiting("stages", "cold".into());
        book.skip("secret", "needs --secret");
        assert!(book.report.succeeded());
        assert_eq!(
            book.check("socket", async { Err::<Finding, _>(Fault::new("no upgrade", "look there")) }).await,
            None
        );
        assert_eq!(book.check::<()>("sse", std::future::pending()).await, None);
        let report = book.close();
        assert!(!report.succeeded());
        assert_eq!(
            lines,
            [
                "ok    health: answers in 3 ms",
                "...   stages: cold",
                "skip  secret: needs --secret",
                "FAIL  socket: no upgrade; look there",
                "FAIL  sse: no end after 9 s; see the server's log, or give it more with --timeout",
            ]
        );
        let json = serde_json::to_value(&report).expect("plain data");
        assert_eq!(
            json[0],
            serde_json::json!({"name": "health", "verdict": "ok", "detail": "answers in 3 ms", "took_ms": 0})
        );
        assert_eq!(json.as_array().map(Vec::len), Some(4));
    }
}
