//! The Settings command: several items, each with a status of its own.
//!
//! Owns which items a kind of device takes. Source: Apple, "Settings".

use plist::{Dictionary, Value};

use super::{DOMAIN, Reply, chain_item};
use crate::device::Device;
use crate::device::hardware::Platform;
use crate::reading::Command;
use crate::xml;

impl Device {
    pub(super) fn apply_settings(&mut self, command: &Command) -> Reply {
        let Some(items) = command.body.get("Settings").and_then(Value::as_array) else {
            return Reply::malformed();
        };
        let answers: Vec<String> = items
            .iter()
            .map(|item| match item.as_dictionary() {
                Some(item) => self.apply_setting(item),
                None => xml::item(&xml::string("Status", "CommandFormatError")),
            })
            .collect();
        Reply::acknowledged(xml::array("Settings", &answers))
    }

    fn apply_setting(&mut self, item: &Dictionary) -> String {
        let name = item
            .get("Item")
            .and_then(Value::as_string)
            .unwrap_or_default();
        let text = |key: &str| item.get(key).and_then(Value::as_string);
        let platform = self.hardware.platform;
        let supervised = self.state.supervised;
        let taken = match name {
            "DeviceName" => match text("DeviceName") {
                Some(new) if supervised || platform == Platform::Mac => {
                    new.clone_into(&mut self.state.name);
                    true
                }
                _ => false,
            },
            "HostName" if platform == Platform::Mac => {
                self.state.host_name = text("HostName").map(str::to_owned);
                true
            }
            "OrganizationInfo" => {
                let info = item.get("OrganizationInfo").and_then(Value::as_dictionary);
                let organization = info.and_then(|info| info.get("OrganizationName"));
                if let Some(organization) = organization.and_then(Value::as_string) {
                    let settings = &mut self.state.settings;
                    settings.insert(name.to_owned(), organization.to_owned());
                }
                true
            }
            "Wallpaper" | "TimeZone" | "SoftwareUpdateSettings" | "AccessibilitySettings" => {
                supervised && platform != Platform::Mac
            }
            "Bluetooth" => supervised && (platform.is_mobile() || platform == Platform::Mac),
            "DataRoaming" | "VoiceRoaming" | "PersonalHotspot" => platform == Platform::IPhone,
            "SharedDeviceConfiguration"
            | "MaximumResidentUsers"
            | "DiagnosticSubmission"
            | "AppAnalytics"
            | "PasscodeLockGracePeriod" => platform == Platform::SharedIpad,
            "MDMOptions" | "ApplicationConfiguration" => true,
            "ApplicationAttributes" | "DefaultApplications" => platform != Platform::Mac,
            _ => false,
        };
        let mut keys = xml::string("Item", name);
        if taken {
            keys.push_str(&xml::string("Status", "Acknowledged"));
        } else {
            keys.push_str(&xml::string("Status", "Error"));
            let chain = chain_item(12084, DOMAIN, "The setting is not supported.");
            keys.push_str(&xml::array("ErrorChain", &[chain]));
        }
        xml::item(&keys)
    }
}
