//! Joining a server: profile, certificate, Authenticate, TokenUpdate; renewal; leaving.
//!
//! Owns the order of these steps and the rolling back of a renewal that failed. Never handles
//! commands. Source: Apple, "Authenticate", "Token update", "Check out"; RFC 8894 for the
//! certificate.

use std::sync::Arc;

use hyper::Method;
use url::Url;

use crate::apns::Registration;
use crate::cms::{Identity, SignatureStyle};
use crate::device::hardware::Platform;
use crate::device::state::{Bell, State};
use crate::device::transport::{Kind, Transport, rebase};
use crate::device::{Device, DeviceError, Enrollment, checkin};
use crate::keys::KeyPool;
use crate::reading::{self, EnrollmentProfile};
use crate::record::FaultKind;
use crate::scep;

impl Device {
    /// Fetches the profile behind an enrollment link (by POST, as a browser's button does) and
    /// enrolls with it.
    ///
    /// # Errors
    /// [`DeviceError`]; the device is then as it was before.
    pub async fn enroll(&mut self, link: &Url) -> Result<(), DeviceError> {
        self.client.set_tls(self.world.trust.plain());
        let sent = self
            .client
            .send(Method::POST, link, &[], bytes::Bytes::new());
        let answer = sent.await?;
        if answer.status != 200 {
            return Err(DeviceError::Refused {
                message: "the enrollment link",
                status: answer.status,
            });
        }
        self.enroll_with_profile(&answer.body).await
    }

    /// Enrolls with a profile, plain or signed.
    ///
    /// # Errors
    /// [`DeviceError`]; the device is then as it was before.
    pub async fn enroll_with_profile(&mut self, profile: &[u8]) -> Result<(), DeviceError> {
        let profile = EnrollmentProfile::parse(profile)?;
        let identity = self.obtain_identity(&profile, None).await?;
        self.state.awaiting_configuration = self.profile.awaiting_configuration;
        self.adopt(profile, identity)?;
        if let Err(error) = self.check_in().await {
            self.forget();
            return Err(error);
        }
        let channel = self.channel_mut(0)?;
        channel.record.enrolled();
        self.world.counters.enrolled();
        self.make_known();
        self.set_up_users().await?;
        self.escrow_bootstrap_token().await?;
        self.client.disconnect();
        Ok(())
    }

    /// Tells the server that the device leaves, and forgets it.
    ///
    /// # Errors
    /// [`DeviceError`] when the server was not reached; the device has left all the same.
    pub async fn check_out(&mut self) -> Result<(), DeviceError> {
        let enrollment = self.enrollment()?;
        let tells = enrollment.profile.check_out_when_removed;
        let topic = enrollment.profile.topic.clone();
        let body = checkin::check_out(&self.hardware, self.channel(0)?, &topic);
        let sent = match tells {
            true => self.put(0, Kind::CheckIn, body.into()).await.map(|_| ()),
            false => Ok(()),
        };
        self.forget();
        sent
    }

    /// Sends TokenUpdate again on a channel, with the same token and magic.
    ///
    /// # Errors
    /// [`DeviceError`] when the server refused it or was not reached.
    pub async fn update_token(&mut self, channel: usize) -> Result<(), DeviceError> {
        let topic = self.enrollment()?.profile.topic.clone();
        let sender = self.channel(channel)?;
        let body = checkin::token_update(&self.hardware, &self.state, sender, &topic);
        self.accepted(channel, "TokenUpdate", body).await
    }

    /// Takes a new push token (after a restore, or by fault of the system) and announces it.
    ///
    /// # Errors
    /// [`DeviceError`] when the server refused it or was not reached.
    pub async fn change_token(&mut self, channel: usize) -> Result<(), DeviceError> {
        let magic = self
            .channel(channel)?
            .bell
            .as_ref()
            .map(|b| b.magic.clone());
        self.hang_bell(channel, magic)?;
        self.update_token(channel).await
    }

    /// Goes through a renewal with a new profile for the present enrollment. On failure the old
    /// identity stays.
    pub(super) async fn renew(&mut self, profile: EnrollmentProfile) -> Result<(), DeviceError> {
        let before = self.enrollment()?.clone();
        let outcome = match self.obtain_identity(&profile, Some(&before.identity)).await {
            Ok(identity) => {
                self.adopt(profile, identity)?;
                self.check_in().await
            }
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.adopt(before.profile, before.identity)?;
        }
        outcome
    }

    /// Erased: as new, but with the memory of what was seen.
    pub(super) fn wipe(&mut self) {
        self.forget();
        self.state = State::fresh(&self.hardware, self.profile.supervised, &mut self.dice);
    }

    /// The enrollment ends; what belongs to it goes.
    pub(super) fn forget(&mut self) {
        self.enrollment = None;
        for channel in &mut self.channels {
            channel.wipe();
        }
        self.state.apps.retain(|app| !app.managed);
        self.client.set_tls(self.world.trust.plain());
    }

    /// Other devices may now try this one's name.
    fn make_known(&self) {
        let udid = &self.hardware.udid;
        let mut neighbours = self.world.neighbours.lock();
        if neighbours.len() < 1_000 && !neighbours.contains(udid) {
            neighbours.push(udid.clone());
        }
    }

    async fn obtain_identity(
        &mut self,
        profile: &EnrollmentProfile,
        present: Option<&Identity>,
    ) -> Result<Identity, DeviceError> {
        let trust = self.world.trust.with_roots(&profile.roots)?;
        self.client.set_tls(trust.plain());
        let world = Arc::clone(&self.world);
        let key = tokio::task::spawn_blocking(move || KeyPool::take(&world.keys))
            .await
            .map_err(|_| DeviceError::Stopped)??;
        let mut payload = profile.scep.clone();
        if let Some(base) = &self.world.scep_base {
            payload.url = rebase(&payload.url, base);
        }
        let style = self.profile.scep;
        Ok(scep::enroll(&mut self.client, &payload, key, present, style).await?)
    }

    /// Takes profile and identity into use.
    fn adopt(&mut self, profile: EnrollmentProfile, identity: Identity) -> Result<(), DeviceError> {
        let trust = self.world.trust.with_roots(&profile.roots)?;
        let mutual =
            matches!(self.world.transport, Transport::FromProfile) && !profile.sign_message;
        self.client.set_tls(match mutual {
            true => trust.with_identity(&identity)?,
            false => trust.plain(),
        });
        let signature = match (&self.enrollment, self.profile.signature) {
            (_, Some(style)) => style,
            (Some(enrollment), None) => enrollment.signature,
            (None, None) => match self.dice.below(20) {
                0..3 => SignatureStyle::OLDER,
                3..5 => SignatureStyle::STREAMED,
                _ => SignatureStyle::CURRENT,
            },
        };
        let installed = profile.profile.clone();
        let channel = self.channel_mut(0)?;
        channel
            .profiles
            .retain(|p| p.identifier != installed.identifier);
        channel.profiles.push(installed);
        self.enrollment = Some(Enrollment {
            profile,
            identity,
            signature,
        });
        Ok(())
    }

    async fn check_in(&mut self) -> Result<(), DeviceError> {
        let topic = self.enrollment()?.profile.topic.clone();
        let body = checkin::authenticate(&self.hardware, &self.state, &topic);
        self.accepted(0, "Authenticate", body).await?;
        if self.channel(0)?.bell.is_none() {
            self.hang_bell(0, None)?;
        }
        self.update_token(0).await
    }

    async fn set_up_users(&mut self) -> Result<(), DeviceError> {
        let capabilities = &self.enrollment()?.profile.capabilities;
        let per_user = capabilities
            .iter()
            .any(|c| c == "com.apple.mdm.per-user-connections");
        let wanted = match self.profile.platform {
            Platform::Mac => per_user,
            _ => true,
        };
        for index in 1..self.channels.len() {
            // The user who enrolled a Mac never sends UserAuthenticate.
            let asks = self.profile.user_authenticate
                && self.profile.platform == Platform::Mac
                && index > 1;
            if !wanted || (asks && !self.authenticate_user(index).await?) {
                continue;
            }
            self.hang_bell(index, None)?;
            self.update_token(index).await?;
            self.channel_mut(index)?.record.enrolled();
        }
        Ok(())
    }

    /// False when the server does not want to manage this user.
    async fn authenticate_user(&mut self, index: usize) -> Result<bool, DeviceError> {
        const MESSAGE: &str = "UserAuthenticate";
        let body = checkin::user_authenticate(&self.hardware, self.channel(index)?, None);
        let answer = self.put(index, Kind::CheckIn, body.into()).await?;
        match answer.status {
            410 => return Ok(false),
            200 => {}
            status => {
                return Err(DeviceError::Refused {
                    message: MESSAGE,
                    status,
                });
            }
        }
        let challenge = reading::dictionary(&answer.body).ok();
        if challenge.is_some_and(|keys| keys.contains_key("DigestChallenge")) {
            let channel = self.channel(index)?;
            let body = checkin::user_authenticate(&self.hardware, channel, Some(""));
            self.accepted(index, MESSAGE, body).await?;
        }
        Ok(true)
    }

    async fn escrow_bootstrap_token(&mut self) -> Result<(), DeviceError> {
        let capabilities = &self.enrollment()?.profile.capabilities;
        if !capabilities
            .iter()
            .any(|c| c == "com.apple.mdm.bootstraptoken")
        {
            return Ok(());
        }
        let Some(token) = self.state.bootstrap_token.clone() else {
            return Ok(());
        };
        let body = checkin::set_bootstrap_token(&self.hardware, self.channel(0)?, &token);
        self.accepted(0, "SetBootstrapToken", body).await
    }

    /// Asks for the bootstrap token and compares it with the one that was escrowed.
    pub(super) async fn check_bootstrap_token(&mut self) -> Result<(), DeviceError> {
        let Some(token) = self.state.bootstrap_token.clone() else {
            return Ok(());
        };
        let body = checkin::read_bootstrap_token(&self.hardware, self.channel(0)?);
        let answer = self.put(0, Kind::CheckIn, body.into()).await?;
        let held = reading::dictionary(&answer.body).ok();
        let held = held
            .as_ref()
            .and_then(|keys| keys.get("BootstrapToken")?.as_data());
        if answer.status != 200 || held != Some(&token) {
            let detail = format!("GetBootstrapToken, status {}", answer.status);
            self.fault(0, FaultKind::Unreadable, &detail);
        }
        Ok(())
    }

    /// Sends a check-in message that must be answered with 200.
    async fn accepted(
        &mut self,
        channel: usize,
        message: &'static str,
        body: String,
    ) -> Result<(), DeviceError> {
        let answer = self.put(channel, Kind::CheckIn, body.into()).await?;
        match answer.status {
            200 => Ok(()),
            status => Err(DeviceError::Refused { message, status }),
        }
    }

    /// A new token, and with no magic given a new magic.
    fn hang_bell(&mut self, index: usize, magic: Option<String>) -> Result<(), DeviceError> {
        let token: [u8; 32] = self.dice.bytes();
        let magic = magic.unwrap_or_else(|| self.dice.uuid());
        let topic = self.enrollment()?.profile.topic.clone();
        let apns = self.world.apns.as_ref();
        let registration: Option<Registration> =
            apns.map(|apns| apns.register(token, &topic, Arc::clone(&self.waker)));
        self.channel_mut(index)?.bell = Some(Bell {
            token,
            magic,
            registration,
        });
        Ok(())
    }
}
