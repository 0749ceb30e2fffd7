//! Who signs an assertion: a key in this process, or whatever holds it elsewhere.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use crate::blocking::on_blocking_pool;
use crate::error::Result;
use crate::key::{SigningAlgorithm, SigningKey};

/// A future behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How the token server finds the public half of the key that signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyReference<'a> {
    /// By the identifier it is registered under: `kid` (RFC 7515 §4.1.4).
    Kid(&'a str),
    /// By its certificate and those above it: the entries of `x5c` (RFC 7515 §4.1.6), each DER in
    /// standard base64, the key's own first.
    Chain(&'a [String]),
}

/// Signs assertions with a key it need not show.
///
/// - A [`Signer`] is asked for a signature over bytes; the key itself is never asked for, so a vault
///   or an HSM can stand behind it.
/// - It refers to its key by `kid` or by certificate chain and never by both: the header of an
///   assertion carries one of them (RFC 7515 §4.1.4 and §4.1.6).
///
/// - It stands for one key for its whole life: header and signature of an assertion are asked for one
///   after the other and must be of the same key. Another key is another signer; a source that goes
///   over from one to the next tells so by [`TokenSource::revision`](crate::TokenSource::revision).
///
/// The answer is RSASSA-PKCS1-v1_5 over the input itself. A vault that signs digests is given
/// [`SigningAlgorithm::digest`] of it.
/// A signer that is asked from several tasks at once answers each of them.
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// How it signs: `alg` of the assertion.
    fn algorithm(&self) -> SigningAlgorithm;

    /// What the assertion refers to the key by.
    fn key_reference(&self) -> KeyReference<'_>;

    /// When the key ends, where that is known: whoever holds it is told in good time, and it signs after
    /// those that have not ended. The default is for a key that does not tell.
    fn expires_at(&self) -> Option<SystemTime> {
        None
    }

    /// Signs `input`. A dropped future must leave the signer able to sign again.
    ///
    /// # Errors
    ///
    /// Whatever keeps the signature from coming about, as an [`Error`](crate::Error) of this crate.
    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>>;
}

/// Signs with a key held in this process, on the blocking pool of the runtime that asks.
///
/// A call that is dropped leaves its signature to be finished on the pool, and nobody to wait for it.
///
/// ```
/// use maskinporten::{KeyReference, LocalSigner, Signer, SigningKey};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), maskinporten::Error> {
/// let made = SigningKey::generate(2048, Some("my-key"))?;
/// let signer = LocalSigner::new(SigningKey::from_jwk(made.private_jwk().expose(), None)?);
/// let signature = signer.sign(b"header.claims".to_vec()).await?;
/// assert_eq!(signature.len(), 256);
/// assert!(matches!(signer.key_reference(), KeyReference::Kid("my-key")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LocalSigner {
    key: Arc<SigningKey>,
}

impl LocalSigner {
    /// Signs with `key`.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self { key: Arc::new(key) }
    }

    /// The key it signs with.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }
}

impl Signer for LocalSigner {
    fn algorithm(&self) -> SigningAlgorithm {
        self.key.algorithm()
    }

    fn key_reference(&self) -> KeyReference<'_> {
        self.key.key_reference()
    }

    fn expires_at(&self) -> Option<SystemTime> {
        self.key.expires_at()
    }

    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        let key = Arc::clone(&self.key);
        let without_runtime = "there is no Tokio runtime to sign on";
        Box::pin(on_blocking_pool(without_runtime, move || key.sign(&input)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    use std::future::poll_fn;
    use std::task::{Context, Poll, Waker};

    fn signer() -> LocalSigner {
        let jwk = include_str!("../../../tests/vectors/keys/rsa-2048.jwk.json");
        LocalSigner::new(SigningKey::from_jwk(jwk, None).unwrap())
    }

    #[tokio::test]
    async fn the_pool_signs_what_the_key_signs() {
        let signer = signer();
        let signed = signer.sign(b"header.claims".to_vec()).await.unwrap();
        assert_eq!(signed, signer.key().sign(b"header.claims").unwrap());
        assert_eq!(signer.algorithm(), SigningAlgorithm::Rs256);
        let kid = KeyReference::Kid("maskinporten-test-key");
        assert_eq!(signer.key_reference(), kid);
    }

    #[test]
    fn without_a_runtime_there_is_an_error_and_no_panic() {
        let signer = signer();
        let mut signing = signer.sign(Vec::new());
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Err(error)) = signing.as_mut().poll(&mut context) else {
            panic!("it must answer at once");
        };
        assert_eq!(error.kind(), ErrorKind::Runtime);
        assert!(error.hint().unwrap().contains("Tokio"));
    }

    #[tokio::test]
    async fn a_dropped_call_leaves_the_signer_signing() {
        let signer = signer();
        let mut dropped = signer.sign(b"a".to_vec());
        poll_fn(|context| {
            let _ = dropped.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
        drop(dropped);
        assert!(signer.sign(b"b".to_vec()).await.is_ok());
    }

    #[test]
    fn it_prints_without_its_key() {
        let printed = format!("{:?}", signer());
        assert!(
            printed.contains("RSA-2048 kid=maskinporten-test-key [redacted]"),
            "{printed}"
        );
    }
}
