//! The networks that this program knows, by their names.

use std::fmt;

use super::inspyrenet::{BASE, FAST, RES2NET50};
use super::u2net::{ISNET, U2NET, U2NETP};
use super::{Architecture, ModelError, Source, WeightsFile};

/// A network that this program knows.
pub struct Network {
    /// How it is built.
    pub architecture: Architecture,
    /// Its published weights, where we know what they say.
    pub published: Option<Published>,
    /// Bytes that a process holds when it is ready and does nothing, of which this network and its maps are
    /// most.
    pub resident: u64,
    /// Those of them that grow with the pixels that it sees: its maps.
    pub(super) maps: u64,
    /// The weights that are compiled in.
    pub(super) embedded: Option<&'static [u8]>,
}

/// What is known of published weights.
pub struct Published {
    /// What the network says of the known photo, a grey PNG; see `models/known/make.py`.
    pub answer: &'static [u8],
    /// SHA-256 of the files whose origin `models/README.md` tells.
    pub sums: &'static [&'static str],
}

/// All of them.
pub static NETWORKS: [Network; 6] = [
    Network {
        architecture: Architecture::U2Net(U2NETP),
        published: Some(Published {
            answer: include_bytes!("../../models/known/u2netp.png"),
            sums: &[
                "c89a1265af8aee72733dc26cff3104ef8ccf8e7d69c0d74324a2c6648c4adbd6",
                "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            ],
        }),
        resident: 140_000_000,
        maps: 60_000_000,
        embedded: Some(include_bytes!("../../models/u2netp.safetensors")),
    },
    Network {
        architecture: Architecture::U2Net(U2NET),
        published: Some(Published {
            answer: include_bytes!("../../models/known/u2net.png"),
            sums: &[
                "36923692771e63f5608f89bbccb95f50002ce4b5ca5454f6f8af39d45ba715d4",
                "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
            ],
        }),
        resident: 700_000_000,
        maps: 100_000_000,
        embedded: None,
    },
    Network {
        architecture: Architecture::U2Net(ISNET),
        published: None,
        resident: 820_000_000,
        maps: 200_000_000,
        embedded: None,
    },
    // The two of Swin hold the same tensors: of a name of its own, a file is taken for the first.
    Network {
        architecture: Architecture::InSPyReNet(BASE),
        published: None,
        resident: 1_250_000_000,
        maps: 850_000_000,
        embedded: None,
    },
    Network {
        architecture: Architecture::InSPyReNet(FAST),
        published: None,
        resident: 600_000_000,
        maps: 200_000_000,
        embedded: None,
    },
    Network {
        architecture: Architecture::InSPyReNet(RES2NET50),
        published: None,
        resident: 500_000_000,
        maps: 300_000_000,
        embedded: None,
    },
];

impl Network {
    /// The one that needs no file.
    pub fn embedded() -> &'static Self {
        &NETWORKS[0]
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        NETWORKS.iter().find(|network| network.name() == name)
    }

    /// The one whose weights a file holds.
    ///
    /// # Errors
    /// What each of them misses.
    pub fn of(file: &WeightsFile) -> Result<&'static Self, ModelError> {
        let mut reasons = Vec::new();
        for network in &NETWORKS {
            match network.architecture.fits(file) {
                Ok(()) => return Ok(network),
                Err(error) => reasons.push(format!("{}: {error}", network.name())),
            }
        }
        Err(ModelError::NoNetwork { origin: file.origin().to_owned(), reasons: reasons.join("; ") })
    }

    /// What is wrong with a source that was taken for this network's: where its tensors are another network's, that
    /// says more than the first one that differs.
    pub(super) fn explain(asked: &'static str, source: &Source, error: ModelError) -> ModelError {
        if !error.is_of_tensors() {
            return error;
        }
        let holds = WeightsFile::open(source).and_then(|file| Self::of(&file));
        match holds.map(Self::name) {
            Ok(holds) if holds != asked => {
                ModelError::OtherNetwork { origin: source.describe(), holds, asked }
            }
            _ => error,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.architecture.name()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_parameters() {
        let parameters = NETWORKS.each_ref().map(|network| network.architecture.parameters());
        assert_eq!(parameters, [1_125_485, 43_981_069, 44_004_737, 90_740_137, 90_740_137, 28_182_653]);
    }
}
