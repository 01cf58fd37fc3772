//! One call of a plugin: its state, its time, and the host functions it may use.
//!
//! Owns: what stands in a store, and that nothing the host knows of one call reaches the next, also where the guest's memory does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256, digest};
use pomona_engine::TenantId;
use pomona_engine::hooks::DeviceKind;
use wasmtime::{Store, UpdateDeadline};

use crate::bindings::pomona::host::log::Level;
use crate::bindings::pomona::host::{clock, config, log, random};
use crate::kind::Kind;
use crate::limits::{Account, Budget, Limits};
use crate::manifest::HookName;
use crate::meter::Meter;
use crate::record::Seen;
use crate::rights::{Capabilities, Rights, Wish};
use crate::rooms::Room;
use crate::runtime::Runtime;
use crate::services::Services;

/// Random bytes that one call of `random` gives at most.
const RANDOM: u32 = 1_024;

/// The state of a call.
pub(crate) struct CallState {
    pub(crate) account: Account,
    limits: Limits,
    plugin: Arc<str>,
    call_id: String,
    settings: Arc<str>,
    pub(crate) whose: Arc<Whose>,
    pub(crate) hook: Option<HookName>,
    /// What random numbers are drawn from; few calls draw any.
    seed: Option<u64>,
    drawn: u64,
    begun: Instant,
    host_calls: u32,
    lines: u32,
    /// Bytes of questions to the catalogue and of its answers.
    pub(crate) catalogue_bytes: usize,
    /// For whom the command is that is to be changed, where that is known.
    pub(crate) kinds: Option<Vec<DeviceKind>>,
    /// The message of a panic, as the guest told it.
    pub(crate) panic: Option<String>,
    /// What the call ran out of.
    pub(crate) exhausted: Option<&'static str>,
    meter: Meter,
    /// Lines of the log, where somebody listens.
    heard: Option<Vec<Heard>>,
}

/// A line of the log of a call that was made by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// How grave it is: `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// What it says, tamed.
    pub message: String,
    /// Its fields, as JSON, or empty.
    pub fields: String,
}

/// For whom calls are made: the tenant, its rights and settings, and what serves it.
pub(crate) struct Whose {
    pub(crate) tenant: TenantId,
    pub(crate) settings: Arc<str>,
    pub(crate) rights: Rights,
    pub(crate) services: Option<Arc<dyn Services>>,
    /// Its places for calls at the same time.
    pub(crate) room: Room,
    /// What is noted of its calls.
    pub(crate) seen: Arc<Seen>,
    /// Whether nothing of what is answered is carried out: then no call takes a place of the others, and nothing is counted.
    pub(crate) aside: bool,
    /// What stands behind the plugin's name in logs and figures; empty for the version that is in force.
    pub(crate) mark: &'static str,
    /// The operator's metric of their memory.
    memory: metrics::Gauge,
    plugin: String,
}

impl Whose {
    /// Nobody: a call that is made to look at a plugin.
    pub(crate) fn nobody() -> Arc<Self> {
        let tenant = TenantId(uuid::Uuid::nil());
        Arc::new(Self::of("", tenant, "{}", Capabilities::default(), None))
    }

    /// A plugin in a tenant, with nothing noted yet.
    pub(crate) fn of(
        plugin: &str,
        tenant: TenantId,
        settings: &str,
        granted: Capabilities,
        services: Option<Arc<dyn Services>>,
    ) -> Self {
        Self {
            tenant,
            settings: settings.into(),
            rights: Rights { granted },
            services,
            room: Room::default(),
            seen: Arc::default(),
            aside: false,
            mark: "",
            memory: memory_of(plugin),
            plugin: plugin.to_owned(),
        }
    }

    /// The same tenant, rights and settings with another mark and places of their own. What is noted is noted together.
    pub(crate) fn marked(&self, mark: &'static str) -> Self {
        Self {
            tenant: self.tenant,
            settings: self.settings.clone(),
            rights: self.rights.clone(),
            services: self.services.clone(),
            room: Room::default(),
            seen: self.seen.clone(),
            aside: self.aside,
            mark,
            memory: memory_of(&format!("{}{mark}", self.plugin)),
            plugin: self.plugin.clone(),
        }
    }

    /// Asks for a right; what is refused is noted.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check(&self, hook: Option<HookName>, wish: Wish<'_>) -> Result<(), String> {
        self.rights.check(hook, wish).inspect_err(|why| {
            self.seen.refused(why);
            let plugin = format!("{}{}", self.plugin, self.mark);
            metrics::counter!("pomona_plugin_refusals_total", "plugin" => plugin).increment(1);
        })
    }
}

/// The operator's metric of the memory of a plugin's calls. It is looked up once: each look makes texts of the labels.
fn memory_of(plugin: &str) -> metrics::Gauge {
    match plugin {
        "" => metrics::Gauge::noop(),
        _ => metrics::gauge!("pomona_plugin_memory_bytes", "plugin" => plugin.to_owned()),
    }
}

/// What a call is made with.
pub(crate) struct CallPlan {
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
    pub(crate) plugin: Arc<str>,
    pub(crate) call_id: String,
    pub(crate) whose: Arc<Whose>,
    pub(crate) hook: Option<HookName>,
    pub(crate) meter: Meter,
}

/// A store for a new instance.
pub(crate) fn store(runtime: &Runtime, plan: CallPlan) -> Store<CallState> {
    let kind = match plan.budget.fuel {
        Some(_) => Kind::Deterministic,
        None => Kind::Interactive,
    };
    let budget = plan.budget;
    let mut store = Store::new(runtime.engine(kind), CallState::of(plan));
    store.limiter(|state| &mut state.account);
    arm(&mut store, budget);
    store
}

/// Makes a store that has served a call ready for another.
pub(crate) fn renew(store: &mut Store<CallState>, plan: CallPlan) {
    let budget = plan.budget;
    let mut next = CallState::of(plan);
    let state = store.data_mut();
    next.account = state.account.continued();
    *state = next;
    arm(store, budget);
}

/// Sets the limits of a call. A guest that runs is stopped for a moment at each tick, so that others get their turn and the time
/// limit around the call can act; after its share of processor time it is ended.
fn arm(store: &mut Store<CallState>, budget: Budget) {
    let host_bytes = store.data().limits.host_bytes;
    store.set_hostcall_fuel(host_bytes);
    if let Some(fuel) = budget.fuel
        && let Err(error) = store.set_fuel(fuel)
    {
        // Only an engine that counts no instructions refuses them; then the processor's time is the wall that is left.
        tracing::error!(%error, "instructions of a plugin cannot be counted");
    }
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |mut context| {
        if context.data().meter.used() > budget.cpu {
            context.data_mut().exhausted = Some("processor time");
            return Err(wasmtime::format_err!("out of processor time"));
        }
        Ok(UpdateDeadline::Yield(1))
    });
}

impl Drop for CallState {
    /// However the call ended, its caller may have left long before.
    fn drop(&mut self) {
        self.note_memory();
    }
}

impl CallState {
    /// The state of a call that begins now.
    fn of(plan: CallPlan) -> Self {
        Self {
            account: Account::new(plan.limits),
            limits: plan.limits,
            plugin: plan.plugin,
            seed: None,
            call_id: plan.call_id,
            settings: plan.whose.settings.clone(),
            whose: plan.whose,
            hook: plan.hook,
            drawn: 0,
            begun: Instant::now(),
            host_calls: 0,
            lines: 0,
            catalogue_bytes: 0,
            kinds: None,
            panic: None,
            exhausted: None,
            meter: plan.meter,
            heard: None,
        }
    }

    /// Names the call.
    pub(crate) fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Whether what the guest has leaves room for the calls to come.
    pub(crate) fn roomy(&self) -> bool {
        self.account.roomy()
    }

    /// Notes how much memory the instance has had.
    pub(crate) fn note_memory(&self) {
        let memory = self.account.memory();
        self.whose.seen.memory(memory);
        self.whose.memory.set(memory as f64);
    }

    /// Counts a call of the host; after too many the guest is ended.
    pub(crate) fn counted(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.limits.host_calls {
            self.exhausted = Some("host calls");
            return Err(wasmtime::format_err!("too many host calls"));
        }
        Ok(())
    }

    /// Begins a call by hand: nothing that the host knows of the one before reaches it, and somebody listens.
    pub(crate) fn begin(&mut self, call_id: &str, seed: u64, whose: &Arc<Whose>) {
        self.call_id = call_id.to_owned();
        self.seed = Some(seed);
        self.settings = whose.settings.clone();
        self.whose = whose.clone();
        (self.drawn, self.host_calls, self.lines) = (0, 0, 0);
        self.catalogue_bytes = 0;
        self.begun = Instant::now();
        self.heard = Some(Vec::new());
    }

    /// What was written into the log since [`CallState::begin`].
    pub(crate) fn heard(&mut self) -> Vec<Heard> {
        self.heard.take().unwrap_or_default()
    }

    /// Processor time that the call has used.
    pub(crate) fn used(&self) -> Duration {
        self.meter.used()
    }

    /// Calls of host functions so far.
    pub(crate) fn host_calls(&self) -> u32 {
        self.host_calls
    }

    /// The plugin's id.
    pub(crate) fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Lines of the log that were left out.
    pub(crate) fn left_out(&self) -> u32 {
        self.lines.saturating_sub(self.limits.log_lines)
    }

    /// How long the call has taken.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// A text of the guest as the log may show it: cut, on one line, without control characters.
fn tame(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end)
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

impl log::Host for CallState {
    fn write(
        &mut self,
        level: Level,
        message: String,
        fields_json: String,
    ) -> wasmtime::Result<()> {
        self.counted()?;
        self.lines += 1;
        if self.lines > self.limits.log_lines {
            return Ok(());
        }
        let message = tame(&message, self.limits.log_bytes);
        let fields = tame(&fields_json, self.limits.log_bytes);
        if let Some(heard) = &mut self.heard {
            heard.push(Heard {
                level: match level {
                    Level::Debug => "debug",
                    Level::Info => "info",
                    Level::Warn => "warn",
                    Level::Error => "error",
                },
                message: message.clone(),
                fields: fields.clone(),
            });
        }
        let plugin = format!("{}{}", self.plugin, self.whose.mark);
        let call = self.call_id.as_str();
        match level {
            Level::Debug => tracing::debug!(plugin, call, fields, "plugin: {message}"),
            Level::Info => tracing::info!(plugin, call, fields, "plugin: {message}"),
            Level::Warn => tracing::warn!(plugin, call, fields, "plugin: {message}"),
            Level::Error => tracing::error!(plugin, call, fields, "plugin: {message}"),
        }
        Ok(())
    }

    fn panic(&mut self, message: String) -> wasmtime::Result<()> {
        self.counted()?;
        self.panic = Some(tame(&message, self.limits.log_bytes));
        Ok(())
    }
}

impl config::Host for CallState {
    fn get_json(&mut self) -> wasmtime::Result<String> {
        self.counted()?;
        Ok(self.settings.to_string())
    }

    fn feature(&mut self, _name: String) -> wasmtime::Result<bool> {
        self.counted()?;
        // 0.9.0 is the first release: there is nothing to ask for yet.
        Ok(false)
    }
}

impl clock::Host for CallState {
    fn elapsed_ms(&mut self) -> wasmtime::Result<u32> {
        self.counted()?;
        if self.hook.is_some_and(HookName::deterministic) {
            return Ok(0);
        }
        Ok(u32::try_from(self.elapsed().as_millis()).unwrap_or(u32::MAX))
    }
}

impl random::Host for CallState {
    /// A stream of hashes of the seed and a counter: the same seed gives the same bytes.
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        self.counted()?;
        let seed = *self.seed.get_or_insert_with(|| seed_of(&self.call_id));
        let count = count.min(RANDOM) as usize;
        let mut out = Vec::with_capacity(count + 32);
        while out.len() < count {
            let mut context = Context::new(&SHA256);
            context.update(&seed.to_be_bytes());
            context.update(&self.drawn.to_be_bytes());
            out.extend_from_slice(context.finish().as_ref());
            self.drawn += 1;
        }
        out.truncate(count);
        Ok(out)
    }
}

/// A seed for a call, from its id.
pub(crate) fn seed_of(call_id: &str) -> u64 {
    let hash = digest(&SHA256, call_id.as_bytes());
    hash.as_ref()
        .first_chunk()
        .map_or(0, |bytes: &[u8; 8]| u64::from_be_bytes(*bytes))
}
