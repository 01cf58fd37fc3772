//! Declarative management, as far as it is answered now: valid tokens and an empty set.
//!
//! Owns: the answers to the endpoints of the `DeclarativeManagement` check-in. An empty set has no effect on a device, so
//! a device that was switched on for declarations stays well. Status reports are stored by the writer.
//!
//! Source: Apple, "Declarative management", the check-in endpoints and the shape of their answers.

use aws_lc_rs::digest;
use bytes::Bytes;
use pomona_protocol::checkin::Endpoint;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Micros;
use crate::engine::DeviceReply;

/// Answers one endpoint.
pub(crate) fn answer(endpoint: &Endpoint, now: Micros) -> DeviceReply {
    match endpoint {
        Endpoint::Tokens => reply(&json!({
            "SyncTokens": { "DeclarationsToken": empty_token(), "Timestamp": timestamp(now) }
        })),
        Endpoint::DeclarationItems => reply(&json!({
            "Declarations": {
                "Activations": [], "Assets": [], "Configurations": [], "Management": []
            },
            "DeclarationsToken": empty_token(),
        })),
        Endpoint::Declaration { .. } => DeviceReply::NotFound,
        Endpoint::Status => DeviceReply::Empty,
    }
}

/// The token of a set without declarations: a hash over the empty list, the same in every answer and on every node.
fn empty_token() -> String {
    hex::encode(digest::digest(&digest::SHA256, b"[]"))
}

fn timestamp(now: Micros) -> String {
    OffsetDateTime::from_unix_timestamp(now / 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

fn reply(value: &serde_json::Value) -> DeviceReply {
    DeviceReply::Json(Bytes::from(value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_items_name_the_same_set() {
        let text = |reply| match reply {
            DeviceReply::Json(body) => serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
            other => panic!("{other:?}"),
        };
        let tokens = text(answer(&Endpoint::Tokens, 1_000_000));
        let items = text(answer(&Endpoint::DeclarationItems, 2_000_000));
        assert_eq!(
            tokens["SyncTokens"]["DeclarationsToken"],
            items["DeclarationsToken"]
        );
        assert_eq!(tokens["SyncTokens"]["Timestamp"], "1970-01-01T00:00:01Z");
        for list in ["Activations", "Assets", "Configurations", "Management"] {
            assert_eq!(items["Declarations"][list], json!([]));
        }
    }
}
