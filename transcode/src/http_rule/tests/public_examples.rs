//! The examples of the page of `google.api.HttpRule`.

use super::*;

#[test]
fn path_holds_the_name() {
    let pool = compile(
        r#"service Messaging { rpc GetMessage(GetMessageRequest) returns (Message) {
            option (google.api.http) = {get: "/v1/{name=messages/*}"}; } }
        message GetMessageRequest { string name = 1; } message Message { string text = 1; }"#,
    );
    let found = request(&table(&pool), "GET /v1/messages/123456", "").unwrap();
    assert_eq!(found, ("GetMessage".into(), r#"{"name":"messages/123456"}"#.into()));
}

#[test]
fn other_fields_become_query_parameters() {
    let pool = compile(
        r#"service Messaging { rpc GetMessage(GetMessageRequest) returns (Message) {
            option (google.api.http) = {get: "/v1/messages/{message_id}"}; } }
        message GetMessageRequest {
            message SubMessage { string subfield = 1; }
            string message_id = 1; int64 revision = 2; SubMessage sub = 3; }
        message Message { string text = 1; }"#,
    );
    let found = request(&table(&pool), "GET /v1/messages/123456?revision=2&sub.subfield=foo", "").unwrap();
    assert_eq!(found.1, r#"{"messageId":"123456","revision":"2","sub":{"subfield":"foo"}}"#);
}

#[test]
fn body_holds_one_field() {
    let pool = compile(
        r#"service Messaging { rpc UpdateMessage(UpdateMessageRequest) returns (Message) {
            option (google.api.http) = {patch: "/v1/messages/{message_id}" body: "message"}; } }
        message UpdateMessageRequest { string message_id = 1; Message message = 2; }
        message Message { string text = 1; }"#,
    );
    let found = request(&table(&pool), "PATCH /v1/messages/123456", r#"{ "text": "Hi!" }"#).unwrap();
    assert_eq!(found.1, r#"{"messageId":"123456","message":{"text":"Hi!"}}"#);
}

#[test]
fn body_holds_all_other_fields() {
    let pool = compile(
        r#"service Messaging { rpc UpdateMessage(Message) returns (Message) {
            option (google.api.http) = {patch: "/v1/messages/{message_id}" body: "*"}; } }
        message Message { string message_id = 1; string text = 2; }"#,
    );
    let table = table(&pool);
    let found = request(&table, "PATCH /v1/messages/123456", r#"{ "text": "Hi!" }"#).unwrap();
    assert_eq!(found.1, r#"{"messageId":"123456","text":"Hi!"}"#);
    let refused = request(&table, "PATCH /v1/messages/123456?text=a", "{}").unwrap_err();
    assert_eq!(refused, "the query parameter `text`: it is a part of the body: send it there");
}

#[test]
fn additional_bindings_are_further_paths() {
    let pool = compile(
        r#"service Messaging { rpc GetMessage(GetMessageRequest) returns (Message) {
            option (google.api.http) = {get: "/v1/messages/{message_id}"
                additional_bindings {get: "/v1/users/{user_id}/messages/{message_id}"}}; } }
        message GetMessageRequest { string message_id = 1; string user_id = 2; }
        message Message { string text = 1; }"#,
    );
    let table = table(&pool);
    assert_eq!(table.bindings().len(), 2);
    assert_eq!(request(&table, "GET /v1/messages/123456", "").unwrap().1, r#"{"messageId":"123456"}"#);
    let found = request(&table, "GET /v1/users/me/messages/123456", "").unwrap();
    assert_eq!(found.1, r#"{"messageId":"123456","userId":"me"}"#);
}
