//! `pomona init`: everything that a server needs before it first runs.
//!
//! Owns: the order of the steps. Nothing is ever written over: an init that was cut off is begun again in an
//! empty folder.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use pomona_engine::admin::{
    Principal, Scopes, create_first_token, create_principal, create_tenant_with_authority,
};
use pomona_engine::clock::{Random, SystemClock, SystemEntropy};
use pomona_engine::{Actor, Keyring, RootKey, Store, StoreOptions};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use url::{Host, Url};

use crate::files;
use crate::settings::{self, Settings};

/// The rights of the operator's first token: all there are.
const OPERATOR_SCOPES: &[&str] = &["*", "break-glass", "force", "commands:approve"];

/// Set up a folder for a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The folder; it is made when it is not there.
    #[arg(value_name = "FOLDER", id = "folder")]
    dir: PathBuf,
    /// The address under which devices will reach the server. It can never change for an enrolled device.
    #[arg(long, value_name = "URL", default_value = "https://localhost:8443")]
    public_url: Url,
    /// Where administrators connect.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8444")]
    admin_listen: std::net::SocketAddr,
    /// The database; a SQLite file in the folder when absent.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The name of the organization, as devices show it.
    #[arg(long, value_name = "NAME", default_value = "Example Organization")]
    organization: String,
    /// The slug of the first tenant.
    #[arg(long, value_name = "SLUG", default_value = "main", id = "first_tenant")]
    first_tenant: String,
    /// The name of the operator, as the audit log will show it.
    #[arg(long, value_name = "NAME", default_value = "Operator")]
    operator: String,
    /// Further names or addresses for the self-signed server certificate.
    #[arg(long, value_name = "NAME")]
    tls_name: Vec<String>,
    /// A server certificate of your own, PEM, in place of a self-signed one.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// Make a new operator's token.
#[derive(Debug, clap::Args)]
pub(crate) struct OperatorToken {
    /// The name of the operator, as the audit log will show it.
    #[arg(long, value_name = "NAME", default_value = "Operator")]
    operator: String,
}

pub(crate) async fn init(init: Init) -> anyhow::Result<()> {
    let file = init.dir.join(files::SETTINGS);
    if file.exists() {
        bail!(
            "{} is there already; init never writes over a server, choose an empty folder",
            file.display()
        );
    }
    files::private_folder(&init.dir)?;
    write_root_key(&init.dir)?;
    write_tls(&init)?;
    files::write_public(&file, &settings_text(&init)?)?;

    let settings = settings::load(&settings::Sources {
        file: file.clone(),
        ..settings::Sources::default()
    })?;
    let store = open_store(&settings).await?;
    let (operator, token) = first_operator(&store, &init.operator).await?;
    files::write_secret(&init.dir.join(files::OPERATOR_TOKEN), &format!("{token}\n"))?;
    let actor = Actor::person(operator.id);
    let tenant =
        create_tenant_with_authority(&store, actor, &init.first_tenant, &init.organization).await?;
    store.close().await;

    println!("The server in {} is set up.", init.dir.display());
    println!("  settings         {}", file.display());
    println!(
        "  root key         {} (keep a copy in a safe place)",
        init.dir.join(files::ROOT_KEY).display()
    );
    println!(
        "  operator's token {}",
        init.dir.join(files::OPERATOR_TOKEN).display()
    );
    println!("  first tenant     {} ({})", tenant.slug, tenant.id);
    println!("Next: pomona serve --dir {}", init.dir.display());
    Ok(())
}

pub(crate) async fn operator_token(verb: OperatorToken, dir: Option<&Path>) -> anyhow::Result<()> {
    let dir = dir.unwrap_or(Path::new("."));
    let settings = settings::load(&settings::Sources {
        environment: std::env::vars_os().collect(),
        file: dir.join(files::SETTINGS),
        ..settings::Sources::default()
    })?;
    let store = open_store(&settings).await?;
    let (_, token) = first_operator(&store, &verb.operator).await?;
    store.close().await;
    let path = dir.join(files::OPERATOR_TOKEN);
    files::replace_secret(&path, &format!("{token}\n"))?;
    println!(
        "{} holds a new operator's token. The old one is good until it ends or is revoked.",
        path.display()
    );
    Ok(())
}

/// Connects to the database of these settings.
pub(crate) async fn open_store(settings: &Settings) -> anyhow::Result<Store> {
    let path = &settings.root_key_file;
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the root key {}", path.display()))?;
    let bytes = hex::decode(text.trim())
        .ok()
        .with_context(|| format!("the root key {} is not hex", path.display()))?;
    let keyring = Keyring::new(&RootKey::from_bytes(&bytes)?)?;
    let options = StoreOptions {
        url: settings.database_url.clone(),
        connections: settings.database_connections,
        commit_delay: Duration::from_millis(settings.database_commit_delay_ms.into()),
    };
    let store = Store::connect(
        &options,
        Arc::new(keyring),
        Arc::new(SystemClock::default()),
        Arc::new(SystemEntropy::default()),
    )
    .await
    .context("cannot open the database; see database.url in the settings")?;
    Ok(store)
}

async fn first_operator(store: &Store, name: &str) -> anyhow::Result<(Principal, String)> {
    let operator = create_principal(store, Actor::SYSTEM, None, name).await?;
    let scopes = Scopes::parse(OPERATOR_SCOPES)?;
    let (_, secret) = create_first_token(store, &operator, "first token", scopes).await?;
    Ok((operator, secret.expose().to_owned()))
}

fn write_root_key(dir: &Path) -> anyhow::Result<()> {
    let mut key = [0u8; 32];
    SystemEntropy::default().fill(&mut key);
    files::write_secret(
        &dir.join(files::ROOT_KEY),
        &format!("{}\n", hex::encode(key)),
    )
}

fn settings_text(init: &Init) -> anyhow::Result<String> {
    let port = init
        .public_url
        .port_or_known_default()
        .context("the public URL has no port")?;
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let url = init.public_url.as_str().trim_end_matches('/');
    let database = init.database.as_deref().unwrap_or("sqlite:pomona.db");
    let (certificate, key, authority) = match (&init.tls_certificate, &init.tls_key) {
        (Some(certificate), Some(key)) => (absolute(certificate)?, absolute(key)?, String::new()),
        _ => (
            files::TLS_CERTIFICATE.to_owned(),
            files::TLS_KEY.to_owned(),
            format!("tls_authority = {}\n", quoted(files::TLS_CA)),
        ),
    };
    Ok(format!(
        "# The settings of this server. docs/settings.md lists all there are.\n\
         public_url = {}\n\
         root_key_file = {}\n\n\
         [database]\nurl = {}\n\n\
         [devices]\nlisten = {}\ntls_certificate = {}\ntls_key = {}\n{authority}\n\
         [admin]\nlisten = {}\n",
        quoted(url),
        quoted(files::ROOT_KEY),
        quoted(database),
        quoted(&format!("0.0.0.0:{port}")),
        quoted(&certificate),
        quoted(&key),
        quoted(&init.admin_listen.to_string()),
    ))
}

fn absolute(path: &Path) -> anyhow::Result<String> {
    let path =
        std::fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(path.display().to_string())
}

/// A self-signed authority and a server certificate under it, for a server that has no other.
fn write_tls(init: &Init) -> anyhow::Result<()> {
    if init.tls_certificate.is_some() {
        return Ok(());
    }
    files::private_folder(&init.dir.join("tls"))?;
    let now = OffsetDateTime::now_utc();
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name = named(&format!("{} Server Authority", init.organization));
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.not_before = now - time::Duration::hours(1);
    ca.not_after = now + time::Duration::days(3_650);
    let ca_certificate = ca.self_signed(&ca_key)?;

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::default();
    let (common_name, names) = names(&init.public_url, &init.tls_name)?;
    server.distinguished_name = named(&common_name);
    server.subject_alt_names = names;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    server.not_before = now - time::Duration::hours(1);
    // Apple's devices refuse a server certificate that is good for more than 825 days.
    server.not_after = now + time::Duration::days(800);
    let issuer = Issuer::from_params(&ca, &ca_key);
    let certificate = server.signed_by(&key, &issuer)?;

    let chain = format!("{}{}", certificate.pem(), ca_certificate.pem());
    files::write_public(&init.dir.join(files::TLS_CA), &ca_certificate.pem())?;
    files::write_secret(&init.dir.join(files::TLS_CA_KEY), &ca_key.serialize_pem())?;
    files::write_public(&init.dir.join(files::TLS_CERTIFICATE), &chain)?;
    files::write_secret(&init.dir.join(files::TLS_KEY), &key.serialize_pem())
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn names(url: &Url, more: &[String]) -> anyhow::Result<(String, Vec<SanType>)> {
    let mut names = Vec::new();
    let host = match url.host().context("the public URL has no host")? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let mut wanted = vec![host.clone()];
    wanted.extend(more.iter().cloned());
    if host == "localhost" {
        wanted.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    }
    for name in wanted {
        names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(
                name.as_str()
                    .try_into()
                    .with_context(|| format!("`{name}` cannot stand in a certificate"))?,
            ),
        });
    }
    Ok((host, names))
}
