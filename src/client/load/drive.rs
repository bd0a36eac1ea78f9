//! One session from opening to leaving.

use std::time::Duration;

use super::args::{Carriers, LoadArgs};
use super::errand;
use super::tally::Tally;
use super::visitor::Visitor;
use crate::client::{ClientError, Photo, Picture, Server};
use crate::protocol::UploadId;

/// What every session does.
pub(super) struct Plan {
    pub(super) server: Server,
    /// What the photo's header says; none when it says nothing that we understand.
    pub(super) picture: Option<Picture>,
    photo: Photo,
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
            Some(path) => tokio::fs::read(path)
                .await
                .map_err(|source| ClientError::Photo { path: path.clone(), source })?
                .into(),
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

    /// The photo of one upload.
    pub(super) fn photo_of(&self, upload: &UploadId) -> Photo {
        if self.same_photo { self.photo.clone() } else { self.photo.with_remark(upload.as_str()) }
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
        errand::have_cut_out(visitor, &mut uploaded).await
    };
    let outcome = tokio::time::timeout(plan.patience, visit).await;
    let late = || Err(ClientError::TimedOut { what: "the session", seconds: plan.patience.as_secs_f64() });
    if let Err(error) = outcome.unwrap_or_else(|_| late()) {
        tally.failed(&error, uploaded);
    }
}
