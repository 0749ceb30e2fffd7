//! Assertion → HTTP request (RFC 7523 §2.1).
//!
//! Exactly two form fields in the body and nothing in the query: an assertion in an address would
//! end up in access logs.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use zeroize::Zeroizing;

/// `urn:ietf:params:oauth:grant-type:jwt-bearer`, encoded for a form; the assertion follows, whose
/// alphabet needs no encoding.
const FORM: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";

/// The request that trades an assertion for a token. Its body is wiped when it is dropped.
pub(crate) fn request(token_endpoint: &Uri, assertion: &str) -> Request<Bytes> {
    let form = Zeroizing::new([FORM, assertion].concat().into_bytes());
    let mut request = Request::new(Bytes::from_owner(form));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = token_endpoint.clone();
    let headers = request.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    // Parity vector 2.
    #[test]
    fn a_grant_is_two_form_fields_and_no_query() {
        let endpoint = Uri::from_static("https://test.maskinporten.no/token");
        let request = request(&endpoint, "a.b.c");
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), &endpoint);
        assert_eq!(
            &request.body()[..],
            b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c"
        );
    }
}
