//! An incremental parser of server-sent events. Each event must equal the first one, which must hold the expected JSON.

use std::rc::Rc;

use super::{Document, frames::Stamp};

/// The blank line after an event.
const END: &[u8] = b"\n\n";

pub(super) struct Events {
    document: Rc<Document>,
    /// The first event with its blank line, or what has arrived of it.
    first: Vec<u8>,
    /// The first event is complete and checked.
    is_checked: bool,
    /// The received bytes of the current event.
    at: usize,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Events {
    pub(super) fn new(document: Rc<Document>) -> Self {
        Self { document, first: Vec::new(), is_checked: false, at: 0, messages: 0, bytes: 0 }
    }

    /// Parses the next bytes. Calls `on_message` for each event that they complete.
    pub(super) fn feed(&mut self, piece: &[u8], on_message: &mut impl FnMut(Stamp)) -> Result<(), String> {
        self.bytes += piece.len() as u64;
        if self.is_checked {
            return self.repeated(piece, on_message);
        }
        self.first.extend_from_slice(piece);
        while let Some(end) = self.first.windows(END.len()).position(|window| window == END) {
            let rest = self.first.split_off(end + END.len());
            // A comment is no event.
            let Some(data) = data(&self.first) else {
                self.first = rest;
                continue;
            };
            if !self.document.is_same_json(&data) {
                return Err(format!("unexpected event {:?}", String::from_utf8_lossy(&self.first)));
            }
            self.first = without_retry(&self.first);
            self.is_checked = true;
            self.count(on_message);
            return self.repeated(&rest, on_message);
        }
        Ok(())
    }

    fn repeated(&mut self, mut piece: &[u8], on_message: &mut impl FnMut(Stamp)) -> Result<(), String> {
        while !piece.is_empty() {
            let expected = &self.first[self.at..];
            let (here, rest) = piece.split_at(piece.len().min(expected.len()));
            if *here != expected[..here.len()] {
                let here = String::from_utf8_lossy(here).into_owned();
                return Err(format!("event {} differs from the first one: {here:?}", self.messages + 1));
            }
            self.at += here.len();
            if self.at == self.first.len() {
                self.count(on_message);
            }
            piece = rest;
        }
        Ok(())
    }

    /// Counts an event. Events have no stamp.
    fn count(&mut self, on_message: &mut impl FnMut(Stamp)) {
        self.at = 0;
        self.messages += 1;
        on_message(Stamp::default());
    }

    /// Whether the body may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.at == 0 && (self.is_checked || self.first.is_empty())
    }
}

/// The event without the time of reconnection, which a server may state once.
fn without_retry(event: &[u8]) -> Vec<u8> {
    let lines: Vec<_> = event.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"retry:")).collect();
    lines.join(&b'\n')
}

/// The data of an event. `None` if it has none.
fn data(event: &[u8]) -> Option<Vec<u8>> {
    let lines = event.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then(|| lines.join(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Events {
        Events::new(Rc::new(Document::json(r#"{"id":"a"}"#).expect("JSON")))
    }

    #[test]
    fn events_are_parsed_from_pieces_of_any_size() {
        let body =
            b": hello\n\nretry: 3000\ndata: {\"id\": \"a\"}\n\ndata: {\"id\": \"a\"}\n\ndata: {\"id\": \"a\"}\n\n";
        for size in 1..=body.len() {
            let (mut events, mut counted) = (events(), 0);
            for piece in body.chunks(size) {
                events.feed(piece, &mut |_| counted += 1).expect("events");
            }
            assert_eq!((events.messages, counted), (3, 3), "pieces of {size}");
            assert!(events.is_whole());
        }
    }

    #[test]
    fn event_with_another_content_is_refused() {
        assert!(events().feed(b"data: {\"id\":\"b\"}\n\n", &mut |_| {}).is_err());
        let mut events = events();
        events.feed(b"data: {\"id\":\"a\"}\n\ndata: {\"id", &mut |_| {}).expect("one event");
        assert!(!events.is_whole());
        assert!(events.feed(b"\":\"b\"}\n\n", &mut |_| {}).is_err());
    }
}
