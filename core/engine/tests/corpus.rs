//! Requests that are not as they should be, each with its one answer (`corpus/table.txt`), through the whole HTTP layer.
//!
//! Owns: nothing but the list of its parts.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]
#![allow(
    unreachable_pub,
    reason = "the parts of one test see each other, nobody else does"
)]

mod support;

#[path = "corpus/check_ins.rs"]
mod check_ins;
#[path = "corpus/connections.rs"]
mod connections;
#[path = "corpus/reports.rs"]
mod reports;
#[path = "corpus/scep.rs"]
mod scep;
#[path = "corpus/signatures.rs"]
mod signatures;
#[path = "corpus/signing.rs"]
mod signing;
#[path = "corpus/snapshot.rs"]
mod snapshot;
#[path = "corpus/world.rs"]
mod world;
