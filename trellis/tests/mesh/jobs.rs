//! Durable jobs survive `kill -9`, and the operator's commands show and change them.

use std::{
    process::Output,
    time::{Duration, Instant},
};

use proto::{auth::v1::DeleteAccountRequest, users::v1::GetUserRequest};

use super::{
    harness::{Mesh, PASSWORD, Person, Ports, fresh_database, reason},
    split::{Processes, make_keys, prepared},
};

/// How long a step may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn trellis(mesh: &Mesh, arguments: &[&str]) -> Output {
    mesh.command().args(arguments).output().unwrap()
}

fn listed(mesh: &Mesh, arguments: &[&str]) -> String {
    let output = trellis(mesh, &[&["jobs", "list"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `trellis jobs list` prints a wanted text about deleted accounts.
async fn until_listed(mesh: &Mesh, is_it: impl Fn(&str) -> bool) -> String {
    until_listed_of(mesh, "account.deleted", is_it).await
}

async fn until_listed_of(mesh: &Mesh, kind: &str, is_it: impl Fn(&str) -> bool) -> String {
    let started = Instant::now();
    loop {
        let text = listed(mesh, &["--kind", kind]);
        if is_it(&text) {
            return text;
        }
        assert!(started.elapsed() < LIMIT, "timed out: {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn delete_account(person: &Person) {
    let delete = DeleteAccountRequest { password: PASSWORD.to_owned() };
    person.auth().delete_account(person.request(delete)).await.unwrap();
}

/// Whether `reader` finds the user.
async fn finds(reader: &Person, user: &Person) -> bool {
    let request = reader.request(GetUserRequest { user_id: user.id().to_owned() });
    match reader.users().get_user(request).await {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(reason(&status), "USER_NOT_FOUND", "{status:?}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_survive_a_kill_and_dead_ones_are_retried() {
    let (keys, database, ports) = (make_keys(), fresh_database().await, Ports::free());
    let start = |part| {
        let mut process = prepared(part, ports, keys.path(), &database);
        process.set("JOBS__LEASE", "5s");
        process.set("JOBS__POLL_INTERVAL", "100ms");
        process.launch();
        process
    };
    let mut processes = Processes::start(start);
    let [mut users, mut auth, messaging, mut gateway] = processes.take(["users", "auth", "messaging", "gateway"]);
    gateway.ready(ports.gateway).await;
    let mut operator = Mesh::new(&[], ports);
    operator.set("AUTH__DATABASE_URL", &database);
    let (ada, bob) = (gateway.sign_up("ada").await, gateway.sign_up("bob").await);
    let eve = gateway.sign_up("eve").await;
    until_listed_of(&operator, "auth.cleanup", |text| text.contains(" auth auth.cleanup waiting recurring ")).await;

    // The worker is killed while messaging does not respond. The next process continues after the lease.
    messaging.signal("STOP");
    delete_account(&ada).await;
    until_listed(&operator, |text| text.contains(" auth account.deleted running ")).await;
    auth.kill();
    assert!(listed(&operator, &["--state", "running"]).contains("account.deleted"), "it works without the process");
    messaging.signal("CONT");
    auth.launch();
    until_listed(&operator, |text| text == "no jobs\n").await;
    assert!(!finds(&eve, &ada).await && finds(&eve, &bob).await);

    // A job that fails too often is kept for the operator.
    assert_eq!(auth.terminate().code(), Some(0), "{}", auth.log());
    auth.set("JOBS__ATTEMPTS", "1");
    auth.launch();
    auth.ready(ports.gateway).await;
    users.kill();
    delete_when_reachable(&bob).await;
    let dead = until_listed(&operator, |text| text.contains(" dead ")).await;
    assert!(dead.contains("    failure: "), "{dead}");
    let with_arguments = listed(&operator, &["--state", "dead", "--arguments"]);
    assert!(with_arguments.contains(bob.id()), "{with_arguments}");
    users.launch();
    let id = dead.split(' ').next().unwrap();
    until_retried(&operator, id).await;
    assert!(!finds(&eve, &bob).await);
    let refused = trellis(&operator, &["jobs", "delete", id]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        error.contains(&format!("job {id} was not changed: there is no job with this id")) && !refused.status.success(),
        "{error}"
    );
    for mut process in [users, auth, messaging, gateway] {
        assert_eq!(process.terminate().code(), Some(0), "{}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn job_of_a_killed_process_is_retried_by_force() {
    let (keys, database, ports) = (make_keys(), fresh_database().await, Ports::free());
    let start = |part| {
        let mut process = prepared(part, ports, keys.path(), &database);
        process.set("JOBS__LEASE", "1h");
        process.set("JOBS__POLL_INTERVAL", "100ms");
        process.launch();
        process
    };
    let mut processes = Processes::start(start);
    let [users, mut auth, messaging, mut gateway] = processes.take(["users", "auth", "messaging", "gateway"]);
    gateway.ready(ports.gateway).await;
    let mut operator = Mesh::new(&[], ports);
    operator.set("AUTH__DATABASE_URL", &database);
    let ada = gateway.sign_up("ada").await;
    messaging.signal("STOP");
    delete_account(&ada).await;
    let running = until_listed(&operator, |text| text.contains(" auth account.deleted running ")).await;
    auth.kill();
    messaging.signal("CONT");
    auth.launch();

    let id = running.split(' ').next().unwrap();
    let lease = running.trim_end().rsplit_once("due=").unwrap().1;
    for (command, advice) in [("retry", "trellis jobs retry --force"), ("delete", "delete it when no process runs it")]
    {
        let refused = trellis(&operator, &["jobs", command, id]);
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && error.contains(&format!("its lease ends at {lease}")), "{error}");
        assert!(error.contains(advice), "{error}");
    }
    let forced = trellis(&operator, &["jobs", "retry", "--force", id]);
    assert!(forced.status.success(), "{forced:?}");
    until_listed(&operator, |text| text == "no jobs\n").await;
    for mut process in [users, auth, messaging, gateway] {
        assert_eq!(process.terminate().code(), Some(0), "{}", process.log());
    }
}

/// Deletes the account once the gateway has noticed that auth is back.
async fn delete_when_reachable(person: &Person) {
    let started = Instant::now();
    let delete = || person.request(DeleteAccountRequest { password: PASSWORD.to_owned() });
    while let Err(error) = person.auth().delete_account(delete()).await {
        assert!(started.elapsed() < LIMIT, "{error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Retries the job until it is done: users may not be ready for the first attempts.
async fn until_retried(mesh: &Mesh, id: &str) {
    let started = Instant::now();
    while listed(mesh, &["--kind", "account.deleted"]) != "no jobs\n" {
        assert!(started.elapsed() < LIMIT, "{}", listed(mesh, &[]));
        trellis(mesh, &["jobs", "retry", id]);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
