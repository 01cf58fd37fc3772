//! The client verbs: everything that the admin API can do, from a shell.
//!
//! Owns: the verbs, their arguments, and how answers are shown. Knows nothing that the API does not say: a verb is a
//! request or a few of them.

mod access;
mod api;
mod commands;
mod devices;
mod enroll;
mod export;
mod output;
mod place;
mod posture;
mod profiles;
mod push;

use std::path::Path;

use clap::Subcommand;

pub(crate) use api::{Api, HttpClient, http_client, query, segment};
pub(crate) use output::{Column, Output, clean, print};
pub(crate) use place::{Place, UsageError};

/// A verb of the client.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientVerb {
    /// Tenants: organizations with devices of their own.
    #[command(subcommand)]
    Tenant(access::TenantVerb),
    /// Principals: people, and programs that act for them.
    #[command(subcommand)]
    Principal(access::PrincipalVerb),
    /// Tokens of the admin API.
    #[command(subcommand)]
    Token(access::TokenVerb),
    /// Show whose token this is and what it may do.
    Whoami,
    /// The audit log.
    #[command(subcommand)]
    Audit(access::AuditVerb),
    /// Certificate authorities whose devices may enroll.
    #[command(subcommand)]
    Ca(enroll::CaVerb),
    /// Enrollment.
    #[command(subcommand)]
    Enroll(enroll::EnrollVerb),
    /// Devices.
    #[command(subcommand)]
    Device(devices::DeviceVerb),
    /// Groups of devices.
    #[command(subcommand)]
    Group(devices::GroupVerb),
    /// Configuration profiles.
    #[command(subcommand)]
    Profile(profiles::ProfileVerb),
    /// Commands for devices.
    #[command(subcommand)]
    Command(commands::CommandVerb),
    /// What plugins find out about devices.
    #[command(subcommand)]
    Posture(posture::PostureVerb),
    /// Ring devices, so that they connect.
    Push(push::Push),
    /// Push certificates.
    #[command(subcommand)]
    Pushcert(push::PushcertVerb),
}

/// Runs a verb.
pub(crate) async fn run(verb: ClientVerb, place: &Place, dir: Option<&Path>) -> anyhow::Result<()> {
    let api = Api::open(place, dir)?;
    let out = Output::new(place.json);
    match verb {
        ClientVerb::Tenant(verb) => access::tenant(verb, &api, &out).await,
        ClientVerb::Principal(verb) => access::principal(verb, &api, &out).await,
        ClientVerb::Token(verb) => access::token(verb, &api, &out).await,
        ClientVerb::Whoami => access::whoami(&api, &out).await,
        ClientVerb::Audit(verb) => access::audit(verb, &api, &out).await,
        ClientVerb::Ca(verb) => enroll::ca(verb, &api, &out).await,
        ClientVerb::Enroll(verb) => enroll::enroll(verb, &api, &out).await,
        ClientVerb::Device(verb) => devices::device(verb, &api, &out).await,
        ClientVerb::Group(verb) => devices::group(verb, &api, &out).await,
        ClientVerb::Profile(verb) => profiles::profile(verb, &api, &out).await,
        ClientVerb::Command(verb) => commands::command(verb, &api, &out).await,
        ClientVerb::Posture(verb) => posture::run(verb, &api, &out).await,
        ClientVerb::Push(verb) => push::push(verb, &api, &out).await,
        ClientVerb::Pushcert(verb) => push::pushcert(verb, &api, &out).await,
    }
}
