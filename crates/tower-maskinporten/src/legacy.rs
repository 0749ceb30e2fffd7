//! [`LegacyAuthLayer`]: the layer that settings of the .NET package describe.

use maskinporten::{Authorizer, Error, IntoOrigins, LegacySettings, TokenProvider};
use tower_layer::Layer;

use crate::final_uri;
use crate::replay::ReplayAuthLayer;
use crate::service::BearerAuth;

/// Sets the token that settings of the package Altinn.ApiClients.Maskinporten ask for: Maskinporten's, or
/// Altinn's where they exchange it.
///
/// The counterpart of `AddMaskinportenHttpClient` and `AddMaskinportenHttpMessageHandler`, for settings that
/// are to stay as they are. New ones are written for
/// [`MaskinportenAuthLayer`](crate::MaskinportenAuthLayer) and
/// [`AltinnAuthLayer`](crate::AltinnAuthLayer), which this does nothing beyond.
///
/// - Scopes, resource, consumer organisation and what becomes of a header that is already there
///   ([`existing_header`](LegacySettings::existing_header)) are those of the settings.
/// - Where a token may go is not in them: the origins are listed here.
/// - The package sends a request again after a 401; here that is asked for by
///   [`replay_on_unauthorized`](Self::replay_on_unauthorized).
///
/// ```
/// use tower::{Layer, service_fn};
/// use tower_maskinporten::LegacyAuthLayer;
/// use tower_maskinporten::maskinporten::LegacySettings;
/// # fn example() -> Result<(), tower_maskinporten::maskinporten::Error> {
/// # let http_client = service_fn(|_: http::Request<String>| async { Ok::<_, std::io::Error>(()) });
///
/// let mut legacy = LegacySettings::from_file("appsettings.json", "Maskinporten-Config-Path")?;
/// legacy.scope = Some("altinn:serviceowner/instances.read".to_owned());
/// legacy.exchange_to_altinn_token = true;
///
/// let layer = LegacyAuthLayer::new(&legacy, "https://platform.tt02.altinn.no")?;
/// let http_client = layer.layer(http_client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LegacyAuthLayer {
    authorizer: Authorizer,
}

impl LegacyAuthLayer {
    /// A layer with a client of its own. Nothing is fetched before the first request.
    ///
    /// # Errors
    ///
    /// As [`MaskinportenClient::from_legacy_settings`](maskinporten::MaskinportenClient::from_legacy_settings)
    /// and [`with_client`](Self::with_client).
    #[cfg(feature = "client")]
    pub fn new(settings: &LegacySettings, origins: impl IntoOrigins) -> Result<Self, Error> {
        let client = maskinporten::MaskinportenClient::from_legacy_settings(settings)?;
        Self::with_client(&client, settings, origins)
    }

    /// A layer over a client that others share, or that is warmed up and shut down by hand.
    ///
    /// Authority, client id, key and Altinn are then that client's, whatever the settings say of them.
    ///
    /// # Errors
    ///
    /// As [`LegacySettings::token_request`] and [`Authorizer::new`].
    pub fn with_client(
        client: &(impl TokenProvider + ?Sized),
        settings: &LegacySettings,
        origins: impl IntoOrigins,
    ) -> Result<Self, Error> {
        let request = settings.token_request()?;
        let authorizer = Authorizer::new(client, settings.token_kind(), request, origins)?
            .existing_header(settings.existing_header());
        let authorizer = final_uri::of_known_clients(authorizer);
        Ok(Self { authorizer })
    }

    /// The same layer, whose service sends a request once more where the answer did not accept its
    /// token, as the package does. See [`ReplayAuth`](crate::ReplayAuth) for the rules.
    pub fn replay_on_unauthorized(self) -> ReplayAuthLayer {
        ReplayAuthLayer::new(self.authorizer)
    }

    /// What it sets headers by, for a client that takes no layer.
    #[must_use]
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }
}

impl<S> Layer<S> for LegacyAuthLayer {
    type Service = BearerAuth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BearerAuth::new(inner, &self.authorizer)
    }
}
