//! `/plugins/{tenant}/{plugin}/…`: requests that plugins answer, on the administrators' listener.
//!
//! Owns: who may ask (a token that may see plugins of the tenant, or anybody where the plugin opens a path), what a plugin sees of a
//! request, and what its answer may carry: no cookie, nothing that a browser would run or frame, under a policy that puts the page
//! into a sandbox. What is answered is the plugin's business.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http_body_util::{BodyExt, Limited};

use super::admin::bearer;
use super::error::Problem;
use crate::admin::{Scope, find_tenant, principals};
use crate::engine::Engine;
use crate::hooks::{PageReply, PageRequest};

/// The largest body of a request.
const MAX_BODY: usize = 1 << 20;
/// Headers of an answer that a plugin may set.
const ALLOWED: [&str; 6] = [
    "content-type",
    "content-language",
    "content-disposition",
    "etag",
    "last-modified",
    "retry-after",
];
/// A page runs nothing, sends nothing, is framed by nobody, and is of an origin of its own.
const POLICY: &str =
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'";

/// The addresses of plugins as a router.
pub fn plugin_router(engine: Engine) -> Router {
    Router::new()
        .route("/plugins/{tenant}/{plugin}", any(answer_root))
        .route("/plugins/{tenant}/{plugin}/", any(answer_root))
        .route("/plugins/{tenant}/{plugin}/{*path}", any(answer))
        .with_state(engine)
}

async fn answer_root(
    state: State<Engine>,
    Path((tenant, plugin)): Path<(String, String)>,
    request: Request,
) -> Response {
    answer(state, Path((tenant, plugin, String::new())), request).await
}

async fn answer(
    State(engine): State<Engine>,
    Path((tenant, plugin, path)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    match ask(&engine, &tenant, &plugin, path, request).await {
        Ok(reply) => response(reply),
        Err(problem) => problem.into_response(),
    }
}

async fn ask(
    engine: &Engine,
    tenant: &str,
    plugin: &str,
    path: String,
    request: Request,
) -> Result<PageReply, Problem> {
    // Nobody learns without a token which tenants there are.
    let stranger = || Problem::unauthenticated();
    let found = match tenant.chars().any(char::is_control) {
        true => None,
        false => find_tenant(engine.store(), tenant).await.ok(),
    };
    let hook = found
        .as_ref()
        .and_then(|tenant| engine.route_hook(tenant.id, plugin));
    let caller = match bearer(request.headers()) {
        Some(secret) => Some(
            principals::authenticate(engine.store(), &secret)
                .await?
                .ok_or_else(stranger)?,
        ),
        None => None,
    };
    let open = hook.as_ref().is_some_and(|hook| hook.open(&path));
    let (Some(tenant), Some(hook)) = (found, hook) else {
        return Err(match caller {
            Some(_) => Problem::not_found("a plugin that answers requests"),
            None => stranger(),
        });
    };
    match &caller {
        Some(caller) if !caller.reaches(tenant.id) => {
            return Err(Problem::not_found("a plugin that answers requests"));
        }
        Some(caller) if !caller.holds(Scope::PluginsRead) && !open => {
            return Err(Problem::forbidden(
                "missing_scope",
                "this needs a token with the scope plugins:read",
            ));
        }
        None if !open => return Err(stranger()),
        _ => {}
    }
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    let asked = PageRequest {
        method: parts.method.as_str().to_owned(),
        path,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: shown(&parts.headers),
        body,
        actor: caller.as_ref().map(|caller| caller.principal.to_string()),
        roles: caller.map_or_else(Vec::new, |caller| {
            let words = caller.scopes.words().into_iter();
            words.map(str::to_owned).collect()
        }),
    };
    engine
        .ask_for_page(tenant.id, &hook, asked)
        .await
        .map_err(|error| {
            tracing::warn!(hook.name = plugin, %error, "a plugin gave no page");
            metrics::counter!("pomona_hook_failures_total", "hook" => "routes").increment(1);
            Problem::new(
                StatusCode::BAD_GATEWAY,
                "plugin_failed",
                "The plugin gives no answer",
                format!("the plugin {plugin} gives no answer; the server's log says why"),
            )
        })
}

async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    let whole = Limited::new(body, MAX_BODY).collect().await;
    let bytes = whole.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "Too large",
            format!("at most {MAX_BODY} bytes are taken"),
        )
    })?;
    Ok(bytes.to_bytes().to_vec())
}

/// What a plugin sees of the headers: no credentials, and nothing of the connection.
fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let hidden = [
        header::AUTHORIZATION,
        header::COOKIE,
        header::PROXY_AUTHORIZATION,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    headers
        .iter()
        .filter(|(name, _)| !hidden.contains(name))
        .filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect()
}

/// The answer as it leaves: what a plugin may set, and the policy of every page.
fn response(reply: PageReply) -> Response {
    let status = StatusCode::from_u16(reply.status)
        .ok()
        .filter(|status| status.as_u16() >= 200)
        .unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in reply.headers {
        let name = name.to_ascii_lowercase();
        let allowed = ALLOWED.contains(&name.as_str());
        if let (true, Ok(name), Ok(value)) = (
            allowed,
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(&value),
        ) {
            headers.insert(name, value);
        }
    }
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_carries_what_it_may_and_the_policy_always() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let reply = PageReply {
            status: 201,
            headers: vec![
                header("Content-Type", "text/html"),
                header("Set-Cookie", "a=b"),
                header("Content-Security-Policy", "default-src *"),
                header("Location", "https://elsewhere.example"),
                header("Etag", "bad\nvalue"),
            ],
            ..PageReply::default()
        };
        let response = response(reply);
        assert_eq!(response.status(), 201);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/html");
        assert_eq!(headers["content-security-policy"], POLICY);
        for name in ["set-cookie", "location", "etag"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        for status in [0, 101, 199, 1_000] {
            let reply = PageReply {
                status,
                ..PageReply::default()
            };
            assert_eq!(super::response(reply).status(), StatusCode::BAD_GATEWAY);
        }
    }

    #[test]
    fn a_plugin_sees_no_credentials() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("x-signature", "s"),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        assert_eq!(
            shown(&headers),
            [("x-signature".to_owned(), "s".to_owned())]
        );
    }
}
