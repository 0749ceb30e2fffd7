//! Token, exchange and API in a build where jsonwebtoken has both of its back-ends.
//!
//! Nothing here or below may ask for its process-wide provider: there is none in such a build, and
//! asking panics. One line and exit code 0 say that nobody asked.

use std::error::Error;
use std::panic;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, header};
use http_body_util::BodyExt;
use jsonwebtoken::crypto::{self, aws_lc, rust_crypto};
use jsonwebtoken::{Algorithm, DecodingKey};
use maskinporten::{
    AltinnSettings, MaskinportenClient, MaskinportenSettings, TokioClock, Transport,
};
use maskinporten_sim::{Body, Sim};
use serde_json::Value;
use tower_service::Service;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    let json = registered.settings_json().to_string();
    let section = MaskinportenSettings::DEFAULT_SECTION;
    let client = MaskinportenClient::builder()
        .settings(MaskinportenSettings::from_json(&json, section)?)
        .altinn(AltinnSettings::platform(&sim.altinn_platform())?)
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()?;

    let token = client.access_token(["a:read"]).await?;
    let altinn = client.altinn_token(["a:read"]).await?;
    for token in [&token, &altinn] {
        let request = Request::get(sim.api_url())
            .header(header::AUTHORIZATION, format!("Bearer {}", token.expose()))
            .body(Body::empty())?;
        let status = sim.call(request).await?.status();
        if !status.is_success() {
            return Err(format!("the api answered {status}").into());
        }
    }
    if !is_verified_by_both(&sim, token.expose()).await? {
        return Err("the token's signature was not verified".into());
    }
    if !is_process_wide_provider_missing() {
        return Err("jsonwebtoken has a process-wide provider: this build shows nothing".into());
    }
    println!("both back-ends: token, exchange and api are well");
    Ok(())
}

/// Whether the key the issuer publishes verifies a token, by either back-end, each named.
async fn is_verified_by_both(sim: &Sim, token: &str) -> Result<bool, Box<dyn Error>> {
    let (input, signature) = token.rsplit_once('.').ok_or("the token is no JWS")?;
    let signature = URL_SAFE_NO_PAD.decode(signature)?;
    let jwk = published_key(sim).await?;
    let member = |name: &str| jwk[name].as_str().ok_or("the key lacks a member");
    let key = DecodingKey::from_rsa_components(member("n")?, member("e")?)?;
    for provider in [&aws_lc::DEFAULT_PROVIDER, &rust_crypto::DEFAULT_PROVIDER] {
        let verifier = (provider.verifier_factory)(&Algorithm::RS256, &key)?;
        if verifier.verify(input.as_bytes(), &signature).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn published_key(sim: &Sim) -> Result<Value, Box<dyn Error>> {
    let request = Request::get(format!("{}jwk", sim.issuer())).body(Body::empty())?;
    let body = sim.clone().call(request).await?.into_body();
    let bytes = body.collect().await.map_err(|error| error.to_string())?;
    let document: Value = serde_json::from_slice(&bytes.to_bytes())?;
    Ok(document["keys"][0].clone())
}

/// Whether asking for the provider of the process panics, as it does with both back-ends.
fn is_process_wide_provider_missing() -> bool {
    panic::set_hook(Box::new(|_| {}));
    let key = jsonwebtoken::EncodingKey::from_secret(b"any");
    let asked = panic::catch_unwind(|| crypto::sign(b"any", &key, Algorithm::HS256));
    let _ = panic::take_hook();
    asked.is_err()
}
