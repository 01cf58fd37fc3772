//! Many devices at once: they enroll, wait for pushes, work, and come back on their own terms.
//!
//! Owns the mix of platforms, the bounds on what happens at the same time, when a device
//! connects, and the summing up. Never speaks the protocol: devices do. Every task ends when the
//! fleet is stopped or dropped.

mod options;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;
use url::Url;

pub use options::FleetOptions;

use crate::apns::ApnsHandle;
use crate::client::Trust;
use crate::counters::{Counters, Figures};
use crate::device::{Device, DeviceError, DeviceProfile, Platform, World};
use crate::dice::Dice;
use crate::keys::KeyPool;
use crate::load::LoadDevice;
use crate::record::Summary;
use crate::{ClientError, RenewalOrder};

/// Attempts to enroll before a device gives up, when it is refused (and not merely unlucky).
const MAX_REFUSALS: u32 = 3;
/// How long a stop waits for sessions to end by themselves.
const GRACE: Duration = Duration::from_secs(10);

/// Why a fleet does not start.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is no link to enroll with.
    #[error("a fleet needs at least one enrollment link")]
    NoLink,
    /// The trusted certificates cannot be read.
    #[error(transparent)]
    Trust(#[from] ClientError),
}

/// A running fleet.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    devices: Vec<Arc<Mutex<Device>>>,
    tracker: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    world: Arc<World>,
    options: FleetOptions,
    enrolling: Semaphore,
    sessions: Semaphore,
    /// Devices that are enrolled, or have given up.
    settled: AtomicUsize,
    gave_up: AtomicUsize,
    settled_signal: Notify,
    /// No new sessions.
    stop: CancellationToken,
    /// Not even the present ones.
    abort: CancellationToken,
}

impl Fleet {
    /// Starts all devices. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// [`FleetError`] when the options make no fleet.
    pub fn start(options: FleetOptions, apns: Option<ApnsHandle>) -> Result<Self, FleetError> {
        if options.enroll_urls.is_empty() {
            return Err(FleetError::NoLink);
        }
        let trust = Trust::from_pem(&options.trust_pem)?;
        let mut world = World::new(trust, options.transport.clone());
        world.scep_base.clone_from(&options.scep_base);
        world.apns = apns;
        world.timeout = options.timeout;
        world.keys = match options.key_pool {
            0 => KeyPool::fresh(),
            count => KeyPool::shared(count),
        };
        let world = Arc::new(world);
        let devices: Vec<_> = (0..options.devices)
            .map(|index| Arc::new(Mutex::new(draw(&options, index, &world))))
            .collect();
        let shared = Arc::new(Shared {
            world,
            enrolling: Semaphore::new(options.enroll_at_once.max(1)),
            sessions: Semaphore::new(options.sessions_at_once.max(1)),
            settled: AtomicUsize::new(0),
            gave_up: AtomicUsize::new(0),
            settled_signal: Notify::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            options,
        });
        let tracker = TaskTracker::new();
        for (index, device) in devices.iter().enumerate() {
            let life = live(index, Arc::clone(device), Arc::clone(&shared));
            let abort = shared.abort.clone();
            tracker.spawn(async move {
                tokio::select! {
                    () = abort.cancelled() => {}
                    () = life => {}
                }
            });
        }
        tracker.close();
        Ok(Self {
            shared,
            devices,
            tracker,
        })
    }

    /// The live figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.shared.world.counters.figures()
    }

    /// The counters behind them.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.world.counters
    }

    /// The devices, in order. A device is locked while it is in a session.
    #[must_use]
    pub fn devices(&self) -> &[Arc<Mutex<Device>>] {
        &self.devices
    }

    /// Waits until every device has enrolled or given up; gives the number that gave up.
    pub async fn settled(&self) -> usize {
        loop {
            let signal = self.shared.settled_signal.notified();
            let mut signal = std::pin::pin!(signal);
            // Registered before the count is read, so that no change is missed.
            signal.as_mut().enable();
            if self.shared.settled.load(Ordering::Acquire) >= self.devices.len() {
                return self.shared.gave_up.load(Ordering::Acquire);
            }
            signal.await;
        }
    }

    /// Cancelling this token stops the fleet like [`Fleet::stop`], but without the sum.
    #[must_use]
    pub fn cancellation(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// Sums up the records so far. Waits for each device that is in a session.
    pub async fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for device in &self.devices {
            let device = device.lock().await;
            device.records().for_each(|record| summary.add(record));
        }
        summary
    }

    /// Writes all records as JSON lines.
    ///
    /// # Errors
    /// What the writer reports.
    pub async fn write_records(&self, out: &mut (impl Write + Send)) -> io::Result<()> {
        for device in &self.devices {
            let device = device.lock().await;
            for record in device.records() {
                record.write_json_lines(out)?;
            }
        }
        Ok(())
    }

    /// Where the fleet's devices send their reports; `None` while none is enrolled.
    pub async fn report_url(&self) -> Option<Url> {
        for device in &self.devices {
            if let Some(url) = device.lock().await.report_url() {
                return Some(url);
            }
        }
        None
    }

    /// The enrolled devices as the load generator takes them.
    pub async fn load_devices(&self) -> Vec<LoadDevice> {
        let mut all = Vec::with_capacity(self.devices.len());
        for device in &self.devices {
            all.extend(device.lock().await.load_device());
        }
        all
    }

    /// Stops the fleet: no new session, ten seconds for the present ones, then the sum.
    pub async fn stop(&self) -> Summary {
        self.shared.stop.cancel();
        if tokio::time::timeout(GRACE, self.tracker.wait())
            .await
            .is_err()
        {
            self.shared.abort.cancel();
            self.tracker.wait().await;
        }
        self.summary().await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.abort.cancel();
    }
}

/// Device `index` of the fleet, by the fleet's seed.
fn draw(options: &FleetOptions, index: usize, world: &Arc<World>) -> Device {
    let part = u64::try_from(index).unwrap_or(u64::MAX);
    let mut dice = Dice::part(options.seed, part);
    let total: u32 = options.mix.iter().map(|(_, weight)| weight).sum();
    let mut at = dice.below(u64::from(total));
    let platform = options.mix.iter().find_map(|(platform, weight)| {
        let weight = u64::from(*weight);
        if at < weight {
            return Some(*platform);
        }
        at = at.saturating_sub(weight);
        None
    });
    let mut profile = DeviceProfile::new(platform.unwrap_or(Platform::IPhone));
    profile.users = options.users;
    profile.misbehaviour = options.misbehaviour;
    profile.think_time = options.think_time;
    profile.awaiting_configuration = options.awaiting_configuration;
    profile.user_authenticate = dice.chance(0.5);
    profile.supervised = dice.chance(options.supervised);
    profile.scep.force_get = dice.chance(0.05);
    profile.scep.indefinite = dice.chance(0.1);
    profile.scep.aes_256 = dice.chance(0.3);
    profile.renewal = match dice.below(2) {
        0 => RenewalOrder::CheckInFirst,
        _ => RenewalOrder::AcknowledgeFirst,
    };
    Device::new(profile, dice.number(), Arc::clone(world))
}

/// A device's life in the fleet.
async fn live(index: usize, device: Arc<Mutex<Device>>, shared: Arc<Shared>) {
    let waker = device.lock().await.waker();
    let mut dice = Dice::part(shared.options.seed.wrapping_add(1), index as u64);
    let mut settled = false;
    let mut due = None;
    while !shared.stop.is_cancelled() {
        let enrolled = device.lock().await.is_enrolled();
        if !enrolled {
            if settled && !shared.options.enroll_again {
                return;
            }
            let done = enroll(index, &device, &shared, &mut dice).await;
            if !settled {
                settled = true;
                shared
                    .gave_up
                    .fetch_add(usize::from(!done), Ordering::AcqRel);
                shared.settled.fetch_add(1, Ordering::AcqRel);
                shared.settled_signal.notify_waiters();
            }
            if !done {
                return;
            }
            due = next_poll(&shared.options, &mut dice);
        }
        let polled = tokio::select! {
            () = shared.stop.cancelled() => return,
            () = waker.notified() => false,
            () = at(due) => true,
        };
        let Ok(permit) = shared.sessions.acquire().await else {
            return;
        };
        if shared.stop.is_cancelled() {
            return;
        }
        let pause = {
            let mut device = device.lock().await;
            connect(&mut device, polled).await
        };
        drop(permit);
        let regular = if polled {
            next_poll(&shared.options, &mut dice)
        } else {
            due
        };
        let again = pause.map(|pause| match pause {
            Pause::NotNow => shared.options.not_now_retry,
            Pause::Busy(seconds) => Duration::from_secs(seconds.min(60)),
        });
        let again = again.map(|time| Instant::now() + jitter(time, &mut dice));
        due = match (regular, again) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if !be_absent(&device, &shared, &mut dice).await {
            return;
        }
    }
}

/// Leaves the net for a while, if chance has it; false when the fleet stops meanwhile.
async fn be_absent(device: &Mutex<Device>, shared: &Shared, dice: &mut Dice) -> bool {
    let Some((rate, time)) = shared.options.absence else {
        return true;
    };
    if !dice.chance(rate) {
        return true;
    }
    device.lock().await.set_online(false);
    let stayed = tokio::select! {
        () = shared.stop.cancelled() => false,
        () = tokio::time::sleep(jitter(time, dice)) => true,
    };
    device.lock().await.set_online(true);
    stayed
}

/// Why a device connects again without being asked to.
#[derive(Clone, Copy, Debug)]
enum Pause {
    NotNow,
    Busy(u64),
}

/// Works on the channels that were rung, or on all.
async fn connect(device: &mut Device, all: bool) -> Option<Pause> {
    let rung = match device.take_pushes().await {
        Ok(rung) => rung,
        Err(error) => {
            debug!(%error, "a token update failed");
            Vec::new()
        }
    };
    let mut pause = None;
    for channel in 0..device.channels() {
        if !(all || rung.contains(&channel)) || !device.is_reachable(channel) {
            continue;
        }
        match device.session(channel).await {
            Ok(end) if end.ended => return None,
            Ok(end) => {
                if let Some(seconds) = end.busy {
                    pause = Some(Pause::Busy(seconds));
                } else if end.put_off {
                    pause.get_or_insert(Pause::NotNow);
                }
            }
            Err(error) => {
                debug!(%error, "a session broke off");
                pause = Some(Pause::Busy(1));
            }
        }
    }
    pause
}

/// True when the device is enrolled, false when it gave up or the fleet stops.
async fn enroll(index: usize, device: &Mutex<Device>, shared: &Shared, dice: &mut Dice) -> bool {
    let links = &shared.options.enroll_urls;
    let mut refusals = 0;
    let mut wait = shared.options.enroll_retry;
    loop {
        let Some(link) = links.get(index % links.len().max(1)) else {
            return false;
        };
        let permit = tokio::select! {
            () = shared.stop.cancelled() => return false,
            permit = shared.enrolling.acquire() => permit,
        };
        if permit.is_err() {
            return false;
        }
        let outcome = device.lock().await.enroll(link).await;
        drop(permit);
        match outcome {
            Ok(()) => return true,
            Err(DeviceError::Refused { message, status }) if (429..600).contains(&status) => {
                debug!(message, status, "the server is busy");
            }
            Err(DeviceError::Client(error)) => debug!(%error, "enrolling failed"),
            Err(error) => {
                debug!(%error, "enrolling was refused");
                shared.world.counters.error();
                refusals += 1;
                if refusals >= MAX_REFUSALS {
                    return false;
                }
            }
        }
        tokio::select! {
            () = shared.stop.cancelled() => return false,
            () = tokio::time::sleep(jitter(wait, dice)) => {}
        }
        wait = wait.saturating_mul(2).min(Duration::from_secs(30));
    }
}

fn next_poll(options: &FleetOptions, dice: &mut Dice) -> Option<Instant> {
    let interval = options.idle_poll?;
    Some(Instant::now() + jitter(interval, dice))
}

/// Half to one and a half of a time.
fn jitter(time: Duration, dice: &mut Dice) -> Duration {
    let percent = u32::try_from(dice.below(100))
        .unwrap_or(0)
        .saturating_add(50);
    time.saturating_mul(percent) / 100
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
