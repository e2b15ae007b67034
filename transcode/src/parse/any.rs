//! `google.protobuf.Any`: an object with the type in `@type`. The fields of the message stand beside it; a message with a
//! JSON form of its own stands in the member `value`.
//!
//! Writers put `@type` first. If it is not first, the parser reads ahead to find it, and then reads the members again. Each
//! `Any` inside another one may do so, and thus the bytes inside are read once more for each level: the levels are bounded.

use std::borrow::Cow;

use super::Parser;
use crate::{
    error::{ErrorKind, Fallible, Fault, shorten},
    plan::{MessageId, MessagePlan, Shape},
    wire::put_varint,
};

/// How many `Any` messages inside one another may have their type behind other members.
const READS_AHEAD: usize = 8;

impl<'a> Parser<'a, '_> {
    pub(super) fn any(&mut self, plan: &'a MessagePlan) -> Fallible<()> {
        self.reader.expect(b'{', "an object")?;
        let start = self.reader.position();
        if self.reader.peek() == b'}' {
            self.reader.next_member(true)?;
            return Ok(());
        }
        self.reader.next_member(true)?;
        self.reader.peek();
        let first = self.reader.position();
        if self.reader.key()? == "@type" {
            let content = self.any_type(plan)?;
            return self.any_content(plan, content, false, 0);
        }
        if self.read_ahead == READS_AHEAD {
            return Err(Fault::new(ErrorKind::Limit, first, "too many nested messages without @type as first member"));
        }
        self.read_ahead += 1;
        let content = self.find_type(plan, start)?;
        self.any_content(plan, content, true, 1)?;
        self.read_ahead -= 1;
        Ok(())
    }

    /// Looks for `@type` among the members, writes the type, and goes back to the first member.
    fn find_type(&mut self, plan: &'a MessagePlan, start: usize) -> Fallible<MessageId> {
        self.reader.skip()?;
        while self.reader.next_member(false)? {
            if self.reader.key()? == "@type" {
                let content = self.any_type(plan)?;
                self.reader.rewind(start);
                return Ok(content);
            }
            self.reader.skip()?;
        }
        Err(Fault::new(ErrorKind::Value, start, "the member @type is missing: it names the type of the message"))
    }

    /// Reads and writes the type, and finds its plan.
    fn any_type(&mut self, plan: &'a MessagePlan) -> Fallible<MessageId> {
        self.reader.peek();
        let position = self.reader.position();
        let url: Cow<'a, str> = self.reader.string().map_err(|fault| fault.in_field("@type"))?;
        let Some((_, name)) = url.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else {
            let message = "expected a type such as \"type.googleapis.com/package.Message\"";
            return Err(Fault::new(ErrorKind::Value, position, message).in_field("@type"));
        };
        let Some(content) = self.plans.find(name) else {
            let message = format!("the type {} is unknown", shorten(name));
            return Err(Fault::new(ErrorKind::Unknown, position, message).in_field("@type"));
        };
        self.put_tag(&plan.fixed(1).tag);
        put_varint(self.out, url.len() as u64);
        self.out.extend_from_slice(url.as_bytes());
        Ok(content)
    }

    /// Writes the message from the members beside the type.
    fn any_content(&mut self, plan: &'a MessagePlan, id: MessageId, is_first: bool, types: usize) -> Fallible<()> {
        self.put_tag(&plan.fixed(2).tag);
        let open = self.lengths.open(self.out);
        let content = self.plans.message(id);
        if content.shape == Shape::Object {
            self.enter()?;
            self.members(content, is_first, Some(types))?;
            self.leave();
        } else {
            self.any_value(id, is_first, types)?;
        }
        self.lengths.close(self.out, open);
        Ok(())
    }

    /// Writes a message with a JSON form of its own from the member `value`.
    fn any_value(&mut self, id: MessageId, mut is_first: bool, mut types: usize) -> Fallible<()> {
        let mut has_value = false;
        let start = self.reader.position();
        while self.reader.next_member(is_first)? {
            is_first = false;
            self.reader.peek();
            let position = self.reader.position();
            let key = self.reader.key()?;
            match &*key {
                "@type" => self.type_member(&mut types, position)?,
                "value" if has_value => {
                    let message = "the member occurs twice: send it once";
                    return Err(Fault::new(ErrorKind::Duplicate, position, message).in_field("value"));
                }
                "value" => {
                    has_value = true;
                    self.message(id).map_err(|fault| fault.in_field("value"))?;
                }
                _ => self.unknown_member(self.plans.message(id), &key, position)?,
            }
        }
        if has_value {
            return Ok(());
        }
        let message = "the member value is missing: messages of this type stand there";
        Err(Fault::new(ErrorKind::Value, start, message))
    }
}
