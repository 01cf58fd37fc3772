//! Settings on their way from one version to another, through guests written by hand.

use super::{component, component_in, load, manifest, module};
use crate::contract::world_of;
use crate::error::PluginError;
use crate::runtime::Runtime;

/// A plugin whose `migrate` has this body, with the version in locals 0 and 1 and the settings in 2 and 3. The result begins at
/// 2048: 0 or 1 for ok or err, and a text at 2052.
fn migrating(body: &str) -> Vec<u8> {
    let hook = format!(
        r#"(func (export "pomona:hooks/settings@0.9.0#validate") (param i32 i32) (result i32)
             (i32.const 1024))
           (func (export "pomona:hooks/settings@0.9.0#migrate") (param i32 i32 i32 i32) (result i32)
             {body}
             (i32.const 2048))"#
    );
    let world = world_of(&manifest(), true).unwrap();
    component_in(world, &module(&hook, "(i32.const 1024)")).unwrap()
}

fn answer(case: u8, at: u8, length: u8) -> String {
    format!(
        "(i32.store (i32.const 2048) (i32.const {case}))
         (i32.store (i32.const 2052) (local.get {at}))
         (i32.store (i32.const 2056) (local.get {length}))"
    )
}

#[tokio::test]
async fn migrated_settings_are_what_the_plugin_says() {
    let runtime = Runtime::new().unwrap();
    let settings = r#"{"n": 1}"#;
    let plugin = load(&runtime, &migrating(&answer(0, 2, 3))).await.unwrap();
    let migrated = plugin.migrate_settings("1.2.0", settings).await.unwrap();
    assert_eq!(migrated, Ok(settings.to_owned()), "the settings came whole");
    let plugin = load(&runtime, &migrating(&answer(1, 0, 1))).await.unwrap();
    let refused = plugin.migrate_settings("1.2.0", settings).await.unwrap();
    assert_eq!(refused, Err("1.2.0".to_owned()), "so did the version");
}

#[tokio::test]
async fn a_migration_that_ends_itself_or_never_ends_is_no_answer() {
    let runtime = Runtime::new().unwrap();
    let plugin = load(&runtime, &migrating("(unreachable)")).await.unwrap();
    let ended = plugin.migrate_settings("1.2.0", "{}").await.unwrap_err();
    assert!(matches!(ended, PluginError::Trap(_)), "{ended}");
    let plugin = load(&runtime, &migrating("(loop (br 0))")).await.unwrap();
    let endless = plugin.migrate_settings("1.2.0", "{}").await.unwrap_err();
    assert!(
        matches!(endless, PluginError::Exhausted(_) | PluginError::Time(_)),
        "{endless}"
    );
}

#[tokio::test]
async fn without_a_hook_settings_stay_as_they_are() {
    let runtime = Runtime::new().unwrap();
    let guest = component(&module("", "(i32.const 1024)")).unwrap();
    let plugin = load(&runtime, &guest).await.unwrap();
    let migrated = plugin
        .migrate_settings("1.2.0", "{\"n\": 1}")
        .await
        .unwrap();
    assert_eq!(migrated, Ok("{\"n\": 1}".to_owned()));
}
