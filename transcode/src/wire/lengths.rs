//! Length prefixes of messages whose length is known only after their content.
//!
//! [`Lengths::open`] reserves one byte. [`Lengths::close`] fills it if the length fits, which is the common case, and
//! otherwise notes the place. [`Lengths::finish`] makes room for all noted lengths in one pass from the back, so that each
//! byte of the output moves at most once, in few large pieces. A message that stays open while bytes are noted inside
//! counts them, because `extra` is a running total.

use super::{put_varint, varint_length};

/// The lengths that need more than one byte.
#[derive(Debug, Default)]
pub(crate) struct Lengths {
    /// The reserved byte and the length. The places ascend. Messages that are open stand here too.
    wide: Vec<(usize, usize)>,
    /// The bytes that [`Lengths::finish`] will add.
    extra: usize,
}

/// A message whose content is being written.
#[derive(Debug)]
#[must_use]
pub(crate) struct Open {
    at: usize,
    slot: usize,
    extra: usize,
}

impl Lengths {
    /// Reserves the length of a message that starts here.
    pub(crate) fn open(&mut self, out: &mut Vec<u8>) -> Open {
        let open = Open { at: out.len(), slot: self.wide.len(), extra: self.extra };
        self.wide.push((open.at, 0));
        out.push(0);
        open
    }

    /// Sets the length of a message that ends here.
    pub(crate) fn close(&mut self, out: &mut [u8], open: Open) {
        let length = out.len() - open.at - 1 + (self.extra - open.extra);
        match u8::try_from(length).ok().filter(|length| *length < 0x80) {
            // All messages inside are shorter still, and have left the list.
            Some(length) => {
                out[open.at] = length;
                self.wide.pop();
            }
            None => {
                self.wide[open.slot].1 = length;
                self.extra += varint_length(length as u64) - 1;
            }
        }
    }

    /// Removes a message that was opened, with its content and its length.
    pub(crate) fn cancel(&mut self, out: &mut Vec<u8>, open: Open) {
        out.truncate(open.at);
        self.wide.truncate(open.slot);
        self.extra = open.extra;
    }

    /// Whether the open message has no content yet.
    pub(crate) fn is_empty(&self, out: &[u8], open: &Open) -> bool {
        out.len() == open.at + 1
    }

    /// The bytes that the output will have.
    pub(crate) fn total(&self, out: &[u8]) -> usize {
        out.len() + self.extra
    }

    /// Writes the lengths that need more than one byte. All messages are closed.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        let mut source = out.len();
        out.resize(source + self.extra, 0);
        let mut target = out.len();
        let mut prefix = Vec::with_capacity(10);
        for (at, length) in self.wide.into_iter().rev() {
            let content = at + 1;
            target -= source - content;
            out.copy_within(content..source, target);
            prefix.clear();
            put_varint(&mut prefix, length as u64);
            target -= prefix.len();
            out[target..target + prefix.len()].copy_from_slice(&prefix);
            source = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes messages nested `depth` deep, each with `bytes` bytes before and after the inner message.
    fn nested(lengths: &mut Lengths, out: &mut Vec<u8>, depth: usize, bytes: usize) {
        if depth == 0 {
            return;
        }
        out.push(0x0A);
        let open = lengths.open(out);
        out.extend(std::iter::repeat_n(0xAA, bytes));
        nested(lengths, out, depth - 1, bytes);
        out.extend(std::iter::repeat_n(0xBB, bytes));
        lengths.close(out, open);
    }

    /// The same, built from the inside.
    fn expected(depth: usize, bytes: usize) -> Vec<u8> {
        let mut inner = Vec::new();
        for _ in 0..depth {
            let content = [vec![0xAA; bytes], inner, vec![0xBB; bytes]].concat();
            inner = vec![0x0A];
            put_varint(&mut inner, content.len() as u64);
            inner.extend(content);
        }
        inner
    }

    #[test]
    fn nested_lengths_of_every_width_are_right() {
        for (depth, bytes) in [(1, 0), (1, 63), (1, 64), (3, 40), (8, 70), (3, 9_000), (2, 1_100_000), (40, 3)] {
            let (mut lengths, mut out) = (Lengths::default(), vec![1, 2, 3]);
            nested(&mut lengths, &mut out, depth, bytes);
            nested(&mut lengths, &mut out, 1, 2);
            nested(&mut lengths, &mut out, depth, bytes);
            let total = lengths.total(&out);
            lengths.finish(&mut out);
            let parts = [vec![1, 2, 3], expected(depth, bytes), expected(1, 2), expected(depth, bytes)];
            assert_eq!(out, parts.concat(), "{depth} {bytes}");
            assert_eq!(out.len(), total);
        }
    }

    #[test]
    fn a_cancelled_message_leaves_no_length() {
        let (mut lengths, mut out) = (Lengths::default(), Vec::new());
        let outer = lengths.open(&mut out);
        let open = lengths.open(&mut out);
        nested(&mut lengths, &mut out, 2, 300);
        lengths.cancel(&mut out, open);
        assert!(lengths.is_empty(&out, &outer));
        lengths.close(&mut out, outer);
        lengths.finish(&mut out);
        assert_eq!(out, [0]);
    }
}
