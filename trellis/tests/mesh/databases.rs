//! Databases at a start and in `trellis migrate`: applied migrations, and refusals with advice.

use super::{
    cli::{error_line, run},
    harness::{Mesh, Ports, Store, fresh_database},
};

/// A server in the middle of a start refuses connections too, so the process waits, and logs that.
#[test]
fn refused_database_connection_is_logged_at_once_and_explained() {
    let mesh = Mesh::new(&[], Ports::free());
    let output = run(&mesh, &["--set", "users.database_url=postgres://u:hunter2@127.0.0.1:1/none"]);
    let log = String::from_utf8(output.stderr).unwrap();
    let (first, last) = (log.lines().next().unwrap(), log.lines().last().unwrap());
    assert!(first.contains("does not accept connections yet"), "{log}");
    let why = "users.database_url: connection refused: is PostgreSQL running at 127.0.0.1:1?";
    assert!(!output.status.success() && last == format!("trellis: {why}"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_database_is_named() {
    let url = fresh_database().await;
    let (server, _) = url.rsplit_once('/').unwrap();
    let mesh = Mesh::new(&[], Ports::free());
    let line = error_line(&run(&mesh, &["--set", &format!("users.database_url={server}/nope")]));
    let place = server.rsplit_once('@').unwrap().1;
    assert_eq!(line, format!("trellis: users.database_url: database \"nope\" does not exist on {place}; create it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_reports_what_it_applied() {
    let url = fresh_database().await;
    for place in [vec![], vec!["--set".to_owned(), format!("messaging.database_url={url}")]] {
        let mesh = Mesh::new(&[], Ports::free());
        let migrate = || {
            let output = mesh.command().args(["migrate", "messaging"]).args(&place).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let first = migrate();
        assert!(first.starts_with("messaging: the ") && first.contains(": applied "), "{first}");
        let second = migrate();
        assert!(second.ends_with(" is up to date\n"), "{second}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_migration_is_refused_with_advice() {
    let mut mesh = Mesh::start(Store::Sqlite, &[]).await;
    assert_eq!(mesh.terminate().code(), Some(0));
    let folder = mesh.folder().join("trellis");
    let pool = sqlx::SqlitePool::connect(folder.join("users.db").to_str().unwrap()).await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").execute(&pool).await.unwrap();
    pool.close().await;
    let line = error_line(&run(&mesh, &[]));
    let advice = "start the version of trellis that created it, or move";
    assert!(line.contains("migration 1 differs from the one that ran on this database"), "{line}");
    assert!(line.contains(advice) && line.contains(folder.to_str().unwrap()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_schema_is_refused() {
    let mut mesh = Mesh::start(Store::Sqlite, &[]).await;
    assert_eq!(mesh.terminate().code(), Some(0));
    let file = mesh.folder().join("trellis/users.db");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', 1, x'00', 0)";
    let pool = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::query(newer).execute(&pool).await.unwrap();
    pool.close().await;
    let line = error_line(&run(&mesh, &[]));
    assert!(line.contains("is newer than this program") && line.contains("9999"), "{line}");
}

#[test]
fn migrate_refuses_a_part_without_a_database() {
    let mesh = Mesh::new(&[], Ports::free());
    for part in ["gateway", "user", "all"] {
        let output = run(&mesh, &["migrate", part]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains("possible values: users, auth, messaging"), "{part}: {text}");
    }
    let output = run(&mesh, &["migrate", "users"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.starts_with("users: the SQLite file ") && text.lines().count() == 1,
        "{text}"
    );
}
