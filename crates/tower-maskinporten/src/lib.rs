//! Maskinporten and Altinn tokens as Tower layers.
//!
//! A service wraps its outbound HTTP client in a [`MaskinportenAuthLayer`] or an [`AltinnAuthLayer`],
//! and every request to a listed origin leaves with a good bearer token:
//!
//! ```
//! use http::{Request, Response, header};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_maskinporten::MaskinportenAuthLayer;
//! # use std::{convert::Infallible, time::Duration};
//! # use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_maskinporten::BoxError> {
//! # let client = MaskinportenClient::builder()
//! #     .source(FixedToken::new("token", Duration::from_secs(120))?)
//! #     .build()?;
//! // `client` is `MaskinportenClient::discover()?`, the HTTP client any Tower service.
//! # let http_client = service_fn(|request: Request<String>| async move {
//! #     assert!(request.headers().contains_key(header::AUTHORIZATION));
//! #     Ok::<_, Infallible>(Response::new(String::new()))
//! # });
//! let layer = MaskinportenAuthLayer::new(&client, ["krr:read"], "https://api.example.no")?;
//! let mut http_client = layer.layer(http_client);
//!
//! let request = Request::get("https://api.example.no/person").body(String::new())?;
//! http_client.ready().await?.call(request).await?;
//! # Ok(())
//! # }
//! ```
//!
//! - Where it stands: `Trace > Timeout > Retry > FollowRedirect >` **here** `> client`, and the
//!   client itself follows no redirects. Every attempt and every hop then passes the guard: a hop to a
//!   listed origin is authorised anew, any other is refused. With `FollowRedirect` below, the token is
//!   stripped on the way to another origin and stays away on the way back.
//! - On a cached token a request costs one look at the clock and one at a number: nothing is
//!   allocated, nobody is waited for, and the inner service is called directly.
//! - One request may ask for another organisation's token than the layer's own, by a
//!   [`TokenContext`](maskinporten::TokenContext) in its extensions, or for none at all, where the layer
//!   was told what a request without one gets
//!   ([`require_context`](MaskinportenAuthLayer::require_context),
//!   [`optional_context`](MaskinportenAuthLayer::optional_context)).
//! - A 401 brings a newer token for the next request. With
//!   [`replay_on_unauthorized`](MaskinportenAuthLayer::replay_on_unauthorized) the one that was refused
//!   is sent again with it, once.
//! - The same layer wraps [`http::Request`] services (hyper-util, tonic, anything of Tower's) and
//!   `reqwest::Client`, and is itself middleware of `reqwest_middleware`. What takes no layer asks its
//!   [`authorizer`](MaskinportenAuthLayer::authorizer).
//! - What keeps a request from its token comes out as a [`BoxError`] with a [`maskinporten::Error`]
//!   inside; [`maskinporten::Error::find_in`] finds it, whatever is wrapped around it.
//!
//! # Features
//!
//! - `client` (default): the engine's default transport.
//! - `metrics`: counters, gauges and histograms through the `metrics` facade 0.24.
//! - `registry`: [`ClientRegistry`], named and typed clients from code and from TOML.
//! - `reqwest`: the layers over `reqwest::Client` 0.13.
//! - `reqwest-middleware`: the layers as middleware of `reqwest_middleware` 0.5.
//! - `tower`: [`ServiceBuilderExt`], the layers as methods of [`tower::ServiceBuilder`] 0.5, and
//!   [`RejectedTokenPolicy`] for its `Retry`.
//! - `tower-http-06`, `tower-http-07`: [`KeepContext`] for `FollowRedirect` of that release outside a
//!   layer; where one stands below, a 401 counts only if the last address is listed.

pub use maskinporten;

mod layer;
pub use layer::{AltinnAuthLayer, MaskinportenAuthLayer};

mod legacy;
pub use legacy::LegacyAuthLayer;

#[cfg(feature = "tower")]
mod builder;
#[cfg(feature = "tower")]
pub use builder::ServiceBuilderExt;

mod service;
pub use service::BearerAuth;

mod outbound;
pub use outbound::{InboundResponse, OutboundRequest, ReplayableRequest};

mod future;
pub use future::ResponseFuture;

mod final_uri;

#[cfg(any(feature = "tower-http-06", feature = "tower-http-07"))]
mod keep_context;
#[cfg(any(feature = "tower-http-06", feature = "tower-http-07"))]
pub use keep_context::KeepContext;

#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "reqwest")]
pub use self::reqwest::{ReqwestAuthorizer, same_origin_redirects};

#[cfg(feature = "reqwest-middleware")]
mod middleware;

mod replay;
pub use replay::{ReplayAuth, ReplayAuthLayer, ReplayFuture};

#[cfg(feature = "tower")]
mod policy;
#[cfg(feature = "tower")]
pub use policy::{RejectedTokenFuture, RejectedTokenPolicy};

#[cfg(feature = "registry")]
mod registry;
#[cfg(feature = "registry")]
pub use registry::{
    ClientRegistry, ClientRegistryBuilder, HttpBody, HttpClient, NamedClient, NamedClientBuilder,
};

/// What comes out of a layer: its own error or the inner service's.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The pages whose examples are compiled with this crate.
#[cfg(all(
    doctest,
    feature = "metrics",
    feature = "registry",
    feature = "reqwest-middleware",
    feature = "tower-http-07"
))]
mod pages {
    #[doc = include_str!("../../../docs/layers.md")]
    struct Layers;

    #[doc = include_str!("../../../docs/clients.md")]
    struct Clients;

    #[doc = include_str!("../../../docs/acting-for-others.md")]
    struct ActingForOthers;

    #[doc = include_str!("../../../docs/testing.md")]
    struct Testing;

    #[doc = include_str!("../../../docs/named-clients.md")]
    struct NamedClients;

    #[doc = include_str!("../../../docs/observability.md")]
    struct Observability;
}
