//! `pomona`: the server, and its command line.
//!
//! Owns: the process — settings, TLS, listeners, the log, signals — and the client of the admin API. What the
//! server does is in the engine; no rule of the protocol stands here.
#![forbid(unsafe_code)]

mod catalogue;
mod client;
mod files;
mod init;
mod plugin;
mod serve;
mod settings;
mod simulate;
mod telemetry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Requests are worked on by several threads and make many short-lived values.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Manages Apple devices.
#[derive(Debug, Parser)]
#[command(name = "pomona", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// The folder that `pomona init` made.
    #[arg(long, value_name = "DIR", env = "POMONA_DIR", global = true)]
    dir: Option<PathBuf>,
    #[command(flatten)]
    place: client::Place,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set up a folder for a server: settings, keys, certificates, database, first tenant, operator's token.
    Init(init::Init),
    /// Run the server.
    Serve(Serve),
    /// Make a new operator's token with the files of the server itself, when there is none left.
    OperatorToken(init::OperatorToken),
    #[command(flatten)]
    Client(client::ClientVerb),
    /// Plugins: build, install, switch on.
    #[command(subcommand)]
    Plugin(plugin::PluginVerb),
    /// What Apple's protocols allow: look it up, without a server.
    #[command(subcommand)]
    Catalogue(catalogue::CatalogueVerb),
    #[command(hide = true)]
    CompilePlugin(plugin::CompilePlugin),
    /// Run a simulated fleet against a server.
    Simulate(simulate::Simulate),
}

/// Where the settings are.
#[derive(Clone, Debug, clap::Args)]
struct Serve {
    /// The settings file.
    #[arg(
        long,
        value_name = "FILE",
        env = "POMONA_CONFIG",
        conflicts_with = "dir"
    )]
    config: Option<PathBuf>,
    /// The folder that `pomona init` made.
    #[arg(long, value_name = "DIR", env = "POMONA_DIR")]
    dir: Option<PathBuf>,
}

impl Serve {
    fn file(&self, dir: Option<&Path>) -> PathBuf {
        let in_dir = || dir.unwrap_or(Path::new(".")).join(files::SETTINGS);
        self.config.clone().unwrap_or_else(in_dir)
    }
}

fn main() -> ExitCode {
    // Two providers are linked; without a choice, building a TLS configuration would fail at run time.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let command = Cli::command().mut_subcommand("serve", settings::add_flags);
    let matches = command.get_matches();
    let flags = matches
        .subcommand_matches("serve")
        .map(settings::from_flags)
        .unwrap_or_default();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match run(cli, flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What went wrong may be told in words of a package or of another server.
            eprintln!("pomona: {}", client::clean(&format!("{error:#}"), true));
            let usage = error.downcast_ref::<client::UsageError>().is_some();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn run(cli: Cli, flags: BTreeMap<String, String>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        match cli.verb {
            Verb::Init(verb) => init::init(verb).await,
            Verb::OperatorToken(verb) => init::operator_token(verb, cli.dir.as_deref()).await,
            Verb::Client(verb) => client::run(verb, &cli.place, cli.dir.as_deref()).await,
            Verb::Plugin(verb) => plugin::run(verb, &cli.place, cli.dir.as_deref()).await,
            Verb::Catalogue(verb) => catalogue::run(verb),
            Verb::CompilePlugin(verb) => plugin::compile_plugin(&verb),
            Verb::Simulate(verb) => simulate::simulate(verb, &cli.place, cli.dir.as_deref()).await,
            Verb::Serve(verb) => {
                let settings = settings::load(&settings::Sources {
                    flags,
                    environment: std::env::vars_os().collect(),
                    file: verb.file(cli.dir.as_deref()),
                })?;
                serve::serve(settings).await
            }
        }
    })
}
