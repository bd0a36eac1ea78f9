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
use crate::model::{
    ModelError, ModelFile, Network, Precision, Registry, Source, Stop, WeightsFile, WeightsPath,
};

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum ModelCommand {
    /// Print the models that this program knows
    List,
    /// Say what a weights file holds and whether it fits a model; exit 1 when it fits none
    Check {
        /// A safetensors, PyTorch or ONNX file. @SIZE is the side that is checked, else each model's own: one file
        /// may fit several that differ by their side alone. :DTYPE is what a GPU computes with
        #[arg(value_name = "FILE[@SIZE][:DTYPE]")]
        file: WeightsPath,
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
        /// The safetensors file to write; what stands there is replaced once the new one is whole, so - is none
        #[arg(value_name = "OUT", value_parser = file_to_write)]
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

/// A file that comes to be by being renamed.
fn file_to_write(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => Err("it must be a file, and standard output is none; a file of that name is ./-".to_owned()),
        path => Ok(path.into()),
    }
}

fn check(asked: &WeightsPath, device: Wanted, say: &mut dyn FnMut(&str)) -> anyhow::Result<bool> {
    let path = &asked.path;
    let file = WeightsFile::open(&Source::File(path.clone()))?;
    let (tensors, types) = file.holds();
    let format = file.format();
    say(&format!("{format}: {tensors} tensors of {}, {} bytes", types.join(", "), file.tensor_bytes()));
    let sum = sha256(path).with_context(|| format!("{} can't be read", path.display()))?;
    say(&format!("SHA-256 {sum}"));
    let (mut works, mut fitting) = (false, Vec::new());
    for network in &NETWORKS {
        match network.architecture.fits(&file) {
            Ok(()) => fitting.push(network),
            Err(error) => say(&format!("{}: no; {error}", network.name())),
        }
    }
    let of_side = |network: &&Network| Some(network.architecture.size()) == asked.size;
    let checked = match fitting.iter().copied().find(of_side).or(fitting.first().copied()) {
        Some(network) if asked.size.is_some() => vec![network],
        _ => fitting.clone(),
    };
    for network in checked {
        let published = network.published.as_ref().is_some_and(|known| known.sums.contains(&sum.as_str()));
        let (line, ready) = answers(network, asked, device, published);
        say(&format!("{}: {line}", network.name()));
        works |= ready;
    }
    match &fitting[..] {
        [] => say("it fits no model that is known here"),
        [_] => {}
        [first, others @ ..] => say(&same_tensors(first, others, path)),
    }
    Ok(works)
}

/// What chooses between networks that only their side tells apart.
fn same_tensors(first: &Network, others: &[&Network], path: &Path) -> String {
    let names: Vec<_> = [first].iter().chain(others).map(|network| network.name()).collect();
    let side = first.architecture.size();
    let sides: Vec<_> = others.iter().map(|network| format!("@{}", network.architecture.size())).collect();
    format!(
        "{} hold the same tensors and differ by the side that they see: a name of its own sees {side}x{side}, or what @SIZE says, as in --model mine={}{}",
        names.join(" and "),
        path.display(),
        sides.first().map_or("", String::as_str)
    )
}

/// What a warm-up would find, and whether it would be ready.
fn answers(
    network: &'static Network,
    asked: &WeightsPath,
    device: Wanted,
    published: bool,
) -> (String, bool) {
    let (name, path) = (network.name(), &asked.path);
    match proved(name, asked, device) {
        Ok(proved) if published => (format!("yes, a published file; {proved}"), true),
        Ok(proved) => (format!("yes; {proved}"), true),
        // It may be one that was trained anew.
        Err(error) if matches!(error.downcast_ref(), Some(ModelError::WrongAnswer { .. })) => {
            match proved("another", asked, device) {
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
fn proved(name: &str, asked: &WeightsPath, device: Wanted) -> anyhow::Result<String> {
    let WeightsPath { path, size, precision } = asked.clone();
    let file = ModelFile { name: name.to_owned(), path, size, precision };
    let entry = Registry { files: vec![file], device, ..Registry::default() }.entry(name)?;
    let (known, stop) = (known_to(&entry)?, Stop::default());
    let loader = entry.loader();
    let (_, map) = loader.load(&mut |_| (), &stop)?.prime(&known.rgb, &mut |_| (), &stop)?;
    let proved = known.validate(&map, entry.size)?;
    Ok(format!("at {0}x{0} on {1}, {proved}", entry.size, loader.device()))
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
    // Made by hand: where it can't be, the crate's own errors tell of its name, which tells nobody anything.
    let part = tempfile::Builder::new().make_in(folder, new_file).with_context(cannot)?;
    let mut writer = BufWriter::new(part.as_file());
    network.architecture.convert(&file, precision, &mut writer).with_context(cannot)?;
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

/// Under a name that nobody has: one of another process, or of an earlier one, is not written into. Weights are read by
/// whoever serves them, so it isn't its owner's alone.
fn new_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create_new(true).mode(0o644).open(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_the_same_tensors_are_told_apart_by_the_side_to_ask_for() {
        let swin = ["inspyrenet", "inspyrenet-fast"].map(|name| Network::named(name).expect("known"));
        let said = same_tensors(swin[0], &swin[1..], Path::new("/m/f.pth"));
        assert!(said.starts_with("inspyrenet and inspyrenet-fast hold the same tensors"), "{said}");
        assert!(said.contains("a name of its own sees 1024x1024"), "{said}");
        assert!(said.ends_with("as in --model mine=/m/f.pth@384"), "{said}");
    }
}
