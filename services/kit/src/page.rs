//! Bounds list pages in rows and in bytes.

use prost::Message;

/// The maximum size of the tag and the length of an item in a repeated field.
const FRAME: usize = 1 + 5;

/// The number of bytes for the items of a page, so that its response fits into a message of `message_bytes`: the other
/// half is for the rest of the response.
pub fn budget(message_bytes: usize) -> usize {
    message_bytes / 2
}

/// How many of the first `items` fit into `bytes`. The first item always fits: an empty page would never end.
pub fn fitting<T: Message>(items: &[T], bytes: usize) -> usize {
    let mut left = bytes;
    let mut fits = |item: &T| match left.checked_sub(item.encoded_len() + FRAME) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    items.iter().map_while(|item| fits(item).then_some(())).count().max(1).min(items.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_ends_at_its_byte_limit() {
        let items: Vec<String> = ["a", "bc", "def"].map(str::to_owned).to_vec();
        let bytes = |some: &[String]| some.iter().map(|item| item.encoded_len() + FRAME).sum::<usize>();
        for n in 1..=3 {
            assert_eq!(fitting(&items, bytes(&items[..n])), n);
        }
        assert_eq!(fitting(&items, bytes(&items) - 1), 2);
        assert_eq!(fitting(&items, 0), 1, "a page contains at least one item");
        assert_eq!(fitting::<String>(&[], 100), 0);
    }
}
