//! A new key: where its halves go, and that nothing is overwritten or left half done.

use std::fs;

use maskinporten_sim::ClientRegistration;
use serde_json::Value;

use crate::support::{Run, SCOPE, World, command, keygen};

#[test]
fn a_new_key_gets_a_token_once_its_public_half_is_registered() {
    let world = World::new();
    let run = keygen(world.dir.path(), "new.jwk", &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let public: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(public.get("d").is_none());
    for said in [
        "new.jwk",
        "self-service portal",
        "MASKINPORTEN_KEY_FILE",
        public["kid"].as_str().unwrap(),
    ] {
        assert!(run.stderr.contains(said), "{said:?} in {}", run.stderr);
    }

    let client = ClientRegistration::new("new-client").scopes([SCOPE]);
    world.sim().add_client(client.key(public).unwrap());
    let issuer = world.sim().issuer();
    let run = world.discover(&[
        ("MASKINPORTEN_ISSUER", &issuer),
        ("MASKINPORTEN_CLIENT_ID", "new-client"),
        ("MASKINPORTEN_KEY_FILE", "new.jwk"),
    ]);
    assert_eq!(run.claims()["client_id"], "new-client");
}

#[test]
fn the_private_half_is_in_the_file_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let run = keygen(
        dir.path(),
        "key.jwk",
        &["--bits", "3072", "--kid", "my \"kid\""],
    );
    let text = fs::read_to_string(dir.path().join("key.jwk")).unwrap();
    let private: Value = serde_json::from_str(&text).unwrap();
    let public: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&private["kid"], &private["n"]),
        (&public["kid"], &public["n"])
    );
    assert_eq!(public["kid"], "my \"kid\"");
    // 384 bytes in base64url.
    assert_eq!(public["n"].as_str().unwrap().len(), 512);
    for member in ["d", "p", "q", "dp", "dq", "qi"] {
        let secret = private[member].as_str().unwrap();
        assert!(!run.stdout.contains(secret));
        run.says_not(secret);
    }
    assert_eq!(keygen(dir.path(), "quiet.jwk", &["--quiet"]).stderr, "");

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(dir.path().join("key.jwk")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.jwk");
    fs::write(&file, "precious").unwrap();
    keygen(dir.path(), "key.jwk", &[]).fails(2, &["key.jwk is there already"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    #[cfg(unix)]
    {
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        };
        link("key.jwk", "link.jwk");
        keygen(dir.path(), "link.jwk", &[]).fails(2, &["is there already"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        link("nothing.jwk", "dangling.jwk");
        keygen(dir.path(), "dangling.jwk", &[]).fails(2, &["is there already"]);
        assert!(!dir.path().join("nothing.jwk").exists());
    }
}

#[test]
fn what_cannot_be_made_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    let out = "missing/key.jwk";
    keygen(dir.path(), out, &[]).fails(
        2,
        &[
            "missing/key.jwk cannot be made",
            "because: ",
            "what to do: ",
        ],
    );
    keygen(dir.path(), "", &[]).fails(2, &["--out"]);
    keygen(dir.path(), "key.jwk", &["--bits", "1024"]).fails(2, &["2048"]);
    Run::of(command(dir.path()).arg("keygen")).fails(2, &["--out"]);
    keygen(dir.path(), "key.jwk", &["--kid", "a\nb"])
        .fails(4, &["`kid` holds a control character"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn no_half_of_it_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    // The first write fails: the file could be made and may not grow.
    let mut bounded = std::process::Command::new("/bin/sh");
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" keygen --out key.jwk";
    bounded.args(["-c", script, env!("CARGO_BIN_EXE_maskinporten")]);
    bounded.env_clear().current_dir(dir.path());
    Run::of(&mut bounded).fails(2, &["key.jwk cannot be written, and was removed"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    // Nobody gets the public half.
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = command(dir.path());
    command.args(["keygen", "--out", "key.jwk"]).stdout(full);
    Run::of(&mut command).fails(1, &["key.jwk was removed"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
