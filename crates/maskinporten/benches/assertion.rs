//! P8: what a token request costs the thread that signs, against the bare RSA-2048 signature in it.
//!
//! - *A token request* is all that a client does, on one thread, for a token that it holds no more: a
//!   flight is started, `jti` drawn, the claims written, encoded and signed, the form built, sent and
//!   answered at once, the answer read and the token kept. Only the network is left out: the
//!   transport's service answers where it stands. The assertion is so measured with more than its
//!   own work, never with less.
//! - *A bare signature* is aws-lc-rs's RS256 by a held key over a message of the assertion's length,
//!   into a buffer that is there.
//! - Instructions are judged. Time is printed and not judged: the faster a processor multiplies, the more
//!   the rest weighs. It is the median of interleaved pairs of batches.
//! - The hop is what signing on the blocking pool ([`LocalSigner`], the default) takes longer than a
//!   bare signature: the waiting of one task, and not work of the thread. It is printed too.
//!
//! ```text
//! assertion                         judges P8
//! assertion count request|bare N    makes so many, for valgrind
//! ```

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use maskinporten::{
    BoxFuture, Clock, KeyReference, LocalSigner, MaskinportenClient, Signer, SigningAlgorithm,
    SigningKey, SystemClock, TokenRequest, Transport,
};
use maskinporten_measure::{self as measure, Bound, Figure, Report, Result, Unit};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

const ASSERTION: Bound = Bound::at_most(1.05, Unit::Ratio);
/// aws-lc-rs blinds each signature and draws another blinding for every 32: both runs have whole ones.
const SIGNATURES: [usize; 2] = [32, 96];

const PAIRS: usize = 51;
const BATCH: usize = 20;

/// A published test key, of 2048 bits: it opens nothing.
const KEY: &str = include_str!("../../../tests/vectors/keys/rsa-2048-pkcs8.pem");

fn main() {
    let arguments = measure::arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => judge(),
        ["count", subject, times] => {
            let (requests, times) = (Requests::new(), times.parse().unwrap());
            // Both set up the same and sign once, so that the two runs differ by the counted work alone.
            requests.fetch(1);
            let bare = Bare::new(requests.message_length());
            match *subject {
                "request" => requests.fetch(times),
                "bare" => bare.sign(times),
                _ => panic!("request or bare"),
            }
        }
        _ => panic!("see the top of this file for the arguments"),
    }
}

fn judge() {
    let mut report = Report::new("P8");
    let what = "assertion ÷ its bare signature, instructions";
    report.measured(what, ASSERTION, instructions());
}

fn instructions() -> Result<Figure> {
    let counted = |subject| measure::instructions(&["count", subject], SIGNATURES);
    let (request, bare) = (counted("request")?, counted("bare")?);
    let (time, samples) = time()?;
    let note = format!("{request:.0} ÷ {bare:.0}; not judged: {time}");
    Ok(Figure::new(request / bare)
        .with_note(note)
        .with_samples(samples))
}

/// The ratio in time, and the hop to the signing thread.
fn time() -> Result<(String, Value)> {
    let requests = Requests::new();
    requests.fetch(BATCH);
    let bare = Bare::new(requests.message_length());
    let timed = |batch: &dyn Fn()| measure::nanoseconds_each(BATCH, batch);
    let bare_batch = || timed(&|| bare.sign(BATCH));

    let pairs = measure::pairs(PAIRS, || timed(&|| requests.fetch(BATCH)), bare_batch);
    // Each of them was asked for: none was still held.
    let answered = requests.answered.load(Ordering::Relaxed);
    assert_eq!(answered, (1 + PAIRS) * BATCH);
    let ratio = measure::median(pairs.iter().map(|[request, bare]| request / bare))?;

    let hopping = LocalSigner::new(SigningKey::from_pem(KEY, "key").unwrap());
    let sign = || {
        requests.runtime.block_on(async {
            for _ in 0..BATCH {
                black_box(hopping.sign(bare.message.clone()).await.unwrap());
            }
        });
    };
    sign();
    let hops = measure::pairs(PAIRS, || timed(&sign), bare_batch);
    let hop = measure::median(hops.iter().map(|[hopping, bare]| hopping - bare))? / 1e3;
    let note = format!("{ratio:.3} in time, hop to the signing thread and back {hop:.1} µs");
    Ok((note, json!({"pairs_ns": pairs, "hop_pairs_ns": hops})))
}

// ===== the token requests =====

/// A client on a runtime of one thread, whose tokens are spent when the next is asked for.
struct Requests {
    runtime: Runtime,
    client: MaskinportenClient,
    request: TokenRequest,
    hours: Arc<AtomicU64>,
    length: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
}

impl Requests {
    fn new() -> Self {
        let (signer, clock, server) = (Inline::new(), Leaping::default(), Immediate::new());
        let (length, hours) = (Arc::clone(&signer.length), Arc::clone(&clock.hours));
        let answered = Arc::clone(&server.answered);
        let client = MaskinportenClient::builder()
            .signer("https://test.maskinporten.no/", "client", signer)
            .transport(Transport::new(server))
            .clock(clock)
            .build()
            .unwrap();
        Self {
            runtime: Builder::new_current_thread().enable_time().build().unwrap(),
            client,
            request: TokenRequest::scopes(["krr:read"]).unwrap(),
            hours,
            length,
            answered,
        }
    }

    fn fetch(&self, times: usize) {
        self.runtime.block_on(async {
            for _ in 0..times {
                // The token of the last request is spent.
                self.hours.fetch_add(1, Ordering::Relaxed);
                black_box(self.client.access_token(&self.request).await.unwrap());
            }
        });
    }

    /// How long what was signed last is.
    fn message_length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }
}

// ===== the signers =====

/// Signs on the thread that asks, and notes how long what it signs is.
#[derive(Debug)]
struct Inline {
    key: SigningKey,
    length: Arc<AtomicUsize>,
}

impl Inline {
    fn new() -> Self {
        Self {
            key: SigningKey::from_pem(KEY, "key").unwrap(),
            length: Arc::default(),
        }
    }
}

impl Signer for Inline {
    fn algorithm(&self) -> SigningAlgorithm {
        self.key.algorithm()
    }

    fn key_reference(&self) -> KeyReference<'_> {
        self.key.key_reference()
    }

    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, maskinporten::Result<Vec<u8>>> {
        self.length.store(input.len(), Ordering::Relaxed);
        Box::pin(ready(self.key.sign(&input)))
    }
}

/// The library alone.
struct Bare {
    key: RsaKeyPair,
    random: SystemRandom,
    message: Vec<u8>,
}

impl Bare {
    fn new(length: usize) -> Self {
        let document = KEY
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>();
        let document = STANDARD.decode(document).unwrap();
        Self {
            key: RsaKeyPair::from_pkcs8(&document).unwrap(),
            random: SystemRandom::new(),
            message: vec![b'a'; length],
        }
    }

    fn sign(&self, times: usize) {
        let mut signature = vec![0; self.key.public_modulus_len()];
        for _ in 0..times {
            let message = black_box(&self.message);
            self.key
                .sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature)
                .unwrap();
            black_box(&signature);
        }
    }
}

// ===== the clock =====

/// The machine's clocks, some hours ahead.
#[derive(Debug, Default)]
struct Leaping {
    hours: Arc<AtomicU64>,
}

impl Leaping {
    fn ahead(&self) -> Duration {
        Duration::from_secs(3600 * self.hours.load(Ordering::Relaxed))
    }
}

impl Clock for Leaping {
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() + self.ahead()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall() + self.ahead()
    }
}

// ===== the server =====

/// Answers every request with a token, at once.
#[derive(Clone)]
struct Immediate {
    answer: Bytes,
    answered: Arc<AtomicUsize>,
}

impl Immediate {
    /// A JWT as long as Maskinporten's own.
    fn new() -> Self {
        let claims = json!({
            "iss": "https://test.maskinporten.no/", "client_amr": "private_key_jwt",
            "token_type": "Bearer", "iat": 1_700_000_000, "exp": 1_700_000_120,
            "client_id": "client", "scope": "krr:read", "jti": "jti",
            "consumer": {"authority": "iso6523-actorid-upis", "ID": "0192:991825827"},
        });
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let header = part(br#"{"kid":"key","alg":"RS256"}"#);
        let claims = part(claims.to_string().as_bytes());
        let token = format!("{header}.{claims}.{}", part(&[0; 256]));
        let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": 119});
        Self {
            answer: answer.to_string().into(),
            answered: Arc::default(),
        }
    }
}

impl Service<Request<Bytes>> for Immediate {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        black_box(request.body());
        self.answered.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(self.answer.clone().into())))
    }
}
