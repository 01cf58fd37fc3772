//! `pomona catalogue`: what Apple's protocols allow, looked up without a server.
//!
//! Owns: the verbs and how their answers are laid out. The facts and the judging are the catalogue's.

mod check;
pub(crate) mod given;
mod show;

use anyhow::bail;
use clap::Subcommand;
use pomona_catalogue::{Catalogue, Class, Object, OsVersion};

use crate::client::{Column, Output, UsageError};

const FOUND: &[Column] = &[
    Column("CLASS", "class"),
    Column("NAME", "id"),
    Column("VARIANT", "variant"),
    Column("KEY", "key"),
    Column("TYPE", "type"),
];
const CHANGED: &[Column] = &[
    Column("CHANGE", "change"),
    Column("CLASS", "class"),
    Column("NAME", "id"),
    Column("KEY", "key"),
    Column("ON", "on"),
];
const MATRIX: &[Column] = &[
    Column("NAME", "id"),
    Column("VARIANT", "variant"),
    Column("IOS", "iOS"),
    Column("MACOS", "macOS"),
    Column("TVOS", "tvOS"),
    Column("VISIONOS", "visionOS"),
    Column("WATCHOS", "watchOS"),
];

/// `pomona catalogue …`
#[derive(Debug, Subcommand)]
pub(crate) enum CatalogueVerb {
    /// Show a command, payload, declaration, status item or message: where it works, and what stands in it.
    Show {
        /// Its name on the wire, such as `EraseDevice` or `com.apple.wifi.managed`.
        name: String,
        /// A key in it, such as `ReturnToService/Enabled`.
        key: Option<String>,
        #[command(flatten)]
        of: OfClass,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Search names and keys.
    Search {
        /// A part of a name, in any case.
        word: String,
        #[command(flatten)]
        of: OfClass,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what changes from one release of Apple's to a later one, counted as iOS counts: `diff 18.3 27`.
    Diff {
        /// The release that is known.
        from: String,
        /// The release to look at.
        to: String,
        #[command(flatten)]
        of: OfClass,
        /// Objects only, without their keys.
        #[arg(long)]
        objects: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show since when each platform has what, with its conditions: S supervised, A by Automated Device Enrollment, U approved
    /// by the Mac's user.
    Matrix {
        /// Of this class: check-in, command, error, profile, declaration, status, protocol or other.
        #[arg(long, default_value = "command")]
        class: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look at something before it is sent to a device of a kind: what stands in the way, what would mend it, what works instead.
    Check(check::Check),
}

/// Which class is meant, where a name alone does not say it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OfClass {
    /// Of this class only: check-in, command, error, profile, declaration, status, protocol or other.
    #[arg(long)]
    class: Option<String>,
}

impl OfClass {
    fn read(&self) -> anyhow::Result<Option<Class>> {
        let class = self.class.as_deref().map(str::parse).transpose();
        class.map_err(|error: pomona_catalogue::NotAClass| UsageError(error.to_string()).into())
    }

    fn takes(class: Option<Class>, object: &Object) -> bool {
        class.is_none_or(|class| object.class == class)
    }
}

/// Answers from the catalogue that the program carries.
pub(crate) fn run(verb: CatalogueVerb) -> anyhow::Result<()> {
    let catalogue = Catalogue::shipped();
    match verb {
        CatalogueVerb::Show {
            name,
            key,
            of,
            json,
        } => {
            let class = of.read()?;
            named(catalogue, &name, class)?;
            let told = catalogue.tell(&name, class, key.as_deref());
            show::show(&told, key.as_deref(), &Output::new(json))
        }
        CatalogueVerb::Search { word, of, json } => search(catalogue, &word, of.read()?, json),
        CatalogueVerb::Diff {
            from,
            to,
            of,
            objects,
            json,
        } => diff(catalogue, (&from, &to), of.read()?, objects, json),
        CatalogueVerb::Matrix { class, json } => {
            let class = OfClass { class: Some(class) }.read()?;
            matrix(catalogue, class, json)
        }
        CatalogueVerb::Check(check) => check::run(catalogue, &check),
    }
}

/// The objects with a name.
fn named<'a>(
    catalogue: &'a Catalogue,
    name: &str,
    class: Option<Class>,
) -> anyhow::Result<Vec<&'a Object>> {
    let all = catalogue.objects().iter();
    let found: Vec<_> = all
        .filter(|object| object.id == name && OfClass::takes(class, object))
        .collect();
    if found.is_empty() {
        bail!("the catalogue has no \"{name}\": `pomona catalogue search` finds a part of a name");
    }
    Ok(found)
}

fn search(
    catalogue: &Catalogue,
    word: &str,
    class: Option<Class>,
    as_json: bool,
) -> anyhow::Result<()> {
    let found = catalogue.tell_named(word, class);
    if found.is_empty() && !as_json {
        bail!("nothing in the catalogue has \"{word}\" in its name");
    }
    Output::new(as_json).list(&found, FOUND)
}

fn diff(
    catalogue: &Catalogue,
    (from, to): (&str, &str),
    class: Option<Class>,
    objects: bool,
    as_json: bool,
) -> anyhow::Result<()> {
    let read = |text: &str| {
        text.parse::<OsVersion>()
            .map_err(|error| UsageError(error.to_string()))
    };
    let (from, to) = (read(from)?, read(to)?);
    if from >= to {
        return Err(UsageError(format!("{to} is not later than {from}")).into());
    }
    let rows = catalogue.tell_changes(from, to, class, !objects);
    Output::new(as_json).list(&rows, CHANGED)
}

fn matrix(catalogue: &Catalogue, class: Option<Class>, as_json: bool) -> anyhow::Result<()> {
    let rows = catalogue.tell_matrix(class.unwrap_or(Class::Command));
    Output::new(as_json).list(&rows, MATRIX)
}
