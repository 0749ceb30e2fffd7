//! hyper-util's client: redirects are followed outside the layer, where each hop meets the guard.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten::Error;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_http::follow_redirect::FollowRedirect;

use super::cells::STREAMED;
use super::place::{Guarded, Place, layered};
use super::servers::{Body, Protocol, dial};
use super::{Answer, Call, Column, Sender};

pub(super) const COLUMN: Column = Column {
    name: "hyper",
    protocol: Protocol::Http1,
    replays: true,
    connect,
};

fn connect(_: &Place, guarded: &Guarded) -> Sender {
    let service = layered!(guarded, layer => {
        BoxCloneSyncService::new(FollowRedirect::new(layer.layer(client::<Full<Bytes>>())))
    });
    // A layer that replays wants a body that can be cloned, so a stream has one that does not.
    let mut once = guarded.clone();
    once.replay = false;
    let streaming = match once.kind {
        maskinporten::TokenKind::Maskinporten => {
            BoxCloneSyncService::new(once.maskinporten().layer(client::<Body>()))
        }
        _ => BoxCloneSyncService::new(once.altinn().layer(client::<Body>())),
    };
    Arc::new(move |Call { url, streamed }| {
        let request = Request::post(url);
        match streamed {
            false => send(service.clone(), request.body(Full::default()).unwrap()).boxed(),
            true => send(streaming.clone(), request.body(parts()).unwrap()).boxed(),
        }
    })
}

/// The bare client.
pub(super) fn client<B>() -> Client<super::servers::Dial, B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<BoxError>,
{
    Client::builder(TokioExecutor::new()).build(dial(Protocol::Http1))
}

fn parts() -> Body {
    let frames =
        STREAMED.map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))));
    StreamBody::new(stream::iter(frames))
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(super) async fn send<S, B>(service: S, request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response<Incoming>, Error = BoxError>,
{
    match service.oneshot(request).await {
        Ok(response) => Answer::Status(response.status().as_u16()),
        Err(error) => match Error::find_in(&*error) {
            Some(ours) => Answer::Refused(ours.kind()),
            None => Answer::Failed(error.to_string()),
        },
    }
}
