//! The entry points: a registry of plans, and the plan of a message.

use std::sync::Arc;

use prost_reflect::DescriptorPool;

use crate::{
    field_path::{FieldPath, FieldPathError},
    plan::{MessageId, Plans},
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
    /// The full name of the message.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.plans.message(self.message).full_name
    }

    /// Compiles a path of field names such as `user.address.street`. Names are those of the `.proto` file or of JSON.
    ///
    /// # Errors
    ///
    /// Fails if a name is unknown, or if a name other than the last one is not a singular message.
    pub fn field_path(&self, path: &str) -> Result<FieldPath, FieldPathError> {
        FieldPath::resolve(&self.plans, self.message, path)
    }
}
