//! Servers that answer when they are told to, and whose tokens they give.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use maskinporten::{Clock, TokenContext, Transport};
use tokio::sync::oneshot;
use tower::service_fn;

use super::{FLIGHT, Orders, Said, Token};
use crate::clocks::Clocks;
use crate::wire::{self, Jws};

// ===== whose tokens there are =====

/// Three identities; Altinn's token is made of the reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Reader,
    Writer,
    Altinn,
}

impl Whose {
    pub(super) const ALL: [Self; 3] = [Self::Reader, Self::Writer, Self::Altinn];

    pub(super) fn scope(self) -> &'static str {
        match self {
            Self::Reader | Self::Altinn => "a:read",
            Self::Writer => "b:write",
        }
    }

    /// What a request asks of its door, which has the reader's token: the writer's is found by a context.
    pub(super) fn context(self) -> Option<TokenContext> {
        let context = TokenContext::new().scopes([self.scope()]);
        (self == Self::Writer).then(|| context.unwrap())
    }

    fn of(request: &Request<Bytes>) -> Self {
        match Jws::in_form(request).map(|jws| jws.claims["scope"].to_string()) {
            None => Self::Altinn,
            Some(scope) if scope.contains("a:read") => Self::Reader,
            Some(_) => Self::Writer,
        }
    }
}

// ===== what they were asked =====

/// The requests that were sent, in order.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<Mutex<Vec<Asked>>>);

pub(super) struct Asked {
    pub(super) whose: Whose,
    pub(super) at: Duration,
    /// Of an exchange: which token it shows.
    pub(super) shows: Option<usize>,
    pub(super) jti: Option<String>,
    pub(super) answer: Option<oneshot::Sender<Answer>>,
    pub(super) given_up: bool,
}

impl Asked {
    pub(super) fn is_open(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| !answer.is_closed())
    }
}

pub(super) enum Answer {
    Http(Response<Full<Bytes>>),
    Panic,
}

impl Desk {
    pub(super) fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.0.lock().unwrap()
    }

    pub(super) fn transport(&self, clocks: Clocks) -> Transport {
        let desk = self.clone();
        Transport::new(service_fn(move |request: Request<Bytes>| {
            let (answer, answered) = oneshot::channel();
            let jti = Jws::in_form(&request).map(|jws| jws.claims["jti"].to_string());
            desk.asked().push(Asked {
                whose: Whose::of(&request),
                at: clocks.monotonic(),
                shows: request.headers().get(AUTHORIZATION).map(number_in),
                jti,
                answer: Some(answer),
                given_up: false,
            });
            async move {
                match answered.await.unwrap() {
                    Answer::Http(response) => Ok::<_, Infallible>(response),
                    // Without a word: a hook that prints would be all that is seen of these tests.
                    Answer::Panic => std::panic::resume_unwind(Box::new("planted")),
                }
            }
        }))
    }
}

/// A token that says which one it is.
fn text(number: usize, life: Duration) -> String {
    let claims = format!(
        r#"{{"n":{number},"iat":1000,"exp":{}}}"#,
        1000 + life.as_secs()
    );
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

pub(super) fn number_in(bearer: &HeaderValue) -> usize {
    number(bearer.to_str().unwrap().strip_prefix("Bearer ").unwrap())
}

pub(super) fn number(text: &str) -> usize {
    let number = Jws::parse(text).claims["n"].as_u64().unwrap();
    usize::try_from(number).unwrap()
}

// ===== impl Orders =====

impl Orders {
    pub(super) fn answer(&mut self, index: usize, said: Said) -> bool {
        let now = self.now();
        let desk = self.desk.clone();
        let mut asked = desk.asked();
        let mut open: Vec<&mut Asked> = asked.iter_mut().filter(|asked| asked.is_open()).collect();
        let Some(index) = index.checked_rem(open.len()) else {
            return false;
        };
        let asked = &mut *open[index];
        let whose = asked.whose;
        let known = &mut self.known[whose as usize];
        let answer = match said {
            Said::Token(life) => {
                let life = Duration::from_secs(life);
                let text = text(self.tokens.len(), life);
                let waited = match whose {
                    Whose::Altinn => FLIGHT,
                    _ => Duration::ZERO,
                };
                self.on_the_way.push((whose, Some(self.tokens.len())));
                self.tokens.push(Token {
                    whose,
                    asked: asked.at,
                    counted: asked.at.saturating_sub(waited),
                    life,
                    answered: now,
                });
                match whose {
                    Whose::Altinn => wire::answer(200, text),
                    _ => wire::answer(
                        200,
                        format!(
                            r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":{}}}"#,
                            life.as_secs()
                        ),
                    ),
                }
            }
            Said::Unavailable(after) => {
                let mut response = wire::answer(503, "");
                if let Some(after) = after {
                    let name = HeaderName::from_static("retry-after");
                    response.headers_mut().insert(name, after.into());
                }
                response
            }
            Said::Refused if whose == Whose::Altinn => {
                // Taken for a word about the first token, which is then renewed.
                self.known[Whose::Reader as usize].rejected = Some(now);
                wire::answer(401, "")
            }
            Said::Refused => {
                self.on_the_way.push((whose, None));
                wire::answer(400, r#"{"error":"invalid_scope"}"#)
            }
            Said::Garbage => wire::answer(200, "<html>"),
            Said::Panic => {
                known.panics += 1;
                let sent = asked.answer.take().unwrap().send(Answer::Panic);
                assert!(sent.is_ok());
                return true;
            }
        };
        let sent = asked.answer.take().unwrap().send(Answer::Http(answer));
        assert!(sent.is_ok());
        true
    }

    pub(super) fn reject(&mut self, index: usize) -> bool {
        let Some(index) = index.checked_rem(self.given.len()) else {
            return false;
        };
        let now = self.now();
        let (whose, number, sent) = self.given[index];
        let known = &mut self.known[whose as usize];
        if known.newest.is_none_or(|newest| newest <= number) && now < self.tokens[number].hard() {
            known.rejected = Some(now);
        }
        self.stirred = now;
        let _ = sent.rejected(None, &HeaderMap::new());
        true
    }
}
