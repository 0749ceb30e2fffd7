//! Orders that have a name.

use std::time::Duration;

use super::servers::{Asked, Whose};
use super::{Event, MOMENT, Mark, Orders, Said, Trail};

/// A world in which these events happened, each of them possible where it stands.
async fn after<const N: usize>(events: [Event; N]) -> Orders {
    let trail = Trail(&events);
    let mut world = Orders::new();
    for event in events {
        assert!(world.step(event).await, "{event:?}");
    }
    drop(trail);
    world
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_comes_back_late_is_given_no_spent_token() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Answer(0, Said::Token(120)),
        MOMENT,
        // The flight has landed; who waited for it was busy until its token was spent.
        Event::Until(Mark::Hard(Whose::Reader), 0),
        Event::Poll(0),
        MOMENT,
        // It takes part in the next one.
        Event::Answer(0, Said::Token(120)),
        MOMENT,
        Event::Poll(0),
    ]);
    let world = world.await;
    assert!(world.callers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ended_before_its_answer_was_read_is_given_to_nobody() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Suspend,
        Event::Answer(0, Said::Token(120)),
        MOMENT,
        Event::Poll(0),
    ]);
    world.await.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_401_about_a_spent_token_asks_nobody_before_the_time() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Answer(0, Said::Token(30)),
        MOMENT,
        Event::Poll(0),
        Event::Until(Mark::Hard(Whose::Reader), 0),
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Answer(0, Said::Refused),
        MOMENT,
        // The caller has heard when the server will be asked again.
        Event::Poll(0),
        Event::Reject(0),
        MOMENT,
    ]);
    let world = world.await;
    assert_eq!(world.desk.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_was_lost_is_withdrawn_for_the_one_that_replaces_it() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Suspend,
        // Overdue by the time that has passed, though nobody but the clock has noticed.
        Event::Call(Whose::Reader),
        Event::Poll(1),
        MOMENT,
    ]);
    let mut world = world.await;
    assert_eq!(world.desk.asked().len(), 2);
    let open = |asked: &&Asked| asked.is_open();
    assert_eq!(world.desk.asked().iter().filter(open).count(), 1);
    world.step(Event::Answer(0, Said::Token(120))).await;
    world.step(MOMENT).await;
    world.step(Event::PollAll).await;
    assert!(world.callers.is_empty());
    assert_eq!(world.desk.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_hears_of_a_token_that_lived_too_short_waits_for_the_next() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        Event::Pass(Duration::from_secs(1)),
        // Its life was over on the way: whoever waits hears of it, and takes part in another flight.
        Event::Answer(0, Said::Token(1)),
        Event::Run(4),
        Event::Poll(0),
        MOMENT,
        Event::Answer(0, Said::Token(120)),
        MOMENT,
        Event::Poll(0),
    ]);
    let world = world.await;
    assert!(world.callers.is_empty());
    assert_eq!(world.desk.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_came_after_its_hard_end_is_given_only_while_it_lives() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Call(Whose::Reader),
        Event::Poll(1),
        // Of three seconds the last is its margin.
        Event::Pass(Duration::from_millis(2_500)),
        Event::Answer(0, Said::Token(3)),
        MOMENT,
        Event::Poll(0),
        Event::Pass(Duration::from_millis(600)),
        // The other was busy until it had ended.
        Event::Poll(0),
        MOMENT,
    ]);
    let world = world.await;
    assert_eq!((world.given.len(), world.callers.len()), (1, 0));
    assert_eq!(world.desk.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_says_nothing_to_those_who_wait_for_the_next_flight() {
    let down = Event::Answer(0, Said::Panic);
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        down,
        MOMENT,
        Event::Poll(0),
        MOMENT,
        down,
        MOMENT,
        Event::Poll(0),
        MOMENT,
        down,
        MOMENT,
        // Somebody else is first to find the third one gone, and has started another.
        Event::Call(Whose::Reader),
        Event::Poll(1),
        MOMENT,
        Event::Poll(0),
        Event::Call(Whose::Reader),
        Event::Poll(1),
    ]);
    let mut world = world.await;
    assert_eq!(world.callers.len(), 2);
    world.step(Event::Answer(0, Said::Token(120))).await;
    world.step(MOMENT).await;
    world.step(Event::PollAll).await;
    assert!(world.callers.is_empty());
    assert_eq!(world.desk.asked().len(), 4);
}
