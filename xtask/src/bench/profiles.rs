//! One profile for a whole fleet: assigned, installed, verified; and found and repaired where it is lost.
//!
//! Owns the fleet, the loss and the counting. Devices are simulated ones that enroll, do the usual mischief and are rung; server, devices and
//! database run on the same processors. A device that got the profile more often than it had to is no figure but an error.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pomona_simulator::{Fleet, Platform};
use pomona_tests::{BackEnd, Lab, PostgresServer, TestDatabase};
use serde_json::{Value, json};

use super::{Figure, Surroundings};
use crate::build;

/// Enrolled devices.
const DEVICES: usize = 10_000;
/// Of so many one loses the profile.
const LOST: usize = 100;
/// How long each part may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Both back ends.
pub(super) fn figures(surroundings: &Surroundings) -> Result<Vec<Figure>> {
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
        let found = runtime.block_on(on(back_end, &binary, folder.path()));
        figures.extend(found.with_context(|| back_end.name())?);
    }
    Ok(figures)
}

async fn on(back_end: BackEnd, binary: &Path, folder: &Path) -> Result<Vec<Figure>> {
    let dir = folder.join("server");
    let database = match back_end {
        BackEnd::Sqlite => TestDatabase::sqlite(&dir),
        BackEnd::Postgres => {
            let server = Arc::new(PostgresServer::start(&folder.join("postgres"))?);
            TestDatabase::postgres(&server, "profiles")?
        }
    };
    let name = back_end.name();
    println!("{name}: enrolling {DEVICES} devices");
    let mut lab = Lab::open(binary, &dir, database.url().as_deref(), &[], true).await?;
    let mut options = lab.fleet_options(DEVICES).await?;
    options.mix = vec![(Platform::IPhone, 60), (Platform::IPad, 40)];
    options.users = 0;
    let fleet = Fleet::start(options, Some(lab.apns.clone())).context("start the fleet")?;
    let gave_up = fleet.settled().await;
    ensure!(gave_up == 0, "{gave_up} devices could not enroll");
    let channels = lab.tenant.learn_channels().await?;
    ensure!(channels.len() == DEVICES, "not every device is enrolled");

    let made = json!({
        "identifier": "org.example.bench",
        "payloads": [{ "PayloadType": "com.apple.wifi.managed", "SSID_STR": "School", "EncryptionType": "WPA2", "Password": "hunter2hunter2" }],
    });
    let admin = lab.tenant.admin();
    admin.post(&lab.tenant.path("profiles"), &made).await?;
    let begun = Instant::now();
    let path = lab.tenant.path("profiles/org.example.bench/assign");
    admin.post(&path, &json!({ "everything": true })).await?;
    let assigned = begun.elapsed();
    let queued = until(&lab, begun, |states| count(states, None) == DEVICES).await?;
    let verified = until(&lab, begun, |states| {
        count(states, Some("verified")) == DEVICES
    })
    .await?;
    println!("  assigned in {assigned:.1?}, queued in {queued:.1?}, verified in {verified:.1?}");

    // Some devices lose it; all are asked what they have.
    let losers: Vec<&String> = channels.iter().step_by(LOST).collect();
    let lost = losers.len();
    let send = async |kind: &str, parameters: Value, targets: &[&String]| {
        let body = json!({ "request_type": kind, "parameters": parameters, "targets": { "enrollments": targets } });
        admin.post(&lab.tenant.path("commands"), &body).await
    };
    send(
        "RemoveProfile",
        json!({ "Identifier": "org.example.bench" }),
        &losers,
    )
    .await?;
    let all: Vec<&String> = channels.iter().collect();
    let begun = Instant::now();
    send("ProfileList", json!({}), &all).await?;
    let repaired = loop {
        let list = states(&lab).await?;
        let of = |tries: u64| {
            list.iter()
                .filter(|one| one["tries"] == tries && one["state"] == "verified")
                .count()
        };
        if of(2) == lost && of(1) == DEVICES - lost {
            break begun.elapsed();
        }
        let over = list.iter().find(|one| one["tries"].as_u64() > Some(2));
        ensure!(
            over.is_none(),
            "a device got the profile without need: {over:?}"
        );
        ensure!(
            begun.elapsed() < PATIENCE,
            "the loss was not repaired in {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    println!("  {lost} lost ones repaired in {repaired:.1?}");
    fleet.stop().await;
    lab.stop().await?;
    let conditions =
        format!("{DEVICES} devices with the usual mischief, one profile; {lost} of them lose it");
    let figure = |what: &str, time: Duration| Figure {
        name: format!("{name}: {what}"),
        value: time.as_secs_f64(),
        unit: "s",
        conditions: conditions.clone(),
    };
    Ok(vec![
        figure("assigned", assigned),
        figure("queued for all", queued),
        figure("verified on all", verified),
        figure("lost ones found and repaired", repaired),
    ])
}

fn count(states: &Value, state: Option<&str>) -> usize {
    let counts = states.as_object().into_iter().flatten();
    let counts = counts.filter(|(name, _)| state.is_none_or(|state| *name == state));
    let sum: u64 = counts.filter_map(|(_, count)| count.as_u64()).sum();
    usize::try_from(sum).unwrap_or(usize::MAX)
}

/// Waits until the counts of states are as wanted; says how long it took.
async fn until(lab: &Lab, begun: Instant, wanted: impl Fn(&Value) -> bool) -> Result<Duration> {
    loop {
        let path = lab.tenant.path("profiles/org.example.bench");
        let shown = lab.tenant.admin().get(&path).await?;
        if wanted(&shown["states"]) {
            return Ok(begun.elapsed());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "it did not come in {PATIENCE:?}: {}",
            shown["states"]
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn states(lab: &Lab) -> Result<Vec<Value>> {
    let path = lab
        .tenant
        .path("profiles/org.example.bench/devices?limit=500");
    lab.tenant.admin().list(&path).await
}
