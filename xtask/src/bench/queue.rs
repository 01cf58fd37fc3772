//! The command queue under load: round trips a second, their times, and what they cost.
//!
//! Owns the cases and their conditions. The server is an optimised process with its default settings, load generator and
//! database run on the same processors. A round trip is a command fetched, reported and confirmed. A run in which a
//! command was lost, doubled or refused is no figure but an error.

mod history;
mod plugins;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use pomona_simulator::{
    Fleet, Misbehaviour, Platform,
    load::{self, LoadDevice, LoadMode, LoadOptions, LoadReport},
};
use pomona_tests::{BackEnd, Lab, PostgresServer, ProcessorTime, TestDatabase};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Figure, Surroundings, machine};
use crate::build;

/// Enrolled devices.
const DEVICES: usize = 500;
/// Kept-alive connections, or workers with mutual TLS.
const CONNECTIONS: usize = 64;
/// Commands for each device in a run.
const COMMANDS: usize = 60;
/// Runs of a case; the middle one counts.
const RUNS: usize = 3;
/// Entries of history for each device, where there is one.
const HISTORY: usize = 5_000;

/// What is different in a case.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    mode: LoadMode,
    /// Milliseconds added to each commit.
    commit_delay: u32,
}

/// The load of the two databases that are compared: one with an empty history, one with a full one.
const PLAIN: Case = Case {
    name: "",
    mode: LoadMode::ProxyHeader,
    commit_delay: 0,
};

/// What is measured besides, with an empty history.
const CASES: &[Case] = &[
    Case {
        name: "Mdm-Signature",
        mode: LoadMode::Signed,
        commit_delay: 0,
    },
    Case {
        name: "mutual TLS",
        mode: LoadMode::MutualTls,
        commit_delay: 0,
    },
    Case {
        name: "4 ms more a commit",
        mode: LoadMode::ProxyHeader,
        commit_delay: 4,
    },
];

/// What is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cases {
    /// The queue by itself.
    Plain,
    /// The queue with plugins that judge every command.
    Plugins,
}

/// These cases on both back ends.
pub(super) fn figures(surroundings: &Surroundings, cases: Cases) -> Result<Vec<Figure>> {
    let binary = build::server(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let mut figures = Vec::new();
    for back_end in BackEnd::ALL {
        let folder = tempfile::Builder::new()
            .prefix("pomona-bench-")
            .tempdir_in(&surroundings.dir)
            .context("make a folder")?;
        let found = runtime.block_on(on(back_end, &binary, folder.path(), cases));
        figures.extend(found.with_context(|| back_end.name())?);
    }
    Ok(figures)
}

async fn on(back_end: BackEnd, binary: &Path, folder: &Path, cases: Cases) -> Result<Vec<Figure>> {
    let postgres = match back_end {
        BackEnd::Sqlite => None,
        BackEnd::Postgres => Some(Arc::new(PostgresServer::start(&folder.join("postgres"))?)),
    };
    let mut empty = Bench::open(binary, folder, "empty", postgres.clone()).await?;
    if cases == Cases::Plugins {
        let figures = plugins::figures(binary, &mut empty).await?;
        empty.lab.stop().await?;
        return Ok(figures);
    }
    let mut full = Bench::open(binary, folder, "full", postgres).await?;
    full.lab.stop().await?;
    history::fill(&full.database, HISTORY)?;
    full.lab.start().await?;
    // Turn about, since the machine itself is faster at one time than at another.
    println!(
        "{}: empty history and {HISTORY} entries of it, turn about",
        back_end.name()
    );
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        short.push(empty.run(&PLAIN).await?);
        long.push(full.run(&PLAIN).await?);
    }
    full.lab.stop().await?;
    let mut figures = empty.tell("empty history", &middle(short));
    figures.extend(full.tell("5,000 entries of history", &middle(long)));
    for case in CASES {
        println!("{}: {}", back_end.name(), case.name);
        figures.extend(empty.case(case).await?);
    }
    empty.lab.stop().await?;
    Ok(figures)
}

/// The run whose speed is in the middle.
fn middle(mut runs: Vec<Run>) -> Run {
    runs.sort_by(|left, right| left.report.seconds.total_cmp(&right.report.seconds));
    runs.swap_remove(runs.len() / 2)
}

/// Devices enroll as real ones do, and are then driven by the load generator alone.
async fn enroll(lab: &Lab) -> Result<Vec<LoadDevice>> {
    let mut options = lab.fleet_options(DEVICES).await?;
    options.mix = vec![(Platform::IPhone, 1)];
    options.users = 0;
    options.misbehaviour = Misbehaviour::none();
    let fleet = Fleet::start(options, Some(lab.apns.clone())).context("start the fleet")?;
    let gave_up = fleet.settled().await;
    ensure!(gave_up == 0, "{gave_up} devices could not enroll");
    let devices = fleet.load_devices().await;
    fleet.stop().await;
    Ok(devices)
}

struct Bench {
    lab: Lab,
    database: TestDatabase,
    postgres: Option<Arc<PostgresServer>>,
    devices: Vec<LoadDevice>,
    channels: Vec<String>,
}

/// One run: what the load generator saw, and the processor time of each party.
struct Run {
    report: LoadReport,
    /// What it took to queue the commands, before the load began.
    queueing: Duration,
    server: Duration,
    database: Duration,
    load: Duration,
    /// What everything else on the machine took.
    others: Duration,
    /// How fast the machine was right before.
    machine: machine::State,
}

impl Bench {
    async fn open(
        binary: &Path,
        folder: &Path,
        name: &str,
        postgres: Option<Arc<PostgresServer>>,
    ) -> Result<Self> {
        let dir = folder.join(name);
        let database = match &postgres {
            None => TestDatabase::sqlite(&dir),
            Some(server) => TestDatabase::postgres(server, name)?,
        };
        println!(
            "{}: enrolling {DEVICES} devices",
            database.back_end().name()
        );
        let lab = Lab::open(binary, &dir, database.url().as_deref(), &[], true).await?;
        let mut bench = Self {
            devices: enroll(&lab).await?,
            lab,
            database,
            postgres,
            channels: Vec::new(),
        };
        bench.channels = bench.lab.tenant.learn_channels().await?;
        ensure!(
            bench.channels.len() == DEVICES,
            "not every device is enrolled"
        );
        Ok(bench)
    }

    async fn case(&mut self, case: &Case) -> Result<Vec<Figure>> {
        self.lab.stop().await?;
        let delay = case.commit_delay.to_string();
        self.lab.set("--database-commit-delay-ms", &delay);
        self.lab.start().await?;
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(self.run(case).await?);
        }
        Ok(self.tell(case.name, &middle(runs)))
    }

    async fn run(&mut self, case: &Case) -> Result<Run> {
        let begun = Instant::now();
        for _ in 0..COMMANDS {
            self.enqueue().await?;
        }
        let queueing = begun.elapsed();
        let base = match case.mode {
            LoadMode::MutualTls => self.lab.folder().devices_url()?,
            _ => self.lab.folder().proxy_url()?,
        };
        let tenant = self.lab.tenant.id().await?;
        let url = base
            .join(&format!("mdm/{tenant}"))
            .context("the MDM address")?;
        let mut options = LoadOptions::new(url, self.devices.clone());
        options.mode = case.mode;
        options.connections = CONNECTIONS;
        options.trust_pem = self.lab.folder().authority_pem()?;
        let machine = machine::state();
        let before = self.times();
        let report = load::run(options, CancellationToken::new())
            .await
            .context("put load on the server")?;
        let after = self.times();
        let doubled: u64 = report.devices.iter().map(|device| device.doubled).sum();
        let expected = (DEVICES * COMMANDS) as u64;
        ensure!(
            report.round_trips == expected && report.errors == 0 && doubled == 0,
            "{}: {} of {expected} round trips, {} errors, {doubled} doubled",
            case.name,
            report.round_trips,
            report.errors
        );
        #[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
        let speed = report.round_trips as f64 / report.seconds;
        println!(
            "  {speed:.0} round trips a second, p99 {:.1} ms; queued in {:.1} s",
            report.p99_ms,
            queueing.as_secs_f64()
        );
        let [server, database, load, whole] = [0, 1, 2, 3].map(|party: usize| {
            let of = |times: &[ProcessorTime; 4]| times.get(party).copied().unwrap_or_default();
            of(&after).since(of(&before)).total()
        });
        Ok(Run {
            report,
            queueing,
            server,
            database,
            load,
            others: whole.saturating_sub(server + database + load),
            machine,
        })
    }

    async fn enqueue(&self) -> Result<()> {
        let body = json!({
            "request_type": "DeviceInformation",
            "parameters": { "Queries": ["UDID", "DeviceName", "OSVersion", "BatteryLevel"] },
            "targets": { "enrollments": self.channels },
            "push": false,
        });
        let path = self.lab.tenant.path("commands");
        self.lab.tenant.admin().post(&path, &body).await.map(drop)
    }

    /// Server, database, load generator, the whole machine.
    fn times(&mut self) -> [ProcessorTime; 4] {
        let server = self.lab.server().map(|server| server.processor_time());
        let database = self.postgres.as_ref().map(|server| server.processor_time());
        [
            server.unwrap_or_default(),
            database.unwrap_or_default(),
            pomona_tests::processor_time(std::process::id()),
            pomona_tests::machine_time(),
        ]
    }

    fn tell(&self, name: &str, run: &Run) -> Vec<Figure> {
        let subject = format!("{}, {}", self.database.back_end().name(), name);
        let conditions = format!(
            "{DEVICES} devices × {COMMANDS} commands, {CONNECTIONS} connections, middle of {RUNS} runs"
        );
        let figure = |what: &str, value: f64, unit: &'static str| Figure {
            name: format!("{subject}: {what}"),
            value,
            unit,
            conditions: conditions.clone(),
        };
        #[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
        let trips = run.report.round_trips as f64;
        let cost = |time: Duration| time.as_secs_f64() * 1e6 / trips;
        let state = run.machine;
        let mut figures = vec![
            figure("round trips", trips / run.report.seconds, "1/s"),
            // One request for all devices; hooks that judge commands are asked about each.
            figure(
                "deliveries queued before",
                trips / run.queueing.as_secs_f64(),
                "1/s",
            ),
            figure("p50", run.report.p50_ms, "ms"),
            figure("p99", run.report.p99_ms, "ms"),
            figure("processor, server", cost(run.server), "µs/trip"),
            figure("processor, load", cost(run.load), "µs/trip"),
            figure("machine, arithmetic of one processor", state.steps, "M/s"),
            figure("machine, word to a thread and back", state.hand_over, "µs"),
            // Far above zero, the times above are those of a busy machine.
            figure(
                "processors busy with others",
                100.0 * run.others.as_secs_f64() / (run.report.seconds * processors()),
                "%",
            ),
        ];
        if self.postgres.is_some() {
            figures.push(figure("processor, database", cost(run.database), "µs/trip"));
        }
        figures
    }
}

fn processors() -> f64 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(count).map_or(1.0, f64::from)
}
