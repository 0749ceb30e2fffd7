//! A client's whole life, as far as one thread of virtual time can lead it: every path on which the engine
//! calls code that is not its own.

use std::fmt::Write as _;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use maskinporten::{
    AltinnSettings, Authorizer, Credentials, MaskinportenClient, MaskinportenSettings, Result,
    TokenKind, TokenRequest, Transport,
};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maskinporten::{BoxError, MaskinportenAuthLayer};

use super::foreign::{
    AUTHORITY, Awoken, Hands, Key, Listener, Mood, PLATFORM, Paper, Provider, Recorder, Says,
    Script, Server, Source, Value, final_uri,
};
use super::reentry::{Kind, Reentry, Target};
use crate::world::{A, API, SCOPES};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One of many different tokens.
fn request(number: usize) -> TokenRequest {
    let request = TokenRequest::scopes(SCOPES).unwrap();
    let resource = format!("https://api-{number}.example.no");
    request.resource(resource).unwrap()
}

/// What a test walks with.
struct Walk {
    reentry: Reentry,
    server: Server,
    script: Script,
    client: MaskinportenClient,
    authorizer: Authorizer,
    /// Whether the API accepts tokens.
    accepts: Arc<AtomicBool>,
    is_source: bool,
}

/// Walks a client through its life, with what `reentry` does in between.
pub(super) async fn walk(reentry: &Reentry, is_source: bool) {
    let recorder = Recorder(reentry.clone());
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let listens = reentry.is_of(Kind::Subscriber);
    let _listener = listens.then(|| tracing::subscriber::set_default(Listener::new(reentry)));
    let walk = Walk::begin(reentry, is_source).await;
    walk.fetch_first().await;
    walk.serve().await;
    walk.age().await;
    walk.reject().await;
    walk.refuse().await;
    walk.fail().await;
    walk.open_the_breaker().await;
    walk.meet_the_breaker_with_a_token_that_just_ended().await;
    walk.spend().await;
    walk.lose().await;
    walk.evict().await;
    walk.publish();
    walk.give_up().await;
    if !is_source {
        walk.reload().await;
        walk.read_metadata_again().await;
    }
    walk.shut_down().await;
}

impl Walk {
    async fn begin(reentry: &Reentry, is_source: bool) -> Self {
        reentry.stage("the client is built");
        let server = Server::new(reentry);
        let script = Script::new(reentry, settings(reentry, "our-client", ["a", "b"]));
        let builder = MaskinportenClient::builder()
            .altinn(AltinnSettings::platform(PLATFORM).unwrap())
            .clock(Hands::new(reentry))
            .max_identities(8)
            .transport(Transport::new(server.handle()));
        let builder = if is_source {
            builder.source(Source::of(&server))
        } else {
            builder.credentials(Credentials::load(script.clone()).await.unwrap())
        };
        let client = builder.build().unwrap();
        let provider = Provider {
            reentry: reentry.clone(),
            client: client.clone(),
        };
        let authorizer = Authorizer::new(&provider, TokenKind::Maskinporten, SCOPES, API);
        let authorizer = authorizer.unwrap().final_uri(final_uri);
        reentry.aim(Some(Target {
            client: client.clone(),
            authorizer: authorizer.clone(),
        }));
        // Again, now that there is something to call back into.
        let _ = Authorizer::new(&provider, TokenKind::Altinn, SCOPES, API).unwrap();
        Self {
            reentry: reentry.clone(),
            server,
            script,
            client,
            authorizer,
            accepts: Arc::new(AtomicBool::new(true)),
            is_source,
        }
    }

    /// Asserts what holds where calls only look.
    #[track_caller]
    fn check(&self, holds: bool, what: impl std::fmt::Debug) {
        assert!(holds || !self.reentry.only_looks(), "{what:?}");
    }

    /// Calls the API through a layer, with a header that the token's displaces.
    async fn call(&self) -> Result<StatusCode, BoxError> {
        self.call_with(false).await
    }

    async fn call_with(&self, replays: bool) -> Result<StatusCode, BoxError> {
        let (accepts, reentry) = (Arc::clone(&self.accepts), self.reentry.clone());
        let api = service_fn(move |_: Request<&'static str>| {
            let mut response = Response::new("");
            if !accepts.load(Ordering::SeqCst) {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            response.extensions_mut().insert(reentry.clone());
            ready(Ok::<_, std::convert::Infallible>(response))
        });
        let mut request = Request::get(A).body("").unwrap();
        let value = Value::of(&self.reentry).into_header();
        request.headers_mut().insert(AUTHORIZATION, value);
        let layer = MaskinportenAuthLayer::new(&self.client, SCOPES, API)?.final_uri(final_uri);
        let response = if replays {
            let service = layer.replay_on_unauthorized().layer(api);
            Awoken::new(&self.reentry, service.oneshot(request)).await
        } else {
            let mut service = layer.layer(api);
            let response = service.ready().await?.call(request);
            Awoken::new(&self.reentry, response).await
        };
        Ok(response?.status())
    }

    async fn token(&self, request: TokenRequest) -> Result<()> {
        let token = self.client.access_token(request);
        Awoken::new(&self.reentry, token).await.map(drop)
    }

    /// Lets flights without a waiter go as far as they can.
    async fn settle(&self) {
        for _ in 0..30 {
            yield_now().await;
        }
    }

    // ===== stages =====

    async fn fetch_first(&self) {
        self.reentry.stage("a first token is not had, and then is");
        self.server.is(Mood::IsGone);
        let failed = self.call().await;
        self.check(failed.is_err(), &failed);
        self.server.is(Mood::Serves);
        sleep(seconds(61)).await;
        let fetched = self.call().await;
        self.check(fetched.is_ok(), &fetched);
        let fetched = self.client.altinn_token(SCOPES).await;
        self.check(fetched.is_ok(), &fetched);
    }

    async fn serve(&self) {
        self.reentry.stage("a token is there");
        let given = self.server.tokens();
        for _ in 0..3 {
            let served = self.call().await;
            self.check(served.is_ok(), &served);
        }
        let mut headers = HeaderMap::new();
        let value = Value::of(&self.reentry).into_header();
        headers.insert(AUTHORIZATION, value);
        let uri = Uri::from_static(A);
        let served = self.authorizer.authorize(&uri, &mut headers).await;
        self.check(served.is_ok(), &served);
        let served = self.client.header_value(SCOPES).await;
        self.check(served.is_ok(), &served);
        self.check(self.server.tokens() == given, "it was there");
    }

    async fn age(&self) {
        self.reentry.stage("an ageing token is refreshed");
        let given = self.server.tokens();
        sleep(seconds(100)).await;
        let served = self.call().await;
        self.check(served.is_ok(), &served);
        self.settle().await;
        self.check(self.server.tokens() > given, "it was refreshed");

        self.reentry.stage("a refresh fails while the token lives");
        sleep(seconds(90)).await;
        self.server.is(Mood::IsBusy);
        let served = self.call().await;
        self.check(served.is_ok(), &served);

        self.reentry
            .stage("a refresh that fails after the token's end");
        sleep(seconds(5)).await;
        self.server.is(Mood::Hangs);
        let served = self.call().await;
        self.check(served.is_ok(), &served);
        sleep(seconds(12)).await;
        self.server.is(Mood::Serves);
        sleep(seconds(61)).await;
        let served = self.call().await;
        self.check(served.is_ok(), &served);
    }

    async fn reject(&self) {
        self.reentry.stage("the API does not accept the token");
        let given = self.server.tokens();
        self.accepts.store(false, Ordering::SeqCst);
        for _ in 0..3 {
            let _ = self.call().await;
            self.settle().await;
        }
        self.check(self.server.tokens() > given, "it was replaced");
        sleep(seconds(61)).await;
        let replayed = self.call_with(true).await;
        self.check(replayed.is_ok(), &replayed);
        self.accepts.store(true, Ordering::SeqCst);

        self.reentry.stage("Altinn does not accept the token");
        sleep(seconds(61)).await;
        self.client.invalidate(SCOPES).unwrap();
        self.server.is(Mood::RefusesToExchange);
        let refused = self.client.altinn_token(SCOPES).await;
        self.check(refused.is_err(), &refused);
        self.server.is(Mood::Serves);
        sleep(seconds(61)).await;
        let fetched = self.client.altinn_token(SCOPES).await;
        self.check(fetched.is_ok(), &fetched);
    }

    async fn refuse(&self) {
        self.reentry.stage("the server refuses the client");
        for mood in [
            Mood::RefusesTheClient,
            Mood::RefusesTheKey,
            Mood::HasAnotherTime,
        ] {
            self.server.is(mood);
            self.client.invalidate(SCOPES).unwrap();
            for _ in 0..2 {
                let refused = self.call().await;
                self.check(refused.is_err(), (mood, &refused));
            }
            sleep(seconds(2)).await;
            let refused = self.call().await;
            self.check(refused.is_err(), (mood, &refused));
        }
        self.server.is(Mood::Serves);
        sleep(seconds(61)).await;
        let fetched = self.call().await;
        self.check(fetched.is_ok(), &fetched);
    }

    async fn fail(&self) {
        self.reentry.stage("the server fails");
        for mood in [Mood::IsBusy, Mood::IsGone] {
            self.client.invalidate_all();
            self.server.is(mood);
            for _ in 0..2 {
                for _ in 0..2 {
                    let failed = self.call().await;
                    self.check(failed.is_err(), (mood, &failed));
                }
                sleep(seconds(2)).await;
            }
            self.server.is(Mood::Serves);
            sleep(seconds(61)).await;
            let fetched = self.call().await;
            self.check(fetched.is_ok(), &fetched);
        }
    }

    async fn open_the_breaker(&self) {
        self.reentry.stage("the breaker opens, and a probe fails");
        self.server.is(Mood::IsGone);
        for number in 0..4 {
            let failed = self.token(request(number)).await;
            self.check(failed.is_err(), &failed);
        }
        let given = self.server.tokens();
        let refused = self.token(request(5)).await;
        self.check(refused.is_err(), &refused);
        sleep(seconds(6)).await;
        let failed = self.token(request(6)).await;
        self.check(failed.is_err(), &failed);

        self.reentry.stage("the breaker lets a probe through");
        self.server.is(Mood::Serves);
        let refused = self.token(request(7)).await;
        self.check(refused.is_err(), &refused);
        self.check(self.server.tokens() == given, "the server was left alone");
        sleep(seconds(61)).await;
        let fetched = self.token(request(8)).await;
        self.check(fetched.is_ok(), &fetched);
    }

    async fn meet_the_breaker_with_a_token_that_just_ended(&self) {
        self.reentry
            .stage("a token that just ended meets the open breaker");
        let fetched = self.call().await;
        self.check(fetched.is_ok(), &fetched);
        self.server.is(Mood::IsGone);
        sleep(seconds(80)).await;
        for number in 10..14 {
            let _ = self.token(request(number)).await;
        }
        sleep(seconds(35)).await;
        let waits = self.call();
        let recovers = async {
            sleep(seconds(1)).await;
            self.server.is(Mood::Serves);
        };
        let (waited, ()) = tokio::join!(waits, recovers);
        drop(waited);
        sleep(seconds(61)).await;
        let fetched = self.call().await;
        self.check(fetched.is_ok(), &fetched);
    }

    async fn spend(&self) {
        self.reentry.stage("a token is spent on arrival");
        self.client.invalidate_all();
        self.server.is(Mood::GivesSpentTokens);
        let served = self.call().await;
        self.check(served.is_ok(), &served);
        let remembered = self.call().await;
        self.check(remembered.is_err(), &remembered);
        sleep(seconds(2)).await;
        let served = self.call().await;
        self.check(served.is_ok(), &served);

        self.reentry
            .stage("tokens take longer to arrive than they live");
        sleep(seconds(2)).await;
        self.server.is(Mood::IsLate);
        let late = self.call().await;
        self.check(late.is_err(), &late);
        self.server.is(Mood::Serves);
        sleep(seconds(61)).await;
        let fetched = self.call().await;
        self.check(fetched.is_ok(), &fetched);
    }

    async fn lose(&self) {
        self.reentry.stage("flights panic");
        self.client.invalidate_all();
        self.server.is(Mood::Panics);
        let lost = self.call().await;
        self.check(lost.is_err(), &lost);
        self.server.is(Mood::Serves);
        sleep(seconds(61)).await;
        let fetched = self.call().await;
        self.check(fetched.is_ok(), &fetched);

        self.reentry
            .stage("what failed or is in the air is declared void");
        self.server.is(Mood::IsGone);
        let failed = self.token(request(20)).await;
        self.check(failed.is_err(), &failed);
        self.server.is(Mood::Hangs);
        let hangs = timeout(Duration::from_millis(10), self.token(request(21))).await;
        self.check(hangs.is_err(), "it hangs");
        self.client.invalidate_all();
        self.server.is(Mood::Serves);
        self.settle().await;

        self.reentry
            .stage("a source becomes another one after a failure");
        self.server.is(Mood::IsGone);
        let failed = self.token(request(22)).await;
        self.check(failed.is_err(), &failed);
        self.server.is(Mood::Serves);
        self.server.is_another();
        let fetched = self.token(request(22)).await;
        self.check(fetched.is_ok() || !self.is_source, &fetched);
    }

    async fn evict(&self) {
        self.reentry
            .stage("more tokens are asked for than are kept");
        for number in 30..60 {
            let mood = match number % 10 {
                0 => Mood::IsGone,
                _ => Mood::Serves,
            };
            self.server.is(mood);
            let _ = self.token(request(number)).await;
            sleep(Duration::from_millis(300)).await;
        }
        self.server.is(Mood::Serves);
        sleep(seconds(61)).await;
    }

    fn publish(&self) {
        self.reentry.stage("what is known is published and printed");
        self.client.publish_metrics();
        drop((self.client.health(), self.client.stats()));
        let mut paper = Paper(self.reentry.clone());
        write!(paper, "{:?} {:?}", self.client, self.authorizer).unwrap();
    }

    async fn give_up(&self) {
        self.reentry
            .stage("callers give up, and a service warms up");
        self.client.invalidate_all();
        for number in 70..73 {
            let given_up = self.token(request(number)).now_or_never();
            drop(given_up);
        }
        let warmed = self.client.warm_up().await;
        self.check(warmed.is_ok(), &warmed);
        self.settle().await;
    }

    async fn reload(&self) {
        /// An interval, the second in which what is new settles, and one more.
        const SEEN: Duration = seconds(602);

        self.reentry.stage("new keys of the same client are taken");
        let settings = |client, kids| {
            let settings = settings(&self.reentry, client, kids);
            Says::Settings(Box::new(settings))
        };
        self.script.says(settings("our-client", ["c", "d"]));
        sleep(SEEN).await;
        let served = self.call().await;
        self.check(served.is_ok(), &served);

        self.reentry.stage("credentials keep changing");
        self.script.says(Says::Flickers);
        sleep(SEEN + seconds(4)).await;
        let is_known = self.client.health().settings_error.is_some();
        self.check(is_known, "health names credentials that keep changing");

        self.reentry.stage("credentials cannot be read");
        for why in ["the script is out", "the script is out", "it is out still"] {
            self.script.says(Says::Fails(why));
            sleep(SEEN).await;
        }
        self.script.says(Says::Panics);
        for _ in 0..3 {
            sleep(SEEN).await;
            self.client.invalidate_all();
            let _ = self.call().await;
        }

        self.reentry.stage("another client's credentials are taken");
        self.script.says(settings("their-client", ["g", "h"]));
        // Which starts the watch again that has panicked.
        self.client.invalidate_all();
        let _ = self.call().await;
        sleep(SEEN).await;
        let health = self.client.health();
        self.check(health.settings_error.is_none(), &health);
        let fetched = self.call().await;
        self.check(fetched.is_ok(), &fetched);

        self.reentry
            .stage("a key is refused and its source looked at");
        self.server.is(Mood::RefusesTheKey);
        self.client.invalidate_all();
        let refused = self.call().await;
        self.check(refused.is_err(), &refused);
        self.server.is(Mood::Serves);
        sleep(seconds(61)).await;
    }

    async fn read_metadata_again(&self) {
        self.reentry.stage("the authority's metadata is read again");
        sleep(seconds(13 * 60 * 60)).await;
        for mood in [Mood::IsGone, Mood::IsGone, Mood::Serves] {
            self.server.is(mood);
            let _ = self.call().await;
            sleep(seconds(11 * 60)).await;
        }
        sleep(seconds(61)).await;
        let fetched = self.call().await;
        self.check(fetched.is_ok(), &fetched);
    }

    async fn shut_down(self) {
        self.reentry.stage("the client is shut down");
        self.server.is(Mood::Hangs);
        let flying = self.token(request(80)).now_or_never();
        drop(flying);
        self.settle().await;
        self.client.shutdown().await;
        let closed = self.call().await;
        self.check(closed.is_err(), &closed);

        self.reentry.stage("the client is dropped");
        let Self {
            reentry,
            client,
            authorizer,
            script,
            server,
            ..
        } = self;
        drop((client, authorizer, script, server));
        reentry.aim(None);
    }
}

fn settings(
    reentry: &Reentry,
    client_id: &'static str,
    kids: [&'static str; 2],
) -> MaskinportenSettings {
    let settings = MaskinportenSettings::new(AUTHORITY, client_id);
    let [first, second] = kids.map(|kid| Key::new(reentry, kid));
    settings.with_signer(first).with_signer(second)
}
