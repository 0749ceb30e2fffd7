//! Whether a layer expects contexts, and where one may go.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};
use maskinporten::{Error, ErrorKind, TokenContext};
use maskinporten_sim::Sim;
use tower::{Layer, ServiceExt};
use tower_maskinporten::{AltinnAuthLayer, BoxError, MaskinportenAuthLayer};

use super::{ANOTHER, CUSTOMER, arrived, get, get_in, on_behalf_of, world};
use crate::world as worlds;
use crate::world::{A, API, B, ByReference, Recorder, SCOPES, client};

/// What a refused request says, and its hint.
#[track_caller]
fn refusal<T>(answer: Result<T, BoxError>) -> (ErrorKind, String, String) {
    let error = answer.err().expect("it is refused");
    let error = Error::find_in(&*error).expect("it is ours");
    let hint = error.hint().unwrap_or_default().to_owned();
    (error.kind(), error.to_string(), hint)
}

#[tokio::test(start_paused = true)]
async fn a_context_is_refused_where_nobody_said_what_a_request_without_one_gets() {
    let (sim, client) = world();
    let api = Recorder::new();
    let service = worlds::layer(&client).layer(ByReference(api.clone()));
    for context in [
        on_behalf_of(CUSTOMER),
        TokenContext::skip(),
        TokenContext::new(),
    ] {
        // Cold, and with a token at hand.
        for _ in 0..2 {
            for answer in [
                service.clone().oneshot(get_in(&context)).await,
                (&service).oneshot(get_in(&context)).await,
            ] {
                let (kind, said, hint) = refusal(answer);
                assert_eq!(kind, ErrorKind::Request);
                assert!(
                    said.contains("has a token context, and none was expected"),
                    "{said}"
                );
                assert!(hint.contains("require_context()"), "{hint}");
                assert!(hint.contains("optional_context()"), "{hint}");
            }
            client.access_token(SCOPES).await.unwrap();
        }
    }
    assert!(api.seen().is_empty());
    assert_eq!(sim.journal().grants(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_a_context_is_required_nothing_leaves_without_one() {
    let (sim, client) = world();
    let api = Recorder::new();
    let service = worlds::layer(&client)
        .require_context()
        .layer(ByReference(api.clone()));
    for _ in 0..2 {
        for answer in [
            service.clone().oneshot(get(A)).await,
            (&service).oneshot(get(A)).await,
        ] {
            let (kind, said, hint) = refusal(answer);
            assert_eq!(kind, ErrorKind::Request);
            assert!(
                said.contains("has no token context, and must have one"),
                "{said}"
            );
            assert!(hint.contains("KeepContext"), "{hint}");
        }
        // Also with the layer's own token at hand.
        client.access_token(SCOPES).await.unwrap();
    }
    let service = &service;
    service
        .oneshot(get_in(&on_behalf_of(CUSTOMER)))
        .await
        .unwrap();
    service
        .oneshot(get_in(&TokenContext::skip()))
        .await
        .unwrap();
    // One without these asks for the layer's own token, as none would.
    let without = TokenContext::new().scopes(SCOPES).unwrap();
    for context in [TokenContext::new(), without] {
        let (kind, said, _) = refusal(service.oneshot(get_in(&context)).await);
        assert_eq!(kind, ErrorKind::Request);
        assert!(
            said.contains("has no organisation, system user or consent"),
            "{said}"
        );
    }
    let foreign = service.oneshot(get(B)).await;
    assert_eq!(refusal(foreign).0, ErrorKind::Origin);

    let consumers: Vec<_> = api.authorizations();
    assert_eq!(consumers.len(), 2);
    assert!(consumers[1].is_empty(), "the second was to be skipped");
    assert_eq!(sim.journal().grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn by_hand_a_context_is_expected_and_its_absence_still_noticed() {
    let (_sim, client) = world();
    let authorizer = client.authorizer(SCOPES, API).unwrap();
    let (uri, mut headers) = (Uri::from_static(A), HeaderMap::new());
    let context = on_behalf_of(CUSTOMER);
    authorizer
        .authorize_with(&context, &uri, &mut headers)
        .await
        .unwrap();
    assert!(headers.contains_key(AUTHORIZATION));

    let required = authorizer.require_context();
    let missing = required.authorize(&uri, &mut HeaderMap::new()).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::Request);
    required
        .authorize_with(&context, &uri, &mut headers)
        .await
        .unwrap();
}

// ===== bound to an origin =====

#[tokio::test(start_paused = true)]
async fn a_context_bound_to_an_origin_is_refused_at_every_other() {
    let (_sim, client) = world();
    let other = "https://other.example.no";
    let layer = MaskinportenAuthLayer::new(&client, SCOPES, [API, other]).unwrap();
    let layer = layer.require_context().pass_foreign();
    let api = Recorder::new();
    let service = layer.layer(ByReference(api.clone()));
    let bound = |context: TokenContext| context.for_origin(API).unwrap();
    for context in [bound(on_behalf_of(CUSTOMER)), bound(TokenContext::skip())] {
        service.clone().oneshot(get_in(&context)).await.unwrap();
        // Listed, and let through bare: the context is for neither.
        for elsewhere in [other, B] {
            let mut request = get(elsewhere);
            request.extensions_mut().insert(context.clone());
            let (kind, said, _) = refusal(service.clone().oneshot(request).await);
            assert_eq!(kind, ErrorKind::Origin);
            assert!(said.contains(API), "{said}");
        }
    }
    assert_eq!(api.seen().len(), 2);
    assert!(
        TokenContext::new()
            .for_origin("http://api.example.no")
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_bound_context_goes_to_the_origin_that_is_assumed_for_an_address_without_one() {
    let (_sim, client) = world();
    let layer = MaskinportenAuthLayer::new(&client, SCOPES, B.trim_end_matches('/')).unwrap();
    let layer = layer.require_context().assume_origin(API).unwrap();
    let api = Recorder::new();
    let service = layer.layer(ByReference(api.clone()));
    let path_only = |origin: &str| {
        let mut request = get("/a");
        let context = on_behalf_of(CUSTOMER).for_origin(origin).unwrap();
        request.extensions_mut().insert(context);
        request
    };
    service.clone().oneshot(path_only(API)).await.unwrap();
    let elsewhere = service
        .oneshot(path_only("https://elsewhere.example"))
        .await;
    assert_eq!(refusal(elsewhere).0, ErrorKind::Origin);
    assert_eq!(arrived(&api), [CUSTOMER]);
}

// ===== other scopes =====

#[tokio::test(start_paused = true)]
async fn a_context_asks_for_fewer_scopes_and_for_others_where_they_are_allowed() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read", "a:write", "b:read"]);
    let client = client(&sim, &registered);
    let scopes = |scopes: &[&str]| TokenContext::new().scopes(scopes).unwrap();
    let layer = MaskinportenAuthLayer::new(&client, ["a:read", "a:write"], API).unwrap();
    let layer = layer.optional_context();
    let api = Recorder::new();
    let plain = layer.layer(ByReference(api.clone()));

    plain
        .clone()
        .oneshot(get_in(&scopes(&["a:read"])))
        .await
        .unwrap();
    for beyond in [&["b:read"][..], &["a:read", "b:read"]] {
        let (kind, said, hint) = refusal(plain.clone().oneshot(get_in(&scopes(beyond))).await);
        assert_eq!(kind, ErrorKind::Request);
        assert!(said.contains("\"b:read\""), "{said}");
        assert!(hint.contains("allow_scopes"), "{hint}");
    }
    let layer = layer.allow_scopes(["b:read"]).unwrap();
    let allowing = layer
        .allow_scopes(["c:read"])
        .unwrap()
        .layer(ByReference(api.clone()));
    allowing
        .clone()
        .oneshot(get_in(&scopes(&["b:read"])))
        .await
        .unwrap();
    allowing
        .oneshot(get_in(&scopes(&["a:write", "b:read"])))
        .await
        .unwrap();

    let granted: Vec<_> = api
        .authorizations()
        .iter()
        .map(|values| {
            super::claims(&values[0])["scope"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(granted, ["a:read", "b:read", "a:write b:read"]);
    assert!(TokenContext::new().scopes(["a:b,c:d"]).is_err());
}

#[tokio::test(start_paused = true)]
async fn altinns_layer_has_the_same_doors() {
    let (_sim, client) = world();
    let api = Recorder::new();
    let layer = AltinnAuthLayer::new(&client, SCOPES, API).unwrap();
    let required = layer
        .clone()
        .require_context()
        .layer(ByReference(api.clone()));
    assert_eq!(
        refusal((&required).oneshot(get(A)).await).0,
        ErrorKind::Request
    );
    let unexpected = layer.layer(ByReference(api.clone()));
    let context = on_behalf_of(ANOTHER);
    assert_eq!(
        refusal((&unexpected).oneshot(get_in(&context)).await).0,
        ErrorKind::Request
    );
    (&required).oneshot(get_in(&context)).await.unwrap();
    assert_eq!(arrived(&api).len(), 1);
}
