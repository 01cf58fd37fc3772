//! Measures what plugins cost: compiling, loading, and calls through the engine's own hooks, each with a fresh
//! instance and, where a hook may have one, with an instance that has answered before.
//!
//! Owns: the device that is asked about, and the way of measuring. Figures go to standard output as JSON, one a line, for
//! `cargo xtask bench plugin`, which builds the packages and names them here.
#![allow(clippy::expect_used, reason = "an example may stop")]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pomona_engine::clock::Micros;
use pomona_engine::hooks::{
    CommandDraft, DeviceSnapshot, Hooks, KnownFact, Occasion, Question, Stage,
};
use pomona_engine::{ActorKind, DeviceId, Event, EventKind, PrincipalId, TenantId};
use pomona_plugin_host::{
    Artefacts, CompileLimits, Enabled, Kind, Package, Plugin, Runtime, Switch, compile,
    compile_here, hooks_of, kinds,
};
use serde_json::json;
use uuid::Uuid;

const NOW: Micros = 1_795_000_000_000_000;
/// Calls of a figure at most.
const CALLS: usize = 20_000;
/// A figure of slow calls is taken from what can be called in this time.
const LONGEST: Duration = Duration::from_secs(10);

/// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, kind] = arguments.as_slice()
        && flag == "--compile"
    {
        let mut component = Vec::new();
        std::io::stdin()
            .read_to_end(&mut component)
            .expect("the component");
        let kind = Kind::from_word(kind).expect("a kind");
        let native = compile_here(&component, kind).expect("a good component");
        std::io::stdout().write_all(&native).expect("a reader");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let host = Runtime::new().expect("an engine");
        for path in &arguments {
            let bytes = std::fs::read(path).expect("a package");
            let package = Package::read(&bytes).expect("a package");
            measure(&host, &package).await;
        }
    });
}

/// One figure.
fn tell(plugin: &str, name: &str, value: f64, unit: &str) {
    let figure = json!({ "plugin": plugin, "name": name, "value": value, "unit": unit });
    println!("{figure}");
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

async fn measure(host: &Runtime, package: &Package) {
    // As if each asked for it.
    let mut manifest = package.manifest.clone();
    manifest.capabilities.reuse = true;
    let manifest = &manifest;
    let id = manifest.id.as_str();
    let kib = package.component.len() as f64 / 1024.0;
    tell(id, "component", kib, "KiB");
    let program = std::env::current_exe().expect("this program");
    let make = |kind| {
        let program = program.clone();
        async move {
            let limits = CompileLimits::default();
            compile(&program, &["--compile"], &package.component, kind, limits)
                .await
                .expect("a good component")
        }
    };
    let begun = Instant::now();
    let interactive = make(Kind::Interactive).await;
    tell(
        id,
        "compile, in a process of its own",
        millis(begun.elapsed()),
        "ms",
    );
    let deterministic = match kinds(manifest).contains(&Kind::Deterministic) {
        true => Some(make(Kind::Deterministic).await),
        false => None,
    };
    let artefacts = Artefacts {
        interactive,
        deterministic,
    };
    let begun = Instant::now();
    let plugin = Plugin::load(
        host,
        manifest.clone(),
        package.digest(),
        &manifest.capabilities,
        &artefacts,
    )
    .await
    .expect("a plugin that runs");
    tell(
        id,
        "load, link and first start",
        millis(begun.elapsed()),
        "ms",
    );
    let plugin = Arc::new(plugin);
    for reuse in [false, true] {
        let mut granted = manifest.capabilities.clone();
        granted.reuse = reuse;
        let switch = Switch {
            tenant: TenantId(Uuid::nil()),
            principal: PrincipalId(Uuid::nil()),
            settings: settings(id),
            granted,
        };
        let enabled = Enabled::new(manifest.clone(), "d", Ok(plugin.clone()), switch, None);
        let mut hooks = hooks_of(&Arc::new(enabled));
        if reuse {
            // Deterministic: they begin afresh each time.
            hooks.compliance.clear();
        }
        let kept = if reuse { ", used again" } else { "" };
        calls(id, &hooks, kept).await;
    }
}

/// Settings that the examples can work with.
fn settings(id: &str) -> String {
    match id.contains("quiet-hours") {
        true => {
            r#"{"windows":[{"from":"00:00","to":"12:00"},{"from":"12:00","to":"00:00"}]}"#.into()
        }
        false => "{}".into(),
    }
}

async fn calls(id: &str, hooks: &Hooks, kept: &str) {
    let device = device();
    if let Some(hook) = hooks.validate.first() {
        let draft = CommandDraft {
            request_type: "RestartDevice".into(),
            command: plist::Dictionary::new(),
            actor: ActorKind::Person,
            kinds: None,
        };
        let call = async || {
            hook.validate(Stage::Enqueue, NOW, &device, &draft)
                .await
                .expect("a verdict");
        };
        timed(id, &format!("command-validate{kept}"), call).await;
    }
    if let Some(hook) = hooks.compliance.first() {
        let question = Question {
            call_id: "bench".into(),
            now: NOW,
            device: device.clone(),
        };
        let call = async || drop(hook.evaluate(&question).await.expect("findings"));
        timed(id, "compliance", call).await;
    }
    if let Some(hook) = hooks.observers.first() {
        let occasion = Occasion {
            now: NOW,
            attempt: 1,
            dry_run: false,
        };
        let batch = [event()];
        let call = async || drop(hook.on_events(occasion, &batch).await.expect("effects"));
        timed(id, &format!("events{kept}"), call).await;
    }
}

async fn timed(id: &str, hook: &str, call: impl AsyncFn()) {
    let warming = Instant::now();
    for _ in 0..CALLS / 10 {
        call().await;
        if warming.elapsed() > LONGEST / 10 {
            break;
        }
    }
    let mut times = Vec::with_capacity(CALLS);
    let begun = Instant::now();
    while times.len() < CALLS && begun.elapsed() < LONGEST {
        let begun = Instant::now();
        call().await;
        times.push(begun.elapsed());
    }
    let all = begun.elapsed();
    times.sort_unstable();
    let at = |share: usize| {
        let place = times.len() * share / 1_000;
        times.get(place).copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    tell(id, &format!("{hook}, median"), at(500), "µs");
    tell(id, &format!("{hook}, p99"), at(990), "µs");
    let rate = times.len() as f64 / all.as_secs_f64();
    tell(id, &format!("{hook}, one core"), rate, "calls/s");
}

/// A device of about two kilobytes.
fn device() -> DeviceSnapshot {
    let fact = |n: usize| KnownFact {
        name: format!("security.fact-number-{n:02}"),
        value: json!({ "value": n, "note": "as the device reported it" }),
        source: "device".into(),
        observed_at: NOW,
    };
    let mut device = DeviceSnapshot {
        device: Some(DeviceId(Uuid::from_u128(7))),
        ident: "00000000-0000-0000-0000-00000000000A".into(),
        serial_number: Some("C02XK1ZGJG5H".into()),
        product_name: Some("iPad13,18".into()),
        os_version: Some("27.0.1".into()),
        facts: (0..20).map(fact).collect(),
        groups: vec!["class-7a".into(), "ipads".into()],
        seen_at: NOW,
        revision: 12,
        ..DeviceSnapshot::default()
    };
    device.facts.push(KnownFact {
        name: "security.passcode-present".into(),
        value: json!(true),
        source: "device".into(),
        observed_at: NOW,
    });
    device
}

fn event() -> Event {
    Event {
        device_id: DeviceId(Uuid::from_u128(7)),
        seq: 2,
        at: NOW,
        tenant_id: TenantId(Uuid::nil()),
        enrollment_id: None,
        user_key: String::new(),
        kind: EventKind::Enrolled,
        command_id: None,
        actor_kind: "device",
        actor_id: None,
        body: json!({ "note": "a device has enrolled" }),
    }
}
