//! `cargo xtask demo`: from a fresh clone to a running fleet, and the books at the end.
//!
//! Owns the order of things: build, set up, serve, enroll, send commands, let the queues run dry, compare. The server is
//! a process of its own, started as an operator would; devices and push service live in this process. The verdict comes
//! from the devices' own records, laid beside what the server says; the live figures are for watching only.

mod board;
mod plan;
mod plugins;
mod profiles;

use std::{
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use pomona_simulator::{Fleet, Summary, apns::ApnsFigures};
use pomona_tests::{
    Lab,
    audit::{self, Audit, Findings},
    kill_loop::hear_fleet,
};

use crate::{build, readable};
use board::{Board, Live};

/// Open commands a device beyond which nothing more is queued.
const OPEN_PER_DEVICE: u64 = 6;
/// How often the board is drawn and the queue is looked at.
const TICK: Duration = Duration::from_millis(200);
/// The longest time for the queues to run dry.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Simulated devices.
    #[arg(long, default_value_t = 20)]
    devices: usize,
    /// Seconds for which commands are sent.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 30)]
    seconds: u64,
    /// Print lines in place of the live board; always so when the output is no terminal.
    #[arg(long)]
    plain: bool,
    /// Build and run the optimised server.
    #[arg(long)]
    release: bool,
    /// Keep the server's folder: an empty or new one, removed otherwise.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo; whether nothing was lost, doubled or changed.
///
/// # Errors
/// A part did not start, or the server ended by itself.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    ensure!(arguments.devices > 0, "a fleet needs at least one device");
    println!("building the server");
    let binary = build::server(arguments.release)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let temporary = tempfile::Builder::new()
        .prefix("pomona-demo-")
        .tempdir()
        .context("make a folder")?;
    let dir = match &arguments.keep {
        Some(dir) => std::path::absolute(dir).context("the folder to keep")?,
        None => temporary.path().join("server"),
    };
    let outcome = runtime.block_on(show(arguments, &binary, &dir));
    if !matches!(outcome, Ok(true)) {
        // What went wrong can only be understood with the log.
        let kept = temporary.keep();
        let dir = arguments.keep.as_ref().map_or(kept.join("server"), |_| dir);
        eprintln!("the server's folder is kept: {}", dir.display());
    }
    outcome
}

async fn show(arguments: &Arguments, binary: &Path, dir: &Path) -> Result<bool> {
    println!("setting up a server in {}", dir.display());
    let unsigned = [("--plugins-allow-unsigned", "true")];
    let lab = Lab::open(binary, dir, None, &unsigned, true).await?;
    if let Err(error) = plugins::switch_on(&lab, binary, dir).await {
        println!("the demo goes on without plugins: {error:#}");
    }
    let mut demo = Demo {
        board: Board::new(arguments.plain, arguments.devices, arguments.seconds),
        fleet: start_fleet(&lab, arguments.devices).await?,
        lab,
        queued: 0,
        books: Audit::default(),
        open: 0,
        started: Instant::now(),
    };
    demo.enroll().await?;
    let device = demo.lab.tenant.devices().await?.into_iter().next();
    let device = device.map_or_else(|| "DEVICE".to_owned(), |device| device.udid);
    demo.board.say(&what_to_try(binary, dir, &device));
    profiles::assign(&demo.lab).await?;
    demo.send(Duration::from_secs(arguments.seconds)).await?;
    let channels = demo.lab.tenant.learn_channels().await?;
    demo.board
        .say(&profiles::refusal(&demo.lab, &channels).await?);
    demo.drain().await?;
    if let Some(name) = profiles::wipe(&demo.lab).await? {
        demo.board.say(&format!("wiping {name}"));
        demo.drain().await?;
    }
    demo.finish().await
}

struct Demo {
    lab: Lab,
    fleet: Fleet,
    board: Board,
    /// How many commands were queued.
    queued: usize,
    books: Audit,
    /// Open deliveries, as the server last said.
    open: u64,
    started: Instant,
}

/// How a stretch of the demo ended.
#[derive(Debug, PartialEq, Eq)]
enum Stretch {
    Done,
    Interrupted,
}

async fn start_fleet(lab: &Lab, devices: usize) -> Result<Fleet> {
    let mut options = lab.fleet_options(devices).await?;
    options.not_now_retry = Duration::from_millis(500);
    Fleet::start(options, Some(lab.apns.clone())).context("start the fleet")
}

impl Demo {
    async fn enroll(&mut self) -> Result<()> {
        self.board.phase("enrolling");
        let gave_up = loop {
            tokio::select! {
                gave_up = self.fleet.settled() => break gave_up,
                () = tokio::time::sleep(TICK) => {}
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.context("wait for an interrupt")?;
                    bail!("interrupted while enrolling");
                }
            }
            self.look()?;
        };
        ensure!(gave_up == 0, "{gave_up} devices could not enroll");
        self.look()
    }

    /// Keeps a few commands open on each device until the time is over.
    async fn send(&mut self, time: Duration) -> Result<()> {
        self.board.phase("sending commands");
        let channels = self.lab.tenant.learn_channels().await?;
        let most = OPEN_PER_DEVICE * channels.len() as u64;
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.open = self.lab.tenant.open_deliveries().await?;
            if self.open < most {
                let (request_type, parameters) = plan::command(self.queued);
                let queued = self
                    .lab
                    .tenant
                    .enqueue(request_type, &parameters, &channels, None)
                    .await?;
                for channel in &queued.accepted {
                    let delivery = self.lab.tenant.delivery(channel, &queued.command_uuid)?;
                    self.books.accept(delivery);
                }
                self.queued += 1;
            }
            if self.wait().await? == Stretch::Interrupted {
                self.board
                    .say("interrupted: letting the queues run dry (once more to stop at once)");
                break;
            }
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        self.board.phase("letting the queues run dry");
        let end = Instant::now() + DRAIN_WITHIN;
        while Instant::now() < end {
            self.open = self.lab.tenant.open_deliveries().await?;
            if self.open == 0 && profiles::settled(&self.lab).await? {
                break;
            }
            if self.wait().await? == Stretch::Interrupted {
                break;
            }
        }
        Ok(())
    }

    /// Compares the records and ends everything.
    async fn finish(mut self) -> Result<bool> {
        self.board.phase("comparing the records");
        let summary = self.fleet.stop().await;
        hear_fleet(&self.fleet, &mut self.books).await;
        // What somebody queued from another terminal is in the server's lists alone.
        let tenant = &self.lab.tenant;
        for (id, command_uuid) in tenant.commands().await? {
            for (channel, says) in tenant.deliveries(&id).await? {
                // Commands for users have no part in these books.
                if let Ok(delivery) = tenant.delivery(&channel, &command_uuid) {
                    self.books.accept(delivery.clone());
                    self.books.hear_server(delivery, says);
                }
            }
        }
        let findings = self.books.compare(true);
        let plugins = plugins::told(&self.lab).await?;
        let profiles = profiles::told(&self.lab).await?;
        self.board.end();
        self.lab.stop().await?;
        print!(
            "{plugins}{profiles}{}",
            tell(
                &findings,
                &summary,
                &self.lab.apns.figures(),
                self.queued,
                self.started.elapsed()
            )
        );
        let clean = findings.is_clean() && summary.fault_count() == 0;
        println!("demo: {}", if clean { "all is well" } else { "FAILED" });
        Ok(clean && findings.answered > 0)
    }

    async fn wait(&mut self) -> Result<Stretch> {
        let stretch = tokio::select! {
            () = tokio::time::sleep(TICK) => Stretch::Done,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("wait for an interrupt")?;
                Stretch::Interrupted
            }
        };
        self.look()?;
        Ok(stretch)
    }

    /// Draws the board; a server that ended by itself ends the demo.
    fn look(&mut self) -> Result<()> {
        let ended: Option<ExitStatus> = self.lab.server().and_then(|server| server.ended());
        if let Some(status) = ended {
            let log = self.lab.server().map(|server| server.log_end());
            bail!(
                "the server ended with {status}:\n{}",
                log.unwrap_or_default()
            );
        }
        self.board.draw(&Live {
            figures: self.fleet.figures(),
            accepted: self.books.accepted() as u64,
            open: self.open,
            elapsed: self.started.elapsed(),
        });
        Ok(())
    }
}

fn tell(
    findings: &Findings,
    summary: &Summary,
    push: &ApnsFigures,
    commands: usize,
    time: Duration,
) -> String {
    let mut text = format!(
        "\nby the devices' own records, after {}:\n\
         {:>9}  commands queued, for {} deliveries\n\
         {:>9}  received, {} answered, {} answers confirmed\n\
         {:>9}  times NotNow, {} identical redeliveries (both allowed)\n\
         {:>9}  pushes received; the push service handed over {} and kept {}\n\
         beside what the server says of each delivery:\n",
        readable(time),
        commands,
        findings.accepted,
        findings.received,
        findings.answered,
        summary.confirmed,
        summary.not_now,
        summary.repeated,
        summary.pushes,
        push.delivered,
        push.stored,
    );
    if findings.is_clean() {
        text.push_str("        0  lost, doubled, changed or left open\n");
    }
    for (wrong, count) in &findings.wrong {
        text.push_str(&format!("{count:>9}  {wrong}\n"));
    }
    for (wrong, delivery) in &findings.examples {
        let (uuid, udid) = (&delivery.command_uuid, &delivery.udid);
        text.push_str(&format!("           {wrong}: {uuid} on {udid}\n"));
    }
    for fault in audit::faults(summary) {
        text.push_str(&format!("           a device saw: {fault}\n"));
    }
    for violation in push.violations.iter().take(5) {
        text.push_str(&format!(
            "           the push service disliked: {violation}\n"
        ));
    }
    text
}

/// Commands for another terminal, to be copied as they stand.
fn what_to_try(binary: &Path, dir: &Path, device: &str) -> String {
    let (binary, dir) = (binary.display(), dir.display());
    format!(
        "the fleet is enrolled; try from another terminal:\n  \
         {binary} device list --dir {dir}\n  \
         {binary} device timeline {device} --follow --dir {dir}\n  \
         {binary} command send DeviceInformation --parameter 'Queries=[\"OSVersion\"]' --device {device} --dir {dir}\n  \
         {binary} command list --open --dir {dir}\n  \
         {binary} plugin list --dir {dir}\n  \
         tail -f {dir}/server.log"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_is_wrong() {
        let mut books = Audit::default();
        books.accept(audit::Delivery::new("U", "c"));
        let findings = books.compare(true);
        let text = tell(
            &findings,
            &Summary::default(),
            &ApnsFigures::default(),
            1,
            Duration::from_secs(1),
        );
        assert!(text.contains("1  accepted commands lost"), "{text}");
        assert!(!text.contains("0  lost, doubled"), "{text}");
    }
}
