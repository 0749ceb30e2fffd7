//! What can go wrong, and what happens then: the list of faults, each with its test.
//!
//! A flight has 10 s and at most three attempts of 3 s; L is a token's life, its hard end 95 % of it.
//! A test without a file is in this folder; the others are beside it, and state their rows whole.
//!
//! | | fault | what happens | test |
//! | --- | --- | --- | --- |
//! | F1 | token server down, cold | one typed error with `retry_at` within 10 s, 3 requests whoever asks, nothing sent to the API | `outage::a_server_that_is_down_from_the_start_…` |
//! | F2 | down while a token is held | 0 failed requests before the hard end; probes back off to 30 s | `outage::an_outage_fails_no_request_before_…`, `outage::a_refusal_is_no_reason_…` |
//! | F3 | down past the hard end | no expired token; between probes the error is there at the first poll and nothing is sent | `outage::an_outage_fails_no_request_before_…`, `outage::an_error_from_memory_…` |
//! | F4 | slow at cold start | all share one request, each keeps its own deadline; slower than 3 s is F5 | `outage::callers_of_a_slow_server_…`, `outage::a_server_slower_than_an_attempt_…` |
//! | F5 | accepts, never answers | 3 attempts, given up within 10 s, the next flight starts | `sockets::a_server_that_accepts_and_never_answers_…` |
//! | F6 | answers byte by byte | as F5: head and body count within an attempt | `sockets::an_answer_that_comes_byte_by_byte_…` |
//! | F7 | 500, 502, 503 | 2 retries after 0–250 and 0–500 ms, then remembered for half a second | `outage::a_failing_answer_is_tried_twice_more_…`, `outage::what_two_attempts_missed_…` |
//! | F8 | 429 or 503 with `Retry-After` | honoured up to 60 s, a date by the server's own; garbage is no wish | `outage::retry_after_is_honoured_…`, `outage::a_busy_server_is_left_alone_…` |
//! | F9 | a refusal | one request, remembered 1 s growing to 60 s; code, description and trace id are told | `flight.rs`: `a_refusal_is_one_request_remembered_and_in_time_forgotten`; `answers.rs`: `every_known_refusal_is_told_by_kind_code_and_advice` |
//! | F10 | 200 without a token | `Protocol`, nothing of the body told, nothing kept | `token::nothing_is_kept_of_an_answer_…` |
//! | F11 | `expires_in` in any form | text and fractions are read; missing: `exp`, else 60 s; at most a day; negative is F10 | `token::a_life_in_any_form_…`, `token::a_life_that_makes_no_sense_…` |
//! | F12 | spent on arrival | used once at most, at most one fetch a second | `token::a_token_that_is_spent_on_arrival_…`, `token::the_shortest_token_…` |
//! | F13 | 64 MiB, endless, a zip bomb | cut at 64 KiB, less than 1 MiB of memory | `sockets::whatever_a_server_sends_…`; `answers.rs`: `a_body_without_end_is_given_up_after_64_kib` |
//! | F14 | a token of CR, LF, non-ASCII or 40 kB | refused when it is read, nothing sent to the API | `token::a_token_that_no_header_may_hold_…`, `token::a_token_is_whole_and_visible_ascii_or_none` |
//! | F15 | a bad certificate, an old TLS or none | the cause in text and hint, one retry at most, no assertion shown | `tls::a_certificate_that_is_not_good_…`, `tls::a_certificate_of_an_unknown_authority_…`, `tls::a_server_of_tls_1_0_…`, `tls::a_server_that_knows_no_tls_of_ours_…`, `tls::a_server_that_speaks_no_tls_…` |
//! | F16 | hung up in mid-answer, or while idle | one retry at once on a new connection; idle: nothing lost | `sockets::an_answer_that_breaks_off_…`, `sockets::a_connection_closed_while_idle_…` |
//! | F17 | a retry | a new assertion: its own `jti`, `iat` and `exp` | `outage::each_attempt_is_a_new_assertion_…` |
//! | F18 | clocks apart by 30 s, 5 min, a day | one refused grant at most, corrected by `Date` for all tokens | `clocks::a_wrong_wall_clock_costs_…`, `clocks::a_wrong_wall_clock_fails_none_…`, `clocks::a_wrong_server_clock_…` |
//! | F19 | the wall clock jumps by an hour, a day | no expired token, no renewal before its time, one refused grant at most for each token | `clocks::a_wall_clock_that_jumps_sends_…`, `clocks::a_wall_clock_that_jumps_while_…` |
//! | F20 | suspended for two hours | no expired token, one flight for all after it | `clocks::the_first_requests_after_a_suspend_…`, `clocks::a_short_nap_…`, `clocks::a_suspend_while_a_request_…`, `clocks::a_suspend_while_nobody_answers_…` |
//! | F24 | 1 000 requests in flight on a revoked token | one new token; each is sent again once where that was chosen; a late 401 changes nothing | `replay.rs`: `a_thousand_in_flight_on_a_revoked_token_are_all_replayed_on_one_new_one`; `rejected.rs`: `a_thousand_requests_in_flight_on_a_revoked_token_bring_one_new_token` |
//! | F25 | 401 for good | one forced refresh in 30 s, and then after longer; one replay; the 401 is handed on | `rejected.rs`: `a_fresh_token_that_is_refused_too_is_left_alone_for_longer`; `replay.rs`: `five_attempts_outside_make_one_mint_and_one_replay` |
//! | F26 | 401 to a request that cannot be sent again | passed on as it came, the token replaced | `rejected.rs`: `a_body_that_cannot_be_sent_again_is_sent_once_and_its_token_replaced` |
//! | F27 | 401 and 403 about something else | no refresh | `rejected.rs`: `a_refusal_that_is_not_about_the_token_changes_nothing` |
//! | F28 | a caller goes | the others and the fetch do not notice | `cancel.rs`: `a_caller_dropped_at_any_poll_neither_cancels_nor_repeats_the_fetch`, `no_callers_drop_harms_another` |
//! | F29 | all callers go | the fetch lands in the cache, no task stays behind | `herds::a_fetch_that_all_callers_left_…` |
//! | F30 | signer or transport panics | once: nobody notices; for good: one typed error a window; after it: a token | `herds::a_panic_in_signer_or_transport_…`, `herds::what_always_panics_…`; `flight.rs`: `a_source_that_panics_is_asked_again_and_then_a_typed_error` |
//! | F31 | 10 000 callers, cold, at renewal, at the end | one request; the wait is the server's time; at renewal nobody waits; less than 1 kB for each who waits | `herds::ten_thousand_callers_of_a_cold_slot_…`, `herds::of_ten_thousand_callers_…`, `herds::a_waiting_caller_…` |
//! | F32 | 10 000 callers of a failing server | one flight a window, the one error for all, no queue | `herds::ten_thousand_callers_of_a_failing_server_…` |
//! | F33 | 1 000 identities at once | four at a time, all of them; a slow one holds no other up; a bounded map; a failing server gets a few probes | `crowd.rs`: all of it |
//! | F34 | different tokens at the same time | never mixed | `herds::requests_for_different_tokens_…`; `identity.rs`: `two_requests_share_a_token_if_and_only_if_they_ask_for_the_same` |
//! | F37 | the token endpoint redirects | not followed, an error that says so | `answers.rs`: `a_redirect_is_not_followed`, `a_redirect_is_not_followed_by_the_default_transport` |
//! | F38 | metadata down | what was read stays good, tokens are held up once; never read: one error for half a minute | `stages::metadata_that_cannot_be_read_again_…`, `stages::metadata_that_nobody_answers_for_…`, `stages::metadata_that_was_never_read_…` |
//! | F41 | the exchange down | plain tokens never wait; Altinn's outlive it to their own hard end | `stages::an_exchange_that_is_down_…`, `stages::an_altinn_token_outlives_…` |
//! | F43 | shut down during a fetch | it is broken off, who waits is told, nothing is sent after, no task stays | `ending.rs`: `after_shutdown_no_task_lives_and_nothing_is_sent`, `when_the_last_handle_is_gone_so_is_the_flight` |
//!
//! What goes right is in `windows`: lives of half a minute to two hours, renewed between 70 and 80 % while
//! nobody waits.

mod clocks;
mod herds;
mod outage;
mod sockets;
mod stages;
mod tls;
mod token;
mod windows;

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use maskinporten::{
    AccessToken, Error, MaskinportenClient, MaskinportenClientBuilder, MaskinportenSettings, Result,
};
use maskinporten_sim::{Fault, Route, Sim};
use serde_json::Value;
use tower::{Layer, ServiceExt};
use tower_maskinporten::{BearerAuth, BoxError};

use crate::world::{self, SCOPES};

const JWK: &str = include_str!("../../vectors/keys/rsa-2048.jwk.json");

/// A flight's whole time, and one attempt's.
const FLIGHT: Duration = Duration::from_secs(10);
const ATTEMPT: Duration = Duration::from_secs(3);

/// The longest the pauses of one flight take together: up to 250 ms, then up to 500.
const PAUSES: Duration = Duration::from_millis(750);

/// The first outage is remembered for half a second, and up to a fifth more, so that those who failed
/// together do not come back together.
const FIRST_MEMORY: RangeInclusive<Duration> =
    Duration::from_millis(500)..=Duration::from_millis(600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A token's last 5 %, at least 1 s and at most 30 s, are never used.
fn hard_end(life: Duration) -> Duration {
    life - life.mul_f64(0.05).clamp(seconds(1), seconds(30))
}

fn unavailable() -> Fault {
    Fault::status(StatusCode::SERVICE_UNAVAILABLE)
}

/// A refusal or failure with these headers and no body.
fn answer(status: u16, headers: &[(&'static str, &str)]) -> Fault {
    let pair = |(name, value): &(&'static str, &str)| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_str(value).unwrap())
    };
    let headers: HeaderMap = headers.iter().map(pair).collect();
    Fault::answer(StatusCode::from_u16(status).unwrap(), headers, "")
}

/// A service that calls the simulator's API through a layer.
struct App {
    sim: Sim,
    client: MaskinportenClient,
    api: BearerAuth<Sim>,
}

impl App {
    fn new() -> Self {
        Self::in_world(Sim::new())
    }

    fn with_tokens_of(life: Duration) -> Self {
        Self::in_world(Sim::builder().token_lifetime(life).build())
    }

    fn in_world(sim: Sim) -> Self {
        Self::of_parts(sim, |builder| builder)
    }

    /// The same with parts of the test's own.
    fn of_parts(
        sim: Sim,
        parts: impl FnOnce(MaskinportenClientBuilder) -> MaskinportenClientBuilder,
    ) -> Self {
        let registered = sim.new_client(SCOPES);
        let client = parts(world::builder(&sim, &registered)).build().unwrap();
        let api = world::layer(&client).layer(sim.clone());
        Self { sim, client, api }
    }

    async fn token(&self) -> Result<AccessToken> {
        self.client.access_token(SCOPES).await
    }

    /// One request to the API; the error is the engine's own.
    fn call(&self) -> impl Future<Output = Result<()>> + use<> {
        let request = world::get(self.sim.api_url());
        let call = self.api.clone().oneshot(request);
        async { accepted(call.await) }
    }

    fn token_requests(&self) -> usize {
        self.sim.journal().token_requests()
    }

    /// When each token request arrived, counted from a moment.
    fn token_request_times(&self, from: SystemTime) -> Vec<Duration> {
        let since = |time: SystemTime| time.duration_since(from).unwrap();
        let journal = self.sim.journal();
        journal
            .requests(Route::Token)
            .map(|request| since(request.time()))
            .collect()
    }

    /// How long from now an error says to wait.
    fn wait(&self, error: &Error) -> Duration {
        let at = error.retry_at().expect("a remembered error says when");
        at.duration_since(self.sim.clock().now()).unwrap()
    }

    /// No request reached the API with a token whose time was up by the world's own clock.
    #[track_caller]
    fn assert_no_expired_token_was_sent(&self) {
        for request in self.sim.journal().requests(Route::Api) {
            let claims = &request.authorization().expect("never anonymous")["claims"];
            let ends = UNIX_EPOCH + seconds(claims["exp"].as_u64().unwrap());
            let late = request.time().duration_since(ends);
            assert!(late.is_err(), "sent {late:?} after its end");
        }
    }
}

#[track_caller]
fn accepted(outcome: Result<Response<maskinporten_sim::Body>, BoxError>) -> Result<()> {
    match outcome {
        Ok(response) => {
            assert_eq!(response.status(), StatusCode::OK, "what the API made of it");
            Ok(())
        }
        Err(error) => Err(Error::find_in(&*error).expect("an error of ours").clone()),
    }
}

/// A client whose token server is at this address, over the default transport.
fn client_of(token_endpoint: &str) -> MaskinportenClientBuilder {
    MaskinportenClient::builder()
        .settings(MaskinportenSettings::new("test", "our-client").with_jwk(JWK))
        .token_endpoint(token_endpoint)
}

/// An error that whoever reads it can act on.
#[track_caller]
fn assert_it_advises(error: &Error) {
    assert!(!error.to_string().is_empty());
    assert!(
        error.hint().is_some_and(|hint| !hint.is_empty()),
        "{error:?}"
    );
}

/// One claim of every assertion that reached the token endpoint.
fn claims(sim: &Sim, claim: &str) -> Vec<Value> {
    let journal = sim.journal();
    journal
        .requests(Route::Token)
        .map(|request| request.assertion_claims().unwrap()[claim].clone())
        .collect()
}
