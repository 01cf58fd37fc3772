//! Measures what guests cost that never end: how long after its deadline a call is over, and what thousands of them leave behind.
//!
//! Owns: the hostile guest and the way of measuring. Figures go to standard output as JSON, one a line, for
//! `cargo xtask bench plugin`.
#![allow(clippy::expect_used, reason = "an example may stop")]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pomona_engine::hooks::{CommandDraft, DeviceSnapshot, Hooks, Stage};
use pomona_engine::{ActorKind, PrincipalId, TenantId};
use pomona_plugin_host::{
    Artefacts, Budget, Capabilities, CompileLimits, Enabled, HookName, Kind, Manifest, Plugin,
    Runtime, Switch, compile, compile_here, contract, hooks_of,
};
use serde_json::json;
use uuid::Uuid;
use wit_component::{ComponentEncoder, StringEncoding};

/// Calls that are ended.
const KILLS: usize = 10_000;
/// Calls before the memory is looked at for the first time: what is kept for reuse is there then.
const FIRST: usize = 500;
/// At the same time.
const TOGETHER: usize = 8;
/// Calls one after the other, for the time.
const ALONE: usize = 300;

const MANIFEST: &str = "id = \"org.example.endless\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Endless\"\n[hooks.command-validate]\n";

/// It takes eight megabytes and turns in a circle.
const GUEST: &str = r#"(module
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "pomona:hooks/command-validate@0.9.0#validate") (param i32) (result i32)
    (drop (memory.grow (i32.const 128)))
    (memory.fill (i32.const 65536) (i32.const 7) (i32.const 8000000))
    (loop $on (br $on))
    (unreachable)))"#;

/// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if std::env::args()
        .nth(1)
        .is_some_and(|flag| flag == "--compile")
    {
        let mut component = Vec::new();
        std::io::stdin()
            .read_to_end(&mut component)
            .expect("the component");
        let native = compile_here(&component, Kind::Interactive).expect("a good component");
        std::io::stdout().write_all(&native).expect("a reader");
        return;
    }
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    threads.block_on(measure());
}

fn tell(name: &str, value: f64, unit: &str) {
    let figure =
        json!({ "plugin": "org.example.endless", "name": name, "value": value, "unit": unit });
    println!("{figure}");
}

/// A guest, switched on anew: its breaker knows nothing of what was before.
async fn endless(plugin: &Arc<Plugin>, manifest: &Manifest) -> Hooks {
    let switch = Switch {
        tenant: TenantId(Uuid::nil()),
        principal: PrincipalId(Uuid::nil()),
        settings: "{}".into(),
        granted: Capabilities::default(),
    };
    let enabled = Enabled::new(manifest.clone(), "d", Ok(plugin.clone()), switch, None);
    hooks_of(&Arc::new(enabled))
}

async fn measure() {
    let manifest = Manifest::parse(MANIFEST).expect("a manifest");
    let mut module = wat::parse_str(GUEST).expect("a module");
    let (resolve, world) = contract::world_of(&manifest, false).expect("a world");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("a module of that world");
    let component = ComponentEncoder::default()
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .expect("a component");
    let host = Runtime::new().expect("an engine");
    let program = std::env::current_exe().expect("this program");
    let limits = CompileLimits::default();
    let interactive = compile(
        &program,
        &["--compile"],
        &component,
        Kind::Interactive,
        limits,
    )
    .await
    .expect("code");
    let artefacts = Artefacts {
        interactive,
        deterministic: None,
    };
    let granted = Capabilities::default();
    let plugin = Plugin::load(&host, manifest.clone(), "d".into(), &granted, &artefacts)
        .await
        .expect("a plugin");
    let plugin = Arc::new(plugin);

    let mut late = Vec::with_capacity(ALONE);
    for _ in 0..ALONE {
        let begun = Instant::now();
        kill(&endless(&plugin, &manifest).await).await;
        let allowed = Budget::of(HookName::CommandValidate).cpu;
        late.push(begun.elapsed().saturating_sub(allowed));
    }
    late.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    tell(
        "ended after its deadline, median",
        millis(late.get(ALONE / 2)),
        "ms",
    );
    tell(
        "ended after its deadline, slowest of 300",
        millis(late.last()),
        "ms",
    );

    many(&plugin, &manifest, FIRST).await;
    let before = resident();
    let begun = Instant::now();
    many(&plugin, &manifest, KILLS).await;
    let rate = KILLS as f64 / begun.elapsed().as_secs_f64();
    tell("calls ended", rate, "calls/s");
    let grown = resident().saturating_sub(before) as f64 / 1024.0;
    tell(
        "memory after 10,000 of them, more than after 500",
        grown,
        "KiB",
    );
}

async fn many(plugin: &Arc<Plugin>, manifest: &Manifest, calls: usize) {
    let one = |_| async {
        for _ in 0..calls / TOGETHER {
            kill(&endless(plugin, manifest).await).await;
        }
    };
    futures_util::future::join_all((0..TOGETHER).map(one)).await;
}

/// One call, which must not come to an end by itself.
async fn kill(hooks: &Hooks) {
    let device = DeviceSnapshot::default();
    let draft = CommandDraft {
        request_type: "RestartDevice".into(),
        command: plist::Dictionary::new(),
        actor: ActorKind::Person,
        kinds: None,
    };
    let hook = hooks.validate.first().expect("a hook");
    let answer = hook
        .validate(Stage::Enqueue, 1_795_000_000_000_000, &device, &draft)
        .await;
    assert!(answer.is_err(), "it came to an end: {answer:?}");
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the kernel tells");
    let pages = text.split_whitespace().nth(1);
    pages.and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4_096
}
