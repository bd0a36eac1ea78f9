//! Who is told that there is news: one subscription of this process, whoever listens in it.
//!
//! Wakes come in the order in which they were said, and whoever listens hears them one after the other. A
//! connection that breaks may have lost some, so when there is another everybody hears that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use redis::aio::PubSubSink;
use tokio::sync::{mpsc, oneshot};

/// A connection that is silent for so long is tried, and a trial that takes as long again has failed.
const SILENCE: Duration = Duration::from_secs(5);

/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(500);

/// So many subscriptions may be asked for and not made yet.
const ASKED: usize = 1024;

/// What a listener hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake<'a> {
    /// This was said.
    Said(&'a str),
    /// Something may have been said and is lost.
    Missed,
}

type Listener = dyn Fn(Wake<'_>) + Send + Sync;

#[derive(Default)]
struct Channels {
    listeners: Mutex<HashMap<String, (u64, Arc<Listener>)>>,
    made: AtomicU64,
}

enum Command {
    Subscribe(String, oneshot::Sender<()>),
    Unsubscribe(String),
}

/// The subscription of this process.
pub struct Wakes {
    channels: Arc<Channels>,
    commands: mpsc::Sender<Command>,
}

/// Ends when it is dropped.
pub struct Subscription {
    channel: String,
    number: u64,
    channels: Weak<Channels>,
    commands: mpsc::Sender<Command>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(channels) = self.channels.upgrade() else { return };
        {
            let mut listeners = channels.listeners.lock();
            // Somebody else may listen by now.
            if listeners.get(&self.channel).is_none_or(|(number, _)| *number != self.number) {
                return;
            }
            listeners.remove(&self.channel);
        }
        // Where there is no room to say so, what comes over it is told to nobody until the next connection.
        let _ = self.commands.try_send(Command::Unsubscribe(std::mem::take(&mut self.channel)));
    }
}

impl Wakes {
    pub(super) fn listen(client: redis::Client) -> Self {
        let channels = Arc::<Channels>::default();
        let (commands, asked) = mpsc::channel(ASKED);
        tokio::spawn(keep(client, Arc::clone(&channels), asked));
        Self { channels, commands }
    }

    /// Calls `listener` for everything that is said on a channel from now on; a channel has one, the latest. Returns when it is certain that
    /// nothing said later is lost, or when there is no connection: then it hears [`Wake::Missed`] once there is.
    pub async fn subscribe(
        &self,
        channel: String,
        listener: impl Fn(Wake<'_>) + Send + Sync + 'static,
    ) -> Subscription {
        let number = self.channels.made.fetch_add(1, Ordering::Relaxed);
        self.channels.listeners.lock().insert(channel.clone(), (number, Arc::new(listener)));
        let (done, certain) = oneshot::channel();
        let subscription = Subscription {
            channel: channel.clone(),
            number,
            channels: Arc::downgrade(&self.channels),
            commands: self.commands.clone(),
        };
        if self.commands.send(Command::Subscribe(channel, done)).await.is_ok() {
            let _ = certain.await;
        }
        subscription
    }
}

impl Channels {
    fn tell(&self, channel: &str, wake: Wake<'_>) {
        let listener = self.listeners.lock().get(channel).cloned();
        if let Some((_, listener)) = listener {
            listener(wake);
        }
    }

    fn tell_all_missed(&self) {
        let all: Vec<_> = self.listeners.lock().values().cloned().collect();
        for (_, listener) in all {
            listener(Wake::Missed);
        }
    }

    fn names(&self) -> Vec<String> {
        self.listeners.lock().keys().cloned().collect()
    }
}

/// Keeps a connection for as long as anybody may ask for one.
async fn keep(client: redis::Client, channels: Arc<Channels>, mut asked: mpsc::Receiver<Command>) {
    loop {
        if let Ok(Ok(pubsub)) = tokio::time::timeout(SILENCE, client.get_async_pubsub()).await {
            let (sink, stream) = pubsub.split();
            metrics::gauge!("warmcut_redis_up").set(1.0);
            if listen(sink, stream, &channels, &mut asked).await.is_none() {
                return;
            }
            metrics::gauge!("warmcut_redis_up").set(0.0);
            tracing::warn!("the connection that tells of news is lost; making another");
        }
        // Who asks meanwhile needn't wait: what is missed until there is a connection is told then.
        let until = tokio::time::sleep(AGAIN);
        tokio::pin!(until);
        loop {
            // Cancel safety: a command that was taken is handled at once.
            tokio::select! {
                () = &mut until => break,
                command = asked.recv() => match command {
                    Some(Command::Subscribe(_, done)) => drop(done.send(())),
                    Some(Command::Unsubscribe(_)) => {}
                    None => return,
                },
            }
        }
    }
}

/// Some when the connection is lost, none when nobody will ask for one again.
async fn listen(
    mut sink: PubSubSink,
    mut stream: redis::aio::PubSubStream,
    channels: &Channels,
    asked: &mut mpsc::Receiver<Command>,
) -> Option<()> {
    let names = channels.names();
    if !names.is_empty() && !answered(sink.subscribe(&names)).await {
        return Some(());
    }
    channels.tell_all_missed();
    let mut quiet = tokio::time::interval(SILENCE);
    quiet.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Cancel safety: the stream and the queue lose nothing, and what a branch begins it ends.
        tokio::select! {
            biased;
            message = stream.next() => {
                let Some(message) = message else { return Some(()) };
                let said = message.get_payload::<String>().unwrap_or_default();
                channels.tell(message.get_channel_name(), Wake::Said(&said));
            }
            command = asked.recv() => match command? {
                Command::Subscribe(channel, done) => {
                    if !answered(sink.subscribe(channel)).await {
                        return Some(());
                    }
                    let _ = done.send(());
                }
                Command::Unsubscribe(channel) => {
                    // Somebody else may listen again by now.
                    let listens = channels.listeners.lock().contains_key(&channel);
                    if !listens && !answered(sink.unsubscribe(channel)).await {
                        return Some(());
                    }
                }
            },
            _ = quiet.tick() => {
                if !answered(sink.ping::<redis::Value>()).await {
                    return Some(());
                }
            }
        }
    }
}

/// False when it failed, or nobody said anything for too long.
async fn answered<T>(asked: impl Future<Output = redis::RedisResult<T>>) -> bool {
    matches!(tokio::time::timeout(SILENCE, asked).await, Ok(Ok(_)))
}
