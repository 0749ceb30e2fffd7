//! What a fetch needs: whose token, where from, and what all fetches from one authority share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{GRACE, Limiter, Turn};
use crate::cache::Identity;
use crate::cache::entry::{Origin, Snapshot};
use crate::cache::limiter::Member;
use crate::clock::AnyClock;
use crate::error::{Error, Result};
use crate::fetch_limits::FetchLimits;
use crate::quiet::Quiet;
use crate::request::TokenRequest;
use crate::retry::DEADLINE;
use crate::source::SourceIdentity;
use crate::stats::{QueueStats, Tally};
use crate::token::AccessToken;

/// What all fetches from one authority share.
#[derive(Clone)]
pub(crate) struct Fetching {
    pub(crate) limiter: Arc<Limiter>,
    /// How long a caller waits for its turn.
    pub(crate) patience: Duration,
    pub(crate) clock: AnyClock,
    pub(crate) tally: Arc<Tally>,
}

impl Fetching {
    pub(crate) fn new(limits: FetchLimits, clock: AnyClock, tally: Arc<Tally>) -> Self {
        let of_limiter = clock.clone();
        let lease = DEADLINE + GRACE;
        Self {
            limiter: Arc::new(Limiter::new(limits.permits, lease, move || {
                of_limiter.now()
            })),
            patience: limits.wait,
            clock,
            tally,
        }
    }
}

impl Limiter {
    pub(crate) fn stats(&self) -> QueueStats {
        let standing = self.standing();
        QueueStats {
            waiting: standing.waiting,
            longest_wait: standing.longest_wait,
            permits: standing.permits,
            in_use: standing.in_use,
            open_circuits: standing.open_circuits,
        }
    }
}

impl fmt::Debug for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it is printed to is foreign code: the limiter's lock is not taken.
        f.debug_struct("Fetching").finish_non_exhaustive()
    }
}

/// What a fetch needs. It is all that a fetch holds: none keeps its entry.
pub(crate) struct Errand {
    pub(super) token: u64,
    pub(super) identity: Identity,
    pub(super) origin: Origin,
    pub(super) member: Member<Turn>,
    pub(super) clock: AnyClock,
    pub(super) tally: Arc<Tally>,
    /// How often it is logged that it brought nothing.
    pub(super) failures: Quiet,
    /// Whether an API has not accepted the last token, and no other was asked for since.
    pub(super) rejected: AtomicBool,
    /// How long a caller waits for its turn.
    pub(super) patience: Duration,
}

// ===== impl Errand =====

impl Errand {
    pub(crate) fn new(token: u64, identity: Identity, origin: Origin, fetching: &Fetching) -> Self {
        Self {
            member: fetching.limiter.join(identity.request.tenant()),
            token,
            identity,
            origin,
            clock: fetching.clock.clone(),
            tally: Arc::clone(&fetching.tally),
            failures: Quiet::default(),
            rejected: AtomicBool::new(false),
            patience: fetching.patience,
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the source is now: a failure is forgotten when it has become another.
    pub(crate) fn revision(&self) -> u64 {
        match &self.origin {
            Origin::Source(source) => source.revision(),
            Origin::Exchange(exchange) => exchange.parent().errand().revision(),
        }
    }

    /// How often circuits were closed on whose account failures are remembered.
    pub(crate) fn recoveries(&self) -> u64 {
        let own = self.member.recoveries();
        match &self.origin {
            Origin::Source(_) => own,
            // A failure of the parent is remembered here too.
            Origin::Exchange(exchange) => own.wrapping_add(exchange.parent().errand().recoveries()),
        }
    }

    /// How long a caller waits for its turn.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Notes that the last token was rejected: a source that keeps tokens is to pass it over.
    pub(crate) fn reject(&self) {
        self.rejected.store(true, Ordering::Relaxed);
    }

    /// Asks for the token, of the parent's where it is made of that.
    pub(super) async fn fetch(&self, parent: Option<&Arc<Snapshot>>) -> Result<AccessToken> {
        match &self.origin {
            Origin::Source(source) => {
                let request = &self.identity.request;
                let rejected = || self.rejected.load(Ordering::Relaxed);
                if !rejected() {
                    let token = source.fetch(request).await?;
                    // Not taken back here: it may be set at this moment, by one that this fetch is too late for.
                    if !rejected() {
                        return Ok(token);
                    }
                    // One that was rejected meanwhile may be the very token that a source has kept.
                    if !source.keeps_tokens() {
                        self.rejected.store(false, Ordering::Relaxed);
                        return Ok(token);
                    }
                }
                let token = source.fetch_anew(request).await?;
                // What is asked for after this one may come from a source's memory again.
                self.rejected.store(false, Ordering::Relaxed);
                Ok(token)
            }
            Origin::Exchange(exchange) => exchange.fetch(parent).await,
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn request(&self) -> &TokenRequest {
        &self.identity.request
    }

    /// Whose tokens are fetched now: after another client's credentials were taken, no longer those that the entry
    /// was made for.
    pub(crate) fn source_identity(&self) -> SourceIdentity {
        match &self.origin {
            Origin::Source(source) => source.identity(),
            Origin::Exchange(exchange) => exchange.parent().errand().source_identity(),
        }
    }

    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Whether the source keeps tokens, as a sidecar does.
    pub(crate) fn is_from_sidecar(&self) -> bool {
        match &self.origin {
            Origin::Source(source) => source.keeps_tokens(),
            Origin::Exchange(exchange) => exchange.parent().errand().is_from_sidecar(),
        }
    }

    /// Logs that a fetch brought nothing, once in a while.
    pub(super) fn log(&self, error: &Error) {
        let authority = self.tally.kind().authority();
        // What comes from memory was logged when it was met.
        if error.retry_at().is_some() {
            tracing::debug!(
                target: "maskinporten::token",
                authority,
                %error,
                "the token was not asked for: another failure is remembered"
            );
        } else if let Some(suppressed) = self.failures.may_tell(self.clock.now()) {
            tracing::warn!(
                target: "maskinporten::token",
                authority,
                scopes = %self.identity.request.scope_set(),
                %error,
                code = error.code(),
                trace_id = error.trace_id(),
                hint = error.hint(),
                suppressed,
                "no token was fetched"
            );
        }
    }

    /// Logs that the authority's circuit has opened: without a word about the identity that was the last to fail.
    pub(super) fn log_opened(&self, error: &Error) {
        let error = error.of_others();
        if let Some(suppressed) = self.tally.may_report_open_circuit(self.clock.now()) {
            tracing::warn!(
                target: "maskinporten::token",
                authority = self.tally.kind().authority(),
                %error,
                code = error.code(),
                hint = error.hint(),
                suppressed,
                "the circuit is open: but for probes, no tokens are fetched until one succeeds"
            );
        }
    }
}
