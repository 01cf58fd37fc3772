//! `pomona ca` and `pomona enroll link`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use http::Method;
use serde_json::json;

use super::access::More;
use super::api::{Api, segment};
use super::output::{Column, Output};

const CA: &[Column] = &[
    Column("ID", "id"),
    Column("KIND", "kind"),
    Column("NAME", "name"),
    Column("SUBJECT", "subject"),
    Column("ENDS", "not_after"),
    Column("RETIRED", "retired_at"),
];
const LINK: &[Column] = &[
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("STATE", "state"),
    Column("USES", "uses"),
    Column("MOST", "max_uses"),
    Column("SERIAL", "device_serial"),
    Column("UDID", "device_udid"),
    Column("EXPIRES", "expires_at"),
];

/// `pomona ca …`
#[derive(Debug, Subcommand)]
pub(crate) enum CaVerb {
    /// List the authorities of the tenant.
    List,
    /// Let devices enroll that hold a certificate of an authority of your own.
    AddExternal {
        /// What it is called.
        name: String,
        /// The certificate that signs the devices' certificates, PEM.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Any device with such a certificate may enroll.
        #[arg(long, conflicts_with_all = ["serial", "udid"])]
        any_device: bool,
        /// Only a device with this serial number; repeat it for several.
        #[arg(long, value_name = "SERIAL")]
        serial: Vec<String>,
        /// Only a device with this UDID; repeat it for several.
        #[arg(long, value_name = "UDID")]
        udid: Vec<String>,
    },
    /// Let no further device enroll with a certificate of this authority.
    Retire {
        /// Its id.
        id: String,
    },
}

pub(crate) async fn ca(verb: CaVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    match verb {
        CaVerb::List => {
            let answer = api.get(&api.in_tenant("cas").await?).await?;
            out.list(
                answer["items"]
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default(),
                CA,
            )
        }
        CaVerb::AddExternal {
            name,
            certificate,
            any_device,
            serial,
            udid,
        } => {
            let pem = std::fs::read_to_string(&certificate)
                .with_context(|| format!("cannot read {}", certificate.display()))?;
            let policy = match any_device {
                true => json!({ "devices": "any" }),
                false => json!({ "devices": "listed", "serials": serial, "udids": udid }),
            };
            let body = json!({ "name": name, "certificate_pem": pem, "policy": policy });
            let made = api.post(&api.in_tenant("cas").await?, &body).await?;
            out.one(&made, &[Column("ID", "id")])
        }
        CaVerb::Retire { id } => {
            let path = api
                .in_tenant(&format!("cas/{}/retire", segment(&id)))
                .await?;
            let answer = api.call(Method::POST, &path, None, &[]).await?;
            out.said("The authority counts no more for new enrollments.", &answer)
        }
    }
}

/// `pomona enroll …`
#[derive(Debug, Subcommand)]
pub(crate) enum EnrollVerb {
    /// Enrollment links.
    #[command(subcommand)]
    Link(LinkVerb),
}

/// `pomona enroll link …`
#[derive(Debug, Subcommand)]
pub(crate) enum LinkVerb {
    /// Make a link. Its address is shown this once.
    Create {
        /// What it is called in lists.
        name: String,
        /// How many devices it may enroll.
        #[arg(long, value_name = "N", default_value_t = 1)]
        uses: u32,
        /// When it ends, such as 2026-03-01T08:00:00Z; in 7 days when absent.
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// The serial number of the only device it is for.
        #[arg(long, value_name = "SERIAL")]
        serial: Option<String>,
        /// The UDID of the only device it is for.
        #[arg(long, value_name = "UDID")]
        udid: Option<String>,
    },
    /// List links, without their addresses.
    List(More),
    /// Take a link back. Devices that it enrolled stay.
    Revoke {
        /// Its id.
        id: String,
    },
}

pub(crate) async fn enroll(verb: EnrollVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    let EnrollVerb::Link(verb) = verb;
    let path = api.in_tenant("enrollment-links").await?;
    match verb {
        LinkVerb::Create {
            name,
            uses,
            expires_at,
            serial,
            udid,
        } => {
            let body = json!({
                "name": name,
                "max_uses": uses,
                "expires_at": expires_at,
                "device_serial": serial,
                "device_udid": udid,
            });
            let made = api.post(&path, &body).await?;
            out.one(
                &made,
                &[
                    Column("ID", "id"),
                    Column("NAME", "name"),
                    Column("MOST", "max_uses"),
                    Column("EXPIRES", "expires_at"),
                    Column("URL", "url"),
                ],
            )
        }
        LinkVerb::List(more) => out.list(&api.list(&path, more.most()).await?, LINK),
        LinkVerb::Revoke { id } => {
            let path = format!("{path}/{}/revoke", segment(&id));
            let answer = api.call(Method::POST, &path, None, &[]).await?;
            out.said("The link is revoked.", &answer)
        }
    }
}
