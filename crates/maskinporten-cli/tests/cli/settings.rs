//! Where settings are found, and what is said where they are not.

use serde_json::json;

use crate::support::{SCOPE, World, command};

#[test]
fn a_token_and_a_line_break_are_all_that_is_printed() {
    let world = World::new();
    let run = world.token(&["--scope", SCOPE]);
    assert_eq!(run.claims()["scope"], SCOPE);
    assert_eq!(run.stdout.matches('\n').count(), 1);
    for said in [
        "settings.json, section MaskinportenSettings",
        &world.sim().issuer(),
        world.client.client_id(),
        world.client.kid(),
        "lives 120 s",
    ] {
        assert!(run.stderr.contains(said), "{said:?} in {}", run.stderr);
    }
    assert_eq!(world.sim().journal().grants(), 1);
}

#[test]
fn quiet_leaves_stderr_to_errors() {
    let world = World::new();
    let run = world.token(&["--scope", SCOPE, "--quiet"]);
    assert_eq!((run.token().is_empty(), run.stderr.as_str()), (false, ""));
    let run = world.token(&["-q", "--scope", "a:b"]);
    run.fails(7, &["what to do: "]);
    assert!(run.stderr.starts_with("error: "));
}

#[test]
fn a_sidecar_gives_a_token_and_no_key_is_needed() {
    let world = World::new();
    let endpoint = world.sim().sidecar_endpoint();
    let run = world.discover(&[("NAIS_TOKEN_ENDPOINT", &endpoint)]);
    assert_eq!(run.claims()["scope"], SCOPE);
    let using = format!("using: sidecar {endpoint}");
    assert!(run.stderr.contains(&using), "{}", run.stderr);
    assert_eq!(world.sim().journal().sidecar_requests(), 1);

    let direct = [
        ("NAIS_TOKEN_ENDPOINT", &*endpoint),
        ("MASKINPORTEN_SOURCE", "direct"),
    ];
    world
        .discover(&direct)
        .fails(3, &["no settings were found"]);
}

#[test]
fn a_directory_of_secrets_gives_a_token() {
    let world = World::new();
    let client = &world.client;
    world.write("secrets/MASKINPORTEN_CLIENT_ID", client.client_id());
    world.write(
        "secrets/MASKINPORTEN_CLIENT_JWK",
        client.private_jwk().to_string(),
    );
    let issuer = world.write("secrets/MASKINPORTEN_ISSUER", world.sim().issuer());
    let directory = issuer.parent().unwrap().to_str().unwrap();
    let run = world.discover(&[("MASKINPORTEN_SECRETS_DIR", directory)]);
    assert_eq!(run.claims()["scope"], SCOPE);
    assert!(run.stderr.contains("secrets directory"), "{}", run.stderr);

    std::fs::remove_file(&issuer).unwrap();
    let run = world.discover(&[("MASKINPORTEN_SECRETS_DIR", directory)]);
    run.fails(3, &["lacks MASKINPORTEN_ISSUER"]);
}

#[test]
fn every_place_and_shape_gives_a_token() {
    let world = World::new();
    let client = &world.client;
    let check = |variables: &[(&str, &str)], said: &str| {
        let run = world.discover(variables);
        assert_eq!(run.claims()["scope"], SCOPE);
        assert!(run.stderr.contains(said), "{}", run.stderr);
        assert!(run.stderr.contains(client.kid()), "{}", run.stderr);
    };

    let file = world.settings_file();
    check(
        &[("MASKINPORTEN_SETTINGS_FILE", file.to_str().unwrap())],
        "settings.json",
    );

    let issuer = world.sim().issuer();
    let jwk = client.private_jwk();
    let (text, base64) = (jwk.to_string(), client.jwk_base64());
    let authority = ("MaskinportenSettings__Authority", issuer.as_str());
    let client_id = ("MaskinportenSettings__ClientId", client.client_id());
    let place = "the variables MaskinportenSettings__";
    check(
        &[
            authority,
            client_id,
            ("MaskinportenSettings__JwkBase64", &base64),
        ],
        place,
    );
    check(
        &[authority, client_id, ("MaskinportenSettings__Jwk", &text)],
        place,
    );
    let members = jwk.as_object().unwrap().iter().map(|(name, value)| {
        (
            format!("MaskinportenSettings__Jwk__{name}"),
            value.as_str().unwrap(),
        )
    });
    let members: Vec<_> = members.collect();
    let mut variables = vec![authority, client_id];
    variables.extend(members.iter().map(|(name, value)| (name.as_str(), *value)));
    check(&variables, place);

    let client_id = ("MASKINPORTEN_CLIENT_ID", client.client_id());
    let issuer = ("MASKINPORTEN_ISSUER", issuer.as_str());
    world.write("key.jwk", &text);
    world.write("key.pem", client.private_pem());
    check(
        &[client_id, issuer, ("MASKINPORTEN_KEY_FILE", "key.jwk")],
        "key.jwk",
    );
    let kid = ("MASKINPORTEN_KID", client.kid());
    check(
        &[client_id, issuer, kid, ("MASKINPORTEN_KEY_FILE", "key.pem")],
        "key.pem",
    );
}

#[test]
fn the_settings_stand_in_whichever_section_is_named() {
    let world = World::new();
    let inner = world.client.settings_json();
    let file = world.write("app.json", json!({"myapp": inner}).to_string());
    let run = |section: &[&str]| {
        let mut command = command(world.dir.path());
        command
            .args(["token", "-s", SCOPE, "--settings"])
            .arg(&file);
        world.run(command.args(section))
    };
    run(&["--section", "myapp:MaskinportenSettings"]).token();
    run(&[]).fails(3, &["app.json", "no section MaskinportenSettings"]);
    let package = json!({ "Environment": "test", "ClientId": "c", "EncodedJwk": "hush" });
    world.write("app.json", json!({ "Maskin_Legacy": package }).to_string());
    let named = "settings seem to stand in Maskin_Legacy";
    run(&[]).fails(
        3,
        &["no section MaskinportenSettings", named, "--section NAME"],
    );
    world.write("app.json", json!({"myapp": inner}).to_string());
    run(&["--section", "other"]).fails(3, &["no section other"]);

    let bare = inner["MaskinportenSettings"].to_string();
    world.write("app.json", bare);
    run(&[]).token();
}

#[test]
fn a_section_without_a_file_is_a_usage_error() {
    let world = World::new();
    let mut command = command(world.dir.path());
    command.args(["token", "-s", SCOPE, "--section", "myapp"]);
    world.run(&mut command).fails(2, &["--settings"]);
}

#[test]
fn what_was_found_and_not_used_is_told() {
    let world = World::new();
    let file = world.settings_file();
    let run = world.discover(&[
        ("MASKINPORTEN_SETTINGS_FILE", file.to_str().unwrap()),
        ("MASKINPORTEN_CLIENT_ID", "another"),
    ]);
    run.token();
    assert!(run.stderr.contains("not used: "), "{}", run.stderr);
}

#[test]
fn without_settings_it_says_where_it_looked() {
    let world = World::new();
    world.discover(&[]).fails(
        3,
        &[
            "no settings were found",
            "MASKINPORTEN_SETTINGS_FILE",
            "MaskinportenSettings__ClientId",
            "MASKINPORTEN_CLIENT_ID",
            "what to do: ",
            "who: you",
        ],
    );
    let half = [("MASKINPORTEN_CLIENT_ID", "some-client")];
    world.discover(&half).fails(
        3,
        &["lacks a key (MASKINPORTEN_CLIENT_JWK or MASKINPORTEN_KEY_FILE)"],
    );
}

#[test]
fn a_file_that_cannot_be_used_is_told_by_name() {
    let world = World::new();
    let whole = world.client.settings_json().to_string();
    let check = |text: Option<&str>, said: &str| {
        let file = world.dir.path().join("odd.json");
        if let Some(text) = text {
            world.write("odd.json", text);
        }
        let mut named = command(world.dir.path());
        named.args(["token", "-s", SCOPE, "--settings"]).arg(&file);
        world.run(&mut named).fails(3, &["odd.json", said]);
        let variable = ("MASKINPORTEN_SETTINGS_FILE", file.to_str().unwrap());
        world.discover(&[variable]).fails(3, &["odd.json", said]);
    };
    check(None, "cannot be read");
    check(Some(""), "cannot be used");
    check(Some("Authority=test"), "cannot be used");
    check(Some(&whole[..whole.len() / 2]), "cannot be used");
    check(Some("[]"), "cannot be used");
    check(
        Some(r#"{"MaskinportenSettings": {}}"#),
        "`ClientId` is missing",
    );
    let folder = world.dir.path().to_owned();
    let mut named = command(&folder);
    named.args(["token", "-s", SCOPE, "--settings", "."]);
    world.run(&mut named).fails(3, &["cannot be read"]);
}

#[test]
fn settings_that_contradict_themselves_or_ask_in_the_clear_are_refused() {
    let world = World::new();
    let both = world.ask_with("JwkBase64", json!(world.client.jwk_base64()));
    both.fails(3, &["more than one key: Jwk and JwkBase64"]);
    let off = world.ask_with("Authority", json!("http://maskinporten.example.no/"));
    off.fails(3, &["plain http"]);
    let odd = world.ask_with("Authority", json!("ftp://user:hush@x.no/"));
    odd.fails(3, &["what to do: "]);
    odd.says_not("hush");
    assert_eq!(world.sim().journal().token_requests(), 0);
}

#[test]
fn a_key_that_cannot_sign_is_told_before_anything_is_sent() {
    let world = World::new();
    let with_jwk = |jwk| world.ask_with("Jwk", jwk);
    with_jwk(world.client.public_jwk()).fails(4, &["public half", "what to do: "]);
    let ec =
        json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": "AA", "y": "AA", "d": "hushhush"});
    let run = with_jwk(ec);
    run.fails(4, &["RSA"]);
    run.says_not("hushhush");
    let mut short = world.client.private_jwk();
    short["n"] = json!(short["n"].as_str().unwrap()[..171]);
    with_jwk(short).fails(4, &["1024 bits"]);
    let mut nameless = world.client.private_jwk();
    nameless.as_object_mut().unwrap().remove("kid");
    with_jwk(nameless).fails(4, &["`kid` is missing"]);
    with_jwk(json!({})).fails(3, &["a key is missing", "what to do: "]);

    let issuer = world.sim().issuer();
    let base64 = |text: &str| {
        world.discover(&[
            ("MaskinportenSettings__Authority", &issuer),
            ("MaskinportenSettings__ClientId", world.client.client_id()),
            ("MaskinportenSettings__JwkBase64", text),
        ])
    };
    base64("%%% hushhush %%%").fails(4, &["base64"]);
    base64("aHVzaGh1c2g=").fails(4, &["what to do: "]);
    let key_file = |name: &str| {
        world.discover(&[
            ("MASKINPORTEN_ISSUER", &issuer),
            ("MASKINPORTEN_CLIENT_ID", world.client.client_id()),
            ("MASKINPORTEN_KID", "k"),
            ("MASKINPORTEN_KEY_FILE", name),
        ])
    };
    key_file("missing.jwk").fails(3, &["missing.jwk cannot be read"]);
    world.write(
        "odd.pem",
        "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
    );
    key_file("odd.pem").fails(4, &["odd.pem", "RSA"]);
    world.write("odd.p12", b"0\x82\x04\x00\x02\x01\x03\xff\xfe");
    key_file("odd.p12").fails(4, &["odd.p12"]);
    assert_eq!(world.sim().journal().token_requests(), 0);
}
