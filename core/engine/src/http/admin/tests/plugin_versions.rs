//! Versions of plugins over the admin API, on both databases: upgrade with migrated settings, values, and the way back.
//!
//! Owns: a host whose packages are JSON, so that what code would say can be written down in a test.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Stage;
use crate::admin::plugin_host::{Inspected, PluginHealth, PluginHost};
use crate::admin::trust::{TrustLevel, TrustPolicy, Vouched};
use crate::clock::{DAY, ManualClock, SystemEntropy};
use crate::ids::TenantId;
use crate::seal::{Keyring, RootKey};
use crate::store::plugins::OwnRights;
use crate::store::values::{self, Place};
use crate::store::{Store, StoreOptions};

const ID: &str = "org.example.a";
const HERE: &str = "/api/v1/plugins";
const BACK: &str = "/api/v1/plugins/org.example.a/rollback";

/// A version. Its settings are `{"form": FORM, "n": N}`; it takes those of its own form with an `n` up to `most`.
fn package(version: &str, form: &str) -> Value {
    json!({ "id": ID, "version": version, "form": form, "most": 100, "kv": null, "rights": ["r"] })
}

fn with(mut package: Value, name: &str, value: Value) -> Value {
    package[name] = value;
    package
}

/// Reads packages of JSON.
struct JsonHost {
    store: Store,
    /// What a tenant changes while its settings are being migrated.
    meanwhile: Mutex<Option<(TenantId, Value)>>,
    /// Whether packages are taken at all.
    taken: Mutex<bool>,
}

fn read(package: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(package).map_err(|error| error.to_string())
}

fn rights(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.map(|right| right.as_str().unwrap().to_owned())
        .collect()
}

fn fits(package: &Value, settings: &Value) -> Result<(), String> {
    if settings["form"] != package["form"] {
        return Err(format!("the form is not {}", package["form"]));
    }
    if settings["n"].as_i64() > package["most"].as_i64() {
        return Err(format!("n is more than {}", package["most"]));
    }
    Ok(())
}

#[async_trait::async_trait]
impl PluginHost for JsonHost {
    async fn inspect(&self, package: &[u8]) -> Result<Inspected, String> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, package);
        let digest = hex::encode(digest);
        let revocations = self.store.plugin_revocations().await.unwrap();
        if let Some(reason) = revocations.of(&digest, []) {
            return Err(reason);
        }
        if !*self.taken.lock() {
            return Err("it is not signed by anybody who is trusted".into());
        }
        let package = read(package)?;
        Ok(Inspected {
            id: ID.into(),
            version: package["version"].as_str().unwrap().into(),
            title: "A".into(),
            digest,
            vouched: Vouched {
                level: TrustLevel::Unsigned,
                signed_by: None,
                countersigned_by: None,
            },
            rights: package["rights"].clone(),
            kv_schema: self.kv_schema(package.to_string().as_bytes())?,
        })
    }

    fn asked(&self, package: &[u8]) -> Result<Value, String> {
        Ok(read(package)?["rights"].clone())
    }

    fn beyond(&self, wanted: &Value, those: &Value) -> Result<Vec<String>, String> {
        let those = rights(those);
        let mut wanted = rights(wanted);
        wanted.retain(|right| !those.contains(right));
        Ok(wanted)
    }

    fn trial_health(&self, _: TenantId, _: &str) -> Option<PluginHealth> {
        None
    }

    async fn check_settings(&self, plugin: &str, settings: &Value) -> Result<Vec<String>, String> {
        let package = self.store.plugin_package(plugin).await.unwrap();
        Ok(fits(&read(&package)?, settings).err().into_iter().collect())
    }

    fn kv_schema(&self, package: &[u8]) -> Result<Option<u32>, String> {
        Ok(read(package)?["kv"].as_u64().map(|n| n.try_into().unwrap()))
    }

    async fn carry_settings(
        &self,
        package: &[u8],
        from: Option<&str>,
        settings: &[Value],
    ) -> Result<Vec<Result<Value, String>>, String> {
        let meanwhile = self.meanwhile.lock().take();
        if let Some((tenant, settings)) = meanwhile {
            let digest = self.store.plugins().await.unwrap()[0].digest.clone();
            let text = settings.to_string();
            let actor = crate::actor::Actor::SYSTEM;
            self.store
                .switch_plugin_on(actor, tenant, (ID, &digest), Some(&text), OwnRights::All)
                .await
                .unwrap();
        }
        let package = read(package)?;
        let carried = settings.iter().map(|settings| {
            let mut settings = settings.clone();
            if let Some(from) = from {
                settings["form"] = package["form"].clone();
                settings["from"] = from.into();
            }
            fits(&package, &settings).map(|()| settings)
        });
        let mut all = Vec::new();
        for carried in carried {
            let refused = carried.is_err();
            all.push(carried);
            if refused {
                break;
            }
        }
        Ok(all)
    }

    fn trust(&self) -> TrustPolicy {
        unreachable!("nobody asks for it here")
    }

    fn health(&self, _: TenantId, _: &str) -> Option<PluginHealth> {
        None
    }

    async fn refresh(&self) {}
}

struct Versions {
    stage: Stage,
    host: Arc<JsonHost>,
    clock: Arc<ManualClock>,
    token: String,
}

impl Versions {
    async fn open(url: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = format!("sqlite:{}", folder.path().join("db").display());
        let options = StoreOptions {
            url: url.unwrap_or(&file).to_owned(),
            connections: 4,
            commit_delay: Duration::ZERO,
        };
        let keyring = Keyring::new(&RootKey::from_bytes(&[7; 32]).unwrap()).unwrap();
        let clock = Arc::new(ManualClock::at(1_795_000_000_000_000));
        let entropy = Arc::new(SystemEntropy::default());
        let store = Store::connect(&options, Arc::new(keyring), clock.clone(), entropy)
            .await
            .unwrap();
        let stage = Stage::over(store, folder).await;
        let host = Arc::new(JsonHost {
            store: stage.store().clone(),
            meanwhile: Mutex::default(),
            taken: Mutex::new(true),
        });
        stage.engine.attach_plugins(host.clone());
        let token = stage.operator_token(&["*"]).await;
        Self {
            stage,
            host,
            clock,
            token,
        }
    }

    async fn install(&self, package: &Value) -> (u16, Value) {
        self.stage.post(HERE, &self.token, package.clone()).await
    }

    async fn installs(&self, package: &Value) -> Value {
        let (status, installed) = self.install(package).await;
        assert_eq!(status, 201, "{installed}");
        installed
    }

    async fn set(&self, tenant: &str, settings: Value) {
        let path = format!("/api/v1/tenants/{tenant}/plugins/{ID}");
        let body = json!({ "settings": settings }).to_string();
        let (status, told) = self
            .stage
            .call("PUT", &path, &self.token, Some(&body))
            .await;
        assert_eq!(status, 200, "{told}");
    }

    async fn settings(&self, tenant: &str) -> Value {
        let path = format!("/api/v1/tenants/{tenant}/plugins");
        let (_, all) = self.stage.get(&path, &self.token).await;
        all["items"][0]["settings"].clone()
    }

    async fn installed(&self) -> Value {
        let (_, all) = self.stage.get(HERE, &self.token).await;
        all["items"][0].clone()
    }

    async fn back(&self) -> (u16, Value) {
        self.stage.post(BACK, &self.token, json!({})).await
    }

    async fn goes_back(&self) -> Value {
        let (status, installed) = self.back().await;
        assert_eq!(status, 200, "{installed}");
        installed
    }

    /// The reason why it does not.
    async fn stays(&self) -> String {
        let before = self.installed().await;
        let (status, problem) = self.back().await;
        assert_eq!(status, 409, "{problem}");
        assert_eq!(self.installed().await, before);
        problem["detail"].as_str().unwrap().to_owned()
    }

    async fn put(&self, schema: u32, key: &str, value: &str) {
        self.put_within(10_000, schema, key, value).await.unwrap();
    }

    async fn put_within(
        &self,
        quota: usize,
        schema: u32,
        key: &str,
        value: &str,
    ) -> crate::error::Result<()> {
        let place = Place {
            tenant: self.stage.ours.id,
            plugin: ID,
            schema,
        };
        let mut tx = self.stage.store().begin().await.unwrap();
        values::put(&mut tx, 1, place, quota, key, value.into()).await?;
        tx.commit().await
    }

    async fn values(&self, schema: u32) -> Vec<String> {
        let place = (self.stage.ours.id, ID, schema);
        let found = self.stage.store().plugin_values(place, "", None, 100).await;
        let text = |(key, value): (String, Vec<u8>)| {
            format!("{key}={}", String::from_utf8(value).unwrap())
        };
        found.unwrap().into_iter().map(text).collect()
    }

    async fn audited(&self, action: &str) -> Vec<Value> {
        let (_, all) = self.stage.get("/api/v1/audit", &self.token).await;
        let all = all["items"].as_array().unwrap().clone();
        all.into_iter()
            .filter(|entry| entry["action"] == action)
            .collect()
    }
}

/// Runs `test` on SQLite, and on PostgreSQL where that is installed.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Versions) -> F) {
    test(Versions::open(None).await).await;
    if pomona_tests::postgres_missing().is_none() {
        let database = pomona_tests::shared_postgres().unwrap();
        test(Versions::open(Some(&database.url)).await).await;
    }
}

#[tokio::test]
async fn settings_follow_a_version_and_its_rollback_and_the_rollback_can_be_undone() {
    on_both(|versions| async move {
        versions.installs(&package("1.0.0", "a")).await;
        versions.set("ours", json!({ "form": "a", "n": 1 })).await;
        versions.set("theirs", json!({ "form": "a", "n": 2 })).await;
        let first = versions.installed().await;
        assert!(first.get("previous").is_none(), "{first}");
        assert!(
            versions
                .stays()
                .await
                .contains("no version of org.example.a before")
        );

        versions.clock.advance(DAY);
        let second = versions.installs(&package("2.0.0", "b")).await;
        assert_eq!(second["version"], "2.0.0");
        assert_eq!(second["previous"]["version"], "1.0.0");
        assert_eq!(second["previous"]["digest"], first["digest"]);
        assert_eq!(
            second["previous"]["replaced_at"], second["installed_at"],
            "{second}"
        );
        assert!(second["previous"].get("back_until").is_none());
        let (ours, theirs) = (
            json!({ "form": "b", "n": 1, "from": "1.0.0" }),
            json!({ "form": "b", "n": 2, "from": "1.0.0" }),
        );
        assert_eq!(versions.settings("ours").await, ours);
        assert_eq!(versions.settings("theirs").await, theirs);
        // The same again changes nothing of the way back.
        versions.installs(&package("2.0.0", "b")).await;

        let back = versions.goes_back().await;
        assert_eq!(
            (&back["version"], &back["digest"], &back["rights"]),
            (&first["version"], &first["digest"], &first["rights"])
        );
        assert_eq!(back["previous"]["version"], "2.0.0");
        let before = json!({ "form": "a", "n": 1 });
        assert_eq!(versions.settings("ours").await, before);
        let undone = versions.goes_back().await;
        assert_eq!(undone["version"], "2.0.0");
        assert_eq!(versions.settings("theirs").await, theirs);

        let told = versions.audited("plugin.rollback").await;
        assert_eq!(told.len(), 2);
        let replaces = &told[0]["details"]["replaces"];
        assert_eq!(
            (&replaces["version"], &told[0]["target"]),
            (&json!("2.0.0"), &json!(ID))
        );
        // What tenants set is nobody's business in the audit.
        assert!(!json!(told).to_string().contains("\"form\""));
    })
    .await;
}

#[tokio::test]
async fn a_version_that_does_not_take_a_tenants_settings_is_refused_as_a_whole() {
    on_both(|versions| async move {
        versions.installs(&package("1.0.0", "a")).await;
        let (ours, theirs) = (
            json!({ "form": "a", "n": 1 }),
            json!({ "form": "a", "n": 50 }),
        );
        versions.set("ours", ours.clone()).await;
        versions.set("theirs", theirs.clone()).await;
        let before = versions.installed().await;
        let strict = with(package("2.0.0", "b"), "most", json!(10));
        let (status, problem) = versions.install(&strict).await;
        assert_eq!(status, 422, "{problem}");
        let why = problem["detail"].as_str().unwrap();
        assert!(
            why.contains("the tenant theirs") && why.contains("n is more than 10"),
            "{why}"
        );
        assert_eq!(versions.installed().await, before);
        assert_eq!(versions.settings("ours").await, ours);
        assert_eq!(versions.settings("theirs").await, theirs);

        // So is one that waited for its rights.
        let asking = with(strict, "rights", json!(["r", "more"]));
        let waiting = versions.installs(&asking).await;
        assert_eq!(waiting["waiting"]["version"], "2.0.0", "{waiting}");
        let approve = format!("{HERE}/{ID}/approve");
        let (status, problem) = versions
            .stage
            .post(&approve, &versions.token, json!({}))
            .await;
        assert_eq!(status, 422, "{problem}");
        versions.set("theirs", json!({ "form": "a", "n": 5 })).await;
        let (status, approved) = versions
            .stage
            .post(&approve, &versions.token, json!({}))
            .await;
        assert_eq!(status, 200, "{approved}");
        assert_eq!(approved["rights"], json!(["r", "more"]));
        assert_eq!(approved["previous"]["version"], "1.0.0");
        let back = versions.goes_back().await;
        assert_eq!(back["rights"], json!(["r"]), "those that it had");
    })
    .await;
}

#[tokio::test]
async fn what_a_tenant_has_changed_since_stays_where_the_version_before_takes_it() {
    on_both(|versions| async move {
        versions.installs(&package("1.0.0", "a")).await;
        versions.set("ours", json!({ "form": "a", "n": 1 })).await;
        versions.installs(&package("2.0.0", "b")).await;
        let changed = json!({ "form": "b", "n": 7 });
        versions.set("ours", changed.clone()).await;
        let why = versions.stays().await;
        assert!(
            why.contains("the tenant ours") && why.contains("the form is not \"a\""),
            "{why}"
        );
        assert_eq!(versions.settings("ours").await, changed);

        // A version with settings of the same form takes what was changed.
        versions.installs(&package("3.0.0", "b")).await;
        let new = json!({ "form": "b", "n": 9 });
        versions.set("theirs", new.clone()).await;
        versions.set("ours", json!({ "form": "b", "n": 8 })).await;
        assert_eq!(versions.goes_back().await["version"], "2.0.0");
        assert_eq!(
            versions.settings("ours").await,
            json!({ "form": "b", "n": 8 })
        );
        assert_eq!(versions.settings("theirs").await, new);
    })
    .await;
}

#[tokio::test]
async fn whoever_installs_the_version_before_in_vain_is_told_of_the_rollback() {
    on_both(|versions| async move {
        let strict = with(package("1.0.0", "a"), "most", json!(10));
        versions.installs(&strict).await;
        versions.installs(&package("2.0.0", "b")).await;
        versions.set("ours", json!({ "form": "b", "n": 50 })).await;
        let (status, problem) = versions.install(&strict).await;
        let why = problem["detail"].as_str().unwrap();
        assert_eq!(status, 422, "{why}");
        assert!(
            why.contains("n is more than 10") && why.contains("plugin rollback org.example.a"),
            "{why}"
        );
        let other = with(strict, "version", json!("3.0.0"));
        let (_, problem) = versions.install(&other).await;
        assert!(!problem["detail"].as_str().unwrap().contains("rollback"));
    })
    .await;
}

#[tokio::test]
async fn settings_that_are_changed_during_a_migration_are_migrated_again() {
    on_both(|versions| async move {
        versions.installs(&package("1.0.0", "a")).await;
        versions.set("ours", json!({ "form": "a", "n": 1 })).await;
        let tenant = versions.stage.ours.id;
        *versions.host.meanwhile.lock() = Some((tenant, json!({ "form": "a", "n": 2 })));
        versions.installs(&package("2.0.0", "b")).await;
        assert_eq!(versions.settings("ours").await["n"], 2);
        // One who switches it on meanwhile is not passed over either.
        let tenant = versions.stage.theirs.id;
        *versions.host.meanwhile.lock() = Some((tenant, json!({ "form": "b", "n": 3 })));
        versions.installs(&package("3.0.0", "c")).await;
        let theirs = json!({ "form": "c", "n": 3, "from": "2.0.0" });
        assert_eq!(versions.settings("theirs").await, theirs);
        // Settings are kept only for the package that has seen them.
        let store = versions.stage.store();
        let actor = crate::actor::Actor::SYSTEM;
        let late =
            store.switch_plugin_on(actor, tenant, (ID, "another"), Some("{}"), OwnRights::All);
        let refused = late.await.unwrap_err().to_string();
        assert!(refused.contains("try again"), "{refused}");
        assert_eq!(versions.settings("theirs").await, theirs);
    })
    .await;
}

#[tokio::test]
async fn what_is_revoked_or_not_taken_any_more_does_not_come_back() {
    on_both(|versions| async move {
        let first = versions.installs(&package("1.0.0", "a")).await;
        versions.installs(&package("2.0.0", "a")).await;
        *versions.host.taken.lock() = false;
        let why = versions.stays().await;
        assert!(why.contains("1.0.0 cannot be put in force again: it is not signed"));
        *versions.host.taken.lock() = true;
        let revoke = json!({ "kind": "digest", "value": first["digest"], "reason": "a bad one" });
        let path = "/api/v1/plugin-revocations";
        let (status, told) = versions.stage.post(path, &versions.token, revoke).await;
        assert_eq!(status, 201, "{told}");
        let why = versions.stays().await;
        assert!(why.contains("a bad one"), "{why}");
        // Whoever may only look may not do it.
        let reader = versions.stage.operator_token(&["plugins:read"]).await;
        let (status, _) = versions.stage.post(BACK, &reader, json!({})).await;
        assert_eq!(status, 403);
        let nobody = BACK.replace(ID, "org.example.none");
        let (status, _) = versions
            .stage
            .post(&nobody, &versions.token, json!({}))
            .await;
        assert_eq!(status, 404);
    })
    .await;
}

#[tokio::test]
async fn values_of_another_form_are_copied_and_those_of_the_form_before_wait_for_seven_days() {
    let one = with(package("1.0.0", "a"), "kv", json!(1));
    let two = with(package("2.0.0", "a"), "kv", json!(2));
    on_both(|versions| {
        let (one, two) = (one.clone(), two.clone());
        async move {
            versions.installs(&one).await;
            versions.put(1, "k", "old").await;
            let second = versions.installs(&two).await;
            assert_eq!(versions.values(2).await, ["k=old"]);
            let until = second["previous"]["back_until"].as_str().unwrap();
            let replaced = second["previous"]["replaced_at"].as_str().unwrap();
            let at = |text| crate::admin::Instant::parse(text).unwrap().0;
            assert_eq!(at(until) - at(replaced), 7 * DAY);
            // What is kept of the form before takes no room.
            versions.put_within(4, 2, "k", "new").await.unwrap();
            versions.put_within(4, 2, "k", "long").await.unwrap_err();
            versions.put(2, "l", "more").await;

            versions.clock.advance(7 * DAY - 1);
            versions.stage.store().forget_former_values().await.unwrap();
            assert_eq!(versions.values(1).await, ["k=old"]);
            versions.goes_back().await;
            assert_eq!(versions.values(1).await, ["k=old"], "as they were");
            versions.goes_back().await;
            assert_eq!(versions.values(2).await, ["k=new", "l=more"]);
            versions.goes_back().await;
            // Put in force anew it begins with what is there now.
            versions.put(1, "k", "newest").await;
            versions.installs(&two).await;
            assert_eq!(versions.values(2).await, ["k=newest"]);

            versions.clock.advance(7 * DAY);
            // The time counts, not whether somebody has cleaned up yet.
            let why = versions.stays().await;
            assert!(
                why.contains("in the form 1") && why.contains("7 days"),
                "{why}"
            );
            let store = versions.stage.store();
            assert_eq!(store.forget_former_values().await.unwrap(), 1);
            assert_eq!(store.forget_former_values().await.unwrap(), 0);
            assert_eq!(versions.values(1).await, Vec::<String>::new());
            assert_eq!(versions.values(2).await, ["k=newest"]);
            versions.stays().await;
        }
    })
    .await;
}

#[tokio::test]
async fn versions_of_one_form_share_their_values_and_one_that_keeps_nothing_leaves_them() {
    let one = with(package("1.0.0", "a"), "kv", json!(3));
    let two = with(package("1.1.0", "a"), "kv", json!(3));
    on_both(|versions| {
        let (one, two) = (one.clone(), two.clone());
        async move {
            versions.installs(&one).await;
            versions.put(3, "k", "v").await;
            let second = versions.installs(&two).await;
            assert!(second["previous"].get("back_until").is_none(), "{second}");
            versions.clock.advance(8 * DAY);
            versions.stage.store().forget_former_values().await.unwrap();
            versions.goes_back().await;
            assert_eq!(versions.values(3).await, ["k=v"]);

            versions.installs(&package("1.2.0", "a")).await;
            versions.clock.advance(8 * DAY);
            versions.stage.store().forget_former_values().await.unwrap();
            assert_eq!(versions.values(3).await, ["k=v"]);
            let four = with(package("1.3.0", "a"), "kv", json!(4));
            versions.installs(&four).await;
            assert_eq!(versions.values(4).await, ["k=v"]);

            // A plugin that was installed before its number was noted is asked for it.
            let mut tx = versions.stage.store().begin().await.unwrap();
            let unknown = "UPDATE plugin SET kv_schema = NULL";
            tx.execute(unknown, vec![]).await.unwrap();
            tx.commit().await.unwrap();
            let five = with(package("1.4.0", "a"), "kv", json!(5));
            versions.installs(&five).await;
            assert_eq!(versions.values(5).await, ["k=v"]);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_goes_with_the_switch_and_with_the_plugin() {
    on_both(|versions| async move {
        let kept = async |table: &str| {
            let mut tx = versions.stage.store().begin_read().await.unwrap();
            let sql = format!("SELECT plugin_id FROM {table}");
            let rows = tx.query(&sql, vec![]).await.unwrap();
            tx.rollback().await.unwrap();
            rows.len()
        };
        versions.installs(&package("1.0.0", "a")).await;
        versions.set("ours", json!({ "form": "a", "n": 1 })).await;
        versions.set("theirs", json!({ "form": "a", "n": 1 })).await;
        versions.installs(&package("2.0.0", "b")).await;
        assert_eq!(kept("plugin_version_settings").await, 2);
        let path = format!("/api/v1/tenants/ours/plugins/{ID}");
        let (status, _) = versions
            .stage
            .call("DELETE", &path, &versions.token, None)
            .await;
        assert_eq!(status, 204);
        assert_eq!(kept("plugin_version_settings").await, 1);
        assert_eq!(kept("plugin_version").await, 1);
        let path = format!("{HERE}/{ID}");
        versions
            .stage
            .call("DELETE", &path, &versions.token, None)
            .await;
        assert_eq!(kept("plugin_version_settings").await, 0);
        assert_eq!(kept("plugin_version").await, 0);
    })
    .await;
}
