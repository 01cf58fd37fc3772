//! The schema, as numbered migrations for SQLite and PostgreSQL.
//!
//! Owns: every table, index and partition. One change a file, additive first; a column is removed one
//! release after the last reader of it. Never imports an entity: a migration must mean the same for ever.
//!
//! Rules of the schema: every row carries its tenant; ids are UUIDs made by us; times are integer
//! microseconds UTC; states of hot tables are small integers, explained beside their column. There are no
//! foreign keys: hot tables are meant to be partitioned, and a distributed engine should be able to run
//! this schema. The engine keeps the references, under the lock of the device row.
#![forbid(unsafe_code)]

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::*;

mod ddl;
mod m0001_tenants;
mod m0002_identity;
mod m0003_enrollments;
mod m0004_queue;
mod m0005_events;
mod m0006_push;
mod m0007_plugins;
mod m0008_plugin_work;
mod m0009_plugin_trust;
mod m0010_plugin_versions;
mod m0011_plugin_trials;
mod m0012_plugin_order;
mod m0013_observations;
mod m0014_brake;
mod m0015_profiles;
mod m0016_rounds;

/// Runs the migrations in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_tenants::Migration),
            Box::new(m0002_identity::Migration),
            Box::new(m0003_enrollments::Migration),
            Box::new(m0004_queue::Migration),
            Box::new(m0005_events::Migration),
            Box::new(m0006_push::Migration),
            Box::new(m0007_plugins::Migration),
            Box::new(m0008_plugin_work::Migration),
            Box::new(m0009_plugin_trust::Migration),
            Box::new(m0010_plugin_versions::Migration),
            Box::new(m0011_plugin_trials::Migration),
            Box::new(m0012_plugin_order::Migration),
            Box::new(m0013_observations::Migration),
            Box::new(m0014_brake::Migration),
            Box::new(m0015_profiles::Migration),
            Box::new(m0016_rounds::Migration),
        ]
    }
}
