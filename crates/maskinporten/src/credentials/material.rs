//! Settings, checked and made into what a grant needs: one state of the credentials, used whole.

use std::sync::Arc;

use http::Uri;

use crate::advice;
use crate::clock::AnyClock;
use crate::discovery::Discovery;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::settings::{Authority, MaskinportenSettings};
use crate::source::{Endpoint, SourceIdentity};
use crate::stats::Reloading;
use crate::transport::Transport;

use super::ring::KeyRing;

/// One state of the credentials. A grant is made of one of them and never of two.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) identity: SourceIdentity,
    pub(crate) authority: Authority,
    pub(crate) endpoint: Endpoint,
    pub(crate) keys: KeyRing,
}

/// What it is made with beside settings: the same for all states of one client.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) transport: Transport,
    pub(crate) clock: AnyClock,
    /// The token endpoint that code has pinned.
    pub(crate) token_endpoint: Option<Uri>,
    pub(crate) reloads: Arc<Reloading>,
}

impl Material {
    /// Checks settings whole; every key signs once. It takes a few milliseconds for each key.
    pub(crate) fn of(settings: &MaskinportenSettings, parts: &Parts) -> Result<Self> {
        let authority = settings.authority()?;
        let client_id = settings.checked_client_id()?;
        let signers = settings.signers(&authority, parts.clock.wall())?;
        let keys = KeyRing::new(signers).ok_or_else(|| {
            Error::settings("the settings hold no key").with_advice(&advice::NO_SETTINGS)
        })?;
        let pinned = match &parts.token_endpoint {
            Some(pinned) => Some(pinned.clone()),
            None => settings.token_endpoint()?,
        };
        if let Some(pinned) = &pinned {
            check_endpoint(&authority, pinned)?;
        }
        Ok(Self {
            identity: SourceIdentity::new(authority.as_str(), client_id),
            endpoint: endpoint(&authority, pinned, parts),
            authority,
            keys,
        })
    }

    /// Lets every key sign, wherever it is.
    pub(crate) async fn try_signers(&self) -> Result<()> {
        for signer in self.keys.signers() {
            signer.sign(TEST_INPUT.to_vec()).await?;
        }
        Ok(())
    }
}

/// What a key signs when it is taken.
const TEST_INPUT: &[u8] = b"a key signs this once when it is taken";

/// A pinned endpoint is used as it is, a known environment is as its table says, and any other
/// authority is asked. So is one whose issuer is not known, for that alone where an endpoint is pinned.
fn endpoint(authority: &Authority, pinned: Option<Uri>, parts: &Parts) -> Endpoint {
    let known = pinned.as_ref().or(authority.token_endpoint());
    match (authority.issuer(), known) {
        (Some(issuer), Some(token_endpoint)) => Endpoint::Known(Arc::new(Metadata {
            issuer: issuer.to_owned(),
            token_endpoint: token_endpoint.clone(),
        })),
        _ => Endpoint::Discovered(Box::new(Discovery::new(
            authority.clone(),
            pinned,
            parts.transport.clone(),
            parts.clock.clone(),
        ))),
    }
}

/// Assertions for one environment are not sent to the token endpoint of another.
fn check_endpoint(authority: &Authority, endpoint: &Uri) -> Result<()> {
    let theirs = Environment::of_maskinporten_host(endpoint.host().unwrap_or_default());
    match (theirs, authority.environment()) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            let message = format!("the authority is of {ours} and the token endpoint of {theirs}");
            Err(Error::settings(message).with_advice(&advice::CROSSED_CREDENTIALS))
        }
        (Some(theirs), None) => {
            let message = format!(
                "the authority {authority} is none of Digdir's, and the token endpoint is of {theirs}"
            );
            Err(Error::settings(message).with_advice(&advice::CROSSED_CREDENTIALS))
        }
        _ => Ok(()),
    }
}
