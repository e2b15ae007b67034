//! The query plan of a statement. Included by the test binaries of the services.

use kit_data::store::Location;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection,
    sqlite::SqliteConnectOptions,
};

/// The plan of `statement` in the migrated schema of a service, after `postgres` or `sqlite` has filled its tables.
pub(crate) async fn plan(location: &Location, schema: &str, postgres: &str, sqlite: &str, statement: &str) -> String {
    let rows: Vec<String> = match location {
        Location::Postgres(url) => {
            let mut connection = PgConnection::connect(url.expose()).await.unwrap();
            connection.execute(AssertSqlSafe(format!("SET search_path TO {schema}"))).await.unwrap();
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

/// The first string literal in `source` after `mark`, so that the test explains the statement that the code runs.
pub(crate) fn statement(source: &str, mark: &str) -> String {
    let (_, after) = source.split_once(mark).unwrap();
    let (_, literal) = after.split_once('"').unwrap();
    let (statement, _) = literal.split_once('"').unwrap();
    statement.split("\\\n").map(str::trim_start).collect()
}
