//! What a refusal or a known trap means, who can mend it, and how: one table.
//!
//! The first part holds what the token server answers. A row is found by its code, else by a phrase
//! of the description, because several refusals come without a code and older texts without either.
//! The second part holds traps that are seen before anything is sent, each used by name in the room
//! that meets it. [`Error::hint`](crate::Error::hint) reads from here, and so may any tool that
//! explains a code to a person.

use crate::error::{ErrorKind, Refusal};

/// One row of the table: what happened, and what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Advice {
    code: Option<&'static str>,
    error: Option<&'static str>,
    phrases: &'static [&'static str],
    kind: ErrorKind,
    owner: Owner,
    retry: Retry,
    meaning: &'static str,
    hint: &'static str,
}

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner {
    /// Whoever runs this service: its settings, its key, its clock, its client in the portal.
    You,
    /// The organisation that owns the scope or the API.
    ApiOwner,
    /// The organisation on whose behalf the token was asked for.
    Customer,
    /// Whoever runs the network between here and the server.
    Network,
}

/// Whether asking again helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Not before something is changed.
    No,
    /// Once, with a new assertion.
    NewAssertion,
    /// Once, with a new assertion whose times follow the server's clock.
    CorrectedClock,
    /// With another registered key, or after the key has spread (up to 15 minutes).
    OtherKey,
    /// Later.
    Later,
}

impl Advice {
    /// Maskinporten's code, such as `MP-250`, where the row has one.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// Who can mend it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Whether asking again helps.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// What happened, in one phrase.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// What to do, and who must do it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.hint
    }

    /// Every row, refusals first.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        REFUSALS.iter().chain(TRAPS.iter().copied())
    }

    /// The row for a code such as `MP-250`.
    #[must_use]
    pub fn for_code(code: &str) -> Option<&'static Self> {
        let same = |row: &&Self| {
            row.code
                .is_some_and(|known| known.eq_ignore_ascii_case(code))
        };
        REFUSALS.iter().find(same)
    }

    /// The row whose phrase occurs in a description, whatever the case.
    #[must_use]
    pub fn for_text(text: &str) -> Option<&'static Self> {
        let text = text.to_lowercase();
        REFUSALS.iter().find(|row| {
            row.phrases
                .iter()
                .any(|phrase| text.contains(&phrase.to_lowercase()))
        })
    }

    /// The row for what a token server answered: by code, by phrase, then by OAuth error alone.
    pub(crate) fn for_refusal(refusal: &Refusal) -> Option<&'static Self> {
        let by_code = refusal.code.as_deref().and_then(Self::for_code);
        let by_text = || refusal.description.as_deref().and_then(Self::for_text);
        let by_error = || {
            let error = refusal.error.as_deref()?;
            REFUSALS.iter().find(|row| {
                row.error == Some(error) && row.code.is_none() && row.phrases.is_empty()
            })
        };
        by_code.or_else(by_text).or_else(by_error)
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// A refusal by the token server. Order matters for phrases: the more telling one comes first.
macro_rules! refusal {
    ($code:expr, $error:expr, [$($phrase:expr),*], $kind:ident, $owner:ident, $retry:ident,
     $meaning:expr, $hint:expr $(,)?) => {
        Advice {
            code: $code, error: $error, phrases: &[$($phrase),*], kind: ErrorKind::$kind,
            owner: Owner::$owner, retry: Retry::$retry, meaning: $meaning, hint: $hint,
        }
    };
}

const INVALID_REQUEST: Option<&str> = Some("invalid_request");
const INVALID_GRANT: Option<&str> = Some("invalid_grant");
const INVALID_SCOPE: Option<&str> = Some("invalid_scope");

static REFUSALS: &[Advice] = &[
    refusal!(
        Some("MP-011"),
        INVALID_REQUEST,
        ["invalid parameter value"],
        Rejected,
        You,
        No,
        "the grant was malformed on arrival",
        "something between here and Maskinporten changed the request: look for a proxy that rewrites bodies"
    ),
    refusal!(
        Some("MP-012"),
        INVALID_GRANT,
        ["grant is used before"],
        Rejected,
        You,
        NewAssertion,
        "the assertion's jti was used before",
        "an assertion is good for one request: if a retrying or mirroring client stands below this library's \
         transport, move the retry above it, where each attempt signs anew"
    ),
    refusal!(
        Some("MP-110"),
        INVALID_GRANT,
        ["invalid jwt claim aud", "claim aud"],
        Rejected,
        You,
        No,
        "the assertion was made for another audience",
        "the audience must equal the issuer to the last slash: compare the authority in your settings with \
         `issuer` in the server's metadata"
    ),
    refusal!(
        Some("MP-120"),
        INVALID_GRANT,
        ["invalid certificate"],
        Rejected,
        You,
        No,
        "the enterprise certificate was refused",
        "use a valid enterprise certificate of the right environment: production certificates are refused in \
         test and test certificates in production"
    ),
    refusal!(
        Some("MP-121"),
        INVALID_GRANT,
        ["expired key"],
        Rejected,
        You,
        OtherKey,
        "the registered key has expired",
        "keys last a year from the day they were posted: post the key again or a new one in the portal; \
         posting replaces the whole set, so post every key that is still in use"
    ),
    refusal!(
        Some("MP-122"),
        INVALID_GRANT,
        ["organization number", "organisation number"],
        Rejected,
        You,
        No,
        "the certificate belongs to another organisation",
        "the organisation number in the certificate must be the one that owns the client"
    ),
    refusal!(
        Some("MP-123"),
        INVALID_GRANT,
        ["x5c"],
        Rejected,
        You,
        No,
        "the certificate chain in the header was not understood",
        "x5c is an array of base64 DER certificates, leaf first"
    ),
    refusal!(
        Some("MP-124"),
        INVALID_GRANT,
        ["invalid jwt signature"],
        Rejected,
        You,
        OtherKey,
        "the signature does not match the registered key",
        "the private key here is not the one registered under this kid: compare the public key in the portal \
         with the one `maskinporten keygen` printed for it"
    ),
    refusal!(
        None,
        INVALID_GRANT,
        ["unknown key identifier"],
        Rejected,
        You,
        OtherKey,
        "the kid is not registered on this client",
        "register the public key on this client, or set the kid the portal shows; a key posted just now needs \
         up to 15 minutes to spread"
    ),
    refusal!(
        None,
        INVALID_GRANT,
        ["no key identifier"],
        Rejected,
        You,
        No,
        "the client has registered keys, so a kid is required",
        "set `kid` (in the JWK or beside it) to the identifier the portal shows for the key; a client with \
         registered keys takes no certificate chain"
    ),
    refusal!(
        Some("MP-130"),
        INVALID_GRANT,
        ["jwt is expired"],
        Rejected,
        You,
        CorrectedClock,
        "the assertion had expired on arrival",
        "this machine's clock is behind or the network is very slow: synchronise the clock (NTP)"
    ),
    refusal!(
        None,
        INVALID_GRANT,
        ["issue time", "in the future"],
        Rejected,
        You,
        CorrectedClock,
        "the assertion was issued in the server's future",
        "this machine's clock is ahead by more than 10 seconds: synchronise the clock (NTP)"
    ),
    refusal!(
        None,
        INVALID_GRANT,
        ["too long lifetime"],
        Rejected,
        You,
        No,
        "the assertion lives longer than the server allows",
        "assertions made here live 120 seconds: the server wants less, ask its operator"
    ),
    refusal!(
        Some("MP-200"),
        INVALID_SCOPE,
        ["invalid scopes for client"],
        ScopeRejected,
        You,
        No,
        "the scope is not on the client",
        "add the scope to this client in the self-service portal, and check its spelling; if it cannot be \
         found there, its owner must first grant your organisation access"
    ),
    refusal!(
        Some("MP-201"),
        INVALID_SCOPE,
        ["not allowed for maskinporten"],
        ScopeRejected,
        You,
        No,
        "the scope is not for Maskinporten clients",
        "this scope belongs to another integration type: make a client of that type, or ask for the \
         Maskinporten scope of the API"
    ),
    refusal!(
        Some("MP-250"),
        Some("forbidden"),
        [
            "has not been granted access to the scope",
            "not been granted access"
        ],
        OrganisationRejected,
        ApiOwner,
        No,
        "the organisation has not been granted the scope",
        "the scope's owner must grant access to your organisation number; if you act for another organisation, \
         `consumer_org` is missing"
    ),
    refusal!(
        Some("MP-251"),
        Some("forbidden"),
        ["has not delegated access"],
        OrganisationRejected,
        Customer,
        No,
        "the consumer has not delegated the scope",
        "the consumer organisation must delegate the API to yours in Altinn, in this environment: delegations \
         made in production do not exist in test, nor the other way round"
    ),
    refusal!(
        Some("MP-301"),
        None,
        ["unknown authorization details type"],
        Rejected,
        You,
        No,
        "the type in authorization_details is unknown",
        "use `urn:altinn:systemuser` or `urn:altinn:consent`"
    ),
    refusal!(
        Some("MP-302"),
        None,
        ["unknown fields"],
        Rejected,
        You,
        No,
        "authorization_details holds a field or value that is not accepted",
        "an external reference is at most 255 of the letters a to å, digits, `_` and `-`; remove other fields"
    ),
    refusal!(
        Some("MP-303"),
        Some("invalid_altinn_customer_configuration"),
        [],
        OrganisationRejected,
        Customer,
        No,
        "no approved system user answers to this request",
        "check three things: the customer has approved the system user, this client id is on the system, and \
         the external reference equals the one it was made with"
    ),
    refusal!(
        None,
        INVALID_REQUEST,
        ["combination consumer_org", "consumer_org"],
        OrganisationRejected,
        You,
        No,
        "consumer_org is the client's own organisation",
        "leave `consumer_org` out when you act for yourself"
    ),
    refusal!(
        None,
        Some("invalid_target"),
        ["fragment"],
        Rejected,
        You,
        No,
        "the resource was not accepted",
        "a resource is an absolute URI without a fragment (`#`)"
    ),
    // After the more telling texts of authentication above: Maskinporten opens many with these words.
    refusal!(
        Some("MP-100"),
        INVALID_GRANT,
        ["client not found", "client authentication failed"],
        Rejected,
        You,
        No,
        "the client is not known here",
        "check the client id, and that it belongs to this environment: client ids are not shared between test \
         and production"
    ),
    refusal!(
        None,
        Some("invalid_altinn_customer_configuration"),
        [],
        OrganisationRejected,
        Customer,
        No,
        "no approved system user answers to this request",
        "check three things: the customer has approved the system user, this client id is on the system, and \
         the external reference equals the one it was made with"
    ),
    refusal!(
        None,
        INVALID_SCOPE,
        [],
        ScopeRejected,
        You,
        No,
        "the scope was refused",
        "compare the scopes asked for with those on the client in the self-service portal"
    ),
    refusal!(
        None,
        Some("forbidden"),
        [],
        OrganisationRejected,
        ApiOwner,
        No,
        "the organisation has no access",
        "the scope's owner must grant your organisation access, or the consumer must delegate it to you in Altinn"
    ),
    refusal!(
        None,
        INVALID_GRANT,
        [],
        Rejected,
        You,
        No,
        "the grant was refused",
        "check client id, key, kid and environment against the client in the self-service portal; give the \
         trace id to support if they agree"
    ),
    refusal!(
        None,
        Some("invalid_client"),
        [],
        Rejected,
        You,
        No,
        "the client was refused",
        "check client id, key, kid and environment against the client in the self-service portal"
    ),
    refusal!(
        None,
        Some("unauthorized_client"),
        [],
        Rejected,
        You,
        No,
        "the client may not use this grant",
        "make a client for Maskinporten in the self-service portal: this one is of another type"
    ),
    refusal!(
        None,
        Some("invalid_target"),
        [],
        Rejected,
        You,
        No,
        "the resource was not accepted",
        "a resource is an absolute URI without a fragment (`#`) that the API's owner has told you"
    ),
    refusal!(
        None,
        INVALID_REQUEST,
        [],
        Rejected,
        You,
        No,
        "the request was not understood",
        "check resource, consumer_org and authorization_details; give the trace id to support if they are right"
    ),
    refusal!(
        None,
        Some("unsupported_grant_type"),
        [],
        Rejected,
        You,
        No,
        "the server does not take signed assertions",
        "the authority is not a Maskinporten: check it in your settings"
    ),
];

macro_rules! traps {
    ($($(#[$doc:meta])* $name:ident: $kind:ident, $owner:ident, $retry:ident, $meaning:expr, $hint:expr;)*) => {
        $($(#[$doc])* pub(crate) static $name: Advice = Advice {
            code: None, error: None, phrases: &[], kind: ErrorKind::$kind,
            owner: Owner::$owner, retry: Retry::$retry, meaning: $meaning, hint: $hint,
        };)*
        static TRAPS: &[&Advice] = &[$(&$name),*];
    };
}

traps! {
    NO_SETTINGS: Settings, You, No,
        "no settings were found",
        "give a settings file by MASKINPORTEN_SETTINGS_FILE, or MaskinportenSettings__Authority, \
         MaskinportenSettings__ClientId and MaskinportenSettings__JwkBase64 in the environment";
    SETTINGS_FILE: Settings, You, No,
        "the settings file cannot be used",
        "the file is JSON: {\"MaskinportenSettings\": {\"Authority\": \"https://test.maskinporten.no/\", \
         \"ClientId\": \"…\", \"Jwk\": {…}}}; write it whole under another name and rename it into place";
    ONE_KEY: Settings, You, No,
        "the settings hold two keys",
        "keep exactly one of Jwk, JwkBase64 and the PEM, the one registered for this client, and remove the other";
    TWO_CLIENTS: Settings, You, No,
        "two places hold settings of two clients",
        "keep the settings of one client and remove the others, or name the file to use by \
         MASKINPORTEN_SETTINGS_FILE";
    VARIABLE: Settings, You, No,
        "an environment variable cannot be read",
        "set each variable once and as UTF-8 text; those of a settings section are read in any case";
    AUTHORITY: Settings, You, No,
        "the authority cannot be used",
        "use https://maskinporten.no/ for production or https://test.maskinporten.no/ for test; plain http is \
         for a server on this machine only";
    NO_ALTINN: Settings, You, No,
        "no Altinn is known to exchange at",
        "set ALTINN_PLATFORM_URL, such as https://platform.tt02.altinn.no: only production and test have an Altinn that follows from the authority";
    INSECURE_ADDRESS: Settings, You, No,
        "a token server is asked over https only",
        "use https; plain http is for a server on this machine only";
    PROXY_ADDRESS: Settings, You, No,
        "the proxy's address cannot be used",
        "write it as http://proxy.example.no:3128, with user:password@ before the host if the proxy asks for them; \
         SOCKS is not spoken here";
    ROOT_CERTIFICATES: Settings, You, No,
        "the root certificates cannot be used",
        "give a PEM with one or more BEGIN CERTIFICATE blocks: the certificate of the authority, not of the server";
    RETIRED_ENVIRONMENT: Settings, You, No,
        "the environment is retired",
        "ver1 and ver2 were closed in June 2024: use `test`, with a client made there";
    CROSSED_ENVIRONMENTS: Settings, You, No,
        "Maskinporten and Altinn are of different environments",
        "a test token is worth nothing at production's Altinn, nor the other way round: use test with TT02 \
         (platform.tt02.altinn.no) and production with platform.altinn.no";
    ALTINN_ADDRESS: Settings, You, No,
        "the Altinn address cannot be used",
        "set ALTINN_PLATFORM_URL to https://platform.altinn.no for production or \
         https://platform.tt02.altinn.no for test; plain http is for localhost only";
    NEW_KEY: Key, You, No,
        "the key cannot be used",
        "make a new one with `maskinporten keygen --out key.jwk` and register the public half it prints";
    EC_KEY: Key, You, No,
        "Maskinporten takes RSA keys only",
        "make an RSA key with `maskinporten keygen --out key.jwk`; the Altinn key tool must be told RS256";
    PUBLIC_KEY: Key, You, No,
        "this is the public half of a key",
        "the public half is for the portal: give the private JWK, the one with member `d`, to this program only";
    KID_MISSING: Key, You, No,
        "the key has no identifier",
        "add `kid` to the JWK, or set it beside the key (MASKINPORTEN_KID), to what the portal shows for the key";
    KEY_FORMAT: Key, You, No,
        "the key's format is not read here",
        "give a JWK, or a PEM that opens with BEGIN PRIVATE KEY (PKCS#8) or BEGIN RSA PRIVATE KEY (PKCS#1); a \
         Java keystore or PKCS#12 is turned into one with `openssl pkcs12 -in key.p12 -nodes -nocerts`";
    NO_SCOPE: Request, You, No,
        "no scope was asked for",
        "name at least one scope, such as altinn:serviceowner";
    SCOPE_SEPARATOR: Request, You, No,
        "scopes are separated by something else than a space",
        "give each scope on its own or put a space between them; commas and semicolons do not separate scopes";
    SCOPE_CHARACTER: Request, You, No,
        "a scope holds a character that no scope may hold",
        "a scope is printable ASCII without quotes and backslashes (RFC 6749 §3.3): look for a line break or a \
         typographic quote copied along";
    ORGANISATION: Request, You, No,
        "this is no organisation number",
        "an organisation number has nine digits, the last a control digit; `0192:` may stand before it";
    RESOURCE: Request, You, No,
        "the resource is not an absolute URI",
        "give the identifier the API's owner told you, such as https://api.example.no, without `#`";
    EXTERNAL_REF: Request, You, No,
        "the external reference cannot be sent",
        "it is at most 255 of the letters a to å, digits, `_` and `-`, exactly as when the system user was made";
    AUTHORIZATION_DETAILS: Request, You, No,
        "authorization_details cannot be sent",
        "it is one JSON object, or an array with exactly one, that has a `type`";
    ORIGIN: Origin, You, No,
        "this is no origin that may see a token",
        "an origin is a scheme, a host and, where it is not the usual one, a port: https://api.example.no";
    FOREIGN_ORIGIN: Origin, You, No,
        "the token is not released for this origin",
        "add the origin where the layer is built if the request is meant to go there; if it is a redirect, the \
         refusal is right";
    NO_AUTHORITY: Origin, You, No,
        "the request's address has no host",
        "a client whose requests carry only a path (tonic's) needs `with_origin` below this layer, or \
         `assume_origin(…)` on it";
    PLAIN_HTTP: Origin, You, No,
        "a token is never sent over plain http",
        "use https; plain http is for a server on this machine only";
    HEADER_PRESENT: Origin, You, No,
        "the request already has an Authorization header",
        "remove it, or choose to replace or keep it where the layer is built";
    NO_CA_STORE: Unreachable, You, No,
        "no certificate authorities were found on this machine",
        "install the ca-certificates package in the image, or point SSL_CERT_FILE at a bundle";
    CERTIFICATE: Unreachable, Network, No,
        "the server's certificate was not accepted",
        "if the network inspects TLS, add its root certificate; if not, somebody else is answering: check the address";
    HANDSHAKE: Unreachable, Network, Later,
        "no TLS connection came about",
        "the server must speak TLS 1.2 or newer on this port: look for a gateway in between, or for a wrong port";
    PROXY: Unreachable, Network, Later,
        "the proxy did not let the request through",
        "check the proxy's address and credentials, and that it allows CONNECT to this host and port";
    NETWORK: Unreachable, Network, Later,
        "the server was not reached",
        "check name resolution, egress rules and proxy for this host and port; Digdir lists its addresses \
         for firewalls";
    SILENCE: Unreachable, Network, Later,
        "the server did not answer in time",
        "if it stays so, check egress rules and proxy: a firewall that drops packets looks like this";
    SERVER_BUSY: Unavailable, ApiOwner, Later,
        "the server cannot serve now",
        "nothing to change here: outages are seldom longer than a few minutes; Digdir's status page tells more";
    NOT_AN_ANSWER: Protocol, Network, Later,
        "the answer is not a token server's",
        "a proxy, a login page or the wrong address is answering: request the address by hand and look";
    UNUSABLE_TOKEN: Protocol, ApiOwner, Later,
        "the token in the answer cannot be used",
        "the server sent a token that cannot stand in a header or does not live: report it to its operator";
    REDIRECTED: Protocol, You, No,
        "the token server answered with a redirect",
        "redirects are never followed with an assertion: set the authority to the address it points at, if that is right";
    METADATA: Protocol, You, Later,
        "the server's metadata cannot be used",
        "the authority must publish itself: `issuer` in its metadata equals the authority to the last slash, and \
         the token endpoint has the same origin";
    UNKNOWN_REFUSAL: Rejected, You, No,
        "the grant was refused",
        "this refusal is not in the table here: compare the client in the self-service portal with what was sent, \
         and give the trace id to support";
    ENTERPRISE_USER: Exchange, You, No,
        "Altinn no longer takes enterprise users",
        "enterprise users were closed in June 2026: use a system user";
    EXCHANGE_REFUSED: Exchange, You, Later,
        "Altinn did not accept the Maskinporten token",
        "either the token is of another environment than this Altinn, or Altinn's own look-up failed: check the \
         pair of environments first, then wait and try again";
    SUBSCRIPTION_KEY: Exchange, You, No,
        "the gateway before Altinn wants a subscription key",
        "set PlatformSettings__SubscriptionKey to the key you got for this environment";
    EXCHANGE_ADDRESS: Exchange, You, No,
        "Altinn did not know this exchange",
        "check the Altinn address: it is the platform's host, such as https://platform.tt02.altinn.no";
    NO_RUNTIME: Runtime, You, No,
        "there is no Tokio runtime to fetch the token on",
        "ask from within a Tokio runtime (`#[tokio::main]`, `Runtime::block_on`)";
    RUNTIME_GONE: Runtime, You, Later,
        "whatever fetched the token went away before it was done",
        "the runtime that fetched was shut down, or a signer or transport of yours panicked: its own log tells";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &str, code: Option<&str>, text: &str, meaning: &str) {
        let refusal = Refusal {
            error: Some(error.into()),
            description: Some(text.into()),
            code: code.map(Into::into),
            trace_id: None,
        };
        let found = Advice::for_refusal(&refusal).map(Advice::meaning);
        assert_eq!(found, Some(meaning), "{error} {code:?} {text}");
    }

    #[test]
    fn a_code_decides_before_the_text() {
        check(
            "invalid_grant",
            Some("MP-124"),
            "Client authentication failed.",
            "the signature does not match the registered key",
        );
    }

    #[test]
    fn without_a_code_the_phrase_decides() {
        let grant = |text, meaning| check("invalid_grant", None, text, meaning);
        grant(
            "Client authentication failed. No key identifier (kid) provided",
            "the client has registered keys, so a kid is required",
        );
        grant(
            "Client authentication failed: Unknown key identifier (kid)",
            "the kid is not registered on this client",
        );
        grant(
            "Invalid assertion. Client authentication failed. Invalid JWT signature.",
            "the signature does not match the registered key",
        );
        grant(
            "Client authentication failed",
            "the client is not known here",
        );
        grant(
            "JWT issue time is in the future",
            "the assertion was issued in the server's future",
        );
        check(
            "forbidden",
            None,
            "Consumer 991825827 has not delegated access to the scope",
            "the consumer has not delegated the scope",
        );
    }

    #[test]
    fn an_unknown_text_falls_back_to_its_oauth_error() {
        check(
            "invalid_scope",
            None,
            "something new",
            "the scope was refused",
        );
        check(
            "invalid_grant",
            Some("MP-999"),
            "something new",
            "the grant was refused",
        );
    }

    #[test]
    fn every_row_says_what_to_do() {
        for row in Advice::all() {
            assert!(!row.meaning().is_empty() && !row.hint().is_empty());
            assert!(!row.hint().ends_with('.'), "{}", row.hint());
            assert_eq!(row.hint().trim(), row.hint());
            assert!(!row.hint().contains("  "), "{}", row.hint());
        }
    }
}
