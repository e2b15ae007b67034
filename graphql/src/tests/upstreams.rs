//! Names of upstreams: they collide neither with those of the mesh nor with those of one another.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use prost_reflect::DescriptorPool;
use serde_json::json;
use transcode::Registry;

use super::{json as parsed, methods, operations::held, options};
use crate::{Api, Budget, CallError, Caller, Message, MessageStream, Request, Source, test_contracts::compile};

/// The contract of an upstream whose messages are those of packages that others have, too.
fn contract(package: &str) -> DescriptorPool {
    let contract = r#"
syntax = "proto3";
package acme.PACKAGE.v1;
import "trellis/resource/v1/resource.proto";
service ItemService {
  rpc GetItem(GetItemRequest) returns (Item) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc BatchGetOwners(BatchGetOwnersRequest) returns (BatchGetOwnersResponse) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc PutItem(Item) returns (Item);
}
message GetItemRequest { string item_id = 1; }
message Item {
  string item_id = 1;
  string owner_id = 2 [(trellis.resource.v1.references) = "acme.PACKAGE.v1.Owner"];
  Kind kind = 3;
  Item inner = 4;
}
message BatchGetOwnersRequest { repeated string owner_ids = 1; }
message BatchGetOwnersResponse { repeated Owner owners = 1; }
message Owner { string owner_id = 1; string name = 2; }
enum Kind { KIND_UNSPECIFIED = 0; }
"#;
    compile(&contract.replace("PACKAGE", package))
}

/// The schema of sources with prefixes.
fn build(sources: &[(Option<&str>, &DescriptorPool)]) -> Result<Api, String> {
    let registries: Vec<_> = sources.iter().map(|(_, pool)| Registry::new(pool)).collect();
    let sources = sources.iter().zip(&registries).map(|((prefix, pool), registry)| Source {
        prefix: *prefix,
        registry,
        methods: methods(pool, "acme."),
    });
    Api::new(&sources.collect::<Vec<_>>(), options())
}

#[test]
fn upstreams_with_equal_packages_have_their_own_names() {
    let pool = contract("shop");
    let sdl = build(&[(None, &pool), (Some("one"), &pool), (Some("two.parts"), &pool)]).unwrap().sdl();
    for name in ["", "One", "TwoParts"] {
        for line in [format!("type {name}Item {{"), format!("input {name}ItemInput {{"), format!("enum {name}Kind {{")]
        {
            assert!(sdl.contains(&line), "{line} in {sdl}");
        }
    }
    for field in ["\tgetItem(itemId: String): Item\n", "\toneGetItem(itemId: String): OneItem\n", "\ttwoPartsPutItem("]
    {
        assert!(sdl.contains(field), "{field:?} in {sdl}");
    }
}

/// The names of the mesh, and of an upstream, are the same with and without another upstream.
#[test]
fn upstream_renames_nothing_of_others() {
    let (mesh, other) = (contract("shop"), contract("stock"));
    let alone = build(&[(None, &mesh)]).unwrap().sdl();
    let sdl = build(&[(None, &mesh), (Some("get"), &other)]).unwrap().sdl();
    for line in alone.lines().filter(|line| line.starts_with("type ") || line.starts_with('\t')) {
        assert!(sdl.contains(line), "{line} in {sdl}");
    }
}

#[test]
fn conflict_names_both_owners() {
    let pool = contract("shop");
    let error = build(&[(Some("a.b"), &pool), (Some("a_b"), &pool)]).err().unwrap();
    assert!(error.contains("of the upstream \"a.b\"") && error.contains("of the upstream \"a_b\""), "{error}");
    assert!(error.contains("aBGetItem") && error.contains("acme.shop.v1.ItemService.GetItem"), "{error}");
    // A type of the mesh that has the name of an upstream's.
    let short = compile(
        "syntax = \"proto3\"; package acme.x; message OneItem { string a = 1; } message R { string a = 1; } \
        service S { rpc Find(R) returns (OneItem) { option idempotency_level = NO_SIDE_EFFECTS; } }",
    );
    let error = build(&[(None, &short), (Some("one"), &pool)]).err().unwrap();
    let both =
        ["two types have the name OneItem", "acme.x.OneItem of the mesh", "acme.shop.v1.Item of the upstream \"one\""];
    assert!(both.iter().all(|part| error.contains(part)), "{error}");
}

/// Responds to each call with the item, or with an owner who has the name of the method's service.
struct Owners;

impl Caller for Owners {
    fn call(&self, path: &str, _: Vec<u8>, budget: &Budget) -> BoxFuture<'static, Result<Message, CallError>> {
        // `owner_id: "o"`, and `owners: { owner_id: "o", name: PACKAGE }`.
        let package = path.split('.').nth(1).unwrap().as_bytes();
        let bytes = if path.ends_with("GetItem") {
            vec![0x12, 1, b'o']
        } else {
            let name = [&[0x12, u8::try_from(package.len()).unwrap()], package].concat();
            let owner = [&[0x0a, 1, b'o'][..], &name].concat();
            [&[0x0a, u8::try_from(owner.len()).unwrap()], owner.as_slice()].concat()
        };
        let message = held(Bytes::from(bytes), budget);
        async { message }.boxed()
    }

    fn open(&self, _: &str, _: Vec<u8>, _: &Budget) -> BoxFuture<'static, Result<MessageStream, CallError>> {
        unreachable!("no subscription")
    }
}

/// A reference leads to the object of the same upstream.
#[tokio::test]
async fn references_stay_within_their_upstream() {
    let (shop, stock) = (contract("shop"), contract("stock"));
    let api = build(&[(Some("acme.shop"), &shop), (Some("acme.stock"), &stock)]).unwrap();
    let query = "{ acmeShopGetItem { owner { name } } acmeStockGetItem { owner { name } } }";
    let prepared = api.prepare(Request { query: query.to_owned(), ..Request::default() }).unwrap();
    let response = parsed(&api.execute(prepared, Arc::new(Owners)).await);
    let owner = |name| json!({ "owner": { "name": name } });
    let data = json!({ "acmeShopGetItem": owner("shop"), "acmeStockGetItem": owner("stock") });
    assert_eq!(response, json!({ "data": data }));
}
