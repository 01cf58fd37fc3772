//! Who may call what: the whole table of routes, against a running engine on SQLite.

mod plugin_versions;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use url::Url;

use super::admin_router;
use super::route::{Access, table};
use crate::actor::Actor;
use crate::admin::{
    Principal, Scope, Scopes, Tenant, create_first_token, create_principal, create_tenant,
};
use crate::clock::{SystemClock, SystemEntropy};
use crate::engine::{Engine, EngineOptions};
use crate::hooks::Hooks;
use crate::push::{Accepted, ApnsTransport, Notification, PushCertificate, PushFailure};
use crate::seal::{Keyring, RootKey};
use crate::store::sql::args;
use crate::store::{Store, StoreOptions};

struct NoPush;

#[async_trait::async_trait]
impl ApnsTransport for NoPush {
    async fn send(&self, _: &PushCertificate, _: Notification) -> Result<Accepted, PushFailure> {
        std::future::pending().await
    }
}

struct Stage {
    engine: Engine,
    router: Router,
    ours: Tenant,
    theirs: Tenant,
    operator: Principal,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(folder.path()).await;
        Self::over(store, folder).await
    }

    async fn over(store: Store, folder: tempfile::TempDir) -> Self {
        let url = Url::parse("https://mdm.example.org").unwrap();
        let options = EngineOptions::new(url, folder.path().join("journal"));
        let engine = Engine::start(store.clone(), options, Hooks::default(), Arc::new(NoPush))
            .await
            .unwrap();
        let ours = create_tenant(&store, Actor::SYSTEM, "ours", "Ours")
            .await
            .unwrap();
        let theirs = create_tenant(&store, Actor::SYSTEM, "theirs", "Theirs")
            .await
            .unwrap();
        let operator = create_principal(&store, Actor::SYSTEM, None, "Operator")
            .await
            .unwrap();
        Self {
            router: admin_router(engine.clone(), CancellationToken::new()),
            engine,
            ours,
            theirs,
            operator,
            _folder: folder,
        }
    }

    fn store(&self) -> &Store {
        self.engine.store()
    }

    async fn operator_token(&self, scopes: &[&str]) -> String {
        let scopes = Scopes::parse(scopes).unwrap();
        let made = create_first_token(self.store(), &self.operator, "t", scopes).await;
        made.unwrap().1.expose().to_owned()
    }

    /// A token of one tenant, held by a principal of that tenant.
    async fn tenant_token(&self, tenant: &Tenant, scopes: &[&str]) -> String {
        let principal = create_principal(self.store(), Actor::SYSTEM, Some(tenant.id), "Erin")
            .await
            .unwrap();
        let scopes = Scopes::parse(scopes).unwrap();
        let made = create_first_token(self.store(), &principal, "t", scopes).await;
        made.unwrap().1.expose().to_owned()
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&str>,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Body::from(body.unwrap_or_default().to_owned());
        let request = request.body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let is_stream = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind == "text/event-stream");
        if is_stream {
            return (status, Value::Null);
        }
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, token, Some(&body.to_string()))
            .await
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        self.call("GET", path, token, None).await
    }
}

async fn open_store(folder: &Path) -> Store {
    let options = StoreOptions {
        url: format!("sqlite:{}", folder.join("db").display()),
        connections: 4,
        commit_delay: Duration::ZERO,
    };
    let keyring = Keyring::new(&RootKey::from_bytes(&[7; 32]).unwrap()).unwrap();
    Store::connect(
        &options,
        Arc::new(keyring),
        Arc::new(SystemClock::default()),
        Arc::new(SystemEntropy::default()),
    )
    .await
    .unwrap()
}

fn word(access: Access) -> String {
    match access {
        Access::AnyToken => "any token".into(),
        Access::Scope(scope) => scope.as_str().into(),
        Access::Operator(scope) => format!("{} of the operator", scope.as_str()),
        Access::Tenant(scope) => format!("{} in the tenant", scope.as_str()),
    }
}

/// The path with something in the place of each name.
fn filled(path: &str, tenant: &str) -> String {
    let absent = "01900000-0000-7000-8000-000000000000";
    let parts: Vec<&str> = path
        .split('/')
        .map(|part| match part {
            "{tenant}" => tenant,
            part if part.starts_with('{') => absent,
            part => part,
        })
        .collect();
    parts.join("/")
}

#[test]
fn the_committed_table_is_the_one_that_the_router_is_built_from() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/admin/routes.txt");
    let lines: Vec<String> = table()
        .iter()
        .map(|route| format!("{} {} — {}\n", route.method, route.path, word(route.access)))
        .collect();
    let written = lines.concat();
    if std::env::var_os("POMONA_WRITE_DOCS").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        written,
        "a route or its permission has changed: look at it twice, then run with POMONA_WRITE_DOCS=1"
    );
}

#[test]
fn a_route_asks_for_a_tenant_exactly_when_its_path_names_one() {
    for route in table() {
        let names = route.path.contains("{tenant}");
        let asks = matches!(route.access, Access::Tenant(_));
        assert_eq!(names, asks, "{} {}", route.method, route.path);
        if route.method != "GET" {
            let reads = match route.access {
                Access::Scope(s) | Access::Operator(s) | Access::Tenant(s) => {
                    s.as_str().ends_with(":read")
                }
                Access::AnyToken => true,
            };
            assert!(
                !reads,
                "{} {} changes by a right to read",
                route.method, route.path
            );
        }
    }
}

#[tokio::test]
async fn every_route_is_closed_to_whoever_lacks_what_it_declares() {
    let stage = Stage::open().await;
    let all = stage.operator_token(&["*", "commands:approve"]).await;
    let foreign = stage
        .tenant_token(&stage.theirs, &["*", "break-glass"])
        .await;
    // Break-glass alone opens no route.
    let powerless = stage.operator_token(&["break-glass"]).await;
    let unknown = format!("{}{}", &all[..all.len() - 1], "x");
    for route in table() {
        let path = filled(route.path, "ours");
        let method = route.method.as_str();
        let name = format!("{method} {path}");
        for (token, case) in [("", "no token"), (unknown.as_str(), "unknown token")] {
            // The body is broken: whoever is not known is not told so.
            let (status, _) = stage.call(method, &path, token, Some("{")).await;
            assert_eq!(status, 401, "{name}: {case}");
        }
        let (status, problem) = stage.call(method, &path, &powerless, Some("{")).await;
        match route.access {
            Access::AnyToken => assert_eq!(status, 200, "{name}: powerless"),
            _ => {
                assert_eq!(status, 403, "{name}: powerless");
                assert_eq!(problem["code"], "missing_scope", "{name}");
            }
        }
        let (status, problem) = stage.call(method, &path, &foreign, Some("{")).await;
        match route.access {
            Access::Tenant(_) => {
                assert_eq!(status, 404, "{name}: another tenant's");
                let (_, absent) = stage
                    .call(method, &filled(route.path, "nobody"), &foreign, Some("{"))
                    .await;
                assert_eq!(problem, absent, "{name}: forbidden and absent differ");
            }
            Access::Operator(_) => assert_eq!(status, 403, "{name}: another tenant's"),
            Access::Scope(_) | Access::AnyToken => assert_eq!(status, 200, "{name}"),
        }
        let (status, _) = stage.call(method, &path, &all, None).await;
        assert!(!matches!(status, 401 | 403 | 500..), "{name}: {status}");
    }
}

#[tokio::test]
async fn a_scope_opens_its_own_routes_and_no_others() {
    let stage = Stage::open().await;
    for scope in Scope::ALL {
        let token = stage.operator_token(&[scope.as_str()]).await;
        let held = Scopes::from_iter([*scope]);
        for route in table().iter().filter(|route| route.method == "GET") {
            let (wanted, path) = match route.access {
                Access::Scope(s) | Access::Operator(s) | Access::Tenant(s) => {
                    (s, filled(route.path, "ours"))
                }
                Access::AnyToken => continue,
            };
            let (status, _) = stage.get(&path, &token).await;
            assert_eq!(status != 403, held.allows(wanted), "{scope:?} on {path}");
        }
    }
}

#[tokio::test]
async fn a_token_is_taken_from_one_bearer_header_and_nowhere_else() {
    let stage = Stage::open().await;
    let token = stage.operator_token(&["*"]).await;
    let ask = |headers: Vec<String>, path: String| {
        let mut request = Request::builder().uri(path);
        for value in headers {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Body::empty()).unwrap();
        let router = stage.router.clone();
        async move { router.oneshot(request).await.unwrap().status().as_u16() }
    };
    let me = || "/api/v1/me".to_owned();
    assert_eq!(ask(vec![format!("Bearer {token}")], me()).await, 200);
    assert_eq!(ask(vec![format!("bearer {token}")], me()).await, 200);
    for headers in [
        vec![],
        vec![format!("Basic {token}")],
        vec!["Basic".into()],
        vec![token.clone()],
        vec![format!("Bearer {token}"), format!("Bearer {token}")],
        vec![format!("Bearer {token} ")],
        vec![format!("Bearer  {token}")],
    ] {
        assert_eq!(ask(headers.clone(), me()).await, 401, "{headers:?}");
    }
    assert_eq!(
        ask(vec![], format!("/api/v1/me?access_token={token}")).await,
        401
    );
    assert_eq!(ask(vec![], "/nowhere".into()).await, 401);
    assert_eq!(
        ask(vec![format!("Bearer {token}")], "/nowhere".into()).await,
        404
    );
}

#[tokio::test]
async fn revoking_a_token_ends_all_that_it_made() {
    let stage = Stage::open().await;
    let first = stage.operator_token(&["*"]).await;
    let make = |token: String, path: &'static str| {
        let stage = &stage;
        async move {
            let wanted = json!({"name": "t", "scopes": ["tokens:write", "devices:read"]});
            let (status, made) = stage.post(path, &token, wanted).await;
            assert_eq!(status, 201, "{made}");
            let text = |name: &str| made[name].as_str().unwrap().to_owned();
            (text("id"), text("secret"))
        }
    };
    let (parent_id, parent) = make(first.clone(), "/api/v1/tokens").await;
    let (_, child) = make(parent, "/api/v1/tenants/ours/tokens").await;
    let (_, sibling) = make(first.clone(), "/api/v1/tenants/ours/tokens").await;
    let devices = "/api/v1/tenants/ours/devices";
    assert_eq!(stage.get(devices, &child).await.0, 200);
    let path = format!("/api/v1/tokens/{parent_id}/revoke");
    assert_eq!(stage.call("POST", &path, &first, None).await.0, 204);
    assert_eq!(stage.get(devices, &child).await.0, 401);
    assert_eq!(stage.get(devices, &sibling).await.0, 200);
}

#[tokio::test]
async fn a_new_tenant_has_its_authority_and_a_refused_one_leaves_nothing() {
    let stage = Stage::open().await;
    let token = stage.operator_token(&["*"]).await;
    let wanted = || json!({"slug": "new", "name": "A new school"});
    let (status, made) = stage.post("/api/v1/tenants", &token, wanted()).await;
    assert_eq!(status, 201, "{made}");
    let (status, cas) = stage.get("/api/v1/tenants/new/cas", &token).await;
    assert_eq!(status, 200, "{cas}");
    let mut kinds: Vec<&str> = cas["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ca| ca["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["issuing", "root"]);
    let (status, _) = stage.post("/api/v1/tenants", &token, wanted()).await;
    assert_eq!(status, 409);
    let (_, tenants) = stage.get("/api/v1/tenants", &token).await;
    assert_eq!(tenants["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn disabling_a_principal_ends_its_tokens() {
    let stage = Stage::open().await;
    let admin = stage.operator_token(&["*"]).await;
    let wanted = json!({"name": "Nightly export"});
    let (_, made) = stage
        .post("/api/v1/tenants/ours/principals", &admin, wanted)
        .await;
    let principal = made["id"].as_str().unwrap();
    let wanted = json!({"name": "t", "scopes": ["devices:read"], "principal_id": principal});
    let (_, made) = stage
        .post("/api/v1/tenants/ours/tokens", &admin, wanted)
        .await;
    let token = made["secret"].as_str().unwrap();
    assert_eq!(stage.get("/api/v1/me", token).await.0, 200);
    let path = format!("/api/v1/tenants/ours/principals/{principal}/disable");
    assert_eq!(stage.call("POST", &path, &admin, None).await.0, 204);
    assert_eq!(stage.get("/api/v1/me", token).await.0, 401);
}

#[tokio::test]
async fn a_tenants_cursor_and_objects_mean_nothing_in_another() {
    let stage = Stage::open().await;
    let admin = stage.operator_token(&["*"]).await;
    for name in ["a", "b"] {
        let made = stage
            .post("/api/v1/tenants/ours/groups", &admin, json!({"name": name}))
            .await;
        assert_eq!(made.0, 201);
    }
    let (_, first) = stage
        .get("/api/v1/tenants/ours/groups?limit=1", &admin)
        .await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = format!("groups?limit=1&cursor={cursor}");
    let (status, second) = stage
        .get(&format!("/api/v1/tenants/ours/{next}"), &admin)
        .await;
    assert_eq!(status, 200);
    assert_eq!(second["items"][0]["name"], "b");
    assert!(second["next_cursor"].is_null());
    let foreign = format!("/api/v1/tenants/theirs/{next}");
    assert_eq!(stage.get(&foreign, &admin).await.0, 422);
    let group = first["items"][0]["id"].as_str().unwrap();
    let foreign = format!("/api/v1/tenants/theirs/groups/{group}");
    assert_eq!(stage.get(&foreign, &admin).await.0, 404);
}

#[tokio::test]
async fn every_administrative_effect_is_in_the_chain_and_a_changed_record_breaks_it() {
    let stage = Stage::open().await;
    let admin = stage.operator_token(&["*"]).await;
    let wanted = json!({"name": "Room 7"});
    stage
        .post("/api/v1/tenants/ours/groups", &admin, wanted)
        .await;
    let audit = "/api/v1/tenants/ours/audit";
    let (_, log) = stage.get(audit, &admin).await;
    let actions: Vec<&str> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["tenant.create", "group.create"]);
    assert_eq!(log["items"][1]["previous_hash"], log["items"][0]["hash"]);
    let verify = format!("{audit}/verify");
    let whole = json!({"records": 2, "broken_at": null});
    assert_eq!(stage.get(&verify, &admin).await, (200, whole));

    let mut tx = stage.store().begin().await.unwrap();
    let sql = "UPDATE audit SET details = '{}' WHERE tenant_id = ? AND seq = 1";
    tx.execute(sql, args![stage.ours.id]).await.unwrap();
    tx.commit().await.unwrap();
    let broken = json!({"records": 0, "broken_at": 1});
    assert_eq!(stage.get(&verify, &admin).await, (200, broken));
}

#[tokio::test]
async fn every_list_takes_every_filter() {
    let stage = Stage::open().await;
    let admin = stage.operator_token(&["*"]).await;
    let made = json!({"name": "g"});
    stage
        .post("/api/v1/tenants/ours/groups", &admin, made)
        .await;
    let since = "2026-01-01T00:00:00Z";
    for query in [
        format!("devices?serial=C02&udid=x&state=enrolled&group=g&seen_since={since}"),
        "devices?state=quarantined".into(),
        "devices?state=pending".into(),
        "devices?state=left&limit=1".into(),
        format!("commands?request_type=DeviceInformation&open=true&since={since}"),
        "commands?open=false".into(),
        "events?kinds=enrolled,checked_out".into(),
        "enrollment-links".into(),
        "cas".into(),
        "push/certificates".into(),
        "audit?limit=500".into(),
    ] {
        let (status, answer) = stage
            .get(&format!("/api/v1/tenants/ours/{query}"), &admin)
            .await;
        assert_eq!(status, 200, "{query}: {answer}");
        assert!(answer["items"].is_array(), "{query}");
    }
    for query in [
        "devices?state=lost",
        "devices?sort=name",
        "events?kinds=x",
        "commands?open=maybe",
    ] {
        let (status, _) = stage
            .get(&format!("/api/v1/tenants/ours/{query}"), &admin)
            .await;
        assert_eq!(status, 422, "{query}");
    }
}

#[tokio::test]
async fn a_command_needs_a_target_that_exists_and_break_glass_a_scope_of_its_own() {
    let stage = Stage::open().await;
    let admin = stage.operator_token(&["*"]).await;
    let path = "/api/v1/tenants/ours/commands";
    let with = |more: Value| {
        let mut body = json!({"request_type": "DeviceLock", "targets": {"devices": ["nobody"]}});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    for (case, body, expected) in [
        ("an unknown device", with(json!({})), 422),
        ("no target", with(json!({"targets": {}})), 422),
        (
            "an unknown group",
            with(json!({"targets": {"groups": ["x"]}})),
            404,
        ),
        ("a misspelt field", with(json!({"prioritaet": 1})), 422),
        (
            "a null parameter",
            with(json!({"parameters": {"PIN": null}})),
            422,
        ),
        ("break-glass", with(json!({"break_glass": true})), 403),
    ] {
        let (status, answer) = stage.post(path, &admin, body).await;
        assert_eq!(status, expected, "{case}: {answer}");
    }
}
