//! [`Reentry`]: what code that is not the engine's does to the client in the middle of a call from it.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Waker};
use std::thread;

use http::{HeaderMap, Uri};
use maskinporten::{Authorizer, MaskinportenClient, TokenContext, TokenRequest};
use tokio::runtime::Builder;
use tokio::task::yield_now;

use crate::world::{A, SCOPES};

/// Code that users implement and the engine calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Clock,
    Signer,
    Source,
    Settings,
    Transport,
    Provider,
    FinalUri,
    Subscriber,
    Recorder,
    Waker,
    /// `Drop` of values that the engine keeps: errors, headers, panic payloads.
    Value,
    /// `Debug` and `Display` of values that the engine keeps, and the writer it prints to.
    Print,
}

/// What a call does to the client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Each asks for everything once, on the thread that it is called on.
    Here,
    /// Each has another thread do so, which also fetches tokens, and waits for that thread.
    Elsewhere,
    /// One of them, by its number, declares every token void.
    Void(usize),
    /// One of them shuts the client down.
    Shutdown(usize),
}

/// Given to everything that users implement: calls back into the client.
#[derive(Clone)]
pub(super) struct Reentry(Arc<Inner>);

struct Inner {
    kind: Kind,
    way: Way,
    target: Mutex<Option<Target>>,
    calls: AtomicUsize,
    /// How often the other thread has fetched in this stage.
    fetches: AtomicUsize,
    stage: Mutex<&'static str>,
    /// The calls that have not returned.
    under_way: Mutex<Vec<&'static str>>,
    other_thread: OtherThread,
}

/// What is called back into.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) client: MaskinportenClient,
    pub(super) authorizer: Authorizer,
}

/// How often the other thread fetches in one stage: where a refused key has a source looked at, a look that
/// fetches would go on for ever.
const FETCHES: usize = 100;

thread_local! {
    /// Whether a call back is under way: it calls foreign code too, which does not call back again.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Reentry {
    pub(super) fn new(kind: Kind, way: Way) -> Self {
        Self(Arc::new(Inner {
            kind,
            way,
            target: Mutex::new(None),
            calls: AtomicUsize::new(0),
            fetches: AtomicUsize::new(0),
            stage: Mutex::new("start"),
            under_way: Mutex::default(),
            other_thread: OtherThread::start(),
        }))
    }

    /// From here on calls have something to call back into; or no longer.
    pub(super) fn aim(&self, target: Option<Target>) {
        let before = std::mem::replace(&mut *self.0.target.lock().unwrap(), target);
        drop(before);
    }

    pub(super) fn stage(&self, name: &'static str) {
        *self.0.stage.lock().unwrap() = name;
        self.0.fetches.store(0, Ordering::SeqCst);
    }

    /// Whether calls leave the client as it would be without them.
    pub(super) fn only_looks(&self) -> bool {
        matches!(self.0.way, Way::Here)
    }

    pub(super) fn is_of(&self, kind: Kind) -> bool {
        self.0.kind == kind
    }

    pub(super) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Where the test is, for a message.
    pub(super) fn place(&self) -> String {
        let stage = *self.0.stage.lock().unwrap();
        let calls = self.0.under_way.lock().unwrap().clone();
        format!("stage: {stage}; calls that have not returned: {calls:?}")
    }

    /// Called by foreign code: calls back.
    pub(super) fn enter(&self, kind: Kind, call: &'static str) {
        if kind != self.0.kind || INSIDE.get() {
            return;
        }
        let Some(target) = self.0.target.lock().unwrap().clone() else {
            return;
        };
        INSIDE.set(true);
        self.0.under_way.lock().unwrap().push(call);
        let number = self.0.calls.fetch_add(1, Ordering::SeqCst);
        match self.0.way {
            Way::Here => target.look(),
            Way::Elsewhere => {
                let fetches = self.0.fetches.fetch_add(1, Ordering::SeqCst) < FETCHES;
                let job = if fetches {
                    Job::Fetch(target)
                } else {
                    Job::Look(target)
                };
                self.0.other_thread.run(job);
            }
            Way::Void(at) if at == number => {
                target.void();
                self.0.other_thread.run(Job::Void(target));
            }
            Way::Shutdown(at) if at == number => {
                target.shut_down();
                self.0.other_thread.run(Job::ShutDown(target));
            }
            Way::Void(_) | Way::Shutdown(_) => drop(target),
        }
        let mut under_way = self.0.under_way.lock().unwrap();
        if let Some(at) = under_way.iter().position(|other| *other == call) {
            under_way.swap_remove(at);
        }
        drop(under_way);
        INSIDE.set(false);
    }
}

impl fmt::Debug for Reentry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.enter(Kind::Print, "Debug::fmt");
        f.write_str("Reentry")
    }
}

// ===== impl Target =====

impl Target {
    /// Asks for everything that changes no token, and for tokens as far as one poll goes.
    fn look(&self) {
        let Self { client, authorizer } = self;
        drop((client.health(), client.stats()));
        client.publish_metrics();
        let mut printed = String::new();
        write!(printed, "{client:?} {authorizer:?}").unwrap();
        poll_once(pin!(client.access_token(SCOPES)));
        poll_once(pin!(client.altinn_token(SCOPES)));
        let (uri, mut headers) = (Uri::from_static(A), HeaderMap::new());
        poll_once(pin!(authorizer.authorize(&uri, &mut headers)));
        let context = TokenContext::new();
        poll_once(pin!(authorizer.authorize_with(
            &context,
            &uri,
            &mut headers
        )));
        poll_once(pin!(client.warm_up()));
    }

    fn void(&self) {
        self.client.invalidate(SCOPES).unwrap();
        self.client.invalidate_all();
        self.look();
    }

    fn shut_down(&self) {
        poll_once(pin!(self.client.shutdown()));
        self.look();
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    future.poll(&mut context).is_ready()
}

// ===== the other thread =====

enum Job {
    Look(Target),
    Fetch(Target),
    Void(Target),
    ShutDown(Target),
}

/// Does what a call asks for while the call waits.
struct OtherThread(Mutex<mpsc::Sender<(Job, mpsc::SyncSender<()>)>>);

impl OtherThread {
    fn start() -> Self {
        let (sender, jobs) = mpsc::channel::<(Job, mpsc::SyncSender<()>)>();
        thread::spawn(move || {
            INSIDE.set(true);
            for (job, done) in jobs {
                // One that panics is no reason to keep the call waiting.
                let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
                let _ = done.send(());
            }
        });
        Self(Mutex::new(sender))
    }

    fn run(&self, job: Job) {
        let (done, is_done) = mpsc::sync_channel(1);
        let jobs = self.0.lock().unwrap().clone();
        jobs.send((job, done)).unwrap();
        is_done.recv().unwrap();
    }
}

impl Job {
    fn run(self) {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            match self {
                Self::Look(target) => target.look(),
                Self::Fetch(target) => {
                    target.look();
                    target.fetch().await;
                }
                Self::Void(target) => target.void(),
                Self::ShutDown(target) => target.shut_down(),
            }
        });
        // What blocks there may call back too, and would wait for this thread.
        runtime.shutdown_background();
    }
}

impl Target {
    /// Fetches a token that the test does not ask for: as far as it goes without a pause.
    async fn fetch(&self) {
        let request = TokenRequest::scopes(SCOPES).unwrap();
        let request = request.resource("https://other-thread.example.no").unwrap();
        let mut fetched = pin!(self.client.access_token(request));
        for _ in 0..40 {
            if poll_once(fetched.as_mut()) {
                return;
            }
            yield_now().await;
        }
    }
}
