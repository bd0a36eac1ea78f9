//! A server on a port of its own, and clients for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes as WsBytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use warmcut::app::{Model, Server};
use warmcut::config::Config;
use warmcut::model::Loader;

use crate::script::{Script, Scripted, known};

/// Nothing that a test waits for takes so long unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestApp {
    pub address: SocketAddr,
    pub http: reqwest::Client,
    pub script: Arc<Script>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl TestApp {
    pub async fn spawn(script: Arc<Script>, change: impl FnOnce(&mut Config)) -> Self {
        let loader = Arc::new(Scripted::new(Arc::clone(&script)));
        Self::spawn_loader(loader, script, change).await
    }

    /// A server with another model than the scripted one.
    pub async fn spawn_loader(
        loader: Arc<dyn Loader>,
        script: Arc<Script>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::spawn_models(loader, None, script, change).await
    }

    /// A server with a second model, which makes the previews and is scripted too.
    pub async fn spawn_with_previews(
        script: Arc<Script>,
        previews: &Arc<Script>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let small = Arc::new(Scripted::small(Arc::clone(previews)));
        Self::spawn_models(Arc::new(Scripted::new(Arc::clone(&script))), Some(small), script, change).await
    }

    async fn spawn_models(
        loader: Arc<dyn Loader>,
        small: Option<Arc<dyn Loader>>,
        script: Arc<Script>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let model = |loader| Model { loader, known: known() };
        Self::spawn_model(model(loader), small.map(model), script, change).await
    }

    /// A server with models that are proven by answers of their own.
    pub async fn spawn_model(
        model: Model,
        small: Option<Model>,
        script: Arc<Script>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config { listen: Some(([127, 0, 0, 1], 0).into()), ..Config::default() };
        change(&mut config);
        // Several tests in one process: the first one chooses.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let now = tokio::time::Instant::now();
        let server = Server::start_with(&config, now, model, small).await;
        let server = server.expect("the server starts");
        let address = server.address;
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { address, http: client(), script, stop: Some(stop), server: Some(server) }
    }

    /// A server that does nothing unusual and is ready.
    pub async fn ready() -> Self {
        Self::ready_with(Arc::default(), |_| ()).await
    }

    pub async fn ready_with(script: Arc<Script>, change: impl FnOnce(&mut Config)) -> Self {
        let app = Self::spawn(script, change).await;
        let response = app.http.post(app.url("/warmup")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        app
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        body(self.http.get(self.url(path)).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, bytes: impl Into<reqwest::Body>) -> (u16, Value) {
        body(self.http.post(self.url(path)).body(bytes).send().await.unwrap()).await
    }

    /// Tells the server to go and waits until it has gone.
    pub async fn stop(&mut self) -> Duration {
        let begun = std::time::Instant::now();
        self.begin_stop();
        tokio::time::timeout(PATIENCE, self.server.take().unwrap()).await.expect("it goes").unwrap();
        begun.elapsed()
    }

    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn open(&self) -> Session {
        let (status, opened) = self.post("/v1/sessions?trigger=manual", "").await;
        assert_eq!(status, 201, "{opened}");
        Session::of(&opened)
    }

    /// The same by a trigger that respects a recent failure.
    pub async fn open_passively(&self) -> Session {
        let (status, opened) = self.post("/v1/sessions?trigger=hover", "").await;
        assert_eq!(status, 201, "{opened}");
        Session::of(&opened)
    }

    pub async fn upload(
        &self,
        session: &Session,
        query: &str,
        bytes: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let url = self.url(&format!("/v1/sessions/{}/uploads?{query}", session.id));
        body(self.http.post(url).bearer_auth(&session.token).body(bytes).send().await.unwrap()).await
    }

    pub async fn snapshot(&self, session: &Session) -> Value {
        let url = self.url(&format!("/v1/sessions/{}", session.id));
        body(self.http.get(url).bearer_auth(&session.token).send().await.unwrap()).await.1
    }

    pub async fn sse(&self, query: &str) -> Sse<impl Stream<Item = reqwest::Result<Bytes>> + Unpin + use<>> {
        read(self.http.get(self.url(&format!("/v1/events?{query}"))).send().await.unwrap())
    }

    pub async fn resume(
        &self,
        session: &Session,
        id: Option<&str>,
    ) -> Sse<impl Stream<Item = reqwest::Result<Bytes>> + Unpin + use<>> {
        let mut request = self.http.get(self.url("/v1/events")).bearer_auth(&session.token);
        if let Some(id) = id {
            request = request.header("last-event-id", id);
        }
        read(request.send().await.unwrap())
    }

    pub async fn socket(&self, query: &str, protocols: &str) -> Socket {
        let mut request = format!("ws://{}/v1/socket?{query}", self.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        let (socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "warmcut.v1");
        Socket(socket)
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// An HTTP client that talks to this machine only.
pub fn client() -> reqwest::Client {
    // Several tests in one process: the first one chooses.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub async fn body(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[derive(Clone, Debug)]
pub struct Session {
    pub id: String,
    pub token: String,
}

impl Session {
    pub fn of(event: &Value) -> Self {
        let text =
            |name: &str| event[name].as_str().unwrap_or_else(|| panic!("no {name}: {event}")).to_owned();
        Self { id: text("session"), token: text("token") }
    }
}

/// Events of an SSE stream, as a browser reads them.
pub struct Sse<S> {
    stream: S,
    text: String,
    pub headers: reqwest::header::HeaderMap,
    pub status: u16,
}

fn read(response: reqwest::Response) -> Sse<impl Stream<Item = reqwest::Result<Bytes>> + Unpin> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Sse { stream: Box::pin(response.bytes_stream()), text: String::new(), headers, status }
}

impl<S: Stream<Item = reqwest::Result<Bytes>> + Unpin> Sse<S> {
    /// The next block of the stream; none at its end.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let piece = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("an event comes")?;
            self.text.push_str(std::str::from_utf8(&piece.ok()?).unwrap());
        }
    }

    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let block = self.block().await?;
            let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
            let event: Value = serde_json::from_str(data).unwrap();
            let named = |name| block.lines().find_map(|line| line.strip_prefix(name));
            assert_eq!(named("event: "), event["type"].as_str(), "the name is the type");
            assert_eq!(named("id: "), event["id"].as_str(), "the id is the id");
            return Some(event);
        }
    }

    pub async fn until(&mut self, is: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended: {events:#?}"));
            let found = is(&event);
            events.push(event);
            if found {
                return events;
            }
        }
    }
}

/// A WebSocket.
pub struct Socket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn message(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a message comes");
        next.expect("the socket is open").unwrap()
    }

    pub async fn next(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn until(&mut self, is: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            let found = is(&event);
            events.push(event);
            if found {
                return events;
            }
        }
    }

    /// The code and reason of the server's close, and the events before it.
    pub async fn closed(&mut self) -> (u16, Vec<Value>) {
        let mut events = Vec::new();
        loop {
            match self.message().await {
                Message::Text(text) => events.push(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return (frame.unwrap().code.into(), events),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    pub async fn say(&mut self, message: Value) {
        self.0.send(Message::Text(message.to_string().into())).await.unwrap();
    }

    pub async fn bytes(&mut self, bytes: &[u8]) {
        self.0.send(Message::Binary(WsBytes::copy_from_slice(bytes))).await.unwrap();
    }

    pub async fn announce(&mut self, upload: &str, bytes: usize) {
        self.say(json!({"type": "upload", "upload": upload, "bytes": bytes, "mime": "image/png"})).await;
    }
}

pub fn is(kind: &'static str, status: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["type"] == kind && (status.is_empty() || event["status"] == status)
}

/// A file of the fixtures.
pub fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a fixture")
}

/// A small good photo; another `seed` is another photo.
pub fn photo(seed: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 40, 40);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> =
        (0..40 * 40 * 3).map(|n: u32| (n as u8).wrapping_mul(7).wrapping_add(seed)).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    bytes
}
