//! What a grant in order gets.

use std::time::Duration;

use http::StatusCode;
use maskinporten_sim::{ClientRegistration, Route, Sim};
use serde_json::{Value, json};

use crate::support::{Grant, claims, get, run, seconds};

/// The claims of the token after a change to the grant or its world.
#[track_caller]
fn issued(change: impl FnOnce(&mut Grant)) -> Value {
    let mut grant = Grant::new();
    change(&mut grant);
    let answer = run(grant.send());
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let claims = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!(
        grant.sim.journal().entries().last().unwrap().issued(),
        Some(&claims)
    );
    claims
}

#[test]
fn a_grant_in_order_gets_a_token_of_two_minutes() {
    let mut grant = Grant::new();
    grant.claims["scope"] = json!("a:c a:b a:c");
    let answer = run(grant.send());
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=utf-8"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("date"), "Thu, 01 Jan 2026 10:00:00 GMT");

    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 120);
    assert_eq!(body["scope"], "a:c a:b");
    assert_eq!(body.as_object().unwrap().len(), 4);

    let claims = claims(body["access_token"].as_str().unwrap());
    let now = seconds(&grant.sim);
    let jti = claims["jti"].clone();
    assert_eq!(
        claims,
        json!({
            "iss": "https://sim.maskinporten.test/", "client_id": grant.client.client_id(),
            "client_amr": "private_key_jwt", "scope": "a:c a:b", "token_type": "Bearer",
            "consumer": { "authority": "iso6523-actorid-upis", "ID": "0192:991825827" },
            "iat": now, "exp": now + 120, "jti": jti,
        })
    );
}

#[test]
fn the_other_two_algorithms_the_token_endpoint_as_audience_and_extra_claims_are_taken() {
    issued(|grant| grant.header["alg"] = json!("RS384"));
    issued(|grant| grant.header["alg"] = json!("RS512"));
    issued(|grant| grant.header["typ"] = json!("JWT"));
    issued(|grant| grant.claims["aud"] = json!(grant.sim.token_endpoint()));
    issued(|grant| grant.claims["aud"] = json!([grant.sim.issuer()]));
    issued(|grant| grant.claims["sub"] = grant.claims["iss"].clone());
    issued(|grant| grant.claims["nbf"] = json!(seconds(&grant.sim)));
    issued(|grant| grant.claims["consumer_orgno"] = json!("974760673"));
}

#[test]
fn a_token_lives_as_long_as_client_and_scopes_allow() {
    let life = |claims: Value| claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    let lives = |grant: &Grant, seconds| {
        let client = ClientRegistration::new(grant.client.client_id()).scopes(["a:b", "a:c"]);
        let client = client
            .token_lifetime(Duration::from_secs(seconds))
            .key(grant.client.public_jwk());
        grant.sim.add_client(client.unwrap());
    };
    assert_eq!(life(issued(|grant| lives(grant, 3600))), 3600);
    let capped = issued(|grant| {
        lives(grant, 3600);
        grant
            .sim
            .scope_lifetime("a:b", Duration::from_secs(600))
            .scope_lifetime("a:c", Duration::from_secs(30));
        grant.claims["scope"] = json!("a:b a:c");
    });
    assert_eq!(life(capped), 30);
    // A cap does not lengthen a life.
    assert_eq!(
        life(issued(|grant| drop(
            grant
                .sim
                .scope_lifetime("a:b", Duration::from_secs(600))
                .clone()
        ))),
        120
    );

    let grant = Grant::in_world(
        Sim::builder()
            .token_lifetime(Duration::from_secs(10))
            .build(),
    );
    assert_eq!(run(grant.send()).json()["expires_in"], 10);
}

#[test]
fn a_delegated_scope_gives_a_token_for_the_consumer() {
    let claims = issued(|grant| {
        grant
            .sim
            .delegate("0192:974760673", "991825827", "a:b")
            .not_granted("a:b");
        grant.claims["consumer_org"] = json!("974760673");
    });
    assert_eq!(claims["consumer"]["ID"], "0192:974760673");
    assert_eq!(claims["supplier"]["ID"], "0192:991825827");
    assert_eq!(claims["delegation_source"], "https://tt02.altinn.no/");
}

#[test]
fn a_resource_becomes_the_audience_of_the_token() {
    let audience =
        |resource: Value| issued(|grant| grant.claims["resource"] = resource)["aud"].clone();
    assert_eq!(audience(json!("https://a.no")), "https://a.no");
    assert_eq!(audience(json!(["https://a.no"])), "https://a.no");
    assert_eq!(
        audience(json!(["https://a.no", "https://b.no"])),
        json!(["https://a.no", "https://b.no"])
    );
}

#[test]
fn a_person_is_named_in_the_token() {
    assert_eq!(
        issued(|grant| grant.claims["pid"] = json!("12345678901"))["pid"],
        "12345678901"
    );
}

#[test]
fn a_system_user_is_named_in_the_token_without_its_reference() {
    for reference in [None, Some("æøå_-1")] {
        let mut id = String::new();
        let claims = issued(|grant| {
            if reference.is_some() {
                grant
                    .sim
                    .system_user("974760673", None, grant.client.client_id());
            }
            id = grant
                .sim
                .system_user("974760673", reference, grant.client.client_id());
            let mut entry = json!({
                "type": "urn:altinn:systemuser",
                "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:974760673" },
            });
            if let Some(reference) = reference {
                entry["externalRef"] = json!(reference);
            }
            grant.claims["authorization_details"] = json!([entry]);
        });
        assert_eq!(
            claims["authorization_details"],
            json!([{
                "type": "urn:altinn:systemuser",
                "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:974760673" },
                "systemuser_id": [id],
                "system_id": "991825827_simulated_system",
            }])
        );
    }
}

#[test]
fn a_consent_is_described_in_the_token() {
    let from = "urn:altinn:person:identifier-no:12345678901";
    let claims = issued(|grant| {
        grant.sim.consent("one", from);
        grant.claims["authorization_details"] =
            json!([{ "type": "urn:altinn:consent", "id": "one", "from": from }]);
    });
    let entry = &claims["authorization_details"][0];
    assert_eq!(
        (&entry["id"], &entry["from"]),
        (&json!("one"), &json!(from))
    );
    assert_eq!(
        entry["to"],
        "urn:altinn:organization:identifier-no:991825827"
    );
    assert_eq!(entry["consented"], "2026-01-01T10:00:00Z");
    assert_eq!(entry["validTo"], "2026-01-02T10:00:00Z");
    assert!(entry["consentRights"].is_array());
}

#[test]
fn a_rotated_key_works_beside_the_old_one_until_that_is_removed() {
    let mut grant = Grant::new();
    let old = grant.client.clone();
    grant.client = old.rotate_key().unwrap();
    for (turn, client) in [grant.client.clone(), old.clone()].into_iter().enumerate() {
        grant.header["kid"] = json!(client.kid());
        grant.claims["jti"] = json!(format!("turn {turn}"));
        grant.client = client;
        assert_eq!(run(grant.send()).status, StatusCode::OK);
    }
    assert!(grant.sim.remove_key(old.client_id(), old.kid()));
    assert!(!grant.sim.remove_key(old.client_id(), old.kid()));
    grant.claims["jti"] = json!("last");
    assert!(run(grant.send()).text().contains("Unknown key identifier"));
}

#[test]
fn what_was_missing_can_be_put_right() {
    let mut grant = Grant::new();
    let sim = grant.sim.clone();
    let mut next = |scope: &str| {
        grant.claims["jti"] = json!(format!("{:?}", sim.journal().token_requests()));
        grant.claims["scope"] = json!(scope);
        run(grant.send()).status.as_u16()
    };
    assert_eq!(next("x:y"), 400);
    let id = sim.journal().entries()[0].assertion_claims().unwrap()["iss"].clone();
    assert!(sim.add_scopes(id.as_str().unwrap(), ["x:y"]));
    assert!(!sim.add_scopes("nobody", ["x:y"]));
    assert_eq!(next("x:y"), 200);
    sim.not_granted("x:y");
    assert_eq!(next("x:y"), 403);
    sim.granted("x:y");
    assert_eq!(next("x:y"), 200);
    sim.scope("z:z");
    assert_eq!(
        sim.scopes(),
        ["a:b", "a:c", "altinn:serviceowner", "x:y", "z:z"]
    );
}

#[test]
fn the_metadata_has_exactly_the_members_of_the_real_one() {
    let sim = Sim::new();
    let expected = json!({
        "issuer": "https://sim.maskinporten.test/",
        "token_endpoint": "https://sim.maskinporten.test/token",
        "jwks_uri": "https://sim.maskinporten.test/jwk",
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "RS384", "RS512"],
        "authorization_details_types_supported": ["urn:altinn:systemuser", "urn:altinn:consent"],
    });
    let address = "http://any.host/.well-known/oauth-authorization-server";
    for address in [address, &format!("{address}/")] {
        assert_eq!(run(get(&sim, address, &[])).json(), expected, "{address}");
    }
    assert_eq!(sim.journal().requests(Route::Metadata).count(), 2);
}

#[test]
fn a_token_is_signed_by_the_published_key() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{Algorithm, DecodingKey, crypto::aws_lc::DEFAULT_PROVIDER};

    let grant = Grant::new();
    let token = run(grant.token());
    let keys = run(get(&grant.sim, "https://sim.maskinporten.test/jwk", &[])).json();
    let jwk = &keys["keys"][0];
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let header = URL_SAFE_NO_PAD
        .decode(signed.split('.').next().unwrap())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(
        (&header["kid"], &header["alg"]),
        (&jwk["kid"], &json!("RS256"))
    );

    let key =
        DecodingKey::from_rsa_components(jwk["n"].as_str().unwrap(), jwk["e"].as_str().unwrap())
            .unwrap();
    let verifier = (DEFAULT_PROVIDER.verifier_factory)(&Algorithm::RS256, &key).unwrap();
    assert!(
        verifier
            .verify(
                signed.as_bytes(),
                &URL_SAFE_NO_PAD.decode(signature).unwrap()
            )
            .is_ok()
    );
}

#[test]
fn a_key_that_the_portal_refuses_is_refused() {
    let jwk = Sim::new().new_client(["a:b"]).public_jwk();
    let refused = |edit: fn(&mut Value)| {
        let mut jwk = jwk.clone();
        edit(&mut jwk);
        ClientRegistration::new("client")
            .key(jwk)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(|jwk| jwk["kty"] = json!("EC")).contains("RSA"));
    assert!(refused(|jwk| jwk["d"] = json!("AA")).contains("private"));
    assert!(refused(|jwk| jwk["kid"] = json!("with space")).contains("kid"));
    assert!(refused(|jwk| jwk["kid"] = json!(null)).contains("kid"));
    assert!(refused(|jwk| jwk["n"] = json!("AQAB")).contains("2048"));
    assert!(refused(|jwk| jwk["e"] = json!(null)).contains("`e`"));

    let numbered = |n: usize| {
        let mut jwk = jwk.clone();
        jwk["kid"] = json!(format!("key-{n}"));
        jwk
    };
    let five: Vec<Value> = (0..5).map(numbered).collect();
    let client = ClientRegistration::new("client")
        .keys(json!({ "keys": five }))
        .unwrap();
    assert!(
        client
            .key(numbered(5))
            .unwrap_err()
            .to_string()
            .contains("five")
    );
    let twice = ClientRegistration::new("client").keys(json!([numbered(1), numbered(1)]));
    assert!(twice.unwrap_err().to_string().contains("already"));
}
