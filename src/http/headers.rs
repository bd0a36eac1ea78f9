//! Request headers that more than one handler reads.

use axum::http::header::{self, AsHeaderName};
use axum::http::{HeaderMap, HeaderValue};

/// A header as text; none when it is missing or no text.
pub(super) fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether the client has what this tag names already (RFC 9110, 13.1.2): compared weakly, because the
/// same bytes may have gone compressed, and `*` is whatever there is.
pub(super) fn has_already(headers: &HeaderMap, etag: &str) -> bool {
    let strong = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(as_text);
    known.flat_map(|list| list.split(',')).map(str::trim).any(|tag| tag == "*" || strong(tag) == strong(etag))
}

fn as_text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knows(values: &[&'static str], etag: &str) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(value));
        }
        has_already(&headers, etag)
    }

    #[test]
    fn a_tag_is_known_weakly_in_any_list_and_by_a_star() {
        for etag in [r#""a""#, r#"W/"a""#] {
            for values in [&[r#""a""#][..], &[r#"W/"a""#], &[r#""b", W/"a""#], &[r#""b""#, r#""a""#], &["*"]]
            {
                assert!(knows(values, etag), "{values:?} {etag}");
            }
            for values in [&[][..], &[r#""b""#], &["a"], &[""], &[r#""a"#]] {
                assert!(!knows(values, etag), "{values:?} {etag}");
            }
        }
    }
}
