//! The table of access rules in `docs/access.md`, made from the contracts.

use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, MethodDescriptor};
use proto::policy::v1::{Policy, access::Rule};

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
    /// A user with the role `admin` and no part in the resource.
    Admin,
    /// A service, or the gateway.
    Service(&'static str),
}

impl Caller {
    /// All callers, in the order of the columns.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let users = [Self::Anonymous, Self::OtherUser, Self::Member, Self::Owner, Self::Admin];
        users.into_iter().chain(proto::SERVICES.into_iter().chain(["gateway"]).map(Self::Service))
    }

    /// The title of the column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::OtherUser => "other user",
            Self::Member => "member",
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Service(name) => name,
        }
    }
}

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
    ("auth.v1.AuthService/ConfirmEmailChange", Reach::Any),
    ("auth.v1.AuthService/DeleteAccount", Reach::Any),
    ("auth.v1.AuthService/GetEmail", Reach::Any),
    ("auth.v1.AuthService/GetJwks", Reach::Any),
    ("auth.v1.AuthService/ListEndedSessions", Reach::Any),
    ("auth.v1.AuthService/ListMailbox", Reach::Any),
    ("auth.v1.AuthService/ListSessions", Reach::Any),
    ("auth.v1.AuthService/RefreshToken", Reach::Any),
    ("auth.v1.AuthService/ReleaseEmail", Reach::Any),
    ("auth.v1.AuthService/RequestEmailVerification", Reach::Any),
    ("auth.v1.AuthService/RequestPasswordReset", Reach::Any),
    ("auth.v1.AuthService/ResetPassword", Reach::Any),
    ("auth.v1.AuthService/RevokeAllSessions", Reach::Any),
    ("auth.v1.AuthService/RevokeSession", Reach::Owner),
    ("auth.v1.AuthService/SignIn", Reach::Any),
    ("auth.v1.AuthService/SignOut", Reach::Any),
    ("auth.v1.AuthService/SignUp", Reach::Any),
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
    ("users.v1.UsersService/GetNames", Reach::Any),
    ("users.v1.UsersService/GetUser", Reach::Any),
    ("users.v1.UsersService/ListUsers", Reach::Any),
    ("users.v1.UsersService/UpdateUser", Reach::Owner),
];

/// The path and the access rule of every method, in the order of the paths. Panics if `REACH` does not list exactly these
/// methods.
pub(crate) fn rules() -> Vec<(String, Rule)> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the build has checked the contracts");
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let mut rules: Vec<_> = methods.map(|method| (path(&method), rule(&pool, &method))).collect();
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

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

fn rule(pool: &DescriptorPool, method: &MethodDescriptor) -> Rule {
    let extension = pool.get_extension_by_name("trellis.policy.v1.method").expect("the contracts declare the option");
    let options = method.options();
    let policy = options.get_extension(&extension).as_message().map(|policy| policy.transcode_to::<Policy>());
    let policy = policy.expect("the build has checked that the method has a policy").expect("the types are the same");
    policy.access.and_then(|access| access.rule).expect("the build has checked that the policy has a rule")
}

/// Whether a method with this rule admits the caller.
pub(crate) fn admits(path: &str, rule: &Rule, caller: Caller) -> bool {
    match (rule, caller) {
        (Rule::Public(_), _) => true,
        (Rule::Internal(internal), Caller::Service(name)) => internal.callers.iter().any(|caller| caller == name),
        (Rule::Internal(_), _) | (Rule::SignedIn(_), Caller::Anonymous | Caller::Service(_)) => false,
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
         proves: none for *anonymous*; an access token for the next four, users in a session; a service token \
         for the others, services of the mesh that call for themselves, without a user's token.\n\n\
         *Owner*: the user of the session or profile, the creator of the conversation, or the author of the message. \
         *Member*: in the conversation. Invited users may also call AcceptInvitation; the *other user* has no \
         invitation. No method requires a role yet, so an admin has the rights of any other user.\n\n\
         | method |",
    );
    // Writing to a string cannot fail.
    for caller in Caller::all() {
        write!(text, " {} |", caller.title()).ok();
    }
    writeln!(text, "\n|---|{}", "---|".repeat(Caller::all().count())).ok();
    for (path, rule) in rules() {
        write!(text, "| {} |", path.trim_start_matches("/trellis.")).ok();
        for caller in Caller::all() {
            write!(text, " {} |", if admits(&path, &rule, caller) { "yes" } else { "–" }).ok();
        }
        text.push('\n');
    }
    text
}
