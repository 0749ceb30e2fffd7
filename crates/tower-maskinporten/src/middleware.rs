//! The layers as middleware of `reqwest_middleware` 0.5.
//!
//! The first `with` of its builder is outermost: the auth layer goes last.
//!
//! A request's [`TokenContext`] comes with `RequestBuilder::with_extension` and `send`. `build` and `execute`
//! leave it behind: a layer with `require_context()` then refuses the request.

use async_trait::async_trait;
use http::Extensions;
use maskinporten::{Authorizer, Error, Receipt, TokenContext};
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
        let (receipt, mut response) = sent;
        let rejected = response.rejected(receipt).map(|rejected| *rejected);
        let renewal = rejected.and_then(|rejected| rejected.renewal());
        let (Some(mut again), Some(renewal)) = (again, renewal) else {
            return Ok(response);
        };
        let Some(ticket) = renewal.await else {
            return Ok(response);
        };
        // The connection is free for the second sending.
        drop(response);
        let receipt = ticket.set(again.headers_mut());
        let mut response = next.run(again, extensions).await?;
        self.authorizer().answered(receipt, &mut response);
        if let Some(rejected) = response.rejected(receipt) {
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
) -> Result<(Receipt, Response)> {
    let context = extensions.get::<TokenContext>();
    let passage = ask(&mut request, |target, headers| {
        authorizer.authorize_shared(target, context, headers)
    });
    let receipt = passage.finish(request.headers_mut()).await;
    let receipt = receipt.map_err(|error| failed(error, "the request was not authorised"))?;
    let mut response = next.run(request, extensions).await?;
    authorizer.answered(receipt, &mut response);
    Ok((receipt, response))
}

/// Their error gives for its cause the cause of what it holds, where ours would not be found: so it holds
/// ours with a sentence before it. It can still be downcast to ours.
pub(crate) fn failed(error: Error, sentence: &'static str) -> reqwest_middleware::Error {
    use reqwest_middleware::Error::Middleware;

    match reqwest_middleware::Error::middleware(error) {
        Middleware(error) => Middleware(error.context(sentence)),
        other => other,
    }
}
