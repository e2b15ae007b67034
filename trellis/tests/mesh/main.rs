//! Tests of the real binary from outside: one process or several, on either database.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking, and print their results")]

mod access;
#[path = "../../../proto/examples/access_table/table.rs"]
mod access_table;
mod accounts;
mod admin;
mod admin_commands;
mod audit;
mod audit_events;
mod authority;
mod authorization;
mod balance;
mod bounds;
mod cancel;
mod cli;
mod client;
mod client_certificates;
mod cluster;
mod collector;
mod compression;
mod databases;
mod deletion;
#[path = "../../../services/kit/tests/support/dice.rs"]
#[expect(dead_code, reason = "the tests of services use more of it")]
mod dice;
mod edge;
mod events;
mod external;
mod external_upstream;
mod failover;
mod fairness;
mod faulty_upstream;
mod files;
mod forward_auth;
mod graphql;
mod graphql_policies;
mod graphql_sockets;
mod graphql_upstreams;
mod grpc;
mod harness;
mod hostile;
mod http1;
mod http_bodies;
mod http_controls;
mod http_rules;
mod jobs;
mod kill;
mod limits;
mod load;
mod load_balancer;
mod names;
mod observed;
mod pressure;
mod protocols;
mod rates;
mod raw;
#[path = "../../../services/kit/tests/support/redis.rs"]
mod redis;
mod replicas;
mod revocations;
mod roles;
mod rolling;
mod rotation;
mod route_rules;
mod samples;
mod sockets;
mod split;
mod storm;
mod threads;
mod tls;
mod token_issuers;
mod uploads;
mod upstream;
mod wait;
mod web;
