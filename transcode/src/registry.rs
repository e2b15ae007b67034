//! The entry points: a registry of plans, and the plan of a message.

use std::sync::Arc;

use prost_reflect::DescriptorPool;

use crate::{
    error::{TranscodeError, restore},
    field_path::{FieldPath, FieldPathError},
    options::{Limits, ParseOptions, PrintOptions},
    parse,
    plan::{MessageId, Plans, Shape},
    print,
};

/// The plans of all messages of a descriptor pool.
///
/// Compiling takes time in the order of the descriptors: do it once for a pool, not for each call. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Registry {
    plans: Arc<Plans>,
}

/// The compiled descriptor of a message. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Plan {
    plans: Arc<Plans>,
    message: MessageId,
}

impl Registry {
    /// Compiles all messages and enums of the pool, with their extensions.
    #[must_use]
    pub fn new(pool: &DescriptorPool) -> Self {
        Self { plans: Arc::new(Plans::compile(pool)) }
    }

    /// The plan of a message by its full name, such as `trellis.users.v1.GetUserRequest`.
    #[must_use]
    pub fn message(&self, full_name: &str) -> Option<Plan> {
        let message = self.plans.find(full_name)?;
        Some(Plan { plans: Arc::clone(&self.plans), message })
    }
}

impl Plan {
    /// The registry that the plan belongs to.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry { plans: Arc::clone(&self.plans) }
    }

    /// The full name of the message.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.plans.message(self.message).full_name
    }

    /// Appends the protobuf bytes of a JSON text. The text is one JSON value, with white space around it.
    ///
    /// On an error the output is as before.
    ///
    /// # Errors
    ///
    /// Fails if the text is not JSON, is not a form of the message, or exceeds a limit.
    pub fn to_proto(
        &self,
        json: &[u8],
        options: &ParseOptions,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), TranscodeError> {
        restore(out, |out| parse::message(&self.plans, self.message, json, options, limits, out))
    }

    /// Appends the JSON text of protobuf bytes: one line without white space.
    ///
    /// On an error the output is as before.
    ///
    /// # Errors
    ///
    /// Fails if the bytes do not encode the message, if JSON has no form for a value, or if a limit is exceeded.
    pub fn to_json(
        &self,
        proto: &[u8],
        options: &PrintOptions,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), TranscodeError> {
        restore(out, |out| print::message(&self.plans, self.message, proto, options, limits, out))
    }

    /// Compiles a path of field names such as `user.address.street`. Names are those of the `.proto` file or of JSON.
    ///
    /// # Errors
    ///
    /// Fails if a name is unknown, or if a name other than the last one is not a singular message.
    pub fn field_path(&self, path: &str) -> Result<FieldPath, FieldPathError> {
        FieldPath::resolve(&self.plans, self.message, path)
    }

    /// Whether the JSON form is an object of the message's fields, as for all messages but some well-known types.
    pub(crate) fn is_object(&self) -> bool {
        self.plans.message(self.message).shape == Shape::Object
    }
}
