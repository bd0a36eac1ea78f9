//! What a shopper did that showed intent.

use serde::Deserialize;

/// A sign of intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the contract's own words; a comment would repeat them")]
pub enum Trigger {
    PageView,
    Hover,
    Focus,
    Touch,
    Viewport,
    Selector,
    Upload,
    Manual,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PageView,
        Self::Hover,
        Self::Focus,
        Self::Touch,
        Self::Viewport,
        Self::Selector,
        Self::Upload,
        Self::Manual,
    ];

    /// As it is spelled on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PageView => "page_view",
            Self::Hover => "hover",
            Self::Focus => "focus",
            Self::Touch => "touch",
            Self::Viewport => "viewport",
            Self::Selector => "selector",
            Self::Upload => "upload",
            Self::Manual => "manual",
        }
    }

    /// The shopper only looks yet.
    pub fn is_passive(self) -> bool {
        !matches!(self, Self::Upload | Self::Manual)
    }

    /// The one that is spelled so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trigger| trigger.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spelling_of_every_trigger_is_the_same_everywhere() {
        for trigger in Trigger::ALL {
            let json = serde_json::Value::from(trigger.as_str());
            assert_eq!(serde_json::from_value::<Trigger>(json).expect("a trigger"), trigger);
            assert_eq!(Trigger::named(trigger.as_str()), Some(trigger));
        }
        assert_eq!(Trigger::named("sneeze"), None);
    }
}
