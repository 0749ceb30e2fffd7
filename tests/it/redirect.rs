//! A redirect, followed outside of the layer or inside of it: who is shown the token on the way.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use maskinporten::ErrorKind;
use maskinporten_sim::Body;
use tower::{Layer, Service, ServiceExt};
use tower_http::follow_redirect::FollowRedirect;

use crate::world::{self, A, B, Recorder, get, kind_of, layer, world};

/// Answers each address of a chain with a redirect to the next, and anything else with 200.
fn redirecting(status: u16, chain: &[&'static str]) -> Recorder {
    let chain: Vec<_> = chain.to_vec();
    // An address may stand in the chain twice: then each visit goes on from the next place.
    let at = AtomicUsize::new(0);
    Recorder::answering(move |parts| {
        let mut response = Response::new(Body::empty());
        let at = at.fetch_add(1, Ordering::Relaxed);
        assert_eq!(chain.get(at).copied(), Some(parts.uri.to_string().as_str()));
        if let Some(next) = chain.get(at + 1) {
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let next = HeaderValue::from_static(next);
            response.headers_mut().insert(LOCATION, next);
        }
        response
    })
}

/// What was sent: each address, and whether with the token.
fn trail(recorder: &Recorder) -> Vec<(String, bool)> {
    let hop = |parts: Parts| {
        let values = parts.headers.get_all(AUTHORIZATION).iter().count();
        assert!(values <= 1, "{parts:?}");
        (parts.uri.to_string(), values == 1)
    };
    recorder.seen().into_iter().map(hop).collect()
}

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
const A2: &str = "https://api.example.no/b";
const PORT: &str = "https://api.example.no:8443/";
const PLAIN: &str = "http://api.example.no/";

#[tokio::test]
async fn a_redirect_followed_outside_is_authorised_anew_at_a_listed_origin() {
    for status in STATUSES {
        let recorder = redirecting(status, &[A, A2]);
        let service = layer(&world::fixed("token")).layer(recorder.clone());

        let response = FollowRedirect::new(service).oneshot(get(A)).await.unwrap();

        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            trail(&recorder),
            [(A.into(), true), (A2.into(), true)],
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_redirect_followed_outside_is_refused_at_a_foreign_origin() {
    for status in STATUSES {
        for foreign in [B, PORT, PLAIN] {
            let recorder = redirecting(status, &[A, foreign]);
            let service = layer(&world::fixed("token")).layer(recorder.clone());

            let answer = FollowRedirect::new(service).oneshot(get(A)).await;

            assert_eq!(kind_of(&answer.unwrap_err()), Some(ErrorKind::Origin));
            assert_eq!(trail(&recorder), [(A.into(), true)], "{status} {foreign}");
        }
    }
}

#[tokio::test]
async fn a_foreign_hop_followed_outside_passes_bare_and_the_way_back_is_authorised() {
    for status in STATUSES {
        for foreign in [B, PORT, PLAIN] {
            let recorder = redirecting(status, &[A, foreign, A2]);
            let service = layer(&world::fixed("token"))
                .pass_foreign()
                .layer(recorder.clone());

            FollowRedirect::new(service).oneshot(get(A)).await.unwrap();

            let expected = [(A.into(), true), (foreign.into(), false), (A2.into(), true)];
            assert_eq!(trail(&recorder), expected, "{status}");
        }
    }
}

#[tokio::test]
async fn a_redirect_followed_inside_takes_the_token_along_within_the_origin_only() {
    let check = async |status: u16, chain: &[&'static str], shown: &[bool]| {
        let recorder = redirecting(status, chain);
        let service = layer(&world::fixed("token")).layer(FollowRedirect::new(recorder.clone()));

        let response = service.oneshot(get(chain[0])).await.unwrap();

        assert_eq!(response.status(), StatusCode::OK);
        let shown: Vec<_> = chain
            .iter()
            .map(ToString::to_string)
            .zip(shown.to_vec())
            .collect();
        assert_eq!(trail(&recorder), shown, "{status}");
    };
    for status in STATUSES {
        check(status, &[A, A2], &[true, true]).await;
        check(status, &[A, B], &[true, false]).await;
        check(status, &[A, PORT], &[true, false]).await;
        check(status, &[A, PLAIN], &[true, false]).await;
        // What the follower took off stays off: this is where following outside is better.
        check(status, &[A, B, A2], &[true, false, false]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_carried_along_by_a_follower_outside() {
    let (sim, client) = world();
    let hops: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&hops);
    // Every hop takes longer than a token lives.
    let slow = tower::service_fn(move |request: Request<Body>| {
        let hop = counted.fetch_add(1, Ordering::Relaxed);
        let mut sim = sim.clone();
        async move {
            let response = sim.call(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "hop {hop}");
            tokio::time::sleep(Duration::from_secs(130)).await;
            let mut response = Response::new(Body::empty());
            if hop < 2 {
                *response.status_mut() = StatusCode::FOUND;
                let next = HeaderValue::from_static("/api/echo");
                response.headers_mut().insert(LOCATION, next);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let service = FollowRedirect::new(layer(&client).layer(slow));

    service
        .oneshot(get("https://sim.maskinporten.test/api/echo"))
        .await
        .unwrap();

    assert_eq!(hops.load(Ordering::Relaxed), 3);
}
