//! [`MaskinportenAuthLayer`] and [`AltinnAuthLayer`]: two doors to one room.
//!
//! They differ in whose token they set; what they do to a request is [`BearerAuth`]'s.

use http::{Extensions, Uri};
use maskinporten::{
    Authorizer, Error, ExistingHeader, IntoOrigins, IntoTokenRequest, TokenKind, TokenProvider,
};
use tower_layer::Layer;

use crate::final_uri;
use crate::replay::ReplayAuthLayer;
use crate::service::BearerAuth;

macro_rules! auth_layer {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use]
        pub struct $name {
            authorizer: Authorizer,
        }

        impl $name {
            /// A layer for one request's token and the origins that may see it.
            ///
            /// The place of the token is found here, once; nothing is fetched before the first
            /// request.
            ///
            /// # Errors
            ///
            /// What [`Authorizer::new`] refuses: scopes or origins that are none, a request that the
            /// provider can never fulfil.
            pub fn new(
                provider: &(impl TokenProvider + ?Sized),
                request: impl IntoTokenRequest,
                origins: impl IntoOrigins,
            ) -> Result<Self, Error> {
                let authorizer = Authorizer::new(provider, $kind, request, origins)?;
                let authorizer = final_uri::of_known_clients(authorizer);
                Ok(Self { authorizer })
            }

            /// Lets requests to other origins pass, without a token, instead of refusing them. See
            /// [`Authorizer::pass_foreign`].
            pub fn pass_foreign(self) -> Self {
                let authorizer = self.authorizer.pass_foreign();
                Self { authorizer }
            }

            /// Gives the token to every https origin there is, as the .NET handlers do. See
            /// [`Authorizer::any_https_origin`] for what that means.
            pub fn any_https_origin(self) -> Self {
                let authorizer = self.authorizer.any_https_origin();
                Self { authorizer }
            }

            /// Lists an origin and takes it for the target of requests whose address has no host, as
            /// a tonic client's have none above its channel.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Origin`](maskinporten::ErrorKind::Origin) where it is none or may never
            /// see a token.
            pub fn assume_origin(self, origin: impl AsRef<str>) -> Result<Self, Error> {
                let authorizer = self.authorizer.assume_origin(origin)?;
                Ok(Self { authorizer })
            }

            /// Refuses every request without a [`TokenContext`](maskinporten::TokenContext): for a service
            /// that always acts on behalf of somebody. See [`Authorizer::require_context`].
            pub fn require_context(self) -> Self {
                let authorizer = self.authorizer.require_context();
                Self { authorizer }
            }

            /// Lets a request have a [`TokenContext`](maskinporten::TokenContext) or none; without one it has
            /// the layer's own token. See [`Authorizer::optional_context`].
            pub fn optional_context(self) -> Self {
                let authorizer = self.authorizer.optional_context();
                Self { authorizer }
            }

            /// Allows contexts to ask for these scopes beside the layer's own. See
            /// [`Authorizer::allow_scopes`].
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Request`](maskinporten::ErrorKind::Request) where they are none.
            pub fn allow_scopes<I>(self, scopes: I) -> Result<Self, Error>
            where
                I: IntoIterator,
                I::Item: AsRef<str>,
            {
                let authorizer = self.authorizer.allow_scopes(scopes)?;
                Ok(Self { authorizer })
            }

            /// Decides about an `Authorization` header that is already there. The default replaces it.
            pub fn existing_header(self, existing: ExistingHeader) -> Self {
                let authorizer = self.authorizer.existing_header(existing);
                Self { authorizer }
            }

            /// Tells where a response's extensions hold the address it came from in the end, for a
            /// client that follows redirects itself: a 401 from an address that is not listed is no
            /// word about the token. See [`Authorizer::final_uri`].
            ///
            /// The features `tower-http-06` and `tower-http-07` do it for tower-http's
            /// `FollowRedirect`.
            pub fn final_uri(self, told: fn(&Extensions) -> Option<Uri>) -> Self {
                let authorizer = self.authorizer.final_uri(told);
                Self { authorizer }
            }

            /// The same layer, whose service sends a request once more, with a newer token, where the
            /// answer did not accept the one it had. See [`ReplayAuth`](crate::ReplayAuth) for the rules.
            ///
            /// - Whatever its method: an API that refuses the token has done nothing with the request.
            /// - It comes last: what else this layer is told is told before.
            /// - The request's body must be [`Clone`], as that of a string or of bytes is.
            ///
            /// ```
            /// use http::{Request, Response};
            /// use tower::{Layer, ServiceExt, service_fn};
            /// # use std::{convert::Infallible, time::Duration};
            /// # use tower_maskinporten::MaskinportenAuthLayer;
            /// # use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
            ///
            /// # #[tokio::main(flavor = "current_thread")]
            /// # async fn main() -> Result<(), tower_maskinporten::BoxError> {
            /// # let client = MaskinportenClient::builder()
            /// #     .source(FixedToken::new("token", Duration::from_secs(120))?)
            /// #     .build()?;
            /// let http_client = service_fn(|_: Request<String>| async {
            ///     Ok::<_, Infallible>(Response::new(()))
            /// });
            /// let layer = MaskinportenAuthLayer::new(&client, ["krr:read"], "https://api.example.no")?;
            /// let replaying = layer.replay_on_unauthorized().layer(http_client);
            /// replaying.oneshot(Request::post("https://api.example.no").body(String::new())?).await?;
            /// # Ok(())
            /// # }
            /// ```
            pub fn replay_on_unauthorized(self) -> ReplayAuthLayer {
                ReplayAuthLayer::new(self.authorizer)
            }

            /// What it sets headers by, for a client that takes no layer.
            #[must_use]
            pub fn authorizer(&self) -> &Authorizer {
                &self.authorizer
            }
        }

        impl<S> Layer<S> for $name {
            type Service = BearerAuth<S>;

            fn layer(&self, inner: S) -> Self::Service {
                BearerAuth::new(inner, &self.authorizer)
            }
        }
    };
}

auth_layer! {
    /// Sets Maskinporten's token on every request to a listed origin.
    ///
    /// The counterpart of .NET's `UseMaskinportenAuthorization`. See the [crate](crate) for an
    /// example and for where it stands among other layers.
    MaskinportenAuthLayer, TokenKind::Maskinporten
}

auth_layer! {
    /// Sets Altinn's token on every request to a listed origin: Maskinporten's, exchanged once more.
    ///
    /// The counterpart of .NET's `UseMaskinportenAltinnAuthorization`. See the [crate](crate) for
    /// where it stands among other layers.
    AltinnAuthLayer, TokenKind::Altinn
}
