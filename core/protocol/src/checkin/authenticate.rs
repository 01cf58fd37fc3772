//! `Authenticate`: a device asks to enroll.
//!
//! Owns the fields of this message. A 200 to it does not mean that the device is enrolled; the first `TokenUpdate` does.
//! Source: Apple, Device Management, "Authenticate".

use super::MAX_WORD_BYTES;
use crate::ParseError;
use crate::fields::Fields;

const MAX_NAME_BYTES: usize = 1024;

/// A device asks to enroll and says what it is. What a device says of itself is a claim, not a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticate {
    /// The push topic that the profile named.
    pub topic: String,
    /// `DeviceName`, at most 1024 bytes.
    pub device_name: Option<String>,
    /// `Model`.
    pub model: Option<String>,
    /// `ModelName`.
    pub model_name: Option<String>,
    /// `OSVersion`.
    pub os_version: Option<String>,
    /// `BuildVersion`.
    pub build_version: Option<String>,
    /// `ProductName`, such as `iPad13,18`.
    pub product_name: Option<String>,
    /// `SerialNumber`; never sent by a user enrollment.
    pub serial_number: Option<String>,
    /// `IMEI`; never sent by a user enrollment.
    pub imei: Option<String>,
    /// `MEID`; never sent by a user enrollment.
    pub meid: Option<String>,
}

impl Authenticate {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, ParseError> {
        Ok(Self {
            topic: fields.text("Topic", MAX_WORD_BYTES)?,
            device_name: fields.optional_text("DeviceName", MAX_NAME_BYTES)?,
            model: fields.optional_text("Model", MAX_WORD_BYTES)?,
            model_name: fields.optional_text("ModelName", MAX_WORD_BYTES)?,
            os_version: fields.optional_text("OSVersion", MAX_WORD_BYTES)?,
            build_version: fields.optional_text("BuildVersion", MAX_WORD_BYTES)?,
            product_name: fields.optional_text("ProductName", MAX_WORD_BYTES)?,
            serial_number: fields.optional_text("SerialNumber", MAX_WORD_BYTES)?,
            imei: fields.optional_text("IMEI", MAX_WORD_BYTES)?,
            meid: fields.optional_text("MEID", MAX_WORD_BYTES)?,
        })
    }
}
