//! Tokens of a sidecar: a service beside this process that holds the key itself.
//!
//! The contract is that of nais: JSON in, JSON out, at `NAIS_TOKEN_ENDPOINT`.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use serde::Serialize;
use serde_json::Value;

use crate::advice;
use crate::clock::AnyClock;
use crate::error::{Error, Result};
use crate::request::TokenRequest;
use crate::retry::ATTEMPT_TIMEOUT;
use crate::settings::Sidecar;
use crate::signer::BoxFuture;
use crate::token::{self, AccessToken};
use crate::transport::Transport;

use super::{SourceIdentity, TokenSource};

/// Asks a sidecar for each token.
#[derive(Debug)]
pub(crate) struct SidecarTokens {
    identity: SourceIdentity,
    endpoint: Uri,
    transport: Transport,
    clock: AnyClock,
}

/// What a sidecar is asked.
#[derive(Serialize)]
struct Ask<'a> {
    identity_provider: &'static str,
    /// The scopes, separated by spaces.
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<&'a Value>,
    /// Passes over what the sidecar has kept.
    #[serde(skip_serializing_if = "is_false")]
    skip_cache: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

impl SidecarTokens {
    pub(crate) fn new(sidecar: &Sidecar, transport: Transport, clock: AnyClock) -> Self {
        Self {
            identity: SourceIdentity::new(sidecar.endpoint().to_string(), ""),
            endpoint: sidecar.endpoint().clone(),
            transport,
            clock,
        }
    }

    async fn ask(&self, request: &TokenRequest, skip_cache: bool) -> Result<AccessToken> {
        let ask = Ask {
            identity_provider: "maskinporten",
            target: request.scope_set().as_str(),
            resource: one_resource(request)?,
            authorization_details: request.details(),
            skip_cache,
        };
        let body = serde_json::to_vec(&ask).map_err(|error| {
            Error::request("the request cannot be written as JSON").with_source(error)
        })?;
        let mut asked = Request::new(Bytes::from(body));
        *asked.method_mut() = Method::POST;
        asked.uri_mut().clone_from(&self.endpoint);
        let json = HeaderValue::from_static("application/json");
        asked.headers_mut().insert(CONTENT_TYPE, json.clone());
        asked.headers_mut().insert(ACCEPT, json);
        let response = self
            .transport
            .round_trip(asked, ATTEMPT_TIMEOUT)
            .await
            .map_err(|error| error.with_advice(&advice::SIDECAR_SILENT))?;
        token::from_response(&response, self.clock.wall())
            .map_err(|error| error.with_endpoint(&self.endpoint))
    }
}

impl TokenSource for SidecarTokens {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(self.ask(request, false))
    }

    fn fetch_anew<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(self.ask(request, true))
    }

    fn keeps_tokens(&self) -> bool {
        true
    }

    fn supports(&self, request: &TokenRequest) -> Result<()> {
        if request.consumer().is_some() {
            let message = "a sidecar gives no token on behalf of an organisation (consumer_org)";
            return Err(Error::request(message).with_advice(&advice::NOT_BY_SIDECAR));
        }
        one_resource(request).map(drop)
    }
}

fn one_resource(request: &TokenRequest) -> Result<Option<&str>> {
    match request.resources() {
        None | Some([]) => Ok(None),
        Some([one]) => Ok(Some(one)),
        Some(_) => {
            let message = "a sidecar gives no token for more than one resource";
            Err(Error::request(message).with_advice(&advice::NOT_BY_SIDECAR))
        }
    }
}
