//! The roles of the contract, and the permissions that they grant.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, prost::Message as _};
use proto::policy::v1::{Permission, RoleGrants};

/// The role that administers accounts. At least one active account has it.
pub const ADMIN: &str = "admin";

/// The enum of the roles, and the option of its values.
const ROLE: &str = "trellis.policy.v1.Role";
const OPTION: &str = "trellis.policy.v1.role";

/// The roles of a descriptor set.
#[derive(Debug, Default, Clone)]
pub struct Roles {
    /// The numbers of the permissions, by role.
    grants: BTreeMap<String, Vec<i32>>,
}

/// A permission that a method needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededPermission {
    /// The scope that the token must have.
    pub scope: String,
    /// The roles that grant it, of which the user must have one.
    pub roles: Vec<String>,
}

impl Roles {
    pub(super) fn of(pool: &DescriptorPool) -> Self {
        let declared = pool.get_enum_by_name(ROLE).zip(pool.get_extension_by_name(OPTION));
        let Some((roles, extension)) = declared else { return Self::default() };
        let mut grants = BTreeMap::new();
        for role in roles.values().filter(|role| role.number() != 0) {
            let option = role.options().get_extension(&extension).as_message().map(|option| option.encode_to_vec());
            let granted = option.and_then(|option| RoleGrants::decode(option.as_slice()).ok()).unwrap_or_default();
            grants.insert(name(role.name()), granted.permissions);
        }
        Self { grants }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.grants.keys().map(String::as_str)
    }

    /// The scopes of a user with these roles, in order and each once. Unknown roles grant nothing.
    pub fn scopes<'a>(&self, roles: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        let granted = roles.into_iter().filter_map(|role| self.grants.get(role)).flatten();
        let mut scopes: Vec<_> = granted.filter_map(|number| Permission::try_from(*number).ok()).map(scope).collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }

    /// What a method needs that requires the permission. No caller has an unknown permission: it has no scope.
    pub(super) fn needed(&self, permission: i32) -> NeededPermission {
        let granting = self.grants.iter().filter(|(_, granted)| granted.contains(&permission));
        let scope = Permission::try_from(permission).map(scope).unwrap_or_default();
        NeededPermission { scope, roles: granting.map(|(role, _)| role.clone()).collect() }
    }
}

/// `ROLE_ADMIN` → `admin`.
fn name(value: &str) -> String {
    value.trim_start_matches("ROLE_").to_ascii_lowercase()
}

/// `PERMISSION_ACCOUNTS_READ` → `accounts.read`.
fn scope(permission: Permission) -> String {
    permission.as_str_name().trim_start_matches("PERMISSION_").to_ascii_lowercase().replace('_', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> Roles {
        Roles::of(&DescriptorPool::decode(proto::DESCRIPTORS).unwrap())
    }

    #[test]
    fn role_grants_only_the_permissions_of_its_option() {
        let scopes =
            |roles_of: &[&str]| roles().scopes(&roles_of.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>());
        assert!(roles().names().eq([ADMIN, "auditor", "support"]));
        assert_eq!(scopes(&["support"]), ["accounts.read", "sessions.end"]);
        assert_eq!(scopes(&["auditor"]), ["audit.read"]);
        let all = ["accounts.read", "accounts.suspend", "audit.personal", "audit.read", "roles.write", "sessions.end"];
        assert_eq!(scopes(&[ADMIN, "support"]), all);
        assert!(scopes(&[]).is_empty() && scopes(&["unspecified", "operator", "Admin"]).is_empty());
    }

    #[test]
    fn permission_without_a_role_is_granted_to_no_user() {
        let write = i32::from(Permission::RolesWrite);
        assert_eq!(roles().needed(write).roles, [ADMIN]);
        // A contract of a newer release names a permission that this process does not know.
        assert_eq!(roles().needed(99), NeededPermission { scope: String::new(), roles: Vec::new() });
        assert!(Roles::of(&DescriptorPool::new()).needed(write).roles.is_empty());
    }
}
