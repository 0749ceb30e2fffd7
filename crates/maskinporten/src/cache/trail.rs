//! A flight as traces show it: a span of its own, which follows from those of the requests it is for.
//!
//! - There is a span for a flight and none for a token that is there.
//! - It has no parent: a request that gave up is over before the flight is, and others wait for it too.
//! - It bears no token, assertion or key, nor anything of an answer but its code and trace id.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{self, Empty};
use tracing::level_filters::LevelFilter;
use tracing::{Span, info_span};

use crate::cache::entry::state::Takeoff;
use crate::cache::fetch::Errand;
use crate::clock::Moment;
use crate::error::Result;
use crate::request::TokenKind;
use crate::stats::known_code;
use crate::token::AccessToken;

/// How many requests a flight's span follows from at most: of a thousand that wait, the first few tell
/// the story.
const FOLLOWED: usize = 16;

/// The spans that a flight's follows from.
#[derive(Default)]
pub(super) struct Trail {
    // Taken for a few reads and writes by functions that are not async. No span is made, cloned, linked or
    // dropped under it: each of these calls a subscriber.
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    stage: Stage,
    followed: usize,
}

enum Stage {
    /// The task has not begun: these wait to be followed.
    Waiting(Vec<Span>),
    Flying(Arc<Span>),
    Over,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

impl Trail {
    /// Begins the flight's span.
    pub(super) fn begin(&self, span: &Span) {
        let waiting = match self.swap(Stage::Flying(Arc::new(span.clone()))) {
            Stage::Waiting(spans) => spans,
            Stage::Flying(_) | Stage::Over => Vec::new(),
        };
        for caller in &waiting {
            span.follows_from(caller);
        }
    }

    /// Lets go of all spans, so that whoever waits keeps none of them open.
    pub(super) fn end(&self) {
        self.swap(Stage::Over);
    }

    /// Has the flight's span follow from the one in which this is called.
    pub(super) fn follow_caller(&self) {
        // One read where nobody listens.
        if LevelFilter::current() < LevelFilter::INFO {
            return;
        }
        let caller = Span::current();
        if !caller.is_disabled() {
            self.follow(caller);
        }
    }

    fn follow(&self, caller: Span) {
        let flight = {
            let mut book = self.book.lock();
            if book.followed == FOLLOWED {
                return;
            }
            book.followed += 1;
            match &mut book.stage {
                Stage::Waiting(spans) => {
                    spans.push(caller);
                    return;
                }
                Stage::Flying(flight) => Arc::clone(flight),
                Stage::Over => return,
            }
        };
        flight.follows_from(&caller);
    }

    /// What is given is dropped outside the lock.
    fn swap(&self, stage: Stage) -> Stage {
        std::mem::replace(&mut self.book.lock().stage, stage)
    }
}

/// The span of a flight that is about to begin.
pub(super) fn span(errand: &Errand, takeoff: Takeoff) -> Span {
    // The macro wants each name and target where it is called.
    macro_rules! span {
        ($target:literal, $name:literal) => {{
            let (request, source) = (errand.request(), errand.source_identity());
            info_span!(
                target: $target,
                parent: None,
                $name,
                maskinporten.authority = errand.tally().kind().authority(),
                maskinporten.scopes = %request.scope_set(),
                maskinporten.client_id = source.client_id(),
                maskinporten.consumer_org = request.consumer().map(field::display),
                maskinporten.source = if errand.is_from_sidecar() { "sidecar" } else { "direct" },
                maskinporten.cache = if takeoff.renews() { "stale" } else { "miss" },
                maskinporten.kid = Empty,
                maskinporten.token.expires_in_s = Empty,
                error.r#type = Empty,
                maskinporten.error_code = Empty,
                maskinporten.trace_id = Empty,
            )
        }};
    }
    match errand.tally().kind() {
        TokenKind::Maskinporten => span!("maskinporten::token", "maskinporten.token"),
        TokenKind::Altinn => span!("maskinporten::exchange", "altinn.exchange"),
    }
}

/// Records in the span of this flight how it went.
pub(super) fn record(fetched: &Result<(AccessToken, Moment)>) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    match fetched {
        Ok((token, _)) => {
            span.record(
                "maskinporten.token.expires_in_s",
                token.lifetime().as_secs(),
            );
        }
        Err(error) => {
            span.record("error.type", error.kind().name());
            if let Some(code) = known_code(error) {
                span.record("maskinporten.error_code", code);
            }
            if let Some(trace_id) = error.trace_id() {
                span.record("maskinporten.trace_id", trace_id);
            }
        }
    }
}

/// Records in the span of this flight which key has signed.
pub(crate) fn record_key(shown: impl FnOnce() -> String) {
    let span = Span::current();
    if !span.is_disabled() {
        span.record("maskinporten.kid", shown());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::{self, Subscriber};
    use tracing::{Event, Metadata};

    use super::*;

    /// Asserts that a trail's lock is free whenever it is called.
    struct Listener {
        trail: Arc<Trail>,
        calls: Arc<AtomicU64>,
    }

    impl Listener {
        fn called(&self) -> u64 {
            assert!(self.trail.book.try_lock().is_some());
            self.calls.fetch_add(1, Ordering::Relaxed) + 1
        }
    }

    impl Subscriber for Listener {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(self.called())
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {
            self.called();
        }

        fn event(&self, _: &Event<'_>) {}

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}

        fn clone_span(&self, id: &Id) -> Id {
            self.called();
            id.clone()
        }

        fn try_close(&self, _: Id) -> bool {
            self.called();
            true
        }
    }

    #[test]
    fn a_subscriber_is_called_under_no_lock() {
        let (trail, calls) = (Arc::new(Trail::default()), Arc::default());
        let listener = Listener {
            trail: Arc::clone(&trail),
            calls: Arc::clone(&calls),
        };
        subscriber::with_default(listener, || {
            trail.follow(info_span!("waits before the flight begins"));
            trail.begin(&info_span!("flight"));
            for _ in 0..2 * FOLLOWED {
                trail.follow(info_span!("waits while it flies"));
            }
            trail.end();
            trail.follow(info_span!("comes late"));
        });
        assert!(calls.load(Ordering::Relaxed) > 0);
    }
}
