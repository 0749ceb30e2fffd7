//! The names of environment variables and of mounted files: all of them, and nothing else.

/// Which of the places is used: see [`super::platform::Kind`].
pub(super) const SOURCE: &str = "MASKINPORTEN_SOURCE";

/// Path of a settings file.
pub(super) const SETTINGS_FILE: &str = "MASKINPORTEN_SETTINGS_FILE";

/// The same, as Altinn apps name it.
pub(super) const SETTINGS_FILEPATH: &str = "MaskinportenSettingsFilepath";

/// A directory of secrets.
pub(super) const SECRETS_DIR: &str = "MASKINPORTEN_SECRETS_DIR";

/// The sidecar's token endpoint.
pub(super) const SIDECAR: &str = "NAIS_TOKEN_ENDPOINT";

/// Directories that Altinn apps are told to read secrets in, by the names of older and newer ones.
pub(super) const ALTINN_SECRETS_DIRS: [&str; 2] = [
    "RUNTIME_APP_SECRETS_DIR",
    "AppSettings__RuntimeSecretsDirectory",
];

/// Where Altinn mounts the secrets of an app.
pub(super) const ALTINN_SECRETS: &str = "/mnt/app-secrets";

/// The settings file in the directory above.
pub(super) const ALTINN_FILE: &str = "maskinporten-settings.json";

/// Where nais mounts what digdirator makes.
pub(super) const NAIS_SECRETS: &str = "/var/run/secrets/nais.io/maskinporten";

/// Where SKIP mounts what digdirator makes.
pub(super) const SKIP_SECRETS: &str = "/var/run/secrets/skip/maskinporten";

/// Client id, of the shape that names everything `MASKINPORTEN_…`.
pub(super) const CLIENT_ID: &str = "MASKINPORTEN_CLIENT_ID";

/// The private key itself, as a JWK.
pub(super) const CLIENT_JWK: &str = "MASKINPORTEN_CLIENT_JWK";

/// Path of a private key in any form that is read.
pub(super) const KEY_FILE: &str = "MASKINPORTEN_KEY_FILE";

/// Opens that key.
pub(super) const KEY_PASSWORD: &str = "MASKINPORTEN_KEY_PASSWORD";

/// Path of the enterprise certificate of that key, with those above it.
pub(super) const CERTIFICATE_FILE: &str = "MASKINPORTEN_CERTIFICATE_FILE";

/// Identifier of the key.
pub(super) const KID: &str = "MASKINPORTEN_KID";

/// The authority, by whichever name the platform gives it.
pub(super) const AUTHORITIES: [&str; 4] = [
    "MASKINPORTEN_ISSUER",
    "MASKINPORTEN_AUDIENCE",
    "MASKINPORTEN_AUTHORITY",
    "MASKINPORTEN_ENV",
];

/// Where the authority publishes its metadata.
pub(super) const WELL_KNOWN_URL: &str = "MASKINPORTEN_WELL_KNOWN_URL";

/// The token endpoint.
pub(super) const TOKEN_ENDPOINT: &str = "MASKINPORTEN_TOKEN_ENDPOINT";

/// The scopes that the platform has registered the client with.
pub(super) const SCOPES: &str = "MASKINPORTEN_SCOPES";

/// How many token requests of one authority are in flight at once.
pub(super) const MAX_CONCURRENT_FETCHES: &str = "MASKINPORTEN_MAX_CONCURRENT_FETCHES";

/// How many seconds a caller waits for its turn to fetch.
pub(super) const FETCH_QUEUE_TIMEOUT: &str = "MASKINPORTEN_FETCH_QUEUE_TIMEOUT";

/// The organisation that tokens are to be asked for on behalf of: a default that the binary applies, and the
/// library never does.
pub(super) const CONSUMER_ORGS: [&str; 2] =
    ["MASKINPORTEN_CONSUMER_ORG", "MASKINPORTEN_CONSUMERORG"];

/// The API that tokens are to be for: a default as the organisation is.
pub(super) const RESOURCES: [&str; 1] = ["MASKINPORTEN_RESOURCE"];

/// A keystore, which is not read here.
pub(super) const KEYSTORE_PATH: &str = "MASKINPORTEN_KEYSTORE_PATH";

/// Host of Altinn's platform.
pub(super) const ALTINN_PLATFORM_URL: &str = "ALTINN_PLATFORM_URL";

/// The section in which Altinn apps name their platform.
pub(super) const PLATFORM_SETTINGS: &str = "PlatformSettings";

/// Altinn's authentication API, in that section.
pub(super) const API_AUTHENTICATION_ENDPOINT: &str = "ApiAuthenticationEndpoint";

/// Key for the gateway before Altinn, in that section.
pub(super) const SUBSCRIPTION_KEY: &str = "SubscriptionKey";

/// How every name above begins, and that of every section's variables but an app's own. What else
/// is in the environment is not looked at.
pub(super) const PREFIXES: [&str; 6] = [
    "maskinporten",
    "altinn_",
    "platformsettings__",
    "nais_token_endpoint",
    "runtime_app_secrets_dir",
    "appsettings__runtimesecretsdirectory",
];
