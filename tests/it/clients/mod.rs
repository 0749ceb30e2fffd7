//! The clients that people use, over real sockets: what each does, and that none of them shows a token to
//! whoever is not to see it.
//!
//! | | hyper | reqwest | reqwest-middleware | tonic |
//! | --- | --- | --- | --- | --- |
//! | Cold | Fetched | Fetched | Fetched | Fetched |
//! | Cached | FromCache | FromCache | FromCache | FromCache |
//! | Ageing | RenewedBeside | RenewedBeside | RenewedBeside | RenewedBeside |
//! | Unauthorized | Replayed | Replayed | Replayed | NewForTheNext |
//! | Foreign | Refused | Refused | Refused | Refused |
//! | RedirectWithin | Followed | Followed | Followed | HandedOn |
//! | RedirectToHost | HopRefused | HandedOn | HandedOn | HandedOn |
//! | RedirectToPort | HopRefused | HandedOn | HandedOn | HandedOn |
//! | RedirectToHttps | HopRefused | HandedOn | HandedOn | HandedOn |
//! | RedirectToHttp | HopRefused | HandedOn | HandedOn | HandedOn |
//! | ThereAndBack | HopRefused | HandedOn | HandedOn | HandedOn |
//! | TwoForeignHops | HopRefused | HandedOn | HandedOn | HandedOn |
//! | CallersTimeout | FetchLivesOn | FetchLivesOn | FetchLivesOn | FetchLivesOn |
//! | Cancelled | FetchLivesOn | FetchLivesOn | FetchLivesOn | FetchLivesOn |
//! | Streamed | SentOnce | SentOnce | SentOnce | SentOnce |
//!
//! Each cell is run for Maskinporten's token and for Altinn's; [`Outcome`] tells what a cell states.
//!
//! - hyper: hyper-util's client follows no redirects; tower-http's `FollowRedirect` stands outside the
//!   layer, so that each hop is a request of its own and meets the guard.
//! - reqwest, as a Service, and reqwest-middleware: the client follows redirects itself, below the layer,
//!   by [`same_origin_redirects`](tower_maskinporten::same_origin_redirects): within the origin of the
//!   request. By its default policy it would leave them, see [`redirects`].
//! - tonic: a request has no address above its channel, so that a client has `with_origin` or the layer
//!   `assume_origin`, or nothing is sent. Its 401 is `grpc-status: 16` in the response's headers. A call's
//!   body is a stream, also that of one message, so there is no replay: the next call has the new token. It
//!   follows no redirects; a caller gets a status of code `Unknown` that names the 3xx.
//! - A caller's timeout stands outside the layer, and the wait for a token counts. reqwest's own timeout
//!   begins when the request leaves.

mod cells;
mod place;
mod servers;

mod hyper;
mod middleware;
mod reqwest;
mod tonic;

mod bound;
mod by_hand;
mod named;
mod proxy;
mod redirects;
mod stacked;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use maskinporten::{ErrorKind, TokenKind};

use place::{Guarded, Place};
use servers::Protocol;

macro_rules! situations {
    ($($situation:ident: $outcomes:expr),* $(,)?) => {
        /// A row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Situation {
            $($situation),*
        }

        impl Situation {
            const ALL: &[Self] = &[$(Self::$situation),*];

            /// What is stated of each client, in the order of [`COLUMNS`].
            fn stated(self) -> [Outcome; 4] {
                use Outcome::*;
                match self {
                    $(Self::$situation => $outcomes),*
                }
            }
        }
    };
}

situations! {
    Cold: [Fetched; 4],
    Cached: [FromCache; 4],
    Ageing: [RenewedBeside; 4],
    Unauthorized: [Replayed, Replayed, Replayed, NewForTheNext],
    Foreign: [Refused; 4],
    RedirectWithin: [Followed, Followed, Followed, HandedOn],
    RedirectToHost: [HopRefused, HandedOn, HandedOn, HandedOn],
    RedirectToPort: [HopRefused, HandedOn, HandedOn, HandedOn],
    RedirectToHttps: [HopRefused, HandedOn, HandedOn, HandedOn],
    RedirectToHttp: [HopRefused, HandedOn, HandedOn, HandedOn],
    ThereAndBack: [HopRefused, HandedOn, HandedOn, HandedOn],
    TwoForeignHops: [HopRefused, HandedOn, HandedOn, HandedOn],
    CallersTimeout: [FetchLivesOn; 4],
    Cancelled: [FetchLivesOn; 4],
    Streamed: [SentOnce; 4],
}

/// What a cell states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// One token is fetched, and the request arrives with it.
    Fetched,
    /// The request arrives with the token that was fetched for an earlier one.
    FromCache,
    /// The request arrives with the old token while the new one is waited for by nobody; a later one has
    /// the new one, and that one was fetched once.
    RenewedBeside,
    /// The refused request arrives once more, with a new token, and the caller sees that answer.
    Replayed,
    /// The caller sees the refusal; the next request has a new token.
    NewForTheNext,
    /// The caller gets our error, and nothing was sent to anybody.
    Refused,
    /// The hop within the origin arrives with the token.
    Followed,
    /// The caller gets our error about the hop, and nothing was sent there.
    HopRefused,
    /// The caller gets the redirect itself, and nothing was sent there.
    HandedOn,
    /// Nothing was sent to the API for who gave up; the fetch goes on, and the next request has its token.
    FetchLivesOn,
    /// The streamed body arrives whole, with the token; with a refused token it arrives once, and the
    /// caller sees the refusal.
    SentOnce,
}

/// A client of the table.
pub(super) struct Column {
    name: &'static str,
    protocol: Protocol,
    /// Whether there is a replaying layer over it.
    replays: bool,
    connect: fn(&Place, &Guarded) -> Sender,
}

const COLUMNS: [Column; 4] = [
    hyper::COLUMN,
    reqwest::COLUMN,
    middleware::COLUMN,
    tonic::COLUMN,
];

/// Sends one request by a client with its layer.
pub(super) type Sender = Arc<dyn Fn(Call) -> BoxFuture<'static, Answer> + Send + Sync>;

/// A request that is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Call {
    url: String,
    /// Whether its body, or for gRPC its answer, is a stream.
    streamed: bool,
}

/// What its caller got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An answer by this status; of gRPC the status in HTTP's words.
    Status(u16),
    /// An error of ours.
    Refused(ErrorKind),
    /// An error of somebody else's.
    Failed(String),
}

const KINDS: [TokenKind; 2] = [TokenKind::Maskinporten, TokenKind::Altinn];

async fn check_column(index: usize) {
    let column = &COLUMNS[index];
    for situation in Situation::ALL {
        for kind in KINDS {
            let cell = format!("{} {situation:?} {kind:?}", column.name);
            let (outcome, place) = cells::run(column, *situation, kind).await;
            assert_eq!(outcome, Ok(situation.stated()[index]), "{cell}");
            assert_eq!(place.leaks(), [""; 0], "{cell}");
        }
    }
}

#[tokio::test]
async fn hypers_client_does_in_each_situation_what_is_stated() {
    check_column(0).await;
}

#[tokio::test]
async fn reqwests_client_does_in_each_situation_what_is_stated() {
    check_column(1).await;
}

#[tokio::test]
async fn reqwest_middlewares_client_does_in_each_situation_what_is_stated() {
    check_column(2).await;
}

#[tokio::test]
async fn tonics_client_does_in_each_situation_what_is_stated() {
    check_column(3).await;
}

#[test]
fn the_table_that_is_read_is_the_table_that_is_run() {
    let mut table = String::from("//! |");
    for column in &COLUMNS {
        table += &format!(" | {}", column.name);
    }
    table += " |\n//! | --- | --- | --- | --- | --- |\n";
    for situation in Situation::ALL {
        let cells = situation.stated().map(|outcome| format!(" {outcome:?} |"));
        table += &format!("//! | {situation:?} |{}\n", cells.concat());
    }
    assert!(
        include_str!("mod.rs").contains(&(table.clone() + "//!\n")),
        "{table}"
    );
}

#[tokio::test]
async fn the_judge_finds_what_was_shown_to_somebody_else() {
    use ::http::header::{AUTHORIZATION, REFERER};

    let place = Place::new(TokenKind::Maskinporten, Protocol::Http1, false).await;
    let send = (hyper::COLUMN.connect)(&place, &place.guarded());
    let url = place.home.origin() + "/";
    assert_eq!(
        send(Call {
            url,
            streamed: false
        })
        .await,
        Answer::Status(200)
    );
    assert_eq!(place.leaks(), [""; 0]);

    let seen = place
        .book
        .seen()
        .into_iter()
        .find(|seen| seen.token().is_some())
        .unwrap();
    let mut elsewhere = seen.clone();
    elsewhere.origin = place.home.origin_as("localhost");
    place.book.note(elsewhere.clone());
    let mut elsewhere_in_another = seen.clone();
    let value = elsewhere_in_another.headers.remove(AUTHORIZATION).unwrap();
    elsewhere_in_another.headers.insert(REFERER, value);
    place.book.note(elsewhere_in_another);
    let mut twice = seen.clone();
    twice
        .headers
        .append(AUTHORIZATION, "Bearer another".parse().unwrap());
    place.book.note(twice);
    let mut gateways_key = seen.clone();
    gateways_key.origin = place.other.origin();
    let value = servers::SUBSCRIPTION_KEY.parse().unwrap();
    gateways_key.headers.clear();
    gateways_key.headers.insert(REFERER, value);
    place.book.note(gateways_key);
    assert_eq!(place.leaks().len(), 4);
}
