//! Calls by hand, for an author's tools: any function of any hook, with a question in JSON.
//!
//! Owns: finding the function in the component, filling in what an author leaves out, and what a call cost. The frame around the
//! call is that of every call: the same limits, the same time, the same account. Serves no tenant. What a server makes of a question
//! is in `asked`.

mod asked;

pub use asked::facts_of;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pomona_engine::TenantId;
use serde_json::{Map, Value, json};
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};

use crate::call::{Heard, Whose, seed_of};
use crate::error::PluginError;
use crate::json::{JsonError, Style, below, known, lift, lower, lower_as, plainest};
use crate::limits::Budget;
use crate::manifest::HookName;
use crate::plugin::Plugin;
use crate::services::Services;

/// The time at which a question is asked that names none: 2026-09-01T08:00:00Z, in milliseconds.
pub const QUESTION_TIME_MS: u64 = 1_788_249_600_000;

/// A question to a plugin.
#[derive(Clone)]
pub struct Question {
    /// The hook's interface, such as `command-validate`, or `settings`.
    pub hook: String,
    /// Its function; the one that decides when left out.
    pub function: Option<String>,
    /// The tenant's settings.
    pub settings: Value,
    /// Members of the call's context that differ from what the tool fills in.
    pub context: Map<String, Value>,
    /// The other parameters by name.
    pub input: Map<String, Value>,
    /// What serves its host functions.
    pub services: Option<Arc<dyn Services>>,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question")
            .field("hook", &self.hook)
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

/// Why a question cannot be asked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum QuestionError {
    /// A value does not fit its type; the pointer begins at the question.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The plugin has no such hook or function.
    #[error("{0}")]
    Unknown(String),
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Called {
    /// What the function gave.
    pub outcome: Result<Answer, PluginError>,
    /// What it cost.
    pub cost: Cost,
    /// What it wrote into the log.
    pub log: Vec<Heard>,
    /// Where it ended itself, the innermost function first; without the functions of the languages' own libraries. Empty
    /// unless it did, or when the code carries no names.
    pub trace: Vec<String>,
}

/// An answer, to be read and to be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// With JSON texts shown as what they say.
    pub readable: Value,
    /// Every byte as it came.
    pub exact: Value,
}

/// The cost of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// From the outside, the making of the instance included.
    pub wall: Duration,
    /// Of the processor.
    pub cpu: Duration,
    /// Linear memory at its highest, in bytes.
    pub memory: usize,
    /// Instructions, where they are counted.
    pub fuel: Option<u64>,
    /// Calls of host functions.
    pub host_calls: u32,
}

/// A function with its arguments, ready to be called.
struct Prepared {
    interface: String,
    function: String,
    arguments: Vec<Val>,
    results: usize,
    call_id: String,
    seed: u64,
    whose: Arc<Whose>,
}

impl Plugin {
    /// Asks one question after the other on one instance, which begins fresh. A call without an answer ends the round.
    ///
    /// # Errors
    /// [`QuestionError`] when a question cannot be asked; what goes wrong in a call is in [`Called`].
    pub async fn call_json(&self, questions: &[Question]) -> Result<Vec<Called>, QuestionError> {
        let Some(first) = questions.first() else {
            return Ok(Vec::new());
        };
        let other = questions.iter().find(|one| one.hook != first.hook);
        if let Some(other) = other {
            return Err(QuestionError::Unknown(format!(
                "one instance answers questions of one hook, not of {} and {}",
                first.hook, other.hook
            )));
        }
        let hook = HookName::from_word(&first.hook);
        let budget = self.budget(hook, questions);
        let prepared = questions.iter().map(|one| self.prepare(one, budget));
        let prepared: Vec<Prepared> = prepared.collect::<Result<_, _>>()?;
        let mut called: Vec<Called> = Vec::new();
        let mut begun = Instant::now();
        let round = self.call(
            budget,
            String::new(),
            hook,
            Whose::nobody(),
            async |store, instance| {
                let mut before = Cost::default();
                for one in &prepared {
                    store.data_mut().begin(&one.call_id, one.seed, &one.whose);
                    let interface = instance.get_export_index(&mut *store, None, &one.interface);
                    let function = interface.and_then(|interface| {
                        instance.get_export_index(&mut *store, Some(&interface), &one.function)
                    });
                    let function = function
                        .and_then(|function| instance.get_func(&mut *store, function))
                        .ok_or_else(|| wasmtime::format_err!("the function is not there"))?;
                    let mut results = vec![Val::Bool(false); one.results];
                    let outcome = function
                        .call_async(&mut *store, &one.arguments, &mut results)
                        .await;
                    let left = store.get_fuel().ok();
                    let state = store.data_mut();
                    let total = Cost {
                        wall: begun.elapsed(),
                        cpu: state.used(),
                        memory: state.account.memory(),
                        fuel: budget
                            .fuel
                            .zip(left)
                            .map(|(given, left)| given.saturating_sub(left)),
                        host_calls: state.host_calls(),
                    };
                    called.push(Called {
                        outcome: Ok(answer(results.first())),
                        cost: Cost {
                            cpu: total.cpu.saturating_sub(before.cpu),
                            fuel: total.fuel.map(|all| all - before.fuel.unwrap_or(0)),
                            ..total
                        },
                        log: state.heard(),
                        trace: outcome.as_ref().err().map(trace).unwrap_or_default(),
                    });
                    before = total;
                    begun = Instant::now();
                    outcome?;
                }
                Ok(())
            },
        );
        if let Err(error) = round.await {
            // The last call that was begun is the one that ended the round, unless nothing or only time did.
            let unfinished = matches!(error, PluginError::Time(_)) || called.is_empty();
            match called.last_mut().filter(|_| !unfinished) {
                Some(last) => last.outcome = Err(error),
                None => called.push(Called {
                    outcome: Err(error),
                    cost: Cost {
                        wall: begun.elapsed(),
                        ..Cost::default()
                    },
                    log: Vec::new(),
                    trace: Vec::new(),
                }),
            }
        }
        Ok(called)
    }

    /// An answer that was written by hand, as the plugin would have given it.
    ///
    /// # Errors
    /// [`QuestionError`] when the function cannot answer so; pointers begin at `at`.
    pub fn read_answer(
        &self,
        hook: &str,
        function: Option<&str>,
        answer: &Value,
        at: &str,
    ) -> Result<Value, QuestionError> {
        let budget = self.budget(HookName::from_word(hook), &[]);
        let (_, _, found) = self.find(hook, function, budget)?;
        let Some(ty) = found.results().next() else {
            return Ok(Value::Null);
        };
        Ok(lift(&lower(answer, &ty, at)?, Style::Readable))
    }

    /// The budget of a call of this hook.
    #[must_use]
    pub fn budget_of(&self, question: &Question) -> Budget {
        let hook = HookName::from_word(&question.hook);
        self.budget(hook, std::slice::from_ref(question))
    }

    /// Bytes of memory that a call may have.
    #[must_use]
    pub fn memory_limit(&self) -> usize {
        self.limits().memory
    }

    /// What all the questions may cost together.
    fn budget(&self, hook: Option<HookName>, questions: &[Question]) -> Budget {
        let one = hook.map_or_else(Budget::of_settings, Budget::of);
        let times = u32::try_from(questions.len()).unwrap_or(u32::MAX).max(1);
        let mut all = Budget {
            wall: one.wall.saturating_mul(times),
            cpu: one.cpu.saturating_mul(times),
            fuel: None,
        };
        if one.fuel.is_some() {
            let sizes = questions.iter().map(asked::size);
            let fuel = sizes.map(|bytes| one.with_fuel_for(bytes).fuel.unwrap_or(0));
            all.fuel = Some(fuel.sum::<u64>().max(one.fuel.unwrap_or(0)));
        }
        all
    }

    /// The full name of a hook's interface, and of its function with its type.
    fn find(
        &self,
        hook: &str,
        function: Option<&str>,
        budget: Budget,
    ) -> Result<(String, String, ComponentFunc), QuestionError> {
        let unknown = QuestionError::Unknown;
        let component = self
            .component(budget)
            .map_err(|error| unknown(error.to_string()))?;
        let (engine, ty) = (component.engine(), component.component_type());
        let exports = ty.exports(engine);
        let hooks = exports.filter_map(|(name, item)| match item.ty {
            ComponentItem::ComponentInstance(instance) => {
                let rest = name.strip_prefix("pomona:hooks/")?;
                let short = rest.split_once('@').map_or(rest, |(short, _)| short);
                Some((short.to_owned(), name.to_owned(), instance))
            }
            _ => None,
        });
        let hooks: Vec<(String, String, ComponentInstance)> = hooks.collect();
        let Some((_, interface, instance)) = hooks.iter().find(|(short, ..)| short == hook) else {
            let there: Vec<&str> = hooks.iter().map(|(short, ..)| short.as_str()).collect();
            return Err(unknown(format!(
                "the plugin has no hook {hook:?}; it has {}",
                there.join(", ")
            )));
        };
        let functions = instance
            .exports(engine)
            .filter_map(|(name, item)| match item.ty {
                ComponentItem::ComponentFunc(function) => Some((name.to_owned(), function)),
                _ => None,
            });
        let functions: Vec<(String, ComponentFunc)> = functions.collect();
        let named = |wanted: &str| functions.iter().find(|(name, _)| name == wanted);
        let decides = || {
            // The function that decides is told of its call; settings are looked at by `validate`.
            let told = |f: &ComponentFunc| f.params().any(|(name, _)| name == CONTEXT);
            let first = functions.iter().find(|(_, function)| told(function));
            first
                .or_else(|| named("validate"))
                .or_else(|| functions.first())
        };
        match function.map_or_else(decides, named) {
            Some((name, found)) => Ok((interface.clone(), name.clone(), found.clone())),
            None => {
                let there: Vec<&str> = functions.iter().map(|(name, _)| name.as_str()).collect();
                Err(unknown(format!(
                    "the hook {hook} has no function {:?}; it has {}",
                    function.unwrap_or_default(),
                    there.join(", ")
                )))
            }
        }
    }

    fn prepare(&self, question: &Question, budget: Budget) -> Result<Prepared, QuestionError> {
        let function = question.function.as_deref();
        let (interface, function, found) = self.find(&question.hook, function, budget)?;
        let context = self.context(question);
        let parameters: Vec<(&str, Type)> = found.params().collect();
        let asked = parameters.iter().map(|(name, _)| *name);
        known(
            &question.input,
            asked.filter(|name| *name != CONTEXT),
            "/input",
        )?;
        let mut arguments = Vec::with_capacity(parameters.len());
        for (name, ty) in &parameters {
            arguments.push(if *name == CONTEXT {
                lower(&Value::Object(context.clone()), ty, "/context")?
            } else {
                let at = below("/input", name);
                match question.input.get(*name) {
                    Some(value) => lower_as(value, ty, &at, name)?,
                    None => plainest(ty, &at)?,
                }
            });
        }
        let call_id = context.get("call-id").and_then(Value::as_str);
        let call_id = call_id.unwrap_or_default().to_owned();
        let seed = context.get("seed").and_then(Value::as_u64);
        Ok(Prepared {
            interface,
            function,
            arguments,
            results: found.results().len(),
            seed: seed.unwrap_or_else(|| seed_of(&call_id)),
            call_id,
            whose: Arc::new(Whose::of(
                &self.manifest().id,
                TenantId(uuid::Uuid::nil()),
                &question.settings.to_string(),
                self.manifest().capabilities.clone(),
                question.services.clone(),
            )),
        })
    }

    /// The context of a call, with what the question says of it.
    fn context(&self, question: &Question) -> Map<String, Value> {
        let manifest = self.manifest();
        let given = |name: &str| question.context.get(name).and_then(Value::as_str);
        let call_id = match given("call-id") {
            Some(call_id) => call_id.to_owned(),
            None => format!("{}/{}/by-hand", manifest.id, question.hook),
        };
        let filled = json!({
            "tenant": uuid::Uuid::nil().to_string(),
            "plugin": manifest.id,
            "version": manifest.version.to_string(),
            "hook": question.hook,
            "seed": seed_of(&call_id),
            "call-id": call_id,
            "attempt": 1,
            "now-ms": QUESTION_TIME_MS,
            "dry-run": false,
            "cause": null,
            "depth": 0,
        });
        let mut filled = match filled {
            Value::Object(filled) => filled,
            _ => Map::new(),
        };
        filled.extend(question.context.clone());
        filled
    }
}

/// The parameter that the host fills in.
const CONTEXT: &str = "context";

fn answer(value: Option<&Val>) -> Answer {
    let shown = |style| value.map_or(Value::Null, |value| lift(value, style));
    Answer {
        readable: shown(Style::Readable),
        exact: shown(Style::Exact),
    }
}

/// The functions on the way to where the guest ended itself.
fn trace(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<wasmtime::WasmBacktrace>() else {
        return Vec::new();
    };
    let names = trace.frames().iter().filter_map(|frame| {
        let symbol = frame.symbols().first();
        let name = symbol.and_then(|s| s.name()).or(frame.func_name())?;
        // Without the hash that the compiler appends.
        let name = format!("{:#}", rustc_demangle::demangle(name));
        let place = symbol.and_then(|s| Some((s.file()?, s.line()?)));
        let foreign = LIBRARIES.iter().any(|library| name.starts_with(library))
            // What the SDK's `export!` puts between the contract and the author's type.
            || name.contains("::_::Shim");
        let told = match place {
            Some((file, line)) => format!("{name} ({file}:{line})"),
            None => name,
        };
        (!foreign).then_some(told)
    });
    names.collect()
}

/// Functions of these say nothing about the plugin's own code.
const LIBRARIES: [&str; 11] = [
    "pomona:hooks/",
    "pomona_sdk::bindings",
    "std::",
    "core::",
    "alloc::",
    "<core::",
    "<alloc::",
    "<std::",
    "__rust",
    "rust_panic",
    "__rustc",
];
