//! What a device tells about itself.
//!
//! Owns DeviceInformation, SecurityInfo, CertificateList, Restrictions and the list of updates.
//! Never changes anything. Source: Apple's pages of these commands.

use super::Reply;
use crate::clock::{plist_date, unix_seconds};
use crate::device::hardware::Platform;
use crate::device::{Device, DeviceError};
use crate::reading::Command;
use crate::xml;

impl Device {
    /// Only what was asked for, and of that only what this kind of device has.
    pub(super) fn device_information(&self, command: &Command) -> Reply {
        if command
            .body
            .get("Queries")
            .is_none_or(|q| q.as_array().is_none())
        {
            return Reply::malformed();
        }
        let answers: String = command
            .texts("Queries")
            .into_iter()
            .filter_map(|query| self.fact(query))
            .collect();
        Reply::acknowledged(xml::dict("QueryResponses", &answers))
    }

    fn fact(&self, query: &str) -> Option<String> {
        let hardware = &self.hardware;
        let state = &self.state;
        let platform = hardware.platform;
        let mobile = platform.is_mobile();
        let battery = platform != Platform::AppleTv;
        let capacity = f64::from(hardware.capacity_gb);
        let real = |key: &str, value: f64| format!("\t<key>{key}</key>\n\t<real>{value}</real>\n");
        let text = match query {
            "UDID" => xml::string(query, &hardware.udid),
            "DeviceName" => xml::string(query, &state.name),
            "OSVersion" => xml::string(query, hardware.os_version),
            "BuildVersion" => xml::string(query, hardware.build_version),
            "ModelName" => xml::string(query, hardware.model_name),
            "Model" => xml::string(query, hardware.model),
            "ModelNumber" => xml::string(query, &format!("{}LL/A", hardware.model)),
            "ProductName" => xml::string(query, hardware.product_name),
            "SerialNumber" => xml::string(query, &hardware.serial_number),
            "DeviceCapacity" => real(query, capacity),
            "AvailableDeviceCapacity" => real(query, (capacity * 0.37).floor()),
            "BatteryLevel" if battery => real(query, f64::from(state.battery_percent) / 100.0),
            "IMEI" => xml::string(query, hardware.imei.as_ref()?),
            "MEID" => xml::string(query, hardware.meid.as_ref()?),
            "CellularTechnology" if mobile => {
                xml::integer(query, if hardware.imei.is_some() { 3 } else { 0 })
            }
            "ServiceSubscriptions" => {
                let slot = [
                    xml::string("Slot", "CTSubscriptionSlotOne"),
                    xml::string("IMEI", hardware.imei.as_ref()?),
                    xml::boolean("IsDataPreferred", true),
                    xml::boolean("IsRoaming", false),
                ];
                xml::array(query, &[xml::item(&slot.concat())])
            }
            "WiFiMAC" => xml::string(query, &hardware.wifi_mac),
            "BluetoothMAC" => xml::string(query, &hardware.wifi_mac.replace("f0:18", "f0:19")),
            "HostName" | "LocalHostName" if platform == Platform::Mac => {
                let name = format!("mac-{}.local", hardware.serial_number.to_lowercase());
                xml::string(query, state.host_name.as_deref().unwrap_or(&name))
            }
            "IsSupervised" => xml::boolean(query, state.supervised),
            "IsMultiUser" => xml::boolean(query, platform == Platform::SharedIpad),
            "IsDeviceLocatorServiceEnabled" | "IsActivationLockEnabled" => {
                xml::boolean(query, false)
            }
            "IsMDMLostModeEnabled" if mobile => xml::boolean(query, state.lost_mode),
            "IsCloudBackupEnabled" if mobile => xml::boolean(query, true),
            "IsNetworkTethered" => xml::boolean(query, false),
            "IsRoaming" if mobile => xml::boolean(query, false),
            "AwaitingConfiguration" => xml::boolean(query, state.awaiting_configuration),
            "IsAppleSilicon" if platform == Platform::Mac => xml::boolean(query, true),
            "SupportsiOSAppInstalls" | "SupportsLOMDevice" if platform == Platform::Mac => {
                xml::boolean(query, true)
            }
            "iTunesStoreAccountIsActive" => xml::boolean(query, false),
            "TimeZone" => xml::string(query, "Europe/Berlin"),
            "ResidentUsers" | "MaximumResidentUsers" if platform == Platform::SharedIpad => {
                let users = i64::try_from(self.channels.len())
                    .unwrap_or(1)
                    .saturating_sub(1);
                xml::integer(query, if query == "ResidentUsers" { users } else { 10 })
            }
            "EstimatedResidentUsers" if platform == Platform::SharedIpad => xml::integer(query, 10),
            "OrganizationInfo" => {
                let organization = state.settings.get("OrganizationInfo")?;
                xml::dict(query, &xml::string("OrganizationName", organization))
            }
            _ => return None,
        };
        Some(text)
    }

    pub(super) fn security_info(&self, channel: usize) -> Result<Reply, DeviceError> {
        let state = &self.state;
        let mut info = match self.hardware.platform {
            Platform::Mac => [
                xml::boolean("FDE_Enabled", true),
                xml::boolean("FDE_HasPersonalRecoveryKey", true),
                xml::boolean("FDE_HasInstitutionalRecoveryKey", false),
                xml::boolean("SystemIntegrityProtectionEnabled", true),
                xml::dict(
                    "FirewallSettings",
                    &[
                        xml::boolean("FirewallEnabled", true),
                        xml::boolean("BlockAllIncoming", false),
                        xml::boolean("StealthMode", false),
                    ]
                    .concat(),
                ),
                xml::dict("SecureBoot", &xml::string("SecureBootLevel", "full")),
                xml::boolean("AuthenticatedRootVolumeEnabled", true),
                xml::boolean("BootstrapTokenAllowedForAuthentication", true),
            ]
            .concat(),
            _ => [
                xml::integer("HardwareEncryptionCaps", 3),
                xml::boolean("PasscodePresent", state.passcode),
                xml::boolean("PasscodeCompliant", true),
                xml::boolean("PasscodeCompliantWithProfiles", true),
                xml::integer("PasscodeLockGracePeriodEnforced", 0),
            ]
            .concat(),
        };
        let status = [
            xml::boolean("EnrolledViaDEP", false),
            xml::boolean("IsUserEnrollment", false),
            xml::boolean("UserApprovedEnrollment", true),
        ];
        info.push_str(&xml::dict("ManagementStatus", &status.concat()));
        // Told on every channel alike; the lookup says whether the channel exists at all.
        self.channel(channel)?;
        Ok(Reply::acknowledged(xml::dict("SecurityInfo", &info)))
    }

    pub(super) fn certificate_list(&self) -> Reply {
        let enrollment = self.enrollment.as_ref();
        let identity = enrollment.map(|e| (e.identity.certificate.clone(), true));
        let roots = enrollment
            .map(|e| e.profile.roots.clone())
            .unwrap_or_default();
        let roots = roots.into_iter().map(|root| (root, false));
        let items: Vec<String> = identity
            .into_iter()
            .chain(roots)
            .map(|(der, is_identity)| {
                let name = match is_identity {
                    true => self.hardware.udid.as_str(),
                    false => "Root",
                };
                let keys = [
                    xml::string("CommonName", name),
                    xml::data("Data", &der),
                    xml::boolean("IsIdentity", is_identity),
                ];
                xml::item(&keys.concat())
            })
            .collect();
        Reply::acknowledged(xml::array("CertificateList", &items))
    }

    pub(super) fn restrictions(&self, channel: usize) -> Result<Reply, DeviceError> {
        let profiles = &self.channel(channel)?.profiles;
        let restricted = profiles.iter().any(|profile| {
            let mut kinds = profile.payloads.iter();
            kinds.any(|(kind, _)| kind == "com.apple.applicationaccess")
        });
        let camera = xml::dict("allowCamera", &xml::boolean("value", !restricted));
        let global = xml::dict("restrictedBool", &camera);
        Ok(Reply::acknowledged(xml::dict(
            "GlobalRestrictions",
            &global,
        )))
    }

    pub(super) fn available_updates(&self) -> Reply {
        let (major, name) = match self.hardware.platform {
            Platform::Mac => (26, "macOS Tahoe 26.1"),
            Platform::AppleTv => (26, "tvOS 26.1"),
            platform if platform.is_ipad() => (26, "iPadOS 26.1"),
            _ => (26, "iOS 26.1"),
        };
        let update = [
            xml::string("ProductKey", "iOSUpdate23B85"),
            xml::string("HumanReadableName", name),
            xml::string("ProductName", name.split(' ').next().unwrap_or(name)),
            xml::string("Version", &format!("{major}.1")),
            xml::string("Build", "23B85"),
            xml::integer("DownloadSize", 1_234_567_890),
            xml::integer("InstallSize", 2_345_678_901),
            xml::boolean("IsCritical", false),
            xml::boolean("IsMajorOSUpdate", self.hardware.major() < major),
            xml::boolean("RestartRequired", true),
            format!(
                "\t<key>DeferredUntil</key>\n\t<date>{}</date>\n",
                plist_date(unix_seconds())
            ),
        ];
        let updates = match self.hardware.os_version {
            "26.1" => Vec::new(),
            _ => vec![xml::item(&update.concat())],
        };
        Reply::acknowledged(xml::array("AvailableOSUpdates", &updates))
    }
}
