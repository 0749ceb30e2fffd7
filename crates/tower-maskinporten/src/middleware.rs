//! The layers as middleware of `reqwest_middleware` 0.5.
//!
//! The first `with` of its builder is outermost: the auth layer goes last.
//!
//! A request's [`TokenContext`] comes with `RequestBuilder::with_extension` and `send`. `build` and `execute`
//! leave it behind: a layer with `require_context()` then refuses the request.

use async_trait::async_trait;
use http::Extensions;
use maskinporten::{Authorizer, Error, SentToken, TokenContext};
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next, Result};

use crate::layer::{AltinnAuthLayer, MaskinportenAuthLayer};
use crate::legacy::LegacyAuthLayer;
use crate::outbound::sealed::{Answer, Duplicate};
use crate::replay::ReplayAuthLayer;
use crate::reqwest::{ReqwestAuthorizer, ask};

macro_rules! middleware {
    ($($layer:ident),*) => {$(
        /// A request's [`TokenContext`] is put there by `RequestBuilder::with_extension`.
        #[async_trait]
        impl Middleware for $layer {
            async fn handle(
                &self,
                request: Request,
                extensions: &mut Extensions,
                next: Next<'_>,
            ) -> Result<Response> {
                send(self.authorizer(), request, extensions, next).await.map(|(_, response)| response)
            }
        }
    )*};
}

middleware!(MaskinportenAuthLayer, AltinnAuthLayer, LegacyAuthLayer);

/// A request whose body is a stream is sent once.
#[async_trait]
impl Middleware for ReplayAuthLayer {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let again = request.duplicate();
        let sent = send(self.authorizer(), request, extensions, next.clone()).await?;
        let (sent, mut response) = sent;
        let rejected = response.rejected(sent).map(|rejected| *rejected);
        let replacement = rejected.and_then(|rejected| rejected.replacement());
        let (Some(mut again), Some(replacement)) = (again, replacement) else {
            return Ok(response);
        };
        let Some(token) = replacement.await else {
            return Ok(response);
        };
        // The connection is free for the second sending.
        drop(response);
        let sent = token.set(again.headers_mut());
        let mut response = next.run(again, extensions).await?;
        self.authorizer().on_response(sent, &mut response);
        if let Some(rejected) = response.rejected(sent) {
            *rejected = rejected.replayed();
        }
        Ok(response)
    }
}

/// Sets the header, sends the request, and reads what the answer says about the token.
pub(crate) async fn send(
    authorizer: &Authorizer,
    mut request: Request,
    extensions: &mut Extensions,
    next: Next<'_>,
) -> Result<(SentToken, Response)> {
    let context = extensions.get::<TokenContext>();
    let decision = ask(&mut request, |target, headers| {
        authorizer.decide(target, context, headers)
    });
    let sent = decision.finish(request.headers_mut()).await;
    let sent = sent.map_err(|error| failed(error, NOT_AUTHORISED))?;
    let mut response = next.run(request, extensions).await?;
    authorizer.on_response(sent, &mut response);
    Ok((sent, response))
}

const NOT_AUTHORISED: &str = "the request was not authorised";

/// Their error gives for its cause the cause of what it holds, where ours would not be found: so it holds
/// ours with a sentence before it. It can still be downcast to ours.
pub(crate) fn failed(error: Error, sentence: &'static str) -> reqwest_middleware::Error {
    use reqwest_middleware::Error::Middleware;

    match reqwest_middleware::Error::middleware(error) {
        Middleware(error) => Middleware(error.context(sentence)),
        other => other,
    }
}
