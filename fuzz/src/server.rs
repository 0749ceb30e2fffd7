//! The servers that a client under test speaks to, and the time it lives in.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use maskinporten::{
    BoxFuture, KeyReference, Result, Signer, SigningAlgorithm, TokioClock, Transport,
};
use tower_service::Service;

use crate::Answer;

/// Answers every GET the same, every POST the same, and remembers who was asked.
#[derive(Clone, Debug)]
pub struct Server {
    get: Response<Bytes>,
    post: Response<Bytes>,
    asked: Arc<Mutex<Vec<(Method, Uri)>>>,
}

/// A token that whoever asks for one is given.
const TOKEN: &str = r#"{"access_token":"given","token_type":"Bearer","expires_in":120}"#;

impl Server {
    /// Every request is answered like this.
    pub fn of(answer: &Answer) -> Self {
        Self {
            get: answer.response(),
            post: answer.response(),
            asked: Arc::default(),
        }
    }

    /// Metadata are asked for and answered like this; a grant is answered with a token.
    pub fn of_metadata(answer: &Answer) -> Self {
        Self {
            get: answer.response(),
            post: Response::new(Bytes::from_static(TOKEN.as_bytes())),
            asked: Arc::default(),
        }
    }

    /// What was asked for, in order.
    pub fn asked(&self) -> Vec<(Method, Uri)> {
        self.asked.lock().expect("nobody panics here").clone()
    }

    /// The way to this server, whatever the address.
    pub fn transport(&self) -> Transport {
        Transport::new(self.clone())
    }
}

impl Service<Request<Full<Bytes>>> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let asked = (request.method().clone(), request.uri().clone());
        self.asked.lock().expect("nobody panics here").push(asked);
        let response = match *request.method() {
            Method::POST => self.post.clone(),
            _ => self.get.clone(),
        };
        ready(Ok(response.map(Full::new)))
    }
}

/// A signer whose signature nobody looks at: an RSA operation for every input would be most of the work.
#[derive(Debug)]
pub struct Fixed;

impl Signer for Fixed {
    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::Rs256
    }

    fn key_reference(&self) -> KeyReference<'_> {
        KeyReference::Kid("a-key")
    }

    fn sign(&self, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(ready(Ok(vec![0; 256])))
    }
}

/// No fetch takes longer, whatever is answered: the deadline of a flight, and what is left to tell it.
const PATIENCE: Duration = Duration::from_secs(11);

/// Runs `question` on a runtime of its own whose time is virtual, with the clock to give to a client.
///
/// # Panics
///
/// Where the answer takes longer than a fetch may.
pub fn in_virtual_time<T>(question: impl AsyncFnOnce(TokioClock) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets needs nothing of the machine");
    // The first of January 2027: dates in a corpus stay where they were, before it or after.
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_798_761_600);
    runtime.block_on(async {
        let clock = TokioClock::starting_at(start);
        tokio::time::timeout(PATIENCE, question(clock))
            .await
            .expect("a fetch ends within its deadline")
    })
}
