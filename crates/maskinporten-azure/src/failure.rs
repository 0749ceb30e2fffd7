//! What the SDK failed with, in the words of [`Error`]: what happened, and who can mend it.
//!
//! An error of the SDK holds the raw answer, and a credential's may hold what its author put there. So
//! none is kept as a cause; of an answer are told its status and its codes.

use std::error::Error as StdError;

use azure_core::error::ErrorKind;
use azure_core::http::{RawResponse, StatusCode};
use maskinporten::Error;
use serde_json::Value;

use crate::transport::{Fault, causes};

/// What was attempted, for the messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// The vault's host.
    pub(crate) vault: &'a str,
    /// What the vault was asked to do: `list its secrets`.
    pub(crate) to: &'a str,
    /// What a 404 says is not there: `the key \`maskinporten\``.
    pub(crate) thing: &'a str,
    /// The rights this takes, as a role and as an access policy.
    pub(crate) rights: &'a str,
}

impl Attempt<'_> {
    /// Names what the SDK failed with.
    pub(crate) fn failed(self, error: &azure_core::Error) -> Error {
        let vault = self.vault;
        if let Some(fault) = Fault::find_in(error) {
            return fault.clone().into_error();
        }
        if *error.kind() == ErrorKind::Credential {
            return self.unidentified(error);
        }
        match error.kind() {
            ErrorKind::HttpResponse {
                status,
                error_code,
                raw_response,
            } => self.refused(*status, error_code.as_deref(), raw_response.as_deref()),
            ErrorKind::Io | ErrorKind::Connection => {
                Error::unavailable(format!("{vault} was not reached"))
            }
            ErrorKind::DataConversion => {
                Error::unavailable(format!("an answer of {vault} cannot be read"))
            }
            // The SDK has no kind for a challenge it does not trust, only words.
            _ if causes(error).any(is_distrust) => Error::rejected(format!(
                "{vault} asks for a token that is not for its own domain: the address is wrong, or \
                     `verify_challenge_resource(false)` is meant"
            )),
            _ => Error::rejected(format!("{vault} could not be asked to {}", self.to)),
        }
    }

    fn refused(
        self,
        status: StatusCode,
        code: Option<&str>,
        response: Option<&RawResponse>,
    ) -> Error {
        let Self {
            vault,
            to,
            thing,
            rights,
        } = self;
        let inner = response.and_then(inner_code);
        let code = inner.or_else(|| code.and_then(clean));
        let told = match &code {
            Some(code) => format!("{} {code}", u16::from(status)),
            None => u16::from(status).to_string(),
        };
        let message = match (u16::from(status), code.as_deref()) {
            (408 | 429 | 500.., _) => {
                return Error::unavailable(format!("{vault} cannot {to} now ({told})"));
            }
            (401, _) => format!(
                "{vault} does not accept the token ({told}): the identity belongs to another tenant than \
                 the vault, or the vault's address is wrong"
            ),
            (403, Some("SecretDisabled" | "KeyDisabled")) => {
                format!("{thing} is disabled ({told})")
            }
            // `KeyExpired` and its kin; the rights are not what is wrong.
            (403, Some(code)) if code.starts_with("Key") || code.starts_with("Secret") => {
                format!("{thing} cannot be used ({told})")
            }
            (403, Some("ForbiddenByFirewall" | "ForbiddenByConnection")) => format!(
                "the firewall of {vault} does not let this address through ({told}): allow the network, \
                 or reach the vault by its private endpoint"
            ),
            (403, _) => {
                format!("{vault} does not let this identity {to} ({told}): it takes {rights}")
            }
            (404, _) => format!("{thing} is not in {vault} ({told})"),
            _ => format!("{vault} refused to {to} ({told})"),
        };
        Error::rejected(message)
    }

    /// No token for the vault: the identity service refused, or was not asked.
    fn unidentified(self, error: &azure_core::Error) -> Error {
        let vault = self.vault;
        let kinds = causes(error).filter_map(|cause| cause.downcast_ref());
        for kind in kinds.map(azure_core::Error::kind) {
            if let ErrorKind::HttpResponse {
                status, error_code, ..
            } = kind
            {
                return unidentified(vault, *status, error_code.as_deref());
            }
        }
        Error::rejected(format!(
            "there is no token for {vault}: the identity's settings or its answer cannot be used"
        ))
    }
}

/// The SDK wraps its own words in others, and names the option in question only in these.
fn is_distrust(cause: &(dyn StdError + 'static)) -> bool {
    let cause = cause.downcast_ref::<azure_core::Error>();
    cause.is_some_and(|cause| cause.to_string().contains("verify_challenge_resource"))
}

fn unidentified(vault: &str, status: StatusCode, code: Option<&str>) -> Error {
    // Entra's numbers, as in `AADSTS7000215`; of several, the first one.
    let code = code
        .and_then(|codes| codes.split(',').next())
        .filter(|code| !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()));
    let status = u16::from(status);
    let told = match code {
        Some(code) => format!("{status} AADSTS{code}"),
        None => status.to_string(),
    };
    if matches!(status, 408 | 429 | 500..) {
        return Error::unavailable(format!("there is no token for {vault} now ({told})"));
    }
    let reason = match code {
        Some("7000215" | "7000222") => "the client secret is wrong or has expired",
        Some("700016") => "the client id is not known in this tenant",
        Some("90002" | "900023") => "the tenant id is wrong",
        Some("700024" | "700211" | "700212" | "700213") => {
            "the workload's token is not one the identity trusts"
        }
        None if status == 400 => "no such identity is assigned to this machine",
        _ => "the identity service refused",
    };
    Error::rejected(format!("there is no token for {vault}: {reason} ({told})"))
}

/// The more telling one of two codes: `{"error":{"code":"Forbidden","innererror":{"code":…}}}`.
fn inner_code(response: &RawResponse) -> Option<String> {
    let body: Value = serde_json::from_slice(response.body()).ok()?;
    let error = &body["error"];
    let code = error["innererror"]["code"].as_str();
    clean(code.or_else(|| error["code"].as_str())?)
}

/// A code is one short word; whatever else stands in its place is not told.
fn clean(code: &str) -> Option<String> {
    let is_word = !code.is_empty()
        && code.len() <= 64
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_word.then(|| code.to_owned())
}
