//! What a server is told: flags, their environment twins, and what is checked before it starts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// When the model is warmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Warm {
    /// In the background, as soon as the process listens.
    #[default]
    Start,
    /// At the first intent.
    Intent,
}

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, one object a line.
    Json,
}

/// `warmcut serve`.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Address to listen on [default: 127.0.0.1:8080, or 0.0.0.0:$PORT when PORT is set]
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// When to warm the model
    #[arg(long, value_enum, default_value_t)]
    pub warm: Warm,
    /// Drop the model after so long without a job, such as 15m; the next intent warms it again
    #[arg(long, value_parser = humantime::parse_duration)]
    pub unload_after: Option<Duration>,
    /// Folder with u2netp.safetensors, instead of the built-in weights
    #[arg(long)]
    pub model_dir: Option<PathBuf>,
    /// Threads of the network [default: one per core]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Serve pages and widget from this folder instead of the built-in ones
    #[arg(long = "static")]
    pub static_dir: Option<PathBuf>,
    /// Folder for what survives a restart (durations of warm-ups) and for photos beyond memory
    /// [default: memory, and a temporary folder]
    #[arg(long)]
    pub state_dir: Option<PathBuf>,
    /// JSON file of shops with their publishable keys, secret keys and origins
    #[arg(long)]
    pub keys: Option<PathBuf>,
    /// Bearer token for what only an operator may do
    #[arg(long, hide_env_values = true)]
    pub operator_token: Option<String>,
    /// Our own origin behind a proxy, such as https://cut.example
    #[arg(long)]
    pub public_url: Option<String>,
    /// Names this deploy in the audit [default: K_REVISION or RENDER_GIT_COMMIT]
    #[arg(long)]
    pub deploy_id: Option<String>,
    /// How logs look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Largest photo in bytes
    #[arg(long, default_value_t = 25_000_000)]
    pub max_upload_bytes: u64,
    /// Largest photo in pixels
    #[arg(long, default_value_t = 50_000_000)]
    pub max_pixels: u64,
    /// Photos that may wait or be on their way
    #[arg(long, default_value_t = 256)]
    pub queue: usize,
    /// Jobs that run side by side; the network runs one photo at a time, the other steps overlap it
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
    /// Bytes of uploads in memory; more wait on disk
    #[arg(long, default_value_t = 64_000_000)]
    pub upload_memory: u64,
    /// Bytes of uploads on disk
    #[arg(long, default_value_t = 4_000_000_000)]
    pub upload_disk: u64,
    /// Bytes of pixels that are worked on at once; a larger photo runs alone
    #[arg(long, default_value_t = 192_000_000)]
    pub pixel_memory: u64,
    /// Bytes of cutouts in memory; more are kept on disk
    #[arg(long, default_value_t = 32_000_000)]
    pub cache_memory: u64,
    /// Bytes of cutouts in all
    #[arg(long, default_value_t = 1_000_000_000)]
    pub cache_bytes: u64,
    /// Cutouts are kept so long
    #[arg(long, value_parser = humantime::parse_duration, default_value = "24h")]
    pub keep: Duration,
    /// A job that runs longer fails
    #[arg(long, value_parser = humantime::parse_duration, default_value = "120s")]
    pub job_timeout: Duration,
    /// Sessions at once
    #[arg(long, default_value_t = 20_000)]
    pub max_sessions: usize,
    /// Sessions of one address at once, an IPv6 /64 being one; 0 is no bound
    #[arg(long, default_value_t = 1000)]
    pub max_sessions_per_address: usize,
    /// Sessions of one shop at once; 0 is no bound [default: half of --max-sessions with several shops]
    #[arg(long)]
    pub max_sessions_per_shop: Option<usize>,
    /// Proxies in front of this server that append to X-Forwarded-For: how the address of a visitor is
    /// known. Only with a port that nobody reaches but through them
    #[arg(long, default_value_t = 0)]
    pub proxies: usize,
    /// A session lives so long without channel or request
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30m")]
    pub session_ttl: Duration,
    /// Connections at once
    #[arg(long, default_value_t = 20_000)]
    pub max_connections: usize,
    /// Loading and priming may each take so long, per try
    #[arg(long, value_parser = humantime::parse_duration, default_value = "120s")]
    pub warmup_timeout: Duration,
    /// After a failed warm-up, so long until an intent may start the next
    #[arg(long, value_parser = humantime::parse_duration, default_value = "5s")]
    pub warmup_cooldown: Duration,
    /// A warm-up that takes longer is warned of in the log
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30s")]
    pub slow_start: Duration,
    /// Without an event for so long a channel says `ping`
    #[arg(long, value_parser = humantime::parse_duration, default_value = "15s")]
    pub ping_every: Duration,
}

impl Config {
    /// Where to listen: `--listen`, else every address at `PORT`, as serverless platforms set it, else
    /// this machine only.
    pub fn address(&self) -> SocketAddr {
        let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok());
        self.listen.unwrap_or_else(|| match port {
            Some(port) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into(),
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), 8080).into(),
        })
    }

    /// Names this deploy.
    pub fn deploy(&self) -> String {
        let platform =
            || ["K_REVISION", "RENDER_GIT_COMMIT"].iter().find_map(|name| std::env::var(name).ok());
        self.deploy_id.clone().or_else(platform).unwrap_or_else(|| "none".to_owned())
    }
}

impl Default for Config {
    /// What an empty command line gives.
    fn default() -> Self {
        use clap::{Command, FromArgMatches};
        let matches =
            Self::augment_args(Command::new("warmcut").no_binary_name(true)).get_matches_from([""; 0]);
        Self::from_arg_matches(&matches).expect("every flag has a default or is optional")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_command_line_is_a_whole_configuration() {
        let config = Config::default();
        assert_eq!(
            (config.queue, config.warm, config.session_ttl),
            (256, Warm::Start, Duration::from_secs(1800))
        );
    }
}
