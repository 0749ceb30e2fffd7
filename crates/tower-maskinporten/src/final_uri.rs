//! Where an answer came from in the end, as the clients we know tell it.

use maskinporten::Authorizer;

/// The same authorizer, which reads the address where one of the known clients leaves it.
pub(crate) fn of_known_clients(authorizer: Authorizer) -> Authorizer {
    #[cfg(feature = "tower-http-06")]
    let authorizer = authorizer.final_uri(|extensions| {
        use tower_http_06::follow_redirect::RequestUri;
        extensions.get::<RequestUri>().map(|uri| uri.0.clone())
    });
    #[cfg(feature = "tower-http-07")]
    let authorizer = authorizer.final_uri(|extensions| {
        use tower_http::follow_redirect::RequestUri;
        extensions.get::<RequestUri>().map(|uri| uri.0.clone())
    });
    authorizer
}
