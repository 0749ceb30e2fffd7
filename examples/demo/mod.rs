//! What only makes the examples run here, with no account and no network: nothing of it is to be copied.

#![allow(dead_code, reason = "each example uses a part of it")]

use std::error::Error as StdError;
use std::io;
use std::net::Ipv4Addr;

use axum::Router;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use maskinporten_sim::{Body, Sim, SimClient, SimServer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_maskinporten::maskinporten::{Error, MaskinportenClient, MaskinportenSettings};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Fails unless it holds.
pub(crate) fn check(what: &str, holds: bool) -> Result<(), BoxError> {
    match holds {
        true => Ok(()),
        false => Err(format!("expected that {what}").into()),
    }
}

/// A Maskinporten on this machine, and a client of it that is registered for these scopes.
pub(crate) async fn world<const N: usize>(
    scopes: [&str; N],
) -> Result<(SimServer, MaskinportenClient), BoxError> {
    let server = SimServer::start().await?;
    let registered = server.sim().new_client(scopes);
    let client = MaskinportenClient::from_settings(settings(&registered)?)?;
    Ok((server, client))
}

/// The settings of a client, as Altinn Studio mounts them.
pub(crate) fn settings(registered: &SimClient) -> Result<MaskinportenSettings, Error> {
    let file = registered.settings_json().to_string();
    MaskinportenSettings::from_json(&file, MaskinportenSettings::DEFAULT_SECTION)
}

/// The JSON in a response.
pub(crate) async fn json<B>(response: Response<B>) -> Result<Value, BoxError>
where
    B: BodyExt<Error: Into<BoxError>>,
{
    let body = response.into_body().collect().await.map_err(Into::into)?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}

/// The claims of a request's bearer, or the status it is refused with. `path` is one of the simulator's
/// own, below `/api/`: what is asked of a token there is asked of this one.
pub(crate) async fn claims(
    sim: &Sim,
    path: &str,
    headers: &HeaderMap,
) -> Result<Value, StatusCode> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().map_err(|_| StatusCode::NOT_FOUND)?;
    for bearer in headers.get_all(header::AUTHORIZATION) {
        request
            .headers_mut()
            .append(header::AUTHORIZATION, bearer.clone());
    }
    let answer = sim.clone().oneshot(request).await;
    let answer = answer.map_err(|_| StatusCode::BAD_GATEWAY)?;
    match answer.status() {
        StatusCode::OK => {
            let mut answer = json(answer).await;
            let claims = answer.as_mut().map(|answer| answer["claims"].take());
            claims.map_err(|_| StatusCode::BAD_GATEWAY)
        }
        refused => Err(refused),
    }
}

/// An API on this machine, until it is dropped.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) origin: String,
    _task: JoinSet<()>,
}

pub(crate) async fn serve(router: Router) -> io::Result<Api> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    Ok(Api {
        origin,
        _task: task,
    })
}
