//! Query strings.

use super::*;

const SOURCE: &str = r#"
    service S {
        rpc Get(Request) returns (Response) { option (google.api.http) = {get: "/v1/{name}"}; }
        rpc Put(Request) returns (Response) { option (google.api.http) = {put: "/v1/{inner.id}" body: "filter"}; }
    }
    enum Color { COLOR_UNSPECIFIED = 0; COLOR_RED = 1; }
    message Request {
        string name = 1; int32 page_size = 2; repeated string user_ids = 3; Inner inner = 4; bool deep = 5;
        Color color = 6; repeated Color colors = 7; bytes data = 8; double ratio = 9; uint64 big = 10; sint32 low = 11;
        google.protobuf.Timestamp since = 12; google.protobuf.Duration wait = 13; google.protobuf.FieldMask mask = 14;
        google.protobuf.StringValue nick = 15; google.protobuf.BoolValue flag = 16;
        map<string, string> labels = 17; repeated Inner inners = 18; google.protobuf.Struct extra = 19;
        google.protobuf.Any any = 20; Inner filter = 21; google.protobuf.Value value = 22;
        oneof choice { string left = 23; string right = 24; Inner middle = 25; }
        optional string maybe = 26; repeated int32 numbers = 27; string odd = 28 [json_name = "o-d.d"];
        float small = 29;
    }
    message Inner { string id = 1; Inner inner = 2; repeated int32 counts = 3; oneof kind { string a = 4; string b = 5; } }
    message Response {}"#;

/// The JSON form of the request without the path, or the error.
fn read(table: &RouteTable, query: &str) -> String {
    match request(table, &format!("GET /v1/n?{query}"), "") {
        Ok((_, json)) => json.replacen(r#""name":"n","#, "", 1).replacen(r#""name":"n""#, "", 1),
        Err(error) => error.strip_prefix("the query ").unwrap_or(&error).to_owned(),
    }
}

#[test]
fn parameters_become_fields() {
    let table = table(&compile(SOURCE));
    for (query, json) in [
        ("", "{}"),
        ("&&", "{}"),
        ("pageSize=10", r#"{"pageSize":10}"#),
        ("page_size=-10", r#"{"pageSize":-10}"#),
        ("user_ids=a&userIds=b&user_ids=", r#"{"userIds":["a","b",""]}"#),
        ("numbers=1&numbers=0&numbers=-3", r#"{"numbers":[1,0,-3]}"#),
        ("inner.id=a%26b%3Dc", r#"{"inner":{"id":"a&b=c"}}"#),
        ("inner.inner.inner.id=x&inner.id=y", r#"{"inner":{"id":"y","inner":{"inner":{"id":"x"}}}}"#),
        ("inner.counts=1&inner.counts=2", r#"{"inner":{"counts":[1,2]}}"#),
        ("deep=true", r#"{"deep":true}"#),
        (
            "color=COLOR_RED&colors=1&colors=COLOR_RED&colors=7",
            r#"{"color":"COLOR_RED","colors":["COLOR_RED","COLOR_RED",7]}"#,
        ),
        ("data=aGk%3D", r#"{"data":"aGk="}"#),
        ("data=-_8", r#"{"data":"+/8="}"#),
        ("data=%2B%2F8%3D", r#"{"data":"+/8="}"#),
        ("ratio=1.5e3&low=-2147483648", r#"{"ratio":1500.0,"low":-2147483648}"#),
        ("ratio=-Infinity", r#"{"ratio":"-Infinity"}"#),
        ("big=18446744073709551615", r#"{"big":"18446744073709551615"}"#),
        ("since=2001-02-03T04:05:06.7Z&wait=1.5s", r#"{"since":"2001-02-03T04:05:06.700Z","wait":"1.500s"}"#),
        ("mask=displayName,a.bC", r#"{"mask":"displayName,a.bC"}"#),
        ("mask=display_name,a.b_c,*", r#"{"mask":"displayName,a.bC,*"}"#),
        ("nick=&flag=false", r#"{"nick":"","flag":false}"#),
        ("left=a+b", r#"{"left":"a b"}"#),
        ("left=a%2Bb", r#"{"left":"a+b"}"#),
        ("left=a=b", r#"{"left":"a=b"}"#),
        ("left=a;right=b", r#"{"left":"a;right=b"}"#),
        ("left=%00%E2%82%AC", "{\"left\":\"\\u0000€\"}"),
        ("maybe", r#"{"maybe":""}"#),
        ("ma%79be=x", r#"{"maybe":"x"}"#),
        ("odd=x", r#"{"o-d.d":"x"}"#),
    ] {
        assert_eq!(read(&table, query), json, "{query}");
    }
}

#[test]
fn parameters_that_fit_no_field_are_refused() {
    let table = table(&compile(SOURCE));
    for (query, error) in [
        ("pagesize=1", "parameter `pagesize`: t.Request has no such field: check the name"),
        ("=1", "parameter ``: t.Request has no such field"),
        ("page%20size=1", "parameter `page size`: t.Request has no such field"),
        ("page_size%00=1", "parameter `page_size\\0`: t.Request has no such field"),
        ("inner.x=1", "parameter `inner.x`: t.Request has no such field"),
        (".inner=1", "parameter `.inner`: t.Request has no such field"),
        ("name=x", "parameter `name`: it is a part of the path: remove it from the query"),
        ("page_size=1&pageSize=2", "parameter `pageSize`: it occurs twice: send it once"),
        ("inner.id=1&inner.id=1", "parameter `inner.id`: it occurs twice"),
        ("left=1&right=1", "parameter `right`: it excludes an earlier parameter"),
        ("middle.id=1&left=1", "parameter `left`: it excludes an earlier parameter"),
        ("inner.a=1&inner.b=1", "parameter `inner.b`: it excludes an earlier parameter"),
        ("inner=x", "parameter `inner`: it is a message: name a field of it, such as `inner.field`"),
        ("inners=x", "parameter `inners`: it is a map or a list of messages"),
        ("inners.id=x", "parameter `inners.id`: the field "),
        ("labels=x", "parameter `labels`: it is a map"),
        ("labels.a=x", "parameter `labels.a`: the field "),
        ("labels[a]=x", "parameter `labels[a]`: t.Request has no such field"),
        ("since.seconds=1", "parameter `since.seconds`: the field "),
        ("extra.a=1", "parameter `extra.a`: the field "),
        ("any.type_url=x", "parameter `any.type_url`: the field "),
        ("value=1", "parameter `value`: it is a map"),
        ("page_size=", "parameter `page_size`: "),
        ("page_size=1.5", "parameter `page_size`: "),
        ("page_size=2147483648", "parameter `page_size`: "),
        ("page_size=+1", "parameter `page_size`: "),
        ("page_size=0x10", "parameter `page_size`: "),
        ("big=-1", "parameter `big`: "),
        ("deep=1", "parameter `deep`: "),
        ("deep=True", "parameter `deep`: "),
        ("deep", "parameter `deep`: "),
        ("ratio=nan", "parameter `ratio`: "),
        ("ratio=1e999", "parameter `ratio`: "),
        ("small=1e39", "parameter `small`: "),
        ("color=RED", "parameter `color`: "),
        ("color=1.5", "parameter `color`: "),
        ("data=a", "parameter `data`: "),
        ("data=+/8=", "parameter `data`: "),
        ("since=yesterday", "parameter `since`: "),
        ("since=2001-02-30T00:00:00Z", "parameter `since`: "),
        ("wait=1", "parameter `wait`: "),
        ("left=%zz", "parameter `left`: a `%` has no two hexadecimal digits"),
        ("left=%C0%AF", "parameter `left`: it is not UTF-8"),
        ("le%ft=1", "parameter `le%ft`: in its name, a `%` has no two hexadecimal digits"),
    ] {
        let found = read(&table, query);
        assert!(found.starts_with(error), "{query}: {found}");
    }
}

#[test]
fn fields_of_the_body_are_refused() {
    let table = table(&compile(SOURCE));
    let put = |query: &str| request(&table, &format!("PUT /v1/7?{query}"), "{}");
    assert_eq!(put("inner.a=x").unwrap().1, r#"{"inner":{"id":"7","a":"x"},"filter":{}}"#);
    for (query, part) in [("inner.id=8", "of the path"), ("filter.id=8", "of the body"), ("filter=8", "of the body")] {
        assert!(put(query).unwrap_err().contains(part), "{query}");
    }
}

#[test]
fn unknown_parameters_can_be_ignored() {
    let table = table(&compile(SOURCE));
    let query = QueryOptions { ignore_unknown: true, ..QueryOptions::default() };
    let options = RequestOptions { query, ..RequestOptions::default() };
    let get = |query: &str| request_with(&table, &format!("GET /v1/n?{query}"), "", &options);
    assert_eq!(get("utm_source=x&deep=true&a.b=1").unwrap().1, r#"{"name":"n","deep":true}"#);
    assert!(get("name=x").is_err());
    assert!(get("%zz=x").is_err());
    assert!(get("inner=x").is_err());
}

#[test]
fn large_query_strings_are_refused() {
    let table = table(&compile(SOURCE));
    let list = |count: usize| vec!["user_ids=a"; count].join("&");
    assert!(read(&table, &list(1024)).starts_with("{\"userIds\""));
    assert_eq!(read(&table, &list(1025)), "string has more than 1024 parameters: send fewer parameters");
    assert!(read(&table, &format!("left={}", "a".repeat(65_531))).starts_with("{\"left\""));
    assert_eq!(
        read(&table, &format!("left={}", "a".repeat(65_532))),
        "string has more than 65536 bytes: send fewer parameters"
    );
    let deep = |count: usize| format!("{}id=x", "inner.".repeat(count));
    assert!(read(&table, &deep(15)).starts_with("{\"inner\""));
    assert!(read(&table, &deep(16)).contains("has more than 16 names"));
    // An error does not repeat a long name.
    assert!(read(&table, &format!("{}=1", "a".repeat(60_000))).len() < 200);
}
