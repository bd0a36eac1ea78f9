//! What answers without a session: the address itself, the probes, the metrics.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::Value;

use super::Patient;
use super::check::{Fault, Outcome, ok, skip, warn};

/// `/health` touches nothing, so all that it takes is the way there and back.
const QUICK: Duration = Duration::from_secs(1);

pub(super) async fn reach(patient: &Patient) -> Outcome {
    let begun = Instant::now();
    let response = patient.server.get("/livez").await?;
    let ms = begun.elapsed().as_millis();
    if response.status().is_redirection() {
        let target =
            response.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
        return Err(Fault::new(format!("it redirects to {target}"), "give that address"));
    }
    let address = patient.server.address();
    let here = address.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    match address.scheme() {
        "https" => Ok(ok(format!("connection, TLS and first answer in {ms} ms"))),
        _ if here => Ok(ok(format!("connection and first answer in {ms} ms"))),
        _ => Ok(warn(format!("answers in {ms} ms, but without TLS: pages served over https can't use it"))),
    }
}

pub(super) async fn livez(patient: &Patient) -> Outcome {
    let response = patient.server.get("/livez").await?;
    match response.status().as_u16() {
        200 => Ok(ok("200")),
        503 => Err(Fault::new("503", "the server is going away; try again")),
        status => Err(Fault::new(format!("the status is {status}, not 200"), "is this a warmcut server?")),
    }
}

pub(super) async fn health(patient: &Patient) -> Outcome {
    let begun = Instant::now();
    let response = patient.server.get("/health").await?;
    let status = response.status();
    let health = json(response).await?;
    let took = begun.elapsed();
    if status != 200 {
        return Err(Fault::new(
            format!("the status is {status}, not 200"),
            "it must be 200 as long as the process lives",
        ));
    }
    if health["status"] != "alive" {
        return Err(Fault::new(
            format!("status is {}, not \"alive\"", health["status"]),
            "is this a warmcut server?",
        ));
    }
    for field in ["model_loaded", "model_loading"] {
        if !health[field].is_boolean() {
            return Err(Fault::new(
                format!("{field} is {}, not true or false", health[field]),
                "is this a warmcut server?",
            ));
        }
    }
    for field in ["model_error", "timestamp"] {
        if health.get(field).is_none() {
            return Err(Fault::new(format!("{field} is missing"), "is this a warmcut server?"));
        }
    }
    if took > QUICK {
        let why = format!("it took {} ms", took.as_millis());
        return Err(Fault::new(why, "nothing may stand before it: no model, no disk, no cold start"));
    }
    Ok(ok(format!("answers in {} ms, model {}", took.as_millis(), words(&health))))
}

/// The one before and the one after, so that a warm-up that ends meanwhile is no contradiction.
pub(super) async fn health_agrees(patient: &Patient) -> Outcome {
    for _ in 0..3 {
        let before = json(patient.server.get("/health").await?).await?;
        let ready = patient.server.get("/readyz").await?.status();
        let after = json(patient.server.get("/health").await?).await?;
        if ["model_loaded", "model_loading", "model_error"].iter().any(|field| before[field] != after[field])
        {
            continue;
        }
        let model = words(&after);
        return match (ready.as_u16(), &after["model_loaded"]) {
            (200, Value::Bool(true)) => Ok(ok(format!("/health says {model}, /readyz says 200"))),
            (503, _) => Ok(ok(format!("/health says {model}, /readyz says 503"))),
            (200, _) => Err(Fault::new(
                format!("/readyz says 200 and /health says {model}"),
                "one of them answers for another instance, or from a cache",
            )),
            (other, _) => Err(Fault::new(format!("/readyz says {other}"), "it must be 200 or 503")),
        };
    }
    Ok(warn("/health changed each time it was asked; the model comes and goes"))
}

pub(super) async fn readyz(patient: &Patient) -> Outcome {
    let response = patient.server.get("/readyz").await?;
    let status = response.status().as_u16();
    let reason = response.text().await.unwrap_or_default();
    match status {
        200 => Ok(ok("200")),
        503 => Err(Fault::new(format!("503 after `ready`: {}", reason.trim()), "see the server's log")),
        other => Err(Fault::new(format!("the status is {other}"), "it must be 200 or 503")),
    }
}

pub(super) async fn metrics(patient: &Patient) -> Outcome {
    let mut request = patient.server.request(Method::GET, "/metrics")?;
    if let Some(token) = &patient.operator_token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await?;
    match response.status().as_u16() {
        200 => {}
        401 | 403 if patient.operator_token.is_none() => return Ok(skip("needs --operator-token")),
        // A proxy that hides it does well, and so does a scraper on another port.
        404 => return Ok(warn("not there from here; make sure that your scraper sees it")),
        status => return Err(Fault::new(format!("the status is {status}"), "it must be 200")),
    }
    let text = response.text().await?;
    let ours = text.lines().filter(|line| line.starts_with("# TYPE warmcut_")).count();
    match ours {
        0 => Err(Fault::new("there is no warmcut_ metric", "is this a warmcut server?")),
        _ => Ok(ok(format!("{ours} metrics"))),
    }
}

async fn json(response: Response) -> Result<Value, Fault> {
    let body = response.bytes().await?;
    serde_json::from_slice(&body)
        .map_err(|error| Fault::new(format!("the answer is no JSON: {error}"), "is this a warmcut server?"))
}

fn words(health: &Value) -> &'static str {
    match (health["model_loaded"] == true, health["model_loading"] == true) {
        (true, _) => "loaded",
        (false, true) => "loading",
        (false, false) if !health["model_error"].is_null() => "failed to load",
        (false, false) => "not loaded",
    }
}
