//! The table of access rules in `docs/access.md`, made from the contracts.

use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, MethodDescriptor};
use proto::policy::v1::{Permission, Policy, RoleGrants, access::Rule};

/// The caller of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Anonymous,
    /// A user who has no part in the resource.
    OtherUser,
    /// A user in the conversation.
    Member,
    /// The user whose conversation, message, session or profile it is.
    Owner,
    /// A user with the role and no part in the resource.
    Role(&'static str),
    /// A service, or the gateway.
    Service(&'static str),
}

impl Caller {
    /// All callers, in the order of the columns.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let users = [Self::Anonymous, Self::OtherUser, Self::Member, Self::Owner];
        users
            .into_iter()
            .chain(ROLES.map(Self::Role))
            .chain(proto::SERVICES.into_iter().chain(["gateway"]).map(Self::Service))
    }

    /// The title of the column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::OtherUser => "other user",
            Self::Member => "member",
            Self::Owner => "owner",
            Self::Role(name) | Self::Service(name) => name,
        }
    }
}

/// The roles of the contract.
const ROLES: [&str; 3] = ["support", "auditor", "admin"];

/// Whose resources a method reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The caller's own resources, or those that every caller of the method may see.
    Any,
    /// A resource of the owner that the request names: the user of the session or profile, the creator of the
    /// conversation, the author of the message.
    Owner,
    /// A conversation of its members. AcceptInvitation is also for invited users; the other user has no invitation.
    Member,
}

/// The reach of every method, among the callers that its access rule admits.
const REACH: &[(&str, Reach)] = &[
    ("auth.v1.AuthService/ChangeEmail", Reach::Any),
    ("auth.v1.AuthService/ChangePassword", Reach::Any),
    ("auth.v1.AuthService/ClaimAdmin", Reach::Any),
    ("auth.v1.AuthService/ConfirmEmailChange", Reach::Any),
    ("auth.v1.AuthService/DeleteAccount", Reach::Any),
    ("auth.v1.AuthService/EndAccountSessions", Reach::Any),
    ("auth.v1.AuthService/GetAccount", Reach::Any),
    ("auth.v1.AuthService/GetEmail", Reach::Any),
    ("auth.v1.AuthService/GetJwks", Reach::Any),
    ("auth.v1.AuthService/GrantRole", Reach::Any),
    ("auth.v1.AuthService/ListAccountSessions", Reach::Any),
    ("auth.v1.AuthService/ListAccounts", Reach::Any),
    ("auth.v1.AuthService/ListAuditEvents", Reach::Any),
    ("auth.v1.AuthService/ListEndedSessions", Reach::Any),
    ("auth.v1.AuthService/ListMailbox", Reach::Any),
    ("auth.v1.AuthService/ListSessions", Reach::Any),
    ("auth.v1.AuthService/Reauthenticate", Reach::Any),
    ("auth.v1.AuthService/RefreshToken", Reach::Any),
    ("auth.v1.AuthService/ReleaseEmail", Reach::Any),
    ("auth.v1.AuthService/RequestEmailVerification", Reach::Any),
    ("auth.v1.AuthService/RequestPasswordReset", Reach::Any),
    ("auth.v1.AuthService/ResetPassword", Reach::Any),
    ("auth.v1.AuthService/RestoreAccount", Reach::Any),
    ("auth.v1.AuthService/RevokeAllSessions", Reach::Any),
    ("auth.v1.AuthService/RevokeRole", Reach::Any),
    ("auth.v1.AuthService/RevokeSession", Reach::Owner),
    ("auth.v1.AuthService/SignIn", Reach::Any),
    ("auth.v1.AuthService/SignOut", Reach::Any),
    ("auth.v1.AuthService/SignUp", Reach::Any),
    ("auth.v1.AuthService/SuspendAccount", Reach::Any),
    ("auth.v1.AuthService/UndoEmailChange", Reach::Any),
    ("auth.v1.AuthService/VerifyEmail", Reach::Any),
    ("messaging.v1.MessagingService/AcceptInvitation", Reach::Member),
    ("messaging.v1.MessagingService/AddMember", Reach::Member),
    ("messaging.v1.MessagingService/BlockUser", Reach::Any),
    ("messaging.v1.MessagingService/CreateConversation", Reach::Any),
    ("messaging.v1.MessagingService/DeclineInvitation", Reach::Any),
    ("messaging.v1.MessagingService/DeleteMember", Reach::Any),
    ("messaging.v1.MessagingService/DeleteMessage", Reach::Owner),
    ("messaging.v1.MessagingService/EditMessage", Reach::Owner),
    ("messaging.v1.MessagingService/GetConversation", Reach::Member),
    ("messaging.v1.MessagingService/GetMessage", Reach::Member),
    ("messaging.v1.MessagingService/GetSettings", Reach::Any),
    ("messaging.v1.MessagingService/LeaveConversation", Reach::Any),
    ("messaging.v1.MessagingService/ListAuditEvents", Reach::Any),
    ("messaging.v1.MessagingService/ListBlockedUsers", Reach::Any),
    ("messaging.v1.MessagingService/ListContacts", Reach::Any),
    ("messaging.v1.MessagingService/ListConversations", Reach::Any),
    ("messaging.v1.MessagingService/ListInvitations", Reach::Any),
    ("messaging.v1.MessagingService/ListMembers", Reach::Member),
    ("messaging.v1.MessagingService/ListMessages", Reach::Member),
    ("messaging.v1.MessagingService/MarkRead", Reach::Member),
    ("messaging.v1.MessagingService/RemoveMember", Reach::Owner),
    ("messaging.v1.MessagingService/SendMessage", Reach::Member),
    ("messaging.v1.MessagingService/Subscribe", Reach::Any),
    ("messaging.v1.MessagingService/UnblockUser", Reach::Any),
    ("messaging.v1.MessagingService/UpdateConversation", Reach::Member),
    ("messaging.v1.MessagingService/UpdateSettings", Reach::Any),
    ("users.v1.UsersService/BatchGetUsers", Reach::Any),
    ("users.v1.UsersService/CreateUser", Reach::Any),
    ("users.v1.UsersService/DeleteUser", Reach::Any),
    ("users.v1.UsersService/GetUser", Reach::Any),
    ("users.v1.UsersService/ListAuditEvents", Reach::Any),
    ("users.v1.UsersService/ListUsers", Reach::Any),
    ("users.v1.UsersService/UpdateUser", Reach::Owner),
];

/// The path and the policy of every method, in the order of the paths. Panics if `REACH` does not list exactly these
/// methods.
pub(crate) fn rules() -> Vec<(String, Policy)> {
    let pool = pool();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let mut rules: Vec<_> = methods.map(|method| (path(&method), policy(&pool, &method))).collect();
    rules.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (path, _) in &rules {
        reach(path);
    }
    let exists = |method: &str| rules.iter().any(|(path, _)| path.strip_prefix("/trellis.") == Some(method));
    if let Some((gone, _)) = REACH.iter().find(|(method, _)| !exists(method)) {
        panic!("{gone} of REACH in proto/examples/access_table/table.rs does not exist: remove it");
    }
    rules
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTORS).expect("the build has checked the contracts")
}

/// The permissions of each role of the contract. Panics if `ROLES` does not list exactly these roles.
pub(crate) fn grants() -> Vec<(&'static str, Vec<i32>)> {
    let pool = pool();
    let option = pool.get_extension_by_name("trellis.policy.v1.role").expect("the contracts declare the option");
    let declared = pool.get_enum_by_name("trellis.policy.v1.Role").expect("the contracts declare the roles");
    let declared: Vec<_> = declared.values().filter(|role| role.number() != 0).collect();
    assert_eq!(declared.len(), ROLES.len(), "list the roles in ROLES of proto/examples/access_table/table.rs");
    let granted = |name: &'static str| {
        let role = declared.iter().find(|role| role.name().trim_start_matches("ROLE_").eq_ignore_ascii_case(name));
        let role = role.unwrap_or_else(|| panic!("the role {name} of ROLES does not exist"));
        let grants =
            role.options().get_extension(&option).as_message().map(|grants| grants.transcode_to::<RoleGrants>());
        grants.expect("the build has checked that the role has grants").expect("the types are the same").permissions
    };
    ROLES.map(|name| (name, granted(name))).into()
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

fn policy(pool: &DescriptorPool, method: &MethodDescriptor) -> Policy {
    let extension = pool.get_extension_by_name("trellis.policy.v1.method").expect("the contracts declare the option");
    let options = method.options();
    let policy = options.get_extension(&extension).as_message().map(|policy| policy.transcode_to::<Policy>());
    policy.expect("the build has checked that the method has a policy").expect("the types are the same")
}

/// The access rule of a policy.
fn rule(policy: &Policy) -> &Rule {
    let rule = policy.access.as_ref().and_then(|access| access.rule.as_ref());
    rule.expect("the build has checked that the policy has a rule")
}

/// Whether a method with this policy admits the caller. A caller with a role has proved recently who they are.
pub(crate) fn admits(path: &str, policy: &Policy, caller: Caller) -> bool {
    match (rule(policy), caller) {
        (Rule::Public(_), _) => true,
        (Rule::Internal(internal), Caller::Service(name)) => internal.callers.iter().any(|caller| caller == name),
        (Rule::Internal(_), _) | (Rule::SignedIn(_), Caller::Anonymous | Caller::Service(_)) => false,
        (Rule::SignedIn(needed), caller) if !needed.permissions.is_empty() => {
            let has = |of: &str, permission| grants().iter().any(|(role, all)| *role == of && all.contains(permission));
            matches!(caller, Caller::Role(role) if needed.permissions.iter().all(|permission| has(role, permission)))
        }
        (Rule::SignedIn(_), caller) => match reach(path) {
            Reach::Any => true,
            Reach::Member => matches!(caller, Caller::Member | Caller::Owner),
            Reach::Owner => caller == Caller::Owner,
        },
    }
}

fn reach(path: &str) -> Reach {
    let found = REACH.iter().find(|(method, _)| path.strip_prefix("/trellis.") == Some(method));
    found
        .unwrap_or_else(|| panic!("{path} is missing in REACH of proto/examples/access_table/table.rs: add its reach"))
        .1
}

/// The page.
pub(crate) fn page() -> String {
    let mut text = String::from(
        "# Access rules\n\n\
         Generated by `cargo xtask gen`; the tests check every cell. Each column is a principal, which a credential \
         proves: none for *anonymous*; an access token for the next six, users in a session; a service token \
         for the others, services of the mesh that call for themselves, without a user's token.\n\n\
         *Owner*: the user of the session or profile, the creator of the conversation, or the author of the message. \
         *Member*: in the conversation. Invited users may also call AcceptInvitation; the *other user* has no \
         invitation. *support*, *auditor* and *admin*: users with this [role](#roles) who have no part in the resource.\n\n\
         | method |",
    );
    // Writing to a string cannot fail.
    for caller in Caller::all() {
        write!(text, " {} |", caller.title()).ok();
    }
    writeln!(text, "\n|---|{}", "---|".repeat(Caller::all().count())).ok();
    for (path, policy) in rules() {
        let mark = if policy.step_up.is_some() { " ¹" } else { "" };
        write!(text, "| {}{mark} |", path.trim_start_matches("/trellis.")).ok();
        for caller in Caller::all() {
            write!(text, " {} |", if admits(&path, &policy, caller) { "yes" } else { "–" }).ok();
        }
        text.push('\n');
    }
    text.push_str(STEP_UP);
    for (role, permissions) in grants() {
        let names = permissions.into_iter().filter_map(|number| Permission::try_from(number).ok()).map(scope);
        writeln!(text, "| `{role}` | {} |", names.collect::<Vec<_>>().join(", ")).ok();
    }
    text.push_str(ROLES_END);
    text
}

/// `PERMISSION_ACCOUNTS_READ` → `accounts.read`, in Markdown.
fn scope(permission: Permission) -> String {
    let name = permission.as_str_name().trim_start_matches("PERMISSION_").to_ascii_lowercase().replace('_', ".");
    format!("`{name}`")
}

const STEP_UP: &str = "
¹ The user must have proved who they are within the last ten minutes (`step_up` of the policy). Otherwise the call fails \
with `UNAUTHENTICATED`, `STEP_UP_REQUIRED`; the metadata of its ErrorInfo has the accepted proofs (`proofs`: `pwd`, a \
password) and the maximum age (`max_age_seconds`). The client calls Reauthenticate, and repeats the call with the new \
access token. The time of the proof belongs to the session, so that refreshed tokens carry it too (`auth_time`).

## Roles

A role of an account grants permissions, and a method names the permissions that it needs, both in the contract \
(`trellis.policy.v1`). The access token carries the roles and, as its scope, their permissions. The gateway and the \
service require both: a role that grants the permission (otherwise `PERMISSION_DENIED`, `ROLE_REQUIRED`), and a token \
whose scope names it (`SCOPE_REQUIRED`). The metadata of the error names the `permission` and the `roles` that grant it.

| role | permissions |
|---|---|
";

const ROLES_END: &str = "
- **First admin.** While no account is an admin, a process of all parts prints a link at its start, if its output is a \
terminal. `trellis admin invite` prints one at any time, on a machine with auth's configuration. The account that opens \
the link becomes an admin. A link works once, for `auth.admin_code_lifetime`, and is stored as a hash.
- **On the command line** `trellis admin` calls the same methods through the gateway on the same machine, as an admin who signs in: \
`users`, `show`, `grant`, `revoke`, `suspend`, `restore`, `reset`, `sessions`, `end-sessions` and `audit`. Each prints JSON with \
`--json`: `trellis admin --admin ada@example.org --password-file FILE users --role admin`. `--token-file` replaces the sign-in.
- **Granting** takes effect with the next access token: at the latest after `auth.access_lifetime`, at once after a new \
sign-in, and for the caller of ClaimAdmin in its response.
- **Revoking** ends all sessions of the account, and suspending too: every process refuses their access tokens and ends \
their streams as for any [ended session](ARCHITECTURE.md#authentication). A restored account must sign in again.
- **The last admin stays**: an account cannot lose the role, be suspended or be deleted while no other active account has \
it (`FAILED_PRECONDITION`, `LAST_ADMIN`).
- **Roles of your own** (`auth.own_roles`) can be granted too. They grant no permission here. Your own services, \
[forward authentication](gateway.md#forward-authentication) and the rules of the gateway read them from the token.
";
