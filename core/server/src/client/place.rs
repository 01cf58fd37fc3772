//! Where the server is, and with which token it is asked.
//!
//! Owns: the options that every client verb has, and where each is taken from: the command line, the environment, the
//! folder that `pomona init` made.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use url::Url;

use crate::files;
use crate::settings::{self, Settings};

/// The options of every client verb.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    /// The address of the admin API; taken from the settings in --dir when absent.
    #[arg(long, value_name = "URL", env = "POMONA_URL", global = true)]
    pub(crate) url: Option<Url>,
    /// The file with the token; `operator.token` in --dir when absent. POMONA_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE", env = "POMONA_TOKEN_FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// The tenant, by slug or id; it can be left out when there is only one.
    #[arg(
        long,
        short,
        value_name = "TENANT",
        env = "POMONA_TENANT",
        global = true
    )]
    pub(crate) tenant: Option<String>,
    /// Further authorities for the server's certificate, PEM.
    #[arg(long, value_name = "FILE", env = "POMONA_CA_FILE", global = true)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Show the answers as they are, in JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Something that has to be given is missing: exit code 2.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The folder of the server, where it is on this machine: the one that is named, or this one.
fn folder(dir: Option<&Path>) -> Option<PathBuf> {
    let here = || {
        Path::new(files::SETTINGS)
            .exists()
            .then(|| PathBuf::from("."))
    };
    dir.map(Path::to_owned).or_else(here)
}

impl Place {
    fn settings(dir: Option<&Path>) -> anyhow::Result<Settings> {
        let dir = folder(dir).ok_or_else(|| {
            UsageError(
                "no server is named: give --url and --token-file, or --dir with the folder that `pomona init` made"
                    .into(),
            )
        })?;
        settings::load(&settings::Sources {
            environment: std::env::vars_os().collect(),
            file: dir.join(files::SETTINGS),
            ..settings::Sources::default()
        })
    }

    /// The address of the admin API.
    pub(crate) fn base(&self, dir: Option<&Path>) -> anyhow::Result<Url> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let settings = Self::settings(dir)?;
        let scheme = match settings.admin_tls_certificate {
            Some(_) => "https",
            None => "http",
        };
        let mut address = settings.admin_listen;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        Url::parse(&format!("{scheme}://{address}")).context("the address of the admin API")
    }

    /// The token.
    pub(crate) fn token(&self, dir: Option<&Path>) -> anyhow::Result<String> {
        if self.token_file.is_none()
            && let Ok(token) = std::env::var("POMONA_TOKEN")
        {
            return Ok(token.trim().to_owned());
        }
        let path = match (&self.token_file, folder(dir)) {
            (Some(path), _) => path.clone(),
            (None, Some(dir)) => dir.join(files::OPERATOR_TOKEN),
            (None, None) => {
                return Err(UsageError(
                    "no token is given: use --token-file, POMONA_TOKEN, or --dir".into(),
                )
                .into());
            }
        };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the token from {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// The files with authorities that the server's certificate may come from.
    pub(crate) fn authorities(&self, dir: Option<&Path>) -> Vec<PathBuf> {
        let own = folder(dir).map(|dir| dir.join(files::TLS_CA));
        let mut all = self.public_authorities();
        all.extend(own.filter(|path| path.exists()));
        all
    }

    /// As [`authorities`](Self::authorities), for hosts that are not the server: its own authority is not among them.
    pub(crate) fn public_authorities(&self) -> Vec<PathBuf> {
        let mut all = vec![PathBuf::from("/etc/ssl/certs/ca-certificates.crt")];
        all.retain(|path| path.exists());
        all.extend(self.ca_file.clone());
        all
    }
}
