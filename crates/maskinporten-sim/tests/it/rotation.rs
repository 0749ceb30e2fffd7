//! A client whose key changes, ends, or is a certificate's.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use maskinporten_sim::SimClient;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use rcgen::{SanType, date_time_ymd};
use serde_json::json;

use crate::support::{Answer, Grant, pkcs8, run, seconds};

/// One more grant of `client`, under the name of its key.
fn grant_as(grant: &mut Grant, client: &SimClient) -> Answer {
    grant.header = json!({ "alg": "RS256", "kid": client.kid() });
    again(grant, client)
}

fn again(grant: &mut Grant, client: &SimClient) -> Answer {
    let turn = grant.sim.journal().token_requests();
    grant.claims["jti"] = json!(format!("turn {turn}"));
    let now = seconds(&grant.sim);
    (grant.claims["iat"], grant.claims["exp"]) = (json!(now), json!(now + 120));
    grant.client = client.clone();
    run(grant.send())
}

#[track_caller]
fn check_refused(answer: &Answer, phrase: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains(phrase), "{}", answer.text());
}

#[test]
fn a_key_that_ends_says_so_in_its_jwk_and_is_refused_from_then_on() {
    let mut grant = Grant::new();
    let end = grant.sim.clock().now() + Duration::from_secs(3600);
    let old = grant.client.clone().with_key_end(end);
    let exp = json!(seconds(&grant.sim) + 3600);
    assert_eq!(old.public_jwk()["exp"], exp);
    assert_eq!(old.private_jwk()["exp"], exp);
    assert_eq!(
        (old.client_id(), old.kid()),
        (grant.client.client_id(), grant.client.kid())
    );
    let new = old.rotate_key().unwrap();
    assert!(new.public_jwk().get("exp").is_none());

    assert_eq!(grant_as(&mut grant, &old).status, StatusCode::OK);
    grant.sim.clock().advance(Duration::from_secs(3600));
    check_refused(&grant_as(&mut grant, &old), "Expired key.");
    let journal = grant.sim.journal();
    assert_eq!(journal.entries().last().unwrap().code(), Some("MP-121"));
    assert_eq!(grant_as(&mut grant, &new).status, StatusCode::OK);
}

#[test]
fn settings_with_a_set_are_as_altinns_operator_writes_them() {
    let grant = Grant::new();
    let old = grant.client.clone();
    let new = old.rotate_key().unwrap();
    assert_eq!(
        new.settings_json_with_set(&[&old]),
        json!({ "MaskinportenSettings": {
            "Authority": grant.sim.issuer(),
            "ClientId": old.client_id(),
            "Jwk": new.private_jwk(),
            "Jwks": { "keys": [new.private_jwk(), old.private_jwk()] },
        } })
    );
}

// ===== certificates =====

/// A chain of two for the key of a client, made by an authority of this test.
fn chain(client: &SimClient) -> String {
    let params = || {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params
    };
    let mut authority = params();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);

    let der = pkcs8(client).into();
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).unwrap();
    let mut own = params();
    own.subject_alt_names = vec![SanType::DnsName("client.example".try_into().unwrap())];
    let own = own.signed_by(&key, &issuer).unwrap();
    pem(own.der()) + &pem(root.der())
}

/// Lines of 64 characters, as RFC 7468 has them.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

#[test]
fn a_client_goes_over_to_its_certificate_and_back_to_a_key() {
    let mut grant = Grant::new();
    let by_key = grant.client.clone();
    let pem = chain(&by_key);
    let certified = by_key.clone().with_certificate(&pem).unwrap();
    assert_eq!(certified.certificate_pem(), Some(pem.as_str()));
    assert_eq!(certified.x5c().len(), 2);
    assert_eq!((by_key.certificate_pem(), by_key.x5c().len()), (None, 0));

    check_refused(&grant_as(&mut grant, &by_key), "Unknown key identifier");
    grant.header = json!({ "alg": "RS256", "x5c": certified.x5c() });
    assert_eq!(again(&mut grant, &certified).status, StatusCode::OK);
    let issued = grant.sim.journal().entries()[1].issued().unwrap().clone();
    assert_eq!(issued["client_amr"], "virksomhetssertifikat");

    let new = certified.rotate_key().unwrap();
    assert!(new.x5c().is_empty());
    check_refused(&again(&mut grant, &certified), "Client has registered keys");
    assert_eq!(grant_as(&mut grant, &new).status, StatusCode::OK);
}

#[test]
fn a_chain_that_is_none_or_of_another_key_changes_nothing() {
    let mut grant = Grant::new();
    let client = grant.client.clone();
    let stranger = grant.sim.new_client(["a:b"]).with_fresh_key();
    let refused = |text: &str| {
        client
            .clone()
            .with_certificate(text)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&chain(&stranger)).contains("another key"));
    for text in ["", "certificate", &client.private_pem()] {
        assert!(refused(text).contains("no chain of certificates"), "{text}");
    }
    assert_eq!(grant_as(&mut grant, &client).status, StatusCode::OK);
}
