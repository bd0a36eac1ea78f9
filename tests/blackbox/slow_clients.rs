//! Clients that never read: what they cost is bounded, they are let go, and nobody else notices.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{PATIENCE, Session, Socket, TestApp, is, photo};

/// Results on their way to a client that doesn't read them.
const RESULTS: usize = 24;

/// Bad photos behind which a client that doesn't read is left.
const FLOOD: usize = 1600;

/// A connection with so little room between the ends that the server soon notices who doesn't read.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket2::SockRef::from(&socket).set_tcp_mss(536).unwrap();
    socket.connect(address).await.unwrap()
}

/// A photo that no codec makes smaller, so that its cutout is large.
fn noise(side: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels: Vec<u8> = (0..side * side * 3).map(|_| byte()).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fastest);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    bytes
}

async fn too_slow(app: &TestApp) -> u64 {
    let text = app.http.get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("warmcut_channels_too_slow_total "));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Two events each, far more than a channel may be behind, and more than the log keeps.
async fn flood(app: &TestApp, session: &Session, uploads: usize) {
    for n in 0..uploads {
        let (status, _) = app.upload(session, &format!("upload=bad-{n}"), "this is no photo").await;
        assert_eq!(status, 415);
    }
}

async fn others_are_served(app: &TestApp) {
    let session = app.open().await;
    let (status, _) = app.upload(&session, "upload=u&wait=true", photo(9)).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_socket_that_never_reads_large_results_is_closed_and_the_server_holds_none_of_them() {
    let app = TestApp::ready().await;
    let before = too_slow(&app).await;
    let stream = MaybeTlsStream::Plain(narrow(app.address).await);
    let mut request = format!("ws://{}/v1/socket?trigger=manual", app.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "warmcut.v1".parse().unwrap());
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let mut deaf = Socket(socket);
    let session = Session::of(&deaf.until(is("ready", "")).await[0]);

    // From here on it only sends.
    let photo = noise(700);
    let mut witness = app.resume(&session, None).await;
    let mut made = 0;
    for n in 0..RESULTS {
        deaf.announce(&format!("u{n}"), photo.len()).await;
        for piece in photo.chunks(500_000) {
            deaf.bytes(piece).await;
        }
        let events = witness.until(is("job", "succeeded")).await;
        made += events.iter().find(|event| event["type"] == "cutout").unwrap()["bytes"].as_u64().unwrap();
    }
    others_are_served(&app).await;
    flood(&app, &session, 600).await;

    // All that the server had taken out of its stores for this socket is what is still to be read.
    let mut held = 0;
    let close = loop {
        match deaf.message().await {
            Message::Binary(bytes) => held += bytes.len() as u64,
            Message::Text(text) => held += text.len() as u64,
            Message::Close(close) => break close.unwrap(),
            _ => {}
        }
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1013, "too_slow"));
    assert!(made > 10_000_000, "the results are large: {made}");
    assert!(held * 4 < made, "{held} of {made} bytes");
    assert!(too_slow(&app).await > before);
    let resumed = app.resume(&session, None).await.next().await.unwrap();
    assert_eq!(resumed["resumed"], true, "the session goes on");
}

#[tokio::test]
async fn an_event_stream_that_never_reads_is_ended_and_counted() {
    let app = TestApp::ready().await;
    let before = too_slow(&app).await;
    let session = app.open().await;
    let mut deaf = narrow(app.address).await;
    let request =
        format!("GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", session.token);
    deaf.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("event: ready") {
        let mut piece = [0; 512];
        let read = tokio::time::timeout(PATIENCE, deaf.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }

    // From here on it reads nothing.
    let photo = noise(700);
    for n in 0..3 {
        assert_eq!(app.upload(&session, &format!("upload=u{n}&wait=true"), photo.clone()).await.0, 200);
    }
    others_are_served(&app).await;
    flood(&app, &session, FLOOD).await;

    let mut rest = Vec::new();
    let read = async {
        let mut piece = [0; 4096];
        while !rest.ends_with(b"\r\n0\r\n\r\n") {
            let read = deaf.read(&mut piece).await.unwrap();
            assert!(read > 0, "the stream ends as HTTP ends it");
            rest.extend_from_slice(&piece[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the stream ends");
    let events = String::from_utf8_lossy(&rest).matches("event: ").count();
    // What the system had room for, and not what was told since.
    assert!(events < FLOOD, "{events} of {} events and more", 2 * FLOOD);
    assert!(too_slow(&app).await > before);
}
