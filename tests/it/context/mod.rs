//! A request with a context has the token of its own identity, or none, and never another's.

mod expected;
mod hops;
mod organisations;
mod threads;
mod warm_up;
pub(crate) use organisations::organisations;

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::{FutureExt, join_all};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use maskinporten::{
    Consent, ErrorKind, ExistingHeader, FixedToken, MaskinportenClient, Result, SentToken,
    SystemUser, TokenContext, TokenHandle, TokenKind, TokenProvider, TokenRequest,
};
use maskinporten_sim::{Body, Fault, Route, Sim};
use serde_json::Value;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{AltinnAuthLayer, BoxError, MaskinportenAuthLayer};

use crate::world::{self, A, API, B, ByReference, Recorder, SCOPES, client, kind_of};

/// The organisation that the simulator's clients belong to.
const OWNER: &str = "991825827";

const CUSTOMER: &str = "311169963";

const ANOTHER: &str = "405003309";

/// A world in which organisations have delegated the scope to the client's owner.
fn world_with(customers: &[String]) -> (Sim, MaskinportenClient) {
    let sim = Sim::new();
    for customer in customers {
        sim.delegate(customer, OWNER, SCOPES[0]);
    }
    let registered = sim.new_client(SCOPES);
    for reference in [None, Some("x")] {
        sim.system_user(CUSTOMER, reference, registered.client_id());
    }
    let client = client(&sim, &registered);
    (sim, client)
}

fn world() -> (Sim, MaskinportenClient) {
    world_with(&[CUSTOMER, ANOTHER].map(str::to_owned))
}

/// A layer whose requests may have a context.
fn layer(client: &MaskinportenClient) -> MaskinportenAuthLayer {
    world::layer(client).optional_context()
}

fn on_behalf_of(organisation: &str) -> TokenContext {
    TokenContext::new().consumer_org(organisation).unwrap()
}

fn get(uri: &str) -> Request<&'static str> {
    Request::get(uri).body("").unwrap()
}

fn get_in(context: &TokenContext) -> Request<&'static str> {
    let mut request = get(A);
    request.extensions_mut().insert(context.clone());
    request
}

fn claims(value: &HeaderValue) -> Value {
    let token = value.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The organisation that a token was issued for.
fn consumer(value: &HeaderValue) -> String {
    let id = claims(value)["consumer"]["ID"].as_str().unwrap().to_owned();
    id.strip_prefix("0192:").unwrap().to_owned()
}

/// The organisations whose tokens have arrived, one for each request.
fn arrived(api: &Recorder) -> Vec<String> {
    let one = |values: Vec<HeaderValue>| {
        assert_eq!(values.len(), 1);
        consumer(&values[0])
    };
    api.authorizations().into_iter().map(one).collect()
}

fn refused() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}

/// Refuses the first token it is shown of each of these organisations, and takes all others.
fn refusing_the_first_of(organisations: HashSet<String>) -> Recorder {
    let first: Mutex<HashSet<String>> = Mutex::default();
    let refused_tokens: Mutex<HashSet<HeaderValue>> = Mutex::default();
    Recorder::answering(move |parts: &Parts| {
        let shown = &parts.headers[AUTHORIZATION];
        let of = consumer(shown);
        let mut refused_tokens = refused_tokens.lock().unwrap();
        if organisations.contains(&of) && first.lock().unwrap().insert(of) {
            refused_tokens.insert(shown.clone());
        }
        match refused_tokens.contains(shown) {
            true => refused(),
            false => Response::new(Body::empty()),
        }
    })
}

// ===== one request =====

#[tokio::test(start_paused = true)]
async fn a_request_has_the_token_of_its_own_organisation_cold_and_cached() {
    let (sim, client) = world();
    let api = Recorder::new();
    let layer = layer(&client);
    let mut kept = layer.layer(ByReference(api.clone()));
    let contexts = [CUSTOMER, ANOTHER].map(on_behalf_of);

    for round in 1..=2 {
        for context in &contexts {
            (&mut kept).oneshot(get_in(context)).await.unwrap();
            kept.clone().oneshot(get_in(context)).await.unwrap();
            (&kept).oneshot(get_in(context)).await.unwrap();
        }
        assert_eq!(sim.journal().grants(), 2, "round {round}");
    }

    let expected = [[CUSTOMER; 3], [ANOTHER; 3]].concat().repeat(2);
    assert_eq!(arrived(&api), expected);
    assert!(api.authorizations().iter().all(|v| v[0].is_sensitive()));
}

#[tokio::test(start_paused = true)]
async fn a_cached_token_of_its_own_is_set_at_once() {
    let (_sim, client) = world();
    let api = Recorder::new();
    let mut service = layer(&client).layer(api.clone());
    let context = on_behalf_of(CUSTOMER);
    (&mut service).oneshot(get_in(&context)).await.unwrap();

    let _unpolled = service.call(get_in(&context));

    assert_eq!(arrived(&api), [CUSTOMER, CUSTOMER]);
}

#[tokio::test(start_paused = true)]
async fn contexts_leave_the_layers_own_token_untouched() {
    let (sim, client) = world();
    let first = |organisation: &str| HashSet::from([organisation.to_owned()]);
    let api = refusing_the_first_of(first(CUSTOMER));
    let mut service = layer(&client).replay_on_unauthorized().layer(api.clone());

    for request in [
        get(A),
        get_in(&on_behalf_of(CUSTOMER)),
        get(A),
        get_in(&TokenContext::new()),
    ] {
        let answer = (&mut service).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    assert_eq!(
        arrived(&api),
        [OWNER, CUSTOMER, CUSTOMER, OWNER, OWNER],
        "the second of the customer's is the replay"
    );
    let sent = api.authorizations();
    assert_eq!((&sent[0], &sent[0]), (&sent[3], &sent[4]));
    assert_ne!(sent[1], sent[2]);
    assert_eq!(sim.journal().grants(), 3);
}

#[tokio::test(start_paused = true)]
async fn equal_contexts_share_a_token_with_whoever_asks_for_the_same() {
    let (sim, client) = world();
    let api = Recorder::new();
    let service = layer(&client).layer(api.clone());
    let request = TokenRequest::scopes(SCOPES).unwrap();
    let request = request.consumer_org(CUSTOMER).unwrap();
    let by_hand = client.header_value(request).await.unwrap();

    let notations = [CUSTOMER, "0192:311169963"].map(on_behalf_of);
    join_all(notations.map(|context| service.clone().oneshot(get_in(&context)))).await;

    assert_eq!(api.authorizations(), [[by_hand.clone()], [by_hand]]);
    assert_eq!(sim.journal().grants(), 1);
}

#[tokio::test(start_paused = true)]
async fn whatever_a_context_says_stands_in_the_token_and_the_scopes_stay_the_layers() {
    let (sim, client) = world();
    let id = "77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1";
    sim.consent(id, "urn:altinn:organization:identifier-no:405003309");
    let api = Recorder::new();
    let service = layer(&client).layer(api.clone());
    let user = SystemUser::new(CUSTOMER).unwrap();
    let user = user.external_ref("x").unwrap();
    let consent = Consent::from_organisation(id, ANOTHER).unwrap();
    let resource = TokenContext::new().resource("urn:one").unwrap();

    for context in [
        TokenContext::new().system_user(user),
        TokenContext::new().consent(consent),
        resource,
    ] {
        service.clone().oneshot(get_in(&context)).await.unwrap();
    }

    let claims: Vec<Value> = api.authorizations().iter().map(|v| claims(&v[0])).collect();
    assert!(claims.iter().all(|claims| claims["scope"] == SCOPES[0]));
    let details = |at: usize| claims[at]["authorization_details"][0]["type"].clone();
    assert_eq!(details(0), "urn:altinn:systemuser");
    assert_eq!(details(1), "urn:altinn:consent");
    assert_eq!(claims[2]["aud"], "urn:one");
}

#[tokio::test(start_paused = true)]
async fn an_altinn_layer_exchanges_the_token_of_the_context() {
    let (sim, client) = world();
    let api = Recorder::new();
    let layer = AltinnAuthLayer::new(&client, SCOPES, API)
        .unwrap()
        .optional_context();
    let service = layer.layer(api.clone());

    for _ in 0..2 {
        let request = get_in(&on_behalf_of(CUSTOMER));
        service.clone().oneshot(request).await.unwrap();
    }

    let journal = sim.journal();
    let asked = journal.requests(Route::Token).next().unwrap();
    assert_eq!(asked.assertion_claims().unwrap()["consumer_org"], CUSTOMER);
    assert_eq!((journal.grants(), journal.exchanges()), (1, 1));
    assert_eq!(api.authorizations()[0], api.authorizations()[1]);
}

// ===== origins, headers, and no token at all =====

#[tokio::test(start_paused = true)]
async fn a_skipped_request_leaves_as_it_came_and_to_listed_origins_only() {
    let (sim, client) = world();
    let skip = TokenContext::skip().consumer_org(CUSTOMER).unwrap();
    let basic = HeaderValue::from_static("Basic a");
    for existing in [
        ExistingHeader::Replace,
        ExistingHeader::Keep,
        ExistingHeader::Reject,
    ] {
        let api = Recorder::answering(|_| refused());
        let layer = layer(&client).existing_header(existing);
        let service = layer.replay_on_unauthorized().layer(api.clone());

        service.clone().oneshot(get_in(&skip)).await.unwrap();
        let mut own = get_in(&skip);
        own.headers_mut().insert(AUTHORIZATION, basic.clone());
        service.clone().oneshot(own).await.unwrap();
        let mut elsewhere = get_in(&skip);
        *elsewhere.uri_mut() = Uri::from_static(B);
        let error = service.oneshot(elsewhere).await.unwrap_err();

        assert_eq!(api.authorizations(), [vec![], vec![basic.clone()]]);
        assert_eq!(kind_of(&error), Some(ErrorKind::Origin));
    }
    assert_eq!(sim.journal().token_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_context_changes_nothing_about_origins_and_existing_headers() {
    let (sim, client) = world();
    let elsewhere = || {
        let mut request = get_in(&on_behalf_of(CUSTOMER));
        *request.uri_mut() = Uri::from_static(B);
        request
    };
    let own = || {
        let mut request = get_in(&on_behalf_of(CUSTOMER));
        let basic = HeaderValue::from_static("Basic a");
        request.headers_mut().insert(AUTHORIZATION, basic);
        request
    };
    let api = Recorder::new();
    let kept = layer(&client).existing_header(ExistingHeader::Keep);
    let rejected = layer(&client).existing_header(ExistingHeader::Reject);

    let refused = [
        layer(&client).layer(api.clone()).oneshot(elsewhere()).await,
        rejected.layer(api.clone()).oneshot(own()).await,
    ];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!(kind_of(&error), Some(ErrorKind::Origin));
    }
    let foreign = layer(&client).pass_foreign().layer(api.clone());
    foreign.oneshot(elsewhere()).await.unwrap();
    kept.layer(api.clone()).oneshot(own()).await.unwrap();

    assert_eq!(api.authorizations()[0], [] as [HeaderValue; 0]);
    assert_eq!(api.authorizations()[1], ["Basic a"]);
    assert_eq!(sim.journal().token_requests(), 0);
    // Where a header is replaced, that is done with the context's token.
    layer(&client)
        .layer(api.clone())
        .oneshot(own())
        .await
        .unwrap();
    assert_eq!(consumer(&api.authorizations()[2][0]), CUSTOMER);
}

#[tokio::test(start_paused = true)]
async fn a_context_that_the_provider_cannot_serve_is_an_error_and_never_ignored() {
    #[derive(Debug)]
    struct Fake;

    impl TokenProvider for Fake {
        fn token(&self, _: &TokenRequest, _: TokenKind) -> Result<TokenHandle> {
            TokenHandle::from_source(FixedToken::new("fake", Duration::from_secs(60))?)
        }
    }

    let api = Recorder::new();
    let layer = MaskinportenAuthLayer::new(&Fake, SCOPES, API)
        .unwrap()
        .optional_context();
    let service = layer.layer(ByReference(api.clone()));
    service.clone().oneshot(get(A)).await.unwrap();

    let refused: [std::result::Result<_, BoxError>; 2] = [
        service
            .clone()
            .oneshot(get_in(&on_behalf_of(CUSTOMER)))
            .await,
        (&service).oneshot(get_in(&TokenContext::new())).await,
    ];
    for error in refused.map(std::result::Result::unwrap_err) {
        let error = maskinporten::Error::find_in(&*error).unwrap();
        assert_eq!(error.kind(), ErrorKind::Request);
        assert!(error.hint().unwrap().contains("TokenContext"));
    }
    // No token is no other token: that much it can do.
    let skip = get_in(&TokenContext::skip());
    service.clone().oneshot(skip).await.unwrap();

    let sent = api.authorizations();
    assert_eq!((sent.len(), sent[0].len(), sent[1].len()), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_organisation_that_has_not_delegated_is_refused_for_itself_alone() {
    let (_sim, client) = world();
    let api = Recorder::new();
    let service = layer(&client).layer(api.clone());
    let stranger = on_behalf_of(&organisations::organisations(1)[0]);

    let error = service.clone().oneshot(get_in(&stranger)).await;
    service.clone().oneshot(get(A)).await.unwrap();
    let customer = get_in(&on_behalf_of(CUSTOMER));
    service.clone().oneshot(customer).await.unwrap();

    assert_eq!(
        kind_of(&error.unwrap_err()),
        Some(ErrorKind::OrganisationRejected)
    );
    assert_eq!(arrived(&api), [OWNER, CUSTOMER]);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_layer_gives_the_context_by_hand() {
    let (sim, client) = world();
    let authorizer = client.authorizer(SCOPES, API).unwrap();
    let (uri, elsewhere) = (Uri::from_static(A), Uri::from_static(B));
    let mut headers = HeaderMap::new();

    let context = TokenContext::skip();
    let sent = authorizer.authorize_with(&context, &uri, &mut headers);
    assert_eq!(sent.await.unwrap(), SentToken::NONE);
    assert!(headers.is_empty());
    let context = on_behalf_of(CUSTOMER);
    let refused = authorizer.authorize_with(&context, &elsewhere, &mut headers);
    assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::Origin);
    assert!(headers.is_empty());

    let sent = authorizer.authorize_with(&context, &uri, &mut headers);
    let sent = sent.await.unwrap();
    assert_eq!(consumer(&headers[AUTHORIZATION]), CUSTOMER);
    let again = authorizer.authorize_with(&context, &uri, &mut headers);
    assert_eq!(again.await.unwrap(), sent);
    assert_eq!(headers.get_all(AUTHORIZATION).iter().count(), 1);
    assert_eq!(sim.journal().grants(), 1);

    let rejected = sent.rejected(None, &HeaderMap::new()).unwrap();
    let renewed = rejected.replacement().unwrap().await.unwrap();
    let before = headers[AUTHORIZATION].clone();
    let _ = renewed.set(&mut headers);
    assert_eq!(consumer(&headers[AUTHORIZATION]), CUSTOMER);
    assert_ne!(headers[AUTHORIZATION], before);
}

// ===== waiting, and what ends =====

#[tokio::test(start_paused = true)]
async fn a_waiting_request_with_a_context_holds_nothing_and_may_be_dropped() {
    let (sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let api = Recorder::new();
    let limited = ConcurrencyLimit::new(api.clone(), 1);
    let mut service = layer(&client).layer(limited);
    let context = on_behalf_of(CUSTOMER);

    poll_fn(|cx| Service::<Request<&str>>::poll_ready(&mut service, cx))
        .await
        .unwrap();
    let mut waiting = service.call(get_in(&context));
    assert!((&mut waiting).now_or_never().is_none());
    // Its permit is not held: another request, whose token is there, passes meanwhile.
    service.clone().oneshot(get(A)).await.unwrap();
    drop(waiting);
    let answer = service.clone().oneshot(get_in(&context)).await.unwrap();

    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(arrived(&api), [OWNER, CUSTOMER]);
    assert_eq!(sim.journal().grants(), 2, "the flight went on for the next");
}

#[tokio::test(start_paused = true)]
async fn a_layer_serves_contexts_when_its_client_is_gone_and_none_after_a_shutdown() {
    let (_sim, client) = world();
    let api = Recorder::new();
    let service = layer(&client).layer(api.clone());
    let other = client.clone();
    drop(client);

    let customer = get_in(&on_behalf_of(CUSTOMER));
    service.clone().oneshot(customer).await.unwrap();
    other.shutdown().await;
    for organisation in [CUSTOMER, ANOTHER] {
        let request = get_in(&on_behalf_of(organisation));
        let error = service.clone().oneshot(request).await.unwrap_err();
        assert_eq!(kind_of(&error), Some(ErrorKind::Closed));
    }

    assert_eq!(arrived(&api), [CUSTOMER]);
}
