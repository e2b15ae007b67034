//! Second factors: a sign-in needs a code, each code works once, and no flow skips it.

use std::{sync::Arc, time::Duration};

use auth::domain::{Page, TotpSecret, TotpStep};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::{
    config::Span,
    time::{Clock as _, ManualClock},
};
use kit_data::store::Location;
use proto::auth::v1::{
    BeginTotpRequest, BeginTotpResponse, ChangePasswordRequest, CompleteSignInRequest, ConfirmTotpRequest,
    DeleteAccountRequest, FactorKind, ListFactorsRequest, ListFactorsResponse, ProofKind, ReauthenticateRequest,
    RefreshTokenRequest, RegenerateRecoveryCodesRequest, RemoveFactorRequest, SignInChallenge, Tokens,
    VerifyEmailRequest,
};
use tonic::{Code, Status};

use crate::{
    database::{count, execute},
    databases::on_both,
    mail::{NEW, link_to, mailing, newest_mail, request_reset, reset, token_in},
    mesh::{Mesh, PASSWORD, by, eventually, reason, sign_in},
    store::token,
};

on_both!(
    sign_in_needs_a_code_and_no_code_works_twice,
    recovery_code_works_once,
    wrong_codes_end_the_challenge_and_lock_the_app,
    challenge_expires_and_ends_with_the_password,
    reset_of_the_password_needs_the_factor_too,
    app_is_confirmed_by_its_session_in_time,
    removal_needs_a_code_and_ends_the_challenges,
    replaced_recovery_codes_stop_working,
    sign_in_continues_after_the_end_of_the_process,
    proof_again_needs_a_code,
    role_needs_the_factor_where_required,
    changes_of_factors_are_recorded,
    deletion_erases_the_factors,
    expired_challenges_and_unconfirmed_apps_are_deleted,
);

const STEP: Duration = Duration::from_secs(30);

/// An authenticator app, whose clock is that of the mesh.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) secret: TotpSecret,
    clock: Arc<ManualClock>,
}

impl App {
    fn new(mesh: &Mesh, begun: &BeginTotpResponse) -> Self {
        Self { secret: TotpSecret::from_base32(&begun.secret).unwrap(), clock: Arc::clone(&mesh.clock) }
    }

    /// The code that the app shows now.
    fn code(&self) -> String {
        self.code_in(0)
    }

    /// The code that the app shows in so many steps.
    fn code_in(&self, steps: i64) -> String {
        self.secret.code(TotpStep(self.clock.now().as_secs() / 30 + steps)).to_string()
    }

    /// Waits for the next code, which was not used.
    fn next_code(&self) -> String {
        self.clock.advance(STEP);
        self.code()
    }

    /// A code that is wrong now.
    fn wrong_code(&self) -> String {
        let known = [-1, 0, 1, 2].map(|steps| self.code_in(steps));
        (0..5).map(|n| format!("{n:06}")).find(|code| !known.contains(code)).unwrap()
    }
}

/// A user with an authenticator app.
pub(crate) struct Enrolled {
    pub(crate) tokens: Tokens,
    pub(crate) app: App,
    pub(crate) recovery_codes: Vec<String>,
}

const MFA: [&str; 3] = ["pwd", "otp", "mfa"];

fn claims_of(access_token: &str) -> serde_json::Value {
    let claims = access_token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL.decode(claims).unwrap()).unwrap()
}

/// How the user of the tokens was authenticated.
fn methods(tokens: &Tokens) -> Vec<String> {
    serde_json::from_value(claims_of(&tokens.access_token)["amr"].clone()).unwrap()
}

async fn begin(mesh: &mut Mesh, tokens: &Tokens, password: &str) -> Result<BeginTotpResponse, Status> {
    let request = BeginTotpRequest { password: password.to_owned() };
    mesh.auth.begin_totp(by(tokens, request)).await.map(tonic::Response::into_inner)
}

async fn confirm(mesh: &mut Mesh, tokens: &Tokens, code: &str) -> Result<Vec<String>, Status> {
    let request = ConfirmTotpRequest { code: code.to_owned() };
    mesh.auth.confirm_totp(by(tokens, request)).await.map(|response| response.into_inner().recovery_codes)
}

/// Adds an authenticator app to the account of a signed-in user.
pub(crate) async fn enrol(mesh: &mut Mesh, tokens: Tokens) -> Enrolled {
    let begun = begin(mesh, &tokens, PASSWORD).await.unwrap();
    let app = App::new(mesh, &begun);
    let recovery_codes = confirm(mesh, &tokens, &app.code()).await.unwrap();
    Enrolled { tokens, app, recovery_codes }
}

pub(crate) async fn enrolled(mesh: &mut Mesh, handle: &str) -> Enrolled {
    let tokens = mesh.signed_up(handle).await;
    enrol(mesh, tokens).await
}

/// The challenge of a sign-in with the right password.
pub(crate) async fn challenged(mesh: &mut Mesh, handle: &str, password: &str) -> SignInChallenge {
    let response = mesh.auth.sign_in(sign_in(handle, password)).await.unwrap().into_inner();
    assert_eq!(response.tokens, None);
    response.challenge.unwrap()
}

pub(crate) async fn complete(mesh: &mut Mesh, challenge: &SignInChallenge, code: &str) -> Result<Tokens, Status> {
    let request =
        CompleteSignInRequest { challenge_token: challenge.token.clone(), code: code.to_owned(), refresh_delivery: 0 };
    mesh.auth.complete_sign_in(request).await.map(|response| response.into_inner().tokens.unwrap())
}

async fn list(mesh: &mut Mesh, tokens: &Tokens) -> ListFactorsResponse {
    mesh.auth.list_factors(by(tokens, ListFactorsRequest {})).await.unwrap().into_inner()
}

async fn remove(mesh: &mut Mesh, tokens: &Tokens, password: &str, code: &str) -> Result<(), Status> {
    let factors = list(mesh, tokens).await.factors;
    let factor_id = factors.first().map_or_else(|| crate::store::id().to_string(), |factor| factor.factor_id.clone());
    let request = RemoveFactorRequest { factor_id, password: password.to_owned(), code: code.to_owned() };
    mesh.auth.remove_factor(by(tokens, request)).await.map(drop)
}

fn refused(result: Result<impl std::fmt::Debug, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), reason(&status))
}

fn wrong_code() -> (Code, String) {
    (Code::Unauthenticated, "CODE_INVALID".to_owned())
}

fn invalid_challenge() -> (Code, String) {
    (Code::FailedPrecondition, "CHALLENGE_INVALID".to_owned())
}

async fn sign_in_needs_a_code_and_no_code_works_twice(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, auth::Config::default()).await;
    let tokens = mesh.signed_up("ada").await;
    assert_eq!(refused(begin(&mut mesh, &tokens, "wrong").await).1, "BAD_CREDENTIALS");
    let begun = begin(&mut mesh, &tokens, PASSWORD).await.unwrap();
    assert!(begun.uri.starts_with("otpauth://totp/Trellis:ada%40example%2Eorg?secret="), "{}", begun.uri);
    assert!(begun.uri.contains(&begun.secret) && begun.qr_svg.contains("<svg "));
    mesh.signed_in("ada", PASSWORD).await.unwrap();
    assert_eq!(list(&mut mesh, &tokens).await, ListFactorsResponse::default());

    let app = App::new(&mesh, &begun);
    let code = app.code();
    assert_eq!(refused(confirm(&mut mesh, &tokens, &app.wrong_code()).await), wrong_code());
    let recovery_codes = confirm(&mut mesh, &tokens, &code).await.unwrap();
    assert_eq!(recovery_codes.len(), 10);
    let listed = list(&mut mesh, &tokens).await;
    assert_eq!((listed.recovery_code_count, listed.factors.len()), (10, 1));
    assert_eq!((listed.factors[0].kind(), listed.factors[0].last_use_time), (FactorKind::Totp, None));

    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    assert_eq!(challenge.proofs, [ProofKind::Totp, ProofKind::RecoveryCode].map(i32::from));
    assert_eq!(refused(complete(&mut mesh, &challenge, &code).await), wrong_code(), "it has confirmed the app");
    mesh.clock.advance(STEP);
    let next = app.code();
    let opened = complete(&mut mesh, &challenge, &format!(" {} {}", &next[..3], &next[3..])).await.unwrap();
    assert_eq!(opened.user_id, tokens.user_id);
    let refresh = RefreshTokenRequest { refresh_token: opened.refresh_token.clone() };
    let refreshed = mesh.auth.refresh_token(refresh).await.unwrap().into_inner().tokens.unwrap();
    for (tokens, expected) in [(&tokens, &["pwd"][..]), (&opened, &MFA), (&refreshed, &MFA)] {
        assert_eq!(methods(tokens), expected);
    }
    assert!(list(&mut mesh, &opened).await.factors[0].last_use_time.is_some());
    assert_eq!(refused(complete(&mut mesh, &challenge, &next).await), invalid_challenge());
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    for used in [&next, &code] {
        assert_eq!(refused(complete(&mut mesh, &challenge, used).await), wrong_code());
    }
    // The clock of the app is one step ahead.
    let ahead = app.code_in(1);
    complete(&mut mesh, &challenge, &ahead).await.unwrap();
    assert_eq!(reason(&mesh.auth.sign_in(sign_in("ada", "wrong")).await.unwrap_err()), "BAD_CREDENTIALS");
}

async fn recovery_code_works_once(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    let tokens = mesh.signed_up("ada").await;
    let link = token_in(&newest_mail(&mesh, "ada", 1).await, "verify-email");
    mesh.auth.verify_email(VerifyEmailRequest { token: link }).await.unwrap();
    let (ada, bob) = (enrol(&mut mesh, tokens).await, enrolled(&mut mesh, "bob").await);
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    assert_eq!(refused(complete(&mut mesh, &challenge, &bob.recovery_codes[0]).await), wrong_code());
    let typed = ada.recovery_codes[3].to_uppercase().replace('-', " ");
    let tokens = complete(&mut mesh, &challenge, &typed).await.unwrap();
    assert_eq!(list(&mut mesh, &tokens).await.recovery_code_count, 9);
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    assert_eq!(refused(complete(&mut mesh, &challenge, &typed).await), wrong_code());
    let subjects = async || {
        let mails = mesh.store.list_mailbox(100).await.unwrap().into_iter();
        let mut subjects: Vec<_> = mails.map(|mail| (mail.recipient, mail.subject)).collect();
        subjects.retain(|(recipient, subject)| recipient == "ada@example.org" && !subject.starts_with("Verify"));
        subjects.sort();
        subjects.into_iter().map(|(_, subject)| subject).collect::<Vec<_>>()
    };
    eventually("both notices", async || subjects().await.len() == 2).await;
    assert_eq!(subjects().await, ["A recovery code was used", "A second factor was turned on"]);
}

async fn wrong_codes_end_the_challenge_and_lock_the_app(location: &Location) {
    let mut config = mailing();
    (config.factors.challenge_attempts, config.factors.failures) = (2, 3);
    let mut mesh = Mesh::mailing_on(location, config).await;
    let ada = enrolled(&mut mesh, "ada").await;
    let right = ada.app.next_code();
    let first = challenged(&mut mesh, "ada", PASSWORD).await;
    for _ in 0..2 {
        assert_eq!(refused(complete(&mut mesh, &first, &ada.app.wrong_code()).await), wrong_code());
    }
    assert_eq!(refused(complete(&mut mesh, &first, &right).await), invalid_challenge());
    let second = challenged(&mut mesh, "ada", PASSWORD).await;
    assert_eq!(refused(complete(&mut mesh, &second, &ada.app.wrong_code()).await), wrong_code());
    let locked = (Code::FailedPrecondition, "CODES_LOCKED".to_owned());
    assert_eq!(refused(complete(&mut mesh, &second, &right).await), locked);

    // A recovery code helps, and unlocks the app.
    let third = challenged(&mut mesh, "ada", PASSWORD).await;
    complete(&mut mesh, &third, &ada.recovery_codes[0]).await.unwrap();
    let fourth = challenged(&mut mesh, "ada", PASSWORD).await;
    complete(&mut mesh, &fourth, &right).await.unwrap();

    // So does a new password: who guesses codes knew the old one.
    mesh.clock.advance(Duration::from_secs(3_600));
    for _ in 0..2 {
        let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
        for _ in 0..2 {
            complete(&mut mesh, &challenge, &ada.app.wrong_code()).await.unwrap_err();
        }
    }
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    assert_eq!(refused(complete(&mut mesh, &challenge, &ada.app.code()).await), locked);
    request_reset(&mut mesh, "ada@example.org").await.unwrap();
    let link = link_to(&mesh, "ada", "reset-password").await;
    reset(&mut mesh, &link, NEW).await.unwrap();
    let challenge = challenged(&mut mesh, "ada", NEW).await;
    complete(&mut mesh, &challenge, &ada.app.code()).await.unwrap();
}

async fn challenge_expires_and_ends_with_the_password(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, auth::Config::default()).await;
    let ada = enrolled(&mut mesh, "ada").await;
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    mesh.clock.advance(Duration::from_secs(5 * 60));
    assert_eq!(refused(complete(&mut mesh, &challenge, &ada.app.code()).await), invalid_challenge());
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    let change = ChangePasswordRequest { current_password: PASSWORD.to_owned(), new_password: NEW.to_owned() };
    mesh.auth.change_password(by(&ada.tokens, change)).await.unwrap();
    assert_eq!(refused(complete(&mut mesh, &challenge, &ada.app.code()).await), invalid_challenge());
    let unknown = SignInChallenge { token: "trc_unknown".to_owned(), ..challenge };
    assert_eq!(refused(complete(&mut mesh, &unknown, &ada.app.code()).await), invalid_challenge());
}

async fn reset_of_the_password_needs_the_factor_too(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    let ada = enrolled(&mut mesh, "ada").await;
    request_reset(&mut mesh, "ada@example.org").await.unwrap();
    let link = link_to(&mesh, "ada", "reset-password").await;
    reset(&mut mesh, &link, NEW).await.unwrap();
    let challenge = challenged(&mut mesh, "ada", NEW).await;
    // The store refuses every other session too.
    let id = auth::domain::AccountId(ada.tokens.user_id.parse().unwrap());
    let account = mesh.store.find(id).await.unwrap().unwrap();
    assert!(!mesh.store.open_session(&crate::store::session(&account, &token())).await.unwrap());
    let page = Page::parse(0, "", id).unwrap();
    assert_eq!(mesh.store.list_sessions(id, &page, mesh.now()).await.unwrap(), []);
    complete(&mut mesh, &challenge, &ada.app.next_code()).await.unwrap();
}

async fn app_is_confirmed_by_its_session_in_time(location: &Location) {
    let mut config = auth::Config::default();
    config.factors.enrolment_lifetime = Span(Duration::from_secs(300));
    let mut mesh = Mesh::mailing_on(location, config).await;
    let (here, there) = (mesh.signed_up("ada").await, mesh.signed_in("ada", PASSWORD).await.unwrap());
    let not_pending = (Code::FailedPrecondition, "TOTP_NOT_PENDING".to_owned());
    assert_eq!(refused(confirm(&mut mesh, &here, "123456").await), not_pending);
    let begun = begin(&mut mesh, &here, PASSWORD).await.unwrap();
    let first = App::new(&mesh, &begun);
    assert_eq!(refused(confirm(&mut mesh, &there, &first.code()).await), not_pending);
    let begun = begin(&mut mesh, &here, PASSWORD).await.unwrap();
    let second = App::new(&mesh, &begun);
    assert_eq!(refused(confirm(&mut mesh, &here, &first.code()).await), wrong_code());
    mesh.clock.advance(Duration::from_secs(300));
    confirm(&mut mesh, &here, &second.code()).await.unwrap();
    assert_eq!(refused(confirm(&mut mesh, &here, &second.code()).await), not_pending);
    let enabled = (Code::FailedPrecondition, "TOTP_ENABLED".to_owned());
    assert_eq!(refused(begin(&mut mesh, &here, PASSWORD).await), enabled);

    let bob = mesh.signed_up("bob").await;
    let begun = begin(&mut mesh, &bob, PASSWORD).await.unwrap();
    let app = App::new(&mesh, &begun);
    mesh.clock.advance(Duration::from_secs(301));
    assert_eq!(refused(confirm(&mut mesh, &bob, &app.code()).await), not_pending);
}

async fn removal_needs_a_code_and_ends_the_challenges(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, auth::Config::default()).await;
    let ada = enrolled(&mut mesh, "ada").await;
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    let code = ada.app.next_code();
    assert_eq!(refused(remove(&mut mesh, &ada.tokens, "wrong", &code).await).1, "BAD_CREDENTIALS");
    assert_eq!(refused(remove(&mut mesh, &ada.tokens, PASSWORD, &ada.app.wrong_code()).await), wrong_code());
    let factor_id = crate::store::id().to_string();
    let request = RemoveFactorRequest { factor_id, password: PASSWORD.to_owned(), code: code.clone() };
    let unknown = refused(mesh.auth.remove_factor(by(&ada.tokens, request)).await);
    assert_eq!(unknown, (Code::NotFound, "FACTOR_NOT_FOUND".to_owned()));
    remove(&mut mesh, &ada.tokens, PASSWORD, &code).await.unwrap();
    assert_eq!(list(&mut mesh, &ada.tokens).await, ListFactorsResponse::default());
    assert_eq!(refused(complete(&mut mesh, &challenge, &ada.app.next_code()).await), invalid_challenge());
    mesh.signed_in("ada", PASSWORD).await.unwrap();
    let missing = (Code::FailedPrecondition, "FACTOR_MISSING".to_owned());
    assert_eq!(refused(remove(&mut mesh, &ada.tokens, PASSWORD, &code).await), missing);
    // It can be added again.
    let again = enrol(&mut mesh, ada.tokens).await;
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    assert_eq!(refused(complete(&mut mesh, &challenge, &ada.recovery_codes[0]).await), wrong_code());
    complete(&mut mesh, &challenge, &again.recovery_codes[0]).await.unwrap();
}

async fn replaced_recovery_codes_stop_working(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, auth::Config::default()).await;
    let ada = enrolled(&mut mesh, "ada").await;
    let request = |password: &str, code: &str| RegenerateRecoveryCodesRequest {
        password: password.to_owned(),
        code: code.to_owned(),
    };
    for (password, code, why) in
        [("wrong", &ada.recovery_codes[0], "BAD_CREDENTIALS"), (PASSWORD, &ada.app.wrong_code(), "CODE_INVALID")]
    {
        let result = mesh.auth.regenerate_recovery_codes(by(&ada.tokens, request(password, code))).await;
        assert_eq!(refused(result).1, why);
    }
    let replaced = by(&ada.tokens, request(PASSWORD, &ada.recovery_codes[0]));
    let new = mesh.auth.regenerate_recovery_codes(replaced).await.unwrap().into_inner().recovery_codes;
    assert_eq!((new.len(), list(&mut mesh, &ada.tokens).await.recovery_code_count), (10, 10));
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    assert_eq!(refused(complete(&mut mesh, &challenge, &ada.recovery_codes[1]).await), wrong_code());
    complete(&mut mesh, &challenge, &new[9]).await.unwrap();
}

async fn sign_in_continues_after_the_end_of_the_process(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, auth::Config::default()).await;
    let tokens = mesh.signed_up("ada").await;
    let begun = begin(&mut mesh, &tokens, PASSWORD).await.unwrap();
    mesh.kill_auth();
    mesh.start_auth().await;
    let app = App::new(&mesh, &begun);
    let code = app.code();
    confirm(&mut mesh, &tokens, &code).await.unwrap();
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    mesh.kill_auth();
    mesh.start_auth().await;
    mesh.clock.advance(STEP);
    let next = app.code();
    complete(&mut mesh, &challenge, &next).await.unwrap();
    mesh.kill_auth();
    mesh.start_auth().await;
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    assert_eq!(refused(complete(&mut mesh, &challenge, &next).await), wrong_code());
}

async fn proof_again_needs_a_code(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, auth::Config::default()).await;
    let ada = enrolled(&mut mesh, "ada").await;
    let code = ada.app.next_code();
    let request = |password: &str, code: &str| {
        let request = ReauthenticateRequest { password: password.to_owned(), code: code.to_owned() };
        by(&ada.tokens, request)
    };
    for (password, code, why) in [
        (PASSWORD, "", "CODE_REQUIRED"),
        ("wrong", &code, "BAD_CREDENTIALS"),
        (PASSWORD, &ada.app.wrong_code(), "CODE_INVALID"),
    ] {
        assert_eq!(refused(mesh.auth.reauthenticate(request(password, code)).await).1, why);
    }
    let proved = mesh.auth.reauthenticate(request(PASSWORD, &code)).await.unwrap().into_inner();
    let claims = claims_of(&proved.access_token);
    assert_eq!((&claims["amr"], &claims["auth_time"]), (&MFA[..].into(), &mesh.now().as_secs().into()));
    assert_eq!(refused(mesh.auth.reauthenticate(request(PASSWORD, &code)).await), wrong_code(), "it was used before");
    // An account without a factor needs no code.
    let bob = mesh.signed_up("bob").await;
    let request = ReauthenticateRequest { password: PASSWORD.to_owned(), code: "123456".to_owned() };
    mesh.auth.reauthenticate(by(&bob, request)).await.unwrap();
}

async fn role_needs_the_factor_where_required(location: &Location) {
    let mut config = auth::Config::default();
    config.factors.required_for_roles = vec!["admin".to_owned()];
    let mut mesh = Mesh::mailing_on(location, config).await;
    let tokens = mesh.signed_up("ada").await;
    for role in [
        "INSERT INTO roles (account_id, role) SELECT account_id, 'admin' FROM accounts",
        "INSERT INTO roles (account_id, role) SELECT account_id, 'support' FROM accounts",
    ] {
        execute(location, role).await;
    }
    let roles = |tokens: &Tokens| claims_of(&tokens.access_token)["roles"].clone();
    let signed_in = mesh.signed_in("ada", PASSWORD).await.unwrap();
    assert_eq!(roles(&signed_in), serde_json::json!(["support"]));
    let ada = enrol(&mut mesh, tokens).await;
    for (session, expected) in [(&ada.tokens, &["admin", "support"][..]), (&signed_in, &["support"])] {
        let refresh = RefreshTokenRequest { refresh_token: session.refresh_token.clone() };
        let refreshed = mesh.auth.refresh_token(refresh).await.unwrap().into_inner().tokens.unwrap();
        assert_eq!(roles(&refreshed), serde_json::json!(expected));
    }
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    let opened = complete(&mut mesh, &challenge, &ada.app.next_code()).await.unwrap();
    assert_eq!(roles(&opened), serde_json::json!(["admin", "support"]));
}

async fn changes_of_factors_are_recorded(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, auth::Config::default()).await;
    let ada = enrolled(&mut mesh, "ada").await;
    let code = ada.app.next_code();
    let challenge = challenged(&mut mesh, "ada", PASSWORD).await;
    mesh.clock.advance(Duration::from_millis(1));
    complete(&mut mesh, &challenge, &ada.app.wrong_code()).await.unwrap_err();
    let opened = complete(&mut mesh, &challenge, &code).await.unwrap();
    let factor = list(&mut mesh, &opened).await.factors[0].factor_id.clone();
    let code = ada.app.next_code();
    let replace = RegenerateRecoveryCodesRequest { password: PASSWORD.to_owned(), code };
    mesh.auth.regenerate_recovery_codes(by(&opened, replace)).await.unwrap();
    let code = ada.app.next_code();
    remove(&mut mesh, &opened, PASSWORD, &code).await.unwrap();
    let records = crate::audit::list(location, "code = OK").await;
    let user = &ada.tokens.user_id;
    let session = |tokens: &Tokens| format!("U/sessions/{}", tokens.session_id);
    let expected = [
        ("SignUp", session(&ada.tokens)),
        ("ConfirmTotp", format!("U/factors/{factor}")),
        ("SignIn", "U".to_owned()),
        ("CompleteSignIn", session(&opened)),
        ("RegenerateRecoveryCodes", "U".to_owned()),
        ("RemoveFactor", format!("U/factors/{factor}")),
    ];
    // Records of one instant have no order.
    let mut actions = crate::audit::actions(&records, user);
    actions[..2].sort_by_key(|(method, _)| method != "SignUp");
    assert_eq!(actions, expected.map(|(method, target)| (method.to_owned(), target)));
    let refusals = async || crate::audit::list(location, "reason = CODE_INVALID").await;
    eventually("the refusal is stored", async || !refusals().await.is_empty()).await;
    let refused = refusals().await;
    assert_eq!(crate::audit::actions(&refused, user), [("CompleteSignIn".to_owned(), "U".to_owned())]);
    assert_eq!(refused[0].facts.principal_kind, "anonymous", "nothing is proved");
}

async fn deletion_erases_the_factors(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, auth::Config::default()).await;
    let ada = enrolled(&mut mesh, "ada").await;
    challenged(&mut mesh, "ada", PASSWORD).await;
    let sealed = "SELECT COUNT(*) FROM totp_factors";
    assert_eq!(count(location, sealed).await, 1);
    let delete = DeleteAccountRequest { password: PASSWORD.to_owned() };
    mesh.auth.delete_account(by(&ada.tokens, delete)).await.unwrap();
    for table in [sealed, "SELECT COUNT(*) FROM recovery_codes", "SELECT COUNT(*) FROM sign_in_challenges"] {
        assert_eq!(count(location, table).await, 0, "{table}");
    }
}

async fn expired_challenges_and_unconfirmed_apps_are_deleted(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, auth::Config::default()).await;
    enrolled(&mut mesh, "ada").await;
    challenged(&mut mesh, "ada", PASSWORD).await;
    let bob = mesh.signed_up("bob").await;
    begin(&mut mesh, &bob, PASSWORD).await.unwrap();
    mesh.clock.advance(Duration::from_secs(25 * 3_600));
    let rows = async || {
        (
            count(location, "SELECT COUNT(*) FROM sign_in_challenges").await,
            count(location, "SELECT COUNT(*) FROM totp_factors").await,
        )
    };
    eventually("they are deleted", async || rows().await == (0, 1)).await;
}
