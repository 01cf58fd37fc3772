//! The commands that the demo sends.
//!
//! Owns their order and contents: harmless ones, that every kind of device may be asked, though not every one can obey.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

const COMMANDS: usize = 9;

/// Command `number` of the demo: its `RequestType` and the rest of its dictionary.
pub(super) fn command(number: usize) -> (&'static str, Value) {
    let turn = number / COMMANDS;
    match number % COMMANDS {
        0 => (
            "DeviceInformation",
            json!({ "Queries": [
                "UDID", "DeviceName", "OSVersion", "BuildVersion", "ModelName", "ProductName", "SerialNumber",
                "DeviceCapacity", "AvailableDeviceCapacity", "BatteryLevel", "WiFiMAC", "IsSupervised",
            ] }),
        ),
        1 => ("SecurityInfo", json!({})),
        2 => (
            "InstallProfile",
            json!({ "Payload": { "data": STANDARD.encode(profile(turn)) } }),
        ),
        3 => ("ProfileList", json!({})),
        4 => ("InstalledApplicationList", json!({})),
        5 => (
            "Settings",
            json!({ "Settings": [
                { "Item": "DeviceName", "DeviceName": format!("Orchard {turn}") },
            ] }),
        ),
        6 => ("CertificateList", json!({})),
        // Judged by the plugin Quiet hours, while it is queued, and before it is sent when something has changed since.
        7 => ("RestartDevice", json!({})),
        _ => ("RemoveProfile", json!({ "Identifier": identifier(turn) })),
    }
}

fn identifier(turn: usize) -> String {
    format!("com.example.orchard.restrictions.{}", turn % 3)
}

fn profile(turn: usize) -> String {
    let identifier = identifier(turn);
    let last = turn % 3;
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>PayloadContent</key>
	<array>
		<dict>
			<key>PayloadIdentifier</key><string>{identifier}.payload</string>
			<key>PayloadType</key><string>com.apple.applicationaccess</string>
			<key>PayloadUUID</key><string>6F1D0C52-8E4B-4B7A-9C3E-0000000001{last:02}</string>
			<key>PayloadVersion</key><integer>1</integer>
			<key>allowCamera</key><false/>
		</dict>
	</array>
	<key>PayloadDisplayName</key><string>Orchard restrictions</string>
	<key>PayloadIdentifier</key><string>{identifier}</string>
	<key>PayloadType</key><string>Configuration</string>
	<key>PayloadUUID</key><string>6F1D0C52-8E4B-4B7A-9C3E-0000000000{last:02}</string>
	<key>PayloadVersion</key><integer>1</integer>
</dict>
</plist>
"#
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_turn_sends_each_kind_once_and_removes_what_it_installed() {
        let kinds: BTreeSet<_> = (0..COMMANDS).map(|number| command(number).0).collect();
        assert_eq!(kinds.len(), COMMANDS);
        let removed = command(COMMANDS - 1).1;
        assert!(profile(0).contains(removed["Identifier"].as_str().unwrap()));
    }
}
