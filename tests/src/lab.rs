//! A server under test with all that it needs around it: its folder, a simulated push service, the first tenant with a
//! push certificate.
//!
//! Owns putting these together. It starts no device: the caller makes a fleet with [`Lab::fleet_options`].

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use pomona_simulator::{
    FleetOptions,
    apns::{ApnsHandle, ApnsOptions, PushIdentity},
};

use crate::{
    server::{ServerFolder, ServerProcess},
    tenant::Tenant,
};

/// The topic of the simulated push certificate.
const TOPIC: &str = "com.apple.mgmt.External.4d6f6e64-6179-4f72-6368-617264000001";
/// How long a server may take to end when asked.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// A running server and what is around it.
#[derive(Debug)]
pub struct Lab {
    folder: ServerFolder,
    settings: Vec<(String, String)>,
    apart: bool,
    server: Option<ServerProcess>,
    /// The simulated push service.
    pub apns: ApnsHandle,
    /// The first tenant.
    pub tenant: Tenant,
}

impl Lab {
    /// Starts a server in the empty folder `dir`, with `settings` as further flags, and prepares its first tenant.
    /// `apart` keeps the terminal's interrupt from reaching the server.
    ///
    /// # Errors
    /// A part did not start.
    pub async fn open(
        binary: &Path,
        dir: &Path,
        database: Option<&str>,
        settings: &[(&str, &str)],
        apart: bool,
    ) -> Result<Self> {
        let folder = ServerFolder::init(binary, dir, database)?;
        let push = PushIdentity::generate(TOPIC).context("make a push certificate")?;
        let apns = ApnsHandle::start(ApnsOptions::new(&push.ca_pem))
            .await
            .context("start the simulated push service")?;
        let authority = dir.join("simulated-push-ca.pem");
        std::fs::write(&authority, apns.ca_pem()).context("write the push authority")?;
        let mut all = vec![
            (
                "--push-server".to_owned(),
                format!("https://localhost:{}", apns.address().port()),
            ),
            ("--push-ca-file".to_owned(), authority.display().to_string()),
        ];
        all.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let tenant = Tenant::first(folder.admin()?);
        let mut lab = Self {
            folder,
            settings: all,
            apart,
            server: None,
            apns,
            tenant,
        };
        lab.start().await?;
        lab.tenant
            .import_push_certificate(&push.certificate_pem, &push.key_pem)
            .await?;
        Ok(lab)
    }

    /// Starts the server again after [`Lab::kill`] or [`Lab::stop`].
    ///
    /// # Errors
    /// It did not become ready.
    pub async fn start(&mut self) -> Result<()> {
        let settings: Vec<(&str, &str)> = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.server = Some(self.folder.serve(&settings, self.apart).await?);
        Ok(())
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Kills the server at once, if it runs.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), ServerProcess::kill)
    }

    /// Asks the server to end, if it runs, and waits for it.
    ///
    /// # Errors
    /// It did not end well or in time.
    pub async fn stop(&mut self) -> Result<()> {
        match self.server.take() {
            Some(server) => server.stop(STOP_WITHIN).await,
            None => Ok(()),
        }
    }

    /// The server's process, while it runs.
    pub fn server(&mut self) -> Option<&mut ServerProcess> {
        self.server.as_mut()
    }

    /// The server's folder.
    #[must_use]
    pub const fn folder(&self) -> &ServerFolder {
        &self.folder
    }

    /// Runs a client verb of the command line against this server: whether it ended well, and what it said.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn verb(&self, binary: &Path, arguments: &[&str]) -> Result<(bool, String)> {
        let output = tokio::process::Command::new(binary)
            .args(arguments)
            .arg("--dir")
            .arg(self.folder.dir())
            .output()
            .await
            .context("start a client verb")?;
        let said = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        ))
    }

    /// A fleet of `devices` behind a fresh enrollment link.
    ///
    /// # Errors
    /// The link cannot be made.
    pub async fn fleet_options(&self, devices: usize) -> Result<FleetOptions> {
        // A device that lost the answer to its certificate request asks with the same link again.
        let link = self
            .tenant
            .enrollment_link(devices.saturating_mul(2))
            .await?;
        Ok(FleetOptions::new(
            devices,
            link,
            &self.folder.authority_pem()?,
        ))
    }
}
