//! Every row of what Maskinporten refuses: its error, its code, its phrase.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, StatusCode};
use maskinporten_sim::{Body, ClientRegistration, Sim};
use rcgen::{CertificateParams, DnType, DnValue, KeyPair, PKCS_RSA_SHA256, date_time_ymd};
use serde_json::{Value, json};

use crate::support::{Answer, Grant, form, pkcs8, post, run, seconds, send, sign};

#[track_caller]
fn check_answer(sim: &Sim, answer: &Answer, error: &str, code: Option<&str>, phrase: &str) {
    let body = answer.json();
    let status = if error == "forbidden" {
        StatusCode::FORBIDDEN
    } else {
        StatusCode::BAD_REQUEST
    };
    let description = body["error_description"].as_str().unwrap();
    assert_eq!(body["error"], error, "{description}");
    assert_eq!(answer.status, status);
    assert!(
        description.contains(phrase),
        "{description:?} lacks {phrase:?}"
    );

    let (_, trace) = description.split_once(" (trace_id: ").unwrap();
    let trace = trace.strip_suffix(')').unwrap();
    assert!(
        trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{trace}"
    );

    let uri = code.map(|code| format!("{}errors/{code}", sim.issuer()));
    assert_eq!(
        body.get("error_uri").and_then(Value::as_str),
        uri.as_deref()
    );
    let journal = sim.journal();
    let entry = journal.entries().last().unwrap();
    assert_eq!((entry.error(), entry.code()), (Some(error), code));
}

#[track_caller]
fn check(
    spoil: impl FnOnce(&mut Grant),
    error: &str,
    code: impl Into<Option<&'static str>>,
    phrase: &str,
) {
    let mut grant = Grant::new();
    spoil(&mut grant);
    let answer = run(grant.send());
    check_answer(&grant.sim, &answer, error, code.into(), phrase);
}

#[track_caller]
fn check_form(form: &str, error: &str, code: impl Into<Option<&'static str>>, phrase: &str) {
    let sim = Sim::new();
    let answer = run(post(&sim, form));
    check_answer(&sim, &answer, error, code.into(), phrase);
}

// ===== the request =====

#[test]
fn a_request_that_is_no_form_post_is_refused() {
    let grant = Grant::new();
    let form = form(&grant.assertion());
    let endpoint = grant.sim.token_endpoint();

    let get = Request::get(format!("{endpoint}?{form}"))
        .body(Body::empty())
        .unwrap();
    let answer = run(send(&grant.sim, get));
    check_answer(&grant.sim, &answer, "invalid_request", None, "POST");

    for content_type in ["application/json", "text/plain", "multipart/form-data"] {
        let wrong = Request::post(&endpoint).header("content-type", content_type);
        let answer = run(send(
            &grant.sim,
            wrong.body(Body::from(form.clone())).unwrap(),
        ));
        check_answer(&grant.sim, &answer, "invalid_request", None, "Content type");
    }
    let bare = Request::post(&endpoint).body(Body::from(form)).unwrap();
    let answer = run(send(&grant.sim, bare));
    check_answer(&grant.sim, &answer, "invalid_request", None, "Content type");
}

#[test]
fn a_form_with_missing_doubled_or_wrong_fields_is_refused() {
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
    check_form("", "invalid_request", None, "Missing parameter: grant_type");
    check_form(
        "assertion=a.b.c",
        "invalid_request",
        None,
        "Missing parameter: grant_type",
    );
    check_form(
        grant,
        "invalid_request",
        None,
        "Missing parameter: assertion",
    );
    check_form(
        &format!("{grant}&assertion="),
        "invalid_request",
        None,
        "Missing parameter: assertion",
    );
    check_form(
        &format!("{grant}&{grant}&assertion=a"),
        "invalid_request",
        None,
        "Duplicate parameter: grant_type",
    );
    check_form(
        &format!("{grant}&assertion=a&assertion=a"),
        "invalid_request",
        None,
        "Duplicate parameter",
    );
    check_form(
        "grant_type=client_credentials&assertion=a",
        "unsupported_grant_type",
        None,
        "grant_type",
    );
}

#[test]
fn a_form_without_end_is_refused() {
    let form = format!("assertion={}", "a".repeat(1 << 20));
    check_form(&form, "invalid_request", None, "too long");
}

#[test]
fn an_assertion_that_cannot_be_read_is_refused_as_mp_011() {
    let good = Grant::new().assertion();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let text = URL_SAFE_NO_PAD.encode("not json");
    for broken in [
        "x".to_owned(),
        signed.to_owned(),
        format!("{good}.x"),
        format!("{signed}.\r\n{signature}"),
        format!("{good}\n"),
        format!("{good}="),
        format!("{text}.{text}.{signature}"),
    ] {
        check_form(
            &form(&broken),
            "invalid_request",
            "MP-011",
            "Invalid parameter value",
        );
    }
}

// ===== client and key =====

#[test]
fn an_unknown_client_is_refused_as_mp_100() {
    check(
        |grant| grant.claims["iss"] = json!("somebody"),
        "invalid_grant",
        "MP-100",
        "Client not found",
    );
    check(
        |grant| grant.claims["iss"] = json!(null),
        "invalid_grant",
        "MP-100",
        "Client not found",
    );
    check(
        |grant| grant.claims["iss"] = json!(grant.client.kid()),
        "invalid_grant",
        "MP-100",
        "Client authentication failed",
    );
}

#[test]
fn an_algorithm_other_than_the_three_is_refused() {
    for algorithm in ["PS256", "ES256", "HS256", "none", "rs256"] {
        check(
            |grant| grant.header["alg"] = json!(algorithm),
            "invalid_grant",
            None,
            "algorithm",
        );
    }
}

#[test]
fn a_key_has_to_be_named_and_registered() {
    check(
        |grant| grant.header = json!({ "alg": "RS256" }),
        "invalid_grant",
        None,
        "no key identifier (kid) provided",
    );
    check(
        |grant| grant.header["kid"] = json!("other"),
        "invalid_grant",
        None,
        "Unknown key identifier",
    );
    check(
        |grant| grant.header["kid"] = json!(7),
        "invalid_grant",
        None,
        "Unknown key identifier",
    );
    check(
        |grant| grant.header["x5c"] = json!([]),
        "invalid_grant",
        None,
        "Both kid and x5c",
    );
    check(
        |grant| grant.header = json!({ "alg": "RS256", "x5c": ["AAAA"] }),
        "invalid_grant",
        None,
        "no key identifier (kid) provided",
    );
}

#[test]
fn a_signature_by_another_key_or_algorithm_is_refused_as_mp_124() {
    check(
        |grant| grant.client = grant.sim.new_client(["a:b"]).with_fresh_key(),
        "invalid_grant",
        "MP-124",
        "Invalid JWT signature",
    );

    let mut grant = Grant::new();
    let assertion = grant.assertion();
    let signature = assertion.rsplit_once('.').unwrap().1.to_owned();
    grant.header["alg"] = json!("RS512");
    let other = grant.assertion();
    let spoilt = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    let answer = run(post(&grant.sim, &form(&spoilt)));
    check_answer(
        &grant.sim,
        &answer,
        "invalid_grant",
        Some("MP-124"),
        "Invalid JWT signature",
    );
}

#[test]
fn a_key_past_its_end_is_refused_as_mp_121() {
    let register = |grant: &Grant, jwk: Value, end: Option<Duration>| {
        let client = ClientRegistration::new(grant.client.client_id()).scopes(["a:b"]);
        let client = match end {
            Some(end) => client.key_until(jwk, grant.sim.clock().now() + end),
            None => client.key(jwk),
        };
        grant.sim.add_client(client.unwrap());
    };
    check(
        |grant| register(grant, grant.client.public_jwk(), Some(Duration::ZERO)),
        "invalid_grant",
        "MP-121",
        "Expired key",
    );
    check(
        |grant| {
            let mut jwk = grant.client.public_jwk();
            jwk["exp"] = json!(seconds(&grant.sim) - 1);
            register(grant, jwk, None);
        },
        "invalid_grant",
        "MP-121",
        "Expired key",
    );
    // A year after it was registered every key ends.
    check(
        |grant| {
            grant
                .sim
                .clock()
                .advance(Duration::from_secs(366 * 24 * 60 * 60))
        },
        "invalid_grant",
        "MP-121",
        "Expired key",
    );
}

// ===== certificates =====

/// A self-made certificate for the key of the grant's client, and the client set up to use it.
fn certify(grant: &mut Grant, edit: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let key = key_pair(grant);
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    edit(&mut params);
    let certificate = params.self_signed(&key).unwrap().der().to_vec();
    grant
        .sim
        .add_client(ClientRegistration::new(grant.client.client_id()).scopes(["a:b"]));
    grant.header = json!({ "alg": "RS256", "x5c": [STANDARD.encode(&certificate)] });
    certificate
}

fn printable(text: &str) -> DnValue {
    DnValue::PrintableString(text.try_into().unwrap())
}

fn key_pair(grant: &Grant) -> KeyPair {
    let der = pkcs8(&grant.client).into();
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).unwrap()
}

#[test]
fn a_client_without_keys_signs_with_its_certificate() {
    for (kind, value) in [
        (DnType::CustomDnType(vec![2, 5, 4, 5]), "991825827"),
        (DnType::CustomDnType(vec![2, 5, 4, 97]), "NTRNO-991825827"),
        (DnType::CommonName, "nobody in particular"),
    ] {
        let mut grant = Grant::new();
        certify(&mut grant, |params| {
            params.distinguished_name.push(kind, printable(value));
        });
        let answer = run(grant.send());
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let issued = grant.sim.journal().entries()[0].issued().unwrap().clone();
        assert_eq!(issued["client_amr"], "virksomhetssertifikat");
    }
}

#[test]
fn certificates_in_another_form_are_refused_as_mp_123() {
    let mut forms: Vec<fn(&[u8]) -> Value> = Vec::new();
    forms.push(|der| json!(STANDARD.encode(der)));
    forms.push(|_| json!([]));
    forms.push(|_| json!([7]));
    forms.push(|der| json!([format!("{}\r\n", STANDARD.encode(der))]));
    forms.push(|der| json!([format!("-_{}", URL_SAFE_NO_PAD.encode(der))]));
    for form in forms {
        check(
            |grant| {
                let der = certify(grant, |_| {});
                grant.header["x5c"] = form(&der);
            },
            "invalid_grant",
            "MP-123",
            "x5c",
        );
    }
}

#[test]
fn certificates_that_are_broken_or_out_of_date_are_refused_as_mp_120() {
    let phrase = "invalid certificate";
    check(
        |grant| {
            drop(certify(grant, |params| {
                params.not_after = date_time_ymd(2025, 12, 31)
            }))
        },
        "invalid_grant",
        "MP-120",
        phrase,
    );
    check(
        |grant| {
            drop(certify(grant, |params| {
                params.not_before = date_time_ymd(2026, 2, 1)
            }))
        },
        "invalid_grant",
        "MP-120",
        phrase,
    );
    check(
        |grant| {
            certify(grant, |_| {});
            grant.header["x5c"] = json!(["AAAA"]);
        },
        "invalid_grant",
        "MP-120",
        phrase,
    );
}

#[test]
fn a_certificate_of_another_organisation_is_refused_as_mp_122() {
    check(
        |grant| {
            certify(grant, |params| {
                let number = printable("974760673");
                params
                    .distinguished_name
                    .push(DnType::CustomDnType(vec![2, 5, 4, 5]), number);
            });
        },
        "invalid_grant",
        "MP-122",
        "organization number",
    );
}

#[test]
fn a_certificate_of_another_key_is_refused_as_mp_124() {
    check(
        |grant| {
            certify(grant, |_| {});
            grant.client = grant.sim.new_client(["a:b"]).with_fresh_key();
        },
        "invalid_grant",
        "MP-124",
        "Invalid JWT signature",
    );
    check(
        |grant| {
            certify(grant, |_| {});
            grant.header = json!({ "alg": "RS256" });
        },
        "invalid_grant",
        None,
        "no key identifier (kid) provided",
    );
}

// ===== audience, times, single use =====

#[test]
fn an_audience_other_than_ours_is_refused_as_mp_110() {
    let wrong = [
        json!("https://sim.maskinporten.test"),
        json!("https://sim.maskinporten.test/token/"),
        json!("https://test.maskinporten.no/"),
        json!(["https://sim.maskinporten.test/", "https://other.example/"]),
        json!([]),
        json!(null),
        json!({}),
    ];
    for audience in wrong {
        check(
            |grant| grant.claims["aud"] = audience,
            "invalid_grant",
            "MP-110",
            "Invalid JWT claim aud",
        );
    }
}

/// Sets `iat` and `exp` relative to the server's clock.
fn times(grant: &mut Grant, iat: i64, exp: i64) {
    let now = i64::try_from(seconds(&grant.sim)).unwrap();
    grant.claims["iat"] = json!(now + iat);
    grant.claims["exp"] = json!(now + exp);
}

#[test]
fn a_grant_that_is_too_long_too_early_or_too_late_is_refused() {
    check(
        |grant| times(grant, 0, 121),
        "invalid_grant",
        None,
        "too long lifetime",
    );
    check(
        |grant| times(grant, 11, 60),
        "invalid_grant",
        None,
        "Issue time",
    );
    check(
        |grant| times(grant, 11, 60),
        "invalid_grant",
        None,
        "in the future",
    );
    check(
        |grant| times(grant, -100, -11),
        "invalid_grant",
        "MP-130",
        "JWT is expired",
    );
    check(
        |grant| grant.claims["iat"] = json!(null),
        "invalid_grant",
        None,
        "Invalid JWT claim iat",
    );
    check(
        |grant| grant.claims["exp"] = json!("soon"),
        "invalid_grant",
        None,
        "Invalid JWT claim exp",
    );
    check(
        |grant| grant.claims["exp"] = json!(seconds(&grant.sim) * 1000),
        "invalid_grant",
        None,
        "too long lifetime",
    );
}

#[tokio::test(start_paused = true)]
async fn ten_seconds_of_skew_and_the_full_length_are_allowed() {
    for (iat, exp) in [(0, 120), (10, 130), (-110, -10), (-5, 115), (0, 5)] {
        let mut grant = Grant::new();
        times(&mut grant, iat, exp);
        assert_eq!(
            grant.send().await.status,
            StatusCode::OK,
            "iat {iat}, exp {exp}"
        );
    }
}

#[test]
fn a_world_may_allow_longer_assertions() {
    let mut grant = Grant::in_world(
        Sim::builder()
            .max_assertion_lifetime(Duration::from_secs(180))
            .build(),
    );
    times(&mut grant, 0, 180);
    assert_eq!(run(grant.send()).status, StatusCode::OK);
}

#[test]
fn an_assertion_used_twice_is_refused_as_mp_012() {
    let mut grant = Grant::new();
    assert_eq!(run(grant.send()).status, StatusCode::OK);
    let answer = run(grant.send());
    check_answer(
        &grant.sim,
        &answer,
        "invalid_grant",
        Some("MP-012"),
        "Grant is used before",
    );

    // A new grant with an old `jti` is no better; one without is never a repetition.
    grant.claims["scope"] = json!("a:c");
    let answer = run(grant.send());
    check_answer(
        &grant.sim,
        &answer,
        "invalid_grant",
        Some("MP-012"),
        "Grant is used before",
    );
    grant.claims.as_object_mut().unwrap().remove("jti");
    assert_eq!(run(grant.send()).status, StatusCode::OK);
    assert_eq!(run(grant.send()).status, StatusCode::OK);
    grant.claims["jti"] = json!(7);
    let answer = run(grant.send());
    check_answer(&grant.sim, &answer, "invalid_grant", None, "jti");
}

#[test]
fn a_grant_refused_after_its_signature_was_verified_is_used_all_the_same() {
    let mut grant = Grant::new();
    grant.claims["scope"] = json!("x:y");
    assert_eq!(run(grant.send()).json()["error"], "invalid_scope");
    grant.claims["scope"] = json!("a:b");
    let answer = run(grant.send());
    check_answer(
        &grant.sim,
        &answer,
        "invalid_grant",
        Some("MP-012"),
        "Grant is used before",
    );
}

#[test]
fn a_grant_with_a_bad_signature_uses_nothing_up() {
    let grant = Grant::new();
    let other = grant.sim.new_client(["a:b"]).with_fresh_key();
    let forged = sign(&grant.header, &grant.claims, &other);
    assert_eq!(
        run(post(&grant.sim, &form(&forged))).status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(run(grant.send()).status, StatusCode::OK);
}

#[test]
fn the_same_jti_may_be_used_by_two_clients() {
    let mut grant = Grant::new();
    assert_eq!(run(grant.send()).status, StatusCode::OK);
    grant.client = grant.sim.new_client(["a:b"]);
    grant.header["kid"] = json!(grant.client.kid());
    grant.claims["iss"] = json!(grant.client.client_id());
    assert_eq!(run(grant.send()).status, StatusCode::OK);
}

// ===== scopes and organisations =====

#[test]
fn a_grant_without_scope_is_refused() {
    for scope in [json!(null), json!(""), json!("  "), json!(["a:b"])] {
        check(
            |grant| grant.claims["scope"] = scope,
            "invalid_scope",
            None,
            "empty scope",
        );
    }
}

#[test]
fn a_scope_the_client_lacks_is_refused_as_mp_200_by_name() {
    check(
        |grant| grant.claims["scope"] = json!("a:b x:y"),
        "invalid_scope",
        "MP-200",
        "invalid scopes for client: x:y (",
    );
    check(
        |grant| grant.claims["scope"] = json!("a:b,a:c"),
        "invalid_scope",
        "MP-200",
        "invalid scopes for client: a:b,a:c (",
    );
}

#[test]
fn a_client_of_another_type_is_refused_as_mp_201() {
    check(
        |grant| {
            let client = ClientRegistration::new(grant.client.client_id()).scopes(["a:b"]);
            let client = client
                .integration_type("idporten")
                .key(grant.client.public_jwk());
            grant.sim.add_client(client.unwrap());
        },
        "invalid_scope",
        "MP-201",
        "not allowed for maskinporten",
    );
}

#[test]
fn a_scope_that_was_not_granted_is_refused_as_mp_250() {
    check(
        |grant| drop(grant.sim.not_granted("a:b").clone()),
        "forbidden",
        "MP-250",
        "has not been granted access to the scope a:b",
    );
}

#[test]
fn a_scope_that_was_not_delegated_is_refused_as_mp_251() {
    let phrase = "has not delegated access to the scope a:b";
    check(
        |grant| grant.claims["consumer_org"] = json!("974760673"),
        "forbidden",
        "MP-251",
        phrase,
    );
    check(
        |grant| {
            grant.sim.delegate("974760673", "991825827", "a:c");
            grant.sim.delegate("974760673", "889640782", "a:b");
            grant.claims["consumer_org"] = json!("974760673");
        },
        "forbidden",
        "MP-251",
        phrase,
    );
}

#[test]
fn a_consumer_that_is_oneself_or_no_number_is_refused() {
    check(
        |grant| grant.claims["consumer_org"] = json!("991825827"),
        "invalid_request",
        None,
        "combination consumer_org",
    );
    check(
        |grant| {
            grant.claims["consumer_org"] = json!("974760673");
            grant.claims["iss_onbehalfof"] = json!("974760673");
        },
        "invalid_request",
        None,
        "combination consumer_org",
    );
    for wrong in [
        json!("0192:974760673"),
        json!("97476067"),
        json!(974760673),
        json!(""),
    ] {
        check(
            |grant| grant.claims["consumer_org"] = wrong,
            "invalid_request",
            "MP-011",
            "consumer_org",
        );
    }
    check(
        |grant| grant.claims["pid"] = json!("123"),
        "invalid_request",
        "MP-011",
        "pid",
    );
}

#[test]
fn a_resource_with_a_fragment_is_refused() {
    let fragment = "https://api.example.no/#top";
    check(
        |grant| grant.claims["resource"] = json!(fragment),
        "invalid_target",
        None,
        "fragment",
    );
    check(
        |grant| grant.claims["resource"] = json!(["https://a.no", fragment]),
        "invalid_target",
        None,
        "fragment",
    );
    check(
        |grant| grant.claims["resource"] = json!(7),
        "invalid_target",
        None,
        "resource",
    );
}

// ===== authorization details =====

fn system_user(reference: Option<&str>) -> Value {
    let mut entry = json!({
        "type": "urn:altinn:systemuser",
        "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:974760673" },
    });
    if let Some(reference) = reference {
        entry["externalRef"] = json!(reference);
    }
    entry
}

const RAR: &str = "invalid_authorization_details";

#[test]
fn authorization_details_are_exactly_one_entry_of_a_known_type() {
    let user = system_user(None);
    for wrong in [
        json!([]),
        json!([user, user]),
        user,
        json!("text"),
        json!([7]),
    ] {
        check(
            |grant| grant.claims["authorization_details"] = wrong,
            RAR,
            None,
            "exactly one entry",
        );
    }
    for kind in [json!("urn:altinn:other"), json!(null), json!(7)] {
        check(
            |grant| grant.claims["authorization_details"] = json!([{ "type": kind }]),
            RAR,
            "MP-301",
            "Unknown authorization details type",
        );
    }
}

#[test]
fn fields_that_are_unknown_or_ill_formed_are_refused_as_mp_302() {
    let mut cases = Vec::new();
    let mut with = |edit: &dyn Fn(&mut Value)| {
        let mut entry = system_user(None);
        edit(&mut entry);
        cases.push(entry);
    };
    with(&|entry| entry["more"] = json!(1));
    with(&|entry| entry["systemuser_org"]["more"] = json!(1));
    with(&|entry| {
        entry["systemuser_org"] =
            json!({ "authority": "iso6523-actorid-upis", "id": "0192:974760673" })
    });
    with(&|entry| entry["systemuser_org"]["authority"] = json!("other"));
    with(&|entry| entry["systemuser_org"] = json!("0192:974760673"));
    with(&|entry| entry["externalRef"] = json!(7));
    with(&|entry| entry["externalRef"] = json!(""));
    with(&|entry| entry["externalRef"] = json!("with space"));
    with(&|entry| entry["externalRef"] = json!("nr#1"));
    with(&|entry| entry["externalRef"] = json!("é"));
    with(&|entry| entry["externalRef"] = json!("å".repeat(256)));
    cases.push(json!({ "type": "urn:altinn:consent", "id": "one", "from": "974760673" }));
    cases.push(json!({ "type": "urn:altinn:consent", "id": "one" }));
    cases.push(json!({ "type": "urn:altinn:consent", "id": "one", "from": "urn:altinn:person:identifier-no:12345678901", "to": "me" }));
    for entry in cases {
        check(
            |grant| grant.claims["authorization_details"] = json!([entry]),
            RAR,
            "MP-302",
            "Unknown fields",
        );
    }
}

#[test]
fn a_system_user_nobody_approved_is_refused_as_mp_303() {
    let error = "invalid_altinn_customer_configuration";
    let ask = |reference: Option<&'static str>, approve: &'static [Option<&'static str>]| {
        check(
            |grant| {
                for known in approve {
                    grant
                        .sim
                        .system_user("974760673", *known, grant.client.client_id());
                }
                grant.sim.system_user("974760673", None, "another client");
                grant
                    .sim
                    .system_user("889640782", None, grant.client.client_id());
                grant.claims["authorization_details"] = json!([system_user(reference)]);
            },
            error,
            "MP-303",
            "System user not found",
        );
    };
    ask(None, &[]);
    ask(None, &[Some("one")]);
    ask(None, &[None, Some("one")]);
    ask(Some("two"), &[None, Some("one")]);
    check(
        |grant| {
            grant
                .sim
                .system_user("974760673", None, grant.client.client_id());
            let mut entry = system_user(None);
            entry["systemuser_org"]["ID"] = json!("974760673");
            grant.claims["authorization_details"] = json!([entry]);
        },
        error,
        "MP-303",
        "System user not found",
    );
}

#[test]
fn a_consent_nobody_gave_is_refused() {
    check(
        |grant| {
            grant
                .sim
                .consent("one", "urn:altinn:person:identifier-no:12345678901");
            let from = "urn:altinn:person:identifier-no:10987654321";
            grant.claims["authorization_details"] =
                json!([{ "type": "urn:altinn:consent", "id": "one", "from": from }]);
        },
        "invalid_altinn_customer_configuration",
        None,
        "Consent one",
    );
}
