//! What a token request costs its thread beside the signature in it.
//!
//! Pairs of batches, interleaved: one of token requests, one of bare signatures.
//!
//! - *A token request* is all that a client does, on one thread, for a token that it holds no more: a
//!   flight is started, `jti` drawn, the claims written, encoded and signed, the form built, sent and
//!   answered at once, the answer read and the token kept. Only the network is left out: the
//!   transport's service answers where it stands. The assertion is so measured with more than its
//!   own work, never with less.
//! - *A bare signature* is aws-lc-rs's RS256 by a held key over a message of the assertion's length,
//!   into a buffer that is there.
//! - The hop is what signing on the blocking pool ([`LocalSigner`], the default) takes longer than a
//!   bare signature: the waiting of one task, and not work of the thread.
//!
//! Nanoseconds for one of each, as JSON: `{"pairs":[[request,bare],…],"hop_ns":[…]}`.
//! `cargo xtask promises P8` runs this and judges what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads its watch")]
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
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use maskinporten::{
    BoxFuture, Clock, KeyReference, LocalSigner, MaskinportenClient, Result, Signer,
    SigningAlgorithm, SigningKey, SystemClock, TokenRequest, Transport,
};
use serde_json::json;
use tokio::runtime::Builder;
use tower_service::Service;

const PAIRS: usize = 101;
const BATCH: usize = 20;

/// A published test key, of 2048 bits: it opens nothing.
const KEY: &str = include_str!("../../../tests/vectors/keys/rsa-2048-pkcs8.pem");

fn main() {
    let (signer, clock) = (Inline::new(), Leaping::default());
    let server = Immediate::new();
    let answered = Arc::clone(&server.answered);
    let (length, hours) = (Arc::clone(&signer.length), Arc::clone(&clock.hours));
    let client = MaskinportenClient::builder()
        .signer("https://test.maskinporten.no/", "client", signer)
        .transport(Transport::new(server))
        .clock(clock)
        .build()
        .unwrap();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let request = TokenRequest::scopes(["krr:read"]).unwrap();
    let fetch = || {
        runtime.block_on(async {
            for _ in 0..BATCH {
                // The token of the last request is spent.
                hours.fetch_add(1, Ordering::Relaxed);
                black_box(client.access_token(&request).await.unwrap());
            }
        });
    };
    fetch();

    let bare = Bare::new(length.load(Ordering::Relaxed));
    let hopping = LocalSigner::new(SigningKey::from_pem(KEY, "key").unwrap());
    let hop = || {
        runtime.block_on(async {
            for _ in 0..BATCH {
                black_box(hopping.sign(bare.message.clone()).await.unwrap());
            }
        });
    };
    hop();

    let (mut pairs, mut hops) = (Vec::new(), Vec::new());
    for at in 0..PAIRS {
        // Each goes first in turn.
        let (requested, signed) = if at % 2 == 0 {
            let requested = timed(fetch);
            (requested, timed(|| bare.sign(BATCH)))
        } else {
            let signed = timed(|| bare.sign(BATCH));
            (timed(fetch), signed)
        };
        pairs.push([requested, signed]);
        hops.push(timed(hop) - timed(|| bare.sign(BATCH)));
    }
    // Each of them was asked for: none was still held.
    assert_eq!(answered.load(Ordering::Relaxed), (1 + PAIRS) * BATCH);
    println!("{}", json!({ "pairs": pairs, "hop_ns": hops }));
}

/// Nanoseconds for one of a batch.
fn timed(batch: impl FnOnce()) -> f64 {
    let start = Instant::now();
    batch();
    start.elapsed().as_secs_f64() * 1e9 / BATCH as f64
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

    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
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
