//! A Maskinporten, an Altinn and a protected API to test against, as strict as the real ones.
//!
//! [`Sim`] is one world: one clock, one seed, its own keys. It is a `tower_service::Service`, so a
//! client can be tested without a socket; [`SimServer`] is the same world on a port. It judges by its
//! own reading of the protocol and shares no code with any client.
//!
//! A client gets a token when
//! * its assertion is signed (RS256, RS384 or RS512) by a registered key that its `kid` names, or by
//!   the certificate in `x5c` if it has registered no key;
//! * `aud` is the issuer, slash and all, or the token endpoint; `exp - iat` is at most 120 s; `iat` and
//!   `exp` are right within 10 s; `jti` was never used before;
//! * it has every scope it asks for, and what it does for others has been delegated or approved.
//!
//! Everything else is refused in Maskinporten's words and with its codes. The Altinn exchange takes
//! the token that comes out, and the API under `/api/` takes either. What happened stands in the
//! [`Journal`]; what should go wrong is a [`Fault`].
//!
//! | path | |
//! | --- | --- |
//! | `/.well-known/oauth-authorization-server` | metadata (RFC 8414), also with a slash at its end |
//! | `/jwk` | the key that signs access tokens |
//! | `/token` | an assertion in, an access token out (RFC 7523) |
//! | `/authentication/api/v1/exchange/maskinporten` | an access token in, an Altinn token out |
//! | `/api/v1/token` | a sidecar as on NAIS: scopes in, an access token out, and no key at the caller |
//! | `/api/echo`, and all else under `/api/` | an API that wants a bearer, and shows its claims |
//! | `/_sim/journal` | the journal as JSON |
//! | `/_sim/faults` | the faults as JSON: `GET` lists, `DELETE` clears, `POST` adds one or an array |
//!
//! A fault over HTTP is `{"route": "token", "kind": "latency", "ms": 80, "times": 2}`. A kind has the name
//! of its constructor and asks for what that does (`status` may have `headers` and a `body`); what cannot be
//! read is answered with what is known. `{"kind": "revoke"}` and `{"kind": "roll_keys"}` happen at once.
//!
//! A fault may be for some requests only. All conditions have to hold; a text can also be an array of texts:
//!
//! | member | in Rust | holds for |
//! | --- | --- | --- |
//! | `"client": "…"` | [`for_client`](Fault::for_client) | requests of this client |
//! | `"consumer": "311169963"` | [`for_consumer`](Fault::for_consumer) | tokens on behalf of this organisation (`consumer_org`) |
//! | `"system_user": "311169963"` | [`for_system_user`](Fault::for_system_user) | tokens of its system users |
//! | `"itself": true` | [`for_itself`](Fault::for_itself) | the client's own tokens |
//! | `"scope": "krr:read"` | [`for_scope`](Fault::for_scope) | tokens with this scope |
//! | `"resource": "https://…"` | [`for_resource`](Fault::for_resource) | tokens restricted to this API |
//! | `"path": "/api/persons"` | [`at_path`](Fault::at_path) | this path |
//! | `"under": "/api/persons"` | [`under_path`](Fault::under_path) | this path and all below it |
//!
//! `{"route": "exchange", "kind": "problem", "status": 401, "title": "Unauthorized", "consumer": "311169963"}`
//! refuses one organisation's token at the exchange and no other.
//!
//! ```
//! use http::{Request, StatusCode};
//! use maskinporten_sim::{Body, Route, Sim};
//! use tower_service::Service;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut sim = Sim::new();
//! let client = sim.new_client(["krr:read"]);
//! assert_eq!(client.settings_json()["MaskinportenSettings"]["Authority"], sim.issuer());
//!
//! // Give `client` and `sim` to what is to be tested. A request without an assertion is refused:
//! let request = Request::post(sim.token_endpoint()).body(Body::empty()).unwrap();
//! let response = sim.call(request).await.unwrap();
//! assert_eq!(response.status(), StatusCode::BAD_REQUEST);
//!
//! let journal = sim.journal();
//! assert_eq!(journal.token_requests(), 1);
//! assert_eq!(journal.requests(Route::Token).next().unwrap().error(), Some("invalid_request"));
//! # }
//! ```

mod sim;
use sim::World;
pub use sim::{Sim, SimBuilder};

mod server;
pub use server::SimServer;

mod clock;
pub use clock::SimClock;

mod seed;

mod keys;
pub use keys::RegistrationError;

mod certificate;

mod registry;
pub use registry::ClientRegistration;

mod revocation;

mod client;
pub use client::SimClient;

mod setup;

mod body;
pub use body::Body;

mod route;
pub use route::Route;

mod visit;
pub use visit::{Disconnected, ResponseFuture};

mod condition;
pub use condition::InvalidOrganisation;

mod fault;
pub use fault::Fault;

mod control;

mod flaw;

mod jws;

mod refusal;

mod assertion;

mod entitlement;

mod issuer;

mod bearer;

mod altinn;

mod sidecar;

mod resource;
pub use resource::Protection;

mod answer;
use answer::Answer;

mod journal;
pub use journal::{Entry, Journal, Verdict};
