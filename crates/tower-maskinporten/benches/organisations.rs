//! P14: what a call on behalf of an organisation costs when its token is already there.
//!
//! - Contexts are built once for each organisation, and each call inserts a clone of the next one into
//!   the request. They ask for a `consumer_org` or for a `system_user`.
//! - Among 64 organisations the figure is instructions above *the layer's own token with the same
//!   context inserted*. No layer of ours can be called so: one that expects contexts uses the context,
//!   any other refuses the request. The baseline is therefore the sum of a call for the layer's own token
//!   without a context and of what inserting the same context adds to a static header. Looking for
//!   the context in the request's extensions is part of the figure, not of the baseline.
//! - Among 1 000 and 5 000 the figures are multiples of a static header with the same context inserted:
//!   in time, the memory that so many contexts and tokens take counts as well.
//! - Allocations are those beyond the static header's: a context in a request is in a box of its caller's.
//! - A caller's own sensitive `Authorization` makes the layer ask whether it is a token of the library's: among
//!   5 000 kept tokens that must take no longer than among 64.
//! - Two threads share all contexts and one service; each goes through all contexts, from another start.
//!   The control is a static header and contexts for each thread and shares nothing.
//! - Each figure is the worst of the three [ways](Way) of use; the note has all of them.
//!
//! ```text
//! organisations                                  judges P14
//! organisations count   KIND ORGANISATIONS WAY context|displacing|own|static|bare CALLS
//! organisations time    KIND ORGANISATIONS WAY   pairs of nanoseconds a call, as JSON
//! organisations threads KIND ORGANISATIONS WAY   pairs of calls a second, as JSON
//! ```

#![allow(
    clippy::expect_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

mod call;

use std::hint::black_box;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use maskinporten_measure::{self as measure, Bound, Figure, Report, Result, Speedup, Unit};
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::maskinporten::{
    AccessToken, BoxFuture, MaskinportenClient, SourceIdentity, SystemUser, TokenContext,
    TokenRequest, TokenSource,
};
use tower_maskinporten::{BearerAuth, MaskinportenAuthLayer, maskinporten};

use call::{Echo, ORIGIN, Subject, Way, fixed, request, run, run_by_reference, token};

const FEW: usize = 64;
const MANY: [usize; 2] = [1_000, 5_000];
/// More than any run has: no organisation is evicted.
const MAX_IDENTITIES: usize = 10_000;

const ABOVE_OWN_TOKEN: Bound = Bound::at_most(500.0, Unit::Instructions);
const BY_STATIC: Bound = Bound::at_most(2.5, Unit::Ratio);

const DISPLACING: Bound = Bound::at_most(1.1, Unit::Ratio);

const TIME_PROCESSES: usize = 7;
const TIME_PAIRS: usize = 51;
/// Calls in each half of a pair, in whole rounds through all organisations.
const TIME_CALLS: usize = 5_000;

const ALLOCATIONS: Bound = Bound::exactly(0.0, Unit::Count);

const TWO_THREADS: Bound = Bound::at_least(1.8, Unit::Ratio);
const THREAD_BATCH: usize = 200;

fn main() {
    let arguments = measure::arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => judge(),
        ["count", kind, organisations, way, subject, calls] => {
            let calls = calls.parse().expect("a number of calls");
            Case::named(kind, organisations, way).count(subject, calls);
        }
        ["time", kind, organisations, way] => {
            println!("{}", Case::named(kind, organisations, way).time_pairs());
        }
        ["threads", kind, organisations, way] => {
            println!("{}", Case::named(kind, organisations, way).threads());
        }
        _ => panic!("see the top of this file for the arguments"),
    }
}

fn judge() {
    let mut report = Report::new("P14");
    for kind in Kind::ALL {
        let name = kind.name();
        let what = format!("instructions above the own token, {name}, {FEW}");
        let few = worst(ABOVE_OWN_TOKEN, kind, FEW, Case::above_own_token);
        report.measured(what, ABOVE_OWN_TOKEN, few);
        for many in MANY {
            let what = format!("instructions ÷ a static header's, {name}, {many}");
            let instructions = worst(BY_STATIC, kind, many, Case::instructions_by_static);
            report.measured(what, BY_STATIC, instructions);
        }
        for many in MANY {
            let what = format!("time ÷ a static header's, {name}, {many}");
            report.measured(what, BY_STATIC, worst(BY_STATIC, kind, many, Case::time));
        }
        for organisations in [FEW].into_iter().chain(MANY) {
            let what = format!("heap allocations, {name}, {organisations}");
            let allocations = worst(ALLOCATIONS, kind, organisations, Case::allocations);
            report.measured(what, ALLOCATIONS, allocations);
        }
        for organisations in [FEW].into_iter().chain(MANY) {
            let what = format!("two threads ÷ one, {name}, {organisations}");
            let speedup = worst(TWO_THREADS, kind, organisations, Case::speedup);
            report.measured(what, TWO_THREADS, speedup);
        }
    }
    let what = "instructions where a caller's sensitive header is displaced, 5000 tokens kept ÷ 64";
    report.measured(what, DISPLACING, displacing());
}

/// What recognising a caller's own header takes among many kept tokens, as a multiple of among few.
fn displacing() -> Result<Figure> {
    let among = |organisations| {
        let (kind, way) = (Kind::ConsumerOrg, Way::ALL[0]);
        let case = Case {
            kind,
            organisations,
            way,
        };
        case.instructions("displacing")
    };
    let (many, few) = (among(MANY[1])?, among(FEW)?);
    Ok(Figure::new(many / few).with_note(format!("{many:.0} ÷ {few:.0}")))
}

/// The worst figure of the three ways.
fn worst(
    bound: Bound,
    kind: Kind,
    organisations: usize,
    measure: fn(&Case) -> Result<Figure>,
) -> Result<Figure> {
    let figures = Way::ALL.map(|way| {
        let case = Case {
            kind,
            organisations,
            way,
        };
        Ok((way.name(), measure(&case)?))
    });
    let figures = figures.into_iter().collect::<Result<Vec<_>>>()?;
    Figure::worst(bound, figures).ok_or_else(|| "there are no ways".into())
}

// ===== the subjects =====

/// What the contexts ask for.
#[derive(Clone, Copy, Debug)]
enum Kind {
    ConsumerOrg,
    SystemUser,
}

impl Kind {
    const ALL: [Self; 2] = [Self::ConsumerOrg, Self::SystemUser];

    fn name(self) -> &'static str {
        match self {
            Self::ConsumerOrg => "consumer_org",
            Self::SystemUser => "system_user",
        }
    }

    fn context(self, organisation: &str) -> maskinporten::Result<TokenContext> {
        let context = TokenContext::new();
        match self {
            Self::ConsumerOrg => context.consumer_org(organisation),
            Self::SystemUser => Ok(context.system_user(SystemUser::new(organisation)?)),
        }
    }

    fn contexts(self, count: usize) -> Vec<TokenContext> {
        let organisations = (81_000_000..).filter_map(with_control_digit).take(count);
        organisations
            .map(|number| self.context(&number).expect("a context"))
            .collect()
    }
}

/// An organisation number of eight digits and their control digit (modulus 11), where there is one.
fn with_control_digit(number: u32) -> Option<String> {
    let digits = number.to_string();
    let weighted = digits.bytes().zip([3, 2, 7, 6, 5, 4, 3, 2]);
    let sum: u32 = weighted.map(|(d, w)| u32::from(d - b'0') * w).sum();
    match (11 - sum % 11) % 11 {
        10 => None,
        control => Some(format!("{number}{control}")),
    }
}

/// Answers every request at once with the same token.
#[derive(Debug)]
struct Given(SourceIdentity, String);

impl TokenSource for Given {
    fn identity(&self) -> SourceIdentity {
        self.0.clone()
    }

    fn fetch<'a>(
        &'a self,
        _: &'a TokenRequest,
    ) -> BoxFuture<'a, maskinporten::Result<AccessToken>> {
        Box::pin(async { AccessToken::new(&self.1, Duration::from_secs(3600)) })
    }
}

/// The layer on a client that has its own token and one for each context.
fn ours(contexts: &[TokenContext]) -> BearerAuth<Echo> {
    let source = Given(
        SourceIdentity::new("https://issuer.example.no/", "client"),
        token(),
    );
    let client = MaskinportenClient::builder()
        .source(source)
        .max_identities(MAX_IDENTITIES)
        .build()
        .expect("a client");
    let layer = MaskinportenAuthLayer::new(&client, ["a:b"], ORIGIN).expect("a layer");
    let service = layer.optional_context().layer(Echo);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let own = [request()].into_iter();
        let on_behalf = contexts.iter().map(|context| {
            let mut request = request();
            request.extensions_mut().insert(context.clone());
            request
        });
        for request in own.chain(on_behalf) {
            let mut service = service.clone();
            let service = service.ready().await.expect("the echo is ready");
            service.call(request).await.expect("the call succeeds");
        }
    });
    service
}

/// Inserts a clone of the next context into each request, all of them in turn.
fn inserting(contexts: &[TokenContext], mut next: usize) -> impl FnMut(&mut Request<()>) {
    move |request| {
        request.extensions_mut().insert(contexts[next].clone());
        next = (next + 1) % contexts.len();
    }
}

// ===== the measurements =====

#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    organisations: usize,
    way: Way,
}

impl Case {
    fn named(kind: &str, organisations: &str, way: &str) -> Self {
        let mut kinds = Kind::ALL.into_iter();
        Self {
            kind: kinds
                .find(|known| known.name() == kind)
                .expect("consumer_org or system_user"),
            organisations: organisations.parse().expect("a number of organisations"),
            way: Way::named(way),
        }
    }

    fn contexts(&self) -> Vec<TokenContext> {
        self.kind.contexts(self.organisations)
    }

    /// The arguments by which this program measures the case again.
    fn again<T>(&self, verb: &str, more: &[&str], run: impl FnOnce(&[&str]) -> T) -> T {
        let organisations = self.organisations.to_string();
        let case = [verb, self.kind.name(), &organisations, self.way.name()];
        run(&[&case, more].concat())
    }

    fn instructions(&self, subject: &str) -> Result<f64> {
        // Whole rounds, and two before the first that counts: then nothing is met for the first time.
        let round = self.organisations * 1_000_usize.div_ceil(self.organisations);
        self.again("count", &[subject], |args| {
            measure::instructions(args, [2 * round, 4 * round])
        })
    }

    fn above_own_token(&self) -> Result<Figure> {
        let (context, own) = (self.instructions("context")?, self.instructions("own")?);
        let inserting = self.instructions("static")? - self.instructions("bare")?;
        let note = format!("{context:.0} − {own:.0} − {inserting:.0} to insert");
        Ok(Figure::new(context - own - inserting).with_note(note))
    }

    fn instructions_by_static(&self) -> Result<Figure> {
        let (context, fixed) = (self.instructions("context")?, self.instructions("static")?);
        Ok(Figure::new(context / fixed).with_note(format!("{context:.0} ÷ {fixed:.0}")))
    }

    fn count(&self, subject: &str, calls: usize) {
        let (way, contexts) = (self.way, self.contexts());
        let insert = inserting(&contexts, 0);
        black_box(match subject {
            "context" => run(&mut ours(&contexts), way, calls, request(), insert),
            "displacing" => {
                let mut theirs = HeaderValue::from_static("Bearer their-own");
                theirs.set_sensitive(true);
                let (mut insert, theirs) = (insert, theirs);
                let insert = |request: &mut Request<()>| {
                    insert(request);
                    request.headers_mut().insert(AUTHORIZATION, theirs.clone());
                };
                run(&mut ours(&contexts), way, calls, request(), insert)
            }
            "own" => run(&mut ours(&contexts), way, calls, request(), |_| {}),
            "static" => run(&mut fixed(), way, calls, request(), insert),
            "bare" => run(&mut fixed(), way, calls, request(), |_| {}),
            _ => panic!("context, displacing, own, static or bare"),
        });
    }

    fn time(&self) -> Result<Figure> {
        let processes = self.again("time", &[], |args| measure::processes(TIME_PROCESSES, args))?;
        let ratio = measure::median_of_processes(&processes, "", TIME_PAIRS)?;
        Ok(Figure::new(ratio).with_samples(processes.into()))
    }

    fn time_pairs(&self) -> Value {
        let contexts = self.contexts();
        let ours = self.timed(ours(&contexts), &contexts);
        json!(measure::pairs(
            TIME_PAIRS,
            ours,
            self.timed(fixed(), &contexts)
        ))
    }

    /// Nanoseconds for one call, each time it is asked.
    fn timed<S: Subject>(&self, mut service: S, contexts: &[TokenContext]) -> impl FnMut() -> f64 {
        let (way, round) = (self.way, self.organisations);
        let mut insert = inserting(contexts, 0);
        let mut request = run(&mut service, way, 2 * round, request(), &mut insert);
        move || {
            measure::nanoseconds_each(TIME_CALLS, || {
                let request_now = std::mem::take(&mut request);
                request = run(&mut service, way, TIME_CALLS, request_now, &mut insert);
            })
        }
    }

    fn allocations(&self) -> Result<Figure> {
        let contexts = self.contexts();
        let ours = self.counted(ours(&contexts), &contexts);
        let fixed = self.counted(fixed(), &contexts);
        let note = format!("{ours} − {fixed} in {} calls", self.organisations);
        Ok(Figure::new(ours - fixed).with_note(note))
    }

    /// Heap allocations of one round.
    fn counted<S: Subject>(&self, mut service: S, contexts: &[TokenContext]) -> f64 {
        let (way, round) = (self.way, self.organisations);
        let mut insert = inserting(contexts, 0);
        let request = run(&mut service, way, 2 * round, request(), &mut insert);
        let mut kept = None;
        let counted = allocation_counter::measure(|| {
            kept = Some(run(&mut service, way, round, request, insert));
        });
        counted.count_total as f64
    }

    fn speedup(&self) -> Result<Figure> {
        self.again("threads", &[], Speedup::of_processes)?.figure()
    }

    fn threads(&self) -> Value {
        let (way, round) = (self.way, self.organisations);
        let contexts = self.contexts();
        let shared = ours(&contexts);
        let (contexts, shared) = (&contexts, &shared);
        let start = |thread: usize| thread * round / 2;
        let ours = |thread| {
            // What is kept is a clone.
            let mut kept = shared.clone();
            let mut insert = inserting(contexts, start(thread));
            let mut calls = move |calls, request| match way {
                Way::Kept => run(&mut kept, way, calls, request, &mut insert),
                _ => run_by_reference(shared, way, calls, request, &mut insert),
            };
            let mut request = calls(round, request());
            move || {
                request = calls(THREAD_BATCH, std::mem::take(&mut request));
                THREAD_BATCH
            }
        };
        let control = |thread| {
            let own = self.contexts();
            let mut service = fixed();
            let mut next = start(thread);
            let mut request = request();
            move || {
                let request_now = std::mem::take(&mut request);
                let mut insert = inserting(&own, next);
                request = run(&mut service, way, THREAD_BATCH, request_now, &mut insert);
                next = (next + THREAD_BATCH) % round;
                THREAD_BATCH
            }
        };
        measure::speedup(ours, control)
    }
}
