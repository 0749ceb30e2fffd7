//! The signed grant: an assertion, traded for a token.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Response;

use crate::advice::Retry;
use crate::assertion::{self, Assertion};
use crate::cache;
use crate::clock::AnyClock;
use crate::credentials::{Live, Material};
use crate::discovery::Discovery;
use crate::error::{Error, Result};
use crate::grant;
use crate::metadata::Metadata;
use crate::random;
use crate::refusal;
use crate::request::TokenRequest;
use crate::retry::{ATTEMPT_TIMEOUT, DEADLINE};
use crate::signer::{BoxFuture, KeyReference, Signer};
use crate::token::{self, AccessToken};
use crate::transport::Transport;

use super::skew::{Skew, shifted};
use super::{SourceIdentity, TokenSource};

/// Signs an assertion and trades it for a token (RFC 7523 §2.1).
#[derive(Debug)]
pub(crate) struct SignedGrant {
    live: Arc<Live>,
    transport: Transport,
    clock: AnyClock,
    skew: Arc<Skew>,
}

/// What a refused grant leaves of its flight's time, beside that for one more grant.
const MARGIN: Duration = Duration::from_secs(1);

/// How issuer and token endpoint are known.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Known(Arc<Metadata>),
    Discovered(Box<Discovery>),
}

impl SignedGrant {
    pub(crate) fn new(
        live: Arc<Live>,
        transport: Transport,
        clock: AnyClock,
        skew: Arc<Skew>,
    ) -> Self {
        Self {
            live,
            transport,
            clock,
            skew,
        }
    }

    /// A grant with the credentials as they are; where its key is refused, one more with what their
    /// source has by then.
    async fn fetch_token(&self, request: &TokenRequest) -> Result<AccessToken> {
        self.live.keep_watch();
        let started = self.clock.now();
        let revision = self.live.revision();
        match self.fetch_with(&self.live.material(), request).await {
            Err(Refused {
                error,
                remedy: Retry::OtherKey,
            }) => {
                // Of the flight's time there must be enough left for one more grant; and whoever reads of
                // it shall hear of the key, and not that time was up.
                let spent = started.until(self.clock.now());
                let patience = DEADLINE.saturating_sub(spent + ATTEMPT_TIMEOUT + MARGIN);
                if !self.live.look_again_since(revision, patience).await {
                    return Err(error);
                }
                let outcome = self.fetch_with(&self.live.material(), request).await;
                outcome.map_err(|refused| refused.error)
            }
            outcome => outcome.map_err(|refused| refused.error),
        }
    }

    /// A grant with each key in turn, until one is not refused for what it is.
    async fn fetch_with(
        &self,
        material: &Material,
        request: &TokenRequest,
    ) -> Result<AccessToken, Refused> {
        self.live.warn();
        let metadata = match &material.endpoint {
            Endpoint::Known(metadata) => Arc::clone(metadata),
            Endpoint::Discovered(discovery) => discovery.metadata().await?,
        };
        let keys = &material.keys;
        let mut first: Option<Refused> = None;
        for key in keys.in_order(self.clock.now(), self.clock.wall()) {
            let signer = keys.signer(key);
            match self
                .fetch_signed(material, &**signer, &metadata, request)
                .await
            {
                Ok(token) => {
                    if first.is_some() {
                        tracing::warn!(
                            target: "maskinporten::key",
                            key = shown(&**signer),
                            "the key that shall sign was refused; this one signs for a quarter of an hour"
                        );
                        keys.remember(key, self.clock.now());
                    }
                    return Ok(token);
                }
                Err(refused) if refused.remedy == Retry::OtherKey => {
                    first = Some(match first {
                        None => refused,
                        Some(first) => first.and_also(shown(&**signer)),
                    });
                }
                // That another key was refused before is of no use to whoever reads of this.
                Err(refused) => return Err(refused),
            }
        }
        Err(first.unwrap_or_else(|| Error::key("there is no key to sign with").into()))
    }

    /// One grant; after a refusal that the table says a new assertion can mend, one more.
    async fn fetch_signed(
        &self,
        material: &Material,
        signer: &dyn Signer,
        metadata: &Metadata,
        request: &TokenRequest,
    ) -> Result<AccessToken, Refused> {
        match self.grant(material, signer, metadata, request).await {
            Err(refused) if refused.is_mended() => {
                self.grant(material, signer, metadata, request).await
            }
            outcome => outcome,
        }
    }

    async fn grant(
        &self,
        material: &Material,
        signer: &dyn Signer,
        metadata: &Metadata,
        request: &TokenRequest,
    ) -> Result<AccessToken, Refused> {
        let jti = random::uuid()?;
        let skew = self.skew.seconds();
        let assertion = Assertion {
            audience: &metadata.issuer,
            client_id: material.identity.client_id(),
            request,
            issued_at: shifted(self.clock.wall(), skew),
            jti: &jti,
        };
        let input = assertion.signing_input(signer.algorithm(), signer.key_reference())?;
        let signature = signer.sign(input.clone().into_bytes()).await?;
        let jws = assertion::compact(&input, &signature);

        let request_to_send = grant::request(&metadata.token_endpoint, &jws);
        let sent = self.clock.wall();
        cache::record_key(|| shown(signer));
        let response = self
            .transport
            .round_trip(request_to_send, ATTEMPT_TIMEOUT)
            .await?;
        let received = self.clock.wall();
        token::from_response(&response, shifted(received, skew)).map_err(|error| {
            let error = error.with_endpoint(&metadata.token_endpoint);
            match error.oauth_error() {
                Some(_) => {
                    // Where on its way the answer was dated is not known: in the middle, at a guess.
                    let way = received.duration_since(sent).unwrap_or_default();
                    let dated = sent.checked_add(way / 2).unwrap_or(received);
                    let error = error
                        .with_detail("audience", metadata.issuer.as_str())
                        .with_detail("client id", material.identity.client_id())
                        .with_detail("kid", shown(signer))
                        .with_detail("scope", request.scope_set().as_str());
                    self.explain(error, &response, dated, skew)
                }
                None => error.into(),
            }
        })
    }

    /// Sees what can mend a refusal. Where it is the clock, it is set right here.
    fn explain(
        &self,
        mut error: Error,
        response: &Response<Bytes>,
        dated: SystemTime,
        skew_then: i64,
    ) -> Refused {
        let mut remedy = error.advice().map_or(Retry::No, |advice| advice.retry());
        if remedy == Retry::CorrectedClock {
            remedy = Retry::No;
            if let Some(server) = refusal::server_time(response.headers()) {
                let skew = seconds_between(dated, server);
                let (by, way) = match skew < 0 {
                    true => (skew.unsigned_abs(), "behind"),
                    false => (skew.unsigned_abs(), "ahead of"),
                };
                let told = format!("the server's clock is {by} s {way} this machine's");
                error = error.with_detail("clock", told);
                self.skew.correct(skew, self.clock.now());
                // Once: what was refused with this reading would be refused with it again. Others
                // may have taken it meanwhile, and this one was still sent without.
                if skew != skew_then {
                    remedy = Retry::CorrectedClock;
                }
            }
        }
        Refused { error, remedy }
    }
}

impl TokenSource for SignedGrant {
    fn identity(&self) -> SourceIdentity {
        self.live.material().identity.clone()
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(self.fetch_token(request))
    }

    fn revision(&self) -> u64 {
        self.live.revision()
    }
}

impl Drop for SignedGrant {
    fn drop(&mut self) {
        // Nobody is left whom new credentials could serve.
        self.live.stop();
    }
}

/// A grant that brought no token, and what may bring one.
struct Refused {
    error: Error,
    remedy: Retry,
}

impl Refused {
    /// Whether a new assertion of the same key may be taken.
    fn is_mended(&self) -> bool {
        matches!(self.remedy, Retry::NewAssertion | Retry::CorrectedClock)
    }

    fn and_also(mut self, key: String) -> Self {
        self.error = self.error.with_detail("kid tried as well", key);
        self
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self {
            error,
            remedy: Retry::No,
        }
    }
}

/// What a key is called in messages.
fn shown(signer: &dyn Signer) -> String {
    match signer.key_reference() {
        KeyReference::Kid(kid) => kid.to_owned(),
        KeyReference::Chain(_) => "a certificate chain".to_owned(),
    }
}

/// `to` minus `from` in whole seconds.
fn seconds_between(from: SystemTime, to: SystemTime) -> i64 {
    let whole = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(ahead) => whole(ahead),
        Err(behind) => -whole(behind.duration()),
    }
}
