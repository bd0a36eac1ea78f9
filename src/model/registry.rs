//! The networks by their names, and where the weights of each are.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::device::{Cpu, Wanted};
use super::u2net::{Config, U2NET, U2NETP};
use super::{ModelError, Source, U2NetLoader, WeightsFile};

/// A network that this program knows.
pub struct Network {
    /// How it is built.
    pub config: Config,
    /// What it says of the known photo, a grey PNG; see `models/known/make.py`.
    pub answer: &'static [u8],
    /// SHA-256 of the weights whose origin `models/README.md` tells.
    pub sha256: &'static str,
    /// Bytes that a process holds when it is ready and does nothing, of which this network and its maps are
    /// most.
    pub resident: u64,
    /// The weights that are compiled in.
    embedded: Option<&'static [u8]>,
}

/// All of them.
pub static NETWORKS: [Network; 2] = [
    Network {
        config: U2NETP,
        answer: include_bytes!("../../models/known/u2netp.png"),
        sha256: "c89a1265af8aee72733dc26cff3104ef8ccf8e7d69c0d74324a2c6648c4adbd6",
        resident: 140_000_000,
        embedded: Some(include_bytes!("../../models/u2netp.safetensors")),
    },
    Network {
        config: U2NET,
        answer: include_bytes!("../../models/known/u2net.png"),
        sha256: "36923692771e63f5608f89bbccb95f50002ce4b5ca5454f6f8af39d45ba715d4",
        resident: 700_000_000,
        embedded: None,
    },
];

impl Network {
    /// The one that needs no file.
    pub fn embedded() -> &'static Self {
        &NETWORKS[0]
    }

    /// The one of this name.
    ///
    /// # Errors
    /// What there is instead, for people.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        NETWORKS.iter().find(|network| network.name() == name).ok_or_else(|| {
            let names: Vec<_> = NETWORKS.iter().map(Self::name).collect();
            format!("there is no model {name:?}; there are {}", names.join(", "))
        })
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.config.name
    }

    /// The weights that need no file.
    #[cfg(test)]
    pub(super) fn source(&self) -> Option<Source> {
        self.embedded.map(Source::Embedded)
    }

    /// Whether it needs no file.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Network {}

/// A network and the file of its weights: `NAME=PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Which.
    pub network: &'static Network,
    /// A safetensors file.
    pub path: PathBuf,
}

impl FromStr for ModelFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text
            .split_once('=')
            .filter(|(_, path)| !path.is_empty())
            .ok_or_else(|| "it must be NAME=PATH, as in u2net=/models/u2net.safetensors".to_owned())?;
        Ok(Self { network: Network::named(name)?, path: path.into() })
    }
}

impl ModelFile {
    /// Whether it is a file of that network, by its header.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), ModelError> {
        self.network.config.fits(&WeightsFile::open(&Source::File(self.path.clone()))?)
    }
}

/// A network, with a file of its weights or without: `NAME` or `NAME=PATH`.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Which.
    pub network: &'static Network,
    path: Option<PathBuf>,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('=') {
            let ModelFile { network, path } = text.parse()?;
            return Ok(Self { network, path: Some(path) });
        }
        Ok(Self { network: Network::named(text)?, path: None })
    }
}

impl Choice {
    /// With a file.
    pub fn file(&self) -> Option<ModelFile> {
        self.path.clone().map(|path| ModelFile { network: self.network, path })
    }
}

/// Where this process's weights are.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// By name; these come first.
    pub files: Vec<ModelFile>,
    /// `NAME.safetensors` of all others, instead of the built-in weights.
    pub folder: Option<PathBuf>,
    /// How the CPU computes them.
    pub cpu: Cpu,
    /// What they should run on.
    pub device: Wanted,
}

impl Registry {
    /// Where a network's weights are; none when nobody has said.
    pub fn source(&self, network: &Network) -> Option<Source> {
        if let Some(file) = self.files.iter().find(|file| file.network == network) {
            return Some(Source::File(file.path.clone()));
        }
        match &self.folder {
            Some(folder) => Some(Source::File(folder.join(format!("{}.safetensors", network.name())))),
            None => network.embedded.map(Source::Embedded),
        }
    }

    /// Loads a network from there.
    ///
    /// # Errors
    /// When nobody has said where its weights are.
    pub fn loader(&self, network: &Network) -> Result<U2NetLoader, ModelError> {
        let source = self.source(network).ok_or(ModelError::NoWeights { name: network.name() })?;
        Ok(U2NetLoader::new(network.config, source, self.cpu).on(self.device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(registry: &Registry, name: &str) -> Option<String> {
        registry.source(Network::named(name).expect("known")).map(|source| match source {
            Source::Embedded(_) => "embedded".to_owned(),
            Source::File(path) => path.display().to_string(),
        })
    }

    #[test]
    fn a_file_comes_before_the_folder_and_the_folder_before_what_is_built_in() {
        let mut registry = Registry::default();
        assert_eq!(describe(&registry, "u2netp").as_deref(), Some("embedded"));
        assert_eq!(describe(&registry, "u2net"), None);
        assert!(registry.loader(&NETWORKS[1]).is_err());
        registry.folder = Some("/models".into());
        assert_eq!(describe(&registry, "u2netp").as_deref(), Some("/models/u2netp.safetensors"));
        assert_eq!(describe(&registry, "u2net").as_deref(), Some("/models/u2net.safetensors"));
        registry.files = vec!["u2net=/else/where=1".parse().expect("name and path")];
        assert_eq!(describe(&registry, "u2net").as_deref(), Some("/else/where=1"));
    }

    #[test]
    fn a_file_needs_a_known_name_and_a_path() {
        for (text, says) in
            [("u2net", "NAME=PATH"), ("u2net=", "NAME=PATH"), ("u3=/a", "there are u2netp, u2net")]
        {
            let error = text.parse::<ModelFile>().expect_err("wrong");
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_network_has_its_parameters() {
        let parameters = NETWORKS.each_ref().map(|network| network.config.parameters());
        assert_eq!(parameters, [1_125_485, 43_981_069]);
    }
}
