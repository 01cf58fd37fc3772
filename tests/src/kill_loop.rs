//! The kill loop: a server that is killed again and again under load, and the books afterwards.
//!
//! Owns the order of things: enroll a fleet, keep queueing commands, kill and start the server, let the queues run dry,
//! stop everything, and compare the database with the devices' own records. The load never stops for a kill: requests
//! that were cut off are sent again with the same idempotency key, as a careful client does.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use pomona_simulator::{Dice, Fleet, Summary};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    audit::{self, Audit, Delivery, Findings, ServerSays},
    database::TestDatabase,
    lab::Lab,
    tenant::Tenant,
};

/// Answers that a round waits for before the kill, at least and at most.
const ANSWERS_A_ROUND: (u64, u64) = (3, 60);
/// The longest that a round waits for them.
const ROUND_WITHIN: Duration = Duration::from_secs(20);
/// The longest time for the queues to run dry at the end.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);
/// Open commands per device beyond which nothing more is queued.
const OPEN_PER_DEVICE: u64 = 20;

/// How a loop is run.
#[derive(Debug, Clone)]
pub struct KillLoop {
    /// How often the server is killed.
    pub rounds: u32,
    /// How many devices are there.
    pub devices: usize,
    /// For the times of the kills, the devices and their mischief.
    pub seed: u64,
}

/// What a loop came to.
#[derive(Debug)]
pub struct KillReport {
    /// How often the server was killed while it worked.
    pub kills: u32,
    /// Requests to queue a command that were cut off and sent again.
    pub repeated: u32,
    /// The comparison of the database with the devices.
    pub findings: Findings,
    /// What the devices saw.
    pub summary: Summary,
    /// Wall time.
    pub time: Duration,
}

impl KillReport {
    /// Whether nothing was lost, doubled or changed, and no device noted a fault.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_clean() && self.summary.fault_count() == 0
    }
}

impl std::fmt::Display for KillReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} kills in {:.1} s, {} requests sent again, {} NotNow, {} identical redeliveries; {}",
            self.kills,
            self.time.as_secs_f64(),
            self.repeated,
            self.summary.not_now,
            self.summary.repeated,
            self.findings
        )?;
        for fault in audit::faults(&self.summary) {
            writeln!(f, "  a device saw: {fault}")?;
        }
        Ok(())
    }
}

/// Runs the loop with a server in the empty folder `dir` on `database`; `told` hears of each round.
///
/// # Errors
/// A part did not work at all: the server did not come up again, no device could enroll, the load stood still.
pub async fn run(
    options: &KillLoop,
    binary: &Path,
    dir: &Path,
    database: &TestDatabase,
    mut told: impl FnMut(u32),
) -> Result<KillReport> {
    let started = Instant::now();
    let mut lab = Lab::open(binary, dir, database.url().as_deref(), &[], false).await?;
    let fleet = fleet(&lab, options).await?;
    let channels = lab.tenant.learn_channels().await?;
    ensure!(
        channels.len() == options.devices,
        "{} of {} devices are enrolled",
        channels.len(),
        options.devices
    );
    let load = Load::start(&lab.tenant, channels, options.seed);
    let mut dice = Dice::new(options.seed);
    for round in 1..=options.rounds {
        under_load(&fleet, &mut dice).await?;
        lab.kill()?;
        lab.start().await?;
        told(round);
    }
    let (mut books, repeated) = load.finish().await?;
    drain(&lab.tenant).await?;
    let summary = fleet.stop().await;
    lab.stop().await?;
    hear_fleet(&fleet, &mut books).await;
    hear_database(database, &mut books)?;
    Ok(KillReport {
        kills: options.rounds,
        repeated,
        findings: books.compare(true),
        summary,
        time: started.elapsed(),
    })
}

/// Devices that come back fast, on a push or without one.
async fn fleet(lab: &Lab, options: &KillLoop) -> Result<Fleet> {
    let mut wanted = lab.fleet_options(options.devices).await?;
    wanted.seed = options.seed;
    wanted.key_pool = 4;
    wanted.idle_poll = Some(Duration::from_millis(500));
    wanted.not_now_retry = Duration::from_millis(200);
    wanted.timeout = Duration::from_secs(10);
    let fleet = Fleet::start(wanted, Some(lab.apns.clone())).context("start the fleet")?;
    let gave_up = fleet.settled().await;
    ensure!(gave_up == 0, "{gave_up} devices could not enroll");
    Ok(fleet)
}

/// Returns at a moment drawn by chance while the server is answering devices.
async fn under_load(fleet: &Fleet, dice: &mut Dice) -> Result<()> {
    let (least, most) = ANSWERS_A_ROUND;
    let wanted = fleet.figures().round_trips + least + dice.below(most - least);
    let started = Instant::now();
    while fleet.figures().round_trips < wanted {
        if started.elapsed() > ROUND_WITHIN {
            bail!("the devices answered too few commands within {ROUND_WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_micros(dice.below(5_000))).await;
    Ok(())
}

/// A task that keeps queueing commands for all channels until it is told to stop.
struct Load {
    task: JoinHandle<Result<(Audit, u32)>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(tenant: &Tenant, channels: Vec<String>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let feeder = Feeder {
            tenant: tenant.clone(),
            channels,
            dice: Dice::part(seed, 1),
            books: Audit::default(),
            repeated: 0,
        };
        let task = tokio::spawn(feeder.run(Arc::clone(&stop)));
        Self { task, stop }
    }

    /// Ends the load; the commands that were taken, and how many requests had to be sent again.
    async fn finish(self) -> Result<(Audit, u32)> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.context("the load ended badly")?
    }
}

struct Feeder {
    tenant: Tenant,
    channels: Vec<String>,
    dice: Dice,
    books: Audit,
    repeated: u32,
}

impl Feeder {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Result<(Audit, u32)> {
        let most = OPEN_PER_DEVICE * self.channels.len() as u64;
        let mut number = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            // A server that is down at the moment has no answer.
            if self.tenant.open_deliveries().await.unwrap_or(0) < most {
                number += 1;
                self.queue(&format!("kill-loop-{number}")).await?;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok((self.books, self.repeated))
    }

    /// Queues one command for some of the channels, with the same key until the server has answered.
    async fn queue(&mut self, key: &str) -> Result<()> {
        let (request_type, parameters) = self.command();
        let dice = &mut self.dice;
        let mut some: Vec<String> = self.channels.clone();
        some.retain(|_| dice.chance(0.5));
        if some.is_empty() {
            some.clone_from(&self.channels);
        }
        let begun = Instant::now();
        loop {
            let asked = self
                .tenant
                .enqueue(request_type, &parameters, &some, Some(key))
                .await;
            match asked {
                Ok(queued) => {
                    for channel in &queued.accepted {
                        let delivery = self.tenant.delivery(channel, &queued.command_uuid)?;
                        self.books.accept(delivery);
                    }
                    return Ok(());
                }
                Err(error) if begun.elapsed() > ROUND_WITHIN => return Err(error),
                Err(_) => {
                    self.repeated += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn command(&mut self) -> (&'static str, Value) {
        match self.dice.below(4) {
            0 => ("SecurityInfo", json!({})),
            1 => ("ProfileList", json!({})),
            2 => ("InstalledApplicationList", json!({})),
            _ => (
                "DeviceInformation",
                json!({ "Queries": ["UDID", "DeviceName", "OSVersion", "SerialNumber"] }),
            ),
        }
    }
}

/// Waits until the server has no open command, or the time is over.
async fn drain(tenant: &Tenant) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < DRAIN_WITHIN && tenant.open_deliveries().await? > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Writes the devices' own records into the books.
pub async fn hear_fleet(fleet: &Fleet, books: &mut Audit) {
    for device in fleet.devices() {
        let device = device.lock().await;
        device
            .records()
            .for_each(|record| books.hear_device(record));
    }
}

/// Writes what the database of a stopped server says into the books.
///
/// # Errors
/// The database cannot be read.
pub fn hear_database(database: &TestDatabase, books: &mut Audit) -> Result<()> {
    // Of enrollment and device, for device channels only (channel 0).
    const OPEN: &str = "select d.ident, q.command_uuid from delivery q \
        join enrollment e on e.id = q.enrollment_id join device d on d.id = q.device_id where e.channel = 0";
    const FINISHED: &str = "select d.ident, h.command_uuid, h.disposition, h.outcome from delivery_history h \
        join enrollment e on e.id = h.enrollment_id join device d on d.id = h.device_id where e.channel = 0";
    for row in database.query(OPEN)? {
        let [udid, command_uuid] = row.as_slice() else {
            bail!("a row of the open queue: {row:?}");
        };
        books.hear_server(Delivery::new(udid, command_uuid), ServerSays::Open);
    }
    for row in database.query(FINISHED)? {
        let [udid, command_uuid, disposition, outcome] = row.as_slice() else {
            bail!("a row of the history: {row:?}");
        };
        let says = match (disposition.as_str(), outcome.as_str()) {
            ("3", "1") => ServerSays::Answered("Acknowledged".to_owned()),
            ("3", "2") => ServerSays::Answered("Error".to_owned()),
            ("3", "3") => ServerSays::Answered("CommandFormatError".to_owned()),
            _ => ServerSays::Ended(format!("disposition {disposition}, outcome {outcome}")),
        };
        books.hear_server(Delivery::new(udid, command_uuid), says);
    }
    Ok(())
}
