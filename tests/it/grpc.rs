//! gRPC tells of a rejected token in `grpc-status`: 16 in the headers is a 401, and nothing else is.
//!
//! The responses are made by hand, as a server's trailers-only answer arrives.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, Version};
use maskinporten_sim::Body;
use tower::{Layer, ServiceExt};

use crate::world::{A, Recorder, SCOPES, get, layer, world};

/// How many tokens were fetched, the first included, once an answer like this was read.
async fn grants_after(version: Version, status: StatusCode, grpc_status: &'static str) -> usize {
    let (sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    let api = Recorder::answering(move |_| {
        let mut response = Response::new(Body::empty());
        *response.version_mut() = version;
        *response.status_mut() = status;
        let value = HeaderValue::from_static(grpc_status);
        response.headers_mut().insert("grpc-status", value);
        response
    });

    let response = layer(&client).layer(api).oneshot(get(A)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["grpc-status"], grpc_status);
    sim.journal().grants()
}

#[tokio::test(start_paused = true)]
async fn unauthenticated_in_the_headers_is_a_401() {
    for version in [Version::HTTP_2, Version::HTTP_3] {
        assert_eq!(grants_after(version, StatusCode::OK, "16").await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn any_other_grpc_status_changes_nothing() {
    for status in ["0", "7", "1", "6", "160", "016", "", "unauthenticated"] {
        let grants = grants_after(Version::HTTP_2, StatusCode::OK, status).await;
        assert_eq!(grants, 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_status_is_not_looked_for_where_there_is_no_grpc() {
    for version in [Version::HTTP_10, Version::HTTP_11] {
        assert_eq!(grants_after(version, StatusCode::OK, "16").await, 1);
    }
    for status in [StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY] {
        assert_eq!(grants_after(Version::HTTP_2, status, "16").await, 1);
    }
}
