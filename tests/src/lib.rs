//! What the black-box suites and the developer tasks share: a private PostgreSQL server, a server process and its
//! admin API, and the comparison of what server and devices say.
//!
//! This crate owns the surroundings of a test. It never speaks the protocol of a device (the simulator does), and it
//! links none of the crates under test, so that it cannot share their mistakes.

mod admin;
pub mod audit;
mod checkout;
mod database;
mod guest;
pub mod kill_loop;
mod lab;
mod postgres;
mod registry;
mod server;
mod tenant;

pub use admin::Admin;
pub use checkout::{cargo, checkout, executable_in, pomona_binary, tracked_files};
pub use database::{BackEnd, TestDatabase};
pub use guest::{guest, guest_by, guest_variant, guest_variant_by};
pub use lab::Lab;
pub use postgres::{Database, PostgresServer, postgres_missing, shared_postgres};
pub use registry::{Registry, registry_folder, registry_program};
pub use server::{ProcessorTime, ServerFolder, ServerProcess, machine_time, processor_time};
pub use tenant::{ListedDevice, Queued, Tenant};
