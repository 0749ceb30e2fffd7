//! What must hold, and no more requests than there was reason for.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Response};
use maskinporten::{Error, Result};
use maskinporten_sim::Body;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tower_maskinporten::BoxError;

use super::plan::{CONSUMERS, Identity, PLANS};
use super::{AFTERMATH, HOUR, Issued, World};
use crate::wire::Jws;

impl World {
    pub(super) fn wrong(&self, what: impl fmt::Display) {
        let (now, wrong) = (self.now(), &mut self.seen().wrong);
        if wrong.len() < 20 {
            wrong.push(format!("{now:?}: {what}"));
        }
    }

    /// Reads what the servers have written down, and clears it.
    pub(super) fn read_journal(&self) {
        let sim = self.sim();
        let journal = sim.journal();
        sim.clear_journal();
        let mut seen = self.seen();
        for entry in journal.entries() {
            if entry.code() == Some("MP-012") {
                seen.wrong.push("a jti was used twice".to_owned());
            }
            let Some(claims) = entry.issued() else {
                continue;
            };
            let identity = identity_in(claims);
            let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
            let life = Duration::from_secs(life);
            let since = sim
                .clock()
                .now()
                .duration_since(entry.time())
                .unwrap_or_default();
            // An Altinn token's life is counted from before its parent was waited for.
            let waited = Duration::from_secs(if identity.altinn { 10 } else { 0 });
            let margin = life
                .mul_f64(0.05)
                .clamp(Duration::from_secs(1), Duration::from_secs(30));
            let left = |time: Duration| self.now() + time.saturating_sub(since + waited);
            let whole = entry.time().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let issued = Issued {
                identity,
                end: UNIX_EPOCH + Duration::from_secs(whole) + life,
                good_until: left(life - margin),
                fresh_until: left(life.mul_f64(0.7)),
            };
            seen.issued.insert(id_of(claims), issued);
        }
    }

    /// A request has arrived: it carries one token, which is this caller's, and has not ended.
    pub(super) fn arrives(&self, who: usize, headers: &HeaderMap) {
        let values: Vec<&HeaderValue> = headers.get_all(AUTHORIZATION).iter().collect();
        let [value] = values[..] else {
            return self.wrong(format_args!("{} authorization headers", values.len()));
        };
        let Some(token) = value
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "))
        else {
            return self.wrong("an authorization without a bearer token");
        };
        let now = self.sim().clock().now();
        let mut seen = self.seen();
        let seen = &mut *seen;
        let read = || id_of(&Jws::parse(token).claims);
        let id = seen.read.entry(token.to_owned()).or_insert_with(read);
        let problem = match seen.issued.get(id) {
            None => "a token that nobody issued".to_owned(),
            Some(issued) if issued.identity != self.identities[who] => {
                format!("{:?} for {:?}", issued.identity, self.identities[who])
            }
            Some(issued) if now >= issued.end => {
                let late = now.duration_since(issued.end).unwrap();
                format!("a token of {:?} that ended {late:?} ago", issued.identity)
            }
            Some(issued) => {
                let account = &mut seen.accounts[who];
                if account.good_until < issued.good_until {
                    account.good_until = issued.good_until;
                    account.fresh_until = issued.fresh_until;
                    account.in_storm.1 = 0;
                }
                return;
            }
        };
        seen.wrong.push(format!("{:?}: {problem}", self.now()));
    }

    /// A call begins. Whether its caller has a good token, and whether all was well for long enough.
    fn begins(&self, who: usize) -> (bool, bool) {
        let now = self.now();
        let mut seen = self.seen();
        let seen = &mut *seen;
        let account = &mut seen.accounts[who];
        account.calls += 1;
        let is_due = now >= account.fresh_until;
        if is_due && now >= account.renewed_until {
            account.renewals += 1;
            account.renewed_until = now + PLANS[who].life().mul_f64(0.7);
        }
        let mut is_fair = true;
        if let Some(storm) = seen.storms.last()
            && storm.to.is_none_or(|to| now <= to + AFTERMATH)
        {
            let number = seen.storms.len();
            is_fair = false;
            // Failures are remembered for half a second, doubled up to half a minute: seven flights, and
            // from then on one every 30 s, until there is a token; and one when the old token ends,
            // whatever is remembered. A flight needs a call.
            let lasted = now.saturating_sub(storm.from).as_secs();
            let flights = 8 + usize::try_from(lasted / 30).unwrap();
            if account.in_storm.0 != number {
                account.in_storm = (number, 0);
            }
            if is_due && account.in_storm.1 < flights {
                account.in_storm.1 += 1;
                account.storms += 1;
            }
        }
        (now < account.good_until, is_fair)
    }

    pub(super) async fn call(
        self,
        who: usize,
        patience: Duration,
        call: impl Future<Output = Result<Response<Body>, BoxError>>,
    ) {
        let (has_good, is_fair) = self.begins(who);
        let began = Instant::now();
        let answer = timeout(patience, call).await;
        let took = began.elapsed();
        if has_good && !took.is_zero() {
            self.wrong(format_args!(
                "{:?} waited {took:?} with a good token",
                PLANS[who]
            ));
        }
        match answer {
            Ok(Ok(_)) => {}
            Err(_) => self.seen().gave_up += 1,
            Ok(Err(error)) => {
                self.seen().failed += 1;
                let ours = Error::find_in(&*error);
                let error = ours.map_or_else(|| error.to_string(), |error| format!("{error:?}"));
                if has_good {
                    self.wrong(format_args!(
                        "{:?} failed with a good token: {error}",
                        PLANS[who]
                    ));
                }
                // A storm may have come up while this one waited.
                if is_fair && self.is_fair(took) {
                    self.wrong(format_args!(
                        "{:?} failed in fair weather: {error}",
                        PLANS[who]
                    ));
                }
            }
        }
    }

    fn is_fair(&self, since: Duration) -> bool {
        let since = self.now().saturating_sub(since);
        let seen = self.seen();
        seen.storms
            .iter()
            .all(|storm| storm.to.is_some_and(|to| to < since))
    }

    /// What no longer matters is forgotten, so that what grows is not ours.
    pub(super) fn tidy(&self) {
        let now = self.sim().clock().now();
        let mut seen = self.seen();
        seen.issued.retain(|_, issued| now < issued.end + HOUR);
        seen.issued.shrink_to_fit();
        seen.read = HashMap::new();
    }

    /// No more requests than there was reason for, of each identity and of all.
    pub(super) fn settle_accounts(&self) {
        let seen = self.seen();
        let (mut sent, mut most) = (0, 0);
        for (plan, account) in PLANS.iter().zip(&seen.accounts) {
            // A flight that fails sends three requests; one that succeeds sends one, in a storm up to
            // three; either may send one more for a clock that is wrong.
            let bound = account.renewals + account.forced + 4 * account.storms;
            println!(
                "{:>20} {:>6} calls {:>5} sent {:>5} exchanged of {bound} ({} renewals, {} forced, {} in storms)",
                plan.scope,
                account.calls,
                account.sent,
                account.exchanged,
                account.renewals,
                account.forced,
                account.storms,
            );
            assert!(
                account.sent <= bound,
                "{plan:?}: {} sent, {bound} allowed",
                account.sent
            );
            assert!(
                account.exchanged <= bound,
                "{plan:?}: {} exchanged",
                account.exchanged
            );
            sent += account.sent + account.exchanged;
            most += bound * if plan.altinn { 2 } else { 1 };
        }
        println!("{sent} requests of {most}, {} storms", seen.storms.len());
        println!(
            "{} failed, {} gave up, {} rejected",
            seen.failed, seen.gave_up, seen.rejected
        );
    }
}

/// The identity a token stands for.
pub(super) fn identity_in(claims: &Value) -> Identity {
    let text = |claim: &str| claims[claim].as_str().map(str::to_owned);
    let consumer = claims["consumer"]["ID"].as_str().unwrap();
    let consumer = consumer.strip_prefix("0192:").unwrap();
    Identity {
        altinn: claims["sid"].is_string(),
        client: text("client_id").unwrap(),
        scope: text("scope").unwrap(),
        consumer: CONSUMERS.contains(&consumer).then(|| consumer.to_owned()),
        audience: text("aud"),
    }
}

/// What tells a token from all others: an Altinn token keeps the `jti` of the first one.
fn id_of(claims: &Value) -> String {
    let id = claims["sid"].as_str().or(claims["jti"].as_str());
    id.unwrap().to_owned()
}
