//! `warmcut cutout IN OUT`: one photo without a server.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, value_parser};

use crate::config;
use crate::cutout::image::{self, Mask, Seen};
use crate::model::device::{Cpu, Wanted};
use crate::model::{self, Choice, ModelError, Progress, Registry, Source, Stop};
use crate::protocol::options::Options;
use crate::warmup::in_range;

/// `warmcut cutout`.
#[derive(Clone, Debug, Args)]
pub struct CutoutArgs {
    /// The photo: JPEG, PNG or WebP; - is standard input
    pub input: PathBuf,
    /// The cutout; - is standard output
    pub output: PathBuf,
    /// The model: NAME, or NAME=PATH[@SIZE][:DTYPE] with a safetensors, PyTorch or ONNX file of its weights
    #[arg(long, default_value = "u2netp")]
    pub model: Choice,
    /// png, webp, jpg or auto [default: by the output's name, else png]
    #[arg(long)]
    pub format: Option<String>,
    /// rgba, or alpha for the mask alone
    #[arg(long)]
    pub channels: Option<String>,
    /// Colour behind the subject, RRGGBB
    #[arg(long)]
    pub bg_color: Option<String>,
    /// 1 to 100, for jpg and webp
    #[arg(long)]
    pub quality: Option<String>,
    /// off, guided (where the photo has them), or decontaminate, the same without the background's colour [default:
    /// decontaminate]
    #[arg(long)]
    pub edges: Option<String>,
    /// Cut to the subject's box
    #[arg(long)]
    pub crop: bool,
    /// Folder with NAME.safetensors, NAME.pth or NAME.onnx of the model, instead of the built-in weights
    #[arg(long)]
    pub model_dir: Option<PathBuf>,
    /// Threads of the network [default: one per core]
    #[arg(long, value_parser = config::threads)]
    pub threads: Option<usize>,
    /// What the network uses of the processor: auto, avx512, avx2, portable, or candle (its own
    /// operations, to compare)
    #[arg(long, default_value = "auto")]
    pub cpu: Cpu,
    /// What the network runs on: cpu, cuda:N, or auto, which takes the first GPU that works, else the CPU
    #[arg(long, default_value = "auto")]
    pub device: Wanted,
    /// Largest photo in pixels
    #[arg(long, value_parser = value_parser!(u64).range(1..), default_value_t = 50_000_000)]
    pub max_pixels: u64,

    /// What was found in the model's file, which is looked into once.
    #[arg(skip)]
    pub seen: model::Seen,
}

/// What a caller asked for that can't be done; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongArguments(String);

impl CutoutArgs {
    /// Checks the words before any work is done.
    pub fn options(&self) -> Result<Options, WrongArguments> {
        let extension = self.output.extension().and_then(|extension| extension.to_str());
        let extension = extension.map(str::to_ascii_lowercase);
        let format = match (self.format.as_deref(), extension.as_deref()) {
            (Some(format), _) => Some(format),
            (None, Some("jpg" | "jpeg")) => Some("jpg"),
            // A name of another format would be a lie; the option's own check says so.
            (None, by_name) => by_name,
        };
        let given = [
            ("format", format),
            ("channels", self.channels.as_deref()),
            ("bg_color", self.bg_color.as_deref()),
            ("quality", self.quality.as_deref()),
            ("edges", self.edges.as_deref()),
            ("crop", self.crop.then_some("true")),
        ];
        let pairs = given.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let options = Options::from_pairs(pairs).map_err(|error| WrongArguments(error.to_string()))?;
        // What the words alone tell; a file that is none is work that fails.
        if let Some(error) = self.registry().entry(&self.model.name).err().filter(ModelError::is_of_words) {
            return Err(WrongArguments(error.to_string()));
        }
        Ok(options)
    }

    fn registry(&self) -> Registry {
        let registry = self.model.registry(self.model_dir.as_ref(), self.cpu, self.device);
        Registry { seen: self.seen.clone(), ..registry }
    }
}

/// Reads, cuts out, writes. Blocks.
pub fn run(args: &CutoutArgs, options: &Options) -> anyhow::Result<()> {
    use anyhow::Context;
    let bytes = read(&args.input).with_context(|| format!("{} can't be read", args.input.display()))?;
    let entry = args.registry().entry(&args.model.name)?;
    let stop = Stop::default();
    // Only the folder or the whole path says which file it is.
    let weights = || match &entry.source {
        Source::File(path) => format!("the model {}", path.display()),
        Source::Embedded(_) => "the built-in model".to_owned(),
    };
    let loaded = entry.loader().load(&mut |_| (), &stop).with_context(weights)?;
    let size = loaded.size();
    let limits = image::Limits { max_pixels: args.max_pixels };
    let Seen { photo, input } = image::see(&bytes, &limits, options, size)?;
    if photo.animated {
        eprintln!("the photo is animated; this is its first frame");
    }
    let mut tell = |progress: Progress| {
        // Without a GPU to be had there is nothing to wonder about.
        if let Some(detail) = progress.detail.filter(|_| cfg!(feature = "cuda")) {
            eprintln!("{detail}");
        }
    };
    let (_, map) = loaded.prime(&input, &mut tell, &stop)?;
    // A server's warm-up would have found out with the known photo, which takes as long again.
    in_range(&map).with_context(weights)?;
    let mask = Mask::of(&map, (&input, size), (photo.width, photo.height), options.edges_to_make())?;
    let encoded = image::encode(image::compose(photo, mask, options)?, options)?;
    write(&args.output, &encoded.bytes).with_context(|| format!("{} can't be written", args.output.display()))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if path != Path::new("-") {
        return std::fs::write(path, bytes);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
