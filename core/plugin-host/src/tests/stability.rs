//! The contract does not break: its text against each release, and guests of one version against hosts of another.
//!
//! Owns: what has to hold between versions of the contract. A made-up next version, 0.9.1, has one host function and one hook
//! more than this one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Engine, Store};
use wit_component::{ComponentEncoder, StringEncoding, semver_check};
use wit_parser::{Resolve, SourceMap};

use super::*;
use crate::contract::{PACKAGES, imports_of};
use crate::manifest::HookName;

/// The files of a contract, package by package.
type Text = Vec<BTreeMap<String, String>>;

fn present() -> Text {
    let own = |files: &[(&str, &str)]| {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    };
    PACKAGES.map(own).into()
}

/// A contract as it lies in a folder.
fn in_folder(folder: &Path) -> Text {
    let read = |folder: PathBuf| -> BTreeMap<String, String> {
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|end| end == "wit"))
            .map(|file| {
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                (name, std::fs::read_to_string(&file).unwrap())
            })
            .collect()
    };
    let deps = folder.join("deps");
    vec![
        read(deps.join("types")),
        read(deps.join("host")),
        read(folder.into()),
    ]
}

/// The contract with this version in the place of its own.
fn versioned(contract: &Text, version: &str) -> Text {
    let renamed = |text: &String| {
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find("@0.") {
            let (before, after) = rest.split_at(at + 1);
            let end = after
                .match_indices(|c: char| !c.is_ascii_digit() && c != '.')
                .map(|(end, _)| end)
                .next()
                .unwrap_or(after.len());
            let number = after[..end].trim_end_matches('.');
            out.push_str(before);
            out.push_str(version);
            rest = &after[number.len()..];
        }
        out + rest
    };
    contract
        .iter()
        .map(|package| {
            package
                .iter()
                .map(|(name, text)| (name.clone(), renamed(text)))
                .collect()
        })
        .collect()
}

fn push(resolve: &mut Resolve, contract: &Text) {
    for package in contract {
        let mut map = SourceMap::default();
        for (name, text) in package {
            map.push_str(name, text.as_str());
        }
        resolve
            .push_group(map.parse().map_err(|(_, error)| error).unwrap())
            .unwrap();
    }
}

/// What breaks for a plugin with one hook that was built with `before` when the host speaks `now`.
fn broken(before: &Text, now: &Text) -> Vec<String> {
    const OLD: &str = "0.0.1";
    const NEW: &str = "0.0.2";
    let hooks = HookName::ALL
        .iter()
        .map(|hook| hook.as_str())
        .chain(["settings"]);
    let mut broken = Vec::new();
    for hook in hooks {
        let mut resolve = Resolve::default();
        push(&mut resolve, &versioned(before, OLD));
        push(&mut resolve, &versioned(now, NEW));
        let mut world = |version: &str| {
            let mut text = format!("package pomona:trial@{version};\nworld plugin {{\n");
            for interface in EVERYTHING {
                text.push_str(&format!("  import {interface}@{version};\n"));
            }
            text.push_str(&format!("  export pomona:hooks/{hook}@{version};\n}}\n"));
            let package = resolve
                .push_str("trial.wit", &text)
                .map_err(|error| error.to_string())?;
            resolve
                .select_world(&[package], Some("plugin"))
                .map_err(|error| error.to_string())
        };
        let worlds = world(OLD).and_then(|old| Ok((old, world(NEW)?)));
        let checked = worlds.and_then(|(old, new)| {
            semver_check(resolve, old, new).map_err(|error| format!("{error:#}"))
        });
        if let Err(problem) = checked {
            broken.push(format!("{hook}: {problem}"));
        }
    }
    broken
}

/// Every interface of the host.
const EVERYTHING: [&str; 11] = [
    "pomona:host/catalogue",
    "pomona:host/clock",
    "pomona:host/config",
    "pomona:host/devices",
    "pomona:host/http-out",
    "pomona:host/kv",
    "pomona:host/log",
    "pomona:host/metrics",
    "pomona:host/random",
    "pomona:host/recipients",
    "pomona:host/secrets",
];

#[test]
fn what_was_built_with_a_release_still_fits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/wit/released");
    let mut releases = 0;
    for release in std::fs::read_dir(folder).unwrap() {
        let release = release.unwrap();
        let broken = broken(&in_folder(&release.path()), &present());
        assert!(
            broken.is_empty(),
            "the contract of {} was broken; a change must leave every plugin that exists in peace: {broken:#?}",
            release.file_name().display()
        );
        releases += 1;
    }
    assert!(releases > 0, "there is no release to compare with");
}

/// The contract with one text in the place of another.
fn changed(from: &str, to: &str) -> Text {
    let mut found = 0;
    let contract = present()
        .into_iter()
        .map(|package| {
            let replace = |(name, text): (String, String)| {
                found += text.matches(from).count();
                (name, text.replacen(from, to, 1))
            };
            package.into_iter().map(replace).collect()
        })
        .collect();
    assert_eq!(found, 1, "{from}");
    contract
}

const FLUSH: (&str, &str) = (
    "interface config {",
    "interface config {\n  /// News.\n  news: func() -> u32;",
);
const HOOK: (&str, &str) = (
    "world everything {",
    "interface farewell { goodbye: func() -> string; }\nworld everything {",
);

#[test]
fn a_break_is_seen_and_an_addition_is_none() {
    let before = present();
    for (from, to) in [FLUSH, HOOK] {
        assert_eq!(
            broken(&before, &changed(from, to)),
            Vec::<String>::new(),
            "{to}"
        );
    }
    for (from, to) in [
        // A function goes, a parameter changes, a case and a member are added, a hook wants more.
        ("  feature: func(name: string) -> bool;\n", ""),
        ("feature: func(name: string)", "feature: func(name: u32)"),
        (
            "enum stage { enqueue, delivery }",
            "enum stage { enqueue, delivery, retry }",
        ),
        (
            "record remedy { label: string,",
            "record remedy { label: string, cost: u32,",
        ),
        (
            "rules: func() -> list<rule-info>;",
            "rules: func() -> list<rule-info>;\n  more: func();",
        ),
    ] {
        let broken = broken(&before, &changed(from, to));
        assert!(!broken.is_empty(), "nobody noticed {to:?} for {from:?}");
    }
}

/// A guest of the made-up next version, with a further import.
fn next_guest(import: &str) -> Vec<u8> {
    let manifest = manifest();
    let mut resolve = Resolve::default();
    let mut next = changed(FLUSH.0, FLUSH.1);
    for package in &mut next {
        for text in package.values_mut() {
            *text = text.replacen(HOOK.0, HOOK.1, 1);
        }
    }
    push(&mut resolve, &versioned(&next, "0.9.1"));
    let mut world = String::from("package pomona:this-plugin;\nworld plugin {\n");
    for interface in imports_of(&manifest) {
        world.push_str(&format!("  import {interface}@0.9.1;\n"));
    }
    world.push_str("  export pomona:hooks/command-validate@0.9.1;\n}\n");
    let package = resolve.push_str("plugin.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    let text = module("", "(i32.const 1024)")
        .replace("@0.9.0", "@0.9.1")
        .replacen("(module", &format!("(module {import}"), 1);
    let mut module = wat::parse_str(text).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .unwrap();
    ComponentEncoder::default()
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .unwrap()
}

#[tokio::test]
async fn a_guest_of_the_next_version_runs_here_unless_it_needs_the_news() {
    let runtime = Runtime::new().unwrap();
    let plugin = load(&runtime, &next_guest("")).await.unwrap();
    let enabled = switched_on(manifest(), plugin, None);
    let verdict = ask(&enabled).await.unwrap();
    assert!(
        matches!(verdict, CommandVerdict::Allow { .. }),
        "{verdict:?}"
    );
    let news = r#"(import "pomona:host/config@0.9.1" "news" (func $news (result i32)))"#;
    let told = load(&runtime, &next_guest(news))
        .await
        .unwrap_err()
        .to_string();
    for expected in ["0.9.1", "this server speaks 0.9.0", "news"] {
        assert!(told.contains(expected), "{told}");
    }
    let told = Manifest::parse(
        "id = \"org.example.guest\"\nversion = \"1.0.0\"\napi = \"0.9.1\"\ntitle = \"Guest\"\n[hooks.farewell]\n",
    )
    .unwrap_err()
    .to_string();
    assert!(told.contains("0.9.1") && told.contains("0.9.0"), "{told}");
}

#[tokio::test]
async fn a_guest_of_this_version_links_on_the_next_host_which_finds_its_hook() {
    let component = component(&module("", "(i32.const 1024)")).unwrap();
    let engine = Engine::default();
    let component = Component::new(&engine, component).unwrap();
    let mut linker: Linker<()> = Linker::new(&engine);
    // A host of 0.9.1: every function that the guest imports, and one more, under its own version.
    for (name, item) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else {
            panic!("{name} is no interface");
        };
        let mut offered = linker.instance(&name.replace("@0.9.0", "@0.9.1")).unwrap();
        for (function, item) in interface.exports(&engine) {
            if matches!(item.ty, ComponentItem::ComponentFunc(_)) {
                offered
                    .func_new(function, |_, _, _, _| wasmtime::bail!("not called here"))
                    .unwrap();
            }
        }
        offered
            .func_new("news", |_, _, _, results| {
                results.fill(Val::U32(1));
                Ok(())
            })
            .unwrap();
    }
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let hook = instance
        .get_export_index(&mut store, None, "pomona:hooks/command-validate@0.9.1")
        .expect("the next host finds the hook of this version");
    assert!(
        instance
            .get_export_index(&mut store, Some(&hook), "validate")
            .is_some()
    );
    // The one that it does not have is asked for by nobody.
    let farewell = instance.get_export_index(&mut store, None, "pomona:hooks/farewell@0.9.1");
    assert!(farewell.is_none());
}
