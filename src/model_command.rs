//! `warmcut model`: the networks that this program knows, what a weights file is, and the same as safetensors.

use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use sha2::{Digest, Sha256};

use crate::app::known_to;
use crate::model::device::Wanted;
use crate::model::network::NETWORKS;
use crate::model::{ModelError, ModelFile, Network, Precision, Registry, Source, Stop, WeightsFile};

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum ModelCommand {
    /// Print the models that this program knows
    List,
    /// Say what a weights file holds and whether it fits a model; exit 1 when it fits none
    Check {
        /// A safetensors, PyTorch or ONNX file
        file: PathBuf,
        /// What a model that it fits is run on: cpu, cuda:N, or auto, the first GPU that works, else the CPU
        #[arg(long, default_value = "auto")]
        device: Wanted,
    },
    /// Write the parameters that a model takes out of a weights file as safetensors, batch norms folded in; exit 1
    /// when it fits no model
    Convert {
        /// A safetensors, PyTorch or ONNX file
        #[arg(value_name = "IN")]
        input: PathBuf,
        /// The safetensors file to write; what stands there is replaced once the new one is whole
        #[arg(value_name = "OUT")]
        output: PathBuf,
        /// What its values are kept in: f32, f16 or bf16
        #[arg(long, default_value_t)]
        dtype: Precision,
    },
}

/// Prints what is asked for; false is a file that can't be used, which has been told.
///
/// # Errors
/// When the file can't be read, or the other one can't be written.
pub fn run(command: &ModelCommand, mut say: impl FnMut(&str)) -> anyhow::Result<bool> {
    match command {
        ModelCommand::List => {
            NETWORKS.iter().for_each(|network| say(&described(network)));
            Ok(true)
        }
        ModelCommand::Check { file, device } => check(file, *device, &mut say),
        ModelCommand::Convert { input, output, dtype } => {
            convert(input, output, *dtype, &mut say)?;
            Ok(true)
        }
    }
}

fn described(network: &Network) -> String {
    let (name, architecture) = (network.name(), &network.architecture);
    let weights = match (network.is_embedded(), &network.published) {
        (true, _) => "built in".to_owned(),
        (false, Some(_)) => format!("--model {name}=PATH; models/fetch makes the file"),
        (false, None) => format!("--model {name}=PATH; of its weights no answer is known"),
    };
    let (millions, side) = (architecture.parameters() as f64 / 1e6, architecture.size());
    format!("{name}: {millions:.1} million parameters, sees {side}x{side} pixels, {weights}")
}

fn check(path: &Path, device: Wanted, say: &mut dyn FnMut(&str)) -> anyhow::Result<bool> {
    let file = WeightsFile::open(&Source::File(path.to_owned()))?;
    let (tensors, types) = file.holds();
    let format = file.format();
    say(&format!("{format}: {tensors} tensors of {}, {} bytes", types.join(", "), file.tensor_bytes()));
    let sum = sha256(path).with_context(|| format!("{} can't be read", path.display()))?;
    say(&format!("SHA-256 {sum}"));
    let mut fits = false;
    for network in &NETWORKS {
        let name = network.name();
        if let Err(error) = network.architecture.fits(&file) {
            say(&format!("{name}: no; {error}"));
            continue;
        }
        let published = network.published.as_ref().is_some_and(|known| known.sums.contains(&sum.as_str()));
        let (line, works) = answers(network, path, device, published);
        say(&format!("{name}: {line}"));
        fits |= works;
    }
    Ok(fits)
}

/// What a warm-up would find, and whether it would be ready.
fn answers(network: &'static Network, path: &Path, device: Wanted, published: bool) -> (String, bool) {
    let name = network.name();
    match proved(name, path, device) {
        Ok(proved) if published => (format!("yes, a published file; {proved}"), true),
        Ok(proved) => (format!("yes; {proved}"), true),
        // It may be one that was trained anew.
        Err(error) if matches!(error.downcast_ref(), Some(ModelError::WrongAnswer { .. })) => {
            match proved("another", path, device) {
                Ok(proved) => {
                    let serve =
                        format!("serve it under a name of its own, as in --model mine={}", path.display());
                    (format!("other weights than the published ones; {proved}; {serve}"), true)
                }
                Err(error) => (format!("its tensors fit, but {error:#}"), false),
            }
        }
        Err(error) => (format!("its tensors fit, but {error:#}"), false),
    }
}

/// What a first inference says under a name, and on which device.
fn proved(name: &str, path: &Path, device: Wanted) -> anyhow::Result<String> {
    let file = ModelFile { name: name.to_owned(), path: path.to_owned(), size: None, precision: None };
    let entry = Registry { files: vec![file], device, ..Registry::default() }.entry(name)?;
    let (known, stop) = (known_to(&entry)?, Stop::default());
    let loader = entry.loader();
    let (_, map) = loader.load(&mut |_| (), &stop)?.prime(&known.rgb, &mut |_| (), &stop)?;
    let proved = known.validate(&map, entry.size)?;
    Ok(format!("{proved} on {}", loader.device()))
}

fn convert(
    input: &Path,
    output: &Path,
    precision: Precision,
    say: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let file = WeightsFile::open(&Source::File(input.to_owned()))?;
    let network = Network::of(&file)?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = || format!("{} can't be written", output.display());
    // Nobody sees half a file, and one that is read meanwhile stays what it is.
    let part = tempfile::Builder::new().permissions(shared()).tempfile_in(folder).with_context(cannot)?;
    let mut writer = BufWriter::new(&part);
    network.architecture.convert(&file, precision, &mut writer)?;
    drop(writer);
    part.as_file().sync_all().with_context(cannot)?;
    part.persist(output).map_err(|error| error.error).with_context(cannot)?;
    let sum = sha256(output).with_context(|| format!("{} can't be read", output.display()))?;
    let published = network.published.as_ref().is_some_and(|known| known.sums.contains(&sum.as_str()));
    let which = if published { "the published weights" } else { "weights" };
    say(&format!(
        "{}: {which} of {} in {precision}, from {}",
        output.display(),
        network.name(),
        file.format()
    ));
    say(&format!("SHA-256 {sum}"));
    Ok(())
}

/// A temporary file is its owner's alone; weights are read by whoever serves them.
fn shared() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o644)
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
