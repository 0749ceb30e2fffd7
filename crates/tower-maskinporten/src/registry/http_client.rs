//! The flavour over hyper, or over any other service of `http` messages: [`HttpClient`] and the order
//! of its layers.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use maskinporten::{Authorizer, BoxFuture};
use tower::ServiceBuilder;
use tower::retry::RetryLayer;
use tower::util::{BoxCloneSyncService, Either, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::{FilterCredentials, Limited, PolicyExt, clone_body_fn};
use tower_layer::layer_fn;
use tower_service::Service;

use super::declaration::Plan;
use super::headers::SecretHeadersLayer;
use super::named::NamedClient;
use super::retry::RetryPolicy;
use super::time_limit::TimeLimitLayer;
use crate::BoxError;
use crate::keep_context::KeepContext;
use crate::replay::ReplayAuthLayer;
use crate::service::BearerAuth;

/// An HTTP client with all its layers, whose types are forgotten: `Clone + Send + Sync + 'static`, so that
/// it fits the state of a web framework.
///
/// It is a service of whole addresses; [`NamedClient`] takes paths as well. It is always ready: a request
/// waits for the service underneath when it is sent, and that wait is part of its time.
#[derive(Clone)]
pub struct HttpClient(Erased);

type Erased = BoxCloneSyncService<Request<Full<Bytes>>, Response<HttpBody>, BoxError>;

impl HttpClient {
    /// Puts the layers of a client over what sends its requests. From the outside in: what is further
    /// out counts everything that is further in.
    pub(super) fn new<S, B>(plan: &Plan, authorizer: Authorizer, transport: S) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let retry = (plan.retries > 0)
            .then(|| RetryLayer::new(RetryPolicy::new(plan.retries, plan.retry_all_methods)));
        let redirects = (plan.redirects > 0).then(|| {
            let limit = Limited::new(plan.redirects as usize);
            let policy = limit.and::<_, Full<Bytes>, BoxError>(FilterCredentials::new());
            let policy = policy.and::<_, Full<Bytes>, BoxError>(KeepContext::new());
            // A body that cannot be sent again would end the way at a 307 or 308.
            let whole = clone_body_fn(|body: &Full<Bytes>| Some(body.clone()));
            FollowRedirectLayer::with_policy(policy.and::<_, Full<Bytes>, BoxError>(whole))
        });
        let auth = match plan.replay_on_unauthorized {
            true => Either::Left(ReplayAuthLayer::new(authorizer)),
            false => Either::Right(layer_fn(move |inner| BearerAuth::new(inner, &authorizer))),
        };
        let origin = plan.base.origin().clone();
        let secrets = SecretHeadersLayer::new(origin, Arc::clone(&plan.headers));
        let service = ServiceBuilder::new()
            .layer(TimeLimitLayer::new(plan.timeout))
            .option_layer(retry)
            .option_layer(redirects)
            .layer(auth)
            .layer(secrets)
            .option_layer(plan.attempt_timeout.map(TimeLimitLayer::new))
            .map_response(|response: Response<B>| response.map(HttpBody::new))
            .map_err(Into::<BoxError>::into)
            .service(transport);
        Self(BoxCloneSyncService::new(service))
    }
}

impl Service<Request<Full<Bytes>>> for HttpClient {
    type Response = Response<HttpBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<HttpBody>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.0.call(request)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

// ===== what a named client of this flavour can be asked =====

impl NamedClient<HttpClient> {
    /// Asks for what is at a path below the base URL.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and for a path that [`uri`](Self::uri) refuses.
    pub async fn get(&self, path: &str) -> Result<Response<HttpBody>, BoxError> {
        let request = Request::get(self.uri(path)?).body(Full::default())?;
        self.client().clone().oneshot(request).await
    }

    /// Sends a request whose address is a path below the base URL, or a whole one. What is in its
    /// extensions counts, such as a [`TokenContext`](maskinporten::TokenContext).
    ///
    /// Every answer is one, whatever its status. Dropping the future gives the request up.
    ///
    /// # Errors
    ///
    /// What kept the request from its token, as a [`maskinporten::Error`] that
    /// [`find_in`](maskinporten::Error::find_in) finds; [`Elapsed`](tower::timeout::error::Elapsed) where
    /// the time is up; else what the client underneath says. Outside a Tokio runtime it is
    /// [`ErrorKind::Runtime`](maskinporten::ErrorKind::Runtime).
    pub async fn send<B: Into<Bytes>>(
        &self,
        request: Request<B>,
    ) -> Result<Response<HttpBody>, BoxError> {
        let request = request.map(|body| Full::new(body.into()));
        self.clone().oneshot(request).await
    }
}

impl Service<Request<Full<Bytes>>> for NamedClient<HttpClient> {
    type Response = Response<HttpBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<HttpBody>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.client_mut().poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Full<Bytes>>) -> Self::Future {
        match self.plan().base.join(request.uri()) {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => return Box::pin(ready(Err(error.into()))),
        }
        self.client_mut().call(request)
    }
}

// ===== the body of an answer =====

/// The body of an answer, whatever client it came by.
///
/// The time of a client ends with the head of an answer: whoever reads a body that may be long in coming
/// sets a limit to that.
pub struct HttpBody(UnsyncBoxBody<Bytes, BoxError>);

impl HttpBody {
    fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(body.map_err(Into::into).boxed_unsync())
    }

    /// The whole body, however large; `http_body_util::Limited` around it sets a limit.
    ///
    /// # Errors
    ///
    /// What the connection failed with on the way.
    pub async fn bytes(self) -> Result<Bytes, BoxError> {
        Ok(self.0.collect().await?.to_bytes())
    }
}

impl Body for HttpBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl fmt::Debug for HttpBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBody").finish_non_exhaustive()
    }
}
