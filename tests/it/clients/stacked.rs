//! Two layers over one client: for two APIs each passes what is not its own; for one API they are one too
//! many.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use maskinporten::{Authorizer, Error, ErrorKind, TokenKind};
use reqwest::redirect::Policy;
use reqwest_middleware::ClientBuilder;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, ServiceExt};
use tower_http::follow_redirect::FollowRedirect;
use tower_maskinporten::{AltinnAuthLayer, MaskinportenAuthLayer};

use super::place::{Guarded, Place, claims};
use super::servers::Protocol;
use super::{Answer, Call, hyper, reqwest as as_service};

/// A place whose first API is Maskinporten's and whose second is Altinn's, and a layer for each.
async fn two_apis() -> (Place, MaskinportenAuthLayer, AltinnAuthLayer) {
    let place = Place::new(TokenKind::Maskinporten, Protocol::Http1, false).await;
    place
        .sim
        .protect("/api/echo", maskinporten_sim::Protection::either());
    let first = Guarded {
        pass_foreign: true,
        ..place.guarded()
    };
    let second = Guarded {
        origins: vec![place.other.origin()],
        ..first.clone()
    };
    (place, first.maskinporten(), second.altinn())
}

/// Each API was shown its own token, and nobody else any.
#[track_caller]
fn check_shown(place: &Place, expected: &[(String, Option<Issuer>)]) {
    let issuer = |token: String| match claims(&token)["iss"] == place.sim.issuer() {
        true => Issuer::Maskinporten,
        false => Issuer::Altinn,
    };
    let trail = place.trail().into_iter();
    let shown: Vec<_> = trail
        .map(|(origin, token)| (origin, token.map(issuer)))
        .collect();
    assert_eq!(shown, expected);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Issuer {
    Maskinporten,
    Altinn,
}

#[tokio::test]
async fn two_layers_for_two_apis_give_each_its_own_token_in_either_order_and_along_redirects() {
    for altinn_is_outside in [false, true] {
        let (place, first, second) = two_apis().await;
        let client = hyper::client::<Full<Bytes>>();
        let service: BoxCloneSyncService<_, _, BoxError> = match altinn_is_outside {
            true => {
                BoxCloneSyncService::new(FollowRedirect::new(second.layer(first.layer(client))))
            }
            false => {
                BoxCloneSyncService::new(FollowRedirect::new(first.layer(second.layer(client))))
            }
        };
        let origins = [&place.home, &place.other, &place.across, &place.home].map(|s| s.origin());
        let request = Request::post(place.chain(&origins))
            .body(Full::default())
            .unwrap();

        assert_eq!(hyper::send(service, request).await, Answer::Status(200));

        let [home, other, across, back] = origins;
        let shown = [
            (home, Some(Issuer::Maskinporten)),
            (other, Some(Issuer::Altinn)),
            (across, None),
            (back, Some(Issuer::Maskinporten)),
        ];
        check_shown(&place, &shown);
    }
}

#[tokio::test]
async fn two_layers_for_two_apis_over_reqwest_and_as_its_middleware_do_the_same() {
    let (place, first, second) = two_apis().await;
    let client = as_service::client(Policy::none());
    let stacked = first.layer(second.layer(client.clone()));
    let middleware = ClientBuilder::new(client).with(second).with(first).build();
    let servers = [&place.home, &place.other, &place.across];
    for server in servers {
        let call = Call {
            url: server.origin() + "/",
            streamed: false,
        };
        let request = || as_service::request(&call);
        assert_eq!(
            stacked.clone().oneshot(request()).await.unwrap().status(),
            200
        );
        assert_eq!(middleware.execute(request()).await.unwrap().status(), 200);
    }
    let [home, other, across] = servers.map(|server| server.origin());
    let (one, another) = (Some(Issuer::Maskinporten), Some(Issuer::Altinn));
    let shown = [(home, one), (other, another), (across, None)];
    check_shown(&place, &shown.map(|shown| [shown.clone(), shown]).concat());
}

#[tokio::test]
async fn two_layers_for_one_api_are_refused_by_every_client_and_nothing_is_sent() {
    #[track_caller]
    fn check(error: &(dyn std::error::Error + 'static)) {
        let error = Error::find_in(error).unwrap();
        assert_eq!(error.kind(), ErrorKind::Request);
        assert!(error.hint().unwrap().contains("one auth layer is enough"));
    }
    let place = Place::new(TokenKind::Maskinporten, Protocol::Http1, false).await;
    let (one, another) = (place.guarded().maskinporten(), place.guarded().altinn());
    let url = place.home.origin() + "/";

    let stacked = one.layer(another.layer(hyper::client::<Full<Bytes>>()));
    let request = Request::post(&url).body(Full::default()).unwrap();
    check(&*stacked.oneshot(request).await.unwrap_err());

    let client = as_service::client(Policy::none());
    let call = Call {
        url,
        streamed: false,
    };
    let stacked = one.layer(another.layer(client.clone()));
    check(
        &*stacked
            .oneshot(as_service::request(&call))
            .await
            .unwrap_err(),
    );

    let middleware = ClientBuilder::new(client).with(one).with(another).build();
    check(
        &middleware
            .execute(as_service::request(&call))
            .await
            .unwrap_err(),
    );

    assert_eq!(place.trail(), []);
}

#[test]
fn a_layer_used_outside_a_runtime_ends_in_a_typed_error_whatever_the_client() {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[track_caller]
    fn check<T, E>(call: impl Future<Output = Result<T, E>>, ours: impl Fn(&E) -> Option<Error>) {
        let polled = pin!(call).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = polled else {
            panic!("it was to answer at once");
        };
        let error = ours(&error).unwrap();
        assert_eq!(error.kind(), ErrorKind::Runtime);
        assert!(error.hint().unwrap().contains("Tokio"));
    }
    let boxed = |error: &BoxError| Error::find_in(&**error).cloned();
    let client = crate::world::fixed("token");
    let origin = "https://api.example.no";
    let layer = MaskinportenAuthLayer::new(&client, crate::world::SCOPES, origin).unwrap();
    let bare = as_service::client(Policy::none());
    let call = Call {
        url: origin.to_owned(),
        streamed: false,
    };

    let request = Request::post(origin)
        .body(Full::<Bytes>::default())
        .unwrap();
    check(layer.layer(hyper::client()).oneshot(request), boxed);
    check(
        layer
            .layer(bare.clone())
            .oneshot(as_service::request(&call)),
        boxed,
    );
    let replaying = layer.clone().replay_on_unauthorized().layer(bare.clone());
    check(replaying.oneshot(as_service::request(&call)), boxed);
    let middleware = ClientBuilder::new(bare).with(layer.clone()).build();
    check(middleware.execute(as_service::request(&call)), |error| {
        Error::find_in(error).cloned()
    });
    let (authorizer, mut headers) = (layer.authorizer(), http::HeaderMap::new());
    let uri = http::Uri::from_static("https://api.example.no/");
    check(
        Authorizer::authorize(authorizer, &uri, &mut headers),
        |error| Some(error.clone()),
    );
}
