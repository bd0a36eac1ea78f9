//! `warmcut doctor`: is this server, as it is deployed, one that shoppers can use?
//!
//! Most of what goes wrong in a deployment stands between browser and server: a proxy that
//! buffers streams, eats headers, cuts idle connections or has limits of its own. So the checks
//! go the whole way, as a browser would, and a failure says what to change. They do no harm: a
//! handful of cutouts, nothing unloaded. The order matters: each check may rely on those before it.

mod advice;
mod channels;
mod check;
mod edges;
mod photos;
mod probes;
mod refusals;
mod replay;
mod warming;

use std::time::{Duration, Instant};

use clap::Args;
use reqwest::{Method, RequestBuilder};

use channels::OpenStream;
use check::Book;
pub use check::{Check, DoctorReport, Verdict};

use super::load::address;
use super::{ClientError, Identity, Photo, Picture, Server};
use crate::protocol::UploadId;

/// Checks a deployed server end to end.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// The server, such as https://cut.example.com
    #[arg(value_name = "URL", value_parser = address)]
    pub url: String,
    /// A publishable key, pk_…
    #[arg(long, value_name = "KEY", env = "WARMCUT_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// A secret key, sk_…, for the check of POST /v1/cutouts
    #[arg(long, value_name = "SECRET", env = "WARMCUT_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// The operator's token, for metrics that ask for it
    #[arg(long, value_name = "TOKEN", env = "WARMCUT_OPERATOR_TOKEN", hide_env_values = true)]
    pub operator_token: Option<String>,
    /// The origin of a page that uses the server
    #[arg(long, value_name = "ORIGIN", env = "WARMCUT_ORIGIN")]
    pub origin: Option<String>,
    /// How long one check may take, the warm-up among them
    #[arg(long, value_name = "SECONDS", env = "WARMCUT_TIMEOUT", default_value_t = 180)]
    pub timeout: u64,
    /// A JSON array on standard output
    #[arg(long, env = "WARMCUT_JSON")]
    pub json: bool,
}

/// The server that is looked at, and what we know of it.
struct Patient {
    server: Server,
    origin: Option<String>,
    secret: Option<String>,
    operator_token: Option<String>,
    photo: Photo,
    picture: Option<Picture>,
    way: Duration,
}

impl Patient {
    /// How long the way there and back takes, with an answer that costs nothing.
    fn way(&self) -> Duration {
        self.way
    }

    /// A photo that no cache knows.
    fn fresh_photo(&self) -> Photo {
        self.photo.with_remark(UploadId::random().as_str())
    }

    /// The origin of the page that we pretend to be on. Where none is named it is the server's own,
    /// which is always allowed.
    fn page(&self) -> String {
        self.origin.clone().unwrap_or_else(|| self.server.address().origin().ascii_serialization())
    }

    /// A request as a script on that page would send it.
    fn page_request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClientError> {
        let request = self.server.request(method, path)?;
        Ok(if self.origin.is_some() { request } else { request.header("origin", self.page()) })
    }
}

/// Looks at a server, tells each check when it is made, and gives all of them. `sample` is the photo to send.
pub async fn doctor(
    args: DoctorArgs,
    sample: &'static [u8],
    mut tell: impl FnMut(&Check),
) -> Result<DoctorReport, ClientError> {
    let photo = Photo::new(sample.into())?;
    let mut patient = Patient {
        server: Server::new(&args.url, Identity { key: args.key, origin: args.origin.clone() })?,
        origin: args.origin,
        secret: args.secret,
        operator_token: args.operator_token,
        picture: Picture::read(sample),
        photo,
        way: Duration::ZERO,
    };
    let mut book = Book::new(Duration::from_secs(args.timeout), &mut tell);
    if book.check("reach", probes::reach(&patient)).await.is_none() {
        book.skip("everything else", "the server can't be reached");
        return Ok(book.close());
    }
    let begun = Instant::now();
    book.check("livez", probes::livez(&patient)).await;
    patient.way = begun.elapsed();
    outside(&mut book, &patient).await;
    match book.check("sse", channels::stream(&patient)).await {
        Some(open) => inside(&mut book, &patient, open).await,
        None => book.skip("sessions", "none can be opened"),
    }
    book.check("one-shot", photos::one_shot(&patient)).await;
    Ok(book.close())
}

/// What needs no session.
async fn outside(book: &mut Book<'_>, patient: &Patient) {
    book.check("health", probes::health(patient)).await;
    book.check("health agrees", probes::health_agrees(patient)).await;
    book.check("metrics", probes::metrics(patient)).await;
    book.check("pages", edges::pages(patient)).await;
    book.check("widget", edges::widget(patient)).await;
    book.check("preflight", edges::preflight(patient)).await;
    book.check("readable errors", edges::readable_errors(patient)).await;
}

/// What needs one.
async fn inside(book: &mut Book<'_>, patient: &Patient, mut open: OpenStream) {
    book.check("clock", async { Ok(channels::clock(open.at_ms)) }).await;
    if patient.server.get("/readyz").await.is_ok_and(|response| response.status() == 503) {
        book.waiting(
            "stages",
            "the server is cold; the session has asked for it and waits for ready".to_owned(),
        );
    }
    if book.check("stages", warming::stages(&mut open)).await.is_none() {
        book.skip("photos", "the server does not become ready");
        return;
    }
    book.check("readyz", probes::readyz(patient)).await;
    book.check("polling", channels::polling(patient)).await;
    book.check("websocket", channels::socket(patient, &open.pass)).await;
    match book.check("upload over ws", photos::over_socket(patient)).await {
        Some(made) => {
            book.check("resume", replay::from_the_middle(patient, &made)).await;
            book.check("resume at the end", replay::from_the_end(patient, &made)).await;
            book.check("reset", replay::from_nowhere(patient, &made)).await;
            book.check("lasting address", photos::lasting(patient, &made)).await;
        }
        None => book.skip("resume", "needs a job over the WebSocket"),
    }
    match book.check("upload over http", photos::over_http(patient, &mut open)).await {
        Some(photo) => {
            book.check("cache", photos::cached(patient, &mut open, &photo)).await;
            book.check("cancel", photos::canceled(patient, &mut open)).await;
        }
        None => book.skip("cancel", "needs a job over HTTP"),
    }
    book.check("refuses no photo", refusals::no_photo(patient, &open)).await;
    book.check("refuses too much", refusals::too_large(patient, &open)).await;
    book.check("refuses strangers", refusals::strangers(patient, &open)).await;
}
