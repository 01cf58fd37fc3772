//! What a device does with a command and what it reports.
//!
//! Owns the dispatch by RequestType, the shape of reports and of error chains. Never sends
//! anything but during a renewal, which is itself a command. The files beside this one hold the
//! commands by subject. Source: Apple, "Commands and queries".

mod apps;
mod inventory;
mod profiles;
mod security;
mod settings;
mod support;
mod users;

use crate::device::{Device, DeviceError};
use crate::reading::{Command, EnrollmentProfile};
use crate::xml;

/// The domain of most errors of the management client.
const DOMAIN: &str = "MCMDMErrorDomain";

/// A report in the making.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: &'static str,
    /// The keys beside status, sender and CommandUUID, as XML.
    pub(crate) keys: String,
    pub(crate) after: After,
}

/// What happens when the report is out.
#[derive(Debug)]
pub(crate) enum After {
    Nothing,
    /// Erased.
    Wipe,
    /// The enrollment was removed.
    Leave,
    /// Restarted.
    Disconnect,
    /// Declarations are to be compared, with the tokens that came along.
    Synchronise(Option<Vec<u8>>),
    /// The renewed enrollment is to be taken into use.
    Renew(Box<EnrollmentProfile>),
}

impl Reply {
    pub(crate) const fn acknowledged(keys: String) -> Self {
        Self {
            status: "Acknowledged",
            keys,
            after: After::Nothing,
        }
    }

    pub(crate) const fn done() -> Self {
        Self::acknowledged(String::new())
    }

    pub(crate) const fn not_now() -> Self {
        Self {
            status: "NotNow",
            keys: String::new(),
            after: After::Nothing,
        }
    }

    pub(crate) const fn malformed() -> Self {
        Self {
            status: "CommandFormatError",
            keys: String::new(),
            after: After::Nothing,
        }
    }

    pub(crate) fn error(code: i64, domain: &str, description: &str) -> Self {
        Self {
            status: "Error",
            keys: xml::array("ErrorChain", &[chain_item(code, domain, description)]),
            after: After::Nothing,
        }
    }

    fn then(mut self, after: After) -> Self {
        self.after = after;
        self
    }
}

fn chain_item(code: i64, domain: &str, description: &str) -> String {
    xml::item(
        &[
            xml::integer("ErrorCode", code),
            xml::string("ErrorDomain", domain),
            xml::string("LocalizedDescription", description),
            xml::string("USEnglishDescription", description),
        ]
        .concat(),
    )
}

impl Device {
    pub(super) async fn carry_out(
        &mut self,
        channel: usize,
        command: &Command,
    ) -> Result<Reply, DeviceError> {
        let name = command.request_type.as_str();
        if !support::supports(&self.hardware, channel > 0, self.state.supervised, name) {
            let text = format!("“{name}” is not a valid request type.");
            return Ok(Reply::error(12021, DOMAIN, &text));
        }
        let reply = match name {
            "InstallProfile" => return self.install_profile(channel, command).await,
            "RemoveProfile" => self.remove_profile(channel, command)?,
            "ProfileList" => self.profile_list(channel)?,
            "DeviceInformation" => self.device_information(command),
            "SecurityInfo" => self.security_info(channel)?,
            "CertificateList" => self.certificate_list(),
            "Restrictions" => self.restrictions(channel)?,
            "InstalledApplicationList" => self.installed_applications(command),
            "ManagedApplicationList" => self.managed_applications(command),
            "InstallApplication" | "InstallEnterpriseApplication" => self.install_app(command),
            "RemoveApplication" => self.remove_app(command),
            "DeviceLock" => self.lock(),
            "ClearPasscode" => self.clear_passcode(command),
            "EraseDevice" => Reply::done().then(After::Wipe),
            "RestartDevice" => {
                self.state.restarts = self.state.restarts.saturating_add(1);
                Reply::done().then(After::Disconnect)
            }
            "ShutDownDevice" => Reply::done().then(After::Disconnect),
            "EnableLostMode" => self.enable_lost_mode(command),
            "DisableLostMode" => self.disable_lost_mode(),
            "DeviceLocation" => self.location(),
            "PlayLostModeSound" => self.lost_mode_only(),
            "Settings" => self.apply_settings(command),
            "UserList" => self.user_list(),
            "LogOutUser" => self.log_out_user(),
            "DeleteUser" => self.delete_user(command),
            "AvailableOSUpdates" => self.available_updates(),
            "OSUpdateStatus" => Reply::acknowledged(xml::array("OSUpdateStatus", &[])),
            "ScheduleOSUpdate" => Reply::acknowledged(xml::array("UpdateResults", &[])),
            "DeviceConfigured" => {
                self.state.awaiting_configuration = false;
                Reply::done()
            }
            "DeclarativeManagement" => {
                let data = command.data("Data").map(<[u8]>::to_vec);
                Reply::done().then(After::Synchronise(data))
            }
            // In the table of what this kind of device supports, and of no consequence.
            _ => Reply::done(),
        };
        Ok(reply)
    }
}
