//! What is read often reads an index, however much there is.

use kit::store::Location;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection,
    sqlite::SqliteConnectOptions,
};

use crate::{databases::on_both, store::open};

on_both!(a_page_of_sessions_reads_an_index, what_is_due_in_the_outbox_is_read_by_an_index);

/// The plan of `statement`, after `fill` for the database at `location`.
async fn plan(location: &Location, postgres: &str, sqlite: &str, statement: &str) -> String {
    drop(open(location).await);
    let rows: Vec<String> = match location {
        Location::Postgres(url) => {
            let mut connection = PgConnection::connect(url.expose()).await.unwrap();
            connection.execute("SET search_path TO auth").await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(postgres.to_owned())).execute(&mut connection).await.unwrap();
            // A generic plan: the values do not matter.
            let prepare = format!("SET plan_cache_mode = force_generic_plan; PREPARE plan AS {statement}");
            sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
            let parameters = (1..).take_while(|n| statement.contains(&format!("${n}"))).map(|_| "NULL");
            let parameters = parameters.collect::<Vec<_>>().join(", ");
            let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE plan({parameters})"));
            let rows = sqlx::raw_sql(explain).fetch_all(&mut connection).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        }
        Location::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sqlite.to_owned())).execute(&mut connection).await.unwrap();
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let rows = sqlx::query(explain).fetch_all(&mut connection).await.unwrap();
            rows.iter().map(|row| row.get("detail")).collect()
        }
    };
    rows.join("\n")
}

/// The first text that stands between quotes in `source` after `mark`: what is explained is what runs.
fn statement(source: &str, mark: &str) -> String {
    let (_, after) = source.split_once(mark).unwrap();
    let (_, literal) = after.split_once('"').unwrap();
    let (statement, _) = literal.split_once('"').unwrap();
    statement.split("\\\n").map(str::trim_start).collect()
}

async fn a_page_of_sessions_reads_an_index(location: &Location) {
    let columns = "INSERT INTO sessions (session_id, account_id, create_time, last_use_time, expire_time, user_agent, \
                   address) SELECT";
    let postgres = format!(
        "INSERT INTO accounts (account_id, email, password_hash, state, create_time) \
         SELECT gen_random_uuid(), n, 'hash', 'active', now() FROM generate_series(1, 20) AS n; \
         {columns} gen_random_uuid(), account_id, now(), now(), now(), '', '' \
         FROM accounts, generate_series(1, 1000) AS n; ANALYZE"
    );
    let sqlite = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20) \
         INSERT INTO accounts (account_id, email, password_hash, state, create_time) \
         SELECT randomblob(16), n, 'hash', 'active', 0 FROM n; \
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000) \
         {columns} randomblob(16), account_id, 0, n, 0, '', '' FROM accounts, n; ANALYZE"
    );
    let list = statement(include_str!("../../src/store/sql.rs"), "async fn list_sessions(");
    let plan = plan(location, &postgres, &sqlite, &list).await;
    assert!(plan.contains("sessions_by_account"), "{plan}");
    assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{plan}");
}

async fn what_is_due_in_the_outbox_is_read_by_an_index(location: &Location) {
    let columns = "INSERT INTO outbox (outbox_id, kind, subject, create_time, next_attempt_time) SELECT";
    let postgres = format!(
        "{columns} gen_random_uuid(), 'k', gen_random_uuid(), now(), now() + n * interval '1 second' \
         FROM generate_series(1, 20000) AS n; ANALYZE"
    );
    let sqlite = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
         {columns} randomblob(16), 'k', randomblob(16), 0, n FROM n; ANALYZE"
    );
    let source = match location {
        Location::Postgres(_) => include_str!("../../src/store/postgres.rs"),
        Location::Sqlite(_) => include_str!("../../src/store/sqlite.rs"),
    };
    let plan = plan(location, &postgres, &sqlite, &statement(source, "const TAKE")).await;
    assert!(plan.contains("outbox_due"), "{plan}");
    assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{plan}");
}
