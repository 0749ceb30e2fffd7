//! What the token server answers: found by code, by phrase, or by OAuth error alone.

use super::{About, Advice, Owner, Retry};
use crate::error::ErrorKind;

/// A refusal by the token server: how it is found, its kind, whom it is about, who can act and whether to ask
/// again, what it means and what to do. Order matters for phrases: the more telling one comes first.
macro_rules! refusal {
    ($code:expr, $error:expr, [$($phrase:expr),*], $kind:ident, $about:ident, $owner:ident, $retry:ident,
     $meaning:expr, $hint:expr $(,)?) => {
        Advice {
            code: $code, error: $error, phrases: &[$($phrase),*], kind: ErrorKind::$kind,
            about: About::$about, owner: Owner::$owner, retry: Retry::$retry, meaning: $meaning, hint: $hint,
        }
    };
}

const INVALID_REQUEST: Option<&str> = Some("invalid_request");
const INVALID_GRANT: Option<&str> = Some("invalid_grant");
const INVALID_SCOPE: Option<&str> = Some("invalid_scope");

pub(super) static REFUSALS: &[Advice] = &[
    refusal!(
        Some("MP-011"),
        INVALID_REQUEST,
        ["invalid parameter value"],
        Rejected,
        Request,
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
        Request,
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
        Credentials,
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
        Credentials,
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
        Credentials,
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
        Credentials,
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
        Credentials,
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
        Credentials,
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
        Credentials,
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
        Credentials,
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
        Credentials,
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
        Credentials,
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
        Credentials,
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
        Request,
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
        Request,
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
        Request,
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
        Request,
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
        Request,
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
        Request,
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
        Request,
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
        Request,
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
        Request,
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
        Credentials,
        You,
        No,
        "the client is not known here",
        "check the client id, and that it belongs to this environment: client ids are not shared between test \
         and production"
    ),
    refusal!(
        None,
        INVALID_SCOPE,
        [],
        ScopeRejected,
        Request,
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
        Request,
        ApiOwner,
        No,
        "the organisation has no access",
        "the scope's owner must grant your organisation access, or the consumer must delegate it to you in Altinn"
    ),
    // Without a code and without a known text this may as well be about the organisation that the grant names:
    // counted against the credentials, it would cost every other customer.
    refusal!(
        None,
        INVALID_GRANT,
        [],
        Rejected,
        Request,
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
        Credentials,
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
        Credentials,
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
        Request,
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
        Request,
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
        Credentials,
        You,
        No,
        "the server does not take signed assertions",
        "the authority is not a Maskinporten: check it in your settings"
    ),
];
