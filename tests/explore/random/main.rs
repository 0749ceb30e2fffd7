//! A token's life among many threads, in random interleavings, by shuttle.
//!
//! - Explored are `cache/entry/state.rs` and `cache/headers.rs` themselves, with shuttle's locks and atomics under them. What is exhausted
//!   for two or three threads in `exhaustive` is tried here for a dozen and more, for as long as a
//!   token lives several times over: callers that wait and elect anew, views, rejections,
//!   invalidations, a closing, a clock that is moved on, a source that changes or recovers, and flights that land, fail, die or stand still.
//! - Each model runs some thousand times by each of two schedulers: one switches threads evenly, the
//!   other (PCT) keeps to priorities and changes them seldom, which finds what takes a rare order of
//!   few steps. Their seeds are fixed, so that a run is the same everywhere; `SHUTTLE_RANDOM_SEED`
//!   chooses another. A failure prints the schedule that replays it.
//! - Not explored are weak memory, which shuttle does not model (`exhaustive` does), and all that
//!   `exhaustive` leaves out.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../cache.rs"]
mod cache;
#[path = "../clock.rs"]
mod clock;
#[path = "../flight.rs"]
mod flight;
#[path = "../view.rs"]
mod view;

mod sync;
mod world;

mod lives;
