//! Messages, browser to server: WebSocket text frames.

use serde::Deserialize;

use super::{JobId, UploadId};

/// How the sender of an upload wants its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deliver {
    /// As binary frames on the socket that sent the photo.
    #[default]
    Inline,
    /// By its `url` only.
    Url,
}

/// What a browser may say.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// A photo of so many bytes follows once it is accepted.
    Upload {
        /// The browser's own id; a repeated one continues.
        upload: UploadId,
        /// The photo's size.
        bytes: u64,
        /// What the browser thinks it is; the bytes decide.
        mime: String,
        /// The file's name, for nothing but courtesy.
        #[serde(default)]
        name: Option<String>,
        /// See [`super::options`].
        #[serde(default)]
        options: Option<serde_json::Value>,
        /// How the result comes.
        #[serde(default)]
        deliver: Deliver,
    },
    /// Stop a job or an upload; exactly one of them is given.
    Cancel {
        /// By its job,
        #[serde(default)]
        job: Option<JobId>,
        /// or by its upload.
        #[serde(default)]
        upload: Option<UploadId>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_read_as_the_contract_spells_it() {
        let text = r#"{"type":"upload","upload":"u1","bytes":9,"mime":"image/png","deliver":"url","options":{"crop":true}}"#;
        let Message::Upload { upload, bytes, deliver, options, .. } =
            serde_json::from_str(text).expect("valid")
        else {
            panic!("not an upload")
        };
        assert_eq!((upload.as_str(), bytes, deliver), ("u1", 9, Deliver::Url));
        assert_eq!(options, Some(serde_json::json!({"crop": true})));
    }

    #[test]
    fn unknown_types_and_fields_are_errors() {
        for bad in [
            r#"{"type":"hello"}"#,
            r#"{"type":"cancel","jobs":"j"}"#,
            r#"{"type":"upload","upload":"u1","mime":"image/png"}"#,
            r#"{"type":"upload","upload":"u 1","bytes":1,"mime":"image/png"}"#,
            r#"{"type":"upload","upload":"u1","bytes":-1,"mime":"image/png"}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<Message>(bad).is_err(), "{bad}");
        }
    }
}
