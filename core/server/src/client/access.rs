//! `pomona tenant`, `principal`, `token`, `whoami` and `audit`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::api::{Api, query, segment};
use super::output::{Column, Output};

const TENANT: &[Column] = &[
    Column("SLUG", "slug"),
    Column("NAME", "name"),
    Column("ID", "id"),
    Column("CREATED", "created_at"),
];
const PRINCIPAL: &[Column] = &[
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("KIND", "kind"),
    Column("CREATED", "created_at"),
    Column("DISABLED", "disabled_at"),
];
const TOKEN: &[Column] = &[
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("PRINCIPAL", "principal_id"),
    Column("SCOPES", "scopes"),
    Column("EXPIRES", "expires_at"),
    Column("REVOKED", "revoked_at"),
    Column("LAST USED", "last_used_at"),
];
const AUDIT: &[Column] = &[
    Column("SEQ", "seq"),
    Column("AT", "at"),
    Column("ACTOR", "actor_id"),
    Column("ACTION", "action"),
    Column("TARGET", "target"),
    Column("DETAILS", "details"),
];

/// `pomona tenant …`
#[derive(Debug, Subcommand)]
pub(crate) enum TenantVerb {
    /// Make a tenant with a certificate authority of its own.
    Create {
        /// Its short name for addresses: a-z, 0-9 and -.
        slug: String,
        /// The organization's name, as devices show it.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// List tenants.
    List(More),
    /// Show the tenant of --tenant.
    Show,
}

/// How much of a list is shown.
#[derive(Debug, Args)]
pub(crate) struct More {
    /// The most entries.
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "all")]
    limit: usize,
    /// All entries.
    #[arg(long)]
    all: bool,
}

impl More {
    pub(crate) fn most(&self) -> usize {
        match self.all {
            true => usize::MAX,
            false => self.limit,
        }
    }
}

pub(crate) async fn tenant(verb: TenantVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    match verb {
        TenantVerb::Create { slug, name } => {
            let made = api
                .post("tenants", &json!({ "slug": slug, "name": name }))
                .await?;
            out.one(&made, TENANT)
        }
        TenantVerb::List(more) => out.list(&api.list("tenants", more.most()).await?, TENANT),
        TenantVerb::Show => {
            let path = format!("tenants/{}", api.tenant().await?);
            out.one(&api.get(&path).await?, TENANT)
        }
    }
}

/// `pomona principal …`
#[derive(Debug, Subcommand)]
pub(crate) enum PrincipalVerb {
    /// Make a principal; it can do nothing until it has a token.
    Create {
        /// The name of the person, or of the program and who runs it.
        name: String,
        /// Make it the operator's, not a tenant's.
        #[arg(long)]
        operator: bool,
    },
    /// List principals.
    List {
        /// The operator's, not a tenant's.
        #[arg(long)]
        operator: bool,
        #[command(flatten)]
        more: More,
    },
    /// Disable a principal for ever, with all its tokens and all that those made.
    Disable {
        /// Its id.
        id: String,
        /// It is the operator's, not a tenant's.
        #[arg(long)]
        operator: bool,
    },
}

/// The address of something that the operator and each tenant have.
async fn of(api: &Api, operator: bool, path: &str) -> anyhow::Result<String> {
    match operator {
        true => Ok(path.to_owned()),
        false => api.in_tenant(path).await,
    }
}

pub(crate) async fn principal(verb: PrincipalVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    match verb {
        PrincipalVerb::Create { name, operator } => {
            let path = of(api, operator, "principals").await?;
            let made = api.post(&path, &json!({ "name": name })).await?;
            out.one(&made, PRINCIPAL)
        }
        PrincipalVerb::List { operator, more } => {
            let path = of(api, operator, "principals").await?;
            out.list(&api.list(&path, more.most()).await?, PRINCIPAL)
        }
        PrincipalVerb::Disable { id, operator } => {
            let path = of(
                api,
                operator,
                &format!("principals/{}/disable", segment(&id)),
            )
            .await?;
            let answer = api.call(Method::POST, &path, None, &[]).await?;
            out.said("The principal is disabled, with all its tokens.", &answer)
        }
    }
}

/// `pomona token …`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token, never wider than one's own. Its secret is shown this once.
    Create {
        /// What it is called in lists.
        name: String,
        /// A right, such as `devices:read`; repeat it for several.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// Whose it is to be; one's own when absent.
        #[arg(long, value_name = "ID")]
        principal: Option<String>,
        /// When it ends, such as 2026-03-01T08:00:00Z; as late as possible when absent.
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// Bind it to no tenant.
        #[arg(long)]
        operator: bool,
    },
    /// List tokens, without their secrets.
    List {
        /// Those bound to no tenant.
        #[arg(long)]
        operator: bool,
        #[command(flatten)]
        more: More,
    },
    /// Revoke a token, and with it all that it made.
    Revoke {
        /// Its id.
        id: String,
        /// It is bound to no tenant.
        #[arg(long)]
        operator: bool,
    },
}

pub(crate) async fn token(verb: TokenVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    match verb {
        TokenVerb::Create {
            name,
            scopes,
            principal,
            expires_at,
            operator,
        } => {
            let path = of(api, operator, "tokens").await?;
            let wanted = json!({
                "name": name,
                "scopes": scopes,
                "principal_id": principal,
                "expires_at": expires_at,
            });
            let made = api.post(&path, &wanted).await?;
            out.one(
                &made,
                &[
                    Column("ID", "id"),
                    Column("NAME", "name"),
                    Column("SCOPES", "scopes"),
                    Column("EXPIRES", "expires_at"),
                    Column("SECRET", "secret"),
                ],
            )
        }
        TokenVerb::List { operator, more } => {
            let path = of(api, operator, "tokens").await?;
            out.list(&api.list(&path, more.most()).await?, TOKEN)
        }
        TokenVerb::Revoke { id, operator } => {
            let path = of(api, operator, &format!("tokens/{}/revoke", segment(&id))).await?;
            let answer = api.call(Method::POST, &path, None, &[]).await?;
            out.said("The token is revoked, and all that it made.", &answer)
        }
    }
}

pub(crate) async fn whoami(api: &Api, out: &Output) -> anyhow::Result<()> {
    out.one(
        &api.get("me").await?,
        &[
            Column("PRINCIPAL", "principal_name"),
            Column("PRINCIPAL ID", "principal_id"),
            Column("TOKEN", "token_id"),
            Column("TENANT", "tenant_id"),
            Column("SCOPES", "scopes"),
            Column("EXPIRES", "expires_at"),
        ],
    )
}

/// `pomona audit …`
#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Read the audit log, the oldest record first.
    List {
        /// What the operator did outside any tenant.
        #[arg(long)]
        operator: bool,
        #[command(flatten)]
        more: More,
    },
    /// Check that no record was changed or taken out.
    Verify {
        /// What the operator did outside any tenant.
        #[arg(long)]
        operator: bool,
    },
}

pub(crate) async fn audit(verb: AuditVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    match verb {
        AuditVerb::List { operator, more } => {
            let path = query(&of(api, operator, "audit").await?, &[]);
            out.list(&api.list(&path, more.most()).await?, AUDIT)
        }
        AuditVerb::Verify { operator } => {
            let path = of(api, operator, "audit/verify").await?;
            let check = api.get(&path).await?;
            if let Some(seq) = check["broken_at"].as_i64() {
                if out.is_json() {
                    out.value(&check)?;
                }
                anyhow::bail!(
                    "record {seq} does not follow from the one before it: the log was changed"
                );
            }
            let sentence = format!("The chain is whole: {} records.", check["records"]);
            out.said(&sentence, &check)
        }
    }
}
