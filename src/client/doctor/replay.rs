//! Whether a session that was left is found again, whole.

use std::collections::HashSet;
use std::time::Duration;

use super::Patient;
use super::check::{Fault, Outcome, ok};
use super::photos::Made;
use crate::client::{Channel, ClientError, Resume, Transport};
use crate::protocol::Event;

/// How long nothing must come after the last event: replays come at once.
const QUIET: Duration = Duration::from_millis(700);

/// From the middle of the log over both transports: all that follows, once each, in order.
pub(super) async fn from_the_middle(patient: &Patient, made: &Made) -> Outcome {
    let whole = read(patient, made, Transport::Sse, None).await?;
    if whole.len() < 4 {
        return Err(Fault::new(
            format!("the log has only {} events after a job", whole.len()),
            "does another instance answer?",
        ));
    }
    let unique: HashSet<_> = whole.iter().collect();
    if unique.len() != whole.len() {
        return Err(Fault::new("an id came twice in one replay", "this is a bug of the server"));
    }
    for at in [0, whole.len() / 2, whole.len() - 2] {
        for transport in [Transport::Sse, Transport::Ws] {
            let rest = read(patient, made, transport, Some(&whole[at])).await?;
            if rest != whole[at + 1..] {
                let lost = whole[at + 1..].iter().filter(|id| !rest.contains(id)).count();
                let more = rest.iter().filter(|id| !whole[at + 1..].contains(id)).count();
                return Err(Fault::new(
                    format!(
                        "resuming over {transport} after event {} of {} loses {lost} and repeats {more}",
                        at + 1,
                        whole.len()
                    ),
                    "a proxy must pass Last-Event-ID on; without that it is a bug of the server",
                ));
            }
        }
    }
    Ok(ok(format!("after an id comes exactly the rest, over ws and sse ({} events)", whole.len())))
}

pub(super) async fn from_the_end(patient: &Patient, made: &Made) -> Outcome {
    let resume = Resume { pass: &made.pass, last_id: Some(&made.last_id) };
    let mut channel = Channel::open(&patient.server, Transport::Sse, Some(resume)).await?;
    let replayed = async {
        loop {
            let framed = channel.next().await?.framed;
            // Something new may happen; what happened before may not come again.
            if framed.id.as_ref() == Some(&made.last_id)
                || matches!(framed.event, Event::Cutout(_) | Event::Reset { .. })
            {
                return Ok::<_, ClientError>(framed.event.kind());
            }
        }
    };
    match tokio::time::timeout(QUIET, replayed).await {
        Err(_) => Ok(ok("after the last id comes nothing again")),
        Ok(Ok(kind)) => {
            Err(Fault::new(format!("after the last id came {kind}"), "a proxy must pass Last-Event-ID on"))
        }
        Ok(Err(error)) => Err(error.into()),
    }
}

/// An id that no log has: `reset` and what describes the present, rather than silence.
pub(super) async fn from_nowhere(patient: &Patient, made: &Made) -> Outcome {
    let resume = Resume { pass: &made.pass, last_id: Some("made-up") };
    let mut channel = Channel::open(&patient.server, Transport::Sse, Some(resume)).await?;
    let mut reset = false;
    loop {
        let framed = channel.next().await?.framed;
        match framed.event {
            Event::Reset { .. } => reset = true,
            _ if framed.id.as_ref() == Some(&made.last_id) => break,
            _ => {}
        }
    }
    match reset {
        true => Ok(ok("an unknown id gets reset and the present")),
        false => Err(Fault::new("an unknown id got no reset", "a proxy must pass Last-Event-ID on")),
    }
}

/// The ids from a place to the job's end.
async fn read(
    patient: &Patient,
    made: &Made,
    transport: Transport,
    last_id: Option<&str>,
) -> Result<Vec<String>, ClientError> {
    let resume = Resume { pass: &made.pass, last_id };
    let mut channel = Channel::open(&patient.server, transport, Some(resume)).await?;
    let mut ids = vec![];
    while ids.last() != Some(&made.last_id) {
        ids.extend(channel.next().await?.framed.id);
    }
    Ok(ids)
}
