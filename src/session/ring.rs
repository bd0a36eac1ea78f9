//! A bounded log in memory: the newest entries, and beside them the few that describe the present.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Entry, EventKey};
use crate::protocol::{Event, JobId, Stage, UploadId};

/// How much a log keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Entries.
    pub(super) entries: usize,
    /// Their weight in bytes.
    pub(super) bytes: usize,
    /// Their age in milliseconds.
    pub(super) age_ms: u64,
    /// Subjects (stages, uploads, jobs) in the present. Their last events stay when they are too old for
    /// the log, so they come on top of its weight.
    pub(super) subjects: usize,
}

/// What an event is about; a later one about the same replaces it in the present.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Stage(Stage),
    Ready,
    Problem,
    Upload(UploadId),
    UploadProblem(UploadId),
    Job(JobId),
    JobProblem(JobId),
    Preview(JobId),
    Cutout(JobId),
}

impl Subject {
    pub(super) fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::Stage(stage) => Self::Stage(stage.stage),
            Event::Ready(_) => Self::Ready,
            Event::Upload(upload) => Self::Upload(upload.upload.clone()),
            Event::Job(job) => Self::Job(job.job.clone()),
            Event::Preview(preview) => Self::Preview(preview.job.clone()),
            Event::Cutout(cutout) => Self::Cutout(cutout.job.clone()),
            Event::Problem(problem) => match (&problem.job, &problem.upload) {
                (Some(job), _) => Self::JobProblem(job.clone()),
                (None, Some(upload)) => Self::UploadProblem(upload.clone()),
                (None, None) => Self::Problem,
            },
            Event::Session(_) | Event::Reset { .. } | Event::Drain { .. } | Event::Ping {} => return None,
        })
    }
}

impl Subject {
    /// As text, for where it is kept.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stage(stage) => format!("stage {}", stage.as_str()),
            Self::Ready => "ready".to_owned(),
            Self::Problem => "problem".to_owned(),
            Self::Upload(upload) => format!("upload {upload}"),
            Self::UploadProblem(upload) => format!("upload-problem {upload}"),
            Self::Job(job) => format!("job {job}"),
            Self::JobProblem(job) => format!("job-problem {job}"),
            Self::Preview(job) => format!("preview {job}"),
            Self::Cutout(job) => format!("cutout {job}"),
        }
    }
}

/// The log itself.
#[derive(Debug)]
pub(super) struct Ring {
    bounds: Bounds,
    entries: VecDeque<Arc<Entry>>,
    weight: usize,
    /// The key of the newest entry that was dropped.
    dropped: EventKey,
    present: BTreeMap<Subject, Arc<Entry>>,
}

impl Ring {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: VecDeque::new(),
            weight: 0,
            dropped: EventKey::START,
            present: BTreeMap::new(),
        }
    }

    /// One that is kept elsewhere: its entries in order, and the present beside them.
    pub(super) fn restored(
        bounds: Bounds,
        dropped: EventKey,
        present: Vec<Entry>,
        entries: Vec<Entry>,
    ) -> Self {
        let mut ring = Self { dropped, ..Self::new(bounds) };
        for entry in present {
            ring.remember(&Arc::new(entry));
        }
        for entry in entries {
            ring.keep(Arc::new(entry));
        }
        ring
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        self.remember(&entry);
        self.keep(entry);
    }

    fn remember(&mut self, entry: &Arc<Entry>) {
        if let Some(subject) = Subject::of(&entry.event) {
            self.present.insert(subject, Arc::clone(entry));
            self.trim_present();
        }
    }

    fn keep(&mut self, entry: Arc<Entry>) {
        self.weight += entry.weight();
        let now_ms = entry.at_ms;
        self.entries.push_back(entry);
        self.trim(now_ms);
    }

    /// Entries after a key, or none when some of them are no longer here.
    pub(super) fn after(&self, key: EventKey) -> Option<impl Iterator<Item = &Arc<Entry>>> {
        if key < self.dropped {
            return None;
        }
        let start = self.entries.partition_point(|entry| entry.key <= key);
        Some(self.entries.range(start..))
    }

    /// All retained entries from a key on, this one included.
    pub(super) fn from(&self, key: EventKey) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.range(self.entries.partition_point(|entry| entry.key < key)..)
    }

    /// Whether an entry with this key is here or was here.
    pub(super) fn knows(&self, key: EventKey) -> bool {
        key <= self.dropped || self.entries.binary_search_by_key(&key, |entry| entry.key).is_ok()
    }

    pub(super) fn present(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.present.values()
    }

    pub(super) fn forget_present(&mut self) {
        self.present.clear();
    }

    fn trim(&mut self, now_ms: u64) {
        while let Some(oldest) = self.entries.front() {
            let fits = self.entries.len() <= self.bounds.entries
                && self.weight <= self.bounds.bytes
                && oldest.at_ms.saturating_add(self.bounds.age_ms) >= now_ms;
            if fits {
                break;
            }
            self.dropped = oldest.key;
            self.weight -= oldest.weight();
            self.entries.pop_front();
        }
    }

    fn trim_present(&mut self) {
        while self.present.len() > self.bounds.subjects {
            let oldest =
                self.present.iter().min_by_key(|(_, entry)| entry.key).map(|(subject, _)| subject.clone());
            let Some(oldest) = oldest else { break };
            self.present.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CutoutEvent, CutoutId, Delivery, SessionId, Timings};

    const SMALL: Bounds = Bounds { entries: 3, bytes: 100_000, age_ms: 1000, subjects: 4 };

    fn filled(bounds: Bounds, times: &[u64]) -> Ring {
        let mut ring = Ring::new(bounds);
        for (n, at_ms) in times.iter().enumerate() {
            let event = Event::Reset { reason: n.to_string() };
            ring.push(Entry::new(EventKey { run: 0, entry: n as u64 + 1 }, *at_ms, event));
        }
        ring
    }

    fn entries_after(ring: &Ring, entry: u64) -> Option<Vec<u64>> {
        ring.after(EventKey { run: 0, entry }).map(|found| found.map(|entry| entry.key.entry).collect())
    }

    #[test]
    fn a_replay_is_whole_or_not_at_all() {
        let ring = filled(SMALL, &[1, 2, 3, 4, 5]);
        assert_eq!(entries_after(&ring, 2), Some(vec![3, 4, 5]));
        assert_eq!(entries_after(&ring, 5), Some(vec![]));
        assert_eq!(entries_after(&ring, 1), None, "entry 2 is dropped, so what follows 1 has a gap");
    }

    #[test]
    fn age_and_weight_are_bounds_too() {
        assert_eq!(entries_after(&filled(SMALL, &[0, 500, 1400]), 1), Some(vec![2, 3]));
        let one = Entry::new(EventKey::START, 0, Event::Reset { reason: "1".into() }).weight();
        let light = Bounds { bytes: one * 5 / 2, ..SMALL };
        assert_eq!(entries_after(&filled(light, &[1, 2, 3]), 1), Some(vec![2, 3]));
    }

    #[test]
    fn an_event_weighs_what_it_holds_and_what_is_kept_of_its_json() {
        let bounds = Bounds { entries: 1000, bytes: 20_000, ..SMALL };
        let (mut ring, session) = (Ring::new(bounds), SessionId::random());
        let job = JobId::of(&session, &UploadId::random());
        for n in 1..=100 {
            let cutout = CutoutEvent {
                job: job.clone(),
                id_cutout: CutoutId::random(),
                url: "/u".repeat(200),
                lasting_url: "/l".repeat(200),
                mime: "image/png".into(),
                width: 1,
                height: 1,
                bytes: 1,
                model: "m".into(),
                cached: false,
                degraded: false,
                delivery: Delivery::Url,
                timings_ms: Timings::default(),
                notes: vec!["a_note".repeat(20)],
            };
            ring.push(Entry::new(EventKey { run: 0, entry: n }, n, Event::Cutout(Box::new(cutout))));
        }
        let held = ring.entries.iter().map(|entry| {
            let Event::Cutout(cutout) = &entry.event else { panic!("a cutout") };
            let texts = cutout.url.len() + cutout.lasting_url.len() + cutout.notes[0].len();
            size_of::<Entry>() + texts + entry.json(&session, 0, Delivery::Url).len()
        });
        let held: usize = held.sum();
        assert!(held <= bounds.bytes, "{held} bytes in {} entries", ring.entries.len());
        assert!(held > bounds.bytes / 2, "and not much less than may be: {held}");
    }

    #[test]
    fn the_present_keeps_the_last_of_each_subject_and_is_bounded() {
        let mut ring = Ring::new(SMALL);
        for n in 0..20 {
            let upload = UploadId::try_from(format!("u{}", n % 6)).expect("an id");
            let problem =
                crate::protocol::Problem::new(crate::protocol::Code::BadRequest, "x").about_upload(&upload);
            ring.push(Entry::new(EventKey { run: 0, entry: n + 1 }, n, Event::Problem(problem)));
        }
        let mut kept: Vec<u64> = ring.present().map(|entry| entry.key.entry).collect();
        kept.sort_unstable();
        assert_eq!(kept, [17, 18, 19, 20]);
    }
}
