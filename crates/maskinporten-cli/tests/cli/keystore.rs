//! Keys in a PKCS#12, as openssl makes them, to a token by `x5c`.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maskinporten_sim::ClientRegistration;
use serde_json::json;

use crate::support::{Run, SCOPE, World, command};

/// A client without registered keys.
const CLIENT: &str = "a-client-with-a-certificate";

/// The organisation of the client and of its certificate.
const OWNER: &str = "311169963";

const PASSWORD: &str = "pæss word";

/// Runs openssl, which `cargo xtask test` installs where it is missing.
#[track_caller]
fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output();
    let output = output.expect("openssl can be started");
    assert!(output.status.success(), "{output:?}");
}

/// A world with the client in it, and `key.pem` with its `certificate.pem`.
fn world() -> World {
    let world = World::new();
    world
        .sim()
        .add_client(ClientRegistration::new(CLIENT).owner(OWNER).scopes([SCOPE]));
    let subject = format!("/C=NO/O=A test enterprise/CN=A test enterprise/serialNumber={OWNER}");
    openssl(
        world.dir.path(),
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            &subject,
            "-keyout",
            "key.pem",
            "-out",
            "certificate.pem",
        ],
    );
    world
}

fn export(world: &World, out: &str, more: &[&str]) {
    let password = format!("pass:{PASSWORD}");
    let mut arguments = vec![
        "pkcs12",
        "-export",
        "-inkey",
        "key.pem",
        "-in",
        "certificate.pem",
        "-name",
        "BLÅBÆR",
        "-passout",
        &password,
        "-out",
        out,
    ];
    arguments.extend_from_slice(more);
    openssl(world.dir.path(), &arguments);
}

fn ask(world: &World, file: &str, password: &str) -> Run {
    let mut command = command(world.dir.path());
    command.args(["token", "--scope", SCOPE]);
    command.env("MASKINPORTEN_CLIENT_ID", CLIENT);
    command.env("MASKINPORTEN_ISSUER", world.sim().issuer());
    command.env("MASKINPORTEN_KEY_FILE", file);
    command.env("MASKINPORTEN_KEY_PASSWORD", password);
    world.run(&mut command)
}

#[test]
fn a_keystore_brings_a_token_by_its_certificate() {
    let world = world();
    let des = [
        "-legacy",
        "-keypbe",
        "PBE-SHA1-3DES",
        "-certpbe",
        "PBE-SHA1-3DES",
    ];
    for (file, more) in [("modern.p12", &[][..]), ("3des.p12", &des[..])] {
        export(&world, file, more);
        let run = ask(&world, file, PASSWORD);
        run.token();
        assert!(
            run.stderr
                .contains("key: by its certificate, RSA 2048 bits"),
            "{run:?}"
        );
        let granted = world.granted();
        let header = granted.assertion_header().unwrap();
        assert_eq!(header["x5c"].as_array().map(Vec::len), Some(1), "{file}");
        assert!(header.get("kid").is_none(), "{file}");
        assert_eq!(world.claims_sent()["iss"], CLIENT, "{file}");
    }
}

#[test]
fn a_keystore_that_does_not_open_says_why() {
    let world = world();
    export(&world, "key.p12", &[]);
    ask(&world, "key.p12", "hush")
        .fails(4, &["the password does not open the key", "openssl pkcs12"]);
    ask(&world, "key.p12", "").fails(
        4,
        &[
            "the PKCS#12 is encrypted and no password is given",
            "MASKINPORTEN_KEY_PASSWORD",
        ],
    );
}

#[test]
fn a_keystore_of_the_dotnet_package_that_does_not_open_names_the_packages_password() {
    let world = world();
    export(&world, "key.p12", &[]);
    let content = std::fs::read(world.dir.path().join("key.p12")).unwrap();
    let file = |password: &str| json!({ "CertificatePkcs12Path": "key.p12", "CertificatePkcs12Password": password });
    let encoded = json!({ "EncodedX509": STANDARD.encode(content) });
    for key in [file("hush"), file(""), encoded] {
        let mut settings = json!({
            "TokenEndpoint": format!("{}token", world.sim().issuer()),
            "AssertionAudience": world.sim().issuer(),
            "ClientId": CLIENT,
        });
        settings
            .as_object_mut()
            .unwrap()
            .extend(key.as_object().unwrap().clone());
        let text = json!({ "MaskinportenSettings": settings }).to_string();
        let mut command = command(world.dir.path());
        command.args(["token", "-s", SCOPE, "--settings"]);
        command.arg(world.write("legacy.json", text));
        command.env("MASKINPORTEN_KEY_PASSWORD", PASSWORD);
        let run = world.run(&mut command);
        let words = [
            "CertificatePkcs12Password",
            "EncodedX509 is opened with the empty password",
        ];
        run.fails(4, &words);
        run.says_not("MASKINPORTEN_KEY_PASSWORD");
        run.says_not("hush");
    }
}
