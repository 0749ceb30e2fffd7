//! What is asked for, and how it is sent.

use serde_json::json;

use crate::support::{CUSTOMER, SCOPE, World, command};

#[test]
fn scopes_and_resources_are_sent_as_said() {
    let world = World::new();
    let run = world.token(&["-s", SCOPE, "--scope", "altinn:serviceowner"]);
    assert_eq!(run.claims()["scope"], "altinn:serviceowner krr:read");

    let run = world.token(&["-s", SCOPE, "--resource", "https://api.example.no"]);
    assert_eq!(run.claims()["aud"], "https://api.example.no");
    assert_eq!(world.claims_sent()["resource"], "https://api.example.no");

    let two = [
        "-s",
        SCOPE,
        "--resource",
        "https://a.no",
        "--resource",
        "https://b.no",
    ];
    let run = world.token(&two);
    assert_eq!(run.claims()["aud"], json!(["https://a.no", "https://b.no"]));
}

#[test]
fn a_token_on_behalf_of_another_names_both() {
    let world = World::new();
    world.sim().delegate(CUSTOMER, "991825827", SCOPE);
    for number in [CUSTOMER, &format!("0192:{CUSTOMER}")] {
        let run = world.token(&["-s", SCOPE, "--consumer-org", number]);
        assert_eq!(run.claims()["consumer"]["ID"], format!("0192:{CUSTOMER}"));
        assert_eq!(run.claims()["supplier"]["ID"], "0192:991825827");
        assert_eq!(world.claims_sent()["consumer_org"], CUSTOMER);
    }
}

#[test]
fn a_system_user_is_found_in_both_notations() {
    let world = World::new();
    let sim = world.sim();
    let plain = sim.system_user(CUSTOMER, None, world.client.client_id());
    let id = |run: &str| {
        let claims = world.token(&["-s", SCOPE, "--system-user", run]).claims();
        claims["authorization_details"][0]["systemuser_id"][0].clone()
    };
    assert_eq!(id(CUSTOMER), plain);
    assert_eq!(id(&format!("0192:{CUSTOMER}")), plain);

    let oslo = sim.system_user(CUSTOMER, Some("avd_oslo"), world.client.client_id());
    assert_eq!(id(&format!("{CUSTOMER}:avd_oslo")), oslo);
    assert_eq!(id(&format!("0192:{CUSTOMER}:avd_oslo")), oslo);
    let sent = world.claims_sent();
    let details = &sent["authorization_details"][0];
    assert_eq!(details["externalRef"], "avd_oslo");
    assert_eq!(details["systemuser_org"]["ID"], format!("0192:{CUSTOMER}"));
}

#[test]
fn altinn_exchanges_where_the_environment_says() {
    let world = World::new();
    let platform = world.sim().altinn_platform();
    let api = format!("{platform}/authentication/api/v1/");
    let arguments = ["-s", "altinn:serviceowner", "--altinn"];
    for variable in [
        ("ALTINN_PLATFORM_URL", &platform),
        ("PlatformSettings__ApiAuthenticationEndpoint", &api),
    ] {
        let run = world.token_with(&arguments, &[(variable.0, variable.1)]);
        assert_eq!(run.claims()["urn:altinn:org"], "digdir");
        assert!(
            run.stderr
                .contains("Altinn's, for altinn:serviceowner, lives 1800 s"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(world.sim().journal().exchanges(), 2);
    world.token(&arguments).fails(3, &["ALTINN_PLATFORM_URL"]);
    let foreign = [("ALTINN_PLATFORM_URL", "http://platform.altinn.no")];
    world
        .token_with(&arguments, &foreign)
        .fails(3, &["plain http"]);
    // Without the word nobody asks Altinn, nor for its address.
    world.token_with(&["-s", SCOPE], &foreign).token();
}

#[test]
fn altinn_exchanges_where_the_settings_file_says() {
    let world = World::new();
    let api = format!("{}/authentication/api/v1/", world.sim().altinn_platform());
    world.sim().require_subscription_key("hush-subscription");
    let settings = |endpoint: &str| {
        let mut settings = world.client.settings_json();
        settings["PlatformSettings"] = json!({ "ApiAuthenticationEndpoint": endpoint });
        settings["PlatformSettings:SubscriptionKey"] = json!("hush-subscription");
        settings.to_string()
    };
    let asked = |file: &str, variables: &[(&str, &str)]| {
        let mut command = command(world.dir.path());
        command.args(["token", "-s", "altinn:serviceowner", "--altinn"]);
        command.envs(variables.iter().copied());
        let run = match file {
            "" => world.run(&mut command),
            file => world.run(command.arg("--settings").arg(file)),
        };
        run.says_not("hush");
        run
    };
    world.write("settings.json", settings(&api));
    let named = [("MASKINPORTEN_SETTINGS_FILE", "settings.json")];
    for run in [asked("settings.json", &[]), asked("", &named)] {
        run.token();
        let place = "settings file settings.json, section PlatformSettings";
        let told = format!("(from {place}), subscription key from {place}\n");
        assert!(run.stderr.contains(&told), "{}", run.stderr);
    }
    assert_eq!(world.sim().journal().exchanges(), 2);

    // A variable wins over the file, whose key is not for that address, and a named file over Altinn's directory.
    world.write("settings.json", settings("http://127.0.0.1:1/"));
    let variable = ("PlatformSettings__ApiAuthenticationEndpoint", &*api);
    let told = "(from the variables PlatformSettings__…)\n";
    asked("settings.json", &[variable]).fails(9, &["subscription key", told]);
    let key = ("PlatformSettings__SubscriptionKey", "hush-subscription");
    let run = asked("settings.json", &[variable, key]);
    run.token();
    let told = "(from the variables PlatformSettings__…), subscription key from the variables";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    world.write("secrets/overrides.json", settings(&api));
    let directory = ("RUNTIME_APP_SECRETS_DIR", "secrets");
    asked("settings.json", &[directory]).fails(5, &["127.0.0.1:1"]);
    asked("", &[named[0], directory]).token();

    world.write("settings.json", settings("http://altinn.example.no/"));
    asked("settings.json", &[]).fails(3, &["plain http", "settings.json"]);
}

#[test]
fn the_subscription_key_goes_along_and_is_not_said() {
    let world = World::new();
    let platform = world.sim().altinn_platform();
    world.sim().require_subscription_key("hush-subscription");
    let arguments = ["-s", "altinn:serviceowner", "--altinn"];
    let with_key = |key: &str| {
        let run = world.token_with(
            &arguments,
            &[
                ("ALTINN_PLATFORM_URL", &platform),
                ("PlatformSettings__SubscriptionKey", key),
            ],
        );
        run.says_not("hush");
        run
    };
    with_key("hush-subscription").token();
    with_key("hush-wrong").fails(9, &["subscription key", "status: 401", "what to do: "]);
    with_key("").fails(9, &["subscription key"]);
    with_key("hush\nwrong").fails(3, &["subscription key"]);
}

#[test]
fn what_cannot_be_asked_for_is_a_usage_error() {
    let world = World::new();
    let check = |arguments: &[&str], said: &str| world.token(arguments).fails(2, &[said]);
    check(&[], "--scope");
    check(&["-s"], "--scope");
    check(&["-s", ""], "scope");
    check(&["-s", "   "], "scope");
    check(&["-s", "krr:read,krr:write"], "space");
    check(&["-s", "krr:“read”"], "scope");
    check(
        &["-s", SCOPE, "--consumer-org", "991825828"],
        "control digit",
    );
    check(&["-s", SCOPE, "--consumer-org", "digdir"], "nine digits");
    check(
        &["-s", SCOPE, "--system-user", "0192:991825828:ref"],
        "control digit",
    );
    check(
        &["-s", SCOPE, "--system-user", "991825827:a b"],
        "external reference",
    );
    check(
        &["-s", SCOPE, "--resource", "api.example.no"],
        "absolute URI",
    );
    check(
        &["-s", SCOPE, "--resource", "https://a.no/#x"],
        "absolute URI",
    );
    check(&["-s", SCOPE, "--unknown"], "--unknown");
    assert!(world.sim().journal().entries().is_empty());

    let bare = command(world.dir.path()).output().unwrap();
    assert_eq!(bare.status.code(), Some(2));
}

#[test]
fn help_tells_the_exit_codes_and_what_is_read() {
    let world = World::new();
    let help = |arguments: &[&str]| {
        let run = world.run(command(world.dir.path()).args(arguments));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        run.stdout
    };
    assert!(help(&["--help"]).contains("Exit codes:\n  0  done"));
    let token = help(&["token", "--help"]);
    for said in ["Exit codes:", "HTTPS_PROXY", "MASKINPORTEN_SETTINGS_FILE"] {
        assert!(token.contains(said), "{token}");
    }
    assert!(help(&["keygen", "--help"]).contains("mode 600"));
}

#[test]
fn a_proxy_is_heeded_unless_told_otherwise_and_never_on_this_machine() {
    let world = World::new();
    let nowhere = ("HTTPS_PROXY", "http://user:hush@127.0.0.1:1");
    world.token_with(&["-s", SCOPE], &[nowhere]).token();
    let sent_out = |more: &[&str], proxy| {
        let mut settings = world.client.settings_json();
        settings["MaskinportenSettings"]["Authority"] = json!("https://idporten.invalid/");
        let file = world.write("out.json", settings.to_string());
        let mut command = command(world.dir.path());
        command.args(["token", "-s", SCOPE, "--settings"]).arg(file);
        let (name, value) = proxy;
        let run = world.run(command.args(more).env(name, value));
        run.says_not("hush");
        run
    };
    sent_out(&[], nowhere).fails(5, &["proxy"]);
    sent_out(&["--no-proxy"], nowhere).fails(5, &["idporten.invalid was not reached"]);
    let socks = ("HTTPS_PROXY", "socks5://user:hush@127.0.0.1:1");
    sent_out(&[], socks).fails(3, &["proxy"]);
}

#[test]
fn a_reader_that_went_away_is_no_panic() {
    let world = World::new();
    let file = world.settings_file();
    let mut command = command(world.dir.path());
    command.args(["token", "-s", SCOPE, "--settings"]).arg(file);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(std::process::Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("error: the token cannot be printed"),
        "{stderr}"
    );
    assert!(
        !stderr.contains("panicked") && !stderr.contains("eyJ"),
        "{stderr}"
    );
}
