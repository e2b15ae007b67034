//! A contract with every kind of field.

use prost_reflect::DescriptorPool;
use serde_json::json;
use transcode::Registry;

use super::{api, assert_golden, methods, options};
use crate::{Api, Request, Source, root_fields, test_contracts::compile};

const CONTRACT: &str = r#"
syntax = "proto3";
package shop.v1;
import "buf/validate/validate.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "trellis/resource/v1/resource.proto";

// Sells things.
service ShopService {
  // Returns an order.
  rpc GetOrder(GetOrderRequest) returns (Order) { option idempotency_level = NO_SIDE_EFFECTS; }
  // Lists orders.
  rpc ListOrders(ListOrdersRequest) returns (ListOrdersResponse) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc BatchGetPeople(BatchGetPeopleRequest) returns (BatchGetPeopleResponse) {
    option idempotency_level = NO_SIDE_EFFECTS;
  }
  rpc PutOrder(PutOrderRequest) returns (PutOrderResponse);
  rpc Ping(google.protobuf.Empty) returns (google.protobuf.Empty) { option deprecated = true; }
  rpc Watch(WatchRequest) returns (stream Order) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Upload(stream Order) returns (Order);
}
// Has a method of the same name.
service StockService {
  rpc Watch(WatchRequest) returns (stream Part);
}
message WatchRequest {}
message GetOrderRequest {
  // The id.
  string order_id = 1 [(buf.validate.field).string.min_len = 1];
}
message ListOrdersRequest { int32 page_size = 1; string page_token = 2; State state = 3; }
message ListOrdersResponse {
  // The newest orders first.
  repeated Order orders = 1;
  string next_page_token = 2;
  int64 total = 3;
}
message BatchGetPeopleRequest { repeated string person_ids = 1 [(buf.validate.field).repeated.max_items = 3]; }
message BatchGetPeopleResponse { repeated Person people = 1; }
message PutOrderRequest { Order order = 1; google.protobuf.FieldMask update_mask = 2; }
message PutOrderResponse { Order order = 1; Nothing nothing = 2; }
message Nothing {}
message Person { string person_id = 1; string name = 2; }
enum State {
  // Not stated.
  STATE_UNSPECIFIED = 0;
  STATE_OPEN = 1;
}
// An order.
message Order {
  message Line { string name = 1; Order gift = 2; }
  string order_id = 1;
  int32 small = 2;
  uint32 unsigned = 3;
  int64 big = 4;
  fixed64 biggest = 5;
  double weight = 6;
  bool paid = 7;
  bytes picture = 8;
  State state = 9;
  repeated State states = 10;
  repeated Line lines = 11;
  map<string, Line> by_name = 12;
  map<int32, int64> counts = 13;
  map<bool, State> flags = 14;
  google.protobuf.Timestamp create_time = 15;
  google.protobuf.Duration duration = 16;
  google.protobuf.Struct data = 17;
  google.protobuf.Any detail = 18;
  google.protobuf.StringValue note = 19;
  optional string nickname = 20 [deprecated = true];
  // How it is sent.
  oneof sending { string post = 21; Part part = 22; Nothing nothing = 23; }
  string buyer_id = 24 [(trellis.resource.v1.references) = "shop.v1.Person"];
  repeated string helper_ids = 25 [(trellis.resource.v1.references) = "shop.v1.Person"];
  string sold_by = 26 [(trellis.resource.v1.references) = "shop.v1.Person"];
  string unknown_id = 27 [(trellis.resource.v1.references) = "shop.v1.Unknown"];
  string odd = 28 [json_name = "odd-name"];
  repeated double weights = 29;
  repeated google.protobuf.Value values = 30;
  google.protobuf.NullValue none = 31;
  map<string, double> shares = 32;
}
message Part { int32 number = 1; repeated Part parts = 2; }
"#;

pub(super) fn pool() -> DescriptorPool {
    compile(CONTRACT)
}

#[test]
fn schema_has_a_form_for_each_kind_of_field() {
    assert_golden("shop", &api(&pool(), "shop.", options()).sdl());
}

/// The root field of each method calls it, whatever the kinds of its fields.
#[test]
fn example_documents_are_valid() {
    let pool = compile(CONTRACT);
    let (api, registry) = (api(&pool, "shop.", options()), Registry::new(&pool));
    let source = Source { prefix: None, registry: &registry, methods: methods(&pool, "shop.") };
    let fields = root_fields(&[source]).unwrap();
    assert!(fields.len() > 5);
    for field in &fields {
        let query = field.document(&json!({ "orderId": "1" }));
        let prepared = api.prepare(Request { query: query.clone(), ..Request::default() });
        assert!(prepared.is_ok_and(|prepared| prepared.operation() == field.operation()), "{query}");
    }
    let list = fields.iter().find(|field| field.method().name() == "ListOrders").unwrap();
    let query = list.document(&json!({"pageSize": 3, "pageToken": "a\"b"}));
    assert!(query.starts_with(r#"query { listOrders(first: 3, after: "a\"b") { nodes { "#), "{query}");
}

#[test]
fn arguments_of_one_name_are_an_error() {
    for field in ["string first = 4;", "string after = 4;"] {
        let contract = CONTRACT.replace("State state = 3; }", &format!("State state = 3; {field} }}"));
        let pool = compile(&contract);
        let registry = Registry::new(&pool);
        let source = Source { prefix: None, registry: &registry, methods: methods(&pool, "shop.") };
        let error = Api::new(&[source], options()).err().unwrap();
        assert!(error.contains("ListOrders has two arguments with the name"), "{error}");
    }
}
