//! `pomona simulate`: a simulated fleet against any server.
//!
//! Owns: what the fleet is made of, the progress on the terminal, and the account at the end. Prepares the server
//! through its admin API only: an enrollment link, and a push certificate where the tenant has none. The devices
//! are the simulator's, which shares no code with the server.

use std::io::{BufWriter, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use pomona_simulator::apns::{ApnsHandle, ApnsOptions, PushIdentity};
use pomona_simulator::{Figures, Fleet, FleetOptions, Misbehaviour, Summary, Transport};
use serde_json::{Value, json};
use url::Url;

use crate::client::{Api, Output, Place, print};
use crate::files;

/// The topic of the push certificate that a tenant without one is given.
const TOPIC: &str = "com.apple.mgmt.External.53696d75-6c61-4465-8000-706f6d6f6e61";
/// How often progress is shown: to people, and to programs.
const LIVE: Duration = Duration::from_millis(500);
const LINES: Duration = Duration::from_secs(5);

/// Run a simulated fleet against a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Simulate {
    /// How many devices.
    #[arg(long, value_name = "N", default_value_t = 20)]
    devices: usize,
    /// The enrollment link; one is made through the admin API when absent.
    #[arg(long, value_name = "URL")]
    link: Option<Url>,
    /// The authority that the server's certificate comes from, PEM; `tls/ca.pem` in --dir when absent.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Ends after this many seconds; else at an interrupt.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// Devices also connect without a push, about this often.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    poll: u64,
    /// Play Apple's push service as well, on this address. Start the server with `--push-server` and `--push-ca-file`
    /// once the authority is written; the fleet waits for it.
    #[arg(long, value_name = "ADDRESS", requires = "push_ca")]
    push_listen: Option<SocketAddr>,
    /// Where the authority of that push service is written.
    #[arg(long, value_name = "FILE", requires = "push_listen")]
    push_ca: Option<PathBuf>,
    /// Devices that do no mischief: no NotNow, no doubled reports, no cut connections.
    #[arg(long)]
    well_behaved: bool,
    /// Pass requests on as a proxy would, with the certificate in `Client-Cert`, to this `http://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    proxy: Option<Url>,
    /// The same seed gives the same devices with the same mischief.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write what each device has seen, as JSON lines.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
}

pub(crate) async fn simulate(
    verb: Simulate,
    place: &Place,
    dir: Option<&Path>,
) -> anyhow::Result<()> {
    let push = PushIdentity::generate(TOPIC).context("cannot make a push certificate")?;
    let apns = match (verb.push_listen, &verb.push_ca) {
        (Some(listen), Some(file)) => Some(push_service(listen, file, &push).await?),
        _ => None,
    };
    let link = match &verb.link {
        Some(link) => link.clone(),
        None => prepare(&verb, place, dir, &push).await?,
    };
    let trust = match (&verb.trust, dir) {
        (Some(file), _) => file.clone(),
        (None, dir) => dir.unwrap_or(Path::new(".")).join(files::TLS_CA),
    };
    let trust = std::fs::read_to_string(&trust).with_context(|| {
        format!(
            "cannot read {}; name the authority with --trust",
            trust.display()
        )
    })?;
    let mut options = FleetOptions::new(verb.devices, link, &trust);
    options.seed = verb.seed;
    options.idle_poll = Some(Duration::from_secs(verb.poll.max(1)));
    if verb.well_behaved {
        options.misbehaviour = Misbehaviour::none();
    }
    if let Some(base) = &verb.proxy {
        options.transport = Transport::ProxyHeader { base: base.clone() };
    }
    let fleet = Fleet::start(options, apns).context("cannot start the fleet")?;
    watch(&fleet, &verb).await?;
    let summary = fleet.stop().await;
    if let Some(file) = &verb.records {
        let out = std::fs::File::create(file)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let mut out = BufWriter::new(out);
        fleet
            .write_records(&mut out)
            .await
            .context("writing the records")?;
    }
    account(&summary, place.json)
}

async fn push_service(
    listen: SocketAddr,
    file: &Path,
    push: &PushIdentity,
) -> anyhow::Result<ApnsHandle> {
    let mut options = ApnsOptions::new(&push.ca_pem);
    options.listen = listen;
    let apns = ApnsHandle::start(options)
        .await
        .context("cannot start the push service")?;
    std::fs::write(file, apns.ca_pem())
        .with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!(
        "The push service runs. Start the server with: pomona serve --push-server https://localhost:{} --push-ca-file {}",
        apns.address().port(),
        file.display()
    );
    Ok(apns)
}

/// Makes a link, and gives a tenant without a push certificate a simulated one.
async fn prepare(
    verb: &Simulate,
    place: &Place,
    dir: Option<&Path>,
    push: &PushIdentity,
) -> anyhow::Result<Url> {
    let api = Api::open(place, dir)?;
    // With a push service of its own the fleet is started before the server.
    while verb.push_listen.is_some() && api.get("me").await.is_err() {
        tokio::time::sleep(LIVE).await;
    }
    let path = api.in_tenant("push/certificates").await?;
    let present = api.get(&path).await?;
    let items = present["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let is_ours = |item: &Value| item["topic"].as_str() == Some(TOPIC);
    if items.is_empty() || (verb.push_listen.is_some() && items.iter().any(is_ours)) {
        let pem = format!("{}\n{}", push.certificate_pem, push.key_pem);
        api.post(&path, &json!({ "pem": pem })).await?;
        eprintln!("The tenant has a simulated push certificate now.");
    } else if verb.push_listen.is_some() {
        bail!("the tenant has a push certificate of its own; simulate pushes in another tenant");
    }
    // A device that lost the answer to its certificate request asks with the same link again.
    let uses = verb.devices.saturating_mul(2).clamp(1, 1_000_000);
    let body = json!({ "name": "simulated fleet", "max_uses": uses });
    let made = api
        .post(&api.in_tenant("enrollment-links").await?, &body)
        .await?;
    let url = made["url"].as_str().context("the server gave no link")?;
    Url::parse(url).context("the server gave a link that cannot be read")
}

/// Shows how it goes until the time is over or somebody interrupts.
async fn watch(fleet: &Fleet, verb: &Simulate) -> anyhow::Result<()> {
    let people = std::io::stderr().is_terminal();
    let bar = match people {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    };
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").context("the progress line")?);
    let end = async {
        match verb.duration {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let interrupt = tokio::signal::ctrl_c();
    let (mut end, mut interrupt) = (std::pin::pin!(end), std::pin::pin!(interrupt));
    loop {
        let pause = if people { LIVE } else { LINES };
        tokio::select! {
            () = end.as_mut() => break,
            _ = interrupt.as_mut() => break,
            () = tokio::time::sleep(pause) => {}
        }
        let line = progress(fleet.figures(), verb.devices);
        match people {
            true => {
                bar.set_message(line);
                bar.tick();
            }
            false => eprintln!("{line}"),
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn progress(figures: Figures, devices: usize) -> String {
    format!(
        "{}/{devices} enrolled, {} online, {} commands answered, {} pushes, {} requests, {} errors, {} faults",
        figures.enrolled,
        figures.online,
        figures.round_trips,
        figures.pushes,
        figures.requests,
        figures.errors,
        figures.faults
    )
}

/// The account at the end; a fault of the server is a failure.
fn account(summary: &Summary, as_json: bool) -> anyhow::Result<()> {
    let value = json!({
        "channels": summary.channels,
        "commands": summary.commands,
        "answered": summary.answered,
        "confirmed": summary.confirmed,
        "executed": summary.executed,
        "not_now": summary.not_now,
        "repeated": summary.repeated,
        "differing": summary.differing,
        "after_terminal": summary.after_terminal,
        "pushes": summary.pushes,
        "statuses": summary.statuses.iter().map(|(s, n)| (s.to_string(), *n)).collect::<std::collections::BTreeMap<_, _>>(),
        "faults": summary.fault_count(),
    });
    Output::new(as_json).members(&value)?;
    for (kind, count) in &summary.faults {
        print(&match as_json {
            true => String::new(),
            false => format!("fault: {kind:?} {count}\n"),
        })?;
    }
    match summary.fault_count() {
        0 => Ok(()),
        count => bail!("the devices saw {count} faults of the server"),
    }
}
