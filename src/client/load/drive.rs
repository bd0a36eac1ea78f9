//! One session from opening to leaving.

use std::pin::pin;
use std::time::{Duration, Instant};

use super::args::{Carriers, LoadArgs};
use super::tally::Tally;
use crate::client::request::check_cutout;
use crate::client::{Arrival, Channel, ClientError, Pass, Photo, Picture, Resume, Server, Transport, download, upload};
use crate::protocol::{
    CutoutEvent, Delivery, Event, Framed, JobStatus, Problem, StageEvent, StageStatus, UploadEvent, UploadId,
    UploadStatus,
};

/// A lost channel is resumed so often; a server that loses more is not one that holds channels.
const RESUMES: u32 = 5;

/// The first wait before resuming; each further one doubles it.
const RESUME_AFTER: Duration = Duration::from_millis(250);

/// What every session does.
pub(super) struct Plan {
    server: Server,
    photo: Photo,
    picture: Option<Picture>,
    same_photo: bool,
    carriers: Carriers,
    wait: bool,
    idle: Option<Duration>,
    patience: Duration,
}

impl Plan {
    pub(super) async fn new(args: &LoadArgs, sample: &'static [u8]) -> Result<Self, ClientError> {
        let file = match &args.image {
            None => sample.into(),
            Some(path) => {
                tokio::fs::read(path).await.map_err(|source| ClientError::Photo { path: path.clone(), source })?.into()
            }
        };
        let photo = Photo::new(file)?;
        Ok(Self {
            server: Server::new(&args.url, args.identity())?,
            picture: Picture::read(&photo.to_bytes()),
            photo,
            same_photo: args.same_photo,
            carriers: args.transport,
            wait: args.wait,
            idle: args.idle.map(Duration::from_secs),
            patience: args.patience(),
        })
    }

    pub(super) fn photo_bytes(&self) -> usize {
        self.photo.len()
    }
}

/// Runs one session and counts what became of it.
pub(super) async fn visit(plan: &Plan, tally: &Tally, number: usize) {
    tally.started();
    let mut uploaded = false;
    let transport = plan.carriers.of(number);
    let visit = async {
        let mut visitor = Visitor::open(plan, tally, transport).await?;
        if let Some(idle) = plan.idle {
            return visitor.hold(idle).await;
        }
        if plan.wait {
            visitor.until_ready().await?;
        }
        visitor.have_cut_out(&mut uploaded).await
    };
    let outcome = tokio::time::timeout(plan.patience, visit).await;
    let late = || Err(ClientError::TimedOut { what: "the session", seconds: plan.patience.as_secs_f64() });
    if let Err(error) = outcome.unwrap_or_else(|_| late()) {
        tally.failed(&error, uploaded);
    }
}

/// A session that is open.
struct Visitor<'a> {
    plan: &'a Plan,
    tally: &'a Tally,
    transport: Transport,
    channel: Channel,
    pass: Pass,
    last_id: Option<String>,
    opened: Instant,
    opened_at_ms: u64,
    resumes: u32,
    /// What the server complained of last: why the next failure happens.
    problem: Option<Problem>,
}

impl<'a> Visitor<'a> {
    async fn open(plan: &'a Plan, tally: &'a Tally, transport: Transport) -> Result<Self, ClientError> {
        let begun = Instant::now();
        let mut channel = Channel::open(&plan.server, transport, None).await?;
        tally.first_byte(transport, begun.elapsed());
        let Arrival { framed, .. } = channel.next().await?;
        let (pass, opened_at_ms) = match framed.event {
            Event::Session(event) => (Pass::from(event.as_ref()), framed.at_ms),
            // A WebSocket is accepted first and refused then.
            Event::Problem(problem) => return Err(ClientError::Refused(Box::new(problem))),
            other => {
                let why = format!("the first event is {}, not session", other.kind());
                return Err(ClientError::garbled("the channel", why));
            }
        };
        tally.opened();
        let (last_id, resumes, problem) = (None, 0, None);
        Ok(Self { plan, tally, transport, channel, pass, last_id, opened: begun, opened_at_ms, resumes, problem })
    }

    /// The next event; a lost channel is resumed.
    async fn next(&mut self) -> Result<Arrival, ClientError> {
        loop {
            match self.channel.next().await {
                Ok(arrival) => {
                    self.note(&arrival);
                    return Ok(arrival);
                }
                Err(error) => self.resume(error).await?,
            }
        }
    }

    fn note(&mut self, Arrival { framed, .. }: &Arrival) {
        if framed.id.is_some() {
            self.last_id.clone_from(&framed.id);
        }
        match &framed.event {
            Event::Session(event) => self.pass = Pass::from(event.as_ref()),
            Event::Stage(stage) => self.tally.stage(stage, self.opened.elapsed()),
            Event::Ready(ready) => self.tally.ready(ready, self.opened.elapsed()),
            Event::Problem(problem) if !self.is_history(framed) => self.problem = Some(problem.clone()),
            _ => {}
        }
    }

    /// True for what happened before the session opened, such as an older run's failure: opening has
    /// started another one. A snapshot shows only the newest run, and has no clock to compare with.
    fn is_history(&self, framed: &Framed) -> bool {
        self.transport != Transport::Poll && framed.at_ms < self.opened_at_ms
    }

    async fn resume(&mut self, lost: ClientError) -> Result<(), ClientError> {
        let mut lost = lost;
        while self.resumes < RESUMES && lost.is_lost_channel() {
            tokio::time::sleep(RESUME_AFTER * 2u32.pow(self.resumes)).await;
            self.resumes += 1;
            let resume = Resume { pass: &self.pass, last_id: self.last_id.as_deref() };
            match Channel::open(&self.plan.server, self.transport, Some(resume)).await {
                Ok(channel) => {
                    self.tally.reconnected();
                    self.channel = channel;
                    return Ok(());
                }
                Err(error) => lost = error,
            }
        }
        // A refusal's problem says more than the close that follows it.
        Err(match self.problem.take() {
            Some(problem) if matches!(lost, ClientError::Closed { .. }) => ClientError::Refused(Box::new(problem)),
            _ => lost,
        })
    }

    async fn until_ready(&mut self) -> Result<(), ClientError> {
        loop {
            let Arrival { framed, .. } = self.next().await?;
            match framed.event {
                Event::Ready(_) => return Ok(()),
                Event::Stage(StageEvent { status: StageStatus::Failed, ref detail, .. })
                    if !self.is_history(&framed) =>
                {
                    return Err(self.because(detail.clone()));
                }
                _ => {}
            }
        }
    }

    async fn hold(mut self, idle: Duration) -> Result<(), ClientError> {
        let hold = async {
            loop {
                if let Err(error) = self.next().await {
                    return error;
                }
            }
        };
        match tokio::time::timeout(idle, hold).await {
            Err(_) => {
                self.tally.held();
                self.leave().await;
                Ok(())
            }
            Ok(error) => Err(error),
        }
    }

    async fn have_cut_out(mut self, uploaded: &mut bool) -> Result<(), ClientError> {
        let id = UploadId::random();
        let photo = match self.plan.same_photo {
            true => self.plan.photo.clone(),
            false => self.plan.photo.with_remark(id.as_str()),
        };
        let clock = Instant::now();
        let over_socket = matches!(self.channel, Channel::Socket(_));
        if let Channel::Socket(socket) = &mut self.channel {
            socket.announce(&id, &photo, Delivery::Inline).await?;
        }
        let (server, pass) = (self.plan.server.clone(), self.pass.clone());
        let mut sending = pin!(async { upload(&server, &pass, &id, &photo).await });
        let (mut sent, mut cutout) = (over_socket, None);
        let mut ended = false;
        while !(sent && ended) {
            let Arrival { framed, body } = tokio::select! {
                biased;
                answer = &mut sending, if !sent => {
                    answer?;
                    sent = true;
                    self.count_upload(uploaded);
                    continue;
                }
                arrival = self.next(), if !ended => arrival?,
            };
            match framed.event {
                Event::Upload(UploadEvent { status: UploadStatus::Accepted, received_bytes, .. }) => {
                    if let Channel::Socket(socket) = &mut self.channel
                        && let Err(error) = socket.send_photo(&photo, received_bytes).await
                    {
                        return Err(self.why_sending_stopped(error).await);
                    }
                }
                Event::Upload(UploadEvent { status: UploadStatus::Received, .. }) => self.count_upload(uploaded),
                Event::Upload(UploadEvent { status: UploadStatus::Rejected, .. }) => {
                    return Err(self.because(Some("rejected".to_owned())));
                }
                Event::Cutout(event) => cutout = Some((event, body)),
                Event::Job(job) => match job.status {
                    JobStatus::Succeeded => ended = true,
                    JobStatus::Failed => return Err(self.because(Some("failed".to_owned()))),
                    JobStatus::Canceled => return Err(self.because(Some("canceled".to_owned()))),
                    JobStatus::Starting | JobStatus::Queued | JobStatus::Processing => {}
                },
                _ => {}
            }
        }
        let Some((event, body)) = cutout else {
            return Err(ClientError::garbled("the job", "it succeeded without a cutout"));
        };
        self.look_at(&event, body, clock).await
    }

    fn count_upload(&self, uploaded: &mut bool) {
        if !std::mem::replace(uploaded, true) {
            self.tally.uploaded();
        }
    }

    async fn look_at(self, event: &CutoutEvent, body: Option<bytes::Bytes>, clock: Instant) -> Result<(), ClientError> {
        let bytes = match body {
            Some(bytes) => bytes,
            None => download(&self.plan.server, Some(&self.pass), &event.url).await?.bytes,
        };
        let end_to_end = clock.elapsed();
        check_cutout(event, &bytes, self.plan.picture)?;
        self.tally.succeeded(event, end_to_end);
        self.leave().await;
        Ok(())
    }

    /// A server that refuses a photo while we send it says why on the way back.
    async fn why_sending_stopped(&mut self, error: ClientError) -> ClientError {
        let listen = async {
            while self.problem.is_none() {
                match self.channel.next().await {
                    Ok(arrival) => self.note(&arrival),
                    Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), listen).await;
        match self.problem.take() {
            Some(problem) => ClientError::Refused(Box::new(problem)),
            None => error,
        }
    }

    fn because(&mut self, how: Option<String>) -> ClientError {
        match self.problem.take() {
            Some(problem) => ClientError::Refused(Box::new(problem)),
            None => ClientError::Unexplained(how.unwrap_or_else(|| "failed".to_owned())),
        }
    }

    async fn leave(self) {
        if let Channel::Socket(socket) = self.channel {
            socket.close().await;
        }
    }
}
