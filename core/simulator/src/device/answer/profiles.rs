//! Profiles come and go; among them the enrollment profile itself.
//!
//! Owns InstallProfile, RemoveProfile, ProfileList, and the recognition of a renewal. Source:
//! Apple's pages of these commands; "MDM" payload for what an update may not change.

use super::{After, Reply};
use crate::device::{Device, DeviceError, RenewalOrder};
use crate::reading::{Command, ConfigurationProfile, EnrollmentProfile};
use crate::xml;

const DOMAIN: &str = "MCInstallationErrorDomain";

impl Device {
    pub(super) async fn install_profile(
        &mut self,
        channel: usize,
        command: &Command,
    ) -> Result<Reply, DeviceError> {
        let Some(payload) = command.data("Payload") else {
            return Ok(Reply::malformed());
        };
        let Ok(profile) = ConfigurationProfile::parse(payload) else {
            return Ok(Reply::error(
                1000,
                "MCProfileErrorDomain",
                "Invalid Profile",
            ));
        };
        if profile.has_mdm() {
            return self.install_enrollment(channel, profile).await;
        }
        let profiles = &mut self.channel_mut(channel)?.profiles;
        profiles.retain(|installed| installed.identifier != profile.identifier);
        profiles.push(profile);
        Ok(Reply::done())
    }

    /// A profile with an MDM payload can only be the present one, renewed.
    async fn install_enrollment(
        &mut self,
        channel: usize,
        profile: ConfigurationProfile,
    ) -> Result<Reply, DeviceError> {
        let renewed = match EnrollmentProfile::from_profile(profile) {
            Ok(renewed) => renewed,
            Err(error) => return Ok(Reply::error(4001, DOMAIN, &error.to_string())),
        };
        let present = &self.enrollment()?.profile;
        let same = renewed.profile.identifier == present.profile.identifier
            && renewed.server_url == present.server_url
            && renewed.check_in_url == present.check_in_url
            && renewed.topic == present.topic;
        if channel != 0 || !same {
            let text = "The new MDM payload does not match the old payload.";
            return Ok(Reply::error(4011, DOMAIN, text));
        }
        if self.profile.renewal == RenewalOrder::AcknowledgeFirst {
            return Ok(Reply::done().then(After::Renew(Box::new(renewed))));
        }
        Ok(match self.renew(renewed).await {
            Ok(()) => Reply::done(),
            Err(error) => {
                Reply::error(4001, DOMAIN, &format!("Profile Failed to Install: {error}"))
            }
        })
    }

    pub(super) fn remove_profile(
        &mut self,
        channel: usize,
        command: &Command,
    ) -> Result<Reply, DeviceError> {
        let Some(identifier) = command.text("Identifier") else {
            return Ok(Reply::malformed());
        };
        let profiles = &mut self.channel_mut(channel)?.profiles;
        let Some(at) = profiles.iter().position(|p| p.identifier == identifier) else {
            let text = format!("The profile “{identifier}” is not installed.");
            return Ok(Reply::error(12075, super::DOMAIN, &text));
        };
        let profile = profiles.remove(at);
        match profile.has_mdm() {
            true => Ok(Reply::done().then(After::Leave)),
            false => Ok(Reply::done()),
        }
    }

    pub(super) fn profile_list(&self, channel: usize) -> Result<Reply, DeviceError> {
        let items: Vec<String> = self
            .channel(channel)?
            .profiles
            .iter()
            .map(|profile| {
                let payloads: Vec<String> = profile
                    .payloads
                    .iter()
                    .map(|(kind, identifier)| {
                        let keys = [
                            xml::string("PayloadType", kind),
                            xml::string("PayloadIdentifier", identifier),
                            xml::integer("PayloadVersion", 1),
                        ];
                        xml::item(&keys.concat())
                    })
                    .collect();
                let keys = [
                    xml::boolean("HasRemovalPasscode", false),
                    xml::boolean("IsEncrypted", false),
                    xml::boolean("IsManaged", true),
                    xml::array("PayloadContent", &payloads),
                    xml::string("PayloadDisplayName", &profile.display_name),
                    xml::string("PayloadIdentifier", &profile.identifier),
                    xml::boolean("PayloadRemovalDisallowed", profile.removal_disallowed),
                    xml::string("PayloadUUID", &profile.uuid),
                    xml::integer("PayloadVersion", 1),
                ];
                xml::item(&keys.concat())
            })
            .collect();
        Ok(Reply::acknowledged(xml::array("ProfileList", &items)))
    }
}
