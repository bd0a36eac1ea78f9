//! `warmcut gateway` and `warmcut worker`.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Command, ValueEnum};
use redis::IntoConnectionInfo;
use reqwest::Url;

use super::{Config, ConfigError, count, some_time};
use crate::cutout::SharedStore;
use crate::scale::{Budget, Sizing, WakeAuth};

/// Flags of serve that a gateway takes and has no use for.
const NOT_A_GATEWAYS: [&str; 7] =
    ["warm", "unload_after", "device", "workers", "job_timeout", "warmup_timeout", "slow_start"];

/// Flags of serve that a worker takes and has no use for.
const NOT_A_WORKERS: [&str; 22] = [
    "warm",
    "unload_after",
    "preview_model",
    "static_dir",
    "state_dir",
    "keys",
    "operator_token",
    "public_url",
    "max_upload_bytes",
    "queue",
    "upload_memory",
    "upload_disk",
    "cache_memory",
    "cache_bytes",
    "max_sessions",
    "max_sessions_per_address",
    "max_sessions_per_shop",
    "proxies",
    "session_ttl",
    "max_connections",
    "warmup_cooldown",
    "ping_every",
];

/// Leaves out of the help what a role has no use for.
pub fn hide_unused(command: Command) -> Command {
    let hide = |command: Command, names: &[&'static str]| {
        names.iter().fold(command, |command, name| command.mut_arg(name, |arg| arg.hide(true)))
    };
    command
        .mut_subcommand("gateway", |gateway| hide(gateway, &NOT_A_GATEWAYS))
        .mut_subcommand("worker", |worker| hide(worker, &NOT_A_WORKERS))
}

/// What gateways and workers of a deployment share.
#[derive(Clone, Debug, Args)]
pub struct SharedArgs {
    /// Redis 7 or later, one primary: redis://[user:password@]host[:port][/database], rediss:// over
    /// TLS, or redis+unix:///socket
    #[arg(long, hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub redis: String,
    /// All its keys begin with this; another deployment on the same Redis has another
    #[arg(long, value_parser = prefix, default_value = "warmcut")]
    pub redis_prefix: String,
    /// Where photos and cutouts are kept: file:///folder that all of them see, s3://bucket/prefix or
    /// gs://bucket/prefix, with credentials as their vendors' tools take them
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub store: String,
}

/// How a worker knows who wakes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// It doesn't ask.
    None,
    /// By --wake-token.
    Token,
    /// By an identity token from Google's metadata server, as Cloud Run asks for.
    Google,
}

/// `warmcut gateway`.
#[derive(Clone, Debug, Args)]
pub struct GatewayArgs {
    /// What the gateways share with the workers.
    #[command(flatten)]
    pub shared: SharedArgs,
    /// The worker's /wake, called once for each worker that is wanted, and held open; without it and --wake-cmd
    /// an autoscaler asks GET /v1/demand
    #[arg(long, value_parser = wake_url, conflicts_with = "wake_cmd")]
    pub wake: Option<Url>,
    /// A line for sh that starts a worker, run for each one that is wanted and isn't there
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub wake_cmd: Option<String>,
    /// Bearer token for the worker's /wake
    #[arg(long, hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub wake_token: Option<String>,
    /// How the worker knows us [default: token with --wake-token, else none]
    #[arg(long, value_enum)]
    pub wake_auth: Option<Auth>,
    /// A wake is held so long and then made anew; less than the platform lets a request take
    #[arg(long, value_parser = some_time, default_value = "50m")]
    pub wake_hold: Duration,
    /// A worker that hasn't come up so long after its wake is woken again
    #[arg(long, value_parser = some_time, default_value = "5m")]
    pub wake_limit: Duration,
    /// Workers at once
    #[arg(long, value_parser = count, default_value_t = 1)]
    pub max_workers: usize,
    /// One worker is wanted for so many photos that wait or run
    #[arg(long, value_parser = count, default_value_t = 8)]
    pub jobs_per_worker: usize,
    /// Workers stay wanted so long after a shopper's last intent
    #[arg(long, value_parser = some_time, default_value = "2m")]
    pub linger: Duration,
    /// Wakes in a day, midnight to midnight UTC; who only looks may spend four fifths of it
    #[arg(long, default_value_t = 200)]
    pub budget_wakes: u64,
    /// Time of workers in a day, all of them together; who only looks may spend four fifths of it
    #[arg(long, value_parser = some_time, default_value = "4h")]
    pub budget_gpu: Duration,
    /// What serve takes.
    #[command(flatten)]
    pub serve: Config,
}

/// `warmcut worker`.
#[derive(Clone, Debug, Args)]
pub struct WorkerArgs {
    /// What the workers share with the gateways.
    #[command(flatten)]
    pub shared: SharedArgs,
    /// Goes by itself when nobody has wanted it for so long
    #[arg(long, value_parser = some_time, default_value = "5m")]
    pub idle: Duration,
    /// Bearer token that /wake asks for; without it the platform has to say who may
    #[arg(long, hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub wake_token: Option<String>,
    /// What serve takes.
    #[command(flatten)]
    pub serve: Config,
}

impl SharedArgs {
    /// Whether the addresses are any; nobody is asked.
    fn check(&self) -> Result<(), ConfigError> {
        // Their words have nothing of the address, which may hold a password.
        let wrong = |flag| move |reason: String| ConfigError::Shared { flag, reason };
        let redis = self.redis.as_str().into_connection_info();
        redis.map_err(|error| wrong("--redis")(error.to_string()))?;
        SharedStore::open(&self.store).map_err(|error| wrong("--store")(error.to_string()))?;
        Ok(())
    }
}

impl GatewayArgs {
    /// Checks what one flag alone can't say.
    ///
    /// # Errors
    /// [`ConfigError`] for a combination that could never serve.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.wake_auth == Some(Auth::Token) && self.wake_token.is_none() {
            return Err(ConfigError::NoWakeToken);
        }
        self.shared.check()?;
        self.serve.check_front()?;
        let small = self.serve.small_entry();
        small.map(drop).map_err(|error| ConfigError::asked("--preview-model", self.serve.small_name(), error))
    }

    /// By what the number of workers is chosen.
    pub fn sizing(&self) -> Sizing {
        Sizing {
            max_workers: self.max_workers,
            jobs_per_worker: self.jobs_per_worker,
            linger: self.linger,
            limit: self.wake_limit,
            budget: Budget { wakes: self.budget_wakes, gpu: self.budget_gpu },
        }
    }

    /// How the worker knows us.
    pub fn wake_auth(&self) -> WakeAuth {
        let by_token = || self.wake_token.clone().map_or(WakeAuth::None, WakeAuth::Token);
        match self.wake_auth {
            Some(Auth::None) => WakeAuth::None,
            Some(Auth::Google) => WakeAuth::Google,
            Some(Auth::Token) | None => by_token(),
        }
    }
}

impl WorkerArgs {
    /// Checks what one flag alone can't say.
    ///
    /// # Errors
    /// [`ConfigError`] for a combination that could never work.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.shared.check()?;
        self.serve.address()?;
        self.serve.check_models()
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("it must be 1 to 64 characters of A-Z a-z 0-9 - _ . :".to_owned())
}

fn wake_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if matches!(url.scheme(), "http" | "https") && url.path() != "/" {
        return Ok(url);
    }
    Err("it must be the address of a worker's /wake, such as https://worker.example/wake".to_owned())
}
