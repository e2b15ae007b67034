//! Reads over a value that is not converted.

use super::Reader;
use crate::error::{ErrorKind, Fallible, Fault};

impl Reader<'_> {
    /// Reads over a value, and checks that it is JSON.
    pub(crate) fn skip(&mut self) -> Fallible<()> {
        self.skip_within(self.depth)
    }

    fn skip_within(&mut self, depth: usize) -> Fallible<()> {
        match self.peek() {
            b'"' => self.skip_string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'{' => self.skip_object(self.deeper(depth)?),
            b'[' => self.skip_array(self.deeper(depth)?),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn deeper(&self, depth: usize) -> Fallible<usize> {
        let too_deep = || Fault::new(ErrorKind::Limit, self.at, "objects and arrays are nested too deeply");
        depth.checked_sub(1).ok_or_else(too_deep)
    }

    fn skip_object(&mut self, depth: usize) -> Fallible<()> {
        self.expect(b'{', "an object")?;
        let mut is_first = true;
        while self.next_member(is_first)? {
            is_first = false;
            if self.peek() != b'"' {
                return Err(self.unexpected("a member name in double quotes"));
            }
            self.skip_string()?;
            self.expect(b':', "':'")?;
            self.skip_within(depth)?;
        }
        Ok(())
    }

    fn skip_array(&mut self, depth: usize) -> Fallible<()> {
        self.expect(b'[', "an array")?;
        let mut is_first = true;
        while self.next_element(is_first)? {
            is_first = false;
            self.skip_within(depth)?;
        }
        Ok(())
    }

    fn skip_string(&mut self) -> Fallible<()> {
        self.string().map(drop)
    }
}
