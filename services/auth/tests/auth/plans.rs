//! Frequent queries read an index, whatever the size of the table.

use kit_data::store::Location;

use crate::{
    databases::on_both,
    plan::{plan, statement},
    store::open,
};

on_both!(a_page_of_sessions_reads_an_index, a_page_of_accounts_reads_an_index);

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

async fn a_page_of_accounts_reads_an_index(location: &Location) {
    let postgres = "INSERT INTO accounts (account_id, email, password_hash, state, create_time) \
         SELECT gen_random_uuid(), n, 'hash', CASE WHEN n % 2 = 0 THEN 'active' ELSE 'suspended' END, now() \
         FROM generate_series(1, 10000) AS n; \
         INSERT INTO roles (account_id, role) SELECT account_id, 'support' FROM accounts; ANALYZE";
    let sqlite = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10000) \
         INSERT INTO accounts (account_id, email, password_hash, state, create_time) \
         SELECT randomblob(16), n, 'hash', CASE WHEN n % 2 = 0 THEN 'active' ELSE 'suspended' END, 0 FROM n; \
         INSERT INTO roles (account_id, role) SELECT account_id, 'support' FROM accounts; ANALYZE";
    drop(open(location).await);
    for (function, index, postgres, sqlite) in [
        ("async fn accounts_by_email(", ["accounts_email_key", "sqlite_autoindex_accounts_2"], postgres, sqlite),
        ("async fn accounts_by_role(", ["roles_by_role"; 2], "SELECT 1", "SELECT 1"),
        ("async fn accounts_by_state(", ["accounts_by_state"; 2], "SELECT 1", "SELECT 1"),
        ("async fn newest_accounts(", ["accounts_pkey", "sqlite_autoindex_accounts_1"], "SELECT 1", "SELECT 1"),
        ("async fn roles_between(", ["roles_pkey", "sqlite_autoindex_roles_1"], "SELECT 1", "SELECT 1"),
    ] {
        let list = statement(include_str!("../../src/store/sql/admin.rs"), function);
        let plan = plan(location, "auth", postgres, sqlite, &list).await;
        assert!(index.iter().any(|index| plan.contains(index)), "{function}: {plan}");
        assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{function}: {plan}");
    }
}
