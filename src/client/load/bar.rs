//! The progress bar on standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tally::Tally;

/// A bar; nothing where standard error is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(count: usize, hidden: bool) -> Self {
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len}  {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::with_draw_target(Some(count as u64), target).with_style(style))
    }

    pub(super) fn show(&self, tally: &Tally) {
        let counts = tally.book().counts;
        let lost = counts.failed + counts.dropped;
        self.0.set_position((counts.succeeded + lost) as u64);
        self.0.set_message(format!("{} open, {} uploaded, {lost} failed", counts.opened, counts.uploaded));
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
