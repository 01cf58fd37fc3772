//! The admin API: `/api/v1/…`, on a listener of its own.
//!
//! Owns: routes, their permissions, reading of requests and writing of answers. What is done is in
//! `crate::admin` and in the engine; nothing here decides.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

mod audit;
mod auth;
mod catalogue;
mod commands;
mod devices;
mod enroll;
mod events;
mod extract;
mod groups;
mod json;
mod me;
mod openapi;
mod plugin_work;
mod plugins;
mod posture;
mod principals;
mod profiles;
mod push;
mod reply;
mod route;
mod tenants;
#[cfg(test)]
mod tests;
mod tokens;
mod trials;

pub(super) use auth::bearer;
pub use openapi::openapi_json;
pub use route::Access;

use super::error::Problem;
use crate::engine::Engine;
use crate::ids::TokenId;
use crate::store::Store;

/// Streams of events that are open at a time.
const STREAMS: usize = 256;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct AdminState {
    pub(crate) engine: Engine,
    /// Room for streams of events.
    pub(crate) streams: Arc<Semaphore>,
    /// Ends the streams when the server stops.
    pub(crate) stop: CancellationToken,
    touched: Arc<Cache<TokenId, ()>>,
}

impl AdminState {
    /// The database.
    pub(crate) fn store(&self) -> &Store {
        self.engine.store()
    }

    /// Notes that a token was used, unless that was noted within the last minute.
    async fn touch(&self, token: TokenId) {
        if self.touched.contains_key(&token) {
            return;
        }
        self.touched.insert(token, ());
        if let Err(error) = self.store().touch_token(token).await {
            tracing::warn!(token.id = %token, %error, "the use of a token could not be noted");
        }
    }
}

/// The admin API as a router. Its streams of events end when `stop` is cancelled.
pub fn admin_router(engine: Engine, stop: CancellationToken) -> Router {
    let touched = Cache::builder()
        .max_capacity(10_000)
        .time_to_live(Duration::from_secs(60))
        .build();
    let state = AdminState {
        engine,
        streams: Arc::new(Semaphore::new(STREAMS)),
        stop,
        touched: Arc::new(touched),
    };
    let mut router = Router::new();
    for route in route::table() {
        let check = from_fn_with_state((state.clone(), route.access), auth::authorize);
        router = router.route(route.path, route.handler.layer(check));
    }
    router
        .fallback(async || Problem::not_found("this address"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Not this method",
                "this address takes other methods; see the API description",
            )
        })
        .layer(from_fn_with_state(state.clone(), auth::authenticate))
        .layer(map_response(harden))
        .with_state(state)
}

/// What every answer carries: it is for the caller alone and is never to be run or framed by a browser.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("referrer-policy", "no-referrer"),
    ] {
        headers.insert(
            axum::http::HeaderName::from_static(name),
            axum::http::HeaderValue::from_static(value),
        );
    }
    response
}
