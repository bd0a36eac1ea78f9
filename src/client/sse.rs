//! Server-sent events, from bytes to frames, as the HTML standard reads them.
//!
//! A proxy may cut the stream anywhere, within a character or between CR and LF, so the parser
//! takes chunks as they come and gives frames when they are whole. Comments and `retry:` are
//! frames too: whether they come at once shows whether something on the way buffers.
//! It must not know what the events mean.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

use std::collections::VecDeque;

/// An event of the contract is a few hundred bytes; what is larger than this is none.
const LARGEST_LINE: usize = 1 << 20;

/// Something whole on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SseFrame {
    /// A line that begins with a colon.
    Comment(String),
    /// How long to wait before reconnecting, in milliseconds.
    Retry(u64),
    /// An event.
    Event(SseEvent),
}

/// An event of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The event's type; "message" when the stream gave none.
    pub event: String,
    /// Its data lines, joined by line feeds.
    pub data: String,
    /// The last id up to now, as a browser would send it back; none before the first.
    pub last_id: Option<String>,
}

/// A line without end.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a line of the stream is longer than {LARGEST_LINE} bytes")]
pub struct LineTooLong;

/// Reads a stream chunk by chunk.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    begun: bool,
    after_cr: bool,
    event: String,
    data: Vec<String>,
    last_id: Option<String>,
    frames: VecDeque<SseFrame>,
}

impl SseParser {
    /// Takes the next bytes. Frames that they complete are there for [`SseParser::next_frame`].
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), LineTooLong> {
        for &byte in chunk {
            let line_feed_of_crlf = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            match byte {
                _ if line_feed_of_crlf => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    self.end_of_line(&line);
                }
                _ if self.line.len() >= LARGEST_LINE => return Err(LineTooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// The next whole frame, oldest first.
    pub fn next_frame(&mut self) -> Option<SseFrame> {
        self.frames.pop_front()
    }

    fn end_of_line(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let first = !std::mem::replace(&mut self.begun, true);
        let text = if first { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if text.is_empty() {
            return self.dispatch();
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.frames.push_back(SseFrame::Comment(value.to_owned())),
            "event" => self.event = value.to_owned(),
            "data" => self.data.push(value.to_owned()),
            "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.frames.extend(value.parse().ok().map(SseFrame::Retry));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        // The standard: an event without data is none, though its id counts.
        if !data.is_empty() {
            let event = if event.is_empty() { "message".to_owned() } else { event };
            let last_id = self.last_id.clone();
            self.frames.push_back(SseFrame::Event(SseEvent { event, data: data.join("\n"), last_id }));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<SseFrame> {
        let mut parser = SseParser::default();
        for chunk in chunks {
            parser.push(chunk).expect("short lines");
        }
        std::iter::from_fn(|| parser.next_frame()).collect()
    }

    fn event(event: &str, data: &str, last_id: Option<&str>) -> SseFrame {
        SseFrame::Event(SseEvent { event: event.into(), data: data.into(), last_id: last_id.map(Into::into) })
    }

    #[test]
    fn a_stream_as_servers_send_it() {
        let stream =
            ": hello\nretry: 2000\n\nevent: stage\nid: 1.0.a\ndata: {\"a\":1}\n\nevent: ping\ndata: {}\n\n";
        let frames = [
            SseFrame::Comment("hello".into()),
            SseFrame::Retry(2000),
            event("stage", "{\"a\":1}", Some("1.0.a")),
            event("ping", "{}", Some("1.0.a")),
        ];
        assert_eq!(read(&[stream.as_bytes()]), frames);
    }

    #[test]
    fn the_standards_corners() {
        assert_eq!(
            read(&["\u{feff}data:x\r\rdata\n\n".as_bytes()]),
            [event("message", "x", None), event("message", "", None)]
        );
        assert_eq!(read(&[b"data: a\r\ndata:  b\r\n\r\n"]), [event("message", "a\n b", None)]);
        assert_eq!(
            read(&[b"id: a\0b\nretry: 5x\nevent: e\n\nnonsense\ndata: 1\n\n"]),
            [event("message", "1", None)]
        );
        assert_eq!(read(&[b"data: never ended\n"]), []);
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let mut parser = SseParser::default();
        assert_eq!(parser.push(&vec![b'x'; LARGEST_LINE + 1]), Err(LineTooLong));
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof!["(event|data|id|retry|:)?(: ?)?[a-zä€😀0-9 :]{0,12}", Just(String::new()),]
    }

    proptest! {
        #[test]
        fn where_the_chunks_end_does_not_matter(
            lines in prop::collection::vec((line(), prop::sample::select(vec!["\n", "\r", "\r\n"])), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let stream: String = lines.iter().map(|(line, end)| format!("{line}{end}")).collect();
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut chunks = vec![];
            let mut from = 0;
            for cut in cuts {
                chunks.push(&bytes[from..cut]);
                from = cut;
            }
            chunks.push(&bytes[from..]);
            prop_assert_eq!(read(&chunks), read(&[bytes]));
        }

        #[test]
        fn what_was_written_is_read(
            events in prop::collection::vec(("[a-z]{1,8}", "[^\r\n\0]{1,30}(\n[^\r\n\0]{0,30}){0,3}", "[a-z0-9.]{1,9}"), 0..8),
        ) {
            let mut stream = String::new();
            let mut expected = vec![];
            for (name, data, id) in &events {
                let data_lines: String = data.split('\n').map(|line| format!("data: {line}\n")).collect();
                stream.push_str(&format!("event: {name}\nid: {id}\n{data_lines}\n"));
                expected.push(event(name, data, Some(id)));
            }
            prop_assert_eq!(read(&[stream.as_bytes()]), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let mut parser = SseParser::default();
            for chunk in &chunks {
                prop_assert!(parser.push(chunk).is_ok());
            }
            while parser.next_frame().is_some() {}
        }
    }
}
