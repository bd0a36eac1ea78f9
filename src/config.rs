//! What a server is told: flags, their environment twins, and what is checked before it starts.

mod roles;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum, value_parser};

use crate::cutout::Pixels;
use crate::model::device::{Cpu, Wanted};
use crate::model::{Entry, ModelError, ModelFile, Network, Registry, Seen, model_name};
use crate::warmup::process;

pub use roles::{Auth, GatewayArgs, SharedArgs, WorkerArgs, hide_unused};

/// What this process may have; read once, so that all budgets are shares of one figure.
static MEMORY_LIMIT: LazyLock<Option<u64>> = LazyLock::new(|| process::memory().limit);

/// More of anything that is counted is a slip of the keyboard, and past what the system's own counters
/// hold.
const MOST: usize = 100_000_000;
/// More threads than any machine has cores.
const MOST_THREADS: usize = 4096;
/// A photo of 12 megapixels on its way to a preview, or two smaller ones.
const PREVIEW_PIXELS: u64 = 96_000_000;
/// One of 12 megapixels on its way to a PNG or a JPEG.
const USUAL_PHOTO: u64 = 96_000_000;
/// What a process takes without a model: a second model takes so much less than the first.
const PROCESS: u64 = 30_000_000;
/// Ten years: longer than any process lives, and short enough to be added to any clock's time.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

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
    #[arg(long, value_parser = duration)]
    pub unload_after: Option<Duration>,
    /// Folder with NAME.safetensors, NAME.pth or NAME.onnx of each model that is used, instead of the built-in
    /// weights; what is missing there or wrong fails the warm-up and not the start
    #[arg(long)]
    pub model_dir: Option<PathBuf>,
    /// Weights of a model by its name: a safetensors, PyTorch or ONNX file; @SIZE is another side of the square that
    /// it sees, a multiple of 32, and :DTYPE what it computes with (f32; f16 and bf16 are for GPUs). A known
    /// model's name promises its published weights, any other name is whatever network the file holds. As often
    /// as needed, or several with commas between them, so that no path can have one. A file that can't be used ends
    /// the start where --default-model or --preview-model asks for it; else the log tells of it
    #[arg(long, value_name = "NAME=PATH[@SIZE][:DTYPE]", value_delimiter = ',')]
    pub model: Vec<ModelFile>,
    /// The model that makes cutouts
    #[arg(long, value_name = "NAME", value_parser = model_name, default_value = "u2netp")]
    pub default_model: String,
    /// The small model that makes previews while the default one isn't ready or photos wait for it, and stands
    /// in when it fails [default: u2netp, where that isn't the default one]
    #[arg(long, value_name = "NAME", value_parser = model_name)]
    pub preview_model: Option<String>,
    /// Threads of the network [default: one per core]
    #[arg(long, value_parser = threads)]
    pub threads: Option<usize>,
    /// What the network uses of the processor: auto, avx512, avx2, portable, or candle (its own
    /// operations, to compare)
    #[arg(long, default_value = "auto")]
    pub cpu: Cpu,
    /// What the network runs on: cpu, cuda:N, or auto, which takes the first GPU that works, else the CPU
    #[arg(long, default_value = "auto")]
    pub device: Wanted,
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
    #[arg(long, hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub operator_token: Option<String>,
    /// Our own origin behind a proxy, such as https://cut.example
    #[arg(long, value_parser = origin)]
    pub public_url: Option<String>,
    /// Names this deploy in the audit [default: K_REVISION or RENDER_GIT_COMMIT]
    #[arg(long)]
    pub deploy_id: Option<String>,
    /// How logs look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Largest photo in bytes
    #[arg(long, value_parser = value_parser!(u64).range(1..), default_value_t = 25_000_000)]
    pub max_upload_bytes: u64,
    /// Largest photo in pixels
    #[arg(long, value_parser = value_parser!(u64).range(1..), default_value_t = 50_000_000)]
    pub max_pixels: u64,
    /// Photos that may wait or be on their way
    #[arg(long, value_parser = count, default_value_t = 256)]
    pub queue: usize,
    /// Jobs that run side by side; the network runs one photo at a time, the other steps overlap it
    #[arg(long, value_parser = threads, default_value_t = 2)]
    pub workers: usize,
    /// Bytes of uploads in memory; more wait on disk
    #[arg(long, default_value_t = of_memory(64_000_000, 16))]
    pub upload_memory: u64,
    /// Bytes of uploads on disk
    #[arg(long, default_value_t = 4_000_000_000)]
    pub upload_disk: u64,
    /// Bytes of pixels that are worked on at once; a larger photo runs alone, and one that the memory
    /// limit has no room for is refused
    #[arg(long, default_value_t = of_memory(192_000_000, 2))]
    pub pixel_memory: u64,
    /// Bytes of cutouts in memory; more are kept on disk
    #[arg(long, default_value_t = of_memory(32_000_000, 32))]
    pub cache_memory: u64,
    /// Bytes of cutouts in all
    #[arg(long, value_parser = value_parser!(u64).range(1..), default_value_t = 1_000_000_000)]
    pub cache_bytes: u64,
    /// Cutouts are kept so long
    #[arg(long, value_parser = some_time, default_value = "24h")]
    pub keep: Duration,
    /// A job that runs longer fails
    #[arg(long, value_parser = some_time, default_value = "120s")]
    pub job_timeout: Duration,
    /// Sessions at once
    #[arg(long, value_parser = count, default_value_t = 20_000)]
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
    #[arg(long, value_parser = some_time, default_value = "30m")]
    pub session_ttl: Duration,
    /// Connections at once
    #[arg(long, value_parser = count, default_value_t = 20_000)]
    pub max_connections: usize,
    /// Loading and priming may each take so long, per try
    #[arg(long, value_parser = some_time, default_value = "120s")]
    pub warmup_timeout: Duration,
    /// After a failed warm-up, so long until an intent may start the next
    #[arg(long, value_parser = duration, default_value = "5s")]
    pub warmup_cooldown: Duration,
    /// A warm-up that takes longer is warned of in the log
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub slow_start: Duration,
    /// Without an event for so long a channel says `ping`
    #[arg(long, value_parser = some_time, default_value = "15s")]
    pub ping_every: Duration,

    /// What was found in the models' files, which are looked into once.
    #[arg(skip)]
    pub seen: Seen,
}

/// What no single flag is to blame for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The platform's word on the port is none.
    #[error("PORT is {0:?}, which is no port: 0 to 65535; or say --listen")]
    Port(String),
    /// There are no pages where they should be.
    #[error("--static is {}, which is no folder", .0.display())]
    NoPages(PathBuf),
    /// A model has two files.
    #[error("--model {0} is given twice")]
    ModelTwice(String),
    /// A file can't be what it is said to be.
    #[error("--model {name}={}: {reason}", path.display())]
    Model {
        /// The model.
        name: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model is asked for that there isn't.
    #[error("{flag} is {name}, but {reason}")]
    Asked {
        /// Which asks for it.
        flag: &'static str,
        /// The model.
        name: String,
        /// Why there is none.
        reason: String,
    },
    /// What is shared is nowhere.
    #[error("{flag}: {reason}")]
    Shared {
        /// Which says where it is.
        flag: &'static str,
        /// What is wrong with that.
        reason: String,
    },
    /// A gateway has nothing to show.
    #[error("--wake-auth is token, but there is no --wake-token")]
    NoWakeToken,
    /// The largest photo has room nowhere.
    #[error(
        "--max-upload-bytes is {photo}, but --upload-memory has room for {memory} and --upload-disk for {disk}; raise one of them"
    )]
    NoRoom {
        /// Bytes of the largest photo.
        photo: u64,
        /// Bytes of uploads in memory.
        memory: u64,
        /// Bytes of uploads on disk.
        disk: u64,
    },
}

impl ConfigError {
    fn asked(flag: &'static str, name: &str, error: ModelError) -> Self {
        Self::Asked { flag, name: name.to_owned(), reason: error.to_string() }
    }
}

impl Config {
    /// Checks what one flag alone can't say, before anything is started.
    ///
    /// # Errors
    /// [`ConfigError`] for a combination that could never serve.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_models()?;
        self.check_front()
    }

    /// The same for what has visitors and no model.
    pub(crate) fn check_front(&self) -> Result<(), ConfigError> {
        self.address()?;
        if let Some(pages) = self.static_dir.as_ref().filter(|pages| !pages.is_dir()) {
            return Err(ConfigError::NoPages(pages.clone()));
        }
        let (photo, memory, disk) = (self.max_upload_bytes, self.upload_memory, self.upload_disk);
        if photo > memory.max(disk) {
            return Err(ConfigError::NoRoom { photo, memory, disk });
        }
        Ok(())
    }

    fn check_models(&self) -> Result<(), ConfigError> {
        let registry = self.registry();
        for (n, file) in self.model.iter().enumerate() {
            if self.model[..n].iter().any(|other| other.name == file.name) {
                return Err(ConfigError::ModelTwice(file.name.clone()));
            }
            let used = self.is_used(&file.name);
            let found = if used { registry.check(&file.name) } else { registry.entry(&file.name) };
            // Where nothing needs it now, nobody is to go without a server for its sake; the log tells of it.
            if let Err(error) = found
                && (used || error.is_of_words())
            {
                let (name, path, reason) = (file.name.clone(), file.path.clone(), error.to_string());
                return Err(ConfigError::Model { name, path, reason });
            }
        }
        let asked = [
            ("--default-model", Some(&self.default_model)),
            ("--preview-model", self.preview_model.as_ref()),
        ];
        for (flag, name) in asked {
            if let Some(name) = name {
                registry.entry(name).map_err(|error| ConfigError::asked(flag, name, error))?;
            }
        }
        Ok(())
    }

    /// Where the weights are.
    pub fn registry(&self) -> Registry {
        let (files, folder) = (self.model.clone(), self.model_dir.clone());
        Registry { files, folder, cpu: self.cpu, device: self.device, seen: self.seen.clone() }
    }

    fn is_used(&self, name: &str) -> bool {
        name == self.default_model || name == self.small_name()
    }

    /// Tells of models that nothing asks for, since a process holds two at most, and whether they could be used.
    pub fn tell_unused(&self) {
        let registry = self.registry();
        for file in self.model.iter().filter(|file| !self.is_used(&file.name)) {
            match registry.check(&file.name) {
                Ok(entry) => tracing::warn!(
                    model = entry.name,
                    network = entry.network.name(),
                    side = entry.size,
                    dtype = %entry.means.precision,
                    weights = %entry.source,
                    "this model is not loaded: neither --default-model nor --preview-model asks for it"
                ),
                Err(error) => tracing::error!(
                    model = file.name,
                    weights = %file.path.display(),
                    %error,
                    "this model could not be used; nothing asks for it now"
                ),
            }
        }
    }

    /// The model that makes cutouts.
    ///
    /// # Errors
    /// When there is none of that name, or its weights are nowhere.
    pub fn default_entry(&self) -> Result<Entry, ModelError> {
        self.registry().entry(&self.default_model)
    }

    /// The model for previews; none when it would be the one that makes the cutouts, nor where it would take
    /// the memory that a usual photo needs, unless it is asked for.
    ///
    /// # Errors
    /// When there is none of that name, or its weights are nowhere.
    pub fn preview(&self) -> Result<Option<Entry>, ModelError> {
        self.preview_within(*MEMORY_LIMIT)
    }

    fn preview_within(&self, limit: Option<u64>) -> Result<Option<Entry>, ModelError> {
        if self.small_name() == self.default_model {
            return Ok(None);
        }
        let small = self.small_entry()?;
        let fits = limit.is_none_or(|limit| self.left(limit, Some(&small)) >= USUAL_PHOTO);
        Ok(Some(small).filter(|_| fits || self.preview_model.is_some()))
    }

    /// What of the memory is left for pixels.
    fn left(&self, limit: u64, small: Option<&Entry>) -> u64 {
        let previews = small.map_or(0, |small| small.resident().saturating_sub(PROCESS) + PREVIEW_PIXELS);
        // One whose file has gone since it was checked fails the warm-up, and takes nothing.
        let default = self.default_entry().map_or(PROCESS, |entry| entry.resident());
        self.left_beside(limit, default.saturating_add(previews))
    }

    /// The same beside models that take so much.
    fn left_beside(&self, limit: u64, models: u64) -> u64 {
        let others = [models, self.upload_memory, self.cache_memory];
        limit.saturating_sub(others.into_iter().fold(0, u64::saturating_add))
    }

    /// What the model for previews is called.
    pub fn small_name(&self) -> &str {
        self.preview_model.as_deref().unwrap_or(Network::embedded().name())
    }

    /// The model for previews, whatever makes the cutouts: a gateway's own. What nobody asked for is built in where
    /// its folder hasn't got it.
    ///
    /// # Errors
    /// When there is none of that name, or its weights are nowhere.
    pub fn small_entry(&self) -> Result<Entry, ModelError> {
        let (registry, name) = (self.registry(), self.small_name());
        let built_in = self.preview_model.is_none() && !registry.has_in_folder(name);
        let folder = registry.folder.clone().filter(|_| !built_in);
        // The small model is for when the GPU is busy or not there yet.
        Registry { folder, device: Wanted::Cpu, ..registry }.entry(name)
    }

    /// What [`Self::pixel_limit`] is for a gateway, which has the small model alone.
    pub fn gateway_pixel_limit(&self) -> Option<u64> {
        let small = self.small_entry().map_or(PROCESS, |small| small.resident());
        MEMORY_LIMIT.map(|limit| self.left_beside(limit, small.saturating_add(PREVIEW_PIXELS)))
    }

    /// What it is for a worker, which has no small one.
    pub fn worker_pixel_limit(&self) -> Option<u64> {
        MEMORY_LIMIT.map(|limit| self.left(limit, None))
    }

    /// Where to listen: `--listen`, else every address at `PORT`, as serverless platforms set it, else
    /// this machine only.
    ///
    /// # Errors
    /// [`ConfigError::Port`] when `PORT` counts and is no port.
    pub fn address(&self) -> Result<SocketAddr, ConfigError> {
        match (self.listen, environment("PORT")) {
            (Some(address), _) => Ok(address),
            (None, Some(port)) => match port.parse() {
                Ok(port) => Ok((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into()),
                Err(_) => Err(ConfigError::Port(port)),
            },
            (None, None) => Ok((IpAddr::V4(Ipv4Addr::LOCALHOST), 8080).into()),
        }
    }

    /// Bytes of pixels that one photo may take, if this process's memory has a limit: what is left beside
    /// the model, the uploads and the cutouts. One photo too large would end the process and every
    /// session with it.
    pub fn pixel_limit(&self) -> Option<u64> {
        MEMORY_LIMIT.map(|limit| self.left(limit, self.preview().ok().flatten().as_ref()))
    }

    /// Bytes of pixels for previews at once: beside those of the cutouts, so that neither waits for the other.
    pub fn preview_pixels(&self) -> Pixels {
        Pixels::new(PREVIEW_PIXELS, MEMORY_LIMIT.map(|_| PREVIEW_PIXELS))
    }

    /// Names this deploy.
    pub fn deploy(&self) -> String {
        let platform = || ["K_REVISION", "RENDER_GIT_COMMIT"].into_iter().find_map(environment);
        self.deploy_id.clone().or_else(platform).unwrap_or_else(|| "none".to_owned())
    }
}

/// A variable of the environment; an empty one is unset.
fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration > LONGEST {
        return Err("it is longer than ten years".to_owned());
    }
    Ok(duration)
}

/// A time within which something has to happen.
fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing happens within no time; it must be longer than 0".to_owned()),
        some => Ok(some),
    }
}

/// So many bytes, or this part of the memory that the process may have if that is less.
fn of_memory(usual: u64, part: u64) -> u64 {
    MEMORY_LIMIT.map_or(usual, |limit| usual.min(limit / part))
}

fn count(text: &str) -> Result<usize, String> {
    at_most(text, MOST)
}

pub(crate) fn threads(text: &str) -> Result<usize, String> {
    at_most(text, MOST_THREADS)
}

fn at_most(text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("it must be a whole number from 1 to {most}"))
}

fn origin(text: &str) -> Result<String, String> {
    let wrong = || "it must be an origin, as in https://cut.example".to_owned();
    crate::http::normal_origin(text).ok_or_else(wrong)
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
    use crate::model::Stop;

    #[test]
    fn an_empty_command_line_is_a_whole_configuration() {
        let config = Config::default();
        assert_eq!(
            (config.queue, config.warm, config.session_ttl),
            (256, Warm::Start, Duration::from_secs(1800))
        );
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.default_model, "u2netp");
        assert!(config.preview().is_ok_and(|small| small.is_none()));
    }

    fn large() -> Config {
        Config { default_model: "u2net".to_owned(), model_dir: Some("/nowhere".into()), ..Config::default() }
    }

    fn small_of(config: &Config, limit: u64) -> Option<String> {
        let small = config.preview_within(Some(limit)).expect("it has weights");
        small.map(|small| small.name)
    }

    #[test]
    fn a_model_that_is_asked_for_has_weights() {
        let config = Config { model_dir: None, ..large() };
        assert_eq!(small_of(&config, u64::MAX).as_deref(), Some("u2netp"));
        let said = config.check().expect_err("no file").to_string();
        assert!(
            said.starts_with("--default-model is u2net") && said.contains("--model u2net=PATH"),
            "{said}"
        );
        assert_eq!(large().check(), Ok(()));
        let said = Config { preview_model: Some("u2net".to_owned()), ..Config::default() }.check();
        let said = said.expect_err("no file").to_string();
        assert!(said.starts_with("--preview-model is u2net"), "{said}");
        let said = Config { default_model: "best".to_owned(), ..Config::default() }.check();
        assert!(said.expect_err("no such model").to_string().contains("there are u2netp, u2net, isnet"));
    }

    #[test]
    fn a_second_model_takes_no_photos_place_unless_it_is_asked_for() {
        let config = Config { upload_memory: 64_000_000, cache_memory: 32_000_000, ..large() };
        let left = |limit| config.left(limit, config.preview_within(Some(limit)).expect("weights").as_ref());
        assert_eq!(small_of(&config, 2 << 30).as_deref(), Some("u2netp"));
        assert_eq!(left(2 << 30), (2 << 30) - 700_000_000 - 96_000_000 - 110_000_000 - PREVIEW_PIXELS);
        assert_eq!(small_of(&config, 1 << 30), None);
        assert_eq!(left(1 << 30), (1 << 30) - 796_000_000);
        let asked = Config { preview_model: Some("u2netp".to_owned()), ..config };
        assert_eq!(small_of(&asked, 1 << 30).as_deref(), Some("u2netp"));
    }

    #[test]
    fn a_folder_without_the_small_model_leaves_the_one_that_is_built_in() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config { model_dir: Some(folder.path().into()), ..large() };
        let loads = |config: &Config| {
            let loader = config.small_entry().expect("it has weights").loader();
            loader.load(&mut |_| {}, &Stop::default()).is_ok()
        };
        assert!(loads(&config));
        let asked = Config { preview_model: Some("u2netp".to_owned()), ..config.clone() };
        assert!(!loads(&asked), "it was asked for");
        std::fs::write(folder.path().join("u2netp.safetensors"), "another").expect("written");
        assert!(!loads(&config), "the folder's comes first");
    }

    #[test]
    fn a_photo_must_fit_into_memory_or_onto_disk() {
        let config = |memory, disk| Config { upload_memory: memory, upload_disk: disk, ..Config::default() };
        assert_eq!(config(25_000_000, 0).check(), Ok(()));
        assert_eq!(config(0, 25_000_000).check(), Ok(()));
        let error = config(24_000_000, 0).check().expect_err("it fits nowhere").to_string();
        assert!(error.contains("25000000") && error.contains("24000000"), "{error}");
    }
}
