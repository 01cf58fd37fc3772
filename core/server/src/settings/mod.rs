//! The settings of the server.
//!
//! Owns: every setting with its key, kind, default and meaning, in one table. A setting is taken from the first
//! place that has it: a flag, the environment, the settings file, the default. `docs/settings.md` is written
//! from this table; a wrong or unknown setting is refused at start.

mod kinds;
mod load;

use std::net::SocketAddr;
use std::path::PathBuf;

use url::Url;

pub(crate) use kinds::{
    Apns, Bytes, Filter, LogFormat, PublicKeys, Seconds, Trusted, UserAuthenticate,
};
pub(crate) use load::{Sources, add_flags, from_flags, load};

use kinds::{Optional, Value};

/// One row of the table.
pub(crate) struct Setting {
    /// Where it stands in the settings file: `section.name`, or `name` alone.
    pub(crate) key: &'static str,
    /// What it is set to when nobody sets it.
    pub(crate) default: &'static str,
    /// What values it takes.
    pub(crate) takes: &'static str,
    /// What it means.
    pub(crate) meaning: &'static str,
}

impl Setting {
    /// Its name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("POMONA_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// Its name as a flag, without the dashes.
    pub(crate) fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $kind:ty = $key:literal, $default:literal;)+) => {
        /// Every setting, read and checked.
        #[derive(Clone, Debug)]
        pub(crate) struct Settings {
            $($(#[doc = $doc])+ pub(crate) $field: <$kind as Value>::Is,)+
        }

        /// The table.
        pub(crate) fn table() -> Vec<Setting> {
            vec![$(Setting {
                key: $key,
                default: $default,
                takes: <$kind as Value>::TAKES,
                meaning: concat!($($doc),+),
            }),+]
        }

        impl Settings {
            /// Reads each setting from the text that `text` finds for its key.
            fn read(text: &dyn Fn(&'static str, &'static str) -> String) -> Result<Self, Vec<String>> {
                let mut wrong = Vec::new();
                $(
                    let $field = match <$kind as Value>::read(&text($key, $default)) {
                        Ok(value) => Some(value),
                        Err(why) => {
                            wrong.push(format!("{}: {why}; it takes {}", $key, <$kind as Value>::TAKES));
                            None
                        }
                    };
                )+
                match ($($field,)+) {
                    ($(Some($field),)+) => Ok(Self { $($field),+ }),
                    _ => Err(wrong),
                }
            }
        }
    };
}

settings! {
    /// The address under which devices reach the server. It is written into every profile and can never change for a device that is enrolled.
    public_url: Url = "public_url", "https://localhost:8443";
    /// The file with the root key, 32 bytes in hex, which wraps the keys of all tenants. Whoever loses it loses every secret in the database.
    root_key_file: PathBuf = "root_key_file", "root.key";

    /// The database: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`.
    database_url: String = "database.url", "sqlite:pomona.db";
    /// Connections for reading and administration; the batch writer has its own.
    database_connections: u32 = "database.connections", "8";
    /// Milliseconds added to each commit of the batch writer, to measure what a slow disk would do.
    database_commit_delay_ms: u32 = "database.commit_delay_ms", "0";

    /// Where devices connect, by TLS.
    devices_listen: SocketAddr = "devices.listen", "0.0.0.0:8443";
    /// The certificate chain that devices see, PEM; read again when the file changes.
    devices_tls_certificate: PathBuf = "devices.tls_certificate", "tls/server.pem";
    /// The key of that certificate, PEM.
    devices_tls_key: PathBuf = "devices.tls_key", "tls/server.key";
    /// The authority of that certificate, PEM, when no public one issued it: enrollment profiles bring it along.
    devices_tls_authority: Optional<PathBuf> = "devices.tls_authority", "";
    /// The most connections of devices at a time; more are not accepted until others end.
    devices_max_connections: u32 = "devices.max_connections", "20000";

    /// Where administrators connect. Without TLS this must be a loopback address.
    admin_listen: SocketAddr = "admin.listen", "127.0.0.1:8444";
    /// The certificate chain of the admin listener, PEM; plain HTTP when empty.
    admin_tls_certificate: Optional<PathBuf> = "admin.tls_certificate", "";
    /// The key of that certificate, PEM.
    admin_tls_key: Optional<PathBuf> = "admin.tls_key", "";
    /// The most connections of administrators at a time.
    admin_max_connections: u32 = "admin.max_connections", "512";

    /// Where a proxy that ends TLS connects, by plain HTTP, with the device's certificate in the header `Client-Cert`; none when empty.
    proxy_listen: Optional<SocketAddr> = "proxy.listen", "";
    /// The addresses of that proxy. Connections from elsewhere are closed.
    proxy_trusted: Trusted = "proxy.trusted", "127.0.0.1, ::1";
    /// The most connections of the proxy at a time.
    proxy_max_connections: u32 = "proxy.max_connections", "4096";

    /// The longest that a TLS handshake may take.
    limits_handshake: Seconds = "limits.handshake_seconds", "10";
    /// The longest that the header of a request may take, and that an unused connection is kept.
    limits_header: Seconds = "limits.header_seconds", "30";
    /// The longest pause within the body of a request.
    limits_body_idle: Seconds = "limits.body_idle_seconds", "15";
    /// The longest that a request may take as a whole.
    limits_request: Seconds = "limits.request_seconds", "120";
    /// The longest time to finish requests after a signal to stop.
    limits_stop: Seconds = "limits.stop_seconds", "20";
    /// The free space on the disk of a SQLite database under which the server reports that it is not ready.
    limits_free_disk: Bytes = "limits.free_disk", "64 MiB";

    /// Whether devices sign what they send (`SignMessage`); needed behind a proxy that hides their certificate.
    engine_sign_message: bool = "engine.sign_message", "false";
    /// Hours after which a device is asked anew what it is (DeviceInformation, SecurityInfo, ProfileList, its apps); 0: never.
    engine_inventory_hours: u32 = "engine.inventory_hours", "24";
    /// Days of silence after which a device counts as gone.
    engine_silence_days: u32 = "engine.silence_days", "90";
    /// How often a command that is never answered is sent before it is set aside.
    engine_max_sendings: u32 = "engine.max_sendings", "30";
    /// The most requests that are committed together.
    engine_group_limit: u32 = "engine.group_limit", "256";
    /// What `UserAuthenticate` is answered: `decline` manages no directory user of a Mac; `digest` manages each, and checks no
    /// password.
    engine_user_authenticate: UserAuthenticate = "engine.user_authenticate", "decline";
    /// The file in which revoked identities are kept outside the database, so that an older backup cannot revive them.
    engine_journal: PathBuf = "engine.journal", "revoked.journal";

    /// Whether plugins are run. When they are not, nothing that is installed is even loaded.
    plugins_enabled: bool = "plugins.enabled", "true";
    /// Publishers whose signatures on packages count. A package that neither they nor the organisation has signed is refused.
    plugins_trusted_keys: PublicKeys = "plugins.trusted_keys", "";
    /// Keys of the operator's organisation: what `pomona plugin countersign` has signed with one is taken, whoever made it.
    plugins_organisation_keys: PublicKeys = "plugins.organisation_keys", "";
    /// Whether packages that nobody trusted has signed are taken. For development: who may install one can run any code in the sandbox.
    plugins_allow_unsigned: bool = "plugins.allow_unsigned", "false";
    /// Further authorities that the certificates of services may come from which plugins ask, PEM; the public ones count always.
    plugins_ca_file: Optional<PathBuf> = "plugins.ca_file", "";
    /// Where the native code of plugins is kept for the next start, under a code of the root key's; empty: it is made at each start.
    plugins_cache_folder: Optional<PathBuf> = "plugins.cache_folder", "plugin-cache";

    /// The server of Apple's push service: `production`, `development`, or a URL.
    push_server: Apns = "push.server", "production";
    /// Further authorities that the push server's certificate may come from, PEM; for a simulated one.
    push_ca_file: Optional<PathBuf> = "push.ca_file", "";

    /// Pushes a second for each tenant; what matters is what the server can bear when the devices come.
    push_per_second: u32 = "push.per_second", "500";
    /// For how many seconds an accepted push also stands for what is queued after it.
    push_coalesce_seconds: u32 = "push.coalesce_seconds", "10";

    /// How the log is written: `human` or `json`.
    log_format: LogFormat = "log.format", "human";
    /// What is logged: `info`, `debug`, `warn`, or a list such as `info,pomona_engine=debug`.
    log_filter: Filter = "log.filter", "info,sea_orm_migration=warn,sqlx=error";
}

/// `docs/settings.md`.
#[cfg(test)]
fn document() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         The server takes each setting from the first place that has it: a flag of `pomona serve`, the environment, the\n\
         settings file (`pomona.toml`), the default. Paths that are not absolute begin at the folder of the settings file. A\n\
         setting that is wrong or not in this table is refused at start.\n\n\
         | Key in the file | Environment | Flag | Takes | Default | Meaning |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for setting in table() {
        let default = match setting.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        text.push_str(&format!(
            "| `{}` | `{}` | `--{}` | {} | {default} | {} |\n",
            setting.key,
            setting.variable(),
            setting.flag(),
            setting.takes,
            setting.meaning.trim()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documented_table_is_the_one_in_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
        let written = document();
        if std::env::var_os("POMONA_WRITE_DOCS").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            written,
            "run the tests with POMONA_WRITE_DOCS=1 to write docs/settings.md again"
        );
    }

    #[test]
    fn every_default_is_accepted_and_every_name_is_used_once() {
        assert!(Settings::read(&|_, default| default.to_owned()).is_ok());
        let all = table();
        let flags: BTreeSet<String> = all.iter().map(Setting::flag).collect();
        let variables: BTreeSet<String> = all.iter().map(Setting::variable).collect();
        assert_eq!(flags.len(), all.len());
        assert_eq!(variables.len(), all.len());
    }
}
