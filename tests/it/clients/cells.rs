//! What happens in each situation, found out by what all servers were shown.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::place::{PATIENCE, Place, until};
use super::{Answer, Call, Column, Outcome, Sender, Situation};

/// Runs a cell in a world of its own: what happened, or in words where that has no name.
pub(super) async fn run(
    column: &Column,
    situation: Situation,
    kind: maskinporten::TokenKind,
) -> (Result<Outcome, String>, Place) {
    let home_has_tls = situation == Situation::RedirectToHttp;
    let place = Place::new(kind, column.protocol, home_has_tls).await;
    let mut guarded = place.guarded();
    guarded.replay = column.replays;
    let send = (column.connect)(&place, &guarded);
    let cell = Cell { place, send };
    let outcome = match situation {
        Situation::Cold => cell.cold().await,
        Situation::Cached => cell.cached().await,
        Situation::Ageing => cell.ageing().await,
        Situation::Unauthorized => cell.unauthorized().await,
        Situation::Foreign => cell.foreign().await,
        Situation::RedirectWithin => cell.redirected(|place| vec![place.home.origin()]).await,
        Situation::RedirectToHost => {
            let to = |place: &Place| vec![place.home.origin_as("localhost")];
            cell.redirected(to).await
        }
        Situation::RedirectToPort => cell.redirected(|place| vec![place.other.origin()]).await,
        Situation::RedirectToHttps | Situation::RedirectToHttp => {
            cell.redirected(|place| vec![place.across.origin()]).await
        }
        Situation::ThereAndBack => {
            let to = |place: &Place| vec![place.other.origin(), place.home.origin()];
            cell.redirected(to).await
        }
        Situation::TwoForeignHops => {
            let to = |place: &Place| vec![place.other.origin(); 2];
            cell.redirected(to).await
        }
        Situation::CallersTimeout => cell.timed_out().await,
        Situation::Cancelled => cell.cancelled().await,
        Situation::Streamed => cell.streamed().await,
    };
    (outcome, cell.place)
}

struct Cell {
    place: Place,
    send: Sender,
}

type Told = Result<Outcome, String>;

impl Cell {
    async fn cold(&self) -> Told {
        let answer = self.call("/").await;
        let tokens = self.shown_at_home();
        match (&answer, &tokens[..], self.place.issued()) {
            (Answer::Status(200), [Some(_)], 1) => Ok(Outcome::Fetched),
            _ => self.untold(answer),
        }
    }

    async fn cached(&self) -> Told {
        self.call("/").await;
        let answer = self.call("/").await;
        match (&answer, &self.shown_at_home()[..], self.place.issued()) {
            (Answer::Status(200), [Some(one), Some(two)], 1) if one == two => {
                Ok(Outcome::FromCache)
            }
            _ => self.untold(answer),
        }
    }

    async fn ageing(&self) -> Told {
        let old = self.one_token().await;
        self.place.clock.age(&old);
        let asked = self.place.asked();
        self.place.gate.send_replace(false);
        let answer = self.call("/").await;
        let beside = self.shown_at_home() == [Some(old.clone()), Some(old.clone())];
        until(|| self.place.asked() > asked).await;
        self.place.gate.send_replace(true);
        let new = self.another_than(&old).await;
        match (&answer, self.place.issued()) {
            (Answer::Status(200), 2) if beside && new => Ok(Outcome::RenewedBeside),
            _ => self.untold(answer),
        }
    }

    async fn unauthorized(&self) -> Told {
        let old = self.one_token().await;
        self.place.plan.refuse(&old);
        let answer = self.call("/").await;
        let tokens = self.shown_at_home();
        match (&answer, &tokens[1..]) {
            (Answer::Status(200), [Some(first), Some(second)])
                if *first == old && *second != old && self.place.issued() == 2 =>
            {
                Ok(Outcome::Replayed)
            }
            (Answer::Status(401), [Some(only)])
                if *only == old && self.another_than(&old).await && self.place.issued() == 2 =>
            {
                Ok(Outcome::NewForTheNext)
            }
            _ => self.untold(answer),
        }
    }

    async fn foreign(&self) -> Told {
        let url = self.place.other.origin() + "/";
        let answer = (self.send)(Call {
            url,
            streamed: false,
        })
        .await;
        match &answer {
            Answer::Refused(maskinporten::ErrorKind::Origin)
                if self.place.book.seen().is_empty() =>
            {
                Ok(Outcome::Refused)
            }
            _ => self.untold(answer),
        }
    }

    /// From home on to these in turn.
    async fn redirected(&self, to: impl Fn(&Place) -> Vec<String>) -> Told {
        let mut origins = vec![self.place.home.origin()];
        origins.extend(to(&self.place));
        let url = self.place.chain(&origins);
        let answer = (self.send)(Call {
            url,
            streamed: false,
        })
        .await;
        let trail = self.place.trail();
        let all_the_way = trail.iter().map(|(origin, _)| origin).eq(&origins);
        let all_shown = trail.iter().all(|(_, token)| token.is_some());
        match (&answer, trail.len()) {
            (Answer::Status(200), _) if all_the_way && all_shown => Ok(Outcome::Followed),
            (Answer::Refused(maskinporten::ErrorKind::Origin), 1) if all_shown => {
                Ok(Outcome::HopRefused)
            }
            (Answer::Status(307), 1) if all_shown => Ok(Outcome::HandedOn),
            _ => self.untold(answer),
        }
    }

    async fn timed_out(&self) -> Told {
        self.place.gate.send_replace(false);
        let call = self.call("/");
        if timeout(Duration::from_millis(200), call).await.is_ok() {
            return Err("it did not wait".to_owned());
        }
        self.fetch_lives_on().await
    }

    async fn cancelled(&self) -> Told {
        self.place.gate.send_replace(false);
        let waits = tokio::spawn(self.call("/"));
        until(|| self.place.asked() == 1).await;
        waits.abort();
        let _ = waits.await;
        self.fetch_lives_on().await
    }

    async fn fetch_lives_on(&self) -> Told {
        let nothing_sent = self.shown_at_home().is_empty();
        self.place.gate.send_replace(true);
        let answer = self.call("/").await;
        match (&answer, &self.shown_at_home()[..], self.place.issued()) {
            (Answer::Status(200), [Some(_)], 1) if nothing_sent => Ok(Outcome::FetchLivesOn),
            _ => self.untold(answer),
        }
    }

    async fn streamed(&self) -> Told {
        let url = self.place.home.origin() + "/";
        let call = Call {
            url,
            streamed: true,
        };
        let answer = (self.send)(call.clone()).await;
        if answer != Answer::Status(200) {
            return self.untold(answer);
        }
        let bodies = || {
            self.place
                .book
                .seen()
                .into_iter()
                .filter(|seen| seen.token().is_some())
        };
        let is_whole = |body: &[u8]| body == STREAMED.concat().as_bytes() || body == [0; 5];
        let whole = bodies().filter(|seen| is_whole(&seen.body)).count();
        let old = self.shown_at_home()[0].clone().unwrap();
        self.place.plan.refuse(&old);
        let answer = (self.send)(call).await;
        match (&answer, &self.shown_at_home()[..]) {
            (Answer::Status(401), [Some(_), Some(again)]) if whole == 1 && *again == old => {
                Ok(Outcome::SentOnce)
            }
            _ => self.untold(answer),
        }
    }

    // ===== what they are made of =====

    fn call(&self, path: &str) -> impl Future<Output = Answer> + Send + use<> {
        let url = self.place.home.origin() + path;
        (self.send)(Call {
            url,
            streamed: false,
        })
    }

    /// The text of the token that a first request has.
    async fn one_token(&self) -> String {
        assert_eq!(self.call("/").await, Answer::Status(200));
        self.shown_at_home()[0].clone().unwrap()
    }

    /// Calls until a call has another token.
    async fn another_than(&self, old: &str) -> bool {
        let calls = async {
            loop {
                self.call("/").await;
                let last = self.shown_at_home().pop().flatten();
                if last.is_some_and(|token| token != old) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, calls).await.is_ok()
    }

    /// What the API's own origin was shown, call by call.
    fn shown_at_home(&self) -> Vec<Option<String>> {
        let home = self.place.home.origin();
        let mut trail = self.place.trail();
        trail.retain(|(origin, _)| *origin == home);
        trail.into_iter().map(|(_, token)| token).collect()
    }

    fn untold(&self, answer: Answer) -> Told {
        let (trail, issued) = (self.place.trail(), self.place.issued());
        Err(format!("{answer:?}, {issued} issued, {trail:?}"))
    }
}

/// What a streamed body says.
pub(super) const STREAMED: [&str; 3] = ["one ", "after ", "another"];
