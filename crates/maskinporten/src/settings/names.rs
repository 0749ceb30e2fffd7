//! The names of environment variables: all of them, and nothing else.

/// Path of a settings file.
pub(super) const SETTINGS_FILE: &str = "MASKINPORTEN_SETTINGS_FILE";

/// Client id, of the shape that names everything `MASKINPORTEN_…`.
pub(super) const CLIENT_ID: &str = "MASKINPORTEN_CLIENT_ID";

/// Path of a private key: JWK or PEM.
pub(super) const KEY_FILE: &str = "MASKINPORTEN_KEY_FILE";

/// Identifier of the key.
pub(super) const KID: &str = "MASKINPORTEN_KID";

/// The authority, by whichever name the platform gives it.
pub(super) const AUTHORITIES: [&str; 3] = [
    "MASKINPORTEN_ISSUER",
    "MASKINPORTEN_AUDIENCE",
    "MASKINPORTEN_AUTHORITY",
];

/// Host of Altinn's platform.
pub(super) const ALTINN_PLATFORM_URL: &str = "ALTINN_PLATFORM_URL";

/// Altinn's authentication API, as Altinn apps name it.
pub(super) const API_AUTHENTICATION_ENDPOINT: &str = "PlatformSettings__ApiAuthenticationEndpoint";

/// Key for the gateway before Altinn, as Altinn apps name it.
pub(super) const SUBSCRIPTION_KEY: &str = "PlatformSettings__SubscriptionKey";

/// How every name above begins, and that of every section's variables but an app's own. What else
/// is in the environment is not looked at.
pub(super) const PREFIXES: [&str; 3] = ["maskinporten", "altinn_", "platformsettings__"];
