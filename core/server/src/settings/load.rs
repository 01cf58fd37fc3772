//! Gathers the settings from flags, environment and file.
//!
//! Owns: which source comes first, and the refusal of names that no setting has.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command};

use super::{Settings, table};

/// Names in the environment that begin like settings and are none: they belong to the client and to tests.
const OTHER_VARIABLES: &[&str] = &[
    "POMONA_CA_FILE",
    "POMONA_CONFIG",
    "POMONA_DIR",
    "POMONA_REGISTRY",
    "POMONA_REGISTRY_PASSWORD",
    "POMONA_REGISTRY_USERNAME",
    "POMONA_TENANT",
    "POMONA_TOKEN",
    "POMONA_TOKEN_FILE",
    "POMONA_URL",
    "POMONA_WRITE_DOCS",
];
/// The same, for whole families.
const OTHER_PREFIXES: &[&str] = &["POMONA_TEST_"];

/// Where settings come from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Values of flags, by key.
    pub(crate) flags: BTreeMap<String, String>,
    /// The environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The settings file.
    pub(crate) file: PathBuf,
}

/// Reads and checks the settings; relative paths begin at the folder of the settings file.
pub(crate) fn load(sources: &Sources) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(&sources.file).with_context(|| {
        format!(
            "cannot read the settings file {}; make one with `pomona init DIR`",
            sources.file.display()
        )
    })?;
    let folder = sources.file.parent().unwrap_or(Path::new("."));
    let settings = gather(&text, &sources.environment, &sources.flags)
        .with_context(|| format!("in the settings ({})", sources.file.display()))?;
    Ok(based(settings, folder))
}

fn gather(
    file: &str,
    environment: &[(OsString, OsString)],
    flags: &BTreeMap<String, String>,
) -> anyhow::Result<Settings> {
    let file: toml::Table = file.parse().context("the file is not TOML")?;
    let mut from_file = BTreeMap::new();
    flatten("", &file, &mut from_file)?;
    let from_environment = variables(environment)?;
    let all = table();
    let mut unknown: Vec<String> = from_file
        .keys()
        .filter(|key| !all.iter().any(|setting| setting.key == **key))
        .map(|key| format!("`{key}` in the file is no setting{}", nearest(key)))
        .collect();
    let found = |key: &'static str, default: &'static str| -> String {
        flags
            .get(key)
            .or_else(|| from_environment.get(key))
            .or_else(|| from_file.get(key))
            .cloned()
            .unwrap_or_else(|| default.to_owned())
    };
    match Settings::read(&found) {
        Ok(settings) if unknown.is_empty() => {
            check(&settings)?;
            Ok(settings)
        }
        Ok(_) => bail!(unknown.join("\n")),
        Err(wrong) => {
            unknown.extend(wrong);
            bail!(unknown.join("\n"))
        }
    }
}

/// Turns tables within tables into `section.name` and every value into text.
fn flatten(
    prefix: &str,
    table: &toml::Table,
    into: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    for (name, value) in table {
        let key = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}.{name}"),
        };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, into)?,
            toml::Value::Array(items) => {
                let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                let items = items.with_context(|| format!("`{key}` must be a list of texts"))?;
                into.insert(key, items.join(", "));
            }
            toml::Value::String(text) => {
                into.insert(key, text.clone());
            }
            other => {
                into.insert(key, other.to_string());
            }
        }
    }
    Ok(())
}

fn variables(
    environment: &[(OsString, OsString)],
) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let all = table();
    let mut found = BTreeMap::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("POMONA_")) else {
            continue;
        };
        if OTHER_VARIABLES.contains(&name)
            || OTHER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        {
            continue;
        }
        let Some(setting) = all.iter().find(|setting| setting.variable() == name) else {
            bail!(
                "the environment variable {name} is no setting; docs/settings.md lists those there are"
            );
        };
        let value = value
            .to_str()
            .with_context(|| format!("the environment variable {name} is not UTF-8"))?;
        found.insert(setting.key, value.to_owned());
    }
    Ok(found)
}

/// What belongs together is checked together.
fn check(settings: &Settings) -> anyhow::Result<()> {
    match (&settings.admin_tls_certificate, &settings.admin_tls_key) {
        (Some(_), Some(_)) => {}
        (None, None) if settings.admin_listen.ip().is_loopback() => {}
        (None, None) => bail!(
            "admin.listen: {} can be reached from outside and would take tokens in plain text; set admin.tls_certificate and admin.tls_key, or listen on 127.0.0.1",
            settings.admin_listen
        ),
        _ => bail!("admin.tls_certificate and admin.tls_key are set together or not at all"),
    }
    for (key, value, range) in [
        (
            "database.connections",
            settings.database_connections,
            1..=64,
        ),
        (
            "database.commit_delay_ms",
            settings.database_commit_delay_ms,
            0..=1_000,
        ),
        (
            "devices.max_connections",
            settings.devices_max_connections,
            1..=1_000_000,
        ),
        ("push.per_second", settings.push_per_second, 1..=100_000),
        (
            "push.coalesce_seconds",
            settings.push_coalesce_seconds,
            0..=3_600,
        ),
        (
            "proxy.max_connections",
            settings.proxy_max_connections,
            1..=1_000_000,
        ),
        (
            "admin.max_connections",
            settings.admin_max_connections,
            1..=10_000,
        ),
        (
            "engine.inventory_hours",
            settings.engine_inventory_hours,
            0..=8_760,
        ),
        (
            "engine.silence_days",
            settings.engine_silence_days,
            1..=3_650,
        ),
        (
            "engine.max_sendings",
            settings.engine_max_sendings,
            1..=10_000,
        ),
        ("engine.group_limit", settings.engine_group_limit, 1..=1_024),
    ] {
        if !range.contains(&value) {
            bail!(
                "{key}: {value} is outside {} to {}",
                range.start(),
                range.end()
            );
        }
    }
    Ok(())
}

/// Lets relative paths begin at `folder`.
fn based(mut settings: Settings, folder: &Path) -> Settings {
    for path in [
        &mut settings.root_key_file,
        &mut settings.devices_tls_certificate,
        &mut settings.devices_tls_key,
        &mut settings.engine_journal,
    ] {
        *path = folder.join(&path);
    }
    for path in [
        &mut settings.admin_tls_certificate,
        &mut settings.admin_tls_key,
        &mut settings.devices_tls_authority,
        &mut settings.push_ca_file,
        &mut settings.plugins_ca_file,
        &mut settings.plugins_cache_folder,
    ]
    .into_iter()
    .flatten()
    {
        *path = folder.join(&path);
    }
    if let Some(path) = settings.database_url.strip_prefix("sqlite:") {
        let path = folder.join(path.trim_start_matches("//"));
        settings.database_url = format!("sqlite:{}", path.display());
    }
    settings
}

/// ", did you mean `x`?" for a key that is nearly one of ours.
fn nearest(key: &str) -> String {
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
    table()
        .iter()
        .map(|setting| setting.key)
        .filter(|known| last(known) == last(key) || known.replace('_', "-") == key)
        .map(|known| format!("; did you mean `{known}`?"))
        .next()
        .unwrap_or_else(|| "; docs/settings.md lists those there are".to_owned())
}

/// Adds a flag for each setting.
pub(crate) fn add_flags(mut command: Command) -> Command {
    for setting in table() {
        // Made once for the life of the process; the parser wants names that live as long.
        let flag: &'static str = setting.flag().leak();
        let default = match setting.default {
            "" => "none",
            default => default,
        };
        let help = format!(
            "{} It takes {}. [default: {default}]",
            setting.meaning.trim(),
            setting.takes
        );
        command = command.arg(
            Arg::new(setting.key)
                .long(flag)
                .value_name("VALUE")
                .help(help)
                .help_heading("Settings"),
        );
    }
    command
}

/// The settings that were given as flags.
pub(crate) fn from_flags(matches: &ArgMatches) -> BTreeMap<String, String> {
    table()
        .iter()
        .filter_map(|setting| {
            let value = matches.try_get_one::<String>(setting.key).ok()??;
            Some((setting.key.to_owned(), value.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Settings, String> {
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        let flags = flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        gather(file, &environment, &flags).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_flag_comes_before_the_environment_and_that_before_the_file() {
        let file = "[database]\nconnections = 3";
        let variable = ("POMONA_DATABASE_CONNECTIONS", "4");
        let flag = ("database.connections", "5");
        for (environment, flags, expected) in [
            (vec![], vec![], 3),
            (vec![variable], vec![], 4),
            (vec![variable], vec![flag], 5),
        ] {
            let settings = from(file, &environment, &flags).unwrap();
            assert_eq!(settings.database_connections, expected);
        }
        assert_eq!(from("", &[], &[]).unwrap().database_connections, 8);
    }

    #[test]
    fn a_wrong_or_unknown_setting_is_refused_by_its_name() {
        for (file, environment, named) in [
            ("listen = \"x\"", vec![], "devices.listen"),
            ("[devices]\nlisten = \"x\"", vec![], "devices.listen"),
            (
                "[database]\nconnections = 0",
                vec![],
                "database.connections",
            ),
            (
                "[database]\nconnections = \"many\"",
                vec![],
                "database.connections",
            ),
            ("[colour]\nred = 1", vec![], "colour.red"),
            ("", vec![("POMONA_COLOUR", "red")], "POMONA_COLOUR"),
            ("", vec![("POMONA_PUBLIC_URL", "http://x")], "public_url"),
            ("[log]\nformat = \"xml\"", vec![], "log.format"),
            ("[admin]\nlisten = \"0.0.0.0:1\"", vec![], "admin.listen"),
            ("[admin]\ntls_key = \"k\"", vec![], "admin.tls_certificate"),
            ("[", vec![], "TOML"),
        ] {
            let error = from(file, &environment, &[]).unwrap_err();
            assert!(error.contains(named), "{file:?}: {error}");
        }
    }

    #[test]
    fn every_wrong_setting_is_told_at_once() {
        let error = from(
            "colour = 1\n[log]\nformat = \"xml\"\n[database]\nconnections = \"x\"",
            &[],
            &[],
        )
        .unwrap_err();
        for name in ["colour", "log.format", "database.connections"] {
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn what_the_client_and_the_tests_read_is_no_setting() {
        let environment = [("POMONA_TOKEN", "x"), ("POMONA_TEST_DATABASE", "y")];
        assert!(from("", &environment, &[]).is_ok());
    }

    #[test]
    fn relative_paths_begin_at_the_folder_of_the_file() {
        let settings = based(from("", &[], &[]).unwrap(), Path::new("/etc/pomona"));
        assert_eq!(settings.database_url, "sqlite:/etc/pomona/pomona.db");
        assert_eq!(settings.root_key_file, Path::new("/etc/pomona/root.key"));
    }
}
