//! The second factors of a signed-in user: turns an authenticator app on and off, and replaces recovery codes.

use std::{net::IpAddr, sync::Arc};

use kit::{audit, error, principal::UserSession};
use proto::auth::v1::{
    BeginTotpRequest, BeginTotpResponse, Factor as WireFactor, FactorKind, ListFactorsResponse,
    RegenerateRecoveryCodesRequest, RemoveFactorRequest,
};
use qrcode::{QrCode, render::svg};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    Api, bad_credentials,
    second_factor::{code_invalid, codes_locked, kind},
    sessions::ConfirmedSession,
};
use crate::{
    domain::{
        Account, AccountId, Client, FactorId, FactorProof, MailKind, NewMail, PendingTotp, RECOVERY_CODES,
        RecoveryCode, TokenHash, TotpSecret, TypedCode,
    },
    password::Password,
    store::{Attempt, Begun, ConfirmedTotp, FactorChange, Proved},
};

/// The least width and height of the QR code, in pixels of its picture.
const QR_PIXELS: u32 = 240;

impl Api {
    /// Lists the second factors of the caller.
    pub(super) async fn factors(&self, caller: &ConfirmedSession) -> Result<ListFactorsResponse, Status> {
        let found = self.auth.store.list_factors(caller.account()).await?;
        let wire = |factor: crate::domain::Factor| WireFactor {
            factor_id: factor.id.0.to_string(),
            kind: FactorKind::Totp.into(),
            create_time: Some(factor.create_time.into()),
            last_use_time: factor.last_use_time.map(Into::into),
        };
        let recovery_code_count = i32::try_from(found.recovery_codes).unwrap_or(i32::MAX);
        Ok(ListFactorsResponse { factors: found.factors.into_iter().map(wire).collect(), recovery_code_count })
    }

    /// Makes the secret of an authenticator app.
    pub(super) async fn begin_app(
        &self,
        session: Arc<UserSession>,
        address: Option<IpAddr>,
        request: BeginTotpRequest,
    ) -> Result<BeginTotpResponse, Status> {
        let caller = self.confirm(Arc::clone(&session)).await?;
        let account = self.prove_caller(&caller, address, Password::new(request.password)).await?;
        let (clock_rng, keys) = (&self.auth.clock_rng, &self.auth.keys);
        let (id, secret) = (FactorId(clock_rng.new_id()), TotpSecret::generate(clock_rng));
        let text = secret.to_base32();
        let pending = PendingTotp {
            id,
            account: account.id,
            password_no: account.password_no,
            session: caller.id(),
            sealed_secret: keys.factor_seal().seal_text(&text, &id.binding(account.id), clock_rng),
            create_time: clock_rng.now(),
        };
        match self.auth.store.begin_totp(&pending).await? {
            Begun::Pending => {}
            Begun::Enabled => {
                let message = "the account has an authenticator app; remove it first";
                return Err(error::status(Code::FailedPrecondition, "TOTP_ENABLED", message));
            }
            Begun::Refused => return Err(self.why_refused(session).await),
        }
        // The first code turns the app on, and is recorded.
        audit::unchanged();
        let uri = secret.uri(&self.auth.config.factors.issuer, shown_name(&account));
        let qr_svg = qr_code(&uri)?;
        Ok(BeginTotpResponse { secret: text.to_string(), uri: uri.to_string(), qr_svg })
    }

    /// Turns the app on with its first code. Returns the recovery codes.
    pub(super) async fn confirm_app(
        &self,
        caller: &ConfirmedSession,
        client: Client,
        address: Option<IpAddr>,
        code: &str,
    ) -> Result<Vec<String>, Status> {
        let (store, account, now) = (&self.auth.store, caller.account(), self.auth.clock_rng.now());
        self.count_proof(caller, address).await?;
        let since = now - self.auth.config.factors.enrolment_lifetime.0;
        let pending = store.find_pending_totp(account, caller.id(), since).await?.ok_or_else(not_pending)?;
        let TypedCode::Totp(code) = TypedCode::read(code) else { return Err(code_invalid()) };
        let FactorProof::Totp(factor, step) = self.verify_totp(account, code, &pending)? else {
            return Err(code_invalid());
        };
        let (codes, hashes) = self.recovery_codes();
        let notice = self.notice(MailKind::FactorAdded, Some(account), client);
        let confirmed =
            ConfirmedTotp { factor, step, codes: &hashes, account, session: caller.id(), notice: notice.as_ref(), now };
        if store.confirm_totp(&confirmed, since).await? { Ok(codes) } else { Err(not_pending()) }
    }

    /// Removes a second factor.
    pub(super) async fn remove_app(
        &self,
        session: Arc<UserSession>,
        client: Client,
        address: Option<IpAddr>,
        request: RemoveFactorRequest,
    ) -> Result<(), Status> {
        let RemoveFactorRequest { factor_id, password, code } = request;
        let factor = Uuid::try_parse(&factor_id)
            .map_err(|_| error::invalid_field("factor_id", "UUID_INVALID", "must be a UUID"))
            .map(FactorId)?;
        let caller = self.confirm(Arc::clone(&session)).await?;
        let account = self.prove_caller(&caller, address, Password::new(password)).await?;
        let proof = self.prove_factor(&account, &code).await?;
        let notice = self.notice(MailKind::FactorRemoved, Some(account.id), client);
        let change = self.factor_change(&account, &caller, &proof, notice.as_ref());
        let proved = self.auth.store.remove_factor(factor, &change).await?;
        self.proved(proved, session).await
    }

    /// Replaces the recovery codes, and returns the new ones.
    pub(super) async fn replace_codes(
        &self,
        session: Arc<UserSession>,
        client: Client,
        address: Option<IpAddr>,
        request: RegenerateRecoveryCodesRequest,
    ) -> Result<Vec<String>, Status> {
        let caller = self.confirm(Arc::clone(&session)).await?;
        let account = self.prove_caller(&caller, address, Password::new(request.password)).await?;
        let proof = self.prove_factor(&account, &request.code).await?;
        let (codes, hashes) = self.recovery_codes();
        let notice = self.notice(MailKind::RecoveryCodesReplaced, Some(account.id), client);
        let change = self.factor_change(&account, &caller, &proof, notice.as_ref());
        let proved = self.auth.store.replace_recovery_codes(&hashes, &change).await?;
        self.proved(proved, session).await?;
        Ok(codes)
    }

    /// Verifies a code of a signed-in user, whose password was right.
    pub(super) async fn prove_factor(&self, account: &Account, code: &str) -> Result<FactorProof, Status> {
        let code = TypedCode::read(code);
        let most = self.auth.config.factors.most_attempts();
        match self.auth.store.try_code(account.id, kind(&code), most).await? {
            Attempt::Counted(totp) => self.verify(account.id, &code, totp),
            Attempt::Locked => Err(codes_locked()),
            Attempt::Invalid => {
                let message = "the account has no second factor";
                Err(error::status(Code::FailedPrecondition, "FACTOR_MISSING", message))
            }
        }
    }

    pub(super) fn factor_change<'a>(
        &self,
        account: &Account,
        caller: &ConfirmedSession,
        proof: &'a FactorProof,
        notice: Option<&'a NewMail>,
    ) -> FactorChange<'a> {
        FactorChange {
            account: account.id,
            password_no: account.password_no,
            session: caller.id(),
            proof,
            notice,
            now: self.auth.clock_rng.now(),
        }
    }

    async fn proved(&self, proved: Proved, session: Arc<UserSession>) -> Result<(), Status> {
        if proved == Proved::Done { Ok(()) } else { Err(self.refusal(proved, session).await) }
    }

    /// The status of a change that was not made.
    pub(super) async fn refusal(&self, proved: Proved, session: Arc<UserSession>) -> Status {
        match proved {
            Proved::WrongCode => code_invalid(),
            Proved::Gone => error::status(Code::NotFound, "FACTOR_NOT_FOUND", "you have no such second factor"),
            Proved::Done | Proved::Refused => self.why_refused(session).await,
        }
    }

    /// The caller's session has ended, or the password has changed, while it was verified.
    async fn why_refused(&self, session: Arc<UserSession>) -> Status {
        self.confirm(session).await.err().unwrap_or_else(bad_credentials)
    }

    /// The notice that a recovery code was used.
    pub(super) fn used_notice(&self, proof: &FactorProof, account: AccountId, client: &Client) -> Option<NewMail> {
        match proof {
            FactorProof::Totp(..) => None,
            FactorProof::Recovery(_) => self.notice(MailKind::RecoveryCodeUsed, Some(account), client.clone()),
        }
    }

    fn recovery_codes(&self) -> (Vec<String>, Vec<TokenHash>) {
        let code = |_| RecoveryCode::generate(&self.auth.clock_rng);
        (0..RECOVERY_CODES).map(code).map(|code| (code.expose(), code.hash())).unzip()
    }
}

/// What the app shows beside the code.
fn shown_name(account: &Account) -> &str {
    if account.email.is_real() { account.email.as_str() } else { "account" }
}

fn qr_code(uri: &str) -> Result<String, Status> {
    let code = QrCode::new(uri).map_err(|why| error::internal(&why))?;
    Ok(code.render::<svg::Color<'_>>().min_dimensions(QR_PIXELS, QR_PIXELS).build())
}

fn not_pending() -> Status {
    let message = "no authenticator app waits for its first code; begin again";
    error::status(Code::FailedPrecondition, "TOTP_NOT_PENDING", message)
}
