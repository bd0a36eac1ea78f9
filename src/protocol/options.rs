//! What a caller may ask of a cutout, in one type for query strings, form fields and JSON.
//!
//! The three ways in share one parser, so that they accept the same values and refuse the
//! others with the same words. Unknown names, repeated names and values out of range are errors:
//! a misspelt `bgcolor` that is silently ignored prints a shop's mugs without a background.
//!
//! This file knows names and ranges only; what the options do to pixels is the image room's.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// Quality of lossy formats when none is asked for: no visible artefacts on photos, a third of
/// the bytes of 100.
pub const DEFAULT_QUALITY: u8 = 90;

/// Stands for whichever model makes previews; where no other than the default one does, for that.
pub const PREVIEW_MODEL: &str = "preview";

/// Longest model name accepted.
const MAX_MODEL_NAME: usize = 64;

/// File format of the cutout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Lossless, with transparency.
    #[default]
    Png,
    /// Lossy colour with exact transparency; lossless at quality 100.
    Webp,
    /// Lossy and opaque: on `bg_color`, or white.
    Jpg,
    /// `jpg` when nothing is transparent, else `png`.
    Auto,
}

/// Which channels the cutout holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// The photo with its background transparent.
    #[default]
    Rgba,
    /// The mask alone, grey.
    Alpha,
}

/// How large the cutout is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputSize {
    /// As large as the photo, or its crop.
    #[default]
    Full,
    /// At most 0.25 megapixels.
    Preview,
}

/// How the subject's edge is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Edges {
    /// The model's map, enlarged.
    Off,
    /// Where the photo has them.
    Guided,
    /// The same, and without the old background's colour: a tenth of a job (`docs/edges.md`).
    #[default]
    Decontaminate,
}

impl Edges {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Guided => "guided",
            Self::Decontaminate => "decontaminate",
        }
    }
}

/// Everything a caller may ask of one cutout.
///
/// Deserialising goes through [`Options::from_json`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Options {
    /// File format.
    pub format: OutputFormat,
    /// Photo with transparency, or the mask alone.
    pub channels: Channels,
    /// Colour to put behind the subject, sRGB.
    #[serde(serialize_with = "hex", skip_serializing_if = "Option::is_none")]
    pub bg_color: Option<[u8; 3]>,
    /// Cut the picture to the subject's box.
    pub crop: bool,
    /// Full size or preview.
    pub size: OutputSize,
    /// How the edge is made.
    #[serde(skip_serializing_if = "Edges::is_default")]
    pub edges: Edges,
    /// Model by name; the server's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// 1..=100 for lossy formats; [`DEFAULT_QUALITY`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
}

/// Why options were refused. The messages are safe to show to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No option has this name.
    #[error("unknown option `{name}`: allowed are {}", Options::NAMES.join(", "))]
    Unknown {
        /// What was sent, shortened.
        name: String,
    },
    /// The same option came twice.
    #[error("option `{name}` is given more than once: send it once")]
    Repeated {
        /// The option.
        name: &'static str,
    },
    /// The value is not one of those allowed.
    #[error("option `{name}` is `{value}`: allowed is {allowed}")]
    Value {
        /// The option.
        name: &'static str,
        /// What was sent, shortened.
        value: String,
        /// What would have been right.
        allowed: &'static str,
    },
    /// The JSON was no object.
    #[error("options must be a JSON object, not {found}")]
    NotAnObject {
        /// The JSON type found.
        found: &'static str,
    },
}

impl Options {
    /// Every option's name, so that a caller can tell options from its other fields.
    pub const NAMES: [&'static str; 8] =
        ["format", "channels", "bg_color", "crop", "size", "edges", "model", "quality"];

    /// The edges that show: the mask alone has no colours.
    pub fn edges_to_make(&self) -> Edges {
        match (self.edges, self.channels) {
            (Edges::Decontaminate, Channels::Alpha) => Edges::Guided,
            (edges, _) => edges,
        }
    }

    /// Whether the small model is asked for, by what it is for.
    pub fn by_preview_model(&self) -> bool {
        self.model.as_deref() == Some(PREVIEW_MODEL)
    }

    /// Options from query or form fields; pass only fields that are meant as options.
    ///
    /// # Errors
    /// [`OptionError`] for the first name or value that is not allowed.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, OptionError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut options = Self::default();
        let mut seen = [false; Self::NAMES.len()];
        for (name, value) in pairs {
            let name = name.as_ref();
            let Some(index) = Self::NAMES.iter().position(|known| *known == name) else {
                return Err(OptionError::Unknown { name: shorten(name) });
            };
            if std::mem::replace(&mut seen[index], true) {
                return Err(OptionError::Repeated { name: Self::NAMES[index] });
            }
            options.set(Self::NAMES[index], value.as_ref())?;
        }
        Ok(options)
    }

    /// Options from a JSON object. Booleans and numbers may be themselves or strings; `null` is
    /// the same as leaving the option out.
    ///
    /// # Errors
    /// The same as [`Options::from_pairs`], and [`OptionError::NotAnObject`].
    pub fn from_json(json: &Value) -> Result<Self, OptionError> {
        let found = match json {
            Value::Object(members) => {
                let given = members
                    .iter()
                    .filter(|(name, value)| !value.is_null() || !Self::NAMES.contains(&name.as_str()));
                return Self::from_pairs(given.map(|(name, value)| match value {
                    Value::String(text) => (name, text.clone()),
                    other => (name, other.to_string()),
                }));
            }
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
        };
        Err(OptionError::NotAnObject { found })
    }

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), OptionError> {
        let refuse = |allowed| OptionError::Value { name, value: shorten(value), allowed };
        match name {
            "format" => {
                self.format = match value {
                    "png" => OutputFormat::Png,
                    "webp" => OutputFormat::Webp,
                    "jpg" => OutputFormat::Jpg,
                    "auto" => OutputFormat::Auto,
                    _ => return Err(refuse("png, webp, jpg or auto")),
                };
            }
            "channels" => {
                self.channels = match value {
                    "rgba" => Channels::Rgba,
                    "alpha" => Channels::Alpha,
                    _ => return Err(refuse("rgba or alpha")),
                };
            }
            "bg_color" => {
                let colour = parse_hex(value);
                self.bg_color = Some(colour.ok_or_else(|| refuse("six hex digits RRGGBB, as in ffcc00"))?);
            }
            "crop" => {
                self.crop = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(refuse("true or false")),
                };
            }
            "size" => {
                self.size = match value {
                    "full" => OutputSize::Full,
                    "preview" => OutputSize::Preview,
                    _ => return Err(refuse("full or preview")),
                };
            }
            "edges" => {
                let known = [Edges::Off, Edges::Guided, Edges::Decontaminate];
                let named = known.into_iter().find(|edges| edges.name() == value);
                self.edges = named.ok_or_else(|| refuse("off, guided or decontaminate"))?;
            }
            "model" => {
                let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
                if value.is_empty() || value.len() > MAX_MODEL_NAME || !value.bytes().all(plain) {
                    return Err(refuse("a model's name: 1 to 64 letters, digits, `.`, `_` or `-`"));
                }
                self.model = Some(value.to_owned());
            }
            _ => {
                // Digits only: `str::parse` would also take "+5".
                let digits = value.bytes().all(|c| c.is_ascii_digit());
                let number = value.parse().ok().filter(|n| digits && (1..=100).contains(n));
                self.quality = Some(number.ok_or_else(|| refuse("a whole number from 1 to 100"))?);
            }
        }
        Ok(())
    }

    /// One text for all requests that give the same bytes, for a cache key.
    ///
    /// `model` is the identity of the model that will run (these options may name none, and a
    /// name may come to mean other weights), so that two models never share a result.
    pub fn canonical(&self, model: &str) -> String {
        let mask = self.channels == Channels::Alpha;
        let background = match (mask, self.bg_color, self.format) {
            (true, ..) => None,
            (false, None, OutputFormat::Jpg) => Some([255; 3]),
            (false, colour, _) => colour,
        };
        let format = match self.format {
            // On a background nothing is transparent.
            OutputFormat::Auto if background.is_some() => OutputFormat::Jpg,
            other => other,
        };
        let name = match format {
            OutputFormat::Png => "png",
            OutputFormat::Webp => "webp",
            OutputFormat::Jpg => "jpg",
            OutputFormat::Auto => "auto",
        };
        let quality = match format {
            OutputFormat::Png => "-".to_owned(),
            _ => self.quality.unwrap_or(DEFAULT_QUALITY).to_string(),
        };
        let background = background.map_or_else(|| "-".to_owned(), |c| hex_text(&c));
        let edges = self.edges_to_make().name();
        format!(
            "format={name};channels={};bg_color={background};crop={};size={};quality={quality};model={model};edges={edges}",
            if mask { "alpha" } else { "rgba" },
            self.crop,
            if self.size == OutputSize::Preview { "preview" } else { "full" },
        )
    }
}

impl TryFrom<Value> for Options {
    type Error = OptionError;

    fn try_from(json: Value) -> Result<Self, OptionError> {
        Self::from_json(&json)
    }
}

/// Enough of a refused name or value to recognise it, on one line.
fn shorten(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
    if text.chars().nth(40).is_some() { shown + "…" } else { shown }
}

fn parse_hex(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    if digits.len() != 6 || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = u32::from_str_radix(digits, 16).ok()?;
    let [_, r, g, b] = value.to_be_bytes();
    Some([r, g, b])
}

fn hex_text([r, g, b]: &[u8; 3]) -> String {
    format!("{r:02x}{g:02x}{b:02x}")
}

fn hex<S: Serializer>(colour: &Option<[u8; 3]>, serializer: S) -> Result<S::Ok, S::Error> {
    colour.as_ref().map(hex_text).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pairs(text: &str) -> Result<Options, OptionError> {
        Options::from_pairs(text.split_terminator('&').filter_map(|pair| pair.split_once('=')))
    }

    #[test]
    fn query_form_and_json_mean_the_same() {
        let text = "format=webp&channels=rgba&bg_color=%Ff0080&crop=true&size=preview&edges=guided&model=a.b-1&quality=7";
        let expected = Options {
            format: OutputFormat::Webp,
            channels: Channels::Rgba,
            bg_color: Some([255, 0, 128]),
            crop: true,
            size: OutputSize::Preview,
            edges: Edges::Guided,
            model: Some("a.b-1".into()),
            quality: Some(7),
        };
        assert_eq!(pairs(&text.replace('%', "")), Ok(expected.clone()));
        assert_eq!(pairs(&text.replace('%', "#")), Ok(expected.clone()));
        for json in [
            json!({"format": "webp", "bg_color": "ff0080", "crop": true, "size": "preview",
                "edges": "guided", "model": "a.b-1", "quality": 7}),
            json!({"format": "webp", "bg_color": "FF0080", "crop": "true", "size": "preview",
                "edges": "guided", "model": "a.b-1", "quality": "7", "channels": null}),
        ] {
            assert_eq!(Options::from_json(&json), Ok(expected.clone()));
            assert_eq!(serde_json::from_value::<Options>(json).expect("good"), expected);
        }
        assert_eq!(pairs(""), Ok(Options::default()));
        assert_eq!(Options::from_json(&json!({})), Ok(Options::default()));
    }

    #[test]
    fn a_wrong_name_or_value_is_named_with_what_is_allowed() {
        let said = |text| pairs(text).expect_err("bad options").to_string();
        assert_eq!(
            said("bgcolor=fff"),
            "unknown option `bgcolor`: allowed are format, channels, bg_color, crop, size, edges, model, quality"
        );
        assert_eq!(said("format=gif"), "option `format` is `gif`: allowed is png, webp, jpg or auto");
        assert_eq!(said("crop=true&crop=true"), "option `crop` is given more than once: send it once");
        for value in [
            "format=PNG",
            "channels=rgb",
            "size=auto",
            "crop=1",
            "crop=",
            "model=",
            "model=a/b",
            "quality=0",
            "quality=101",
            "quality=+5",
            "quality=9.5",
            "quality=",
            "bg_color=fff",
            "bg_color=##ffffff",
            "bg_color=ffffgg",
            "bg_color=+fffff",
            "bg_color=ffffff00",
        ] {
            let (name, value) = value.split_once('=').expect("a pair");
            let error = Options::from_pairs([(name, value)]).expect_err(value);
            assert!(
                matches!(&error, OptionError::Value { name: n, value: v, .. } if *n == name && v == value)
            );
            let json = Options::from_json(&json!({ name: value })).expect_err(value);
            assert_eq!(json, error);
        }
        let long = format!("format={}", "x\n".repeat(99));
        assert!(said(&long).len() < 120);
    }

    #[test]
    fn json_of_another_shape_is_an_error() {
        for (json, found) in [(json!(null), "null"), (json!([]), "an array"), (json!("a"), "a string")] {
            assert_eq!(Options::from_json(&json), Err(OptionError::NotAnObject { found }));
        }
        for json in [
            json!({"crop": 1}),
            json!({"quality": 9.5}),
            json!({"quality": [9]}),
            json!({"bg_color": 123_456_789}),
            json!({"speed": null}),
        ] {
            assert!(Options::from_json(&json).is_err(), "{json}");
        }
    }

    #[test]
    fn equal_results_have_equal_canonical_texts() {
        let text = |options| pairs(options).expect("good options").canonical("m");
        for (a, b) in [
            ("", "format=png&channels=rgba&crop=false&size=full"),
            ("format=png&quality=5", "format=png&quality=90"),
            ("format=jpg", "format=jpg&quality=90&bg_color=ffffff"),
            ("format=auto&bg_color=000000", "format=jpg&bg_color=000000"),
            ("channels=alpha&bg_color=123456", "channels=alpha"),
            ("channels=alpha&edges=guided", "channels=alpha&edges=decontaminate"),
            ("channels=alpha", "channels=alpha&edges=guided"),
            ("edges=decontaminate", ""),
            ("model=x", "model=y"),
        ] {
            assert_eq!(text(a), text(b));
        }
        let different = [
            "",
            "format=webp",
            "format=jpg",
            "format=auto",
            "channels=alpha",
            "crop=true",
            "size=preview",
            "edges=off",
            "edges=guided",
            "bg_color=ffffff",
            "format=webp&quality=91",
            "format=webp&bg_color=ffffff",
            "format=auto&channels=alpha",
            "format=jpg&channels=alpha",
            "format=jpg&bg_color=fffffe",
        ];
        let texts: std::collections::BTreeSet<_> = different.iter().map(|options| text(options)).collect();
        assert_eq!(texts.len(), different.len());
        assert_ne!(Options::default().canonical("m"), Options::default().canonical("n"));
        let text = "format=png;channels=rgba;bg_color=-;crop=false;size=full;quality=-;model=u2netp;edges=decontaminate";
        assert_eq!(Options::default().canonical("u2netp"), text);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            format in prop::sample::select(vec![
                OutputFormat::Png, OutputFormat::Webp, OutputFormat::Jpg, OutputFormat::Auto]),
            channels in prop::sample::select(vec![Channels::Rgba, Channels::Alpha]),
            size in prop::sample::select(vec![OutputSize::Full, OutputSize::Preview]),
            edges in prop::sample::select(vec![Edges::Off, Edges::Guided, Edges::Decontaminate]),
            bg_color in any::<Option<[u8; 3]>>(),
            crop in any::<bool>(),
            model in prop::option::of("[A-Za-z0-9._-]{1,64}"),
            quality in prop::option::of(1u8..=100),
        ) {
            let options = Options { format, channels, bg_color, crop, size, edges, model, quality };
            let json = serde_json::to_value(&options).expect("serialises");
            prop_assert_eq!(Options::from_json(&json), Ok(options.clone()));
            let fields = json.as_object().expect("an object").iter();
            let fields = fields.map(|(name, value)| (name, value.to_string().replace('"', "")));
            let back = Options::from_pairs(fields).expect("the same fields");
            prop_assert_eq!(back.canonical("m"), options.canonical("m"));
            prop_assert_eq!(back, options);
        }

        #[test]
        fn no_text_panics(name in ".{0,12}", value in ".{0,60}", n in 0usize..Options::NAMES.len()) {
            let _ = Options::from_pairs([(name.as_str(), value.as_str())]);
            let _ = Options::from_pairs([(Options::NAMES[n], value.as_str())]);
        }
    }
}
