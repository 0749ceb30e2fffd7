//! The flavour over reqwest 0.13: middleware of `reqwest_middleware` 0.5 in the order that the layers of
//! [`HttpClient`](super::HttpClient) have.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Extensions, HeaderName, HeaderValue, Method};
use maskinporten::{Authorizer, Origin, Result};
use reqwest::{Request, Response};
use reqwest_middleware::{
    ClientBuilder, ClientWithMiddleware, Error as ClientError, Middleware, Next, RequestBuilder,
};

use super::declaration::Plan;
use super::named::NamedClient;
use super::retry::{self, RetryPolicy};
use super::time_limit::{Ended, within};
use crate::middleware::{failed, send};
use crate::replay::ReplayAuthLayer;
use crate::reqwest::target;

/// Puts the middleware of a client over reqwest's. The first is outermost.
pub(super) fn layered(
    plan: &Plan,
    authorizer: Authorizer,
    client: reqwest::Client,
) -> ClientWithMiddleware {
    let mut builder = ClientBuilder::new(client).with(TimeLimit(plan.timeout));
    if plan.retries > 0 {
        let policy = RetryPolicy::new(plan.retries, plan.retry_all_methods);
        builder = builder.with(Retry(policy));
    }
    builder = match plan.replay_on_unauthorized {
        true => builder.with(ReplayAuthLayer::new(authorizer)),
        false => builder.with(Auth(authorizer)),
    };
    builder = builder.with(SecretHeaders {
        origin: plan.base.origin().clone(),
        headers: Arc::clone(&plan.headers),
    });
    if let Some(timeout) = plan.attempt_timeout {
        builder = builder.with(TimeLimit(timeout));
    }
    builder.build()
}

/// A request to a path below the base URL, or to a whole address, which is refused when it is sent unless
/// it is of the same origin.
///
/// A [`TokenContext`](maskinporten::TokenContext) is given by `RequestBuilder::with_extension`.
impl NamedClient<ClientWithMiddleware> {
    /// Begins a `GET`.
    ///
    /// # Errors
    ///
    /// As [`uri`](Self::uri).
    pub fn get(&self, path: &str) -> Result<RequestBuilder> {
        self.request(Method::GET, path)
    }

    /// Begins a `POST`.
    ///
    /// # Errors
    ///
    /// As [`uri`](Self::uri).
    pub fn post(&self, path: &str) -> Result<RequestBuilder> {
        self.request(Method::POST, path)
    }

    /// Begins a request.
    ///
    /// # Errors
    ///
    /// As [`uri`](Self::uri).
    pub fn request(&self, method: Method, path: &str) -> Result<RequestBuilder> {
        let address = self.uri(path)?.to_string();
        Ok(self.client().request(method, address))
    }
}

// ===== the middleware =====

struct TimeLimit(Duration);

#[async_trait]
impl Middleware for TimeLimit {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, ClientError> {
        match within(self.0, next.run(request, extensions)).await {
            Ok(sent) => sent,
            Err(Ended::Time(elapsed)) => Err(ClientError::middleware(elapsed)),
            Err(Ended::NoRuntime(error)) => Err(failed(error, "the request was not sent")),
        }
    }
}

struct Retry(RetryPolicy);

#[async_trait]
impl Middleware for Retry {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, ClientError> {
        let mut policy = self.0.clone();
        loop {
            let repeats = policy.repeats(request.method());
            // None where the body is a stream: it is sent once.
            let again = repeats.then(|| request.try_clone()).flatten();
            let sent = next.clone().run(request, extensions).await;
            let Some(again) = again else {
                return sent;
            };
            let patience = match &sent {
                Ok(response) => policy.patience(response.status(), response.headers()),
                Err(error) => is_passing(error).then_some(Duration::ZERO),
            };
            let Some(pause) = patience.and_then(|patience| policy.pause(patience)) else {
                return sent;
            };
            drop(sent);
            pause.await;
            request = again;
        }
    }
}

fn is_passing(error: &ClientError) -> bool {
    // It gives its content's source for its own, and so hides the content.
    let content: &(dyn StdError + 'static) = match error {
        ClientError::Middleware(error) => {
            let error: &(dyn StdError + Send + Sync) = error.as_ref();
            error
        }
        ClientError::Reqwest(error) => error,
    };
    retry::is_passing(content)
}

struct Auth(Authorizer);

#[async_trait]
impl Middleware for Auth {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, ClientError> {
        let sent = send(&self.0, request, extensions, next).await;
        sent.map(|(_, response)| response)
    }
}

/// As [`SecretHeadersLayer`](super::headers::SecretHeadersLayer).
struct SecretHeaders {
    origin: Origin,
    headers: Arc<[(HeaderName, HeaderValue)]>,
}

#[async_trait]
impl Middleware for SecretHeaders {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, ClientError> {
        if self.origin.admits(target(request.url())) {
            for (name, value) in &*self.headers {
                request.headers_mut().insert(name, value.clone());
            }
        }
        next.run(request, extensions).await
    }
}
