//! A device and its values as the catalogue wants them.
//!
//! Owns: the way from what the store knows of a channel to what the catalogue can judge for, and from a property list to its values. Judges
//! nothing.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pomona_catalogue::{Channel, EnrollmentKind, Platform, Target};
use serde_json::{Map, Number, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::hooks::DeviceSnapshot;
use crate::store::queue::Footing;

/// The footing of a device that hooks or a profile are asked about.
pub(crate) fn footing(device: &DeviceSnapshot) -> Footing {
    Footing {
        number: 0,
        product_name: device.product_name.clone(),
        os_version: device.os_version.clone(),
        marks: device.marks,
        user_enrollment: device.user_enrollment,
        of_user: !device.user_key.is_empty(),
    }
}

/// The device as the catalogue wants it. What an enrollment holds of rights is not known here: our profiles ask for all.
pub(crate) fn target(footing: &Footing) -> Option<Target> {
    let product_name = footing.product_name.as_deref()?;
    let platform = Platform::of_product(product_name)?;
    // Only an iPad that is enrolled as a whole can be shared.
    let may_be_shared = product_name.starts_with("iPad") && !footing.user_enrollment;
    let version = footing.os_version.as_deref();
    Some(Target {
        version: version.and_then(|version| version.parse().ok()),
        enrollment: match footing.user_enrollment {
            true => EnrollmentKind::User,
            false => EnrollmentKind::Device,
        },
        channel: match footing.of_user {
            false => Channel::Device,
            true => Channel::User,
        },
        supervised: footing.marks.supervised,
        ade: footing.marks.ade,
        user_approved: footing.marks.user_approved,
        shared_ipad: match may_be_shared {
            true => footing.marks.shared_ipad,
            false => Some(false),
        },
        ..Target::of(platform)
    })
}

/// A command's keys as the catalogue reads them, with data and dates marked.
pub(crate) fn members(dictionary: &plist::Dictionary) -> Map<String, Value> {
    let pairs = dictionary.iter();
    pairs
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect()
}

fn plain(value: &plist::Value) -> Value {
    match value {
        plist::Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        plist::Value::Dictionary(dictionary) => Value::Object(members(dictionary)),
        plist::Value::Boolean(truth) => Value::Bool(*truth),
        plist::Value::Data(bytes) => json!({ "$data": STANDARD.encode(bytes) }),
        plist::Value::Date(date) => {
            let at = OffsetDateTime::from(SystemTime::from(*date));
            let at = at.replace_nanosecond(0).unwrap_or(at);
            json!({ "$date": at.format(&Rfc3339).unwrap_or_default() })
        }
        plist::Value::Integer(number) => match (number.as_signed(), number.as_unsigned()) {
            (Some(number), _) => Value::Number(number.into()),
            (None, Some(number)) => Value::Number(number.into()),
            (None, None) => Value::Null,
        },
        plist::Value::Real(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        plist::Value::String(text) => Value::String(text.clone()),
        _ => Value::Null,
    }
}
