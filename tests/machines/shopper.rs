//! A shopper: opens a session at one gateway, goes on at another, and keeps all that was told.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use bytes::Bytes;
use warmcut::client::{self, Pass, Photo, Resume, Server, Stream};
use warmcut::protocol::{Event, Framed, JobId, JobStatus, Stage, StageStatus, UploadId};

use crate::fleet::{Gateway, PATIENCE};

const CAT: &[u8] = include_bytes!("../data/cat.jpg");

/// The same cat, and yet another photo: nobody has its cutout.
pub fn photo(remark: &str) -> Photo {
    Photo::new(Bytes::from_static(CAT)).unwrap().with_remark(remark)
}

pub struct Shopper {
    stream: Stream,
    pub pass: Pass,
    pub events: Vec<(Instant, Framed)>,
    /// How often history was gone.
    resets: usize,
}

impl Shopper {
    pub async fn open(gateway: &Gateway) -> Self {
        Self::try_open(&gateway.server).await.unwrap()
    }

    pub async fn try_open(server: &Server) -> Result<Self, client::ClientError> {
        let mut stream = Stream::open(server, None).await?;
        let first = stream.next().await?;
        let Event::Session(session) = &first.event else { panic!("{first:?}") };
        Ok(Self { pass: Pass::from(session.as_ref()), stream, events: Vec::new(), resets: 0 })
    }

    fn last_id(&self) -> Option<&str> {
        self.events.iter().rev().find_map(|(_, framed)| framed.id.as_deref())
    }

    /// Goes on at another gateway, as a browser does whose connection is lost.
    pub async fn resume(&mut self, server: &Server) {
        let begun = Instant::now();
        loop {
            let last_id = self.last_id().map(str::to_owned);
            let resume = Resume { pass: &self.pass, last_id: last_id.as_deref() };
            match Stream::open(server, Some(resume)).await {
                Ok(stream) => {
                    self.stream = stream;
                    return;
                }
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// Keeps what comes until it is what is waited for; an error when the connection is lost.
    pub async fn try_until(&mut self, is: impl Fn(&Event) -> bool) -> Result<Framed, client::ClientError> {
        let waits = async {
            loop {
                let framed = self.stream.next().await?;
                if matches!(framed.event, Event::Reset { .. }) {
                    // What describes the present comes again.
                    self.events.clear();
                    self.resets += 1;
                }
                if framed.id.is_some() {
                    self.events.push((Instant::now(), framed.clone()));
                }
                if is(&framed.event) {
                    return Ok(framed);
                }
            }
        };
        tokio::time::timeout(PATIENCE, waits)
            .await
            .unwrap_or_else(|_| panic!("it never came: {:#?}", self.events))
    }

    pub async fn until(&mut self, is: impl Fn(&Event) -> bool) -> Framed {
        self.try_until(is).await.unwrap()
    }

    pub async fn send(&self, server: &Server, photo: &Photo) -> JobId {
        client::upload(server, &self.pass, &UploadId::random(), photo).await.unwrap().job
    }

    /// The same with options, as a query.
    pub async fn send_for(&self, server: &Server, photo: &Photo, options: &str) -> JobId {
        let path = format!("/v1/sessions/{}/uploads?{options}", self.pass.session);
        let request = server.request(reqwest::Method::POST, &path).unwrap();
        let request = request.bearer_auth(&self.pass.token).header("content-type", photo.mime());
        let answer = request.body(photo.to_bytes()).send().await.unwrap().text().await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        JobId::try_from(answer["job"].as_str().unwrap().to_owned()).unwrap()
    }

    pub async fn until_ended(&mut self, job: &JobId) -> JobStatus {
        let ended = self.until(|event| end_of(event, job).is_some()).await;
        end_of(&ended.event, job).unwrap()
    }

    /// The same over channels that may be lost, as while Redis has only just come back.
    pub async fn until_ended_over(&mut self, server: &Server, job: &JobId) -> JobStatus {
        loop {
            match self.try_until(|event| end_of(event, job).is_some()).await {
                Ok(ended) => return end_of(&ended.event, job).unwrap(),
                Err(_) => self.resume(server).await,
            }
        }
    }

    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(|(_, framed)| &framed.event)
    }

    pub fn ids(&self) -> Vec<String> {
        self.events.iter().filter_map(|(_, framed)| framed.id.clone()).collect()
    }

    /// Everything that a gateway says when it is asked for the whole log.
    pub async fn replay(&self, server: &Server, events: usize) -> Vec<String> {
        let resume = Resume { pass: &self.pass, last_id: None };
        let mut stream = Stream::open(server, Some(resume)).await.unwrap();
        let mut ids = Vec::new();
        let all = async {
            while ids.len() < events {
                ids.extend(stream.next().await.unwrap().id);
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("as many as the shopper has");
        let known = client::snapshot(server, &self.pass).await.unwrap();
        assert_eq!(ids.last(), known.last_event_id.as_ref(), "nothing more was told");
        ids
    }

    /// What was told is whole and in order, each thing once.
    pub fn check(&self) {
        assert_eq!(self.resets, 0, "nothing was lost");
        self.check_jobs();
    }

    /// The same where history may have been lost.
    pub fn check_jobs(&self) {
        let ids = self.ids();
        assert_eq!(ids.len(), ids.iter().collect::<HashSet<_>>().len(), "each once: {ids:?}");
        let (mut ends, mut cutouts) = (HashMap::new(), HashMap::new());
        for event in self.events() {
            let about = match event {
                Event::Job(job) => Some(&job.job),
                Event::Cutout(cutout) => Some(&cutout.job),
                Event::Preview(preview) => Some(&preview.job),
                _ => None,
            };
            let Some(job) = about else { continue };
            assert!(!ends.contains_key(job), "something of a job after its end: {:#?}", self.events);
            if let Some(status) = end_of(event, job) {
                ends.insert(job.clone(), status);
            }
            if let Event::Cutout(_) = event {
                *cutouts.entry(job.clone()).or_insert(0) += 1;
            }
        }
        for (job, status) in ends {
            let cutouts = cutouts.get(&job).copied().unwrap_or_default();
            assert_eq!(cutouts, i32::from(status == JobStatus::Succeeded), "{job} {status:?}");
        }
    }
}

pub fn end_of(event: &Event, job: &JobId) -> Option<JobStatus> {
    match event {
        Event::Job(moved) if moved.job == *job && moved.status.is_end() => Some(moved.status),
        _ => None,
    }
}

pub fn is_ready(event: &Event) -> bool {
    matches!(event, Event::Ready(_))
}

pub fn is_stage(event: &Event, stage: Stage, status: StageStatus) -> bool {
    matches!(event, Event::Stage(told) if told.stage == stage && told.status == status)
}

pub fn is_processing(event: &Event, job: &JobId) -> bool {
    matches!(event, Event::Job(moved) if moved.job == *job && moved.status == JobStatus::Processing)
}
