//! `pomona catalogue check`: the verdict on something before it is sent.
//!
//! Owns: how a kind of device is given on the command line; values are for `given`. The verdict is the catalogue's.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{ArgAction, Args};
use pomona_catalogue::{
    Catalogue, Channel, EnrollmentKind, Finding, Form, Object, Platform, Preflight, Target,
    Verdict, Weight,
};
use serde_json::{Map, Value};

use super::{OfClass, given, named};
use crate::client::{Output, UsageError, print};

/// What is to be looked at, and for which device.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Its name on the wire.
    name: String,
    #[command(flatten)]
    of: OfClass,
    /// iOS, iPadOS, macOS, tvOS, visionOS or watchOS.
    #[arg(long)]
    platform: String,
    /// The version of the device's system.
    #[arg(long)]
    os: Option<String>,
    /// Whether it is supervised: `--supervised` or `--supervised=false`; without it, that is not known.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    supervised: Option<bool>,
    /// Whether it came by Automated Device Enrollment.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    ade: Option<bool>,
    /// Whether the Mac's user has approved the enrollment.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    user_approved: Option<bool>,
    /// Whether it is a Shared iPad; with the platform iOS it is taken for an iPhone.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    shared_ipad: Option<bool>,
    /// It is enrolled by a user enrollment.
    #[arg(long)]
    user_enrollment: bool,
    /// It is to be sent on the channel of a user.
    #[arg(long)]
    user_channel: bool,
    /// The `AccessRights` of the enrollment, as their sum.
    #[arg(long)]
    rights: Option<u16>,
    /// A value, as KEY=VALUE; keys in keys by `/`. Values are read as their key wants them.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "body")]
    set: Vec<String>,
    /// A JSON file with all values; data are base64 in it, dates as `2026-09-01T08:00:00Z`.
    #[arg(long)]
    body: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Tells the verdict; what is refused ends as a failure.
pub(super) fn run(catalogue: &Catalogue, check: &Check) -> anyhow::Result<()> {
    let objects = named(catalogue, &check.name, check.of.read()?)?;
    let object = objects.first().context("the name is known")?;
    if objects.iter().any(|other| other.class != object.class) {
        let usage = "several classes have this name: say which with --class";
        return Err(UsageError(usage.to_owned()).into());
    }
    let body = body(object, check)?;
    let target = target(check)?;
    let told = catalogue.preflight(&target, object.class, &object.id, &body, Form::Plain);
    match check.json {
        true => Output::new(true).value(&serde_json::to_value(&told)?)?,
        false => print(&text(&told, object))?,
    }
    match told.verdict {
        Verdict::Refused => bail!("a device of this kind refuses it"),
        _ => Ok(()),
    }
}

fn target(check: &Check) -> anyhow::Result<Target> {
    let platform: Platform = check
        .platform
        .parse()
        .map_err(|error: pomona_catalogue::NotAPlatform| UsageError(error.to_string()))?;
    let version = check.os.as_deref().map(str::parse).transpose();
    Ok(Target {
        version: version
            .map_err(|error: pomona_catalogue::NotAVersion| UsageError(error.to_string()))?,
        enrollment: match check.user_enrollment {
            true => EnrollmentKind::User,
            false => EnrollmentKind::Device,
        },
        channel: match check.user_channel {
            true => Channel::User,
            false => Channel::Device,
        },
        supervised: check.supervised,
        ade: check.ade,
        user_approved: check.user_approved,
        // An iPhone is not shared; of an iPad it is to be said.
        shared_ipad: match check.platform.eq_ignore_ascii_case("iOS") {
            true => check.shared_ipad.or(Some(false)),
            false => check.shared_ipad,
        },
        rights: check.rights,
        ..Target::of(platform)
    })
}

fn body(object: &Object, check: &Check) -> anyhow::Result<Map<String, Value>> {
    if let Some(path) = &check.body {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        return serde_json::from_str(&text)
            .with_context(|| format!("{} does not hold a JSON object", path.display()));
    }
    given::body(object, &check.set)
}

fn text(told: &Preflight, object: &Object) -> String {
    let verdict = match told.verdict {
        Verdict::Allowed => "allowed",
        Verdict::AllowedWithWarning => "allowed, with something to know",
        Verdict::Unknown => "cannot be told",
        Verdict::Refused => "refused",
    };
    let mut text = format!("{}: {verdict}\n", object.id);
    for finding in &told.findings {
        text.push_str(&lines(finding));
    }
    text
}

fn lines(finding: &Finding) -> String {
    let weight = match finding.weight {
        Weight::Refuses => "refused",
        Weight::Open => "open",
        Weight::Warns => "to know",
    };
    let mut text = format!("  {weight}: {}\n", finding.message);
    for (word, line) in [
        ("to mend it", &finding.fix),
        ("ask first", &finding.ask),
        ("instead", &finding.alternative),
    ] {
        if let Some(line) = line {
            text.push_str(&format!("    {word}: {line}\n"));
        }
    }
    text
}
