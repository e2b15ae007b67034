//! Paths to fields of a message, as HTTP bindings name them: `body`, `response_body`, path variables, query parameters.

use std::sync::Arc;

use crate::{
    error::{TranscodeError, restore, shorten},
    options::{Limits, ParseOptions, PrintOptions},
    parse,
    plan::{FieldPlan, Kind, Label, MessageId, Plans, Shape},
    print,
};

/// A path to a field of a message, compiled by [`Plan::field_path`](crate::Plan::field_path).
#[derive(Debug, Clone)]
pub struct FieldPath {
    plans: Arc<Plans>,
    /// Each message on the way, and the index of the field in it. Never empty.
    steps: Box<[(MessageId, usize)]>,
}

/// A path does not lead to a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldPathError {
    /// No field has the name.
    #[error("{message} has no field {name:?}")]
    UnknownField {
        /// The full name of the message.
        message: String,
        /// The name, shortened.
        name: String,
    },
    /// The path goes on behind a list, a map, a scalar, or a message whose JSON form is not an object of its fields.
    #[error("the field {name:?} of {message} is not a singular message with fields: a path must end there")]
    NotAMessage {
        /// The full name of the message.
        message: String,
        /// The name of the field.
        name: String,
    },
}

impl FieldPath {
    pub(crate) fn resolve(plans: &Arc<Plans>, root: MessageId, path: &str) -> Result<Self, FieldPathError> {
        let mut steps = Vec::new();
        let mut message = root;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let plan = plans.message(message);
            let index = plan.names.get(name).ok_or_else(|| FieldPathError::UnknownField {
                message: plan.full_name.to_string(),
                name: shorten(name),
            })? as usize;
            steps.push((message, index));
            if names.peek().is_some() {
                message = Self::inner(plans, &plan.fields[index]).ok_or_else(|| FieldPathError::NotAMessage {
                    message: plan.full_name.to_string(),
                    name: plan.fields[index].name.to_string(),
                })?;
            }
        }
        Ok(Self { plans: Arc::clone(plans), steps: steps.into_boxed_slice() })
    }

    /// The message that a path may go on into.
    fn inner(plans: &Plans, field: &FieldPlan) -> Option<MessageId> {
        let message = field.kind.message()?;
        (field.label == Label::Singular && plans.message(message).shape == Shape::Object).then_some(message)
    }

    fn last(&self) -> &FieldPlan {
        let (message, index) = self.steps[self.steps.len() - 1];
        &self.plans.message(message).fields[index]
    }

    /// Appends the field, with the messages around it, from the JSON text of the field's value: `body: "field"`. `null`
    /// leaves the field unset.
    ///
    /// The output is a part of a message: appended to other parts, it is merged with them. On an error the output is as
    /// before.
    ///
    /// # Errors
    ///
    /// Fails if the text is not JSON, is not a form of the field, or exceeds a limit.
    pub fn to_proto(
        &self,
        json: &[u8],
        options: &ParseOptions,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), TranscodeError> {
        restore(out, |out| parse::field(&self.plans, &self.steps, json, options, limits, out))
    }

    /// Appends the JSON text of the field in an encoded message: `response_body: "field"`. An absent field has its default
    /// value: zero, `""`, `[]` or `{}`; a message is `null`. On an error the output is as before.
    ///
    /// # Errors
    ///
    /// Fails if the bytes do not encode the message, if JSON has no form for the value, or if a limit is exceeded.
    pub fn to_json(
        &self,
        proto: &[u8],
        options: &PrintOptions,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), TranscodeError> {
        restore(out, |out| print::field(&self.plans, &self.steps, proto, options, limits, out))
    }

    /// Appends the field, with the messages around it, from text outside of JSON: a path variable or query parameter.
    ///
    /// The text is that of the value's JSON form, without quotes: `true`, `-7`, `1.5e3`, an enum value by name or number,
    /// `2001-02-03T04:05:06Z`, `1.5s`, `displayName,address.street`, base64. Appended to other parts of a message, a
    /// singular field replaces an earlier value, even by zero; a list and the paths of a `FieldMask` grow.
    ///
    /// On an error the output is as before. Its offset is 0, as each text is short and stands alone.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a value of the field, or if the field has no form as text: see
    /// [`FieldPath::accepts_text`].
    pub fn append_text(&self, text: &str, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        restore(out, |out| parse::append_text(&self.plans, &self.steps, text, out))
    }

    /// The names of the path as in the `.proto` file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|(message, index)| &*self.plans.message(*message).fields[*index].name)
    }

    /// Whether the field is a list. A map is none.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.last().label, Label::List { .. })
    }

    /// Whether the field, or an element of the list, has a form as text: a scalar, an enum, a wrapper, `Timestamp`,
    /// `Duration` or `FieldMask`.
    #[must_use]
    pub fn accepts_text(&self) -> bool {
        let field = self.last();
        let is_text = match field.kind {
            Kind::Message(id) => matches!(
                self.plans.message(id).shape,
                Shape::Wrapper | Shape::Timestamp | Shape::Duration | Shape::FieldMask
            ),
            Kind::Group(_) => false,
            _ => true,
        };
        is_text && field.label != Label::Map
    }

    /// Whether the field is a string: a scalar or a `StringValue`. Only such a field can hold a path variable that
    /// matches several segments.
    #[must_use]
    pub fn is_string(&self) -> bool {
        match self.last().kind {
            Kind::String => true,
            Kind::Message(id) => {
                let message = self.plans.message(id);
                message.shape == Shape::Wrapper && message.fixed(1).kind == Kind::String
            }
            _ => false,
        }
    }

    /// Whether the field is a message that is neither repeated nor without fields of its own in JSON.
    pub(crate) fn is_singular_message(&self) -> bool {
        Self::inner(&self.plans, self.last()).is_some()
    }

    /// The position of each field on the way in its message, and the number of its oneof.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (usize, Option<u32>)> {
        self.steps.iter().map(|(message, index)| (*index, self.plans.message(*message).fields[*index].oneof))
    }
}
