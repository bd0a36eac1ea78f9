//! An open session, and its channel that may be lost and found.

use std::time::{Duration, Instant};

use super::drive::Plan;
use super::tally::Tally;
use crate::client::channel::session_of;
use crate::client::{Arrival, Channel, ClientError, Pass, Photo, Resume, Transport};
use crate::protocol::{Code, Delivery, Event, Framed, Problem, StageEvent, StageStatus, UploadId};

/// A lost channel is resumed so often; a server that loses more is not one that holds channels.
const RESUMES: u32 = 5;

/// The first wait before resuming; each further one doubles it.
const RESUME_AFTER: Duration = Duration::from_millis(250);

/// A session that is open.
pub(super) struct Visitor<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tally: &'a Tally,
    pub(super) channel: Channel,
    pub(super) pass: Pass,
    /// The photo that a WebSocket has not taken yet. A new socket must be told of it again.
    pub(super) owed: Option<Owed>,
    /// What the server complained of last: why the next failure happens.
    problem: Option<Problem>,
    transport: Transport,
    last_id: Option<String>,
    opened: Instant,
    opened_at_ms: u64,
    resumes: u32,
}

/// A photo to be sent over a WebSocket.
pub(super) struct Owed {
    pub(super) upload: UploadId,
    pub(super) photo: Photo,
    /// True until the server's `accepted` was answered with bytes. A replay may show an older `accepted`,
    /// from before any byte was sent; it names the same place as the one that follows, which is skipped.
    pub(super) announced: bool,
}

impl<'a> Visitor<'a> {
    pub(super) async fn open(
        plan: &'a Plan,
        tally: &'a Tally,
        transport: Transport,
    ) -> Result<Self, ClientError> {
        let opened = Instant::now();
        let mut channel = Channel::open(&plan.server, transport, None).await?;
        tally.first_byte(transport, opened.elapsed());
        let framed = channel.next().await?.framed;
        let opened_at_ms = framed.at_ms;
        let pass = Pass::from(&session_of(&framed)?);
        tally.opened();
        Ok(Self {
            plan,
            tally,
            channel,
            pass,
            owed: None,
            problem: None,
            transport,
            last_id: None,
            opened,
            opened_at_ms,
            resumes: 0,
        })
    }

    /// The next event; a lost channel is resumed.
    pub(super) async fn next(&mut self) -> Result<Arrival, ClientError> {
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

    /// Announces the photo that is owed, on a socket that doesn't know of it.
    pub(super) async fn announce(&mut self) -> Result<(), ClientError> {
        if let (Channel::Socket(socket), Some(owed)) = (&mut self.channel, &mut self.owed) {
            owed.announced = true;
            socket.announce(&owed.upload, &owed.photo, Delivery::Inline).await?;
        }
        Ok(())
    }

    /// Opens the channel again where it was lost. What can't be resumed comes back as the error that it is.
    pub(super) async fn resume(&mut self, lost: ClientError) -> Result<(), ClientError> {
        let mut lost = lost;
        while self.resumes < RESUMES && lost.is_lost_channel() {
            tokio::time::sleep(RESUME_AFTER * 2u32.pow(self.resumes)).await;
            self.resumes += 1;
            match self.reopen().await {
                Ok(()) => {
                    self.tally.reconnected();
                    return Ok(());
                }
                Err(error) => lost = error,
            }
        }
        // A refusal's problem says more than the close that follows it.
        Err(match self.problem.take() {
            Some(problem) if matches!(lost, ClientError::Closed { .. }) => {
                ClientError::Refused(Box::new(problem))
            }
            _ => lost,
        })
    }

    async fn reopen(&mut self) -> Result<(), ClientError> {
        let resume = Resume { pass: &self.pass, last_id: self.last_id.as_deref() };
        self.channel = Channel::open(&self.plan.server, self.transport, Some(resume)).await?;
        self.announce().await
    }

    pub(super) fn note(&mut self, Arrival { framed, .. }: &Arrival) {
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

    pub(super) async fn until_ready(&mut self) -> Result<(), ClientError> {
        loop {
            let framed = self.next().await?.framed;
            let history = self.is_history(&framed);
            match framed.event {
                Event::Ready(_) => return Ok(()),
                Event::Stage(StageEvent { status: StageStatus::Failed, detail, .. }) if !history => {
                    let why = detail.unwrap_or_else(|| "no reason was given".to_owned());
                    return Err(ClientError::Refused(Box::new(Problem::new(Code::WarmupFailed, why))));
                }
                _ => {}
            }
        }
    }

    /// Keeps the channel open and does nothing else.
    pub(super) async fn hold(mut self, idle: Duration) -> Result<(), ClientError> {
        let hold = async {
            loop {
                if let Err(error) = self.next().await {
                    return error;
                }
            }
        };
        match tokio::time::timeout(idle, hold).await {
            Ok(error) => Err(error),
            Err(_) => {
                self.tally.held();
                self.leave().await;
                Ok(())
            }
        }
    }

    /// Why something ended badly: the server's problem, or else how it ended.
    pub(super) fn because(&mut self, how: &str) -> ClientError {
        match self.problem.take() {
            Some(problem) => ClientError::Refused(Box::new(problem)),
            None => ClientError::Unexplained(how.to_owned()),
        }
    }

    pub(super) fn has_problem(&self) -> bool {
        self.problem.is_some()
    }

    pub(super) async fn leave(self) {
        if let Channel::Socket(socket) = self.channel {
            socket.close().await;
        }
    }
}
