//! What the token server and Altinn refuse, and what is said about it.

use maskinporten_sim::{Fault, Route};
use serde_json::json;

use crate::support::{CUSTOMER, Run, SCOPE, World};

/// What a refusal tells whoever it is.
#[track_caller]
fn check(run: &Run, world: &World, code: i32, said: &[&str]) {
    run.fails(code, said);
    let endpoint = format!("endpoint: {}token", world.sim().issuer());
    let client = format!("client id: {}", world.client.client_id());
    let kid = format!("kid: {}", world.client.kid());
    run.fails(
        code,
        &[
            &endpoint,
            &client,
            &kid,
            "what to do: ",
            "who: ",
            "waiting: does not help",
        ],
    );
}

#[test]
fn a_scope_that_is_not_on_the_client_is_7() {
    let world = World::new();
    let run = world.token(&["-s", "skatt:read"]);
    let facts = [
        "status: 400",
        "code: MP-200",
        "scope: skatt:read",
        "who: you",
        "trace id: ",
    ];
    check(&run, &world, 7, &facts);
    run.fails(
        7,
        &[
            "OAuth error: invalid_scope",
            "the server said: Requested invalid scopes",
        ],
    );
}

#[test]
fn a_client_that_is_not_known_is_6() {
    let world = World::new();
    let run = world.ask_with("ClientId", json!("somebody-else"));
    run.fails(6, &["client id: somebody-else", "who: you", "waiting: "]);
}

#[test]
fn a_key_that_is_not_registered_is_6() {
    let world = World::new();
    let client = world.client.client_id();
    assert!(world.sim().remove_key(client, world.client.kid()));
    world
        .token(&["-s", SCOPE])
        .fails(6, &["what to do: ", "who: you"]);
    world.client.rotate_key().unwrap();
    let run = world.token(&["-s", SCOPE]);
    run.fails(6, &["kid", "waiting: helps only if the key was registered"]);
}

#[test]
fn an_organisation_without_access_is_8() {
    let world = World::new();
    world.sim().not_granted(SCOPE);
    let run = world.token(&["-s", SCOPE]);
    check(
        &run,
        &world,
        8,
        &[
            "code: MP-250",
            "who: whoever runs the server, or owns the scope",
        ],
    );

    let run = world.token(&["-s", SCOPE, "--consumer-org", CUSTOMER]);
    check(&run, &world, 8, &["code: MP-251", "who: your customer"]);
    let run = world.token(&["-s", "altinn:serviceowner", "--system-user", CUSTOMER]);
    check(&run, &world, 8, &["code: MP-303"]);
}

#[test]
fn an_exchange_that_is_refused_is_9() {
    let world = World::new();
    let platform = world.sim().altinn_platform();
    world.sim().fault(
        Route::Exchange,
        Fault::status(http::StatusCode::UNAUTHORIZED),
    );
    let arguments = ["-s", "altinn:serviceowner", "--altinn"];
    let altinn = [("ALTINN_PLATFORM_URL", platform.as_str())];
    let run = world.token_with(&arguments, &altinn);
    run.fails(
        9,
        &[
            "status: 401",
            "/authentication/api/v1/exchange/maskinporten",
            "waiting: may help",
        ],
    );

    world.sim().clear_faults();
    let elsewhere = format!("{platform}/authentication/api/v2/");
    let altinn = [(
        "PlatformSettings__ApiAuthenticationEndpoint",
        elsewhere.as_str(),
    )];
    world
        .token_with(&arguments, &altinn)
        .fails(9, &["status: 404"]);
}
