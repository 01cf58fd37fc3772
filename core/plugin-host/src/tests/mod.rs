//! Plugins written by hand in the text format, good ones and hostile ones.
//!
//! Owns: how a guest is made of a few lines, and a call through the engine's own hook.

mod catalogue;
mod deterministic;
mod generated;
mod hostile;
mod imports;
mod json;
mod limits;
mod matching;
mod settings;
mod stability;
mod trials;
mod warm;
mod workbench;

use std::sync::Arc;

use pomona_engine::clock::Micros;
use pomona_engine::hooks::{
    CommandDraft, CommandValidateHook, CommandVerdict, DeviceSnapshot, HookError, Stage,
};
use pomona_engine::{ActorKind, PrincipalId, TenantId};
use uuid::Uuid;
use wit_component::{ComponentEncoder, StringEncoding};

use crate::artefact::{Artefact, Artefacts};
use crate::compile::compile_here;
use crate::contract::world_of;
use crate::enabled::{Enabled, Switch};
use crate::error::PluginError;
use crate::kind::Kind;
use crate::manifest::Manifest;
use crate::plugin::{Plugin, kinds};
use crate::runtime::Runtime;
use crate::services::Services;

const NOW: Micros = 1_795_000_000_000_000;

/// A plugin that judges every command.
fn manifest() -> Manifest {
    Manifest::parse(
        "id = \"org.example.guest\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Guest\"\n[hooks.command-validate]\n",
    )
    .unwrap()
}

/// A core module whose `validate` has this body, with further fields before it. Zeroed memory at 1024 is the verdict
/// `allow`.
fn module(fields: &str, body: &str) -> String {
    format!(
        r#"(module
          (import "pomona:host/log@0.9.0" "write" (func $log (param i32 i32 i32 i32 i32)))
          (import "pomona:host/config@0.9.0" "get-json" (func $settings (param i32)))
          (import "pomona:host/random@0.9.0" "bytes" (func $random (param i32 i32)))
          (memory (export "memory") 2)
          (global $top (mut i32) (i32.const 4096))
          {fields}
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
            (global.set $top (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
          (func $validate (export "pomona:hooks/command-validate@0.9.0#validate") (param i32) (result i32)
            {body}))"#
    )
}

/// The component of a module in the text format.
fn component(text: &str) -> Result<Vec<u8>, String> {
    component_of(&manifest(), text)
}

/// The component of a module, of the world of this manifest.
fn component_of(manifest: &Manifest, text: &str) -> Result<Vec<u8>, String> {
    component_in(world_of(manifest, false)?, text)
}

/// The component of a module, of this world.
fn component_in(
    (resolve, world): (wit_parser::Resolve, wit_parser::WorldId),
    text: &str,
) -> Result<Vec<u8>, String> {
    let mut module = wat::parse_str(text).map_err(|error| error.to_string())?;
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| format!("{error:#}"))?;
    ComponentEncoder::default()
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("{error:#}"))
}

async fn load(runtime: &Runtime, component: &[u8]) -> Result<Plugin, PluginError> {
    load_as(runtime, manifest(), component).await
}

/// Loads a component for a manifest whose wishes are all granted.
async fn load_as(
    runtime: &Runtime,
    manifest: Manifest,
    component: &[u8],
) -> Result<Plugin, PluginError> {
    let made = |kind| compile_here(component, kind).map(Artefact::made_here);
    let artefacts = Artefacts {
        interactive: made(Kind::Interactive)?,
        deterministic: kinds(&manifest)
            .contains(&Kind::Deterministic)
            .then(|| made(Kind::Deterministic))
            .transpose()?,
    };
    let granted = manifest.capabilities.clone();
    Plugin::load(runtime, manifest, "digest".into(), &granted, &artefacts).await
}

/// The plugin of a module, switched on.
async fn enabled(runtime: &Runtime, text: &str) -> Enabled {
    let plugin = load(runtime, &component(text).unwrap()).await.unwrap();
    switched_on(manifest(), plugin, None)
}

/// A plugin switched on with everything that it asks for.
fn switched_on(manifest: Manifest, plugin: Plugin, services: Option<Arc<dyn Services>>) -> Enabled {
    let switch = Switch {
        tenant: TenantId(Uuid::nil()),
        principal: PrincipalId(Uuid::nil()),
        settings: "{}".into(),
        granted: manifest.capabilities.clone(),
    };
    Enabled::new(manifest, "digest", Ok(Arc::new(plugin)), switch, services)
}

/// Asks for a verdict on an ordinary command.
async fn ask(enabled: &Enabled) -> Result<CommandVerdict, HookError> {
    let device = DeviceSnapshot {
        product_name: Some("iPad13,18".into()),
        os_version: Some("27.0".into()),
        ..DeviceSnapshot::default()
    };
    let draft = CommandDraft {
        request_type: "RestartDevice".into(),
        command: plist::Dictionary::new(),
        actor: ActorKind::Person,
        kinds: None,
    };
    enabled.validate(Stage::Enqueue, NOW, &device, &draft).await
}
