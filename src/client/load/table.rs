//! A load's report for people.

use std::fmt;

use super::report::LoadReport;
use super::summary::Summary;

/// Fits the longest name, "first byte, poll".
const NAME: usize = 20;

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.sessions;
        let carried = self.transports.join(", ");
        writeln!(
            f,
            "{} sessions against {} over {carried}, {} at once",
            counts.requested, self.url, self.concurrency
        )?;
        writeln!(
            f,
            "opened {}, uploaded {}, succeeded {}, failed {}, dropped {}",
            counts.opened, counts.uploaded, counts.succeeded, counts.failed, counts.dropped
        )?;
        if self.interrupted {
            let (unfinished, never) = (counts.unfinished, counts.requested - counts.started);
            writeln!(f, "interrupted: {unfinished} were under way and {never} had not begun")?;
        }
        if counts.cached > 0 {
            writeln!(f, "{} cutouts came from the cache", counts.cached)?;
        }
        if counts.reconnected > 0 {
            writeln!(f, "{} lost channels were resumed", counts.reconnected)?;
        }
        writeln!(
            f,
            "{:.1} s in all, {:.2} cutouts a second",
            self.wall_ms / 1000.0,
            self.cutouts_per_second
        )?;

        writeln!(
            f,
            "\n{:NAME$} {:>7} {:>9} {:>9} {:>9} {:>9}",
            "milliseconds", "n", "p50", "p90", "p99", "max"
        )?;
        for (transport, times) in &self.first_byte_ms {
            row(f, &format!("first byte, {transport}"), Some(times))?;
        }
        section(f, "warm-up, as the server measured each run")?;
        for (name, stage) in &self.stages {
            row(f, name, stage.took_ms.as_ref())?;
        }
        section(f, "warm-up, from opening a session to its being told")?;
        for (name, stage) in &self.stages {
            row(f, name, stage.seen_ms.as_ref())?;
        }
        section(f, "job, as the server measured it")?;
        for (name, took) in &self.steps_ms {
            row(f, name, Some(took))?;
        }
        section(f, "job, from sending the photo to having the cutout")?;
        row(f, "end to end", self.end_to_end_ms.as_ref())?;

        if !self.errors.is_empty() {
            section(f, "errors")?;
        }
        for (code, failure) in &self.errors {
            writeln!(f, "{code:NAME$} {:>7}  {}", failure.count, failure.example)?;
        }
        Ok(())
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
    writeln!(f, "-- {title}")
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, times: Option<&Summary>) -> fmt::Result {
    let Some(times) = times else { return writeln!(f, "{name:NAME$} {:>7}", 0) };
    let Summary { count, p50, p90, p99, max } = times;
    writeln!(f, "{name:NAME$} {count:>7} {p50:>9.1} {p90:>9.1} {p99:>9.1} {max:>9.1}")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;

    #[test]
    fn the_table_says_what_became_of_the_sessions() {
        let table = example().to_string();
        for line in [
            "3 sessions against http://h over ws, 3 at once",
            "opened 3, uploaded 3, succeeded 2, failed 0, dropped 1",
            "1 cutouts came from the cache",
            "container                  0",
            "model_load                 1     700.0     700.0     700.0     700.0",
            "end to end                 2       4.0      60.0      60.0      60.0",
            "ended                      1  the stream ended",
        ] {
            assert!(table.lines().any(|had| had == line), "{line} is not in\n{table}");
        }
    }
}
