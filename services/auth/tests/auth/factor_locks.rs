//! Codes, challenges and sessions that wait for the row of an account, on PostgreSQL.

use std::sync::Arc;

use auth::{
    domain::{
        Account, ChallengeToken, FactorId, FactorProof, NewChallenge, PendingTotp, SessionId, State, TokenHash,
        TotpStep,
    },
    store::{Attempt, AuthStore, Begun, CodeKind, ConfirmedTotp, FactorChange, MostAttempts, Proved},
};
use kit::ClockAndRng;

use crate::{
    databases::Database,
    locks_support::Holder,
    store::{active, at, id, open, session, token},
};

const LOCK: &str = "SELECT 1 FROM accounts WHERE account_id = $1 FOR UPDATE";
const MOST: MostAttempts = MostAttempts { of_challenge: 5, in_a_row: 100 };

/// An account with a session and an authenticator app.
struct Scene {
    database: Database,
    store: Arc<dyn AuthStore>,
    account: Account,
    session: SessionId,
    factor: FactorId,
}

impl Scene {
    async fn new() -> Self {
        let database = Database::postgres().await;
        let store = open(&database.location).await;
        let (account, _) = active(&*store, "ada@example.org").await;
        let account = Account { state: State::Active, ..account };
        let page = auth::domain::Page::parse(0, "", account.id).unwrap();
        let session = store.list_sessions(account.id, &page, at(0)).await.unwrap()[0].id;
        Self { database, store, account, session, factor: FactorId(id()) }
    }

    async fn begin(&self) {
        let pending = PendingTotp {
            id: self.factor,
            account: self.account.id,
            password_no: 0,
            session: self.session,
            sealed_secret: vec![7],
            create_time: at(0),
        };
        assert_eq!(self.store.begin_totp(&pending).await.unwrap(), Begun::Pending);
    }

    async fn confirm(&self) -> bool {
        confirm(&*self.store, &self.account, self.session, self.factor).await
    }

    async fn challenge(&self) -> TokenHash {
        let hash = ChallengeToken::generate(&ClockAndRng::system()).hash();
        let challenge =
            NewChallenge { hash: hash.clone(), account: self.account.id, password_no: 0, expire_time: at(300) };
        assert_eq!(self.store.offer_challenge(&challenge).await.unwrap(), Some(true));
        hash
    }

    /// Makes both changes wait for the account's row, then releases it, and returns the results in order.
    async fn both(&self, changes: [impl Future<Output = Proved> + Send + 'static; 2]) -> [Proved; 2] {
        let mut holder = Holder::begin(&self.database.location, "auth").await;
        holder.run(LOCK, &[self.account.id.0]).await;
        let mut waiting = Vec::new();
        for (count, change) in (1..).zip(changes) {
            waiting.push(tokio::spawn(change));
            holder.waiters(count).await;
        }
        holder.release().await;
        let mut results = [Proved::Gone; 2];
        for (result, task) in results.iter_mut().zip(waiting) {
            *result = task.await.unwrap();
        }
        results
    }

    fn complete(&self, challenge: TokenHash, proof: FactorProof) -> impl Future<Output = Proved> + Send + use<> {
        let (store, new) = (Arc::clone(&self.store), session(&self.account, &token()));
        async move { store.complete_sign_in(&challenge, &proof, &new, None).await.unwrap() }
    }

    fn totp(&self, step: i64) -> FactorProof {
        FactorProof::Totp(self.factor, TotpStep(step))
    }

    async fn end(self) {
        drop(self.store);
        self.database.remove().await;
    }
}

async fn confirm(store: &dyn AuthStore, account: &Account, session: SessionId, factor: FactorId) -> bool {
    let codes = [token(), TokenHash(vec![9; 32])];
    let confirmed = ConfirmedTotp {
        factor,
        step: TotpStep(10),
        codes: &codes,
        account: account.id,
        session,
        notice: None,
        now: at(1),
    };
    store.confirm_totp(&confirmed, at(0)).await.unwrap()
}

async fn with_app() -> Scene {
    let scene = Scene::new().await;
    scene.begin().await;
    assert!(scene.confirm().await);
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_sign_ins_with_the_same_code_succeeds() {
    let scene = with_app().await;
    let first = scene.complete(scene.challenge().await, scene.totp(11));
    let second = scene.complete(scene.challenge().await, scene.totp(11));
    assert_eq!(scene.both([first, second]).await, [Proved::Done, Proved::WrongCode]);
    // The code of an earlier step, which waits behind a later one.
    let first = scene.complete(scene.challenge().await, scene.totp(13));
    let second = scene.complete(scene.challenge().await, scene.totp(12));
    assert_eq!(scene.both([first, second]).await, [Proved::Done, Proved::WrongCode]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_uses_of_a_recovery_code_or_challenge_succeeds() {
    let scene = with_app().await;
    let recovery = FactorProof::Recovery(TokenHash(vec![9; 32]));
    let first = scene.complete(scene.challenge().await, recovery.clone());
    let second = scene.complete(scene.challenge().await, recovery);
    assert_eq!(scene.both([first, second]).await, [Proved::Done, Proved::WrongCode]);
    let challenge = scene.challenge().await;
    let changes = [11, 12].map(|step| scene.complete(challenge.clone(), scene.totp(step)));
    assert_eq!(scene.both(changes).await, [Proved::Done, Proved::Gone]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_behind_the_removal_of_the_factor_is_refused() {
    let scene = with_app().await;
    let challenge = scene.challenge().await;
    let (store, account, session, factor) = (Arc::clone(&scene.store), scene.account.id, scene.session, scene.factor);
    let removal = async move {
        let proof = FactorProof::Totp(factor, TotpStep(11));
        let change = FactorChange { account, password_no: 0, session, proof: &proof, notice: None, now: at(2) };
        store.remove_factor(factor, &change).await.unwrap()
    };
    let sign_in = scene.complete(challenge, scene.totp(12));
    let changes: [std::pin::Pin<Box<dyn Future<Output = Proved> + Send>>; 2] = [Box::pin(removal), Box::pin(sign_in)];
    assert_eq!(scene.both(changes).await, [Proved::Done, Proved::Gone]);
    scene.end().await;
}

/// The password was right before the app was turned on.
#[tokio::test(flavor = "multi_thread")]
async fn session_behind_a_new_factor_does_not_open() {
    let scene = Scene::new().await;
    scene.begin().await;
    let mut holder = Holder::begin(&scene.database.location, "auth").await;
    holder.run(LOCK, &[scene.account.id.0]).await;
    let (store, account, own, factor) = (Arc::clone(&scene.store), scene.account.clone(), scene.session, scene.factor);
    let confirming = tokio::spawn(async move { confirm(&*store, &account, own, factor).await });
    holder.waiters(1).await;
    let (store, new) = (Arc::clone(&scene.store), session(&scene.account, &token()));
    let opening = tokio::spawn(async move { store.open_session(&new).await.unwrap() });
    holder.waiters(2).await;
    holder.release().await;
    assert!(confirming.await.unwrap());
    assert!(!opening.await.unwrap());
    scene.end().await;
}

/// Each code is counted before it is verified, so that many at once are not verified more often.
#[tokio::test(flavor = "multi_thread")]
async fn codes_at_once_are_counted_one_by_one() {
    let scene = with_app().await;
    let challenge = scene.challenge().await;
    let tries: Vec<_> = (0..20)
        .map(|_| {
            let (store, challenge) = (Arc::clone(&scene.store), challenge.clone());
            tokio::spawn(async move { store.try_challenge(&challenge, CodeKind::Totp, MOST, at(2)).await.unwrap() })
        })
        .collect();
    let mut counted = 0;
    for attempt in tries {
        match attempt.await.unwrap() {
            Attempt::Counted(totp) => {
                assert_eq!(totp.unwrap().last_step, TotpStep(10));
                counted += 1;
            }
            other => assert_eq!(other, Attempt::Invalid),
        }
    }
    assert_eq!(counted, 5);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn app_of_a_session_that_ends_meanwhile_is_not_turned_on() {
    let scene = Scene::new().await;
    scene.begin().await;
    let mut holder = Holder::begin(&scene.database.location, "auth").await;
    holder.run(LOCK, &[scene.account.id.0]).await;
    let (store, account, own, factor) = (Arc::clone(&scene.store), scene.account.clone(), scene.session, scene.factor);
    let confirming = tokio::spawn(async move { confirm(&*store, &account, own, factor).await });
    holder.waiters(1).await;
    assert!(scene.store.revoke_session(scene.account.id, scene.session, at(1)).await.unwrap());
    holder.release().await;
    assert!(!confirming.await.unwrap());
    assert!(scene.store.open_session(&session(&scene.account, &token())).await.unwrap());
    scene.end().await;
}
