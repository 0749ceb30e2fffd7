//! Re-entrant calls: code that users implement may call the client that calls it, since the engine holds no
//! lock then that another call waits for.
//!
//! - A client is walked through its whole life ([`walk`]) while all foreign code of one kind calls back into
//!   it: on its own thread, or on another thread that it waits for.
//! - A lock that is held around such a call blocks the walk for ever. A watchdog says where.

mod foreign;
mod reentry;
mod walk;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Uri};
use maskinporten::{Decision, MaskinportenClient};
use tokio::runtime::Builder;

use crate::child;
use crate::world::{self, A, API, SCOPES};
use reentry::{Kind, Reentry, Way};

/// The longest that one walk may take: it takes less than a second, and some with thousands of calls a few.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many of a walk's calls are tried as the one at which the client loses its tokens, or is shut down.
const TRIED: usize = 8;

/// Walks a client through its life once for each way to call back: a client that fetches by signed grants, and
/// one whose tokens come from a source.
#[track_caller]
fn check(kind: Kind) {
    let is_source: &[bool] = match kind {
        Kind::Signer | Kind::Settings => &[false],
        Kind::Source => &[true],
        _ => &[false, true],
    };
    for &is_source in is_source {
        let calls = walk(kind, Way::Here, is_source);
        assert!(calls > 0, "{kind:?} is not called");
        walk(kind, Way::Elsewhere, is_source);
        for at in (0..calls).step_by(calls.div_ceil(TRIED)) {
            walk(kind, Way::Void(at), is_source);
            walk(kind, Way::Shutdown(at), is_source);
        }
    }
}

/// One walk, on a thread that is left behind where it is blocked. Returns how often the client was called.
#[track_caller]
fn walk(kind: Kind, way: Way, is_source: bool) -> usize {
    let reentry = Reentry::new(kind, way);
    let (done, is_done) = mpsc::channel();
    let walker = thread::spawn({
        let reentry = reentry.clone();
        move || {
            let mut runtime = Builder::new_current_thread();
            let runtime = runtime.enable_all().start_paused(true).build().unwrap();
            runtime.block_on(walk::walk(&reentry, is_source));
            drop(runtime);
            done.send(()).unwrap();
        }
    });
    match is_done.recv_timeout(PATIENCE) {
        Ok(()) => reentry.calls(),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!(
            "{kind:?}, {way:?}: the engine waits for a lock that it holds; {}",
            reentry.place()
        ),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let place = reentry.place();
            let why = walker.join().unwrap_err();
            let why = why.downcast_ref::<String>();
            panic!("{kind:?}, {way:?}: {why:?}; {place}");
        }
    }
}

#[test]
fn a_clock_may_call_the_client() {
    check(Kind::Clock);
}

#[test]
fn a_signer_may_call_the_client() {
    check(Kind::Signer);
}

#[test]
fn a_token_source_may_call_the_client() {
    check(Kind::Source);
}

#[test]
fn a_settings_source_may_call_the_client() {
    check(Kind::Settings);
}

#[test]
fn a_transport_may_call_the_client() {
    check(Kind::Transport);
}

#[test]
fn a_token_provider_may_call_the_client() {
    check(Kind::Provider);
}

#[test]
fn a_final_uri_may_call_the_client() {
    check(Kind::FinalUri);
}

/// In a separate process: a subscriber decides what callsites do for all tests of a process.
#[test]
fn a_subscriber_may_call_the_client() {
    if !child::is_here() {
        child::run("reentrant::a_subscriber_may_call_the_client", &[]);
        return;
    }
    check(Kind::Subscriber);
}

#[test]
fn a_recorder_may_call_the_client() {
    check(Kind::Recorder);
}

#[test]
fn a_waker_may_call_the_client() {
    check(Kind::Waker);
}

#[test]
fn a_value_that_is_dropped_may_call_the_client() {
    check(Kind::Value);
}

#[test]
fn what_is_printed_and_printed_to_may_call_the_client() {
    check(Kind::Print);
}

/// The owner of a header's bytes, whose `Drop` declares every token void.
struct Voids(MaskinportenClient);

impl AsRef<[u8]> for Voids {
    fn as_ref(&self) -> &[u8] {
        b"Basic Zm9yZWlnbg=="
    }
}

impl Drop for Voids {
    fn drop(&mut self) {
        self.0.invalidate_all();
    }
}

#[test]
fn each_header_that_a_cached_token_displaces_may_void_the_tokens_when_it_is_dropped() {
    for displaced in [1, 2] {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let client = world::fixed("token");
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(client.access_token(SCOPES)).unwrap();
            let authorizer = client.authorizer(SCOPES, API).unwrap();
            let mut request = Request::get(A).body(()).unwrap();
            // The first copy of the stripe is made here.
            authorizer.authorize_now(&mut request).unwrap();
            request.headers_mut().clear();
            for _ in 0..displaced {
                let value = Bytes::from_owner(Voids(client.clone()));
                let value = HeaderValue::from_maybe_shared(value).unwrap();
                request.headers_mut().append(AUTHORIZATION, value);
            }
            assert!(authorizer.authorize_now(&mut request).is_none());
            let uri = Uri::from_static(A);
            let decision = authorizer.decide(&uri, None, request.headers_mut());
            assert!(matches!(
                decision,
                Decision::Ready(_) | Decision::Pending(_)
            ));
            drop(request);
            done.send(()).unwrap();
        });
        let is_done = is_done.recv_timeout(Duration::from_secs(10));
        assert!(is_done.is_ok(), "{displaced} displaced: {is_done:?}");
    }
}
