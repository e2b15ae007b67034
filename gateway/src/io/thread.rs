//! Which thread of `gateway.threads` this is.

use std::cell::Cell;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The number of the current thread, from 1 on; 0 for every thread that does not serve connections alone.
pub(crate) fn number() -> usize {
    NUMBER.get()
}

/// Numbers the current thread.
pub(crate) fn set_number(number: usize) {
    NUMBER.set(number);
}
