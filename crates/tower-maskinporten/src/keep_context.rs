//! [`KeepContext`]: what a redirect layer drops is put back.

use http::Request;
use maskinporten::TokenContext;

/// A policy for tower-http's `FollowRedirect` outside an auth layer: each hop has the
/// [`TokenContext`] that the first request had, or none where that had none.
///
/// - Without it a hop loses what is in the extensions: by tower-http 0.6 always, by 0.7 on the way to
///   another origin. Under `require_context()` it is then refused; under `optional_context()` it would have
///   the layer's own token, also where the first one was to be skipped.
/// - Where a hop may go is the auth layer's to say, and a context's own
///   ([`TokenContext::for_origin`]).
/// - It follows whatever it is asked about: limits are another policy's, which it is joined to.
///
/// ```
/// # #[cfg(feature = "tower-http-07")] {
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_http::follow_redirect::FollowRedirectLayer;
/// use tower_http::follow_redirect::policy::{PolicyExt, Standard};
/// use tower_maskinporten::{BoxError, KeepContext};
///
/// let policy = Standard::default().and::<_, Full<Bytes>, BoxError>(KeepContext::new());
/// let follow = FollowRedirectLayer::with_policy(policy);
/// # let _ = follow;
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeepContext {
    /// None until the first request has been seen.
    kept: Option<Option<TokenContext>>,
}

impl KeepContext {
    /// A policy for requests that have not been sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn on_request<B>(&mut self, request: &mut Request<B>) {
        let extensions = request.extensions_mut();
        match &self.kept {
            None => self.kept = Some(extensions.get().cloned()),
            Some(None) => drop(extensions.remove::<TokenContext>()),
            Some(Some(context)) => drop(extensions.insert(context.clone())),
        }
    }
}

macro_rules! policy {
    ($feature:literal, $tower_http:ident) => {
        #[cfg(feature = $feature)]
        impl<B, E> $tower_http::follow_redirect::policy::Policy<B, E> for KeepContext {
            fn redirect(
                &mut self,
                _: &$tower_http::follow_redirect::policy::Attempt<'_>,
            ) -> Result<$tower_http::follow_redirect::policy::Action, E> {
                Ok($tower_http::follow_redirect::policy::Action::Follow)
            }

            fn on_request(&mut self, request: &mut Request<B>) {
                Self::on_request(self, request);
            }
        }
    };
}

policy!("tower-http-06", tower_http_06);
policy!("tower-http-07", tower_http);
