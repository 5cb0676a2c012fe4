//! Server-sent events as a client reads them (HTML, §9.2.5 and §9.2.6).

use core::time::Duration;

/// The longest line.
const MAX_LINE: usize = 64 << 10;
/// The longest data of one event.
const MAX_DATA: usize = 1 << 20;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` unless the server says another.
    pub kind: String,
    /// Its data: lines without the last end.
    pub data: String,
}

/// Reads a stream that may be cut anywhere.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    /// The last byte was a CR: an LF belongs to it.
    after_cr: bool,
    /// The first line was read, and with it the byte order mark.
    begun: bool,
    kind: String,
    data: String,
    id: String,
    last_id: String,
    retry: Option<Duration>,
}

/// A line or an event beyond the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Reader {
    /// What a new stream is asked to go on from: `Last-Event-ID`. Empty for the beginning.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How long the server wants to be left alone before a new stream.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// A new stream: what is not complete is dropped, the last id stays.
    pub fn again(&mut self) {
        *self = Reader {
            id: self.last_id.clone(),
            last_id: self.last_id.clone(),
            retry: self.retry,
            ..Reader::default()
        };
    }

    /// Bytes; the events that they completed.
    ///
    /// # Errors
    /// A line of more than 64 KiB, an event of more than 1 MiB.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for byte in bytes {
            let lf_of_cr = core::mem::take(&mut self.after_cr) && *byte == b'\n';
            match byte {
                b'\n' if lf_of_cr => {}
                b'\r' | b'\n' => {
                    self.after_cr = *byte == b'\r';
                    let line = core::mem::take(&mut self.line);
                    events.extend(self.line(&line)?);
                }
                _ if self.line.len() >= MAX_LINE => return Err(TooLong),
                _ => self.line.push(*byte),
            }
        }
        Ok(events)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Event>, TooLong> {
        let bom: &[u8] = if self.begun { b"" } else { "\u{feff}".as_bytes() };
        self.begun = true;
        let line = String::from_utf8_lossy(line.strip_prefix(bom).unwrap_or(line));
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.kind = value.into(),
            "data" if self.data.len() + value.len() >= MAX_DATA => return Err(TooLong),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = value.into(),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            // A comment begins with the colon; other fields are ignored.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Event> {
        self.last_id.clone_from(&self.id);
        let (mut data, kind) = (core::mem::take(&mut self.data), core::mem::take(&mut self.kind));
        data.pop()?;
        let kind = if kind.is_empty() { "message".into() } else { kind };
        Some(Event { kind, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str) -> Event {
        Event { kind: kind.into(), data: data.into() }
    }

    #[test]
    fn streams_are_read_as_the_standard_says_however_they_are_cut() {
        let text = "\u{feff}: a comment\r\n\r\ndata: YHOO\ndata: +2\ndata: 10\n\nevent: add\rdata:73\r\rid: 7\nretry: 2500\ndata\n\n\
                    data:  two spaces\nid: 8\nunknown: x\nretry: soon\n\ndata: never ended";
        let expected = [
            event("message", "YHOO\n+2\n10"),
            event("add", "73"),
            event("message", ""),
            event("message", " two spaces"),
        ];
        for cut in [1, 2, 3, 7, 1000] {
            let mut reader = Reader::default();
            let mut events = Vec::new();
            for part in text.as_bytes().chunks(cut) {
                events.extend(reader.feed(part).unwrap());
            }
            assert_eq!(events, expected, "{cut}");
            assert_eq!((reader.last_id(), reader.retry()), ("8", Some(Duration::from_millis(2500))));
            // The event that was not complete comes again.
            reader.again();
            assert_eq!(reader.feed(b"data: never ended\n\n").unwrap(), [event("message", "never ended")]);
            assert_eq!(reader.last_id(), "8");
        }
    }

    #[test]
    fn an_id_counts_only_with_its_event_and_an_empty_one_forgets() {
        let mut reader = Reader::default();
        reader.feed(b"id: 3\ndata: x\n").unwrap();
        assert_eq!(reader.last_id(), "");
        reader.feed(b"\nid: 4\0\n\n").unwrap();
        assert_eq!(reader.last_id(), "3");
        reader.feed(b"id\n\n").unwrap();
        assert_eq!(reader.last_id(), "");
    }

    #[test]
    fn lines_and_events_without_end_are_refused() {
        assert_eq!(Reader::default().feed(&vec![b'x'; MAX_LINE + 1]), Err(TooLong));
        let line = format!("data: {}\n", "x".repeat(60_000));
        let mut reader = Reader::default();
        assert!((0..20).any(|_| reader.feed(line.as_bytes()).is_err()));
    }
}
