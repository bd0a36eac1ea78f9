//! Whether the stages of a warm-up come as the contract orders them.

use std::collections::{HashMap, HashSet};

use super::channels::OpenStream;
use super::check::{Fault, Outcome, ok};
use crate::protocol::{Event, Framed, RunId, Stage, StageEvent, StageStatus};

/// A stage's two times are taken by one clock; what lies between is how late an event was made.
const TOLERANCE_MS: u64 = 250;

/// Watches the session until `ready`, which its opening has brought about.
pub(super) async fn stages(open: &mut OpenStream) -> Outcome {
    let mut order = Order::default();
    loop {
        let framed = open.stream.next().await?;
        order.see(&framed).map_err(|why| {
            Fault::new(why, "this is a bug of the server, or events of two instances mixed")
        })?;
        match framed.event {
            Event::Ready(ready) => {
                let spent: Vec<_> = order.spent(&ready.run);
                let text = format!(
                    "{}; ready after {} ms with {} on {}",
                    spent.join(", "),
                    ready.total_ms,
                    ready.model,
                    ready.device
                );
                return Ok(ok(text));
            }
            // An older run's failure is history: opening the session has started another one.
            Event::Stage(StageEvent { status: StageStatus::Failed, stage, detail, .. })
                if framed.at_ms >= open.at_ms.0 =>
            {
                let why = detail.unwrap_or_else(|| "no reason was given".to_owned());
                return Err(Fault::new(
                    format!("{} failed: {why}", stage.as_str()),
                    "see last_error at /model-status and the server's log",
                ));
            }
            _ => {}
        }
    }
}

/// What was seen of the runs.
#[derive(Default)]
struct Order {
    ids: HashSet<String>,
    last_at_ms: u64,
    runs: HashMap<RunId, HashMap<Stage, Seen>>,
}

#[derive(Default)]
struct Seen {
    started_at_ms: Option<u64>,
    done: Option<u64>,
    progress: f32,
}

impl Order {
    /// Says what an event contradicts.
    fn see(&mut self, framed: &Framed) -> Result<(), String> {
        if let Some(id) = &framed.id
            && !self.ids.insert(id.clone())
        {
            return Err(format!("the id {id} came twice"));
        }
        let at_ms = framed.at_ms;
        match &framed.event {
            Event::Stage(event) => {
                self.forward(at_ms)?;
                self.see_stage(event, at_ms)
            }
            Event::Ready(ready) => {
                self.forward(at_ms)?;
                let seen = self.runs.entry(ready.run.clone()).or_default();
                match Stage::ALL.iter().find(|stage| seen.get(*stage).is_none_or(|seen| seen.done.is_none()))
                {
                    Some(missing) => Err(format!("ready came before {} was done", missing.as_str())),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn forward(&mut self, at_ms: u64) -> Result<(), String> {
        let before = std::mem::replace(&mut self.last_at_ms, at_ms);
        if at_ms < before { Err(format!("at_ms goes back by {} ms", before - at_ms)) } else { Ok(()) }
    }

    fn see_stage(&mut self, event: &StageEvent, at_ms: u64) -> Result<(), String> {
        let name = event.stage.as_str();
        let stages = self.runs.entry(event.run.clone()).or_default();
        for earlier in Stage::ALL.iter().take_while(|stage| **stage != event.stage) {
            if stages.get(earlier).is_none_or(|seen| seen.done.is_none()) {
                return Err(format!("{name} {:?} came before {} was done", event.status, earlier.as_str()));
            }
        }
        let seen = stages.entry(event.stage).or_default();
        match event.status {
            StageStatus::Started => *seen = Seen { started_at_ms: Some(at_ms), ..Seen::default() },
            StageStatus::Retrying => *seen = Seen::default(),
            StageStatus::Progress | StageStatus::Done | StageStatus::Failed => {}
        }
        if let Some(progress) = event.progress {
            if progress < seen.progress {
                return Err(format!("{name} goes back from {} to {progress}", seen.progress));
            }
            seen.progress = progress;
        }
        if event.status == StageStatus::Done {
            let Some(started_at_ms) = seen.started_at_ms else {
                return Err(format!("{name} is done and never started"));
            };
            let between = at_ms - started_at_ms;
            if between.abs_diff(event.elapsed_ms) > TOLERANCE_MS {
                let elapsed = event.elapsed_ms;
                return Err(format!(
                    "{name} says it took {elapsed} ms, and {between} ms lie between its events"
                ));
            }
            seen.done = Some(event.elapsed_ms);
        }
        Ok(())
    }

    fn spent(&self, run: &RunId) -> Vec<String> {
        let stages = self.runs.get(run);
        let spent = |stage: Stage| stages?.get(&stage)?.done.map(|ms| format!("{} {ms} ms", stage.as_str()));
        Stage::ALL.into_iter().filter_map(spent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Ready;

    fn stage(
        stage: Stage,
        status: StageStatus,
        at_ms: u64,
        elapsed_ms: u64,
        progress: Option<f32>,
    ) -> Framed {
        let run = RunId::try_from("r_1".to_owned()).expect("an id");
        let event = StageEvent {
            run,
            stage,
            status,
            device: None,
            elapsed_ms,
            progress,
            eta_ms: None,
            run_eta_ms: None,
            detail: None,
        };
        Framed { event: Event::Stage(event), at_ms, id: None }
    }

    fn ready(at_ms: u64) -> Framed {
        let run = RunId::try_from("r_1".to_owned()).expect("an id");
        let event = Ready { run, cold: true, total_ms: at_ms, model: "m".into(), device: "cpu".into() };
        Framed { event: Event::Ready(event), at_ms, id: None }
    }

    fn judge(events: &[Framed]) -> Result<(), String> {
        let mut order = Order::default();
        events.iter().try_for_each(|framed| order.see(framed))
    }

    fn good() -> Vec<Framed> {
        use StageStatus::{Done, Progress, Retrying, Started};
        vec![
            stage(Stage::Container, Started, 1000, 0, None),
            stage(Stage::Container, Done, 1500, 500, Some(1.0)),
            stage(Stage::ModelLoad, Started, 1500, 0, Some(0.0)),
            stage(Stage::ModelLoad, Progress, 1600, 100, Some(0.7)),
            stage(Stage::ModelLoad, Retrying, 1700, 200, None),
            stage(Stage::ModelLoad, Started, 1800, 0, Some(0.0)),
            stage(Stage::ModelLoad, Done, 2000, 210, Some(1.0)),
            stage(Stage::GpuReady, Started, 2000, 0, None),
            stage(Stage::GpuReady, Done, 3000, 1000, None),
            ready(3000),
        ]
    }

    #[test]
    fn a_run_with_a_retry_is_in_order() {
        assert_eq!(judge(&good()), Ok(()));
    }

    #[test]
    fn what_is_out_of_order_is_said() {
        for (missing, why) in [
            (0, "container is done and never started"),
            (1, "model_load Started came before container was done"),
            (8, "ready came before gpu_ready was done"),
        ] {
            let mut events = good();
            events.remove(missing);
            assert_eq!(judge(&events), Err(why.to_owned()));
        }
        let mut events = good();
        events[3].at_ms = 1400;
        assert_eq!(judge(&events), Err("at_ms goes back by 100 ms".to_owned()));
        let mut events = good();
        events.insert(4, stage(Stage::ModelLoad, StageStatus::Progress, 1650, 150, Some(0.5)));
        assert_eq!(judge(&events), Err("model_load goes back from 0.7 to 0.5".to_owned()));
        let mut events = good();
        events[6] = stage(Stage::ModelLoad, StageStatus::Done, 2000, 900, None);
        assert_eq!(
            judge(&events),
            Err("model_load says it took 900 ms, and 200 ms lie between its events".to_owned())
        );
    }
}
