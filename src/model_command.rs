//! `warmcut model`: the networks that this program knows, and what a weights file is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use sha2::{Digest, Sha256};

use crate::app::known_to;
use crate::model::device::Wanted;
use crate::model::registry::NETWORKS;
use crate::model::{Loader, ModelFile, Network, Registry, Source, Stop, WeightsFile};

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum ModelCommand {
    /// Print the models that this program knows
    List,
    /// Say what a weights file holds and whether it fits a model; exit 1 when it fits none
    Check {
        /// A safetensors file
        file: PathBuf,
        /// What a model that it fits is run on: cpu, cuda:N, or auto, the first GPU that works, else the CPU
        #[arg(long, default_value = "auto")]
        device: Wanted,
    },
}

/// Prints what is asked for; false is a file that can't be used, which has been told.
///
/// # Errors
/// When the file can't be read.
pub fn run(command: &ModelCommand, mut say: impl FnMut(&str)) -> anyhow::Result<bool> {
    match command {
        ModelCommand::List => {
            NETWORKS.iter().for_each(|network| say(&described(network)));
            Ok(true)
        }
        ModelCommand::Check { file, device } => check(file, *device, &mut say),
    }
}

fn described(network: &Network) -> String {
    let name = network.name();
    let weights = if network.is_embedded() {
        "built in".to_owned()
    } else {
        format!("--model {name}=PATH; models/fetch makes the file")
    };
    let (millions, side) = (network.config.parameters() as f64 / 1e6, network.config.size);
    format!("{name}: {millions:.1} million parameters, sees {side}x{side} pixels, {weights}")
}

fn check(path: &Path, device: Wanted, say: &mut dyn FnMut(&str)) -> anyhow::Result<bool> {
    let file = WeightsFile::open(&Source::File(path.to_owned()))?;
    let (tensors, types) = file.holds();
    say(&format!("{tensors} tensors of {}, {} bytes", types.join(", "), file.tensor_bytes()));
    let sum = sha256(path).with_context(|| format!("{} can't be read", path.display()))?;
    say(&format!("SHA-256 {sum}"));
    let mut fits = false;
    for network in &NETWORKS {
        let name = network.name();
        match network.config.fits(&file) {
            Err(error) => say(&format!("{name}: no; {error}")),
            Ok(()) => {
                let answers = answers(network, path, device);
                let published = if network.sha256 == sum { "the published weights" } else { "other weights" };
                match &answers {
                    Ok(device) => say(&format!(
                        "{name}: yes, {published}; the known photo gave the known answer on {device}"
                    )),
                    Err(error) => say(&format!("{name}: its tensors fit, but {error:#}")),
                }
                fits |= answers.is_ok();
            }
        }
    }
    Ok(fits)
}

/// What a warm-up would find, and on which device.
fn answers(network: &'static Network, path: &Path, device: Wanted) -> anyhow::Result<String> {
    let file = ModelFile { network, path: path.to_owned() };
    let registry = Registry { files: vec![file], device, ..Registry::default() };
    let (known, stop) = (known_to(network)?, Stop::default());
    let loader = registry.loader(network)?;
    let (_, map) = loader.load(&mut |_| (), &stop)?.prime(&known.rgb, &mut |_| (), &stop)?;
    known.validate(&map, network.config.size)?;
    Ok(loader.device())
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash, mut part) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(data_encoding::HEXLOWER.encode(&hash.finalize())),
            len => hash.update(&part[..len]),
        }
    }
}
