//! What is declared wrongly: all of it at once, each with its place, and never a secret.

use maskinporten::{Error, ErrorKind};
use tower_maskinporten::{ClientRegistry, ClientRegistryBuilder};

use super::*;

/// What every client has whose other members are looked at.
const GOOD: &str = r#"base_url = "https://api.example.no"
kind = "maskinporten"
scopes = ["krr:read"]
"#;

fn registry() -> ClientRegistryBuilder {
    ClientRegistry::builder(&anybody()).environment(|name| match name {
        "HOST" => Some("api.example.no".to_owned()),
        "CANARY" => Some("canary\n".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

/// What is wrong with a file, in one list; the file is named at its beginning only. Nothing of it may be a secret.
#[track_caller]
fn wrong(text: &str) -> Vec<String> {
    let built = registry().toml("c.toml", text).and_then(|it| it.build());
    problems(&built.expect_err("something is wrong"))
}

#[track_caller]
fn problems(error: &Error) -> Vec<String> {
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.hint().unwrap().contains("all are told at once"));
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("canary"), "{shown}");
    let text = error.to_string();
    let list = text.strip_prefix("the named clients cannot be made: ");
    let list = list.unwrap_or_else(|| panic!("{text}"));
    list.split("; c.toml").map(str::to_owned).collect()
}

/// One member of a client that is otherwise good; `GOOD` has three lines and its head is the first.
#[track_caller]
fn check(member: &str, expected: &str) {
    let good = GOOD.lines().filter(|line| {
        let name = member.split(' ').next().unwrap();
        !line.starts_with(&format!("{name} "))
    });
    let good = good.collect::<Vec<_>>().join("\n");
    let text = format!("[clients.a]\n{member}\n{good}\n");
    assert_eq!(wrong(&text), [format!("c.toml:2: client \"a\"{expected}")]);
}

#[test]
fn a_member_that_is_not_known_is_told_with_the_nearest() {
    check(
        r#"time_out = "1s""#,
        r#": "time_out" is not known; "timeout" is"#,
    );
    check(
        "redirect = 3",
        r#": "redirect" is not known; "redirects" is"#,
    );
    check(
        "colour = 3",
        ": \"colour\" is not known; known are base_url, kind, scopes, resource, identity, timeout, \
         attempt_timeout, retries, retry_all_methods, redirects, replay_on_unauthorized, per_organisation, \
         optional_context, headers",
    );
}

#[test]
fn a_member_of_another_type_is_told_with_both() {
    check(
        "base_url = 1",
        ", base_url: should be text, and is a whole number",
    );
    check(
        "kind = true",
        ", kind: should be text, and is true or false",
    );
    check(
        r#"scopes = "krr:read""#,
        ", scopes: should be a list of texts, and is text",
    );
    check(
        "scopes = [1.5]",
        ", scopes: should be text, and is a number with a fraction",
    );
    check("resource = []", ", resource: should be text, and is a list");
    check(
        "identity = {}",
        ", identity: should be text, and is a table",
    );
    check(
        "timeout = 10",
        ", timeout: should be text, and is a whole number",
    );
    check(
        "timeout = 2026-01-01",
        ", timeout: should be text, and is a date",
    );
    check(
        "attempt_timeout = 10",
        ", attempt_timeout: should be text, and is a whole number",
    );
    check(
        r#"retries = "2""#,
        ", retries: should be a whole number, and is text",
    );
    check(
        "redirects = 1.0",
        ", redirects: should be a whole number, and is a number with a fraction",
    );
    for member in [
        "retry_all_methods",
        "replay_on_unauthorized",
        "per_organisation",
        "optional_context",
    ] {
        let expected = format!(", {member}: should be true or false, and is a whole number");
        check(&format!("{member} = 1"), &expected);
    }
    check(
        "headers = []",
        ", headers: should be a table, and is a list",
    );
    check(
        "headers = { X-Key = 1 }",
        ", header \"X-Key\": should be text, and is a whole number",
    );
    assert_eq!(
        wrong("clients = 1"),
        ["c.toml:1: clients should be tables, and is a whole number"]
    );
    assert_eq!(
        wrong("clients.a = 1")[0],
        "c.toml:1: client \"a\": should be a table, and is a whole number"
    );
    assert_eq!(
        wrong("[client.a]"),
        [r#"c.toml:1: "client" is not known; "clients" is"#]
    );
}

#[test]
fn a_value_that_cannot_be_used_is_told_with_its_reason() {
    check(
        r#"kind = "altin""#,
        r#", kind: "altin" is not known; "altinn" is"#,
    );
    check(
        r#"kind = "oauth""#,
        r#", kind: "oauth" is not known; known are maskinporten, altinn"#,
    );
    check(r#"scopes = ["a,b"]"#, r#", scopes: "a,b" is not one scope"#);
    check("scopes = []", ", scopes: no scope was given");
    check(
        r#"resource = "person""#,
        r#", resource: "person" is no absolute URI without fragment"#,
    );
    check(
        r#"base_url = "http://api.example.no/""#,
        r#", base_url: "http://api.example.no" is plain http, and not on this machine"#,
    );
    check(
        r#"base_url = "https://api.example.no?key=canary""#,
        ", base_url: a base URL has no query",
    );
    check(
        r#"base_url = "https://api.example.no/#canary""#,
        ", base_url: a base URL has no fragment",
    );
    check(
        r#"base_url = "https://user:canary@api.example.no""#,
        r#", base_url: "https://…@api.example.no" is no origin: it names a user"#,
    );
    check(
        r#"base_url = "wss://api.example.no""#,
        ", base_url: a base URL is of https, or of http on this machine",
    );
    check(
        r#"base_url = "api.example.no""#,
        ", base_url: is no URL: it starts with https:// and a host",
    );
    check(
        r#"identity = "tax""#,
        r#", identity: "tax" is not known: no identity was given to the registry"#,
    );
    check(
        r#"timeout = "10""#,
        r#", timeout: "10" is no time such as "10s", "500ms" or "2m""#,
    );
    check(
        r#"timeout = "0s""#,
        ", timeout: a time of zero lets nothing through",
    );
    check(r#"timeout = "61m""#, ", timeout: a time is at most an hour");
    check(
        r#"attempt_timeout = "0ms""#,
        ", attempt_timeout: a time of zero lets nothing through",
    );
    check(
        r#"attempt_timeout = "101s""#,
        ", attempt_timeout: is longer than the whole timeout",
    );
    check("retries = 11", ", retries: 11 is more than 10");
    check("retries = -1", ", retries: -1 is no number that fits here");
    check("redirects = 21", ", redirects: 21 is more than 20");
    check(
        "optional_context = true\nper_organisation = true",
        ", optional_context: contradicts per_organisation",
    );
}

#[test]
fn a_header_that_is_none_or_is_not_given_here_is_refused_without_its_value() {
    let check =
        |header: &str, expected: &str| check(&format!("headers = {{ {header} }}"), expected);
    check(
        r#""a b" = "canary""#,
        r#", header "a b": is no header's name"#,
    );
    check(
        r#"X-Key = "canary\n""#,
        r#", header "X-Key": its value is none that a header may have"#,
    );
    check(r#"X-Key = " ""#, r#", header "X-Key": its value is empty"#);
    for name in [
        "Authorization",
        "HOST",
        "content-length",
        "Proxy-Authorization",
    ] {
        check(
            &format!(r#"{name} = "canary""#),
            &format!(
                ", header {name:?}: {} is not given here: the client sets it itself",
                name.to_lowercase()
            ),
        );
    }
    check(
        r#"X-Key = "canary", x-key = "canary""#,
        r#", header "x-key": is given twice"#,
    );
}

#[test]
fn a_variable_that_is_missing_is_told_by_its_name_and_one_that_is_wrong_by_no_value() {
    let host = |scheme: &str| format!("base_url = \"{scheme}://${{HOST}}/\"");
    check(
        &host("http"),
        ", base_url: what the variable HOST holds cannot be used here",
    );
    check(
        r#"base_url = "https://${NOBODY}/""#,
        ", base_url: the variable NOBODY is not set",
    );
    check(
        r#"headers = { X-Key = "${NOBODY}" }"#,
        r#", header "X-Key": the variable NOBODY is not set"#,
    );
    check(
        r#"headers = { X-Key = "${EMPTY}" }"#,
        r#", header "X-Key": the variable EMPTY is empty"#,
    );
    check(
        r#"headers = { X-Key = "$NOBODY" }"#,
        r#", header "X-Key": a variable is written ${NAME}, and a dollar $$"#,
    );
    for member in ["kind", "resource", "timeout", "attempt_timeout"] {
        let expected = format!(", {member}: what the variable CANARY holds cannot be used here");
        check(&format!("{member} = \"${{CANARY}},\""), &expected);
    }
    check(
        r#"scopes = ["a:b", "${CANARY},"]"#,
        ", scopes: what the variable CANARY holds cannot be used here",
    );
    check(
        r#"identity = "${CANARY}""#,
        ", identity: what the variable CANARY holds cannot be used here",
    );
    check(
        r#"headers = { X-Key = "${CANARY}" }"#,
        r#", header "X-Key": its value is none that a header may have"#,
    );
}

#[test]
fn a_client_says_what_it_cannot_do_without() {
    assert_eq!(
        wrong("\n[clients.a]\n"),
        [
            "c.toml:2: client \"a\", base_url: is missing",
            ":2: client \"a\", kind: is missing",
            ":2: client \"a\", scopes: is missing",
        ]
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_in_order() {
    let text = r#"
        [clients.first]
        base_url = "http://api.example.no"
        kind = "altin"
        scopes = ["a;b"]
        retrys = 2

        [clients.second]
        base_url = "https://api.example.no"
        kind = "maskinporten"
        scopes = ["krr:read"]
        timeout = "0s"
        [clients.second.headers]
        Ocp-Apim-Subscription-Key = "${NOBODY}"
        Authorization = "canary"

        [clients.FIRST]
        base_url = "https://api.example.no"
        kind = "maskinporten"
        scopes = ["krr:read"]

        [client.third]
    "#;
    assert_eq!(
        wrong(text),
        [
            r#"c.toml:3: client "first", base_url: "http://api.example.no" is plain http, and not on this machine"#,
            r#":4: client "first", kind: "altin" is not known; "altinn" is"#,
            r#":5: client "first", scopes: "a;b" is not one scope"#,
            r#":6: client "first": "retrys" is not known; "retries" is"#,
            r#":12: client "second", timeout: a time of zero lets nothing through"#,
            r#":14: client "second", header "Ocp-Apim-Subscription-Key": the variable NOBODY is not set"#,
            r#":15: client "second", header "Authorization": authorization is not given here: the client sets it itself"#,
            r#":17: client "FIRST": there is one of that name at c.toml:2"#,
            r#":22: "client" is not known; "clients" is"#,
        ]
    );
}

#[test]
fn what_is_no_toml_is_told_by_its_line_and_not_by_its_text() {
    let text = format!("[clients.a]\n{GOOD}headers = {{ X-Key = canary }}\n[clients.a]\n");
    let error = registry().toml("c.toml", text).unwrap_err();
    let problems = problems(&error);
    assert!(problems[0].starts_with("c.toml:5: "), "{problems:?}");
    assert!(problems[1].starts_with(":6: "), "{problems:?}");
    assert_eq!(problems.len(), 2);
}

#[test]
fn a_name_is_declared_once_wherever_it_is_declared() {
    let document = |name: &str| format!("[clients.{name}]\n{GOOD}");
    let good = |registry: ClientRegistryBuilder, name: &str| {
        registry.client(name, |c| {
            c.maskinporten(["krr:read"])
                .base_url("https://api.example.no")
        })
    };
    let refused = |registry: ClientRegistryBuilder| {
        let error = registry.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        error.to_string()
    };

    let said = refused(good(good(registry(), "a"), "A"));
    assert!(
        said.contains(r#"client "A": there is one of that name at "#),
        "{said}"
    );
    assert!(said.contains(file!()), "{said}");

    let both = good(registry(), "a").toml("c.toml", document("a")).unwrap();
    let said = refused(both);
    assert!(
        said.contains(r#"c.toml:1: client "a": there is one of that name at "#),
        "{said}"
    );
    assert!(said.contains(file!()), "{said}");

    let two = registry().toml("c.toml", document("a")).unwrap();
    let said = refused(two.toml("d.toml", document("A")).unwrap());
    let expected = r#"d.toml:1: client "A": there is one of that name at c.toml:1"#;
    assert!(said.contains(expected), "{said}");
}

#[test]
fn code_is_judged_by_the_same_rules_and_told_by_its_line() {
    let line = line!() + 3;
    let error = registry()
        .identity("tax", &anybody())
        .client("a", |c| {
            c.altinn(["a,b"])
                .base_url("http://canary:canary@api.example.no/")
                .timeout(seconds(0))
                .attempt_timeout(seconds(4000))
                .retries(11)
                .redirects(21)
                .identity("tex")
                .secret_header("Host", "canary")
        })
        .identity("tax", &anybody())
        .build()
        .unwrap_err();
    let said = error.to_string();
    let place = format!("{}:{line}: client \"a\", ", file!());
    for expected in [
        r#"scopes: "a,b" is not one scope"#,
        r#"base_url: "http://…@api.example.no" is no origin: it names a user"#,
        "timeout: a time of zero lets nothing through",
        "attempt_timeout: a time is at most an hour",
        "retries: 11 is more than 10",
        "redirects: 21 is more than 20",
        r#"header "Host": host is not given here: the client sets it itself"#,
        r#"identity: "tex" is not known; "tax" is"#,
    ] {
        assert!(said.contains(&format!("{place}{expected}")), "{said}");
    }
    assert!(said.contains(r#"identity "tax": is given twice"#), "{said}");
    assert!(!format!("{error:?}").contains("canary"));
}

#[test]
fn what_code_says_twice_is_refused() {
    let error = registry()
        .client("a", |c| {
            c.maskinporten(["a:b"])
                .altinn(["a:b"])
                .base_url("https://api.example.no")
                .base_url("https://other.example.no")
                .secret_header("X-Key", "canary")
                .secret_header("x-key", "canary")
                .retries(1)
                .retries(1)
        })
        .build()
        .unwrap_err();
    let said = error.to_string();
    for member in ["kind", "scopes", "base_url", r#"header "x-key""#, "retries"] {
        let expected = format!("client \"a\", {member}: is given twice");
        assert_eq!(said.matches(&expected).count(), 1, "{member}: {said}");
    }
}

#[test]
fn a_client_of_test_is_not_declared_for_production() {
    let settings = r#"{"Authority": "https://test.maskinporten.no/", "ClientId": "x", "Jwk": JWK}"#;
    let jwk = maskinporten_sim::Sim::new()
        .new_client(SCOPES)
        .settings_json();
    let jwk = jwk["MaskinportenSettings"]["Jwk"].to_string();
    let settings = maskinporten::MaskinportenSettings::from_json(
        &settings.replace("JWK", &jwk),
        maskinporten::MaskinportenSettings::DEFAULT_SECTION,
    );
    let client = MaskinportenClient::from_settings(settings.unwrap()).unwrap();

    let error = ClientRegistry::builder(&client)
        .client("a", |c| {
            c.altinn(["a:b"]).base_url("https://platform.altinn.no")
        })
        .build()
        .unwrap_err();

    assert!(
        error.to_string().contains("client \"a\", base_url: "),
        "{error}"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = registry().toml_file("/nowhere/clients.toml").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert_eq!(error.to_string(), "/nowhere/clients.toml cannot be read");
    assert!(std::error::Error::source(&error).is_some());
}
