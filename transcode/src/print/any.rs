//! `google.protobuf.Any`.

use super::{Content, Printer, unrepresentable};
use crate::{
    error::{ErrorKind, Fallible, Fault, shorten},
    json::put_string,
    plan::{MessagePlan, Shape},
    wire::Span,
};

impl<'a> Printer<'a, '_> {
    pub(super) fn any(&mut self, plan: &'a MessagePlan, content: Content) -> Fallible<()> {
        let start = self.start_of(content);
        let nothing = Span { start: start.start, end: start.start };
        let [url, value] = self.last_values(plan, content)?.map(|value| value.unwrap_or(nothing));
        if url.start == url.end && value.start == value.end {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        let text = self.utf8(url)?;
        let Some((_, name)) = text.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else {
            return Err(unrepresentable(url, "the type URL of an Any has no message name behind a slash"));
        };
        let Some(id) = self.plans.find(name) else {
            let message = format!("the type {} of an Any is unknown", shorten(name));
            return Err(Fault::new(ErrorKind::Unknown, url.start as usize, message));
        };
        self.out.extend_from_slice(b"{\"@type\":");
        put_string(self.out, text);
        let inner = self.plans.message(id);
        let content = Content::Whole(value);
        if inner.shape == Shape::Object {
            self.enter(content)?;
            self.members(inner, content, false)?;
            self.leave();
        } else {
            self.out.extend_from_slice(b",\"value\":");
            self.message(id, content).map_err(|fault| fault.in_field("value"))?;
        }
        self.out.push(b'}');
        Ok(())
    }
}
