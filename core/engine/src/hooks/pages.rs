//! Hooks that answer people and other systems: requests below a plugin's address, and panels for a console.
//!
//! Owns: their traits and what goes in and out. Who may ask and what an answer may carry is for `http::plugins`.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use super::{HookError, KeyedEffect, Occasion};
use crate::clock::Micros;

/// A request to a plugin's address.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// What follows the plugin's address, without a slash before it.
    pub path: String,
    /// The query string.
    pub query: String,
    /// The headers that a plugin may see.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Who asks, if the request carries a token: a principal's id.
    pub actor: Option<String>,
    /// The scopes of that token.
    pub roles: Vec<String>,
}

/// A plugin's answer.
#[derive(Clone, Debug, Default)]
pub struct PageReply {
    /// The status, 200 to 599.
    pub status: u16,
    /// Headers; those that a plugin may not set are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What is to be done; committed before the answer leaves.
    pub effects: Vec<KeyedEffect>,
}

/// Answers requests below its address. On error, time-out or absence: 502.
#[async_trait]
pub trait RouteHook: Send + Sync {
    /// Who it is; its address ends with it.
    fn name(&self) -> &str;
    /// The principal that stands as actor on its effects.
    fn principal(&self) -> Option<crate::PrincipalId> {
        None
    }
    /// Whether this path may be asked for without a token.
    fn open(&self, path: &str) -> bool;
    /// Answers.
    async fn handle(
        &self,
        occasion: Occasion,
        request: PageRequest,
    ) -> Result<PageReply, HookError>;
}

/// A panel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PanelInfo {
    /// Its name within the plugin.
    pub id: String,
    /// Its name for people.
    pub title: String,
}

/// Shows something in a console. On error, time-out or absence: an error in the panel's place.
#[async_trait]
pub trait PanelHook: Send + Sync {
    /// Who it is.
    fn name(&self) -> &str;
    /// Its panels.
    fn panels(&self) -> Vec<PanelInfo>;
    /// A panel as JSON: tables, forms and badges, never HTML.
    async fn render(
        &self,
        now: Micros,
        panel: &str,
        parameters: &Value,
    ) -> Result<Value, HookError>;
}
