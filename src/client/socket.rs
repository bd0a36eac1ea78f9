//! A channel over a WebSocket: events in, photos out, pictures in between.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::channel::read_event;
use super::{Arrival, ClientError, Photo, Resume, Server};
use crate::protocol::{CutoutEvent, Delivery, Event, Framed, JobId, PreviewEvent, UploadId};

/// The subprotocol. A server that speaks another version echoes another name.
pub const SUBPROTOCOL: &str = "warmcut.v1";

/// Events are small; ten thousand sockets with the default 128 KiB would take more than a gigabyte.
const READ_BUFFER: usize = 8 << 10;

/// The contract: pictures come in binary frames of at most 64 KiB; events are smaller.
const LARGEST_FRAME_IN: usize = 64 << 10;

/// Photos go out in frames well below the contract's 1 MiB, so that a slow line shows progress.
const FRAME_OUT: usize = 64 << 10;

/// No server makes larger cutouts; a length beyond it is not worth the memory.
const LARGEST_PICTURE: u64 = 1 << 30;

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// An event whose picture is on its way, with what has come of it.
    partial: Option<(Framed, u64, BytesMut)>,
}

impl Socket {
    /// Opens a session, or another channel of one.
    pub async fn open(server: &Server, resume: Option<Resume<'_>>) -> Result<Self, ClientError> {
        let mut url = match resume {
            None => server.opening_url("/v1/socket")?,
            Some(_) => server.url("/v1/socket")?,
        };
        if let Some(id) = resume.and_then(|resume| resume.last_id) {
            url.query_pairs_mut().append_pair("last_event_id", id);
        }
        // "http" becomes "ws", and "https" "wss".
        let address = url.as_str().replacen("http", "ws", 1);
        let bad = |why: String| ClientError::BadAddress { url: address.clone(), why };
        let uri: Uri = address.parse().map_err(|error| bad(format!("{error}")))?;
        let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        if let Some(resume) = resume {
            request = request.with_sub_protocol(format!("bearer.{}", resume.pass.token));
        }
        if let Some(origin) = server.origin().and_then(|origin| origin.to_str().ok()) {
            request = request.with_header("origin", origin);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_frame_size(Some(LARGEST_FRAME_IN))
            .max_message_size(Some(LARGEST_FRAME_IN));
        let tls = Connector::Rustls(server.tls());
        let (socket, response) =
            connect_async_tls_with_config(request, Some(config), true, Some(tls)).await?;
        let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
        if chosen.is_none_or(|chosen| chosen != SUBPROTOCOL) {
            let why = format!("the server chose the subprotocol {chosen:?}, not {SUBPROTOCOL}");
            return Err(ClientError::garbled("the WebSocket's handshake", why));
        }
        Ok(Self { socket, partial: None })
    }

    /// The next event; waits for it, and for the picture that follows it.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub async fn next(&mut self) -> Result<Arrival, ClientError> {
        loop {
            let message = self
                .socket
                .next()
                .await
                .ok_or(ClientError::Closed { code: 1006, reason: String::new() })??;
            let arrival = match message {
                Message::Text(text) => self.take_event(&text)?,
                Message::Binary(bytes) => self.take_piece(&bytes)?,
                Message::Close(frame) => return Err(closed(frame)),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
            };
            if let Some(arrival) = arrival {
                return Ok(arrival);
            }
        }
    }

    /// Announces a photo. It may be sent once its `upload` event says `accepted`.
    pub async fn announce(
        &mut self,
        upload: &UploadId,
        photo: &Photo,
        deliver: Delivery,
    ) -> Result<(), ClientError> {
        let message = json!({
            "type": "upload", "upload": upload, "bytes": photo.len(), "mime": photo.mime(), "deliver": deliver,
        });
        self.say(&message).await
    }

    /// Sends an accepted photo from `received` on.
    pub async fn send_photo(&mut self, photo: &Photo, received: u64) -> Result<(), ClientError> {
        let offset = usize::try_from(received).unwrap_or(usize::MAX).min(photo.len());
        for piece in photo.pieces(offset, FRAME_OUT) {
            self.socket.send(Message::Binary(piece)).await?;
        }
        Ok(())
    }

    /// Asks to stop a job.
    pub async fn cancel(&mut self, job: &JobId) -> Result<(), ClientError> {
        self.say(&json!({"type": "cancel", "job": job})).await
    }

    /// Says goodbye. That the server hears it doesn't matter.
    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
    }

    async fn say(&mut self, message: &serde_json::Value) -> Result<(), ClientError> {
        Ok(self.socket.send(Message::Text(Utf8Bytes::from(message.to_string()))).await?)
    }

    fn take_event(&mut self, text: &str) -> Result<Option<Arrival>, ClientError> {
        if let Some((_, expected, body)) = &self.partial {
            let why = format!("an event came within a picture, after {} of {expected} bytes", body.len());
            return Err(ClientError::garbled("the socket", why));
        }
        let Some(framed) = read_event(text)? else { return Ok(None) };
        match inline_bytes(&framed.event) {
            None => Ok(Some(framed.into())),
            Some(0) => Ok(Some(Arrival { framed, body: Some(Bytes::new()) })),
            Some(expected) if expected > LARGEST_PICTURE => {
                Err(ClientError::garbled("a picture", format!("it claims {expected} bytes")))
            }
            Some(expected) => {
                self.partial = Some((framed, expected, BytesMut::new()));
                Ok(None)
            }
        }
    }

    fn take_piece(&mut self, piece: &[u8]) -> Result<Option<Arrival>, ClientError> {
        let Some((framed, expected, mut body)) = self.partial.take() else {
            return Err(ClientError::garbled("a binary frame", "it belongs to no picture"));
        };
        body.extend_from_slice(piece);
        match (body.len() as u64).cmp(&expected) {
            std::cmp::Ordering::Equal => Ok(Some(Arrival { framed, body: Some(body.freeze()) })),
            std::cmp::Ordering::Less => {
                self.partial = Some((framed, expected, body));
                Ok(None)
            }
            std::cmp::Ordering::Greater => {
                Err(ClientError::garbled("a picture", format!("{} bytes came of {expected}", body.len())))
            }
        }
    }
}

/// How many bytes follow an event on its socket.
fn inline_bytes(event: &Event) -> Option<u64> {
    match event {
        Event::Preview(PreviewEvent { delivery: Delivery::Inline, bytes, .. }) => Some(*bytes),
        Event::Cutout(cutout) => {
            let CutoutEvent { delivery, bytes, .. } = cutout.as_ref();
            (*delivery == Delivery::Inline).then_some(*bytes)
        }
        _ => None,
    }
}

fn closed(frame: Option<tokio_tungstenite::tungstenite::protocol::CloseFrame>) -> ClientError {
    match frame {
        Some(frame) => ClientError::Closed { code: frame.code.into(), reason: frame.reason.to_string() },
        None => ClientError::Closed { code: 1005, reason: String::new() },
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    use super::*;
    use crate::client::server::Identity;

    const CUTOUT: &str = r#"{"type":"cutout","job":"j_1","id_cutout":"c_1","url":"/u","lasting_url":"/l","mime":"image/png","width":2,"height":3,"bytes":5,"model":"u2netp","cached":false,"degraded":false,"delivery":"inline","timings_ms":{"upload":0,"queue":0,"decode":0,"infer":0,"compose":0,"encode":0,"total":0},"notes":[],"at_ms":1,"id":"7.0.x"}"#;

    /// A server that says what it is told to and then closes.
    async fn scripted(script: Vec<Message>) -> Socket {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            #[expect(clippy::result_large_err, reason = "the handshake's own type")]
            let choose = |_: &Request, mut response: Response| {
                response.headers_mut().append(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL.parse().expect("a header"));
                Ok(response)
            };
            let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.expect("a handshake");
            for message in script {
                socket.send(message).await.expect("sent");
            }
            let _ = socket.close(None).await;
            while let Some(Ok(_)) = socket.next().await {}
        });
        let server = Server::new(&address, Identity::default()).expect("good");
        Socket::open(&server, None).await.expect("open")
    }

    fn piece(bytes: &'static [u8]) -> Message {
        Message::Binary(Bytes::from_static(bytes))
    }

    #[tokio::test]
    async fn a_picture_is_gathered_from_its_frames() {
        let mut socket = scripted(vec![
            Message::Text(r#"{"type":"ping","at_ms":1}"#.into()),
            Message::Text(CUTOUT.into()),
            piece(b"ab"),
            Message::Ping(Bytes::new()),
            piece(b"cde"),
        ])
        .await;
        assert_eq!(socket.next().await.expect("ping").framed.event, Event::Ping {});
        let cutout = socket.next().await.expect("cutout");
        assert_eq!(cutout.framed.event.kind(), "cutout");
        assert_eq!(cutout.body.as_deref(), Some(&b"abcde"[..]));
        let end = socket.next().await.expect_err("closed");
        assert!(end.code().starts_with("closed_"), "{end}");
    }

    #[tokio::test]
    async fn what_does_not_belong_there_is_said() {
        for script in [
            vec![piece(b"ab")],
            vec![Message::Text(CUTOUT.into()), piece(b"abcdef")],
            vec![
                Message::Text(CUTOUT.into()),
                piece(b"a"),
                Message::Text(r#"{"type":"ping","at_ms":1}"#.into()),
            ],
        ] {
            let mut socket = scripted(script).await;
            assert_eq!(socket.next().await.expect_err("wrong").code(), "garbled");
        }
    }
}
