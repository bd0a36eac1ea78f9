//! The accept loop: connections that are bounded, timed and tracked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::address::Peer;

/// A client that acknowledges nothing for so long is gone; keep-alive alone takes minutes to notice.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that has connected and doesn't say what it wants.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// When the system has no more file descriptors, accepting again at once fails again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `closing`, then lets connections end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: usize,
    closing: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(USER_TIMEOUT));
    let builder = Arc::new(builder);
    loop {
        // Cancel safety: a connection that isn't accepted yet stays in the system's queue.
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let (builder, watcher) = (Arc::clone(&builder), graceful.watcher());
        let service = router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request
        });
        let service = TowerToHyperService::new(service);
        tokio::spawn(async move {
            let _place = place;
            // Until the first byte nobody else watches the time.
            if !matches!(tokio::time::timeout(HEADER_TIMEOUT, stream.readable()).await, Ok(Ok(()))) {
                return;
            }
            let connection =
                builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            let connection = watcher.watch(connection);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    // Full: the next client waits in the system's queue until one has gone.
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            if let Err(error) = tune(&stream) {
                tracing::debug!(%error, "socket options");
            }
            Some((stream, peer.ip(), place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection can't be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
    // An event is small and wanted now.
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    SockRef::from(stream).set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}
