//! Transports by hand: what is sent is kept, and what is answered is decided by the test.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use maskinporten::Transport;
use maskinporten_sim::{Body, Sim};
use serde_json::Value;
use tower::{Service, ServiceExt, service_fn};

/// What a client sent, through any transport made from this.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Arc<Mutex<Vec<Request<Bytes>>>>);

impl Wire {
    /// On to the simulator.
    pub(crate) fn to(&self, sim: &Sim) -> Transport {
        let sim = sim.clone();
        self.over(service_fn(move |request: Request<Bytes>| {
            sim.clone().oneshot(request.map(Body::from))
        }))
    }

    /// Answered by hand.
    pub(crate) fn answering<F>(&self, answer: F) -> Transport
    where
        F: Fn(&Request<Bytes>) -> Response<Full<Bytes>> + Clone + Send + 'static,
    {
        self.over(service_fn(move |request: Request<Bytes>| {
            let response = answer(&request);
            async move { Ok::<_, Infallible>(response) }
        }))
    }

    /// On to any service.
    pub(crate) fn over<S, B>(&self, service: S) -> Transport
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: std::error::Error + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let wire = self.clone();
        Transport::new(service_fn(move |request: Request<Bytes>| {
            wire.0.lock().unwrap().push(request.clone());
            service.clone().oneshot(request)
        }))
    }

    pub(crate) fn sent(&self) -> Vec<Request<Bytes>> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        let urls = |request: &Request<Bytes>| request.uri().to_string();
        self.sent().iter().map(urls).collect()
    }

    pub(crate) fn assertions(&self) -> Vec<Jws> {
        self.sent().iter().filter_map(Jws::in_form).collect()
    }
}

/// The token endpoint's answer: this token, for two minutes.
pub(crate) fn token(text: impl fmt::Display) -> Response<Full<Bytes>> {
    let body = format!(r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":120}}"#);
    answer(200, body)
}

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A compact JWS, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Jws {
    pub(crate) text: String,
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Jws {
    /// The assertion of a token request, where it is one.
    pub(crate) fn in_form(request: &Request<Bytes>) -> Option<Self> {
        let form = std::str::from_utf8(request.body()).ok()?;
        let (_, assertion) = form.split_once("assertion=")?;
        Some(Self::parse(assertion))
    }

    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let parts: Vec<&str> = text.split('.').collect();
        assert_eq!(parts.len(), 3, "{text}");
        let json = |part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        Self {
            text: text.to_owned(),
            header: json(parts[0]),
            claims: json(parts[1]),
        }
    }

    /// The claims as they are written.
    pub(crate) fn payload(&self) -> String {
        let part = self.text.split('.').nth(1).unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    /// Whether the key of a public JWK verifies it. The provider is named: a build may hold two.
    pub(crate) fn is_signed_by(&self, jwk: &Value, algorithm: Algorithm) -> bool {
        let member = |name: &str| jwk[name].as_str().unwrap();
        let key = DecodingKey::from_rsa_components(member("n"), member("e")).unwrap();
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &key).unwrap();
        let (input, signature) = self.text.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        verifier.verify(input.as_bytes(), &signature).is_ok()
    }
}
