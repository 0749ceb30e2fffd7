//! A failure as others may see it: those who asked for something else, and readers of the whole client.
//!
//! What a server, a signer or a token source wrote may name the organisation that it was about. So nothing of it is
//! copied: the message is one of those below, and a code or an OAuth error is copied from the table.

use std::sync::Arc;

use super::{Error, ErrorKind, Inner, Refusal};
use crate::advice::{About, Advice, known_oauth_error};

impl Error {
    /// The same failure as those see it who asked for something else.
    ///
    /// Kept: kind, status, row of the table, [`is_transient`](Self::is_transient), [`retry_at`](Self::retry_at),
    /// and OAuth error and code if they are in the table. Dropped: message, description, trace id, details,
    /// endpoint and cause.
    pub(crate) fn of_others(&self) -> Self {
        let inner = &*self.0;
        Self(Arc::new(Inner {
            kind: inner.kind,
            message: self.message_of_others().into(),
            advice: inner.advice,
            transient: inner.transient,
            refusal: inner.refusal.as_ref().and_then(of_table),
            status: inner.status,
            endpoint: None,
            retry_after: inner.retry_after,
            retry_at: inner.retry_at,
            details: Vec::new(),
            source: None,
        }))
    }

    /// The failure of a token on behalf of an organisation, as readers of the whole client see it: what this
    /// library itself says of the network stays, since any other token would have met the same.
    pub(crate) fn of_organisation(&self) -> Self {
        // Without a row the text is that of a foreign source, signer or transport.
        if self.about() != About::Server || self.0.advice.is_none() {
            return self.of_others();
        }
        self.clone().edit(|inner| {
            inner.details.clear();
            inner.refusal = inner.refusal.as_ref().and_then(of_table);
        })
    }

    fn message_of_others(&self) -> &'static str {
        use ErrorKind as Kind;

        match (self.about(), self.kind()) {
            (About::Server, Kind::Unreachable) => {
                "the token server does not answer; no token is requested until it does"
            }
            (About::Server, Kind::Unavailable) => {
                "the token server cannot serve now; no token is requested until it can"
            }
            (About::Server, _) => {
                "the token server's answer cannot be used; no token is requested for a while"
            }
            (About::Credentials, Kind::Settings) => "the client's settings cannot be used",
            (About::Credentials, Kind::Key) => "the client's key cannot sign",
            (About::Credentials, Kind::Exchange) => {
                "the gateway before altinn refuses this client's subscription key"
            }
            (About::Credentials, _) => "the token server refuses this client's credentials",
            (About::Request, Kind::ScopeRejected) => "the scopes of one request were refused",
            (About::Request, Kind::OrganisationRejected) => {
                "the organisation of one request was refused"
            }
            (About::Request, Kind::Exchange) => "altinn refused to exchange one token",
            (About::Request, Kind::Rejected) => "one request was refused",
            (About::Request, Kind::Unavailable) => "one request did not get its token in time",
            (About::Request, Kind::Runtime) => "the runtime of one request went away",
            (About::Request, Kind::Closed) => "the client was shut down",
            (About::Request, _) => "one request cannot be sent",
        }
    }
}

/// What the table knows of a refusal, in the table's own spelling.
fn of_table(refusal: &Refusal) -> Option<Refusal> {
    let code = refusal.code.as_deref().and_then(Advice::for_code);
    let code = code.and_then(Advice::code);
    let error = refusal.error.as_deref().and_then(known_oauth_error);
    (code.is_some() || error.is_some()).then(|| Refusal {
        error: error.map(str::to_owned),
        description: None,
        code: code.map(str::to_owned),
        trace_id: None,
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;
    use std::fmt::Write as _;
    use std::time::{Duration, SystemTime};

    use http::StatusCode;

    use super::*;
    use crate::advice;

    const CANARY: &str = "canary";

    /// An error in which every part that takes a foreign text holds one.
    fn full(error: Error, refusal: Refusal) -> Error {
        error
            .with_refusal(Refusal {
                description: Some(CANARY.into()),
                trace_id: Some(CANARY.into()),
                ..refusal
            })
            .with_status(StatusCode::BAD_REQUEST)
            .with_endpoint(&format!("https://{CANARY}.no/{CANARY}").parse().unwrap())
            .with_detail("scope", CANARY)
            .with_retry_after(Some(Duration::from_secs(7)))
            .with_retry_at(SystemTime::UNIX_EPOCH)
            .with_source(CANARY)
    }

    fn refused(kind: ErrorKind, row: &'static Advice, error: &str, code: Option<&str>) -> Error {
        let refusal = Refusal {
            error: Some(error.into()),
            code: code.map(Into::into),
            ..Refusal::default()
        };
        full(Error::new(kind, CANARY).with_advice(row), refusal)
    }

    /// Everything that can be read of an error.
    fn all_of(error: &Error) -> String {
        let mut text = format!(
            "{error} {error:?} {:?} {:?}",
            error.hint(),
            error.endpoint()
        );
        let mut next = error.source();
        while let Some(cause) = next {
            write!(text, " {cause} {cause:?}").unwrap();
            next = cause.source();
        }
        for (name, value) in error.details() {
            write!(text, " {name} {value}").unwrap();
        }
        text
    }

    #[track_caller]
    fn check(error: &Error, about: About, message: &str) -> Error {
        assert_eq!(error.about(), about);
        let other = error.of_others();
        assert!(!all_of(&other).contains(CANARY), "{}", all_of(&other));
        assert_eq!(other.to_string(), message);
        assert_eq!(other.about(), about);
        assert_eq!(other.kind(), error.kind());
        assert_eq!(other.status(), error.status());
        assert_eq!(other.hint(), error.hint());
        assert_eq!(other.is_transient(), error.is_transient());
        assert_eq!(other.retry_at(), error.retry_at());
        assert_eq!(other.retry_after(), error.retry_after());
        assert_eq!(other.of_others().to_string(), message);
        other
    }

    #[test]
    fn others_read_what_is_known_and_no_foreign_text() {
        let client = Advice::for_code("MP-124").unwrap();
        let other = check(
            &refused(ErrorKind::Rejected, client, "invalid_grant", Some("MP-124")),
            About::Credentials,
            "the token server refuses this client's credentials",
        );
        assert_eq!(other.code(), Some("MP-124"));
        assert_eq!(other.oauth_error(), Some("invalid_grant"));

        let unknown = &advice::UNKNOWN_REFUSAL;
        let other = check(
            &refused(ErrorKind::Rejected, unknown, CANARY, Some("MP-999")),
            About::Request,
            "one request was refused",
        );
        assert_eq!((other.code(), other.oauth_error()), (None, None));

        check(
            &refused(
                ErrorKind::Unavailable,
                &advice::SERVER_BUSY,
                "server_error",
                None,
            ),
            About::Server,
            "the token server cannot serve now; no token is requested until it can",
        );
        check(
            &full(Error::unavailable(CANARY), Refusal::default()),
            About::Server,
            "the token server cannot serve now; no token is requested until it can",
        );
        check(
            &full(Error::key(CANARY), Refusal::default()),
            About::Credentials,
            "the client's key cannot sign",
        );
    }

    #[test]
    fn of_an_organisations_outage_the_networks_part_stays() {
        let silence = |advice: Option<&'static Advice>| {
            let error = Error::new(ErrorKind::Unreachable, "the server was not reached");
            let error = advice.into_iter().fold(error, Error::with_advice);
            error.with_source("no such host").of_organisation()
        };
        let ours = silence(Some(&advice::NETWORK));
        assert_eq!(ours.to_string(), "the server was not reached");
        assert!(ours.source().is_some());
        assert!(silence(None).source().is_none());

        let busy = refused(ErrorKind::Unavailable, &advice::SERVER_BUSY, CANARY, None);
        let busy = busy.of_organisation();
        assert!(busy.description().is_none() && busy.trace_id().is_none());
        assert!(busy.oauth_error().is_none() && busy.details().next().is_none());
    }
}
