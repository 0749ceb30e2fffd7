//! The exchange: another entry's token, traded for Altinn's.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};

use crate::advice;
use crate::cache::{Entry, Held, Snapshot};
use crate::clock::AnyClock;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange;
use crate::retry::ATTEMPT_TIMEOUT;
use crate::token::AccessToken;
use crate::transport::Transport;

use super::skew::{Skew, shifted};

/// Trades the token of another entry for Altinn's: a second stage with a life of its own.
#[derive(Debug)]
pub(crate) struct AltinnExchange {
    // Held by the entry that this exchange is for: see `Entry::retire`.
    parent: Arc<Entry>,
    url: Uri,
    subscription_key: Option<HeaderValue>,
    transport: Transport,
    clock: AnyClock,
    skew: Arc<Skew>,
}

/// How long after a refused exchange the second attempt is made, with a new Maskinporten token: the
/// refusal may have been Altinn's own trouble, which it does not tell from a bad token.
const SECOND_EXCHANGE_AFTER: Duration = Duration::from_millis(250);

impl AltinnExchange {
    pub(crate) fn new(
        parent: &Held,
        url: Uri,
        subscription_key: Option<HeaderValue>,
        transport: Transport,
        clock: AnyClock,
        skew: Arc<Skew>,
    ) -> Self {
        Self {
            parent: Arc::clone(parent.entry()),
            url,
            subscription_key,
            transport,
            clock,
            skew,
        }
    }

    pub(crate) fn parent(&self) -> &Arc<Entry> {
        &self.parent
    }

    /// The parent's token, fetched where there is none.
    pub(crate) async fn parent_token(&self) -> Result<Arc<Snapshot>> {
        self.hold_parent()?.acquire().await
    }

    /// `parent` is the token that was waited for before this exchange had its turn.
    pub(crate) async fn fetch(&self, parent: Option<&Arc<Snapshot>>) -> Result<AccessToken> {
        let now = self.clock.now();
        let parent = match parent.filter(|parent| parent.serves_who_waited(now)) {
            Some(parent) => Arc::clone(parent),
            None => self.parent_token().await?,
        };
        let refused = match self.exchange(&parent.token).await {
            Err(error) if is_ambiguous(&error) => error,
            outcome => return outcome,
        };
        // Dropped by comparison and asked for once more; a parent forced anew just now is not it.
        let parent = self.hold_parent()?.replaced(parent.generation).await;
        if parent.transpose()?.is_none() {
            return Err(refused);
        }
        tokio::time::sleep(SECOND_EXCHANGE_AFTER).await;
        // Looked at again: the machine may have slept.
        let parent = self.parent_token().await?;
        self.exchange(&parent.token).await
    }

    /// It is held by the entry that this exchange is for, until that is retired: then a flight that was
    /// given up for lost may still ask.
    pub(crate) fn hold_parent(&self) -> Result<Held> {
        Held::try_new(&self.parent).ok_or_else(|| {
            let message = "the token that is exchanged is no longer kept";
            Error::new(ErrorKind::Closed, message).with_advice(&advice::CLOSED)
        })
    }

    async fn exchange(&self, maskinporten: &AccessToken) -> Result<AccessToken> {
        let request = exchange::request(&self.url, maskinporten, self.subscription_key.as_ref());
        let response = self.transport.round_trip(request, ATTEMPT_TIMEOUT).await?;
        exchange::from_response(&response, shifted(self.clock.wall(), self.skew.seconds()))
            .map_err(|error| error.with_endpoint(&self.url))
    }
}

/// Whether Altinn refused with the answer it gives to bad tokens and to its own failures alike. The
/// gateway's refusal for want of a subscription key is another, and no new token mends it.
fn is_ambiguous(error: &Error) -> bool {
    let found = error.advice();
    found.is_some_and(|found| std::ptr::eq(found, &advice::EXCHANGE_REFUSED))
}
