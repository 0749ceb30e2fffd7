//! Every interleaving of two or three threads over one token's life, by loom.
//!
//! - Explored are `single_flight/flight.rs`, `cache/entry/state.rs`, `cache/entry/rejection.rs`, `cache/headers.rs`, `cache/holders.rs`
//!   and `cache/limiter/` themselves, not copies, with loom's locks and atomics under them. A load may show every value that the memory
//!   model admits, not only the newest.
//! - Each model is bounded by what it says: two or three threads with a handful of calls, beside the
//!   flights they start, up to loom's five threads in all. Within that nothing is left out, neither by a
//!   bound on permutations nor by one on time; models that are bounded by preemptions say so.
//! - Not explored are flights on a real runtime and tokio's `Notify` (`tests/it/flight.rs`), the map's locks and the
//!   tables of layers (`cache/map/tests.rs`, `tests/it/context/threads.rs`), and clocks: a call brings the moment the
//!   model gives it.
//!
//! `Air` in `flight.rs` judges in every model that no two flights are ever in the air at once.
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

mod landings;

mod flights;

mod waiters;

mod renewals;

mod failures;

mod generations;

mod copies;

mod void;

mod evictions;

mod limits;
