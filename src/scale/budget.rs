//! What a day may cost.

use std::time::Duration;

use crate::clock;
use crate::protocol::Trigger;
use crate::warmup::Cause;

/// Of a day's budget, who only looks may spend this share; the rest is for who sends a photo.
const FOR_LOOKING: (u64, u64) = (4, 5);

/// Wakes and time of machines in a day, from midnight to midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Machines that may be woken.
    pub wakes: u64,
    /// How long machines may run, all of them together.
    pub gpu: Duration,
}

impl Budget {
    /// What a cause may spend of it: wakes, and milliseconds of machines.
    pub(super) fn for_cause(&self, cause: &Cause) -> (u64, u64) {
        let (wakes, gpu_ms) = (self.wakes, clock::millis(self.gpu));
        let looks = !cause.explicit && Trigger::named(&cause.trigger).is_some_and(Trigger::is_passive);
        if !looks {
            return (wakes, gpu_ms);
        }
        let (part, whole) = FOR_LOOKING;
        (wakes * part / whole, gpu_ms / whole * part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_leaves_a_part_for_who_sends_a_photo() {
        let budget = Budget { wakes: 10, gpu: Duration::from_secs(100) };
        let cause = |trigger: &str| Cause { trigger: trigger.into(), session: None, explicit: false };
        for looks in ["page_view", "hover", "focus", "touch", "viewport", "selector"] {
            assert_eq!(budget.for_cause(&cause(looks)), (8, 80_000), "{looks}");
        }
        for acts in ["upload", "manual"] {
            assert_eq!(budget.for_cause(&cause(acts)), (10, 100_000), "{acts}");
        }
        assert_eq!(budget.for_cause(&Cause::explicit("hover")), (10, 100_000));
    }
}
