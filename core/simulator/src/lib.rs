//! The other side of the wire: simulated Apple devices and a simulated push service.
//!
//! Owns everything that a server under test would meet in the field: enrollment over SCEP,
//! check-ins, command sessions with their mischief, declarative management, pushes. Never uses
//! another crate of this project: messages are literal text, replies are read by a few lines of
//! its own, so that a mistake in the server's parsers cannot hide here.
//!
//! ```no_run
//! use pomona_simulator::apns::{ApnsHandle, ApnsOptions, PushIdentity};
//! use pomona_simulator::{Fleet, FleetOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let push = PushIdentity::generate("com.apple.mgmt.External.example")?;
//! let apns = ApnsHandle::start(ApnsOptions::new(&push.ca_pem)).await?;
//! // … the server is told of `push`, of `apns.address()` and `apns.ca_pem()` …
//! let link = "https://localhost:8443/enroll/token".parse()?;
//! let options = FleetOptions::new(100, link, &std::fs::read_to_string("ca.pem")?);
//! let fleet = Fleet::start(options, Some(apns))?;
//! fleet.settled().await;
//! // … commands are queued …
//! let summary = fleet.stop().await;
//! assert_eq!(summary.fault_count(), 0);
//! # Ok(())
//! # }
//! ```

pub mod apns;
mod asn1;
mod client;
mod clock;
mod cms;
mod counters;
mod device;
mod dice;
#[cfg(test)]
mod fake;
mod fleet;
mod keys;
pub mod load;
mod misbehave;
mod modexp;
mod reading;
mod record;
mod scep;
mod xml;

pub use client::{ClientError, Trust};
pub use cms::{CmsError, Identity, SignatureStyle, detached_signature};
pub use counters::{Counters, Figures};
pub use device::{
    Device, DeviceError, DeviceProfile, Hardware, Platform, RenewalOrder, SessionEnd, Transport,
    World,
};
pub use dice::Dice;
pub use fleet::{Fleet, FleetError, FleetOptions};
pub use keys::{DeviceKey, Digest, KeyError, KeyPool};
pub use misbehave::Misbehaviour;
pub use reading::ReadError;
pub use record::{CommandRecord, Fault, FaultKind, Record, ReportRecord, Summary};
pub use scep::{FailInfo, ScepError, ScepStyle};
