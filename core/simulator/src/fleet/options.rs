//! What a fleet is made of.
//!
//! Owns the options and their defaults. Never acts.

use std::time::Duration;

use url::Url;

use crate::device::{Platform, Transport};
use crate::misbehave::Misbehaviour;

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// Number of devices.
    pub devices: usize,
    /// Platforms with their weights.
    pub mix: Vec<(Platform, u32)>,
    /// Users on each Mac and each Shared iPad.
    pub users: usize,
    /// The same seed gives the same devices with the same mischief.
    pub seed: u64,
    /// Rates of mischief.
    pub misbehaviour: Misbehaviour,
    /// Enrollment links, dealt out in turn.
    pub enroll_urls: Vec<Url>,
    /// How management requests reach the server.
    pub transport: Transport,
    /// Where the SCEP server really is, if not where the profile says.
    pub scep_base: Option<Url>,
    /// The roots that devices trust, PEM.
    pub trust_pem: String,
    /// Keys shared by all devices; 0 gives every certificate a key of its own, at about a tenth
    /// of a second of computing each.
    pub key_pool: usize,
    /// The time that a command takes on a device.
    pub think_time: Duration,
    /// Devices also connect without a push, about this often.
    pub idle_poll: Option<Duration>,
    /// How soon a device comes back after NotNow.
    pub not_now_retry: Duration,
    /// Enrollments at the same time.
    pub enroll_at_once: usize,
    /// Sessions at the same time; each takes a connection.
    pub sessions_at_once: usize,
    /// The first pause after a failed enrollment; it doubles up to 30 seconds.
    pub enroll_retry: Duration,
    /// Devices wait in the setup assistant until DeviceConfigured comes.
    pub awaiting_configuration: bool,
    /// The share of devices that are supervised.
    pub supervised: f64,
    /// After a session, a device leaves the net with this chance, for about this time.
    pub absence: Option<(f64, Duration)>,
    /// Erased devices enroll again.
    pub enroll_again: bool,
    /// The limit for one request.
    pub timeout: Duration,
}

impl FleetOptions {
    /// A mixed fleet with the usual mischief, shared keys, and the transport of the profile.
    #[must_use]
    pub fn new(devices: usize, enroll_url: Url, trust_pem: &str) -> Self {
        Self {
            devices,
            mix: vec![
                (Platform::IPhone, 40),
                (Platform::IPad, 25),
                (Platform::SharedIpad, 5),
                (Platform::Mac, 20),
                (Platform::AppleTv, 5),
                (Platform::Watch, 3),
                (Platform::VisionPro, 2),
            ],
            users: 1,
            seed: 1,
            misbehaviour: Misbehaviour::default(),
            enroll_urls: vec![enroll_url],
            transport: Transport::FromProfile,
            scep_base: None,
            trust_pem: trust_pem.to_owned(),
            key_pool: 16,
            think_time: Duration::ZERO,
            idle_poll: None,
            not_now_retry: Duration::from_secs(2),
            enroll_at_once: 16,
            enroll_retry: Duration::from_secs(1),
            sessions_at_once: 1_000,
            awaiting_configuration: false,
            supervised: 0.9,
            absence: None,
            enroll_again: true,
            timeout: Duration::from_secs(60),
        }
    }
}
