//! What a registry asks for before it answers, and what it is told.
//!
//! Owns: credentials, the reading of `WWW-Authenticate`, and the rule that nothing secret leaves for another host than the
//! one that was named. A registry says itself where tokens are to be had; one that points elsewhere would be handed the
//! password of the caller, so such a registry is refused.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::HeaderMap;
use url::{Host, Url};

/// Names a registry in the environment; the two others hold for this host only.
const HOST: &str = "POMONA_REGISTRY";
const USERNAME: &str = "POMONA_REGISTRY_USERNAME";
const PASSWORD: &str = "POMONA_REGISTRY_PASSWORD";

/// How a registry is spoken to.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct AccessArgs {
    /// Speak HTTP without TLS to the registry of the reference, and to nothing else.
    #[arg(long)]
    plain_http: bool,
    /// The user at the registry of the reference. POMONA_REGISTRY_USERNAME and POMONA_REGISTRY_PASSWORD are taken instead
    /// when POMONA_REGISTRY names that registry.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// The file with the password, or with an access token in its place.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
}

/// A user and a password. Does not print.
pub(super) struct Credentials {
    username: String,
    password: String,
}

/// How one registry is spoken to.
#[derive(Default)]
pub(crate) struct Access {
    pub(super) plain_http: bool,
    pub(super) credentials: Option<Credentials>,
}

impl AccessArgs {
    /// What holds for `host`, as it stands in the reference.
    pub(crate) fn for_host(&self, host: &str) -> anyhow::Result<Access> {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let credentials = match (&self.username, &self.password_file) {
            (Some(username), Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the password from {}", path.display()))?;
                Some(Credentials {
                    username: username.clone(),
                    password: text.trim_end_matches(['\r', '\n']).to_owned(),
                })
            }
            _ if variable(HOST).is_some_and(|named| named.eq_ignore_ascii_case(host)) => {
                match (variable(USERNAME), variable(PASSWORD)) {
                    (Some(username), Some(password)) => Some(Credentials { username, password }),
                    (None, None) => None,
                    _ => bail!("{USERNAME} and {PASSWORD} go together; one of them is missing"),
                }
            }
            _ => None,
        };
        Ok(Access {
            plain_http: self.plain_http,
            credentials,
        })
    }
}

impl Access {
    #[cfg(test)]
    pub(super) fn plain(credentials: Option<(&str, &str)>) -> Self {
        Self {
            plain_http: true,
            credentials: credentials.map(|(username, password)| Credentials {
                username: username.into(),
                password: password.into(),
            }),
        }
    }

    /// The credentials as a header, if there are any and the way to `base` hides them.
    pub(super) fn basic(&self, base: &Url) -> anyhow::Result<Option<HeaderValue>> {
        let Some(Credentials { username, password }) = &self.credentials else {
            return Ok(None);
        };
        if base.scheme() != "https" && !is_this_machine(base) {
            bail!(
                "a password is sent over HTTP without TLS to this machine only, not to {}",
                named(base)
            );
        }
        let text = format!(
            "Basic {}",
            STANDARD.encode(format!("{username}:{password}"))
        );
        let mut value = HeaderValue::try_from(text).context("the user name or the password")?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// Host and port of an address, for people.
pub(super) fn named(url: &Url) -> String {
    let host = url.host_str().unwrap_or("nobody");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password on each request.
    Basic,
    /// A token from this address.
    Token(Url),
}

/// Reads what the registry at `base` wants for `scope`, and refuses what would lead elsewhere.
pub(super) fn challenge(headers: &HeaderMap, base: &Url, scope: &str) -> anyhow::Result<Challenge> {
    let mut basic = false;
    for value in headers.get_all(http::header::WWW_AUTHENTICATE) {
        for (scheme, parameters) in challenges(value.to_str().unwrap_or_default()) {
            match scheme.as_str() {
                "basic" => basic = true,
                "bearer" => return realm(&parameters, base, scope).map(Challenge::Token),
                _ => {}
            }
        }
    }
    if basic {
        return Ok(Challenge::Basic);
    }
    bail!(
        "{} wants to know who asks, in a way that is not known here",
        named(base)
    )
}

fn realm(parameters: &[(String, String)], base: &Url, scope: &str) -> anyhow::Result<Url> {
    let find = |wanted: &str| {
        let found = parameters.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    let realm = find("realm").unwrap_or_default();
    let mut realm = Url::parse(realm)
        .with_context(|| format!("{} names no address for tokens: {realm:?}", named(base)))?;
    if realm.origin() != base.origin() {
        bail!(
            "{} sends for a token to {}://{}, which is not the registry that was named; nothing was sent there. Copy the \
             artifact with another tool into a folder, and name that: oci:FOLDER",
            named(base),
            realm.scheme(),
            named(&realm)
        );
    }
    realm.set_fragment(None);
    let mut query = realm.query_pairs_mut();
    if let Some(service) = find("service") {
        query.append_pair("service", service);
    }
    query.append_pair("scope", scope);
    drop(query);
    Ok(realm)
}

/// The challenges in one header: schemes in lower case, with their parameters (RFC 9110, 11.6.1).
fn challenges(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut all: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for piece in pieces(text) {
        let piece = piece.trim();
        // A scheme stands before the first parameter of its challenge.
        let before = piece.find(['=', '"']).unwrap_or(piece.len());
        let parameter = match piece.get(..before).and_then(|head| head.trim().find(' ')) {
            Some(at) => {
                let (scheme, rest) = piece.split_at(at);
                all.push((scheme.to_ascii_lowercase(), Vec::new()));
                rest.trim()
            }
            None if before == piece.len() && !piece.is_empty() => {
                all.push((piece.to_ascii_lowercase(), Vec::new()));
                continue;
            }
            None => piece,
        };
        if let (Some((_, parameters)), Some((name, value))) =
            (all.last_mut(), parameter.split_once('='))
        {
            let value = value.trim();
            let value = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .map_or_else(|| value.to_owned(), |value| value.replace('\\', ""));
            parameters.push((name.trim().to_ascii_lowercase(), value));
        }
    }
    all
}

/// The text cut at its commas, but for those within quotes.
fn pieces(text: &str) -> Vec<String> {
    let (mut all, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in text.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = all.last_mut() {
            last.push(c);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(header: &str) -> anyhow::Result<Challenge> {
        let base = Url::parse("https://registry.example/").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("www-authenticate", header.parse().unwrap());
        challenge(&headers, &base, "repository:a/b:pull")
    }

    #[test]
    fn a_token_is_fetched_from_the_registry_itself() {
        let good = r#"Bearer realm="https://registry.example/token?x=1",service="it, self",scope="repository:z:*""#;
        let Challenge::Token(url) = asked(good).unwrap() else {
            panic!("it asks for a token");
        };
        assert_eq!(
            url.as_str(),
            "https://registry.example/token?x=1&service=it%2C+self&scope=repository%3Aa%2Fb%3Apull"
        );
        assert_eq!(asked(r#"Basic realm="a b""#).unwrap(), Challenge::Basic);
        let both = r#"Basic realm="x", Bearer realm="https://registry.example/t""#;
        assert!(matches!(asked(both).unwrap(), Challenge::Token(_)));
    }

    #[test]
    fn a_token_of_another_host_is_refused() {
        for realm in [
            "https://elsewhere.example/token",
            "http://registry.example/token",
            "https://registry.example:8443/token",
            "https://registry.example@elsewhere.example/token",
            "https://registry.example.elsewhere.example/token",
            "file:///etc/passwd",
        ] {
            let told = asked(&format!(r#"Bearer realm="{realm}",service="x""#))
                .unwrap_err()
                .to_string();
            assert!(told.contains("not the registry that was named"), "{told}");
        }
        assert!(asked("Bearer").is_err());
        assert!(asked("Digest realm=\"x\"").is_err());
        assert!(asked("").is_err());
    }

    #[test]
    fn a_password_goes_in_the_clear_to_this_machine_only() {
        let access = Access::plain(Some(("a", "b")));
        for (url, good) in [
            ("https://registry.example/", true),
            ("http://127.0.0.1:5000/", true),
            ("http://[::1]:5000/", true),
            ("http://localhost/", true),
            ("http://registry.example/", false),
            ("http://localhost.example/", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(access.basic(&url).is_ok(), good, "{url}");
        }
    }
}
