//! What the settings and the environment say of a token, where the command line says nothing.

use serde_json::{Value, json};

use crate::support::{CUSTOMER, Run, SCOPE, World, command};

const API: &str = "https://api.example.no";

/// The organisation that the client belongs to.
const OWNER: &str = "991825827";

fn world() -> World {
    let world = World::new();
    world.sim().delegate(CUSTOMER, OWNER, SCOPE);
    world
}

/// The variables that nais sets, and more.
fn on_nais(world: &World, more: &[(&str, &str)], arguments: &[&str]) -> Run {
    let mut command = command(world.dir.path());
    command.args(["token", "-s", SCOPE]).args(arguments);
    command
        .env("MASKINPORTEN_CLIENT_ID", world.client.client_id())
        .env("MASKINPORTEN_ISSUER", world.sim().issuer())
        .env(
            "MASKINPORTEN_CLIENT_JWK",
            world.client.private_jwk().to_string(),
        )
        .envs(more.iter().copied());
    world.run(&mut command)
}

fn with_file(world: &World, members: &Value, variables: &[(&str, &str)], more: &[&str]) -> Run {
    let mut settings = world.client.settings_json();
    for (name, value) in members.as_object().unwrap() {
        settings["MaskinportenSettings"][name] = value.clone();
    }
    let file = world.write("defaults.json", settings.to_string());
    let mut command = command(world.dir.path());
    command.args(["token", "-s", SCOPE, "--settings"]).arg(file);
    world.run(command.args(more).envs(variables.iter().copied()))
}

#[track_caller]
fn shows(run: &Run, line: &str) {
    assert!(
        run.stderr.lines().any(|found| found == line),
        "{line:?} in {}",
        run.stderr
    );
}

// ===== what the token is for =====

#[test]
fn scopes_that_the_settings_name_are_the_default_and_are_shown() {
    let world = world();
    let client = &world.client;
    let jwk = client.private_jwk().to_string();
    let issuer = world.sim().issuer();
    let named = [
        ("MASKINPORTEN_CLIENT_ID", client.client_id()),
        ("MASKINPORTEN_ISSUER", issuer.as_str()),
        ("MASKINPORTEN_CLIENT_JWK", jwk.as_str()),
        ("MASKINPORTEN_SCOPES", SCOPE),
    ];
    let ask = |count: usize, arguments: &[&str]| {
        let mut command = command(world.dir.path());
        command.arg("token").args(arguments);
        world.run(command.envs(named[..count].iter().copied()))
    };
    let run = ask(4, &[]);
    assert_eq!(run.claims()["scope"], SCOPE);
    shows(
        &run,
        &format!("using: scope {SCOPE}, from the scopes of the settings"),
    );
    let other = ask(4, &["--scope", "altinn:serviceowner"]);
    assert_eq!(other.claims()["scope"], "altinn:serviceowner");
    ask(3, &[]).fails(2, &["no scope was asked for", "--scope"]);
}

// ===== whom the token is for =====

#[test]
fn an_organisation_in_the_environment_is_the_default_and_is_shown() {
    let world = world();
    for name in ["MASKINPORTEN_CONSUMER_ORG", "MASKINPORTEN_CONSUMERORG"] {
        let run = on_nais(&world, &[(name, CUSTOMER)], &[]);
        assert_eq!(run.claims()["consumer"]["ID"], format!("0192:{CUSTOMER}"));
        shows(
            &run,
            &format!("using: consumer organisation {CUSTOMER}, from {name}"),
        );
        run.says_not("not used");

        // What is said on the command line wins, and what it wins over is told.
        let own = on_nais(&world, &[(name, CUSTOMER)], &["--consumer-org", ""]);
        assert_eq!(own.claims()["consumer"]["ID"], format!("0192:{OWNER}"));
        assert!(world.claims_sent().get("consumer_org").is_none());
        let told = format!("found and not used: {name}");
        assert!(own.stderr.contains(&told), "{}", own.stderr);
        let given = on_nais(&world, &[(name, OWNER)], &["--consumer-org", CUSTOMER]);
        assert_eq!(given.claims()["consumer"]["ID"], format!("0192:{CUSTOMER}"));
        assert!(given.stderr.contains(&told), "{}", given.stderr);
    }
    let quiet = on_nais(&world, &[("MASKINPORTEN_CONSUMER_ORG", CUSTOMER)], &["-q"]);
    assert_eq!(quiet.claims()["consumer"]["ID"], format!("0192:{CUSTOMER}"));
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_resource_in_the_environment_is_the_default_and_is_shown() {
    let world = world();
    let name = "MASKINPORTEN_RESOURCE";
    let run = on_nais(&world, &[(name, API)], &[]);
    assert_eq!(run.claims()["aud"], API);
    shows(&run, &format!("using: resource {API}, from {name}"));
    let other = on_nais(&world, &[(name, API)], &["--resource", "https://b.no"]);
    assert_eq!(other.claims()["aud"], "https://b.no");
    let none = on_nais(&world, &[(name, API)], &["--resource", ""]);
    assert!(none.claims().get("aud").is_none());
    assert!(
        none.stderr
            .contains("found and not used: MASKINPORTEN_RESOURCE")
    );
}

#[test]
fn defaults_stand_beside_the_settings_wherever_those_are() {
    let world = world();
    let organisation = format!("0192:{CUSTOMER}");
    for (name, value) in [
        ("ConsumerOrgNo", json!(CUSTOMER)),
        ("consumerOrg", json!(CUSTOMER)),
        ("ConsumerOrgNo", json!(CUSTOMER.parse::<u64>().unwrap())),
    ] {
        let run = with_file(&world, &json!({ name: value }), &[], &[]);
        assert_eq!(run.claims()["consumer"]["ID"], organisation);
        shows(
            &run,
            &format!("using: consumer organisation {CUSTOMER}, from MaskinportenSettings.{name}"),
        );
    }
    let run = with_file(&world, &json!({ "Resource": API }), &[], &[]);
    assert_eq!(run.claims()["aud"], API);
    shows(
        &run,
        &format!("using: resource {API}, from MaskinportenSettings.Resource"),
    );

    // The variables, beside a file that says nothing of it.
    for name in [
        "MASKINPORTEN_CONSUMER_ORG",
        "MaskinportenSettings__ConsumerOrgNo",
    ] {
        let run = with_file(&world, &json!({}), &[(name, CUSTOMER)], &[]);
        assert_eq!(run.claims()["consumer"]["ID"], organisation);
        shows(
            &run,
            &format!("using: consumer organisation {CUSTOMER}, from {name}"),
        );
    }

    let client = &world.client;
    let write = |name: &str, text: &str| world.write(&format!("secrets/{name}"), text);
    write("MASKINPORTEN_CLIENT_ID", client.client_id());
    write("MASKINPORTEN_CLIENT_JWK", &client.private_jwk().to_string());
    write("MASKINPORTEN_ISSUER", &world.sim().issuer());
    let file = write("MASKINPORTEN_CONSUMER_ORG", CUSTOMER);
    let directory = file.parent().unwrap().to_str().unwrap();
    let run = world.discover(&[("MASKINPORTEN_SECRETS_DIR", directory)]);
    assert_eq!(run.claims()["consumer"]["ID"], organisation);
}

#[test]
fn a_default_that_cannot_be_used_is_told_by_its_name() {
    let world = world();
    let name = "MASKINPORTEN_CONSUMER_ORG";
    let run = on_nais(&world, &[(name, "hush")], &[]);
    run.fails(3, &[name, "is no organisation number", "nine digits"]);
    run.says_not("hush");
    on_nais(&world, &[(name, "hush")], &["--consumer-org", ""]).token();
    let run = on_nais(&world, &[("MASKINPORTEN_RESOURCE", "hush")], &[]);
    run.fails(3, &["MASKINPORTEN_RESOURCE", "is no absolute URI"]);
    let run = with_file(&world, &json!({ "ConsumerOrgNo": "991825828" }), &[], &[]);
    run.fails(3, &["ConsumerOrgNo", "is no organisation number"]);
    let two = json!({ "ConsumerOrgNo": CUSTOMER, "ConsumerOrg": OWNER });
    let run = with_file(&world, &two, &[], &[]);
    let differ = "MaskinportenSettings.ConsumerOrgNo and MaskinportenSettings.ConsumerOrg differ";
    run.fails(3, &[differ]);
    assert_eq!(world.sim().journal().token_requests(), 1);
}

#[test]
fn a_sidecar_is_not_asked_for_the_client_itself_instead() {
    let world = world();
    let endpoint = world.sim().sidecar_endpoint();
    let variables = [
        ("NAIS_TOKEN_ENDPOINT", &*endpoint),
        ("MASKINPORTEN_CONSUMER_ORG", CUSTOMER),
    ];
    let run = world.discover(&variables);
    run.fails(2, &["consumer_org", "MASKINPORTEN_SOURCE=direct"]);
    assert_eq!(world.sim().journal().sidecar_requests(), 0);
}

// ===== settings of the .NET package =====

/// Nothing that is sent gets out: what is tested here ends before.
const NOWHERE: (&str, &str) = ("HTTPS_PROXY", "http://127.0.0.1:1");

fn package(world: &World, members: Value, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut settings = json!({
        "Environment": "test",
        "ClientId": world.client.client_id(),
        "EncodedJwk": world.client.jwk_base64(),
    });
    for (name, value) in members.as_object().unwrap() {
        settings[name] = value.clone();
    }
    let file = json!({ "Maskinporten-Config-Path": settings });
    let file = world.write("appsettings.json", file.to_string());
    let mut command = command(world.dir.path());
    command
        .arg("token")
        .args(arguments)
        .arg("--settings")
        .arg(file);
    command.args(["--section", "Maskinporten-Config-Path"]);
    let (name, value) = NOWHERE;
    command.env(name, value).envs(variables.iter().copied());
    world.run(&mut command)
}

#[test]
fn settings_of_the_dotnet_package_say_what_the_token_is_for() {
    let world = world();
    let all = json!({
        "Scope": "krr:read altinn:serviceowner",
        "Resource": API,
        "ConsumerOrgNo": CUSTOMER,
        "ExhangeToAltinnToken": true,
    });
    let run = package(&world, all.clone(), &[], &[]);
    run.fails(
        5,
        &[
            "proxy",
            "using: authority https://test.maskinporten.no/ (test)",
        ],
    );
    for line in [
        "using: scope krr:read altinn:serviceowner, from Scope",
        &format!("using: resource {API}, from Resource"),
        &format!("using: consumer organisation {CUSTOMER}, from ConsumerOrgNo"),
        "using: Altinn's token, from ExhangeToAltinnToken",
    ] {
        shows(&run, line);
    }
    assert!(
        run.stderr
            .contains("altinn: https://platform.tt02.altinn.no/"),
        "{}",
        run.stderr
    );

    // What the environment says besides is named where it differs.
    let beside = [
        ("MASKINPORTEN_CONSUMER_ORG", OWNER),
        ("MASKINPORTEN_RESOURCE", API),
    ];
    let run = package(&world, all.clone(), &[], &beside);
    shows(
        &run,
        &format!(
            "using: consumer organisation {CUSTOMER}, from ConsumerOrgNo; found and not used: \
             MASKINPORTEN_CONSUMER_ORG"
        ),
    );
    shows(&run, &format!("using: resource {API}, from Resource"));

    let arguments = [
        "-s",
        SCOPE,
        "--consumer-org",
        "",
        "--resource",
        "",
        "--altinn=false",
    ];
    let run = package(&world, all, &arguments, &[]);
    run.fails(5, &["proxy"]);
    for word in [
        "from Scope",
        "from Resource",
        "from ConsumerOrgNo",
        "altinn: ",
        "Altinn's token",
    ] {
        run.says_not(word);
    }

    let bare = package(&world, json!({}), &["-s", SCOPE], &[]);
    bare.fails(5, &["proxy"]);
    bare.says_not("altinn: ");
}

#[test]
fn the_exchange_of_the_dotnet_package_gives_way_to_the_environment_and_is_named() {
    let world = world();
    const KEY: (&str, &str) = ("PlatformSettings__SubscriptionKey", "hush-subscription");
    let check = |members: &Value, variables: &[(&str, &str)], line: &str| {
        let run = package(
            &world,
            members.clone(),
            &["-s", SCOPE, "--altinn"],
            variables,
        );
        run.fails(5, &["proxy"]);
        let line = line.replace(
            "FILE",
            world.dir.path().join("appsettings.json").to_str().unwrap(),
        );
        shows(&run, &line);
        run.says_not("hush");
        run
    };
    let place = "legacy settings file FILE, section Maskinporten-Config-Path";
    let exchange = "authentication/api/v1/exchange/maskinporten";
    let own = |host: &str, member: &str| {
        format!("altinn: https://{host}/{exchange} (from {member} of {place})")
    };
    let with_key =
        |line: String| format!("{line}, subscription key from the variables PlatformSettings__…");
    let at22 = own("platform.at22.altinn.cloud", "`TokenExchangeEnvironment`");
    let of_test = own("platform.tt02.altinn.no", "the environment test");
    let address = "https://gateway.example.no/altinn";
    let endpoint = format!("altinn: {address} (from `TokenExchangeEndpoint` of {place})");
    for (members, line) in [
        (json!({ "TokenExchangeEnvironment": "at22" }), at22),
        (json!({ "TokenExchangeEndpoint": address }), endpoint),
        (json!({}), of_test),
    ] {
        check(&members, &[], &line);
        check(&members, &[KEY], &with_key(line));
        // The default of the environment is an address as any other is.
        for host in ["platform.yt01.altinn.cloud", "platform.tt02.altinn.no"] {
            let url = format!("https://{host}");
            let line = format!("altinn: {url}/{exchange} (from the variable ALTINN_PLATFORM_URL)");
            let variable = ("ALTINN_PLATFORM_URL", &*url);
            check(&members, &[variable], &line);
            check(&members, &[variable, KEY], &with_key(line));
        }
    }

    // A key in the file is for the address that is used, unless it stands with another.
    let with_platform = |platform: Value| {
        let settings = json!({
            "Maskinporten-Config-Path": {
                "Environment": "test",
                "ClientId": world.client.client_id(),
                "EncodedJwk": world.client.jwk_base64(),
                "TokenExchangeEnvironment": "at22",
            },
            "PlatformSettings": platform,
        });
        let file = world.write("both.json", settings.to_string());
        let mut command = command(world.dir.path());
        command.args(["token", "-s", SCOPE, "--altinn", "--settings"]);
        command
            .arg(file)
            .args(["--section", "Maskinporten-Config-Path"]);
        let (name, value) = NOWHERE;
        let run = world.run(command.env(name, value));
        run.fails(5, &["altinn: https://platform.at22.altinn.cloud/"]);
        run
    };
    let run = with_platform(json!({ "SubscriptionKey": "hush" }));
    run.fails(5, &["subscription key from settings file"]);
    let local = "http://localhost:5101/authentication/api/v1/";
    let other = json!({ "SubscriptionKey": "hush", "ApiAuthenticationEndpoint": local });
    let run = with_platform(other);
    run.fails(5, &["warning: SubscriptionKey is not sent"]);
    run.says_not("subscription key from");
}

#[test]
fn without_any_scope_the_option_is_named() {
    let world = world();
    package(&world, json!({}), &[], &[]).fails(2, &["--scope"]);
    world.token(&[]).fails(2, &["--scope"]);
    // Without settings nothing can say a scope, and they are needed first.
    world
        .run(command(world.dir.path()).arg("token"))
        .fails(3, &["no settings were found"]);
    assert!(world.sim().journal().entries().is_empty());
}

#[test]
fn a_file_that_is_of_neither_kind_is_told_as_ours() {
    let world = world();
    let file = world.write(
        "neither.json",
        r#"{"MaskinportenSettings": {"ClientId": "c"}}"#,
    );
    let mut command = command(world.dir.path());
    command.args(["token", "-s", SCOPE, "--settings"]).arg(file);
    let run = world.run(&mut command);
    run.fails(3, &["neither.json", "`Authority` is missing"]);
}

#[test]
fn altinn_is_a_flag_that_takes_a_word() {
    let world = world();
    let platform = world.sim().altinn_platform();
    let run = |flag: &str| {
        let arguments = ["-s", "altinn:serviceowner", flag];
        world.token_with(&arguments, &[("ALTINN_PLATFORM_URL", &platform)])
    };
    for flag in ["--altinn", "--altinn=true"] {
        assert_eq!(run(flag).claims()["urn:altinn:org"], "digdir");
    }
    assert!(
        run("--altinn=false")
            .claims()
            .get("urn:altinn:org")
            .is_none()
    );
    run("--altinn=perhaps").fails(2, &["--altinn"]);
}
