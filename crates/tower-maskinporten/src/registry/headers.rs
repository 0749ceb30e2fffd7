//! Headers that are as secret as a token, such as a subscription key: set below the layer that sets
//! the token, for the same origin and no other.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request};
use maskinporten::Origin;
use tower_layer::Layer;
use tower_service::Service;

/// The headers of a client, and the origin that may see them.
#[derive(Clone, Debug)]
pub(super) struct SecretHeadersLayer {
    origin: Origin,
    headers: Arc<[(HeaderName, HeaderValue)]>,
}

impl SecretHeadersLayer {
    pub(super) fn new(origin: Origin, headers: Arc<[(HeaderName, HeaderValue)]>) -> Self {
        Self { origin, headers }
    }
}

impl<S> Layer<S> for SecretHeadersLayer {
    type Service = SecretHeaders<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let secrets = self.clone();
        SecretHeaders { inner, secrets }
    }
}

#[derive(Clone, Debug)]
pub(super) struct SecretHeaders<S> {
    inner: S,
    secrets: SecretHeadersLayer,
}

impl<S, B> Service<Request<B>> for SecretHeaders<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The layer above has refused every other origin. Asked again, because a key that leaves by
        // mistake cannot be called back, and what stands above may change.
        if self.secrets.origin.admits(request.uri()) {
            for (name, value) in &*self.secrets.headers {
                request.headers_mut().insert(name, value.clone());
            }
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};

    use super::*;

    #[derive(Clone, Debug)]
    struct Echo;

    impl Service<Request<()>> for Echo {
        type Response = Request<()>;
        type Error = Infallible;
        type Future = Ready<Result<Request<()>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            ready(Ok(request))
        }
    }

    #[tokio::test]
    async fn they_are_set_at_their_origin_and_nowhere_else_whatever_stands_above() {
        let mut key = HeaderValue::from_static("canary");
        key.set_sensitive(true);
        let headers = [(HeaderName::from_static("x-key"), key)].into();
        let origin: Origin = "https://api.example.no".parse().unwrap();
        let mut service = SecretHeadersLayer::new(origin, headers).layer(Echo);
        assert!(!format!("{service:?}").contains("canary"));

        for (uri, expected) in [
            ("https://api.example.no/a", Some("canary")),
            ("https://API.example.no:443/", Some("canary")),
            ("https://api.example.no:8443/", None),
            ("http://api.example.no/", None),
            ("https://elsewhere.example/", None),
            ("/a", None),
        ] {
            let request = Request::get(uri).body(()).unwrap();
            let sent = service.call(request).await.unwrap();
            let value = sent.headers().get("x-key");
            assert_eq!(
                value.map(|value| value.to_str().unwrap()),
                expected,
                "{uri}"
            );
            assert!(value.is_none_or(HeaderValue::is_sensitive));
        }
    }
}
