//! The kinds of values that settings have.
//!
//! Owns: how the text of a setting is read and what to say when it cannot be. Every source hands in text, so
//! that a value reads alike in the file, in the environment and in a flag.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// A kind of value.
pub(crate) trait Value {
    /// What the setting holds.
    type Is: Clone + std::fmt::Debug;
    /// What it takes, in words.
    const TAKES: &'static str;

    /// Reads the text.
    ///
    /// # Errors
    /// Says what is wrong with it.
    fn read(text: &str) -> Result<Self::Is, String>;
}

impl Value for String {
    type Is = Self;
    const TAKES: &'static str = "a text";

    fn read(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Err("is empty".into()),
            text => Ok(text.to_owned()),
        }
    }
}

impl Value for PathBuf {
    type Is = Self;
    const TAKES: &'static str = "a path";

    fn read(text: &str) -> Result<Self, String> {
        String::read(text).map(Self::from)
    }
}

impl Value for u32 {
    type Is = Self;
    const TAKES: &'static str = "a whole number";

    fn read(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("`{text}` is none"))
    }
}

impl Value for bool {
    type Is = Self;
    const TAKES: &'static str = "`true` or `false`";

    fn read(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .map_err(|_| format!("`{text}` is neither"))
    }
}

impl Value for SocketAddr {
    type Is = Self;
    const TAKES: &'static str = "an address with a port, such as `127.0.0.1:8444` or `[::]:8443`";

    fn read(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("`{text}` is none"))
    }
}

impl Value for Url {
    type Is = Self;
    const TAKES: &'static str = "`https://HOST` or `https://HOST:PORT`, without a path";

    fn read(text: &str) -> Result<Self, String> {
        let url = Self::parse(text.trim()).map_err(|_| format!("`{text}` is no URL"))?;
        let plain = url.scheme() == "https"
            && url.host().is_some()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        match plain {
            true => Ok(url),
            false => Err(format!("`{text}` is not of that form")),
        }
    }
}

/// A value that may be absent: the empty text is none.
pub(crate) struct Optional<T>(std::marker::PhantomData<T>);

impl<T: Value> Value for Optional<T> {
    type Is = Option<T::Is>;
    const TAKES: &'static str = T::TAKES;

    fn read(text: &str) -> Result<Self::Is, String> {
        match text.trim() {
            "" => Ok(None),
            text => T::read(text).map(Some),
        }
    }
}

/// A time span.
pub(crate) struct Seconds;

impl Value for Seconds {
    type Is = Duration;
    const TAKES: &'static str = "seconds, 1 to 86400";

    fn read(text: &str) -> Result<Duration, String> {
        match text.trim().parse() {
            Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
            _ => Err(format!("`{text}` is not")),
        }
    }
}

/// A number of bytes.
pub(crate) struct Bytes;

impl Value for Bytes {
    type Is = u64;
    const TAKES: &'static str = "a size, such as `512 KiB`, `64 MiB` or `2 GiB`";

    fn read(text: &str) -> Result<u64, String> {
        let text = text.trim();
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let factor = match text.strip_prefix(digits).map(str::trim) {
            Some("") => 1,
            Some("KiB") => 1 << 10,
            Some("MiB") => 1 << 20,
            Some("GiB") => 1 << 30,
            _ => return Err(format!("`{text}` is none")),
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .ok_or_else(|| format!("`{text}` is none"))
    }
}

/// Addresses whose connections are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trusted(Vec<IpAddr>);

impl Trusted {
    /// Whether `address` is one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// All of them.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.0.clone()
    }
}

impl Value for Trusted {
    type Is = Self;
    const TAKES: &'static str = "IP addresses, separated by commas";

    fn read(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| {
                part.parse()
                    .map(|address: IpAddr| address.to_canonical())
                    .map_err(|_| format!("`{part}` is none"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Public keys whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PublicKeys(pub(crate) Vec<String>);

impl Value for PublicKeys {
    type Is = Self;
    const TAKES: &'static str = "public keys of `pomona plugin keygen`, separated by commas";

    fn read(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| match hex::decode(part) {
                Ok(bytes) if bytes.len() == 32 => Ok(part.to_ascii_lowercase()),
                _ => Err(format!("`{part}` is none: it has 64 hexadecimal digits")),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $takes:literal, $($(#[$about:meta])* $variant:ident = $word:literal),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$about])* $variant),+ }

        impl Value for $name {
            type Is = Self;
            const TAKES: &'static str = $takes;

            fn read(text: &str) -> Result<Self, String> {
                match text.trim() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("`{text}` is neither")),
                }
            }
        }
    };
}

words! {
    /// How the log is written.
    LogFormat: "`human` or `json`",
    /// Lines for people.
    Human = "human",
    /// One JSON object a line.
    Json = "json"
}

words! {
    /// What `UserAuthenticate` is answered.
    UserAuthenticate: "`decline` or `digest`",
    /// The user is not managed.
    Decline = "decline",
    /// With a challenge.
    Digest = "digest"
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter(pub(crate) String);

impl Value for Filter {
    type Is = Self;
    const TAKES: &'static str = "a level, or levels by module";

    fn read(text: &str) -> Result<Self, String> {
        match text.parse::<tracing_subscriber::EnvFilter>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("`{text}`: {error}")),
        }
    }
}

/// The push server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Apns(pub(crate) Url);

impl Value for Apns {
    type Is = Self;
    const TAKES: &'static str = "`production`, `development`, or `https://HOST:PORT`";

    fn read(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "production" => "https://api.push.apple.com",
            "development" => "https://api.development.push.apple.com",
            url => url,
        };
        Url::read(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads<T: Value>(text: &str) -> bool {
        T::read(text).is_ok()
    }

    #[test]
    fn a_public_url_is_https_without_anything_behind_the_port() {
        assert!(reads::<Url>("https://mdm.example.org"));
        assert!(reads::<Url>("https://localhost:8443"));
        for text in [
            "http://mdm.example.org",
            "https://mdm.example.org/path",
            "https://user@mdm.example.org",
            "https://mdm.example.org/?q",
            "mdm.example.org",
            "",
        ] {
            assert!(!reads::<Url>(text), "{text}");
        }
    }

    #[test]
    fn sizes_and_spans_have_units_and_bounds() {
        assert_eq!(Bytes::read("64 MiB"), Ok(64 << 20));
        assert_eq!(Bytes::read("7"), Ok(7));
        for text in ["", "MiB", "-1", "64 MB", "99999999999999999999 KiB"] {
            assert!(!reads::<Bytes>(text), "{text}");
        }
        assert!(reads::<Seconds>("10"));
        for text in ["0", "-1", "86401", "10s", ""] {
            assert!(!reads::<Seconds>(text), "{text}");
        }
    }

    #[test]
    fn only_listed_addresses_are_trusted() {
        let trusted = Trusted::read("192.0.2.7, 2001:db8::1").unwrap();
        for (address, inside) in [
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:192.0.2.7", true),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
        ] {
            assert_eq!(
                trusted.contains(address.parse().unwrap()),
                inside,
                "{address}"
            );
        }
        assert!(!Trusted::read("").unwrap().contains([127, 0, 0, 1].into()));
        for text in ["10.0.0.0/8", "10.0.0", "localhost"] {
            assert!(!reads::<Trusted>(text), "{text}");
        }
    }
}
