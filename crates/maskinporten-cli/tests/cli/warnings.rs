//! What the library warns of, on stderr: each once, with its fields, and with `-q` too.

use serde_json::json;

use crate::support::{Run, SCOPE, World, command, set_mode};

/// The lines that warn.
fn warnings(run: &Run) -> Vec<&str> {
    let lines = run.stderr.lines();
    lines.filter(|line| line.starts_with("warning: ")).collect()
}

#[track_caller]
fn warns(run: &Run, words: &[&str]) {
    let [warning] = warnings(run)[..] else {
        panic!("{run:?}");
    };
    for word in words {
        assert!(warning.contains(word), "{word:?} in {warning}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_read_is_warned_of() {
    let world = World::new();
    // A file's name is what its author makes of it.
    let settings = world.client.settings_json().to_string();
    for name in ["open.json", "\u{1b}[31m\nerror: .json"] {
        let file = world.write(name, &settings);
        set_mode(&file, 0o644);
        for more in [&[][..], &["-q"]] {
            let mut command = command(world.dir.path());
            command.args(["token", "-s", SCOPE, "--settings"]);
            let run = world.run(command.arg(&file).args(more));
            run.token();
            warns(&run, &["others than its owner may read", ".json)"]);
            assert!(!run.stderr.contains("\nerror"), "{run:?}");
        }
    }
}

#[test]
fn what_the_dotnet_package_ignores_is_warned_of() {
    let world = World::new();
    let settings = json!({ "MaskinportenSettings": {
        "TokenEndpoint": format!("{}token", world.sim().issuer()),
        "AssertionAudience": world.sim().issuer(),
        "ClientId": world.client.client_id(),
        "EncodedJwk": world.client.jwk_base64(),
        "EnterpriseUserName": "hush-user",
        "EnterpriseUserPassword": "hush-password",
    } });
    let file = world.write("legacy.json", settings.to_string());
    for more in [&[][..], &["-q"]] {
        let mut command = command(world.dir.path());
        command.args(["token", "-s", SCOPE, "--settings"]);
        let run = world.run(command.arg(&file).args(more));
        run.token();
        run.says_not("hush");
        warns(
            &run,
            &[
                "EnterpriseUserName",
                "system user",
                "(source: ",
                "legacy.json",
            ],
        );
    }
}

#[test]
fn a_subscription_key_for_another_address_is_warned_of_with_both_places() {
    let world = World::new();
    let platform = world.sim().altinn_platform();
    let mut settings = world.client.settings_json();
    settings["PlatformSettings"] = json!({
        "ApiAuthenticationEndpoint": "http://127.0.0.1:1/",
        "SubscriptionKey": "hush-subscription",
    });
    let file = world.write("platform.json", settings.to_string());
    let mut command = command(world.dir.path());
    command.args(["token", "-s", "altinn:serviceowner", "--altinn"]);
    command.arg("--settings").arg(file);
    let run = world.run(command.env("ALTINN_PLATFORM_URL", platform));
    run.token();
    run.says_not("hush");
    let words = [
        "SubscriptionKey is not sent",
        "platform.json",
        "ALTINN_PLATFORM_URL",
    ];
    warns(&run, &words);
}

#[test]
fn what_is_found_and_not_used_is_said_once() {
    let world = World::new();
    let file = world.settings_file();
    let of_client = ("MASKINPORTEN_CLIENT_ID", "another");
    let issuer = world.sim().issuer();
    let jwk = world.client.private_jwk().to_string();
    let near = [
        ("MASKINPORTEN_CLIENT_ID", world.client.client_id()),
        ("MASKINPORTEN_ISSUER", &issuer),
        ("MASKINPORTEN_CLIENT_JWK", &jwk),
        ("MASKINPORTEN_KEY_ID", "hush"),
    ];
    let settings = ("MASKINPORTEN_SETTINGS_FILE", file.to_str().unwrap());
    for (variables, name) in [
        (&[settings, of_client][..], "MASKINPORTEN_CLIENT_ID"),
        (&near[..], "MASKINPORTEN_KEY_ID"),
    ] {
        let run = world.discover(variables);
        run.token();
        let said = run.stderr.lines().filter(|line| line.contains(name));
        assert_eq!(said.count(), 1, "{run:?}");
        assert!(warnings(&run).is_empty(), "{run:?}");

        let mut quiet = command(world.dir.path());
        quiet.args(["token", "-q", "-s", SCOPE]);
        let run = world.run(quiet.envs(variables.iter().copied()));
        run.token();
        warns(&run, &[name]);
        run.says_not("hush");
    }
}

#[test]
fn what_the_command_line_takes_the_place_of_is_no_warning() {
    let world = World::new();
    let variables = [
        ("MASKINPORTEN_CONSUMER_ORG", "311169963"),
        ("MASKINPORTEN_RESOURCE", "https://api.example.no"),
    ];
    let arguments = ["-s", SCOPE, "--consumer-org", "", "--resource", ""];
    let run = world.token_with(&arguments, &variables);
    assert!(warnings(&run).is_empty(), "{run:?}");
    for (name, _) in variables {
        let told = format!("found and not used: {name}");
        assert!(run.stderr.contains(&told), "{run:?}");
    }
    let quiet = world.token_with(&[&arguments[..], &["-q"]].concat(), &variables);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_failure_is_said_by_its_report_alone() {
    let world = World::new();
    for more in [&[][..], &["-q"]] {
        let run = world.token(&[&["-s", "not:granted"], more].concat());
        run.fails(7, &["error: "]);
        assert!(warnings(&run).is_empty(), "{run:?}");
    }
    let off = world.ask_with("Authority", json!("http://127.0.0.1:1/"));
    off.fails(5, &["error: "]);
    assert!(warnings(&off).is_empty(), "{off:?}");
}
