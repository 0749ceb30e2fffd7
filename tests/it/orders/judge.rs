//! What must hold, whatever happened.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::servers::{Asked, Whose};
use super::{ATTEMPT, FLIGHT, FORCED_EVERY, GRACE, Orders, TICK};

impl Orders {
    pub(super) fn look(&mut self) {
        let now = self.now();
        let desk = self.desk.clone();
        let mut asked = desk.asked();
        for index in self.seen..asked.len() {
            let request = &asked[index];
            if let Some(jti) = &request.jti {
                assert!(self.jtis.insert(jti.clone()), "a jti was used before");
            }
            if let Some(number) = request.shows {
                let token = &self.tokens[number];
                assert_eq!(
                    token.whose,
                    Whose::Reader,
                    "exchanged a token of somebody else's"
                );
                let in_time = token.may_be_used(request.at) || self.is_lost(Whose::Altinn);
                assert!(in_time, "exchanged a spent token");
            }
            if !self.is_lost(request.whose) {
                self.is_called_for(request);
            }
        }
        self.seen = asked.len();

        for index in 0..asked.len() {
            let request = &asked[index];
            let given_up = request.answer.is_some() && !request.is_open() && !request.given_up;
            // The flight may have begun before this attempt, or with a request for the first token.
            let flight_is_old = asked[..index].iter().any(|before| {
                now + TICK >= before.at + (FLIGHT - ATTEMPT) && now <= before.at + FLIGHT + ATTEMPT
            });
            assert!(
                !given_up
                    || now + TICK >= request.at + ATTEMPT
                    || flight_is_old
                    // A probe that is not answered asks again when another answer has closed the circuit.
                    || self.has_recovered
                    || !self.on_the_way.is_empty()
                    || self.is_lost(request.whose),
                "a request was given up {:?} after it was sent",
                now - request.at
            );
            asked[index].given_up |= given_up;
        }
        for whose in Whose::ALL {
            let open = asked
                .iter()
                .filter(|asked| asked.whose == whose && asked.is_open());
            // One that is older was not given up only because nothing has run since it should be.
            let young = open.filter(|asked| now < asked.at + ATTEMPT).count();
            assert!(
                young <= 1 || self.is_lost(whose),
                "{young} requests in the air for {whose:?}"
            );
        }
    }

    /// Whether there is a reason for a request: no token, an ageing one, or one that was rejected.
    fn is_called_for(&mut self, request: &Asked) {
        let known = &mut self.known[request.whose as usize];
        let newest = known.newest.map(|newest| &self.tokens[newest]);
        let has_good = newest.is_some_and(|newest| request.at < newest.surely_good_until());
        let is_fresh = newest.is_some_and(|newest| request.at < newest.soft());
        let is_soon = |since: Duration| request.at <= since + FLIGHT + GRACE;
        assert!(
            request.at >= known.not_before || (has_good && known.rejected.is_some_and(is_soon)),
            "asked for {:?} {:?} before its time",
            request.whose,
            known.not_before - request.at
        );
        if !is_fresh {
            return;
        }
        assert!(
            known.rejected.is_some_and(is_soon),
            "{:?} was asked for although there is a fresh one",
            request.whose
        );
        match known.forced {
            // Another attempt of the same flight, whose first may have been before the token was known.
            Some(before) if is_soon(before) => {}
            Some(before) if request.at + FLIGHT + GRACE < before + FORCED_EVERY => {
                panic!("two tokens were replaced {:?} apart", request.at - before)
            }
            _ => known.forced = Some(request.at),
        }
    }

    /// From here on nobody answers, and callers are polled only when they were woken: all of them
    /// come to an end.
    pub(super) async fn finish(mut self) {
        self.poll_all();
        self.look();
        let began = Instant::now();
        while !self.callers.is_empty() {
            // A flight's whole time, for each that a caller may be elected into.
            let longest = 3 * (FLIGHT + GRACE) + GRACE;
            assert!(
                began.elapsed() < longest,
                "{} callers wait for ever",
                self.callers.len()
            );
            self.pass(Duration::from_secs(1)).await;
            for index in (0..self.callers.len()).rev() {
                if self.callers[index].woken.0.load(Ordering::Relaxed) {
                    let _ = self.poll(index);
                }
            }
            self.look();
        }
    }
}
