//! The check-in messages, as literal property lists.
//!
//! Owns which keys each kind of device sends. Never sends anything itself. Source: Apple,
//! "Check-in" (Authenticate, Token update, Check out, User authenticate, Set and Get bootstrap
//! token, Declarative management).

use crate::device::hardware::{Hardware, Platform};
use crate::device::state::{Channel, State};
use crate::xml;

/// Who speaks: the keys that every message carries.
pub(crate) fn sender(hardware: &Hardware, channel: &Channel) -> String {
    let mut keys = xml::string("UDID", &hardware.udid);
    if let Some(user) = &channel.user {
        keys.push_str(&xml::string("UserID", &user.id));
        keys.push_str(&xml::string("UserLongName", &user.long_name));
        keys.push_str(&xml::string("UserShortName", &user.short_name));
    }
    keys
}

pub(crate) fn authenticate(hardware: &Hardware, state: &State, topic: &str) -> String {
    let mut keys = format!(
        "\t<key>MessageType</key>\n\
         \t<string>Authenticate</string>\n\
         \t<key>BuildVersion</key>\n\
         \t<string>{build}</string>\n\
         \t<key>OSVersion</key>\n\
         \t<string>{os}</string>\n\
         \t<key>ProductName</key>\n\
         \t<string>{product}</string>\n\
         \t<key>SerialNumber</key>\n\
         \t<string>{serial}</string>\n\
         \t<key>Topic</key>\n\
         \t<string>{topic}</string>\n\
         \t<key>UDID</key>\n\
         \t<string>{udid}</string>\n",
        build = hardware.build_version,
        os = hardware.os_version,
        product = hardware.product_name,
        serial = hardware.serial_number,
        topic = xml::escape(topic),
        udid = hardware.udid,
    );
    keys.push_str(&xml::string("DeviceName", &state.name));
    keys.push_str(&xml::string("Model", hardware.model));
    keys.push_str(&xml::string("ModelName", hardware.model_name));
    if let (Some(imei), Some(meid)) = (&hardware.imei, &hardware.meid) {
        keys.push_str(&xml::string("IMEI", imei));
        keys.push_str(&xml::string("MEID", meid));
    }
    xml::document(&keys)
}

pub(crate) fn token_update(
    hardware: &Hardware,
    state: &State,
    channel: &Channel,
    topic: &str,
) -> String {
    let mut keys = xml::string("MessageType", "TokenUpdate");
    keys.push_str(&xml::string("Topic", topic));
    if let Some(bell) = &channel.bell {
        keys.push_str(&xml::string("PushMagic", &bell.magic));
        keys.push_str(&xml::data("Token", &bell.token));
    }
    match &channel.user {
        None => {
            if let Some(token) = &state.unlock_token {
                keys.push_str(&xml::data("UnlockToken", token));
            }
            keys.push_str(&xml::boolean(
                "AwaitingConfiguration",
                state.awaiting_configuration,
            ));
        }
        Some(user) => {
            if hardware.platform == Platform::Mac {
                keys.push_str(&xml::boolean("NotOnConsole", !user.logged_in));
            }
        }
    }
    keys.push_str(&sender(hardware, channel));
    xml::document(&keys)
}

pub(crate) fn check_out(hardware: &Hardware, channel: &Channel, topic: &str) -> String {
    let mut keys = xml::string("MessageType", "CheckOut");
    keys.push_str(&xml::string("Topic", topic));
    keys.push_str(&sender(hardware, channel));
    xml::document(&keys)
}

/// The first message of a Mac user, or with `digest` the second.
pub(crate) fn user_authenticate(
    hardware: &Hardware,
    channel: &Channel,
    digest: Option<&str>,
) -> String {
    let mut keys = xml::string("MessageType", "UserAuthenticate");
    if let Some(digest) = digest {
        keys.push_str(&xml::string("DigestResponse", digest));
    }
    keys.push_str(&sender(hardware, channel));
    xml::document(&keys)
}

pub(crate) fn set_bootstrap_token(hardware: &Hardware, channel: &Channel, token: &[u8]) -> String {
    let mut keys = xml::string("MessageType", "SetBootstrapToken");
    keys.push_str(&xml::data("BootstrapToken", token));
    keys.push_str(&sender(hardware, channel));
    xml::document(&keys)
}

pub(crate) fn read_bootstrap_token(hardware: &Hardware, channel: &Channel) -> String {
    let mut keys = xml::string("MessageType", "GetBootstrapToken");
    keys.push_str(&sender(hardware, channel));
    xml::document(&keys)
}

pub(crate) fn declarative_management(
    hardware: &Hardware,
    channel: &Channel,
    endpoint: &str,
    data: Option<&[u8]>,
) -> String {
    let mut keys = xml::string("MessageType", "DeclarativeManagement");
    keys.push_str(&xml::string("Endpoint", endpoint));
    if let Some(data) = data {
        keys.push_str(&xml::data("Data", data));
    }
    keys.push_str(&sender(hardware, channel));
    xml::document(&keys)
}
