//! A package as registries hold it.
//!
//! Owns: the artifact. It has the layout of the CNCF guide "Wasm OCI Artifact layout": a manifest, a config of the media
//! type `application/vnd.wasm.config.v0+json`, and one layer `application/wasm`, which is the component, byte for byte.
//! That guide lets consumers refuse a second layer, so the other members of the package (manifest, schema, fixtures,
//! signatures) stand in the config, as texts under `pomona`. Nothing in it depends on when or where it was made: the same
//! package gives the same digests everywhere, and comes out of a registry byte for byte as it went in.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use pomona_plugin_host::{MAX_COMPONENT, Package};
use serde_json::{Value, json};
use wasmparser::{Parser, Payload};

use super::reference::Digest;

/// The media type of a manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const COMPONENT: &str = "application/wasm";
/// The member of the config with the other parts of the package.
const PARTS: &str = "pomona";
/// The annotation with the digest of the package, by which it is signed, installed and revoked.
const PACKAGE_DIGEST: &str = "org.pomona.plugin.digest";

/// The largest manifest, in bytes.
pub(super) const MAX_MANIFEST: usize = 256 << 10;
/// The largest config, in bytes.
pub(super) const MAX_CONFIG: usize = 8 << 20;

/// Bytes that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: usize,
}

/// What a manifest says.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) config: Blob,
    pub(super) component: Blob,
    package: Option<String>,
}

/// A package, ready for a registry.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
    pub(super) component: Vec<u8>,
}

impl Artifact {
    /// Lays a package out.
    pub(super) fn of(package: &Package) -> anyhow::Result<Self> {
        let component = package.component.clone();
        let (imports, exports) = imports_and_exports(&component)?;
        let config = serde_json::to_vec(&json!({
            // A real time would give the same package another digest each time it is pushed.
            "created": "1970-01-01T00:00:00Z",
            "author": null,
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [Digest::of(&component).to_string()],
            "component": { "imports": imports, "exports": exports, "target": null },
            PARTS: package.parts()?,
        }))?;
        if config.len() > MAX_CONFIG {
            bail!(
                "the fixtures are too large for a registry: they and the manifest come to {} bytes, at most {MAX_CONFIG} are sent",
                config.len()
            );
        }
        let manifest = &package.manifest;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(COMPONENT, &component)],
            "annotations": {
                "org.opencontainers.image.title": manifest.id,
                "org.opencontainers.image.version": manifest.version.to_string(),
                PACKAGE_DIGEST: package.digest(),
            },
        }))?;
        Ok(Self {
            manifest,
            config,
            component,
        })
    }

    /// The digest by which a registry knows it.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// Reads a manifest. Only digests and sizes are taken from it: addresses elsewhere (`urls`) mean nothing here.
pub(super) fn contents(manifest: &[u8]) -> anyhow::Result<Contents> {
    let manifest: Value = serde_json::from_slice(manifest).context("the manifest is no JSON")?;
    if manifest["manifests"].is_array() {
        bail!("it is a list of several artifacts, not a plugin");
    }
    let config = &manifest["config"];
    let layers = manifest["layers"].as_array().map_or(&[][..], Vec::as_slice);
    let (true, [layer]) = (config["mediaType"] == CONFIG, layers) else {
        bail!("it is no WebAssembly artifact, but {}", config["mediaType"]);
    };
    if layer["mediaType"] != COMPONENT {
        bail!("its layer is no WebAssembly, but {}", layer["mediaType"]);
    }
    Ok(Contents {
        config: blob(config, MAX_CONFIG).context("the config")?,
        component: blob(layer, MAX_COMPONENT).context("the component")?,
        package: manifest["annotations"][PACKAGE_DIGEST]
            .as_str()
            .map(str::to_owned),
    })
}

/// Puts the package together again.
pub(super) fn package(
    contents: &Contents,
    config: &[u8],
    component: Vec<u8>,
) -> anyhow::Result<Package> {
    let mut config: Value = serde_json::from_slice(config).context("the config is no JSON")?;
    if config["layerDigests"] != json!([contents.component.digest.to_string()]) {
        bail!("its config is for another component");
    }
    let parts: BTreeMap<String, String> = match config[PARTS].take() {
        Value::Null => bail!(
            "it is a WebAssembly component and no plugin package; put one there with `pomona plugin push`"
        ),
        parts => serde_json::from_value(parts).context("the parts of the package in the config")?,
    };
    let package = Package::assemble(component, parts)?;
    if let Some(expected) = &contents.package
        && *expected != package.digest()
    {
        bail!(
            "it is said to hold the package {expected}, but holds {}",
            package.digest()
        );
    }
    Ok(package)
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": Digest::of(bytes).to_string(),
        "size": bytes.len(),
    })
}

fn blob(descriptor: &Value, most: usize) -> anyhow::Result<Blob> {
    let digest = descriptor["digest"].as_str().context("has no digest")?;
    let size = descriptor["size"].as_u64().context("has no size")?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > most {
        bail!("has {size} bytes; at most {most} are taken");
    }
    Ok(Blob {
        digest: digest.parse()?,
        size,
    })
}

/// The names of what a component takes from outside and gives, as the config of the layout lists them.
fn imports_and_exports(component: &[u8]) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    for payload in Parser::new(0).parse_all(component) {
        match payload.context("the component is no WebAssembly")? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(
                        import
                            .context("the imports of the component")?
                            .name
                            .name
                            .to_owned(),
                    );
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(
                        export
                            .context("the exports of the component")?
                            .name
                            .name
                            .to_owned(),
                    );
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

#[cfg(test)]
mod tests {
    use super::super::testing::package as some_package;
    use super::*;

    #[test]
    fn a_package_is_the_same_after_the_way_through_the_layout() {
        let package = some_package();
        let artifact = Artifact::of(&package).unwrap();
        let contents = contents(&artifact.manifest).unwrap();
        assert_eq!(contents.config.digest, Digest::of(&artifact.config));
        assert_eq!(contents.component.size, package.component.len());
        let again =
            super::package(&contents, &artifact.config, artifact.component.clone()).unwrap();
        assert_eq!(again.digest(), package.digest());
        assert_eq!(again.write().unwrap(), package.write().unwrap());
        let second = Artifact::of(&again).unwrap();
        assert_eq!(second.digest(), artifact.digest(), "nothing of the moment");
    }

    #[test]
    fn it_has_the_layout_of_the_guide() {
        let artifact = Artifact::of(&some_package()).unwrap();
        let manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
        assert_eq!(manifest["config"]["mediaType"], CONFIG);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
        assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
        assert_eq!(artifact.component, some_package().component);
        let config: Value = serde_json::from_slice(&artifact.config).unwrap();
        assert_eq!(config["architecture"], "wasm");
        assert_eq!(config["os"], "wasip2");
        assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);
        assert_eq!(config["component"]["imports"][0], "example:a/b");
        assert_eq!(config["component"]["exports"], json!([]));
    }

    #[test]
    fn what_is_no_plugin_is_told_apart() {
        let artifact = Artifact::of(&some_package()).unwrap();
        let good: Value = serde_json::from_slice(&artifact.manifest).unwrap();
        let changed = |path: &str, value: Value| {
            let mut manifest = good.clone();
            *manifest.pointer_mut(path).unwrap() = value;
            contents(&serde_json::to_vec(&manifest).unwrap())
        };
        let mut two = good["layers"].as_array().unwrap().clone();
        two.extend(two.clone());
        for (path, value, expected) in [
            (
                "/config/mediaType",
                json!("application/x"),
                "no WebAssembly artifact",
            ),
            ("/layers", json!([]), "no WebAssembly artifact"),
            ("/layers", Value::Array(two), "no WebAssembly artifact"),
            ("/layers/0/mediaType", json!("application/x"), "its layer"),
            ("/layers/0/size", json!(MAX_COMPONENT + 1), "at most"),
            ("/layers/0/size", json!(-1), "no size"),
            ("/config/size", json!(MAX_CONFIG + 1), "at most"),
            ("/layers/0/digest", json!("md5:00"), "no digest"),
        ] {
            let told = format!("{:#}", changed(path, value).unwrap_err());
            assert!(told.contains(expected), "{path}: {told}");
        }
        let told = contents(br#"{"manifests":[]}"#).unwrap_err().to_string();
        assert!(told.contains("several"), "{told}");

        let component = artifact.component.clone();
        let wrong = changed("/annotations/org.pomona.plugin.digest", json!("00")).unwrap();
        let told = package(&wrong, &artifact.config, component.clone()).unwrap_err();
        assert!(told.to_string().contains("is said to hold"), "{told}");
        let contents = contents(&artifact.manifest).unwrap();
        let mut bare: Value = serde_json::from_slice(&artifact.config).unwrap();
        bare.as_object_mut().unwrap().remove(PARTS);
        let bare = serde_json::to_vec(&bare).unwrap();
        let told = package(&contents, &bare, component.clone()).unwrap_err();
        assert!(told.to_string().contains("no plugin package"), "{told}");
        bare_of_another(&contents, component);
    }

    fn bare_of_another(contents: &Contents, component: Vec<u8>) {
        let told = package(contents, br#"{"layerDigests":[]}"#, component).unwrap_err();
        assert!(told.to_string().contains("another component"), "{told}");
    }
}
