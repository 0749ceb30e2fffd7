//! tonic's channel: real gRPC, whose requests have no address of their own above the channel.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use maskinporten::{Error, ErrorKind, TokenKind};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service};

use super::place::{Guarded, Place};
use super::servers::{Protocol, dial};
use super::{Answer, Call, Column, KINDS, Sender};

pub(super) const COLUMN: Column = Column {
    name: "tonic",
    protocol: Protocol::Http2,
    replays: false,
    connect,
};

/// A layered channel of any type. By a name of its own: a boxed service whose error is a box as well cannot
/// be called in a spawned task, where the compiler forgets that what is in it is `'static`
/// (rust-lang/rust#64552).
#[derive(Clone, Debug)]
struct Authorised(BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>);

impl Authorised {
    fn by<L>(layer: &L, channel: Channel) -> Self
    where
        L: Layer<Channel>,
        L::Service: Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send,
    {
        Self(BoxCloneSyncService::new(layer.layer(channel)))
    }
}

impl Service<Request<Body>> for Authorised {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

fn connect(place: &Place, guarded: &Guarded) -> Sender {
    let channel = channel(place);
    let service: Authorised = match guarded.kind {
        TokenKind::Maskinporten => Authorised::by(&guarded.maskinporten(), channel),
        _ => Authorised::by(&guarded.altinn(), channel),
    };
    Arc::new(move |Call { url, streamed }| {
        let url: Uri = url.parse().unwrap();
        let origin = format!(
            "{}://{}",
            url.scheme_str().unwrap(),
            url.authority().unwrap()
        );
        let client = HealthClient::with_origin(service.clone(), origin.parse().unwrap());
        check(client, streamed).boxed()
    })
}

fn channel(place: &Place) -> Channel {
    let endpoint = Endpoint::from_shared(place.home.origin()).unwrap();
    endpoint.connect_with_connector_lazy(dial(Protocol::Http2))
}

async fn check(mut client: HealthClient<Authorised>, streamed: bool) -> Answer {
    let asked = HealthCheckRequest::default();
    let answer = match streamed {
        false => client.check(asked).await.map(drop),
        true => match client.watch(asked).await {
            Ok(answer) => {
                let first = answer.into_inner().message().await;
                first.map(|first| assert!(first.is_some()))
            }
            Err(status) => Err(status),
        },
    };
    match answer {
        Ok(()) => Answer::Status(200),
        Err(status) => told(&status),
    }
}

fn told(status: &Status) -> Answer {
    if let Some(ours) = Error::find_in(status) {
        return Answer::Refused(ours.kind());
    }
    // What is no answer of gRPC's is told by its HTTP status, in words.
    let http_status = status.message().rsplit(' ').next().unwrap_or_default();
    match (status.code(), http_status.parse()) {
        (Code::Unauthenticated, _) => Answer::Status(401),
        (Code::Unknown, Ok(http_status)) => Answer::Status(http_status),
        _ => Answer::Failed(status.to_string()),
    }
}

#[tokio::test]
async fn a_call_whose_client_tells_no_origin_is_refused_with_what_to_do() {
    let place = Place::new(TokenKind::Maskinporten, Protocol::Http2, false).await;
    let service = place.guarded().maskinporten().layer(channel(&place));

    let status = HealthClient::new(service)
        .check(HealthCheckRequest::default())
        .await
        .unwrap_err();

    let error = Error::find_in(&status).unwrap();
    assert_eq!(error.kind(), ErrorKind::Origin);
    for remedy in ["tonic", "with_origin", "assume_origin"] {
        assert!(error.hint().unwrap().contains(remedy), "{error:?}");
    }
    assert!(place.book.seen().is_empty());
}

#[tokio::test]
async fn an_assumed_origin_stands_for_a_client_that_tells_none() {
    for kind in KINDS {
        let place = Place::new(kind, Protocol::Http2, false).await;
        let (guarded, home) = (place.guarded(), place.home.origin());
        let service: Authorised = match kind {
            TokenKind::Maskinporten => {
                let layer = guarded.maskinporten().assume_origin(home).unwrap();
                Authorised::by(&layer, channel(&place))
            }
            _ => {
                let layer = guarded.altinn().assume_origin(home).unwrap();
                Authorised::by(&layer, channel(&place))
            }
        };

        for _ in 0..3 {
            let answer = check(HealthClient::new(service.clone()), false).await;
            assert_eq!(answer, Answer::Status(200));
        }

        assert_eq!(place.issued(), 1);
        assert!(place.trail().iter().all(|(_, token)| token.is_some()));
        assert_eq!(place.leaks(), [""; 0]);
    }
}

#[tokio::test]
async fn a_call_over_a_layered_channel_can_be_spawned() {
    let place = Place::new(TokenKind::Maskinporten, Protocol::Http2, false).await;
    let service = place.guarded().maskinporten().layer(channel(&place));
    let mut client = HealthClient::with_origin(service, place.home.origin().parse().unwrap());

    let called = tokio::spawn(async move { client.check(HealthCheckRequest::default()).await });

    called.await.unwrap().unwrap();
}
