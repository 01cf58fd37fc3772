//! `cargo xtask kill-loop`: the crash suite with as many rounds as wanted.
//!
//! Owns the choice of back ends and the telling. What is done and judged is the suite's own library.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use clap::Args;
use pomona_tests::{
    BackEnd, PostgresServer, TestDatabase,
    kill_loop::{self, KillLoop},
};

use crate::{build, packages};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How often the server is killed, on each back end.
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Simulated devices.
    #[arg(long, default_value_t = 20)]
    devices: usize,
    /// Times of kills, devices and mischief follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kill the optimised server.
    #[arg(long)]
    release: bool,
}

/// Runs the loop on both back ends; whether both were clean.
///
/// # Errors
/// A part did not work at all.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    packages::ensure(true)?;
    let binary = build::server(arguments.release)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let mut clean = true;
    for back_end in BackEnd::ALL {
        clean &= runtime.block_on(on(back_end, arguments, &binary))?;
    }
    Ok(clean)
}

async fn on(back_end: BackEnd, arguments: &Arguments, binary: &Path) -> Result<bool> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let dir = folder.path().join("server");
    let database = match back_end {
        BackEnd::Sqlite => TestDatabase::sqlite(&dir),
        BackEnd::Postgres => {
            TestDatabase::postgres(&Arc::new(PostgresServer::start_temporary()?), "kill_loop")?
        }
    };
    let options = KillLoop {
        rounds: arguments.rounds,
        devices: arguments.devices,
        seed: arguments.seed,
    };
    let name = back_end.name();
    let told = |round: u32| {
        if round.is_multiple_of(20) {
            println!("{name}: killed {round} times");
        }
    };
    let report = kill_loop::run(&options, binary, &dir, &database, told).await?;
    println!("{name}: {report}");
    Ok(report.is_clean())
}
