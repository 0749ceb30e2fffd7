//! Work that blocks, on the pool of the runtime that is here and now.

use tokio::runtime::Handle;

use crate::advice;
use crate::error::{Error, ErrorKind, Result};

/// Does `work` on the blocking pool. A call that is dropped leaves it to be finished there.
///
/// The runtime is looked up for every piece of work, so that whoever asks outlives the runtime it was
/// made on.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the room that blocks, on the pool of the runtime it finds here and now"
)]
pub(crate) async fn on_blocking_pool<T: Send + 'static>(
    without_runtime: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let Ok(runtime) = Handle::try_current() else {
        return Err(
            Error::new(ErrorKind::Runtime, without_runtime).with_advice(&advice::NO_RUNTIME)
        );
    };
    match runtime.spawn_blocking(work).await {
        Ok(done) => done,
        // A panic's message is its author's and may hold anything: it goes to the panic hook only.
        Err(lost) => {
            let message = if lost.is_panic() {
                "the work was lost: it panicked"
            } else {
                "the work was lost: the runtime shut down"
            };
            Err(Error::new(ErrorKind::Runtime, message).with_advice(&advice::RUNTIME_GONE))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_the_pool_is_an_error() {
        let lost = on_blocking_pool::<()>("", || panic!("planted")).await;
        let error = lost.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Runtime);
        assert!(!format!("{error:?} {error}").contains("planted"));
    }
}
