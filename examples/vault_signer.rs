//! A key that never leaves its vault: assertions are signed in Azure Key Vault.
//!
//! `cargo run --example vault_signer` signs in a stand-in for the vault, in this process. Copy the first half
//! of `main`, with `Identity::managed()` and without `transport`.

mod demo;

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::engine::{Engine as _, general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use demo::{BoxError, check};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten_azure::azure_core;
use maskinporten_azure::azure_core::http::headers::Headers;
use maskinporten_azure::azure_core::http::{
    AsyncRawResponse, Body, HttpClient, Request, Transport,
};
use maskinporten_azure::{Identity, KeyVault, KeyVaultSigner};
use maskinporten_sim::{ClientRegistration, SimServer};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt};
use tower_maskinporten::ServiceBuilderExt;
use tower_maskinporten::maskinporten::{MaskinportenClient, MaskinportenSettings};

const SCOPE: &str = "krr:read";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = SimServer::start().await?;
    let stand_in = Arc::new(StandIn::new()?);

    let vault = KeyVault::builder("https://myvault.vault.azure.net")
        .identity(Identity::client_secret(TENANT, APPLICATION, "a-secret"))
        .transport(Transport::new(stand_in.clone()))
        .build()?;
    let signer = KeyVaultSigner::connect(&vault, "maskinporten").await?;
    // Registered in the portal, once for each version of the key.
    let public_jwk = signer.public_jwk();
    println!("{} signs in {}", signer.kid(), vault.address());
    register(&server, &public_jwk)?;

    let settings = MaskinportenSettings::new(server.url(), CLIENT_ID).with_signer(signer);
    let client = MaskinportenClient::from_settings(settings)?;
    let http = ServiceBuilder::new()
        .maskinporten_authorization(&client, [SCOPE], server.url())?
        .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());

    let request = http::Request::get(server.sim().api_url()).body(Empty::new())?;
    let status = http.oneshot(request).await?.status();
    println!("{status} from the API");
    check("the API accepts the token", status.is_success())?;
    println!("asked of the vault: {:?}", stand_in.asked());
    // One signature when it was connected, to see that it may, and one for the grant.
    check(
        "it signed twice",
        stand_in.asked() == ["key", "sign", "sign"],
    )
}

// ===== what is only here to run it =====

const TENANT: &str = "cd0026d8-283b-4a55-9bfa-d0ef4a8ba21c";
const APPLICATION: &str = "9b0d4c4e-6e33-4f44-9ef1-3ad0ff1a3b2c";
const CLIENT_ID: &str = "our-client-id";
const VERSION: &str = "0123456789abcdef0123456789abcdef";

fn register(server: &SimServer, public_jwk: &str) -> Result<(), BoxError> {
    let client = ClientRegistration::new(CLIENT_ID).scopes([SCOPE]);
    let client = client.key(serde_json::from_str(public_jwk)?)?;
    server.sim().add_client(client);
    Ok(())
}

/// The part of a vault, and of its identity service, that a signer speaks to. It holds the private key,
/// and gives out a public key and signatures.
struct StandIn {
    key: KeyPair,
    asked: Mutex<Vec<&'static str>>,
}

impl StandIn {
    fn new() -> Result<Self, BoxError> {
        Ok(Self {
            key: KeyPair::generate(KeySize::Rsa2048)?,
            asked: Mutex::default(),
        })
    }

    fn asked(&self) -> Vec<&'static str> {
        let asked = self.asked.lock();
        asked.map(|asked| asked.clone()).unwrap_or_default()
    }

    fn note(&self, what: &'static str) {
        if let Ok(mut asked) = self.asked.lock() {
            asked.push(what);
        }
    }

    /// The public key, as the vault tells it.
    fn public(&self) -> Value {
        let key = self.key.public_key();
        let text = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
        json!({
            "key": {
                "kid": format!("https://myvault.vault.azure.net/keys/maskinporten/{VERSION}"),
                "kty": "RSA",
                "key_ops": ["sign", "verify"],
                "n": text(key.modulus().big_endian_without_leading_zero()),
                "e": text(key.exponent().big_endian_without_leading_zero()),
            },
            "attributes": { "enabled": true },
        })
    }

    /// The signature of the digest that is asked for, RS256; none of a question that cannot be read.
    fn sign(&self, asked: &[u8]) -> Option<Value> {
        let asked: Value = serde_json::from_slice(asked).ok()?;
        let digest = URL_SAFE_NO_PAD.decode(asked["value"].as_str()?).ok()?;
        let digest = Digest::import_less_safe(&digest, &SHA256).ok()?;
        let mut signature = vec![0; self.key.public_modulus_len()];
        let signed = self
            .key
            .sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature);
        signed.ok()?;
        Some(json!({ "kid": VERSION, "value": URL_SAFE_NO_PAD.encode(signature) }))
    }

    fn answer(&self, request: &Request) -> (u16, Value) {
        let mut headers = request.headers().iter();
        let is_authorised = headers.any(|(name, value)| {
            name.as_str() == "authorization" && value.as_str() == "Bearer a-token-for-the-vault"
        });
        let path = request.url().path();
        if path.ends_with("/oauth2/v2.0/token") {
            let token = "a-token-for-the-vault";
            let token =
                json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": token });
            return (200, token);
        }
        if !is_authorised {
            return (401, json!({ "error": { "code": "Unauthorized" } }));
        }
        if path.ends_with("/sign") {
            self.note("sign");
            let Body::Bytes(asked) = request.body() else {
                return (400, json!({}));
            };
            return match self.sign(asked) {
                Some(signature) => (200, signature),
                None => (400, json!({ "error": { "code": "BadParameter" } })),
            };
        }
        self.note("key");
        (200, self.public())
    }
}

#[async_trait]
impl HttpClient for StandIn {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (status, body) = self.answer(request);
        let mut headers = Headers::new();
        headers.insert("content-type", "application/json");
        if status == 401 {
            // The vault itself says what a token is to be for.
            let challenge = format!(
                r#"Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="https://vault.azure.net""#
            );
            headers.insert("www-authenticate", challenge);
        }
        let body = Bytes::from(body.to_string());
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, body))
    }
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandIn")
    }
}
