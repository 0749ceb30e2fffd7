//! Faults of the simulator that are for one organisation, system user, client, scope or address: the
//! requests of the engine that fit meet them, and all others do not.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use maskinporten::{
    AltinnSettings, Credentials, ErrorKind, MaskinportenClient, Sidecar, SystemUser, TokenRequest,
    TokioClock, Transport,
};
use maskinporten_sim::{Body, Fault, Route, Sim, SimClient, SimServer};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{SCOPES, builder, settings};

/// The organisation that the simulator's clients belong to.
const OWNER: &str = "991825827";

const CUSTOMER: &str = "311169963";

const ANOTHER: &str = "405003309";

/// Whom a token is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tenant {
    Itself,
    Consumer(&'static str),
    SystemUser(&'static str),
}

use Tenant::{Consumer, Itself, SystemUser as User};

const TENANTS: [Tenant; 5] = [
    Itself,
    Consumer(CUSTOMER),
    Consumer(ANOTHER),
    User(CUSTOMER),
    User(ANOTHER),
];

impl Tenant {
    fn request(self) -> TokenRequest {
        let request = TokenRequest::scopes(SCOPES).unwrap();
        match self {
            Itself => request,
            Consumer(number) => request.consumer_org(number).unwrap(),
            User(number) => request.system_user(SystemUser::new(number).unwrap()),
        }
    }
}

/// A client that may act for two organisations and as a system user of each.
fn registered(sim: &Sim) -> SimClient {
    let registered = sim.new_client(SCOPES);
    for number in [CUSTOMER, ANOTHER] {
        sim.delegate(number, OWNER, SCOPES[0]);
        sim.system_user(number, None, registered.client_id());
    }
    registered
}

fn world() -> (Sim, MaskinportenClient) {
    let sim = Sim::new();
    let client = builder(&sim, &registered(&sim)).build().unwrap();
    (sim, client)
}

/// The same fault, for one tenant.
fn only(fault: Fault, tenant: Tenant) -> Fault {
    match tenant {
        Itself => fault.for_itself(),
        Consumer(number) => fault.for_consumer(number).unwrap(),
        User(number) => fault.for_system_user(format!("0192:{number}")).unwrap(),
    }
}

fn refusal() -> Fault {
    Fault::refusal("invalid_target", "planted", Some("MP-303"))
}

/// The tenants that get no token, with the status of the error.
async fn refused(client: &MaskinportenClient) -> Vec<(Tenant, u16)> {
    let mut refused = Vec::new();
    for tenant in TENANTS {
        if let Err(error) = client.access_token(tenant.request()).await {
            refused.push((tenant, error.status().unwrap().as_u16()));
        }
    }
    refused
}

/// The header of a tenant's token.
async fn header(client: &MaskinportenClient, tenant: Tenant) -> HeaderValue {
    client.header_value(tenant.request()).await.unwrap()
}

/// What the API answers to a request for a path.
async fn call(sim: &Sim, path: &str, header: &HeaderValue) -> StatusCode {
    let url = format!("{}{path}", sim.altinn_platform());
    let request = Request::get(url).header(AUTHORIZATION, header);
    let request = request.body(Body::empty()).unwrap();
    sim.clone().oneshot(request).await.unwrap().status()
}

// ===== by identity =====

#[tokio::test(start_paused = true)]
async fn the_token_endpoint_refuses_one_tenant_and_no_other() {
    for tenant in TENANTS {
        let (sim, client) = world();
        sim.fault(Route::Token, only(refusal(), tenant));
        assert_eq!(refused(&client).await, [(tenant, 400)]);

        let error = client.access_token(tenant.request()).await.unwrap_err();
        assert_eq!(error.oauth_error(), Some("invalid_target"));
        assert_eq!(error.code(), Some("MP-303"));
        assert!(error.trace_id().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn the_exchange_refuses_one_tenant_and_no_other() {
    for tenant in TENANTS {
        let (sim, client) = world();
        let problem = Fault::problem(StatusCode::UNAUTHORIZED, "Unauthorized", "planted");
        sim.fault(Route::Exchange, only(problem, tenant));
        for other in TENANTS {
            let answer = client.altinn_token(other.request()).await;
            assert_eq!(answer.is_err(), other == tenant, "{tenant:?}, {other:?}");
        }
        assert_eq!(refused(&client).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn any_answer_can_be_that_of_the_exchange_to_one_organisation() {
    let (sim, client) = world();
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/html"))]);
    let page = Fault::answer(StatusCode::FORBIDDEN, headers, "<html>blocked</html>");
    sim.fault(Route::Exchange, only(page, Consumer(CUSTOMER)));

    let refused = client.altinn_token(Consumer(CUSTOMER).request()).await;
    let status = refused.unwrap_err().status();
    assert_eq!(status, Some(StatusCode::FORBIDDEN));
    client
        .altinn_token(Consumer(ANOTHER).request())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_api_fails_one_tenant_with_the_token_of_either_issuer() {
    for tenant in TENANTS {
        let (sim, client) = world();
        sim.fault(Route::Api, only(Fault::status(StatusCode::GONE), tenant));
        for other in TENANTS {
            let altinn = client.altinn_token(other.request()).await.unwrap();
            let altinn = format!("Bearer {}", altinn.expose()).parse().unwrap();
            for header in [header(&client, other).await, altinn] {
                let gone = call(&sim, "/api/echo", &header).await == StatusCode::GONE;
                assert_eq!(gone, other == tenant, "{tenant:?}, {other:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_sidecar_refuses_one_tenant_and_no_other() {
    for tenant in [Itself, User(CUSTOMER)] {
        let (sim, _) = world();
        let client = MaskinportenClient::builder()
            .credentials(Credentials::from(
                Sidecar::new(&sim.sidecar_endpoint()).unwrap(),
            ))
            .transport(Transport::new(sim.clone()))
            .clock(TokioClock::starting_at(sim.clock().now()))
            .build()
            .unwrap();
        sim.fault(Route::Sidecar, only(refusal(), tenant));
        for other in [Itself, User(CUSTOMER), User(ANOTHER)] {
            let answer = client.access_token(other.request()).await;
            assert_eq!(answer.is_err(), other == tenant, "{tenant:?}, {other:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_fails_one_tenant_after_its_attempts() {
    let (sim, client) = world();
    let fault = Fault::disconnect().for_consumer(CUSTOMER).unwrap();
    sim.fault(Route::Token, fault);
    for tenant in TENANTS {
        let answer = client.access_token(tenant.request()).await;
        let kind = answer.err().map(|error| error.kind());
        let expected = (tenant == Consumer(CUSTOMER)).then_some(ErrorKind::Unreachable);
        assert_eq!(kind, expected, "{tenant:?}");
    }
    let journal = sim.journal();
    let lost = journal
        .entries()
        .iter()
        .filter(|entry| entry.status().is_none());
    assert_eq!(lost.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn client_scope_and_resource_all_have_to_hold() {
    const SCOPE: &str = "a:read";
    const RESOURCE: &str = "https://api.example.no";
    let sim = Sim::new();
    let scopes = [SCOPES[0], SCOPE];
    let registered = sim.new_client(scopes);
    let client = builder(&sim, &registered).build().unwrap();
    let another = builder(&sim, &sim.new_client(scopes)).build().unwrap();
    let fault = refusal()
        .for_client(registered.client_id())
        .for_scope(SCOPE)
        .for_resource(RESOURCE);
    sim.fault(Route::Token, fault);

    let request = |scopes: &[&str]| TokenRequest::scopes(scopes.iter().copied()).unwrap();
    let met = request(&scopes).resource(RESOURCE).unwrap();
    assert!(client.access_token(met.clone()).await.is_err());
    another.access_token(met).await.unwrap();
    client.access_token(request(&scopes)).await.unwrap();
    let without_scope = request(&SCOPES).resource(RESOURCE).unwrap();
    client.access_token(without_scope).await.unwrap();
}

// ===== how often, and in which order =====

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_fit_uses_no_fault_up() {
    let (sim, client) = world();
    let fault = only(refusal(), Consumer(CUSTOMER)).times(1);
    sim.fault(Route::Token, fault);
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    client.access_token(Itself.request()).await.unwrap();
    assert_eq!(refused(&client).await, [(Consumer(CUSTOMER), 400)]);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(refused(&client).await, []);
}

// ===== by path =====

#[tokio::test(start_paused = true)]
async fn a_path_fails_alone_or_with_all_below_it_and_for_one_tenant() {
    let (sim, client) = world();
    let gone = Fault::status(StatusCode::GONE).at_path("/api/a");
    let teapot = Fault::status(StatusCode::IM_A_TEAPOT).under_path("/api/b");
    sim.fault(Route::Api, gone)
        .fault(Route::Api, only(teapot, Consumer(CUSTOMER)));

    let [own, customer] = [Itself, Consumer(CUSTOMER)];
    for (path, tenant, expected) in [
        ("/api/a", own, 410),
        ("/api/a?x=1", customer, 410),
        ("/api/a/1", own, 200),
        ("/api/b/1", own, 200),
        ("/api/b/1", customer, 418),
        ("/api/b", customer, 418),
        ("/api/bc", customer, 200),
    ] {
        let header = header(&client, tenant).await;
        let status = call(&sim, path, &header).await;
        assert_eq!(status.as_u16(), expected, "{path}, {tenant:?}");
    }
}

// ===== over HTTP =====

#[tokio::test]
async fn faults_made_over_http_refuse_one_organisation_on_a_port() {
    let server = SimServer::start().await.unwrap();
    let sim = server.sim();
    let client = MaskinportenClient::builder()
        .settings(settings(&registered(sim)))
        .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
        .build()
        .unwrap();
    let faults = format!("{}_sim/faults", server.url());
    let http = reqwest::Client::new();
    let rules = json!([
        { "route": "token", "kind": "refusal", "error": "invalid_target", "description": "planted",
          "consumer": "0192:311169963" },
        { "route": "exchange", "kind": "problem", "status": 401, "title": "Unauthorized",
          "system_user": ANOTHER, "scope": SCOPES[0] },
        { "route": "token", "kind": "disconnect", "client": "another", "itself": true },
    ]);
    let made = http.post(&faults).json(&rules).send().await.unwrap();
    let mut listed = rules;
    listed[0]["consumer"] = json!(CUSTOMER);
    assert_eq!(made.json::<Value>().await.unwrap(), listed);

    assert_eq!(refused(&client).await, [(Consumer(CUSTOMER), 400)]);
    for tenant in [Itself, Consumer(ANOTHER), User(CUSTOMER), User(ANOTHER)] {
        let answer = client.altinn_token(tenant.request()).await;
        assert_eq!(answer.is_err(), tenant == User(ANOTHER), "{tenant:?}");
    }

    http.delete(&faults).send().await.unwrap();
    let listed = http.get(&faults).send().await.unwrap();
    assert_eq!(listed.json::<Value>().await.unwrap(), json!([]));
}
