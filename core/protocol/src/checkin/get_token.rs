//! `GetToken`: a channel asks for a token of some service.
//!
//! Owns the fields of this message and the list of services. Source: Apple, Device Management, "Get Token".

use std::fmt;

use super::MAX_WORD_BYTES;
use crate::ParseError;
use crate::fields::Fields;

/// A channel asks for a token. `Debug` does not show the parameters, which hold a security token.
#[derive(Clone, PartialEq)]
pub struct GetToken {
    /// Which service.
    pub token_service_type: TokenServiceType,
    /// `TokenParameters`, as sent.
    pub token_parameters: Option<plist::Dictionary>,
}

/// The services that Apple lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenServiceType {
    /// `com.apple.maid`: access management with a Managed Apple Account.
    Maid,
    /// `com.apple.watch.pairing`: the phone of a watch that enrolls.
    WatchPairing,
}

impl TokenServiceType {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Maid => "com.apple.maid",
            Self::WatchPairing => "com.apple.watch.pairing",
        }
    }
}

impl GetToken {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, ParseError> {
        let key = "TokenServiceType";
        let token_service_type = match fields.text(key, MAX_WORD_BYTES)?.as_str() {
            "com.apple.maid" => TokenServiceType::Maid,
            "com.apple.watch.pairing" => TokenServiceType::WatchPairing,
            _ => return Err(ParseError::UnknownValue { key }),
        };
        Ok(Self {
            token_service_type,
            token_parameters: fields.optional_dictionary("TokenParameters")?,
        })
    }
}

impl fmt::Debug for GetToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetToken")
            .field("token_service_type", &self.token_service_type)
            .finish_non_exhaustive()
    }
}
