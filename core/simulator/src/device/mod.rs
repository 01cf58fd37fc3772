//! One simulated Apple device.
//!
//! Owns what a device is and what it has been through. Its life: [`Device::enroll`], then a
//! [`Device::session`] for each push or poll, until it is erased or checks out. Never shares
//! state with another device but what a [`World`] holds. Source: Apple, "MDM check-in" and
//! "Commands and queries".

mod answer;
mod checkin;
mod declarations;
mod enroll;
mod hardware;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use url::Url;

pub use hardware::{Hardware, Platform};
pub use session::SessionEnd;
pub use transport::Transport;

use crate::apns::ApnsHandle;
use crate::client::{Client, ClientError, Trust};
use crate::cms::{CmsError, Identity, SignatureStyle};
use crate::counters::Counters;
use crate::dice::Dice;
use crate::keys::{KeyError, KeyPool};
use crate::load::LoadDevice;
use crate::misbehave::Misbehaviour;
use crate::reading::{EnrollmentProfile, ReadError};
use crate::record::Record;
use crate::scep::{ScepError, ScepStyle};
use state::{Channel, State};

/// Why a device could not do what it was asked to do.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The connection failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No certificate.
    #[error(transparent)]
    Scep(#[from] ScepError),
    /// The server's profile or answer cannot be understood.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A signature could not be made.
    #[error(transparent)]
    Cms(#[from] CmsError),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The server refused a message.
    #[error("{message} was answered with status {status}")]
    Refused {
        /// Which message.
        message: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// There is no enrollment to act under.
    #[error("the device is not enrolled")]
    NotEnrolled,
    /// No such channel.
    #[error("the device has no channel {0}")]
    NoChannel(usize),
    /// A blocking task was cancelled.
    #[error("the runtime is shutting down")]
    Stopped,
}

/// What all devices of a simulation share.
#[derive(Debug)]
pub struct World {
    /// The servers that devices believe.
    pub trust: Trust,
    /// How management requests reach the server.
    pub transport: Transport,
    /// Where the SCEP server really is, in place of the profile's scheme, host and port.
    pub scep_base: Option<Url>,
    /// Where keys come from.
    pub keys: KeyPool,
    /// The push service, if there is one.
    pub apns: Option<ApnsHandle>,
    /// Live figures.
    pub counters: Counters,
    /// The limit for one request.
    pub timeout: Duration,
    /// UDIDs of enrolled devices, for requests under a foreign name.
    neighbours: Mutex<Vec<String>>,
}

impl World {
    /// A world of this trust and transport, with a key for each device, no push service, and
    /// time-outs of 60 seconds.
    #[must_use]
    pub const fn new(trust: Trust, transport: Transport) -> Self {
        Self {
            trust,
            transport,
            scep_base: None,
            keys: KeyPool::fresh(),
            apns: None,
            counters: Counters::new(),
            timeout: Duration::from_secs(60),
            neighbours: Mutex::new(Vec::new()),
        }
    }
}

/// When a device acknowledges a renewed enrollment profile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RenewalOrder {
    /// Authenticate and TokenUpdate with the new certificate come first, and the
    /// acknowledgement follows under it.
    CheckInFirst,
    /// The acknowledgement comes first, under the old certificate.
    AcknowledgeFirst,
}

/// How one device is.
#[derive(Clone, Debug)]
pub struct DeviceProfile {
    /// The kind.
    pub platform: Platform,
    /// Users with a channel of their own (Mac and Shared iPad).
    pub users: usize,
    /// Supervised devices accept more commands.
    pub supervised: bool,
    /// Waits in the setup assistant until DeviceConfigured comes.
    pub awaiting_configuration: bool,
    /// Users of a Mac after the first send UserAuthenticate before their TokenUpdate.
    pub user_authenticate: bool,
    /// How messages are signed; drawn by chance when absent: most as current systems do, 15 %
    /// as older ones, 10 % in the streaming form.
    pub signature: Option<SignatureStyle>,
    /// How SCEP is spoken.
    pub scep: ScepStyle,
    /// The order of things at a renewal.
    pub renewal: RenewalOrder,
    /// Mischief.
    pub misbehaviour: Misbehaviour,
    /// The time that a command takes.
    pub think_time: Duration,
}

impl DeviceProfile {
    /// A supervised device of this kind that behaves well and acts at once.
    #[must_use]
    pub const fn new(platform: Platform) -> Self {
        Self {
            platform,
            users: 0,
            supervised: true,
            awaiting_configuration: false,
            user_authenticate: false,
            signature: None,
            scep: ScepStyle {
                force_get: false,
                indefinite: false,
                aes_256: false,
            },
            renewal: RenewalOrder::CheckInFirst,
            misbehaviour: Misbehaviour::none(),
            think_time: Duration::ZERO,
        }
    }
}

/// A simulated device. Channel 0 is the device itself; its users follow.
#[derive(Debug)]
pub struct Device {
    hardware: Hardware,
    profile: DeviceProfile,
    world: Arc<World>,
    dice: Dice,
    state: State,
    channels: Vec<Channel>,
    enrollment: Option<Enrollment>,
    client: Client,
    waker: Arc<Notify>,
}

/// What the device knows of the server it belongs to.
#[derive(Clone, Debug)]
struct Enrollment {
    profile: EnrollmentProfile,
    identity: Identity,
    signature: SignatureStyle,
}

impl Device {
    /// A device as it comes out of its box. The same seed gives the same device.
    #[must_use]
    pub fn new(profile: DeviceProfile, seed: u64, world: Arc<World>) -> Self {
        let mut dice = Dice::new(seed);
        let hardware = Hardware::draw(profile.platform, &mut dice);
        let state = State::fresh(&hardware, profile.supervised, &mut dice);
        let client = Client::new(&world.trust, world.timeout, profile.platform.agent());
        let users = state::draw_users(profile.platform, profile.users, &mut dice);
        let users = users.into_iter().map(Some);
        let channels = std::iter::once(None)
            .chain(users)
            .map(|user| Channel::new(&hardware.udid, user))
            .collect();
        Self {
            hardware,
            profile,
            world,
            dice,
            state,
            channels,
            enrollment: None,
            client,
            waker: Arc::new(Notify::new()),
        }
    }

    /// The unchanging facts.
    #[must_use]
    pub const fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// True between a completed enrollment and an erase, a removal or a check-out.
    #[must_use]
    pub const fn is_enrolled(&self) -> bool {
        self.enrollment.is_some()
    }

    /// The certificate that the device acts with.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.enrollment.as_ref().map(|e| &e.identity)
    }

    /// What the load generator needs to act for this device; `None` while it is not enrolled.
    #[must_use]
    pub fn load_device(&self) -> Option<LoadDevice> {
        let identity = self.identity()?;
        Some(LoadDevice {
            udid: self.hardware.udid.clone(),
            certificate: identity.certificate.clone(),
            pkcs8: identity.key.pkcs8().to_vec(),
        })
    }

    /// Where the device sends its reports, as its transport has it.
    #[must_use]
    pub fn report_url(&self) -> Option<Url> {
        let url = &self.enrollment.as_ref()?.profile.server_url;
        Some(self.world.transport.place(url))
    }

    /// The channel exists and the server knows it.
    #[must_use]
    pub fn is_reachable(&self, channel: usize) -> bool {
        self.channels
            .get(channel)
            .is_some_and(|channel| channel.bell.is_some())
    }

    /// The number of channels, the device's own included.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// The records of all channels, the device's own first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.channels.iter().map(|channel| &channel.record)
    }

    /// The device is locked (DeviceLock), or in lost mode.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.state.locked || self.state.lost_mode
    }

    /// How often the device was restarted by command.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.state.restarts
    }

    /// Identifiers of the profiles on a channel.
    #[must_use]
    pub fn installed_profiles(&self, channel: usize) -> Vec<&str> {
        let channel = self.channels.get(channel);
        channel.map_or_else(Vec::new, |channel| {
            channel
                .profiles
                .iter()
                .map(|p| p.identifier.as_str())
                .collect()
        })
    }

    /// Identifiers of the declarations on a channel.
    #[must_use]
    pub fn declarations(&self, channel: usize) -> Vec<&str> {
        let channel = self.channels.get(channel);
        channel.map_or_else(Vec::new, |channel| channel.declarations.identifiers())
    }

    /// From now on the device is supervised, or is not any more, as one that was prepared anew; it says so when it is asked.
    pub const fn set_supervised(&mut self, supervised: bool) {
        self.state.supervised = supervised;
    }

    /// Takes the device off the push service, or back.
    pub fn set_online(&self, online: bool) {
        for channel in &self.channels {
            let bell = channel.bell.as_ref();
            if let Some(registration) = bell.and_then(|bell| bell.registration.as_ref()) {
                registration.set_online(online);
            }
        }
    }

    fn channel(&self, index: usize) -> Result<&Channel, DeviceError> {
        self.channels
            .get(index)
            .ok_or(DeviceError::NoChannel(index))
    }

    fn channel_mut(&mut self, index: usize) -> Result<&mut Channel, DeviceError> {
        self.channels
            .get_mut(index)
            .ok_or(DeviceError::NoChannel(index))
    }

    fn enrollment(&self) -> Result<&Enrollment, DeviceError> {
        self.enrollment.as_ref().ok_or(DeviceError::NotEnrolled)
    }
}
