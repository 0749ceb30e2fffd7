//! What a caller does, and what it may be given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use http::Request;
use http::header::AUTHORIZATION;
use maskinporten::{Error, ErrorKind};

use super::servers::{Whose, number, number_in};
use super::{Caller, Orders, Woken};
use crate::world::API;

impl Orders {
    pub(super) fn call(&mut self, whose: Whose) -> bool {
        if self.callers.len() == 8 {
            return false;
        }
        self.calls += 1;
        let client = self.client.clone();
        let door = self.doors[whose as usize].clone();
        let by_hand = self.calls.is_multiple_of(3);
        let call = async move {
            if by_hand {
                let scopes = [whose.scope()];
                let token = match whose {
                    Whose::Altinn => client.altinn_token(scopes).await?,
                    _ => client.access_token(scopes).await?,
                };
                return Ok((number(token.expose()), None));
            }
            // As a layer does.
            let mut request = Request::get(API).body(()).unwrap();
            let context = whose.context();
            if let Some(context) = &context {
                request.extensions_mut().insert(context.clone());
            }
            let sent = match door.authorize_now(&mut request) {
                Some(sent) => sent,
                None => {
                    let (uri, headers) = (request.uri().clone(), request.headers_mut());
                    let decision = door.decide(&uri, context.as_ref(), headers);
                    decision.finish(headers).await?
                }
            };
            Ok((number_in(&request.headers()[AUTHORIZATION]), Some(sent)))
        };
        self.callers.push(Caller {
            whose,
            call: Box::pin(call),
            woken: Arc::new(Woken(AtomicBool::new(false))),
            waits: false,
            landings: 0,
            tokens: 0,
            answers: 0,
            doubtful: false,
        });
        true
    }

    pub(super) fn poll_all(&mut self) -> bool {
        let waiting = self.callers.len();
        for index in (0..waiting).rev() {
            let _ = self.poll(index);
        }
        waiting > 0
    }

    /// Polls a caller, which leaves if it is done.
    pub(super) fn poll(&mut self, index: usize) -> Poll<()> {
        let now = self.now();
        self.stirred = now;
        let caller = &mut self.callers[index];
        let whose = caller.whose;
        let answers = self.known.iter().map(|known| known.landings).sum();
        let known = &mut self.known[whose as usize];
        let in_hand = known
            .newest
            .filter(|newest| now < self.tokens[*newest].surely_good_until());
        caller.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&caller.woken));
        let polled = caller.call.as_mut().poll(&mut Context::from_waker(&waker));
        let came_now = !caller.waits;
        match polled {
            Poll::Pending => {
                assert!(
                    in_hand.is_none() || (!came_now && caller.tokens == known.tokens),
                    "somebody waits although there is a good token"
                );
                caller.waits = true;
                caller.doubtful |= known.lost.is_some();
                // What is on its way may have landed already, to be counted later. If it has not, whether
                // it wakes this one is seen in the end.
                let uncounted = self.on_the_way.iter().filter(|(of, _)| *of == whose);
                caller.landings = known.landings + uncounted.count();
                caller.tokens = known.tokens;
                caller.answers = answers;
                return Poll::Pending;
            }
            Poll::Ready(Ok((number, sent))) => {
                let token = &self.tokens[number];
                assert_eq!(token.whose, whose, "a token of somebody else's");
                assert!(
                    token.may_be_used(now),
                    "a token that ended at {:?} was given at {now:?}",
                    token.hard()
                );
                if came_now && let Some(newest) = in_hand {
                    assert!(number >= newest, "a newer token was there");
                }
                if let Some(sent) = sent {
                    self.given.push((whose, number, sent));
                }
            }
            Poll::Ready(Err(error)) => {
                assert!(
                    !came_now || in_hand.is_none(),
                    "a failure surfaced although there is a good token: {error:?}"
                );
                let is_older = !came_now && caller.tokens < known.tokens;
                let is_doubtful = caller.doubtful || known.lost.is_some();
                match error.retry_at() {
                    // What a lost flight failed with need not be remembered.
                    _ if is_doubtful => {}
                    Some(_) if is_older => {}
                    // A circuit may have closed since the failure was met.
                    Some(_) if error.is_transient() && caller.answers < answers => {}
                    Some(at) => {
                        let at = self.earliest(at);
                        let known = &mut self.known[whose as usize];
                        known.not_before = known.not_before.max(at);
                        known.ends_with_recovery |= error.is_transient();
                    }
                    None => self.went_down(whose, &error),
                }
            }
        }
        drop(self.callers.remove(index));
        Poll::Ready(())
    }

    /// Only a flight that was lost again and again leaves nothing to remember.
    fn went_down(&self, whose: Whose, error: &Error) {
        let panics = match whose {
            Whose::Altinn => self.known[0].panics + self.known[2].panics,
            _ => self.known[whose as usize].panics,
        };
        assert_eq!(error.kind(), ErrorKind::Runtime, "{error:?}");
        assert!(panics > 0, "{error:?}");
    }

    /// A moment of the wall clock on the other one, by the reading that makes it the earliest.
    fn earliest(&self, at: SystemTime) -> Duration {
        let ahead = self.offsets.iter().max().unwrap();
        let start = self.clocks.wall_at_start();
        let since = at.duration_since(start).unwrap_or_default();
        match u64::try_from(*ahead) {
            Ok(ahead) => since.saturating_sub(Duration::from_secs(ahead)),
            Err(_) => since + Duration::from_secs(ahead.unsigned_abs()),
        }
    }
}
