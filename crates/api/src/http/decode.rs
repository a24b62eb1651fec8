//! Request bodies: Go's JSON semantics and error texts.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use wire::json::{Mode, Options, UnknownFields};

use super::{Failure, Request};

/// Bodies without a limit of their own are held to this.
pub const BODY_MAX: usize = 4 * 1024 * 1024;

/// Unknown fields are errors.
pub fn strict<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let options = Options { unknown_fields: UnknownFields::Deny, aliases: false, mode: Mode::Decoder };
    wire::json::from_slice(body, options).map_err(|error| error.to_string())
}

/// Unknown fields are ignored.
pub fn lenient<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let options = Options { unknown_fields: UnknownFields::Ignore, aliases: false, mode: Mode::Decoder };
    wire::json::from_slice(body, options).map_err(|error| error.to_string())
}

/// Reads a body that has no configured limit.
pub async fn whole(req: &mut Request) -> Result<Bytes, Failure> {
    req.body(BODY_MAX, |size| {
        Failure::new(
            http::StatusCode::PAYLOAD_TOO_LARGE,
            format!("Request body({size} bytes) too large, max size: {BODY_MAX} bytes."),
        )
    })
    .await
}
