//! The layers as methods of [`tower::ServiceBuilder`].

use maskinporten::{Error, IntoOrigins, IntoTokenRequest, TokenProvider};
use tower::ServiceBuilder;
use tower::layer::util::Stack;

use crate::layer::{AltinnAuthLayer, MaskinportenAuthLayer};

/// The layers as methods of [`tower::ServiceBuilder`]: two verbs, as in .NET.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_maskinporten::ServiceBuilderExt;
/// # use std::time::Duration;
/// # use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
/// # fn example(http_client: ()) -> Result<(), tower_maskinporten::maskinporten::Error> {
/// # let client = MaskinportenClient::builder()
/// #     .source(FixedToken::new("token", Duration::from_secs(120))?)
/// #     .build()?;
///
/// let http_client = ServiceBuilder::new()
///     .maskinporten_authorization(&client, ["krr:read"], "https://api.example.no")?
///     .service(http_client);
/// # Ok(())
/// # }
/// ```
pub trait ServiceBuilderExt<L>: Sized {
    /// Adds a [`MaskinportenAuthLayer`].
    ///
    /// # Errors
    ///
    /// As [`MaskinportenAuthLayer::new`].
    fn maskinporten_authorization(
        self,
        provider: &(impl TokenProvider + ?Sized),
        request: impl IntoTokenRequest,
        origins: impl IntoOrigins,
    ) -> Result<ServiceBuilder<Stack<MaskinportenAuthLayer, L>>, Error>;

    /// Adds an [`AltinnAuthLayer`].
    ///
    /// # Errors
    ///
    /// As [`AltinnAuthLayer::new`].
    fn altinn_authorization(
        self,
        provider: &(impl TokenProvider + ?Sized),
        request: impl IntoTokenRequest,
        origins: impl IntoOrigins,
    ) -> Result<ServiceBuilder<Stack<AltinnAuthLayer, L>>, Error>;
}

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {
    fn maskinporten_authorization(
        self,
        provider: &(impl TokenProvider + ?Sized),
        request: impl IntoTokenRequest,
        origins: impl IntoOrigins,
    ) -> Result<ServiceBuilder<Stack<MaskinportenAuthLayer, L>>, Error> {
        MaskinportenAuthLayer::new(provider, request, origins).map(|layer| self.layer(layer))
    }

    fn altinn_authorization(
        self,
        provider: &(impl TokenProvider + ?Sized),
        request: impl IntoTokenRequest,
        origins: impl IntoOrigins,
    ) -> Result<ServiceBuilder<Stack<AltinnAuthLayer, L>>, Error> {
        AltinnAuthLayer::new(provider, request, origins).map(|layer| self.layer(layer))
    }
}
