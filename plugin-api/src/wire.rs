//! Messages: MessagePack with named fields, so that either side may know more fields than the other.

use crate::{Code, Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// The bytes of a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(message).expect("messages hold only what MessagePack can express")
}

/// The message in `bytes`; fields that this side does not know are skipped.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|error| Error::new(Code::BAD_PARAMS, format!("malformed message: {error}")))
}
