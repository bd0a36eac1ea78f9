//! One clock for everything that is reported: Unix milliseconds that never step back.
//!
//! The wall clock is read once, when the process begins to care; from then on the monotonic clock
//! is added to it. So the difference between two `at_ms` is the time that really passed between
//! them, which a wall clock that is corrected meanwhile cannot promise.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

static ANCHOR: OnceLock<(Instant, Duration)> = OnceLock::new();

/// Takes the time from another clock, that of a deployment, so that its processes agree. The first look at the
/// clock counts: call it before anything is reported.
pub fn set(unix: Duration) {
    if ANCHOR.set((Instant::now(), unix)).is_err() {
        tracing::debug!("the clock was looked at before; it stays");
    }
}

/// Unix milliseconds now.
pub fn now_ms() -> u64 {
    at_ms(Instant::now())
}

/// Unix milliseconds of an instant, also of one before the process's first look at the clock.
pub fn at_ms(instant: Instant) -> u64 {
    let (anchor, unix) = ANCHOR
        .get_or_init(|| (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
    let time = match instant.checked_duration_since(*anchor) {
        Some(later) => *unix + later,
        None => unix.saturating_sub(anchor.duration_since(instant)),
    };
    millis(time)
}

/// A duration in whole milliseconds, as everything on the wire has it.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn differences_are_the_time_that_passed() {
        let before = now_ms();
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(now_ms() - before, 1500);
    }
}
