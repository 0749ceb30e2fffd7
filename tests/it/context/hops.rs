//! A context on its way through redirects: never another identity, and no token where it was to be
//! skipped.

use std::fmt::Debug;
use std::slice;

use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use maskinporten::{ErrorKind, MaskinportenClient, TokenContext};
use maskinporten_sim::Body;
use tower::{Layer, Service, ServiceExt};
use tower_http::follow_redirect as since_07;
use tower_http_06::follow_redirect as since_06;
use tower_maskinporten::{BearerAuth, BoxError, KeepContext, MaskinportenAuthLayer};

use super::{CUSTOMER, OWNER, consumer, on_behalf_of, world};
use crate::world::{A, API, ByReference, Recorder, SCOPES, kind_of};

const OTHER: &str = "https://other.example.no";

/// The first address, where a redirect of the same origin leads, and where one to another listed one does.
const HOPS: [(&str, &str); 2] = [
    (A, "https://api.example.no/b"),
    (A, "https://other.example.no/a"),
];

type Auth = BearerAuth<ByReference<Recorder>>;

/// Redirects the first address to the next.
fn redirecting(next: &'static str) -> Recorder {
    Recorder::answering(move |parts| {
        let mut response = Response::new(Body::empty());
        if parts.uri == A {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let next = HeaderValue::from_static(next);
            response.headers_mut().insert(LOCATION, next);
        }
        response
    })
}

fn layer(client: &MaskinportenClient) -> MaskinportenAuthLayer {
    MaskinportenAuthLayer::new(client, SCOPES, [API, OTHER]).unwrap()
}

/// What was sent at each hop: whose token, or none.
fn whose(api: &Recorder) -> Vec<Option<String>> {
    let one = |parts: http::request::Parts| parts.headers.get(AUTHORIZATION).map(consumer);
    api.seen().into_iter().map(one).collect()
}

fn request(context: &TokenContext) -> Request<Body> {
    let mut request = Request::get(A).body(Body::empty()).unwrap();
    request.extensions_mut().insert(context.clone());
    request
}

/// What each of the two contexts is to arrive as.
fn contexts() -> [(TokenContext, Option<String>); 2] {
    [
        (on_behalf_of(CUSTOMER), Some(CUSTOMER.to_owned())),
        (TokenContext::skip(), None),
    ]
}

async fn sent<S>(follower: S, context: &TokenContext) -> Result<S::Response, BoxError>
where
    S: Service<Request<Body>, Error = BoxError>,
    S::Response: Debug,
{
    follower.oneshot(request(context)).await
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_lost_its_context_is_refused_where_one_is_required() {
    let (_sim, client) = world();
    // The layer's own token is at hand, so that nothing but the guard keeps it back.
    client.access_token(SCOPES).await.unwrap();
    for (context, expected) in contexts() {
        for (_, next) in HOPS {
            for new in [false, true] {
                let api = redirecting(next);
                let auth = layer(&client)
                    .require_context()
                    .layer(ByReference(api.clone()));
                let answer = match new {
                    false => sent(since_06::FollowRedirect::new(auth), &context).await,
                    true => sent(since_07::FollowRedirect::new(auth), &context).await,
                };

                // 0.7 keeps extensions within one origin.
                if new && next.starts_with(API) {
                    answer.unwrap();
                    assert_eq!(whose(&api), [expected.clone(), expected.clone()], "{next}");
                } else {
                    let error = answer.unwrap_err();
                    assert_eq!(kind_of(&error), Some(ErrorKind::Request), "{next} {new}");
                    assert_eq!(whose(&api), slice::from_ref(&expected), "{next} {new}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_context_that_is_kept_is_the_same_at_every_listed_hop() {
    let (_sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    for require in [false, true] {
        for (context, expected) in contexts() {
            for (_, next) in HOPS {
                for new in [false, true] {
                    let api = redirecting(next);
                    let layer = match require {
                        false => layer(&client).optional_context(),
                        true => layer(&client).require_context(),
                    };
                    let auth = layer.layer(ByReference(api.clone()));
                    match new {
                        false => sent(keeping_06(auth), &context).await.unwrap(),
                        true => sent(keeping_07(auth), &context).await.unwrap(),
                    };

                    assert_eq!(
                        whose(&api),
                        [expected.clone(), expected.clone()],
                        "{next} {new}"
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bound_context_that_is_kept_is_refused_at_the_hop_to_another_origin() {
    let (_sim, client) = world();
    for (context, expected) in contexts() {
        let context = context.for_origin(API).unwrap();
        for new in [false, true] {
            let api = redirecting(HOPS[1].1);
            let auth = layer(&client)
                .optional_context()
                .layer(ByReference(api.clone()));
            let error = match new {
                false => sent(keeping_06(auth), &context).await.unwrap_err(),
                true => sent(keeping_07(auth), &context).await.unwrap_err(),
            };

            assert_eq!(kind_of(&error), Some(ErrorKind::Origin));
            assert_eq!(whose(&api), slice::from_ref(&expected));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_context_gets_none_on_the_way() {
    let (_sim, client) = world();
    for new in [false, true] {
        let api = redirecting(HOPS[1].1);
        let auth = layer(&client)
            .optional_context()
            .layer(ByReference(api.clone()));
        let first = Request::get(A).body(Body::empty()).unwrap();
        match new {
            false => keeping_06(auth).oneshot(first).await.unwrap(),
            true => keeping_07(auth).oneshot(first).await.unwrap(),
        };

        assert_eq!(
            whose(&api),
            [Some(OWNER.to_owned()), Some(OWNER.to_owned())]
        );
    }
}

/// Why `optional_context` is said by name, and never the default.
#[tokio::test(start_paused = true)]
async fn a_context_that_is_optional_and_not_kept_is_lost_on_the_way_to_another_origin() {
    let (_sim, client) = world();
    for (context, expected) in contexts() {
        let api = redirecting(HOPS[1].1);
        let auth = layer(&client)
            .optional_context()
            .layer(ByReference(api.clone()));

        sent(since_07::FollowRedirect::new(auth), &context)
            .await
            .unwrap();

        assert_eq!(whose(&api), [expected, Some(OWNER.to_owned())]);
    }
}

fn keeping_06(
    auth: Auth,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError> {
    use since_06::policy::{PolicyExt, Standard};
    let policy = Standard::default().and::<_, Body, BoxError>(KeepContext::new());
    since_06::FollowRedirect::with_policy(auth, policy)
}

fn keeping_07(
    auth: Auth,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError> {
    use since_07::policy::{PolicyExt, Standard};
    let policy = Standard::default().and::<_, Body, BoxError>(KeepContext::new());
    since_07::FollowRedirect::with_policy(auth, policy)
}
