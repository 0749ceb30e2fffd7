//! The body of an answer → the JSON object that it has to be.

use serde::de::DeserializeOwned;

/// Reads one JSON object. Members that `T` has no use for are passed over.
///
/// serde takes an array in the place of a struct, its entries for the members in their order. No server
/// means that. What the parser would say of a failure may quote a token, so it says nothing.
pub(crate) fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    json.trim_ascii_start()
        .starts_with(b"{")
        .then(|| serde_json::from_slice(json).ok())?
}
