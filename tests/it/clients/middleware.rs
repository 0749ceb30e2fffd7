//! reqwest-middleware's client, with the layers as its middleware.

use std::sync::Arc;

use futures_util::FutureExt;
use maskinporten::{Error, ErrorKind, TokenKind};
use reqwest::redirect::Policy;
use reqwest_middleware::ClientBuilder;
use tower_maskinporten::same_origin_redirects;

use super::place::{Guarded, Place, layered};
use super::reqwest::{client, request};
use super::servers::Protocol;
use super::{Answer, Column, Sender};

pub(super) const COLUMN: Column = Column {
    name: "reqwest-middleware",
    protocol: Protocol::Http1,
    replays: true,
    connect,
};

fn connect(_: &Place, guarded: &Guarded) -> Sender {
    connect_by(guarded, same_origin_redirects)
}

/// The same with a client of another redirect policy.
pub(super) fn connect_by(guarded: &Guarded, policy: fn() -> Policy) -> Sender {
    let client = layered!(guarded, layer => {
        let client = client(policy());
        ClientBuilder::new(client).with(layer).build()
    });
    Arc::new(move |call| {
        let client = client.clone();
        async move {
            match client.execute(request(&call)).await {
                Ok(response) => Answer::Status(response.status().as_u16()),
                Err(error) => match Error::find_in(&error) {
                    Some(ours) => Answer::Refused(ours.kind()),
                    None => Answer::Failed(error.to_string()),
                },
            }
        }
        .boxed()
    })
}

#[tokio::test]
async fn our_error_is_found_in_that_of_the_client_and_said_once() {
    let place = Place::new(TokenKind::Maskinporten, Protocol::Http1, false).await;
    let layer = place.guarded().maskinporten();
    let client = ClientBuilder::new(client(Policy::none()))
        .with(layer)
        .build();

    let error = client.get(place.other.origin()).send().await.unwrap_err();

    let reqwest_middleware::Error::Middleware(held) = &error else {
        panic!("{error:?}");
    };
    assert!(held.downcast_ref::<Error>().is_some());
    let ours = Error::find_in(&error).unwrap();
    assert_eq!(ours.kind(), ErrorKind::Origin);
    let mut chain = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        chain += &format!(": {next}");
        cause = next.source();
    }
    assert_eq!(chain.matches(&ours.to_string()).count(), 1, "{chain}");
}
