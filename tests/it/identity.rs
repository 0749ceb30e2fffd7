//! What tells one token from another: everything that is sent, and nothing that is not.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maskinporten::{
    AltinnSettings, Consent, MaskinportenClient, SystemUser, TokenRequest, TokioClock,
};
use maskinporten_sim::{Route, Sim, SimClient};
use proptest::prelude::*;
use tokio::time::advance;

use crate::wire::{self, Wire};
use crate::world::{self, Rotating};

const CONSENT: &str = "77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1";

fn request() -> TokenRequest {
    TokenRequest::scopes(["a:read"]).unwrap()
}

fn user(organisation: &str, reference: &str) -> TokenRequest {
    let user = SystemUser::new(organisation).unwrap();
    request().system_user(user.external_ref(reference).unwrap())
}

/// Requests that differ in one thing each, and a world that grants them all.
fn distinct_requests(sim: &Sim) -> (SimClient, Vec<TokenRequest>) {
    let registered = sim.new_client(["a:read", "b:write"]);
    for consumer in ["311169963", "405003309"] {
        sim.delegate(consumer, "991825827", "a:read");
    }
    for reference in ["x", "y"] {
        sim.system_user("311169963", Some(reference), registered.client_id());
    }
    sim.system_user("405003309", None, registered.client_id());
    sim.consent(CONSENT, "urn:altinn:organization:identifier-no:405003309");
    let consent = Consent::from_organisation(CONSENT, "405003309").unwrap();
    let requests = vec![
        request(),
        TokenRequest::scopes(["b:write"]).unwrap(),
        TokenRequest::scopes(["a:read", "b:write"]).unwrap(),
        request().resource("urn:one").unwrap(),
        request().resource("urn:two").unwrap(),
        request()
            .resource("urn:one")
            .unwrap()
            .resource("urn:two")
            .unwrap(),
        request().consumer_org("311169963").unwrap(),
        request().consumer_org("405003309").unwrap(),
        user("311169963", "x"),
        user("311169963", "y"),
        user("405003309", ""),
        request().consent(consent),
    ];
    (registered, requests)
}

// Parity vector 6 of the .NET reference.
#[tokio::test(start_paused = true)]
async fn twelve_distinct_requests_of_two_kinds_have_twenty_four_tokens() {
    let sim = Sim::new();
    let (registered, requests) = distinct_requests(&sim);
    let client = world::client(&sim, &registered);
    let mut tokens = HashSet::new();
    for _ in 0..2 {
        for request in &requests {
            let token = client.access_token(request.clone()).await.unwrap();
            tokens.insert(token.expose().to_owned());
            let token = client.altinn_token(request.clone()).await.unwrap();
            tokens.insert(token.expose().to_owned());
        }
    }
    assert_eq!(tokens.len(), 24);
    // The Altinn tokens were exchanged for the others, and the second round fetched nothing.
    assert_eq!(
        (sim.journal().grants(), sim.journal().exchanges()),
        (12, 12)
    );
}

// Parity vector 6 of the .NET reference.
#[tokio::test(start_paused = true)]
async fn four_calls_of_three_requests_are_three_grants() {
    let sim = Sim::new();
    let (registered, requests) = distinct_requests(&sim);
    let client = world::client(&sim, &registered);
    for at in [0, 3, 6, 0] {
        client.access_token(requests[at].clone()).await.unwrap();
    }
    assert_eq!(sim.journal().grants(), 3);
}

#[tokio::test(start_paused = true)]
async fn equal_requests_share_a_token_however_they_are_written() {
    let sim = Sim::new();
    let (registered, _) = distinct_requests(&sim);
    let client = world::client(&sim, &registered);
    let consent = |organisation| Consent::from_organisation(CONSENT, organisation).unwrap();
    let groups: [Vec<TokenRequest>; 4] = [
        vec![
            TokenRequest::scopes(["a:read", "b:write"]).unwrap(),
            TokenRequest::scopes(["b:write", "a:read"]).unwrap(),
            TokenRequest::scopes(["b:write\ta:read", "b:write"]).unwrap(),
        ],
        vec![
            request().resource("urn:one").unwrap(),
            request()
                .resource(" urn:one")
                .unwrap()
                .resource("")
                .unwrap(),
        ],
        vec![
            request().consumer_org("311169963").unwrap(),
            request().consumer_org("0192:311169963").unwrap(),
        ],
        vec![
            request().consent(consent("405003309")),
            request().consent(consent("0192:405003309")),
        ],
    ];
    for group in &groups {
        let mut tokens = HashSet::new();
        for request in group {
            let token = client.access_token(request.clone()).await.unwrap();
            tokens.insert(token.expose().to_owned());
        }
        assert_eq!(tokens.len(), 1, "{group:?}");
    }
    assert_eq!(sim.journal().grants(), groups.len());
}

#[tokio::test(start_paused = true)]
async fn another_client_id_has_another_token() {
    let sim = Sim::new();
    let mut tokens = HashSet::new();
    for _ in 0..2 {
        let client = world::client(&sim, &sim.new_client(["a:read"]));
        let token = client.access_token(["a:read"]).await.unwrap();
        tokens.insert(token.expose().to_owned());
    }
    assert_eq!((tokens.len(), sim.journal().grants()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn another_authority_has_another_token() {
    let mut tokens = HashSet::new();
    for issuer in ["https://one.example.no/", "https://two.example.no/"] {
        let sim = Sim::builder().issuer(issuer).build();
        let client = world::client(&sim, &sim.new_client(["a:read"]));
        let token = client.access_token(["a:read"]).await.unwrap();
        let claims = wire::Jws::parse(token.expose()).claims;
        assert_eq!(claims["iss"], issuer);
        tokens.insert(token.expose().to_owned());
    }
    assert_eq!(tokens.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn another_exchange_or_test_organisation_has_another_token() {
    let sim = Sim::new();
    let registered = sim.new_client(["altinn:serviceowner"]);
    let platform = || AltinnSettings::platform(&sim.altinn_platform()).unwrap();
    let mut tokens = HashSet::new();
    for (altinn, organisation) in [
        (platform(), "digdir"),
        (platform().with_test_org(), "ttd"),
        (
            AltinnSettings::platform("https://altinn.example.no").unwrap(),
            "digdir",
        ),
    ] {
        let wire = Wire::default();
        let exchange = altinn.exchange_uri().to_string();
        let client = world::builder(&sim, &registered)
            .altinn(altinn)
            .transport(wire.to(&sim))
            .build()
            .unwrap();
        let token = client.altinn_token(["altinn:serviceowner"]).await.unwrap();
        assert_eq!(wire.urls().last(), Some(&exchange));
        let claims = wire::Jws::parse(token.expose()).claims;
        assert_eq!(claims["urn:altinn:org"], organisation);
        tokens.insert(token.expose().to_owned());
    }
    assert_eq!(tokens.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_leaves_its_tokens_as_they_are() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    let next = registered.rotate_key().unwrap();
    let signers = [&registered, &next].map(world::signer);
    let source = Rotating::new(&sim, &registered, signers);
    let (used, asked) = (source.used(), source.asked());
    let client = MaskinportenClient::builder()
        .source(source)
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap();

    let before = client.access_token(["a:read"]).await.unwrap();
    used.store(1, Ordering::SeqCst);
    sim.remove_key(registered.client_id(), registered.kid());
    let after = client.access_token(["a:read"]).await.unwrap();
    assert_eq!(before.expose(), after.expose());
    assert_eq!(sim.journal().token_requests(), 1);
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    advance(Duration::from_secs(120)).await;
    client.access_token(["a:read"]).await.unwrap();
    let journal = sim.journal();
    let kids: Vec<&str> = journal
        .requests(Route::Token)
        .map(|grant| grant.assertion_header().unwrap()["kid"].as_str().unwrap())
        .collect();
    assert_eq!(kids, [registered.kid(), next.kid()]);
}

// ===== any two requests =====

/// What a request asks for, told without the engine's own types: what equality is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    scopes: BTreeSet<&'static str>,
    resources: BTreeSet<&'static str>,
    consumer: Option<&'static str>,
    details: Option<Details>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Details {
    User(&'static str, Option<&'static str>),
    Consent(&'static str),
    Raw(u8),
}

const ORGANISATIONS: [&str; 2] = ["311169963", "405003309"];

impl Wanted {
    /// The request, its scopes in this order.
    fn request(&self, scopes: &[&'static str]) -> TokenRequest {
        let mut request = TokenRequest::scopes(scopes).unwrap();
        for resource in &self.resources {
            request = request.resource(resource).unwrap();
        }
        if let Some(consumer) = self.consumer {
            request = request.consumer_org(consumer).unwrap();
        }
        match self.details {
            None => request,
            Some(Details::User(organisation, reference)) => {
                let user = SystemUser::new(organisation).unwrap();
                request.system_user(user.external_ref(reference.unwrap_or("")).unwrap())
            }
            Some(Details::Consent(organisation)) => {
                request.consent(Consent::from_organisation(CONSENT, organisation).unwrap())
            }
            Some(Details::Raw(number)) => {
                let json = format!(r#"{{"type":"urn:x","number":{number}}}"#);
                request.authorization_details(json).unwrap()
            }
        }
    }
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let scopes = proptest::sample::subsequence(vec!["a", "b", "a:b", "ab"], 1..=4);
    let resources = proptest::sample::subsequence(vec!["urn:a", "urn:b"], 0..=2);
    let organisation = || proptest::sample::select(&ORGANISATIONS[..]);
    let reference = proptest::option::of(proptest::sample::select(&["a", "b"][..]));
    let details = prop_oneof![
        (organisation(), reference).prop_map(|(of, reference)| Details::User(of, reference)),
        organisation().prop_map(Details::Consent),
        (0u8..2).prop_map(Details::Raw),
    ];
    let optional = (
        proptest::option::of(organisation()),
        proptest::option::of(details),
    );
    (scopes, resources, optional).prop_map(|(scopes, resources, (consumer, details))| Wanted {
        scopes: scopes.into_iter().collect(),
        resources: resources.into_iter().collect(),
        consumer,
        details,
    })
}

/// Two requests, often equal, each with its scopes in some order and some of them twice.
fn pair() -> impl Strategy<Value = [(Wanted, Vec<&'static str>); 2]> {
    let ordered = |wanted: Wanted| {
        let scopes: Vec<_> = wanted.scopes.iter().copied().collect();
        let twice: Vec<_> = scopes.iter().chain(scopes.first()).copied().collect();
        (Just(wanted), Just(twice).prop_shuffle())
    };
    let two = prop_oneof![
        (wanted(), wanted()),
        wanted().prop_map(|wanted| (wanted.clone(), wanted)),
    ];
    two.prop_flat_map(move |(one, other)| [ordered(one), ordered(other)])
}

/// A client whose servers give a new token for every request they get.
fn client_of_new_tokens() -> MaskinportenClient {
    let given = Arc::new(AtomicUsize::new(0));
    let transport = Wire::default().answering(move |request| {
        let number = given.fetch_add(1, Ordering::Relaxed);
        if request.method() == http::Method::POST {
            return wire::token(number);
        }
        let claims = format!(r#"{{"iat":1000,"exp":2800,"number":{number}}}"#);
        wire::answer(200, format!("e30.{}.", URL_SAFE_NO_PAD.encode(claims)))
    });
    MaskinportenClient::builder()
        .signer("test", "our-client", world::Unsigned)
        .transport(transport)
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn two_requests_share_a_token_if_and_only_if_they_ask_for_the_same(
        [(one, one_order), (other, other_order)] in pair(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = client_of_new_tokens();
            let first = one.request(&one_order);
            let second = other.request(&other_order);
            let tokens = [
                client.access_token(first.clone()).await.unwrap(),
                client.access_token(second.clone()).await.unwrap(),
            ];
            prop_assert_eq!(one == other, tokens[0].expose() == tokens[1].expose());
            let exchanged = [
                client.altinn_token(first).await.unwrap(),
                client.altinn_token(second).await.unwrap(),
            ];
            prop_assert_eq!(one == other, exchanged[0].expose() == exchanged[1].expose());
            prop_assert_ne!(tokens[0].expose(), exchanged[0].expose());
            Ok(())
        })?;
    }
}
