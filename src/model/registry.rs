//! The models of this process: which network, under which name, with which weights.
//!
//! A known network's name promises its published weights, and a warm-up proves that they are. Any other name promises
//! no more than a network that works; which one it is, its file says.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::choice::ModelFile;
use super::device::{Cpu, Means, Wanted};
use super::network::{NETWORKS, Network};
use super::{Loader, ModelError, Precision, Source, WeightsFile};

/// A model that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub network: &'static Network,
    /// The side of the square that it sees, in pixels.
    pub size: usize,
    /// Where its weights are.
    pub source: Source,
    /// What it is computed with.
    pub means: Means,
}

impl Entry {
    /// Loads it.
    pub fn loader(&self) -> Arc<dyn Loader> {
        self.network.architecture.loader(self.name.clone(), self.size, self.source.clone(), self.means)
    }

    /// What it must say of the known photo, a grey PNG; none where nobody knows.
    pub fn answer(&self) -> Option<&'static [u8]> {
        let as_published = self.name == self.network.name() && self.size == self.network.architecture.size();
        self.network.published.as_ref().filter(|_| as_published).map(|published| published.answer)
    }

    /// Bytes that a process holds when it is ready and does nothing.
    pub fn resident(&self) -> u64 {
        let Network { resident, maps, .. } = self.network;
        let pixels = |side: usize| (side * side) as u64;
        resident - maps + maps * pixels(self.size) / pixels(self.network.architecture.size())
    }
}

/// Where this process's weights are.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// By name; these come first.
    pub files: Vec<ModelFile>,
    /// `NAME.safetensors`, `NAME.pth` or `NAME.onnx` of all others, instead of the built-in weights.
    pub folder: Option<PathBuf>,
    /// How the CPU computes them.
    pub cpu: Cpu,
    /// What they should run on.
    pub device: Wanted,
    /// What was found in files.
    pub seen: Seen,
}

/// Which network the file of a name of its own holds, once it was looked into: who asks for the same entry again opens
/// no file, which would be tens of thousands of steps of a pickle each time. Each load opens its file anew.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<HashMap<PathBuf, &'static Network>>>);

impl Seen {
    fn network(&self, source: &Source) -> Result<&'static Network, ModelError> {
        let Source::File(path) = source else { return Network::of(&WeightsFile::open(source)?) };
        if let Some(network) = self.0.lock().get(path) {
            return Ok(network);
        }
        let network = Network::of(&WeightsFile::open(source)?)?;
        self.0.lock().insert(path.clone(), network);
        Ok(network)
    }
}

impl Registry {
    /// The model of this name. Only of a name that is no known network's the file is looked into; of the
    /// others it is enough that there should be one.
    ///
    /// # Errors
    /// When there is no such model, nobody has said where its weights are, or they can't be had as asked for.
    pub fn entry(&self, name: &str) -> Result<Entry, ModelError> {
        let file = self.files.iter().find(|file| file.name == name);
        let known = Network::named(name);
        let embedded = known.and_then(|network| network.embedded).filter(|_| self.folder.is_none());
        let source = match (file, &self.folder, embedded) {
            (Some(file), ..) => Source::File(file.path.clone()),
            (None, Some(folder), _) => Source::File(within(folder, name)),
            (None, None, Some(bytes)) => Source::Embedded(bytes),
            (None, None, None) if known.is_some() => {
                return Err(ModelError::NoWeights { name: name.to_owned() });
            }
            (None, None, None) => {
                let known: Vec<_> = NETWORKS.iter().map(Network::name).collect();
                return Err(ModelError::Unknown { name: name.to_owned(), known: known.join(", ") });
            }
        };
        let network = match known {
            Some(network) => network,
            None => self.seen.network(&source)?,
        };
        let precision = file.and_then(|file| file.precision).unwrap_or_default();
        if precision != Precision::F32 && !self.device.may_be_gpu() {
            return Err(ModelError::Precision { name: name.to_owned(), precision });
        }
        let means = Means { wanted: self.device, cpu: self.cpu, precision };
        let size = file.and_then(|file| file.size).unwrap_or(network.architecture.size());
        Ok(Entry { name: name.to_owned(), network, size, source, means })
    }

    /// The same with a file that is one of its network, by what tells where the tensors are.
    ///
    /// # Errors
    /// What [`Self::entry`] says, or what is wrong with the file.
    pub fn check(&self, name: &str) -> Result<Entry, ModelError> {
        let entry = self.entry(name)?;
        // Of a name of its own, an entry is what its file holds.
        if let Some(network) = Network::named(name) {
            let fits = network.architecture.fits(&WeightsFile::open(&entry.source)?);
            fits.map_err(|error| Network::explain(network.name(), &entry.source, error))?;
        }
        Ok(entry)
    }

    /// Whether a folder has weights of that name.
    pub fn has_in_folder(&self, name: &str) -> bool {
        self.folder.as_ref().is_some_and(|folder| within(folder, name).exists())
    }
}

/// A model's file in a folder; where there is none, the one that there should be.
fn within(folder: &Path, name: &str) -> PathBuf {
    let files = ["safetensors", "pth", "onnx"].map(|kind| folder.join(format!("{name}.{kind}")));
    let there = files.iter().find(|file| file.exists());
    there.unwrap_or(&files[0]).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stop;

    fn describe(registry: &Registry, name: &str) -> Option<String> {
        registry.entry(name).ok().map(|entry| match entry.source {
            Source::Embedded(_) => "embedded".to_owned(),
            Source::File(path) => path.display().to_string(),
        })
    }

    #[test]
    fn a_file_comes_before_the_folder_and_the_folder_before_what_is_built_in() {
        let mut registry = Registry::default();
        assert_eq!(describe(&registry, "u2netp").as_deref(), Some("embedded"));
        assert_eq!(describe(&registry, "u2net"), None);
        registry.folder = Some("/models".into());
        assert_eq!(describe(&registry, "u2netp").as_deref(), Some("/models/u2netp.safetensors"));
        assert_eq!(describe(&registry, "u2net").as_deref(), Some("/models/u2net.safetensors"));
        registry.files = vec!["u2net=/else/where=1".parse().expect("name and path")];
        assert_eq!(describe(&registry, "u2net").as_deref(), Some("/else/where=1"));
    }

    #[test]
    fn a_folder_may_hold_other_formats() {
        let folder = tempfile::tempdir().expect("a folder");
        let registry = Registry { folder: Some(folder.path().into()), ..Registry::default() };
        assert!(!registry.has_in_folder("u2net"));
        std::fs::write(folder.path().join("u2net.onnx"), "").expect("written");
        assert!(registry.has_in_folder("u2net"));
        assert!(describe(&registry, "u2net").is_some_and(|path| path.ends_with("u2net.onnx")));
    }

    #[test]
    fn a_file_of_another_network_is_told_by_the_networks_names() {
        let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/models/u2netp.safetensors");
        let files = ["isnet", "inspyrenet"].map(|name| format!("{name}={weights}").parse().expect("right"));
        let registry = Registry { files: files.to_vec(), device: Wanted::Cpu, ..Registry::default() };
        for name in ["isnet", "inspyrenet"] {
            let says = format!("u2netp.safetensors holds the weights of u2netp and was taken for {name}'s");
            let at_start = registry.check(name).expect_err("another network").to_string();
            assert!(at_start.starts_with(&says), "{at_start}");
            let loader = registry.entry(name).expect("a file").loader();
            let at_load =
                loader.load(&mut |_| (), &Stop::default()).err().expect("another network").to_string();
            assert!(at_load.starts_with(&says), "{at_load}");
        }
    }

    #[test]
    fn a_name_of_its_own_is_whatever_network_its_file_holds() {
        let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/models/u2netp.safetensors");
        let file = |more: &str| format!("best={weights}{more}").parse::<ModelFile>().expect("right");
        let registry = |more| Registry { files: vec![file(more)], ..Registry::default() };
        let entry = registry("@256").entry("best").expect("U²-NetP");
        assert_eq!((entry.network.name(), entry.size, entry.answer()), ("u2netp", 256, None));
        assert!(entry.resident() < Network::embedded().resident);
        let published = Registry::default().entry("u2netp").expect("built in");
        assert!(published.answer().is_some() && published.resident() == Network::embedded().resident);
        let on_cpu = Registry { device: Wanted::Cpu, ..registry(":bf16") };
        let error = on_cpu.entry("best").expect_err("no such arithmetic").to_string();
        assert!(error.contains("the CPU computes in f32"), "{error}");
        let error = registry("").entry("worst").expect_err("no such model").to_string();
        assert!(error.contains("there are u2netp, u2net, isnet"), "{error}");
    }
}
