//! A client in a few lines: it writes assertions, right or wrong, and reads answers.

use std::future::Future;
use std::time::UNIX_EPOCH;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use maskinporten_sim::{Body, Sim, SimClient};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A world with one client that may ask for `a:b` and `a:c`, and a grant that is in order.
pub(crate) struct Grant {
    pub(crate) sim: Sim,
    pub(crate) client: SimClient,
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Grant {
    pub(crate) fn new() -> Self {
        Self::in_world(Sim::new())
    }

    pub(crate) fn in_world(sim: Sim) -> Self {
        // Making the first key may take a second, which no test means to measure.
        let start = sim.clock().now();
        let client = sim.new_client(["a:b", "a:c", "altinn:serviceowner"]);
        sim.clock().set(start);
        let now = seconds(&sim);
        let header = json!({ "alg": "RS256", "kid": client.kid() });
        let claims = json!({
            "aud": sim.issuer(), "iss": client.client_id(), "scope": "a:b",
            "iat": now, "exp": now + 120, "jti": "one",
        });
        Self {
            sim,
            client,
            header,
            claims,
        }
    }

    pub(crate) fn assertion(&self) -> String {
        sign(&self.header, &self.claims, &self.client)
    }

    pub(crate) async fn send(&self) -> Answer {
        post(&self.sim, &form(&self.assertion())).await
    }

    /// The token this grant gets.
    pub(crate) async fn token(&self) -> String {
        let answer = self.send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn seconds(sim: &Sim) -> u64 {
    sim.clock()
        .now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub(crate) fn form(assertion: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", GRANT_TYPE)
        .append_pair("assertion", assertion)
        .finish()
}

/// Signs with the key of `client` and the algorithm of the header; any other is signed as RS256.
pub(crate) fn sign(header: &Value, claims: &Value, client: &SimClient) -> String {
    let encoding: &'static dyn RsaEncoding = match header["alg"].as_str() {
        Some("RS384") => &RSA_PKCS1_SHA384,
        Some("RS512") => &RSA_PKCS1_SHA512,
        _ => &RSA_PKCS1_SHA256,
    };
    let key = KeyPair::from_pkcs8(&pkcs8(client)).unwrap();
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        encoding,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The private key as DER, read from its PEM.
pub(crate) fn pkcs8(client: &SimClient) -> Vec<u8> {
    let pem = client.private_pem();
    let text: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    STANDARD.decode(text).unwrap()
}

/// The claims of a token, as they stand in it.
pub(crate) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) async fn send(sim: &Sim, request: Request<Body>) -> Answer {
    let (parts, body) = sim.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

pub(crate) async fn post(sim: &Sim, form: &str) -> Answer {
    let request = Request::post(sim.token_endpoint())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()));
    send(sim, request.unwrap()).await
}

pub(crate) async fn get(sim: &Sim, url: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers
        .iter()
        .fold(Request::get(url), |request, (name, value)| {
            request.header(*name, *value)
        });
    send(sim, request.body(Body::empty()).unwrap()).await
}

/// Runs a short test on paused time, so that helpers with `#[track_caller]` can be plain functions.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}
