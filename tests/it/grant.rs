//! What one grant sends, and what the simulator gives for it.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use jsonwebtoken::Algorithm;
use maskinporten::{
    BoxFuture, Consent, KeyReference, LocalSigner, MaskinportenClient, MaskinportenSettings,
    Result, Signer, SigningAlgorithm, SigningKey, SystemUser, TokenRequest, TokioClock,
};
use maskinporten_sim::{ClientRegistration, Route, Sim, SimClient};
use serde_json::{Value, json};

use crate::wire::{self, Jws, Wire};
use crate::world;

fn request() -> TokenRequest {
    TokenRequest::scopes(["a:read"]).unwrap()
}

/// A world after one grant, who asked for it, and what was sent.
async fn one_grant() -> (Sim, SimClient, Wire) {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    let wire = Wire::default();
    let client = world::builder(&sim, &registered)
        .transport(wire.to(&sim))
        .build()
        .unwrap();
    client.access_token(["a:read"]).await.unwrap();
    (sim, registered, wire)
}

// ===== parity vectors 1 to 3 of the .NET reference =====

#[tokio::test(start_paused = true)]
async fn scopes_are_sent_split_sorted_and_without_doubles() {
    #[track_caller]
    fn check(sim: &Sim, sent: &str) {
        let journal = sim.journal();
        let grant = journal.requests(Route::Token).last().unwrap();
        assert!(grant.is_accepted(), "{grant:?}");
        assert_eq!(grant.assertion_claims().unwrap()["scope"], sent);
    }
    let sim = Sim::new();
    let registered = sim.new_client(["a", "b", "c"]);
    let rows: [(&[&str], &str); 6] = [
        (&["a", "b", "c"], "a b c"),
        (&["a b", "c"], "a b c"),
        (&["a b c"], "a b c"),
        (&["c", "b", "a"], "a b c"),
        (&["a", "a b", "b"], "a b"),
        (&["  a\t b ", "", " "], "a b"),
    ];
    for (scopes, sent) in rows {
        let client = world::client(&sim, &registered);
        client.access_token(scopes).await.unwrap();
        check(&sim, sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_a_form_of_exactly_two_fields() {
    let (sim, _, wire) = one_grant().await;

    let sent = wire.sent();
    let grant = sent.last().unwrap();
    assert_eq!(grant.method(), Method::POST);
    assert_eq!(grant.uri().to_string(), sim.token_endpoint());
    assert_eq!(
        grant.headers()["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert!(!grant.headers().contains_key("authorization"));
    let body = std::str::from_utf8(grant.body()).unwrap();
    let assertion = body
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap();
    let unencoded = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    assert!(assertion.chars().all(unencoded), "{assertion}");
}

#[tokio::test(start_paused = true)]
async fn an_assertion_says_who_asks_whom_and_nothing_optional() {
    let (sim, registered, wire) = one_grant().await;

    let [assertion] = &wire.assertions()[..] else {
        panic!("one grant was to be made");
    };
    assert_eq!(
        assertion.header,
        json!({ "alg": "RS256", "kid": registered.kid(), "typ": "JWT" })
    );
    let now = sim.clock().now().duration_since(UNIX_EPOCH).unwrap();
    let jti = assertion.claims["jti"].as_str().unwrap();
    assert_eq!(
        assertion.claims,
        json!({
            "aud": sim.issuer(),
            "iss": registered.client_id(),
            "scope": "a:read",
            "iat": now.as_secs(),
            "exp": now.as_secs() + 120,
            "jti": jti,
        })
    );
    assert!(assertion.is_signed_by(&registered.public_jwk(), Algorithm::RS256));
}

#[tokio::test(start_paused = true)]
async fn every_grant_has_a_jti_of_its_own() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    for _ in 0..50 {
        let client = world::client(&sim, &registered);
        client.access_token(["a:read"]).await.unwrap();
    }
    let journal = sim.journal();
    let jtis: HashSet<&str> = journal
        .requests(Route::Token)
        .map(|grant| grant.assertion_claims().unwrap()["jti"].as_str().unwrap())
        .collect();
    assert_eq!(jtis.len(), 50);
    // UUIDs of version 4 (RFC 9562 §5.4), hyphenated and in lower case.
    for jti in jtis {
        let groups: Vec<usize> = jti.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{jti}");
        assert_eq!(&jti[14..15], "4", "{jti}");
        assert!("89ab".contains(&jti[19..20]), "{jti}");
        let hexadecimal = |c: char| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(jti.chars().all(hexadecimal), "{jti}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_system_user_is_sent_in_maskinportens_own_json() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    sim.system_user("311169963", Some("avd_1"), registered.client_id());
    let user = SystemUser::new("311169963").unwrap();
    let request = request().system_user(user.external_ref("avd_1").unwrap());
    let client = world::client(&sim, &registered);
    client.access_token(request).await.unwrap();

    let journal = sim.journal();
    let grant = journal.requests(Route::Token).last().unwrap();
    assert_eq!(
        grant.assertion_claims().unwrap()["authorization_details"],
        json!([{
            "type": "urn:altinn:systemuser",
            "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:311169963" },
            "externalRef": "avd_1",
        }])
    );
}

// ===== golden assertions: see vectors/assertions/README.md =====

const KEY: &str = include_str!("../vectors/keys/rsa-2048.jwk.json");
const GOLDEN_CLIENT: &str = "7ea43b76-6b7d-49e8-af2b-4114ebb66c80";
const GOLDEN_TIME: Duration = Duration::from_secs(1_767_261_600);
const GOLDEN_JTI: &str = "f0a29b1e-5c4d-4e8f-9a3b-2c1d0e9f8a7b";

/// The client draws its own `jti`, so that alone is put in place of the drawn one: everything else
/// that was sent must be the vector's, byte for byte, and the key must sign it as OpenSSL did.
async fn check_golden(request: TokenRequest, golden: &str) {
    let golden = golden.trim_end();
    let wire = Wire::default();
    let client = MaskinportenClient::builder()
        .settings(MaskinportenSettings::new("test", GOLDEN_CLIENT).with_jwk(KEY))
        .transport(wire.answering(|_| wire::token("opaque")))
        .clock(TokioClock::starting_at(UNIX_EPOCH + GOLDEN_TIME))
        .build()
        .unwrap();
    client.access_token(request).await.unwrap();
    let [sent] = &wire.assertions()[..] else {
        panic!("one grant was to be made");
    };
    let public: Value = serde_json::from_str(KEY).unwrap();
    assert!(sent.is_signed_by(&public, Algorithm::RS256));

    let drawn = sent.claims["jti"].as_str().unwrap();
    let payload = sent.payload().replace(drawn, GOLDEN_JTI);
    assert_eq!(payload, Jws::parse(golden).payload());
    let header = sent.text.split('.').next().unwrap();
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    let key = SigningKey::from_jwk(KEY, None).unwrap();
    let signature = key.sign(input.as_bytes()).unwrap();
    let rebuilt = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(rebuilt, golden);
}

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../vectors/assertions/", $name, ".jws"))
    };
}

#[tokio::test(start_paused = true)]
async fn a_golden_assertion_is_sent_byte_for_byte() {
    check_golden(request(), golden!("kid")).await;
}

#[tokio::test(start_paused = true)]
async fn two_scopes_in_either_order_and_twice_are_one_golden_assertion() {
    let orders: [&[&str]; 3] = [
        &["a:read", "b:write"],
        &["b:write", "a:read"],
        &["b:write a:read", "b:write"],
    ];
    for scopes in orders {
        let request = TokenRequest::scopes(scopes).unwrap();
        check_golden(request, golden!("two-scopes")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn resources_are_sent_as_one_string_or_one_array() {
    let one = || request().resource("https://api.example.no/v1").unwrap();
    check_golden(one(), golden!("resource-one")).await;
    let several = one().resource("urn:altinn:resource:x").unwrap();
    check_golden(several, golden!("resource-several")).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_sent_as_nine_digits_in_whichever_notation_it_came() {
    for number in ["311169963", "0192:311169963"] {
        let request = request().consumer_org(number).unwrap();
        check_golden(request, golden!("consumer-org")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn norwegian_letters_in_a_reference_are_sent_as_they_are() {
    for number in ["311169963", "0192:311169963"] {
        let user = SystemUser::new(number).unwrap();
        let user = user.external_ref("Ærlig-øks_på_1").unwrap();
        check_golden(request().system_user(user), golden!("system-user")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_consent_is_sent_with_its_giver() {
    let id = "77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1";
    let consent = Consent::from_person(id, "01017012345").unwrap();
    check_golden(request().consent(consent), golden!("consent")).await;
}

#[tokio::test(start_paused = true)]
async fn raw_details_are_sent_alike_bare_or_in_their_array_and_in_any_order() {
    let bare = r#"{"type":"urn:example:other","z":"\"<","a":{"c":[2,null],"b":1}}"#;
    for json in [bare.to_owned(), format!("[{bare}]")] {
        let request = request().authorization_details(json).unwrap();
        check_golden(request, golden!("details")).await;
    }
}

// ===== keys =====

#[tokio::test(start_paused = true)]
async fn the_jwks_own_algorithm_signs() {
    async fn check(name: &str, algorithm: Algorithm) {
        let sim = Sim::new();
        let registered = sim.new_client(["a:read"]);
        let mut jwk = registered.private_jwk();
        jwk["alg"] = json!(name);
        let wire = Wire::default();
        let settings = MaskinportenSettings::new(sim.issuer(), registered.client_id());
        let client = world::builder(&sim, &registered)
            .settings(settings.with_jwk(jwk.to_string()))
            .transport(wire.to(&sim))
            .build()
            .unwrap();
        client.access_token(["a:read"]).await.unwrap();
        let [assertion] = &wire.assertions()[..] else {
            panic!("one grant was to be made");
        };
        assert_eq!(assertion.header["alg"], name);
        assert!(assertion.is_signed_by(&registered.public_jwk(), algorithm));
        assert_eq!(sim.journal().grants(), 1);
    }
    check("RS256", Algorithm::RS256).await;
    check("RS384", Algorithm::RS384).await;
    check("RS512", Algorithm::RS512).await;
}

/// A key with a certificate, as a vault might hold it.
#[derive(Debug)]
struct Certified {
    signer: LocalSigner,
    chain: Vec<String>,
}

impl Signer for Certified {
    fn algorithm(&self) -> SigningAlgorithm {
        self.signer.algorithm()
    }

    fn key_reference(&self) -> KeyReference<'_> {
        KeyReference::Chain(&self.chain)
    }

    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        self.signer.sign(input)
    }
}

#[tokio::test(start_paused = true)]
async fn a_certified_key_is_sent_as_x5c_without_a_kid() {
    // Within the certificate's years, which began when it was made.
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_830_000_000);
    let sim = Sim::builder().start_at(start).build();
    sim.add_client(ClientRegistration::new("certified").scopes(["a:read"]));
    let pem = include_str!("../vectors/keys/rsa-2048-certificate.pem");
    let der = pem.lines().filter(|line| !line.starts_with("---"));
    let signer = Certified {
        signer: LocalSigner::new(SigningKey::from_jwk(KEY, None).unwrap()),
        chain: vec![der.collect()],
    };
    let chain = json!(signer.chain);
    let client = MaskinportenClient::builder()
        .signer(sim.issuer(), "certified", signer)
        .transport(Wire::default().to(&sim))
        .clock(TokioClock::starting_at(start))
        .build()
        .unwrap();
    client.access_token(["a:read"]).await.unwrap();

    let journal = sim.journal();
    let grant = journal.requests(Route::Token).last().unwrap();
    let header = grant.assertion_header().unwrap();
    assert_eq!(
        header,
        &json!({ "alg": "RS256", "x5c": chain, "typ": "JWT" })
    );
    let method = &grant.issued().unwrap()["client_amr"];
    assert_eq!(method, "virksomhetssertifikat");
}

// ===== what the simulator gives =====

/// The claims of the token that came, which are those the simulator's journal shows as given out.
async fn granted(sim: &Sim, client: &MaskinportenClient, request: TokenRequest) -> Value {
    let token = client.access_token(request).await.unwrap();
    let journal = sim.journal();
    let grant = journal.requests(Route::Token).last().unwrap();
    let claims = Jws::parse(token.expose()).claims;
    assert_eq!(Some(&claims), grant.issued());
    claims
}

#[tokio::test(start_paused = true)]
async fn a_resource_becomes_the_tokens_audience() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    let client = world::client(&sim, &registered);

    let bare = granted(&sim, &client, request()).await;
    assert_eq!(bare.get("aud"), None);
    let one = request().resource("https://api.example.no").unwrap();
    let restricted = granted(&sim, &client, one.clone()).await;
    assert_eq!(restricted["aud"], "https://api.example.no");
    let two = one.resource("urn:b").unwrap();
    let restricted = granted(&sim, &client, two).await;
    assert_eq!(
        restricted["aud"],
        json!(["https://api.example.no", "urn:b"])
    );
}

#[tokio::test(start_paused = true)]
async fn a_delegated_scope_is_granted_on_behalf_of_the_consumer() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    sim.delegate("311169963", "991825827", "a:read");
    let client = world::client(&sim, &registered);

    let request = request().consumer_org("0192:311169963").unwrap();
    let claims = granted(&sim, &client, request).await;
    assert_eq!(claims["consumer"]["ID"], "0192:311169963");
    assert_eq!(claims["supplier"]["ID"], "0192:991825827");
}

#[tokio::test(start_paused = true)]
async fn a_system_user_is_granted_by_its_reference() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    let plain = sim.system_user("405003309", None, registered.client_id());
    let first = sim.system_user("311169963", Some("første"), registered.client_id());
    let second = sim.system_user("311169963", Some("andre"), registered.client_id());
    let client = world::client(&sim, &registered);

    let user = |number: &str, reference: &str| {
        let user = SystemUser::new(number).unwrap();
        request().system_user(user.external_ref(reference).unwrap())
    };
    for (request, id) in [
        (user("405003309", ""), plain),
        (user("311169963", "første"), first),
        (user("311169963", "andre"), second),
    ] {
        let claims = granted(&sim, &client, request).await;
        let details = &claims["authorization_details"][0];
        assert_eq!(details["systemuser_id"], json!([id]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_consent_is_granted_by_its_id_and_giver() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    let id = "77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1";
    sim.consent(id, "urn:altinn:organization:identifier-no:405003309");
    let client = world::client(&sim, &registered);

    let consent = Consent::from_organisation(id, "0192:405003309").unwrap();
    let claims = granted(&sim, &client, request().consent(consent)).await;
    assert_eq!(claims["authorization_details"][0]["id"], id);
}

#[tokio::test(start_paused = true)]
async fn an_exchanged_token_carries_what_was_asked_for() {
    let sim = Sim::new();
    let registered = sim.new_client(["altinn:serviceowner"]);
    let id = sim.system_user("311169963", None, registered.client_id());
    let client = world::client(&sim, &registered);

    let user = SystemUser::new("311169963").unwrap();
    let request = TokenRequest::scopes(["altinn:serviceowner"]).unwrap();
    let token = client
        .altinn_token(request.system_user(user))
        .await
        .unwrap();
    let claims = Jws::parse(token.expose()).claims;
    assert_eq!(claims["urn:altinn:org"], "digdir");
    let details = &claims["authorization_details"][0];
    assert_eq!(details["systemuser_id"], json!([id]));
}
