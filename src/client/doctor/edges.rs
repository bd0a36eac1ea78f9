//! What browsers on other origins need: pages and the widget, and the right headers on `/v1`.

use reqwest::header::{HeaderMap, IF_NONE_MATCH};
use reqwest::{Method, Response};

use super::Patient;
use super::check::{Fault, Outcome, ok};

pub(super) async fn pages(patient: &Patient) -> Outcome {
    let mut seen = vec![];
    for (path, mime) in [("/", "text/html"), ("/upload.html", "text/html"), ("/widget.css", "text/css")] {
        let response = patient.server.get(path).await?;
        is_file(path, mime, &response)?;
        seen.push(path);
    }
    Ok(ok(seen.join(", ")))
}

pub(super) async fn widget(patient: &Patient) -> Outcome {
    for path in ["/widget.js", "/widget-ui.js"] {
        let response = patient.server.get(path).await?;
        is_file(path, "javascript", &response)?;
        let headers = response.headers();
        must_be(path, headers, "access-control-allow-origin", |value| value == "*")?;
        must_be(path, headers, "cross-origin-resource-policy", |value| value == "cross-origin")?;
        let Some(etag) = headers.get("etag").cloned() else {
            return Err(Fault::new(format!("{path} has no ETag"), "a proxy must not take it away"));
        };
        let again = patient.server.request(Method::GET, path)?.header(IF_NONE_MATCH, etag).send().await?;
        if again.status() != 304 {
            let why = format!("{path} with its own ETag is {} again, not 304", again.status());
            return Err(Fault::new(why, "a proxy must pass If-None-Match and the whole ETag on"));
        }
    }
    Ok(ok("other origins may load it, and 304 for a copy they have"))
}

pub(super) async fn preflight(patient: &Patient) -> Outcome {
    let path = "/v1/sessions/s_none/uploads";
    let request = patient.page_request(Method::OPTIONS, path)?;
    let request = request.header("access-control-request-method", "POST");
    let request = request.header("access-control-request-headers", "authorization,content-type");
    let response = request.send().await?;
    if response.status() != 204 {
        let why = format!("OPTIONS {path} from {} is {}, not 204", patient.page(), response.status());
        let todo = match response.status().as_u16() {
            403 if patient.origin.is_none() => {
                "the server doesn't know its own address; start it with --public-url"
            }
            403 => "add this origin to a key in the keys file",
            405 => {
                "the server, or a proxy before it, does not answer OPTIONS here, so pages of other origins can't use it"
            }
            _ => "a proxy must pass OPTIONS on without asking who it is",
        };
        return Err(Fault::new(why, todo));
    }
    let headers = response.headers();
    must_be(path, headers, "access-control-allow-origin", |value| value == "*" || value == patient.page())?;
    for word in ["get", "post", "delete"] {
        must_be(path, headers, "access-control-allow-methods", |value| has_word(value, word))?;
    }
    for word in ["authorization", "content-type", "last-event-id"] {
        must_be(path, headers, "access-control-allow-headers", |value| has_word(value, word))?;
    }
    must_be(path, headers, "access-control-max-age", |value| value == "7200")?;
    must_be(path, headers, "vary", |value| has_word(value, "origin"))?;
    if headers.contains_key("access-control-allow-credentials") {
        return Err(Fault::new("it allows credentials", "the contract never does; a proxy adds it"));
    }
    Ok(ok("204, and scripts of other origins may send what they must"))
}

/// A script that may not read a refusal sees "network error" and can't tell its shopper why.
pub(super) async fn readable_errors(patient: &Patient) -> Outcome {
    let path = "/v1/sessions/s_none";
    let response = patient.page_request(Method::GET, path)?.send().await?;
    let status = response.status();
    if !status.is_client_error() {
        return Err(Fault::new(format!("GET {path} is {status}"), "an unknown session must be refused"));
    }
    must_be(path, response.headers(), "access-control-allow-origin", |value| {
        value == "*" || value == patient.page()
    })?;
    must_be(path, response.headers(), "access-control-expose-headers", |value| {
        has_word(value, "retry-after")
    })?;
    must_be(path, response.headers(), "content-type", |value| value.starts_with("application/problem+json"))?;
    Ok(ok(format!("a {status} can be read by scripts of other origins")))
}

fn is_file(path: &str, mime: &str, response: &Response) -> Result<(), Fault> {
    if response.status() != 200 {
        return Err(Fault::new(
            format!("{path} is {}", response.status()),
            "is the path in the address right?",
        ));
    }
    must_be(path, response.headers(), "content-type", |value| value.contains(mime))?;
    must_be(path, response.headers(), "etag", |value| !value.is_empty())
}

pub(super) fn must_be(
    path: &str,
    headers: &HeaderMap,
    name: &str,
    good: impl Fn(&str) -> bool,
) -> Result<(), Fault> {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let value = values.join(", ");
    if !values.is_empty() && good(&value) {
        return Ok(());
    }
    let why = if values.is_empty() {
        format!("{path} has no {name}")
    } else {
        format!("{path} has {name}: {value}")
    };
    Err(Fault::new(why, "a proxy must not take the server's headers away, change them or add its own"))
}

pub(super) fn has_word(list: &str, word: &str) -> bool {
    list.split(',').any(|item| item.trim().eq_ignore_ascii_case(word))
}
