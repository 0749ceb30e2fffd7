//! [`About`]: whom a failure is about, and so what it may cost others.
//!
//! Each row of the table has its verdict. An error without a row is judged by its kind, and a refusal that is not
//! in the table is about its request alone: a wrong guess in that direction costs one identity, in the other
//! direction every customer of the service.

use super::{Advice, REFUSALS};
use crate::error::{ErrorKind, Refusal};

/// Whom a failure is about: see [`Error::about`](crate::Error::about).
///
/// | verdict | what may have caused it | whom it may keep from a token |
/// | --- | --- | --- |
/// | [`Server`](Self::Server) | no connection, no answer in time, a status of 408, 429 or 5xx, an answer that cannot be read | every identity of that server |
/// | [`Credentials`](Self::Credentials) | client id, key, certificate, audience, the machine's clock, the gateway's subscription key | every identity of the client |
/// | [`Request`](Self::Request) | scope, resource, organisation, `authorization_details`; any refusal that is not in the table | the identity that was refused |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum About {
    /// The server, or the network on the way to it: any other request would have failed as well.
    Server,
    /// The client and how it proves who it is: the same credentials fail for any other request too.
    Credentials,
    /// What this one request asked for, and for whom. It says nothing about any other request.
    Request,
}

impl About {
    /// The verdict on an error by its kind alone.
    pub(super) const fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Unreachable | ErrorKind::Unavailable | ErrorKind::Protocol => Self::Server,
            ErrorKind::Settings | ErrorKind::Key => Self::Credentials,
            // A refusal that has no row is one that is not known.
            ErrorKind::Rejected
            | ErrorKind::ScopeRejected
            | ErrorKind::OrganisationRejected
            | ErrorKind::Exchange
            // These concern a caller or a runtime, never what another identity would be answered.
            | ErrorKind::Request
            | ErrorKind::Origin
            | ErrorKind::Runtime
            | ErrorKind::Closed => Self::Request,
        }
    }

    /// The verdict on an error of `kind`, by its row and by what the server said, where it has them.
    pub(crate) fn of(
        kind: ErrorKind,
        advice: Option<&'static Advice>,
        refusal: Option<&Refusal>,
    ) -> Self {
        let Some(row) = advice else {
            return Self::of_kind(kind);
        };
        let is_uncertain = refusal.is_some_and(|refusal| !is_of_row(refusal, row));
        if row.about == Self::Credentials && is_uncertain {
            Self::Request
        } else {
            row.about
        }
    }
}

/// The OAuth errors that a server answers for a client or its assertion (RFC 6749 §5.2, RFC 7521 §4.1). One of
/// another name that has a phrase of these rows in its text is about something else.
const CLIENT_ERRORS: [&str; 4] = [
    "invalid_grant",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
];

/// Whether a row that was found for a refusal names it for certain: by its code, or by a text or an OAuth error
/// that comes without one. A code that is not in the table means something that is not known here.
fn is_of_row(refusal: &Refusal, row: &Advice) -> bool {
    match &refusal.code {
        Some(code) => row
            .code
            .is_some_and(|known| known.eq_ignore_ascii_case(code)),
        None => refusal
            .error
            .as_deref()
            .is_none_or(|error| CLIENT_ERRORS.contains(&error)),
    }
}

/// An OAuth error as the table spells it; `None` if it is not in the table. A server can write any text there.
pub(crate) fn known_oauth_error(error: &str) -> Option<&'static str> {
    const OF_OUTAGES: [&str; 2] = ["temporarily_unavailable", "server_error"];
    let known = REFUSALS.iter().filter_map(|row| row.error);
    known.chain(OF_OUTAGES).find(|known| *known == error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::TRAPS;
    use crate::error::Error;

    /// Every row that a refusal can fall under. A row that is added must be added here.
    const VERDICTS: &str = "\
        MP-011 invalid_request: Request
        MP-012 invalid_grant: Request
        MP-110 invalid_grant: Credentials
        MP-120 invalid_grant: Credentials
        MP-121 invalid_grant: Credentials
        MP-122 invalid_grant: Credentials
        MP-123 invalid_grant: Credentials
        MP-124 invalid_grant: Credentials
        - invalid_grant unknown key identifier: Credentials
        - invalid_grant no key identifier: Credentials
        MP-130 invalid_grant: Credentials
        - invalid_grant issue time: Credentials
        - invalid_grant too long lifetime: Credentials
        MP-200 invalid_scope: Request
        MP-201 invalid_scope: Request
        MP-250 forbidden: Request
        MP-251 forbidden: Request
        MP-301 -: Request
        MP-302 -: Request
        MP-303 invalid_altinn_customer_configuration: Request
        - invalid_request combination consumer_org: Request
        - invalid_target fragment: Request
        MP-100 invalid_grant: Credentials
        - invalid_scope: Request
        - forbidden: Request
        - invalid_grant: Request
        - invalid_client: Credentials
        - unauthorized_client: Credentials
        - invalid_target: Request
        - invalid_request: Request
        - unsupported_grant_type: Credentials";

    /// The traps whose verdict does not follow from the kinds of settings, keys, requests and origins.
    const VERDICTS_OF_TRAPS: &str = "\
        Unreachable the sidecar does not answer: Server
        Unreachable no certificate authorities were found on this machine: Server
        Unreachable the server's certificate was not accepted: Server
        Unreachable no TLS connection came about: Server
        Unreachable the proxy did not let the request through: Server
        Unreachable the server was not reached: Server
        Unreachable the server did not answer in time: Server
        Unavailable the server cannot serve now: Server
        Protocol the answer is not a token server's: Server
        Protocol the token in the answer cannot be used: Server
        Protocol the token server answered with a redirect: Server
        Protocol the server's metadata cannot be used: Server
        Protocol the metadata is of another issuer than its address says: Server
        Protocol the metadata is of an issuer on another host than its address: Server
        Rejected the grant was refused: Request
        Exchange Altinn no longer takes enterprise users: Request
        Exchange Altinn did not accept the Maskinporten token: Request
        Exchange the gateway before Altinn wants a subscription key: Credentials
        Exchange Altinn did not know this exchange: Request
        Runtime there is no Tokio runtime to fetch the token on: Request
        Unavailable many different tokens were wanted at once, and this one's turn did not come in time: Request
        Unavailable the token was declared void again and again while it was fetched: Request
        Closed the client was shut down: Request
        Runtime whatever fetched the token went away before it was done: Request";

    #[test]
    fn every_refusal_of_the_table_has_its_verdict() {
        let found = REFUSALS.iter().map(|row| {
            let phrase = match row.code {
                None => row.phrases.first(),
                Some(_) => None,
            };
            let phrase = phrase
                .map(|phrase| format!(" {phrase}"))
                .unwrap_or_default();
            let (code, error) = (row.code.unwrap_or("-"), row.error.unwrap_or("-"));
            format!("{code} {error}{phrase}: {:?}", row.about)
        });
        let found: Vec<_> = found.collect();
        let expected: Vec<_> = VERDICTS.lines().map(str::trim).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_trap_has_its_verdict() {
        let mut found = Vec::new();
        for row in TRAPS {
            match row.kind {
                ErrorKind::Settings | ErrorKind::Key => assert_eq!(row.about, About::Credentials),
                ErrorKind::Request | ErrorKind::Origin => assert_eq!(row.about, About::Request),
                kind => found.push(format!("{kind:?} {}: {:?}", row.meaning, row.about)),
            }
        }
        let expected: Vec<_> = VERDICTS_OF_TRAPS.lines().map(str::trim).collect();
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn check(error: &str, code: Option<&str>, description: &str, verdict: About) {
        let refusal = Refusal {
            error: Some(error.into()),
            description: Some(description.into()),
            code: code.map(Into::into),
            trace_id: None,
        };
        let row = Advice::for_refusal(&refusal);
        let found = About::of(ErrorKind::Rejected, row, Some(&refusal));
        assert_eq!(found, verdict, "{error} {code:?} {description}");
    }

    #[test]
    fn a_refusal_that_is_not_known_is_about_its_request() {
        check("invalid_grant", Some("MP-999"), "", About::Request);
        check("invalid_request", Some("MP-4711"), "", About::Request);
        check("invalid_client", Some("MP-199"), "", About::Request);
        let failed = "Client authentication failed.";
        check("invalid_grant", Some("MP-999"), failed, About::Request);
        check("something_new", None, "", About::Request);
        check("something_new", None, failed, About::Request);
        check("invalid_grant", None, "something new", About::Request);
    }

    #[test]
    fn a_text_that_repeats_words_of_a_refused_client_is_about_its_request() {
        let number = "Consumer with organization number 991825827 has not delegated access";
        check("forbidden", None, number, About::Request);
        check(
            "invalid_target",
            None,
            "no x5c for 991825827",
            About::Request,
        );
    }

    #[test]
    fn a_refused_client_is_known_by_code_by_text_or_by_its_error() {
        check("invalid_grant", Some("mp-124"), "", About::Credentials);
        check(
            "invalid_grant",
            None,
            "Client authentication failed",
            About::Credentials,
        );
        check(
            "invalid_client",
            None,
            "Invalid JWT signature",
            About::Credentials,
        );
        check("unauthorized_client", None, "", About::Credentials);
    }

    #[test]
    fn an_error_of_a_foreign_source_is_judged_by_its_kind() {
        assert_eq!(Error::unavailable("").about(), About::Server);
        assert_eq!(Error::rejected("").about(), About::Request);
        assert_eq!(Error::request("").about(), About::Request);
        assert_eq!(Error::key("").about(), About::Credentials);
        assert_eq!(Error::settings("").about(), About::Credentials);
    }
}
