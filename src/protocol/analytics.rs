//! What the widget tells of its shoppers: the body of `POST /v1/analytics`.
//!
//! `{"events": [{"event": "warming_started", "trigger": "hover"}, …]}`. All of a body is right or none
//! of it is: a widget that misspells one event has to hear of it, and half of a visit counts wrong.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::Trigger;

/// Events of one body: more than a visit has between two beacons.
pub const MAX_EVENTS: usize = 32;
/// The longest time that is told; a shopper whose tab slept for longer measured its sleep.
const LONGEST_MS: u64 = 3_600_000;

/// What a shopper lived through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// An intent opened the channel.
    WarmingStarted {
        /// Which.
        trigger: Trigger,
        /// The visitor belongs to the share that isn't warmed for.
        #[serde(default)]
        holdout: bool,
    },
    /// The model was ready while the shopper was there.
    WarmingCompleted {
        /// From the intent to `ready`.
        #[serde(rename = "duration_ms", deserialize_with = "time")]
        took: Duration,
        /// The session opened before it, as in `ready`.
        cold: bool,
        /// As above.
        #[serde(default)]
        holdout: bool,
    },
    /// The shopper chose a photo.
    UploadStarted {
        /// The model was ready by then.
        was_warmed: bool,
        /// As above.
        #[serde(default)]
        holdout: bool,
    },
    /// The shopper saw the cutout.
    CutoutCompleted {
        /// From the choice of the photo.
        #[serde(rename = "duration_ms", deserialize_with = "time")]
        took: Duration,
        /// As in `cutout`.
        cached: bool,
        /// As above.
        #[serde(default)]
        holdout: bool,
    },
    /// The shopper left without a photo.
    WarmingAbandoned {
        /// What had opened the channel.
        trigger: Trigger,
        /// From the intent to the leave.
        #[serde(rename = "duration_ms", deserialize_with = "time")]
        took: Duration,
        /// The model was ready by then: it was warmed for nobody.
        ready: bool,
        /// As above.
        #[serde(default)]
        holdout: bool,
    },
}

/// Why a body was refused. The message is safe to show to the caller.
#[derive(Debug, thiserror::Error)]
#[error("nothing of this was counted: {0}; put it right and send all of it again")]
pub struct BatchError(#[from] serde_json::Error);

/// The events of a body, in their order: at least one of them, and at most [`MAX_EVENTS`].
///
/// # Errors
/// [`BatchError`] for the first that is wrong, by its place, and with what is wrong with it.
pub fn read(body: &[u8]) -> Result<Vec<Event>, BatchError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(deserialize_with = "events")]
        events: Vec<Event>,
    }
    let Named(Body { events }) = serde_json::from_slice(body)?;
    Ok(events)
}

fn events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Event>, D::Error> {
    struct Events;
    impl<'de> Visitor<'de> for Events {
        type Value = Vec<Event>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "1 to {MAX_EVENTS} events")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Event>, A::Error> {
            let mut events = Vec::new();
            loop {
                match list.next_element() {
                    Ok(Some(_)) if events.len() == MAX_EVENTS => {
                        return Err(A::Error::invalid_length(MAX_EVENTS + 1, &self));
                    }
                    Ok(Some(Named(event))) => events.push(event),
                    Ok(None) if events.is_empty() => return Err(A::Error::invalid_length(0, &self)),
                    Ok(None) => return Ok(events),
                    Err(error) => {
                        return Err(A::Error::custom(format_args!("events[{}]: {error}", events.len())));
                    }
                }
            }
        }
    }
    deserializer.deserialize_seq(Events)
}

/// Milliseconds, whole and within bounds.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Time;
    impl Visitor<'_> for Time {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number of milliseconds from 0 to {LONGEST_MS}")
        }

        fn visit_u64<E: serde::de::Error>(self, ms: u64) -> Result<Duration, E> {
            if ms > LONGEST_MS {
                return Err(E::invalid_value(Unexpected::Unsigned(ms), &self));
            }
            Ok(Duration::from_millis(ms))
        }
    }
    deserializer.deserialize_u64(Time)
}

/// An object. What `derive` makes would also take its fields by their place in an array.
struct Named<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Named<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Named)
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn one(event: &str) -> Result<Vec<Event>, String> {
        read(format!(r#"{{"events":[{event}]}}"#).as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_event_is_read_as_the_contract_spells_it() {
        let body = br#"{"events":[
            {"event":"warming_started","trigger":"page_view"},
            {"trigger":"hover","event":"warming_started","holdout":true},
            {"event":"warming_completed","duration_ms":0,"cold":true},
            {"event":"upload_started","was_warmed":false,"holdout":false},
            {"event":"cutout_completed","duration_ms":3600000,"cached":true},
            {"event":"warming_abandoned","trigger":"viewport","duration_ms":1234,"ready":true}]}"#;
        let holdout = false;
        let expected = [
            Event::WarmingStarted { trigger: Trigger::PageView, holdout },
            Event::WarmingStarted { trigger: Trigger::Hover, holdout: true },
            Event::WarmingCompleted { took: MS(0), cold: true, holdout },
            Event::UploadStarted { was_warmed: false, holdout },
            Event::CutoutCompleted { took: MS(3_600_000), cached: true, holdout },
            Event::WarmingAbandoned { trigger: Trigger::Viewport, took: MS(1234), ready: true, holdout },
        ];
        assert_eq!(read(body).expect("good events"), expected);
    }

    #[test]
    fn a_wrong_event_is_named_with_what_is_wrong() {
        let completed = |fields: &str| format!(r#"{{"event":"warming_completed","cold":true,{fields}}}"#);
        for (event, says) in [
            (
                r#"{"event":"sneezed"}"#.to_owned(),
                "unknown variant `sneezed`, expected one of `warming_started`",
            ),
            (r#"{"trigger":"hover"}"#.to_owned(), "missing field `event`"),
            (r#"{"event":null}"#.to_owned(), "null"),
            (r#"{"event":"warming_started"}"#.to_owned(), "missing field `trigger`"),
            (r#"{"event":"warming_started","trigger":"sneeze"}"#.to_owned(), "unknown variant `sneeze`"),
            (r#"{"event":"warming_started","trigger":7}"#.to_owned(), "integer `7`"),
            (r#"{"event":"upload_started"}"#.to_owned(), "missing field `was_warmed`"),
            (r#"{"event":"upload_started","was_warmed":"true"}"#.to_owned(), "expected a boolean"),
            (r#"{"event":"upload_started","was_warmed":1}"#.to_owned(), "expected a boolean"),
            (
                r#"{"event":"upload_started","was_warmed":true,"holdout":null}"#.to_owned(),
                "expected a boolean",
            ),
            (r#"{"event":"upload_started","was_warmed":true,"page":"/"}"#.to_owned(), "unknown field `page`"),
            (
                r#"{"event":"upload_started","was_warmed":true,"cached":true}"#.to_owned(),
                "unknown field `cached`",
            ),
            (
                r#"{"event":"upload_started","was_warmed":true,"was_warmed":true}"#.to_owned(),
                "duplicate field",
            ),
            (r#"{"event":"cutout_completed","duration_ms":1}"#.to_owned(), "missing field `cached`"),
            (completed(r#""holdout":false"#), "missing field `duration_ms`"),
            (completed(r#""duration_ms":-1"#), "integer `-1`, expected a whole number of milliseconds"),
            (completed(r#""duration_ms":1.5"#), "floating point `1.5`"),
            (completed(r#""duration_ms":1e3"#), "floating point `1000.0`"),
            (
                completed(r#""duration_ms":3600001"#),
                "integer `3600001`, expected a whole number of milliseconds from 0 to 3600000",
            ),
            (completed(r#""duration_ms":18446744073709551616"#), "floating point"),
            (completed(r#""duration_ms":"5""#), "string \"5\""),
            (completed(r#""duration_ms":null"#), "null"),
            (completed(r#""duration_ms":NaN"#), "expected value"),
            (completed(r#""duration_ms":Infinity"#), "expected value"),
            (r#"["warming_started","hover"]"#.to_owned(), "expected an object"),
            (r#""warming_started""#.to_owned(), "expected an object"),
            ("null".to_owned(), "expected an object"),
        ] {
            let error = one(&event).expect_err(&event);
            assert!(error.contains(says), "{event}: {error}");
            assert!(error.contains("events[0]: "), "{event}: {error}");
            let second = one(&format!(r#"{{"event":"upload_started","was_warmed":true}},{event}"#));
            assert!(second.expect_err(&event).contains("events[1]: "), "{event}");
        }
    }

    #[test]
    fn a_body_of_another_shape_is_an_error() {
        for (body, says) in [
            (&b""[..], "EOF"),
            (b"events", "expected value"),
            (b"{}", "missing field `events`"),
            (b"[]", "expected an object"),
            (br#"[[{"event":"upload_started","was_warmed":true}]]"#, "expected an object"),
            (br#"{"events":{}}"#, "expected 1 to 32 events"),
            (br#"{"events":null}"#, "expected 1 to 32 events"),
            (br#"{"events":[]}"#, "invalid length 0, expected 1 to 32 events"),
            (br#"{"events":[{"event":"upload_started","was_warmed":true}]"#, "EOF"),
            (br#"{"events":[{"event":"upload_started","was_warmed":true},]}"#, "events[1]: trailing comma"),
            (br#"{"events":[{"event":"upload_started","was_warmed":true}]}{}"#, "trailing characters"),
            (
                br#"{"events":[{"event":"upload_started","was_warmed":true}],"visitor":7}"#,
                "unknown field `visitor`",
            ),
            (b"{\"events\":[{\"event\":\"\xff\"}]}", "events[0]: "),
            (b"\xff\xfe{\0", "expected value"),
        ] {
            let error = read(body).expect_err("a bad body").to_string();
            assert!(error.contains(says), "{}: {error}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn there_are_at_most_so_many() {
        let events = |count| vec![r#"{"event":"upload_started","was_warmed":true}"#; count].join(",");
        assert_eq!(one(&events(32)).expect("as many as may be").len(), 32);
        let error = one(&events(33)).expect_err("one too many");
        assert!(error.contains("invalid length 33, expected 1 to 32 events"), "{error}");
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,40}") {
            let _ = read(&bytes);
            let _ = one(&text);
            let _ = one(&format!(r#"{{"event":"warming_started","trigger":"{text}"}}"#));
        }

        #[test]
        fn times_within_bounds_come_back(ms in 0..=LONGEST_MS) {
            let event = one(&format!(r#"{{"event":"cutout_completed","duration_ms":{ms},"cached":false}}"#));
            let expected = Event::CutoutCompleted { took: MS(ms), cached: false, holdout: false };
            prop_assert_eq!(event, Ok(vec![expected]));
        }
    }
}
