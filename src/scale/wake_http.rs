//! Waking by HTTP: a request held open for each worker that is wanted, as platforms that scale by requests need it.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, Url};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::keeper::{Heard, Means};

/// A worker says something three times as often; one that doesn't stands still, whatever its system says for it.
const SILENCE: Duration = Duration::from_secs(45);

/// Where Google's machines ask who they are; the variable is Google's own.
const METADATA_HOST: &str = "metadata.google.internal";
const METADATA_VARIABLE: &str = "GCE_METADATA_HOST";

/// How a worker knows that it is a gateway that wakes it.
#[derive(Clone)]
pub enum WakeAuth {
    /// It doesn't.
    None,
    /// By this bearer token.
    Token(String),
    /// By an identity token of Google's, for the worker's origin.
    Google,
}

/// Requests to a worker's `/wake`.
pub struct HttpWakes {
    client: Client,
    url: Url,
    auth: WakeAuth,
    hold: Duration,
    held: Vec<AbortOnDropHandle<()>>,
}

impl HttpWakes {
    /// Each is held so long and then made anew; less than the platform's own limit.
    pub fn new(client: Client, url: Url, auth: WakeAuth, hold: Duration) -> Self {
        Self { client, url, auth, hold, held: Vec::new() }
    }
}

impl Means for HttpWakes {
    fn missing(&mut self, wanted: usize, _: usize) -> usize {
        self.held.retain(|request| !request.is_finished());
        wanted.saturating_sub(self.held.len())
    }

    fn wake(&mut self, launch: String, heard: mpsc::Sender<Heard>) {
        let (client, url, auth, hold) = (self.client.clone(), self.url.clone(), self.auth.clone(), self.hold);
        self.held.push(AbortOnDropHandle::new(tokio::spawn(async move {
            let said = match tokio::time::timeout(hold, ask(&client, url, &auth, &heard)).await {
                Ok(Err(reason)) => Heard::Failed { launch, reason },
                // Its end closes the connection, before another one is made.
                Ok(Ok(())) | Err(_) => Heard::Ended,
            };
            let _ = heard.send(said).await;
        })));
    }

    fn keep(&mut self, wanted: usize) {
        self.held.truncate(wanted);
    }

    fn start_over(&mut self) {
        self.held.clear();
    }
}

/// Holds a request until the worker ends it.
async fn ask(client: &Client, url: Url, auth: &WakeAuth, heard: &mpsc::Sender<Heard>) -> Result<(), String> {
    let mut request = client.post(url.clone());
    match auth {
        WakeAuth::None => {}
        WakeAuth::Token(token) => request = request.bearer_auth(token),
        WakeAuth::Google => request = request.bearer_auth(identity(client, &url).await?),
    }
    let mut response = request.send().await.map_err(words)?;
    if !response.status().is_success() {
        return Err(format!("the worker's /wake answered {}", response.status()));
    }
    let _ = heard.send(Heard::Alive).await;
    // A worker that dies breaks it off.
    while let Ok(Ok(Some(_))) = tokio::time::timeout(SILENCE, response.chunk()).await {}
    Ok(())
}

async fn identity(client: &Client, url: &Url) -> Result<String, String> {
    let host = std::env::var(METADATA_VARIABLE).unwrap_or_else(|_| METADATA_HOST.to_owned());
    let audience = url.origin().ascii_serialization();
    let place = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/identity");
    let mut place = Url::parse(&place).map_err(|error| format!("{METADATA_VARIABLE}: {error}"))?;
    place.query_pairs_mut().append_pair("audience", &audience);
    let asked = client.get(place).header("Metadata-Flavor", "Google").send().await;
    let answer = asked.and_then(reqwest::Response::error_for_status);
    let told = async { answer?.text().await };
    told.await.map_err(|error| format!("Google's metadata server gave no identity: {}", words(error)))
}

/// What went wrong and why, without the address: where that has a secret, it stands there.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let (mut words, mut cause) = (error.to_string(), error.source());
    while let Some(deeper) = cause {
        words = format!("{words}: {deeper}");
        cause = deeper.source();
    }
    words
}
