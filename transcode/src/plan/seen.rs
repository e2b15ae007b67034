//! One bit for each field and oneof of a message.

/// The bits of the messages on the way to the current one that do not fit a [`Bits`].
pub(crate) type MoreBits = Vec<u64>;

/// The bits of one message. The first 64 stand in place, so that most messages need no memory of the heap.
#[derive(Debug)]
pub(crate) struct Bits {
    first: u64,
    /// Where the further bits start.
    base: usize,
}

impl Bits {
    /// Starts a message with `words` times 64 bits.
    #[inline]
    pub(crate) fn start(words: usize, more: &mut MoreBits) -> Self {
        let base = more.len();
        if words > 1 {
            more.resize(base + words - 1, 0);
        }
        Self { first: 0, base }
    }

    /// Sets a bit; false if it was set.
    #[inline]
    pub(crate) fn mark(&mut self, bit: usize, more: &mut MoreBits) -> bool {
        let word = if bit < 64 { &mut self.first } else { &mut more[self.base + bit / 64 - 1] };
        let was_set = *word >> (bit % 64) & 1 == 1;
        *word |= 1 << (bit % 64);
        !was_set
    }

    /// Ends the message.
    #[inline]
    pub(crate) fn end(self, more: &mut MoreBits) {
        more.truncate(self.base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_is_set_once_in_each_message() {
        let mut more = MoreBits::new();
        let mut outer = Bits::start(3, &mut more);
        for bit in 0..192 {
            assert!(outer.mark(bit, &mut more));
            let mut inner = Bits::start(2, &mut more);
            assert!(inner.mark(bit % 128, &mut more) && !inner.mark(bit % 128, &mut more));
            inner.end(&mut more);
            assert!(!outer.mark(bit, &mut more));
        }
        outer.end(&mut more);
        assert!(more.is_empty());
    }
}
