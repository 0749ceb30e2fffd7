//! All the weather there is.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};
use maskinporten_sim::{Fault, Route};
use tokio::time::{Instant, sleep};

use super::chance::Chance;
use super::plan::SCOPES;
use super::{AFTERMATH, HOUR, Storm, World};

fn refusal() -> Fault {
    let body = r#"{"error":"invalid_client","error_description":"Client not found."}"#;
    Fault::answer(StatusCode::BAD_REQUEST, HeaderMap::new(), body)
}

fn later(status: u16, seconds: u64) -> Fault {
    let name = HeaderName::from_static("retry-after");
    let headers = HeaderMap::from_iter([(name, HeaderValue::from(seconds))]);
    Fault::answer(StatusCode::from_u16(status).unwrap(), headers, "")
}

impl World {
    /// From storm to storm, one at a time.
    pub(super) async fn weather(self, mut chance: Chance) {
        sleep(Duration::from_secs(180)).await;
        // Once a day it lasts for hours.
        let long = self.end - 14 * HOUR;
        let mut had_long = false;
        while Instant::now() < self.end {
            let mut length = match chance.below(10) {
                0..5 => chance.seconds(1, 30),
                5..8 => chance.seconds(30, 300),
                _ => chance.seconds(300, 1_200),
            };
            if !had_long && Instant::now() > long {
                had_long = true;
                length = HOUR + chance.seconds(1, 3600);
            }
            self.storm(&mut chance, length).await;
            sleep(chance.seconds(20, 1_200)).await;
        }
    }

    async fn storm(&self, chance: &mut Chance, length: Duration) {
        let sim = self.sim();
        let kind = chance.below(20);
        let (name, fault) = match kind {
            0 => ("503", Fault::status(StatusCode::SERVICE_UNAVAILABLE)),
            1 => ("500", Fault::status(StatusCode::INTERNAL_SERVER_ERROR)),
            2 => ("429 with a time", later(429, chance.between(1, 120))),
            3 => ("503 with a time", later(503, chance.between(1, 120))),
            4 => ("silence", Fault::hang()),
            5 => ("answers cut short", Fault::truncated()),
            6 => ("a body without end", Fault::huge_unannounced(1 << 30)),
            7 => (
                "a body in drops",
                Fault::slow_body(16, chance.seconds(0, 2)),
            ),
            8 => ("another content type", Fault::content_type("text/html")),
            9 => ("latency", Fault::latency(chance.seconds(0, 4))),
            10 => ("a server ahead", Fault::skew(300)),
            11 => ("a server behind", Fault::skew(-300)),
            12 => ("refusals", refusal()),
            _ => return self.disaster(kind, chance, length).await,
        };
        let routes = chance.one_of(&[
            &[Route::Token][..],
            &[Route::Exchange],
            &[Route::Token, Route::Exchange],
            &[Route::Metadata, Route::Token, Route::Exchange],
        ]);
        for route in routes {
            sim.fault(*route, fault.clone());
        }
        self.begin(format!("{name} at {routes:?}"));
        sleep(length).await;
        self.sim().clear_faults();
        self.pass();
    }

    /// What is not a matter of one server's answers.
    async fn disaster(&self, kind: u64, chance: &mut Chance, length: Duration) {
        match kind {
            13 => {
                self.begin("the network is down");
                self.trouble.lock().unwrap().cut_off = true;
                sleep(length).await;
                self.trouble.lock().unwrap().cut_off = false;
            }
            14 => {
                self.begin("the exchange says 401");
                self.sim()
                    .fault(Route::Exchange, Fault::status(StatusCode::UNAUTHORIZED));
                sleep(length).await;
                self.sim().clear_faults();
            }
            15 => {
                let scope = chance.one_of(&SCOPES).0;
                self.begin(format!("{scope} is not granted"));
                self.sim().not_granted(scope);
                sleep(length).await;
                self.sim().granted(scope);
            }
            16 => {
                self.begin("panics");
                self.trouble.lock().unwrap().panics = chance.between(1, 5);
                sleep(length).await;
                self.trouble.lock().unwrap().panics = 0;
            }
            17 => {
                self.begin("all tokens are revoked");
                self.sim().revoke_all();
                self.trouble.lock().unwrap().revoked_until = self.now() + AFTERMATH;
            }
            18 => {
                let by = chance.one_of(&[-86_400, -3_600, 3_600, 86_400]);
                self.begin(format!("the wall clock is {by} s off"));
                self.clocks.set_wall(by);
                sleep(length).await;
                self.clocks.set_wall(-by);
            }
            _ => {
                self.begin("the machine sleeps");
                let time = length * 4;
                self.clocks.suspend(time);
                self.sim().clock().advance(time);
            }
        }
        self.pass();
    }

    fn begin(&self, name: impl Into<String>) {
        let (from, name) = (self.now(), name.into());
        let storm = Storm {
            from,
            to: None,
            name,
        };
        self.seen().storms.push(storm);
    }

    fn pass(&self) {
        let now = self.now();
        if let Some(storm) = self.seen().storms.last_mut() {
            storm.to = Some(now);
        }
    }
}
