//! What kept a request from its answer, in the words of [`Error`].
//!
//! A service behind the transport answers with whatever error it has, wrapped as often as it likes.
//! The first cause known here decides; one that is not known is a network that failed.

use std::error::Error as StdError;
use std::io;
use std::iter::successors;
use std::time::Duration;

use crate::advice;
use crate::error::{BoxError, Error, ErrorKind};

/// Names a failure of the connection to `host`, or of the conversation on it.
pub(super) fn explain(host: &str, cause: BoxError) -> Error {
    if let Some(known) = Error::find_in(&*cause) {
        return known.clone();
    }
    let error = match causes(&*cause).find_map(|cause| name(host, cause)) {
        Some(error) => error,
        None => Error::new(ErrorKind::Unreachable, format!("{host} was not reached"))
            .with_advice(&advice::NETWORK),
    };
    error.with_source(cause)
}

/// Nobody answered within `limit`.
pub(super) fn silence(host: &str, limit: Duration) -> Error {
    let message = format!("{host} did not answer within {limit:?}");
    Error::new(ErrorKind::Unreachable, message).with_advice(&advice::SILENCE)
}

/// Whether a kept connection was closed as the request left: another attempt gets a new connection, and
/// needs no pause.
#[cfg(feature = "client")]
pub(crate) fn is_hung_up(error: &Error) -> bool {
    causes(error).any(|cause| cause.is::<super::pool::HungUp>())
}

/// Connections are kept by the default transport only.
#[cfg(not(feature = "client"))]
pub(crate) fn is_hung_up(_: &Error) -> bool {
    false
}

fn name(host: &str, cause: &(dyn StdError + 'static)) -> Option<Error> {
    #[cfg(feature = "client")]
    if let Some(cause) = cause.downcast_ref::<rustls::Error>() {
        return Some(handshake(host, cause));
    }
    #[cfg(feature = "client")]
    if let Some(cause) = cause.downcast_ref::<hyper::Error>()
        && cause.is_parse()
    {
        return Some(
            Error::protocol(format!("{host} did not answer in HTTP"))
                .with_advice(&advice::NOT_AN_ANSWER),
        );
    }
    if cause.downcast_ref::<io::Error>()?.kind() == io::ErrorKind::TimedOut {
        return Some(
            Error::new(
                ErrorKind::Unreachable,
                format!("{host} did not answer in time"),
            )
            .with_advice(&advice::SILENCE),
        );
    }
    None
}

/// What is spoken on a port, and by whom, is the same a moment later; a connection that broke off is
/// told by an [`io::Error`] and not here.
#[cfg(feature = "client")]
fn is_passing(cause: &rustls::Error) -> bool {
    let own_trouble = rustls::AlertDescription::InternalError;
    matches!(cause, rustls::Error::AlertReceived(alert) if *alert == own_trouble)
}

/// A certificate that is refused once is refused again.
#[cfg(feature = "client")]
fn handshake(host: &str, cause: &rustls::Error) -> Error {
    use rustls::CertificateError as Certificate;

    let problem = match cause {
        rustls::Error::InvalidCertificate(problem) => match problem {
            Certificate::Expired | Certificate::ExpiredContext { .. } => "has expired",
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => "is not valid yet",
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "is for another name"
            }
            Certificate::UnknownIssuer => "comes from an authority that is not known here",
            // Also an authority that was made anew under its old name.
            Certificate::BadSignature => "is not signed by the authority it names",
            Certificate::Revoked => "was revoked",
            _ => "cannot be used",
        },
        rustls::Error::NoCertificatesPresented => "was not shown",
        _ => {
            let message = format!("no TLS connection with {host} came about");
            return Error::new(ErrorKind::Unreachable, message)
                .with_advice(&advice::HANDSHAKE)
                .with_transient(is_passing(cause));
        }
    };
    let message = format!("the certificate of {host} {problem}");
    Error::new(ErrorKind::Unreachable, message)
        .with_advice(&advice::CERTIFICATE)
        .with_transient(false)
        .with_detail("certificate", problem)
}

/// An error and all that it wraps. An [`io::Error`] names its content's source as its own and so
/// hides the content, which is where the TLS error sits.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let inner = |&error: &&'a (dyn StdError + 'static)| match error.downcast_ref::<io::Error>() {
        Some(wrapper) => wrapper.get_ref().map(|content| content as _),
        None => error.source(),
    };
    successors(Some(error), inner)
}
