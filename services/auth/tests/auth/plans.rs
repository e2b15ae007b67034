//! Frequent queries read an index, whatever the size of the table.

use kit_data::store::Location;

use crate::{
    databases::on_both,
    plan::{plan, statement},
    store::open,
};

on_both!(a_page_of_sessions_reads_an_index);

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
    drop(open(location).await);
    // The rows that the first statement inserts are there for the second.
    for (function, postgres, sqlite) in
        [("async fn list_sessions(", &*postgres, &*sqlite), ("async fn list_addresses(", "SELECT 1", "SELECT 1")]
    {
        let list = statement(include_str!("../../src/store/sql.rs"), function);
        let plan = plan(location, "auth", postgres, sqlite, &list).await;
        assert!(plan.contains("sessions_by_account"), "{function}: {plan}");
        assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{function}: {plan}");
    }
}
