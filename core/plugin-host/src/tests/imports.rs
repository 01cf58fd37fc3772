//! Every host function with its right missing, and with all rights.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use pomona_engine::hooks::DeviceSnapshot;
use pomona_engine::{DeviceId, TenantId, TrialMode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bindings::pomona::host::errors::AccessError;
use crate::bindings::pomona::host::{devices, http_out, kv, metrics, recipients, secrets};
use crate::call::{CallPlan, CallState, Whose, store};
use crate::limits::{Budget, Limits};
use crate::manifest::{HookName, Manifest};
use crate::meter::Meter;
use crate::rights::Capabilities;
use crate::runtime::Runtime;
use crate::services::{ForPlugin, OutReply, OutRequest, ServiceError, Services};
use crate::trial::Pair;

const DEVICE: &str = "01a20eeb-2cbc-75a1-814e-9b4431bebb81";
const ALL: &str = "secrets = [\"s\"]\nmetrics = [\"m\"]\n[devices]\nread = [\"core\", \"fact:a\"]\nsearch = true\nhistory = true\n[http]\nhosts = [\"https://api.example.org\"]\nmethods = [\"POST\"]\n[kv]\nquota-kib = 1\n";

/// Answers everything with something.
struct Generous;

#[async_trait]
impl Services for Generous {
    async fn device(&self, _: ForPlugin<'_>, id: DeviceId) -> Result<DeviceSnapshot, ServiceError> {
        Ok(DeviceSnapshot {
            device: Some(id),
            serial_number: Some("C02".into()),
            facts: ["a", "b"]
                .map(|name| pomona_engine::hooks::KnownFact {
                    name: name.into(),
                    value: json!(1),
                    source: "t".into(),
                    observed_at: 0,
                })
                .into(),
            ..DeviceSnapshot::default()
        })
    }

    async fn devices(
        &self,
        whose: ForPlugin<'_>,
        _: Option<&str>,
        _: Option<DeviceId>,
        _: u32,
    ) -> Result<Vec<DeviceSnapshot>, ServiceError> {
        let id = DEVICE.parse().unwrap();
        Ok(vec![self.device(whose, id).await?])
    }

    async fn history(
        &self,
        _: ForPlugin<'_>,
        _: DeviceId,
        _: &str,
        _: u32,
    ) -> Result<Vec<Value>, ServiceError> {
        Ok(vec![json!({})])
    }

    async fn value(&self, _: ForPlugin<'_>, _: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        Ok(Some(vec![1]))
    }

    async fn values(
        &self,
        _: ForPlugin<'_>,
        _: &str,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<(String, Vec<u8>)>, ServiceError> {
        Ok(vec![("k".into(), vec![1])])
    }

    async fn send(&self, _: ForPlugin<'_>, _: OutRequest) -> Result<OutReply, ServiceError> {
        Ok(OutReply {
            status: 204,
            headers: Vec::new(),
            body: Vec::new(),
        })
    }

    async fn sign(&self, _: ForPlugin<'_>, _: &str, _: &[u8]) -> Result<Vec<u8>, ServiceError> {
        Ok(vec![2])
    }
}

/// The state of a call of `hook` with these rights.
fn state(runtime: &Runtime, hook: HookName, granted: Capabilities) -> CallState {
    let manifest = super::manifest();
    let plan = CallPlan {
        limits: Limits::of(&manifest),
        budget: Budget::of_settings(),
        plugin: "org.example.guest".into(),
        call_id: "call".into(),
        whose: Arc::new(Whose::of(
            "org.example.guest",
            TenantId(Uuid::nil()),
            "{}",
            granted,
            Some(Arc::new(Generous)),
        )),
        hook: Some(hook),
        meter: Meter::default(),
    };
    store(runtime, plan).into_data()
}

fn told<T: std::fmt::Debug>(answer: wasmtime::Result<Result<T, AccessError>>) -> String {
    match answer.unwrap() {
        Ok(answer) => format!("{answer:?}"),
        Err(AccessError::Denied(why)) => format!("denied: {why}"),
        Err(error) => format!("{error:?}"),
    }
}

/// Calls a function of the contract; what came of it.
async fn call(function: &str, state: &mut CallState) -> String {
    let message = |header: &str| http_out::Message {
        method: "POST".into(),
        url: "https://api.example.org/x".into(),
        headers: vec![("authorization".into(), header.into())],
        body: Vec::new(),
        timeout_ms: 0,
    };
    match function {
        "devices.get" => told(devices::Host::get(state, DEVICE.into()).await),
        "devices.get-fact" => told(devices::Host::get_fact(state, DEVICE.into(), "a".into()).await),
        "devices.search" => told(devices::Host::search(state, None, None, 5).await),
        "devices.history" => {
            told(devices::Host::history(state, DEVICE.into(), "t".into(), 5).await)
        }
        "recipients.kinds" => told(recipients::Host::kinds(state).await),
        "kv.get" => told(kv::Host::get(state, "k".into()).await),
        "kv.scan" => told(kv::Host::scan(state, String::new(), None, 5).await),
        "http-out.send" => told(http_out::Host::send(state, message("secret:s")).await),
        "secrets.names" => format!("{:?}", secrets::Host::names(state).await.unwrap()),
        "secrets.hmac-sha256" => told(secrets::Host::hmac_sha256(state, "s".into(), vec![]).await),
        "metrics.add" => format!(
            "{:?}",
            metrics::Host::add(state, "m".into(), 1).await.unwrap()
        ),
        other => panic!("{other} is not tried"),
    }
}

/// Every function behind a right, as the contract names them, and what must be said without that right.
const REFUSALS: [(&str, &str); 11] = [
    (
        "recipients.kinds",
        "denied: core in capabilities.devices.read is not granted",
    ),
    (
        "devices.get",
        "denied: capabilities.devices.read is not granted",
    ),
    (
        "devices.get-fact",
        "denied: fact:a in capabilities.devices.read is not granted",
    ),
    (
        "devices.search",
        "denied: capabilities.devices.search is not granted",
    ),
    (
        "devices.history",
        "denied: capabilities.devices.history is not granted",
    ),
    ("kv.get", "denied: capabilities.kv is not granted"),
    ("kv.scan", "denied: capabilities.kv is not granted"),
    (
        "http-out.send",
        "denied: https://api.example.org in capabilities.http.hosts is not granted",
    ),
    // These two have no way to refuse: no name is told, nothing is counted.
    ("secrets.names", "[]"),
    ("metrics.add", "()"),
    (
        "secrets.hmac-sha256",
        "denied: s in capabilities.secrets is not granted",
    ),
];

#[tokio::test]
async fn every_function_is_refused_by_name_without_its_right_and_served_with_it() {
    let runtime = Runtime::new().unwrap();
    let all: Capabilities = toml::from_str(ALL).unwrap();
    let (resolve, _) = crate::contract::world_of(&super::manifest(), false).unwrap();
    let behind_a_right: BTreeSet<String> = resolve
        .interfaces
        .iter()
        .filter_map(|(_, interface)| {
            let name = interface.name.as_deref()?;
            let package = &resolve.packages[interface.package?].name;
            (package.namespace == "pomona" && package.name == "host").then_some((name, interface))
        })
        .filter(|(name, _)| !crate::contract::OFFERED.contains(&&*format!("pomona:host/{name}")))
        .flat_map(|(name, interface)| {
            let functions = interface.functions.keys();
            functions.map(move |function| format!("{name}.{function}"))
        })
        .collect();
    let tried: BTreeSet<String> = REFUSALS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(
        tried, behind_a_right,
        "the contract has functions that are not tried"
    );
    for (function, refusal) in REFUSALS {
        let none = Capabilities::default();
        let mut state = state(&runtime, HookName::Events, none);
        assert_eq!(call(function, &mut state).await, refusal);
    }
    for (function, _) in REFUSALS {
        let mut state = state(&runtime, HookName::Events, all.clone());
        let told = call(function, &mut state).await;
        assert!(!told.contains("denied"), "{function}: {told}");
    }
    // What looks at a device sees its question and nothing else.
    for (function, _) in REFUSALS.iter().filter(|(name, _)| !name.contains("names")) {
        let mut state = state(&runtime, HookName::Compliance, all.clone());
        let told = call(function, &mut state).await;
        assert!(
            told.contains("deterministic") || told == "()",
            "{function}: {told}"
        );
    }
    let mut state = state(&runtime, HookName::Events, all);
    let device = call("devices.get", &mut state).await;
    // As it is written out: within the text of the facts.
    assert!(device.contains("C02"), "{device}");
    assert!(device.contains(r#"{\"a\":"#), "{device}");
    assert!(!device.contains(r#"\"b\""#), "{device}");
}

#[tokio::test]
async fn an_import_that_is_not_granted_is_refused_by_name_when_it_is_installed() {
    let runtime = Runtime::new().unwrap();
    let text = |capabilities: &str| {
        format!(
            "id = \"org.example.guest\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Guest\"\n[hooks.command-validate]\n{capabilities}"
        )
    };
    let module = |import: &str| {
        super::module("", "(i32.const 1024)").replacen("(module", &format!("(module {import}"), 1)
    };
    for (rights, import, missing) in [
        (
            "[capabilities.kv]\nquota-kib = 1\n",
            "(import \"pomona:host/kv@0.9.0\" \"get\" (func (param i32 i32 i32)))",
            "capabilities.kv is not granted",
        ),
        (
            "[capabilities.devices]\nread = [\"core\"]\n",
            "(import \"pomona:host/devices@0.9.0\" \"get\" (func (param i32 i32 i32)))",
            "capabilities.devices.read is not granted",
        ),
        (
            "[capabilities]\nmetrics = [\"m\"]\n",
            "(import \"pomona:host/metrics@0.9.0\" \"add\" (func (param i32 i32 i32)))",
            "capabilities.metrics is not granted",
        ),
    ] {
        let manifest = Manifest::parse(&text(rights)).unwrap();
        let component = super::component_of(&manifest, &module(import)).unwrap();
        let loaded = super::load_as(&runtime, manifest.clone(), &component).await;
        assert!(loaded.is_ok(), "{loaded:?}");
        let none = Manifest::parse(&text("")).unwrap();
        let refused = super::load_as(&runtime, none, &component)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(missing), "{refused}");
    }
}

#[tokio::test]
async fn nothing_leaves_by_a_call_whose_answer_is_only_compared() {
    let runtime = Runtime::new().unwrap();
    let served = async || {
        let component = super::component(&super::module("", "(i32.const 1024)")).unwrap();
        let plugin = super::load(&runtime, &component).await.unwrap();
        super::switched_on(super::manifest(), plugin, Some(Arc::new(Generous)))
    };
    let (active, trial) = (Arc::new(served().await), served().await);
    let ledger = Arc::new(super::trials::Noted::default());
    let pair = Pair::new(active, &trial, None, TrialMode::Shadow, ledger);
    for compared in pair.only_compared() {
        let services = compared.whose.services.clone().unwrap();
        nothing_leaves(&*services).await;
    }
}

async fn nothing_leaves(services: &dyn Services) {
    let whose = ForPlugin {
        tenant: TenantId(Uuid::nil()),
        plugin: "org.example.guest",
        schema: 1,
    };
    let request = OutRequest {
        method: "POST".into(),
        url: "https://api.example.org/".parse().unwrap(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: 1,
        private: false,
        secrets: BTreeSet::new(),
    };
    for told in [
        services.send(whose, request).await.err(),
        services.sign(whose, "s", b"x").await.err(),
    ] {
        let Some(ServiceError::Denied(why)) = told else {
            panic!("{told:?}");
        };
        assert!(why.contains("is not in a trial"), "{why}");
    }
    let id = DEVICE.parse().unwrap();
    assert!(services.device(whose, id).await.is_ok());
    assert_eq!(services.value(whose, "k").await, Ok(Some(vec![1])));
}
