//! Frequent statements use indexes in large databases.

use kit_data::store::Location;

use crate::{
    changes::open,
    databases::on_both,
    plan::{plan, statement},
};

on_both! {
    conversation_reads_use_indexes,
    contacts_are_read_in_order_up_to_a_bound,
    members_are_listed_by_an_index,
}

/// 20 000 conversations of six members. One user is a member of half of them; a thousand have ten messages each.
const POSTGRES: &str = "INSERT INTO conversations SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'f', \
     't', gen_random_uuid(), 'all_members', 1, now(), now(), 11, 10, 6, 0 FROM generate_series(1, 20000); \
     INSERT INTO members SELECT conversation_id, gen_random_uuid(), 1, 0, 'own', NULL FROM conversations, generate_series(1, 5); \
     INSERT INTO members SELECT conversation_id, '00000000-0000-0000-0000-000000000001', 1, 0, 'own', NULL \
     FROM (SELECT conversation_id FROM conversations LIMIT 10000) AS c; \
     INSERT INTO entries SELECT conversation_id, n, n, gen_random_uuid(), NULL, NULL, gen_random_uuid(), \
     now(), 'b' \
     FROM (SELECT conversation_id FROM conversations LIMIT 1000) AS c, generate_series(1, 10) AS n; ANALYZE";
const SQLITE: &str = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
     INSERT INTO conversations SELECT randomblob(16), randomblob(16), randomblob(16), x'66', 't', randomblob(16), 'all_members', 1, \
     0, 0, 11, 10, 6, 0 FROM n; \
     WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5) \
     INSERT INTO members SELECT conversation_id, randomblob(16), 1, 0, 'own', NULL FROM conversations, n; \
     INSERT INTO members SELECT conversation_id, x'00000000000000000000000000000001', 1, 0, 'own', NULL \
     FROM (SELECT conversation_id FROM conversations LIMIT 10000); \
     WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10) \
     INSERT INTO entries SELECT conversation_id, n, n, randomblob(16), NULL, NULL, randomblob(16), 0, x'62' \
     FROM (SELECT conversation_id FROM conversations LIMIT 1000), n; ANALYZE";

/// The SQL of a statement, with its constants.
fn read(location: &Location, mark: &str) -> String {
    let database = match location {
        Location::Postgres(_) => include_str!("../../src/store/postgres.rs"),
        Location::Sqlite(_) => include_str!("../../src/store/sqlite.rs"),
    };
    let text = statement(include_str!("../../src/store/sql/conversations.rs"), mark);
    ["AMONG", "MEMBERSHIP", "FIRST_MEMBERS"]
        .iter()
        .fold(text, |text, name| text.replace(&format!("{{{name}}}"), &statement(database, &format!("const {name}"))))
}

async fn conversation_reads_use_indexes(location: &Location) {
    drop(open(location).await);
    let members = plan(location, "messaging", POSTGRES, SQLITE, &read(location, "async fn read_with_members(")).await;
    let messages = plan(location, "messaging", "", "", &read(location, "async fn read_last_messages(")).await;
    let searched = |line: &str| line.contains("Index Cond") || line.contains("SEARCH");
    let by_both = |line: &str| searched(line) && line.contains("conversation_id") && line.contains("user_id");
    assert!(members.lines().any(by_both), "the membership of each conversation is looked up by an index: {members}");
    assert!(messages.contains("entries_by_message_no"), "{messages}");
    assert!(messages.contains("entries_by_erased_no"), "an index counts erased messages: {messages}");
    // Only the list of ids is read completely.
    let whole = |line: &&str| line.contains("Seq Scan") || (line.contains("SCAN") && !line.contains("json_each"));
    for plan in [members, messages] {
        assert_eq!(plan.lines().find(whole), None, "{plan}");
    }
}

async fn contacts_are_read_in_order_up_to_a_bound(location: &Location) {
    drop(open(location).await);
    let contacts = statement(include_str!("../../src/store/sql/members.rs"), "async fn contacts(");
    let plan = plan(location, "messaging", POSTGRES, SQLITE, &contacts).await;
    // In the order of an index, so that LIMIT ends the read: no table is read, hashed or sorted completely.
    for whole in ["Seq Scan", "Hash Join", "Sort Key: mine", "SCAN mine", "SCAN other", "B-TREE FOR ORDER BY"] {
        assert!(!plan.contains(whole), "{whole}: {plan}");
    }
}

async fn members_are_listed_by_an_index(location: &Location) {
    drop(open(location).await);
    let statement = statement(include_str!("../../src/store/sql/members.rs"), "async fn list_members(");
    let plan = plan(location, "messaging", POSTGRES, SQLITE, &statement).await;
    assert!(plan.contains("members_by_join"), "{plan}");
    assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{plan}");
}
