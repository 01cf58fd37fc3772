//! The tables as sea-orm entities, for administration.
//!
//! Owns: the shape in which rows are listed and shown. An entity names only the columns that may be shown:
//! sealed columns, key hashes and wrapped keys are no fields, so that no list can leak them. The hot path has
//! statements of its own; migrations never import these.
#![expect(
    unreachable_pub,
    reason = "the derives of sea-orm write `pub` into modules that are private here"
)]

pub mod api_token;
pub mod audit;
pub mod certificate;
pub mod channel;
pub mod command;
pub mod delivery;
pub mod device;
pub mod device_group;
pub mod enrollment;
pub mod event;
pub mod fact;
pub mod group_member;
pub mod principal;
pub mod push_state;
pub mod tenant;
