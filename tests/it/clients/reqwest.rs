//! reqwest's client as a Service: it follows redirects itself, below the layer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, stream};
use maskinporten::{Error, TokenKind};
use reqwest::redirect::Policy;
use reqwest::{Body, Certificate, Client, Method, Request};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};
use tower_maskinporten::same_origin_redirects;

use super::cells::STREAMED;
use super::place::{Guarded, Place, layered};
use super::servers::{AUTHORITY, Protocol};
use super::{Answer, Call, Column, Sender};

pub(super) const COLUMN: Column = Column {
    name: "reqwest",
    protocol: Protocol::Http1,
    replays: true,
    connect,
};

fn connect(_: &Place, guarded: &Guarded) -> Sender {
    connect_by(guarded, same_origin_redirects)
}

/// The same with a client of another redirect policy.
pub(super) fn connect_by(guarded: &Guarded, policy: fn() -> Policy) -> Sender {
    let service = layered!(guarded, layer => {
        let client = client(policy());
        BoxCloneSyncService::new(layer.layer(client))
    });
    Arc::new(move |call| {
        let service = service.clone();
        async move {
            match service.oneshot(request(&call)).await {
                Ok(response) => Answer::Status(response.status().as_u16()),
                Err(error) => match Error::find_in(&*error) {
                    Some(ours) => Answer::Refused(ours.kind()),
                    None => Answer::Failed(error.to_string()),
                },
            }
        }
        .boxed()
    })
}

/// The bare client, which trusts the tests' authority and knows no proxy.
pub(super) fn client(policy: Policy) -> Client {
    let root = Certificate::from_pem(AUTHORITY.pem().as_bytes()).unwrap();
    let builder = Client::builder().no_proxy().tls_certs_only([root]);
    builder.redirect(policy).build().unwrap()
}

pub(super) fn request(call: &Call) -> Request {
    let mut request = Request::new(Method::POST, call.url.parse().unwrap());
    if call.streamed {
        let parts = STREAMED.map(Ok::<_, Infallible>);
        *request.body_mut() = Some(Body::wrap_stream(stream::iter(parts)));
    }
    request
}

#[tokio::test]
async fn reqwests_own_timeout_begins_when_the_request_leaves() {
    let place = Place::new(TokenKind::Maskinporten, Protocol::Http1, false).await;
    let service = place.guarded().maskinporten().layer(client(Policy::none()));
    let mut request = request(&Call {
        url: place.home.origin() + "/",
        streamed: false,
    });
    let allowed = Duration::from_secs(1);
    *request.timeout_mut() = Some(allowed);

    place.gate.send_replace(false);
    let late = async {
        tokio::time::sleep(allowed + Duration::from_millis(200)).await;
        place.gate.send_replace(true);
    };
    let (answer, ()) = tokio::join!(service.oneshot(request), late);

    assert_eq!(answer.unwrap().status(), 200);
}
