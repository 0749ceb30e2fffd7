//! A supplier's first tokens over real sockets and TLS: what they cost in handshakes.

mod measured;

use std::time::Duration;

use measured::{Fetches, counted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_that_follow_one_another_share_tls_handshakes() {
    let organisations = 200;
    let counted = counted(Fetches {
        organisations,
        server: Duration::from_millis(20),
    })
    .await
    .unwrap();

    assert_eq!(counted.token_requests, organisations as u64);
    // A connection for each fetch that was under way at once.
    assert!(counted.handshakes <= counted.at_once, "{counted:?}");
}
