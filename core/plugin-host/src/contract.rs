//! The text of the contract, which comes with the program.
//!
//! Owns: the WIT files of the released version and the world of one plugin, composed of its manifest and of what its code
//! exports. Compiles nothing.

use wit_parser::{Resolve, SourceMap, WorldId};

use crate::manifest::{HookName, Manifest};

/// The contract's packages, in the order in which they build on each other: their files by name.
pub const PACKAGES: [&[(&str, &str)]; 3] = [
    &[
        (
            "types/common.wit",
            include_str!("../../../sdk/wit/0.9/deps/types/common.wit"),
        ),
        (
            "types/device.wit",
            include_str!("../../../sdk/wit/0.9/deps/types/device.wit"),
        ),
        (
            "types/command.wit",
            include_str!("../../../sdk/wit/0.9/deps/types/command.wit"),
        ),
        (
            "types/effect.wit",
            include_str!("../../../sdk/wit/0.9/deps/types/effect.wit"),
        ),
    ],
    &[(
        "host/host.wit",
        include_str!("../../../sdk/wit/0.9/deps/host/host.wit"),
    )],
    &[("hooks.wit", include_str!("../../../sdk/wit/0.9/hooks.wit"))],
];

/// Interfaces of the host that every plugin may import.
pub const OFFERED: [&str; 5] = [
    "pomona:host/catalogue",
    "pomona:host/clock",
    "pomona:host/config",
    "pomona:host/log",
    "pomona:host/random",
];

/// The world of a plugin: what it may import, and the hooks that its manifest names. `settings` says whether its code looks
/// at settings.
///
/// # Errors
/// What the parser says; the contract itself is at fault then.
pub fn world_of(manifest: &Manifest, settings: bool) -> Result<(Resolve, WorldId), String> {
    let told = |error: &dyn std::fmt::Display| format!("the contract cannot be read: {error}");
    let mut resolve = Resolve::default();
    for files in PACKAGES {
        let mut map = SourceMap::default();
        for (name, text) in files {
            map.push_str(name, *text);
        }
        let group = map.parse().map_err(|(_, error)| told(&error))?;
        resolve.push_group(group).map_err(|error| told(&error))?;
    }
    let package = resolve
        .push_str("plugin.wit", &text_of(manifest, settings))
        .map_err(|error| told(&error))?;
    let world = resolve
        .select_world(&[package], Some("plugin"))
        .map_err(|error| told(&error))?;
    Ok((resolve, world))
}

/// The same world as a folder of WIT, for tools that read files: names with `/` between them, and contents. The world is
/// named `plugin`.
#[must_use]
pub fn files_of(manifest: &Manifest, settings: bool) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = PACKAGES
        .iter()
        .flat_map(|package| package.iter())
        .map(|(name, text)| match name.contains('/') {
            true => (format!("deps/{name}"), (*text).to_owned()),
            false => (format!("deps/hooks/{name}"), (*text).to_owned()),
        })
        .collect();
    files.push(("plugin.wit".into(), text_of(manifest, settings)));
    files
}

/// The interfaces of the host that the world of a plugin imports, without their version.
pub fn imports_of(manifest: &Manifest) -> impl Iterator<Item = &'static str> {
    OFFERED
        .into_iter()
        .chain(manifest.capabilities.interfaces())
}

fn text_of(manifest: &Manifest, settings: bool) -> String {
    let version = crate::API;
    let mut world = String::from("package pomona:this-plugin;\nworld plugin {\n");
    for interface in imports_of(manifest) {
        world.push_str(&format!("  import {interface}@{version};\n"));
    }
    let hooks = manifest.hooks.keys().copied().map(HookName::as_str);
    for hook in hooks.chain(settings.then_some("settings")) {
        world.push_str(&format!("  export pomona:hooks/{hook}@{version};\n"));
    }
    world.push_str("}\n");
    world
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_its_place_in_a_world() {
        let hooks: String = HookName::ALL
            .iter()
            .map(|hook| format!("[hooks.{}]\n", hook.as_str()))
            .collect();
        let manifest = Manifest::parse(&format!(
            "id = \"org.example.a\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"A\"\n{hooks}[[jobs]]\nname = \"sync\"\n[[panels]]\nid = \"p\"\ntitle = \"P\"\n"
        ))
        .unwrap();
        let (resolve, world) = world_of(&manifest, true).unwrap();
        assert_eq!(resolve.worlds[world].exports.len(), HookName::ALL.len() + 1);
    }
    #[test]
    fn a_world_as_files_says_the_same() {
        let manifest = Manifest::parse(
            "id = \"org.example.a\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"A\"\n[hooks.events]\n",
        )
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files_of(&manifest, true) {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(folder.path()).unwrap();
        let read = resolve.select_world(&[package], Some("plugin")).unwrap();
        let (composed, world) = world_of(&manifest, true).unwrap();
        let names = |resolve: &Resolve, world: WorldId| -> Vec<String> {
            let world = &resolve.worlds[world];
            let all = world.imports.keys().chain(world.exports.keys());
            all.map(|key| resolve.name_world_key(key)).collect()
        };
        assert_eq!(names(&resolve, read), names(&composed, world));
    }
}
