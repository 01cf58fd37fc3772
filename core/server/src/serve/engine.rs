//! How the engine is started: its options and its line to Apple's push service, from the settings.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pomona_engine::clock::{DAY, HOUR, SystemClock};
use pomona_engine::push::{ApnsClient, ApnsOptions, ApnsRoots, ApnsTransport};
use pomona_engine::{EngineOptions, UserAuthenticatePolicy};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::settings::{Settings, UserAuthenticate};

/// The options of the engine.
pub(crate) fn options(settings: &Settings) -> anyhow::Result<EngineOptions> {
    let mut options =
        EngineOptions::new(settings.public_url.clone(), settings.engine_journal.clone());
    options.sign_message = settings.engine_sign_message;
    options.silence = i64::from(settings.engine_silence_days).saturating_mul(DAY);
    options.inventory_every = match settings.engine_inventory_hours {
        0 => None,
        hours => Some(i64::from(hours).saturating_mul(HOUR)),
    };
    options.max_sendings = settings.engine_max_sendings;
    options.group_limit = settings.engine_group_limit.try_into()?;
    options.user_authenticate = match settings.engine_user_authenticate {
        UserAuthenticate::Decline => UserAuthenticatePolicy::Decline,
        UserAuthenticate::Digest => UserAuthenticatePolicy::Digest,
    };
    options.push.per_second = settings.push_per_second;
    options.push.coalesce = Duration::from_secs(settings.push_coalesce_seconds.into());
    if let Some(path) = &settings.devices_tls_authority {
        options.trust_anchors = certificates("devices.tls_authority", path)?
            .into_iter()
            .map(|certificate| certificate.to_vec())
            .collect();
    }
    Ok(options)
}

/// Whom plugins may believe besides the public authorities.
pub(crate) fn plugin_authorities(
    settings: &Settings,
) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    match &settings.plugins_ca_file {
        Some(path) => certificates("plugins.ca_file", path),
        None => Ok(Vec::new()),
    }
}

fn certificates(setting: &str, path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read {setting} {}", path.display()))
}

/// The line to the push service.
pub(crate) fn transport(settings: &Settings) -> anyhow::Result<Arc<dyn ApnsTransport>> {
    let roots = match &settings.push_ca_file {
        None => ApnsRoots::Web,
        Some(path) => ApnsRoots::Pem(
            std::fs::read(path)
                .with_context(|| format!("cannot read push.ca_file {}", path.display()))?,
        ),
    };
    let options = ApnsOptions {
        base_url: settings.push_server.0.as_str().to_owned(),
        roots,
        ..ApnsOptions::default()
    };
    let client = ApnsClient::new(options, Arc::new(SystemClock::default()))
        .context("push.server or push.ca_file cannot be used")?;
    Ok(Arc::new(client))
}
