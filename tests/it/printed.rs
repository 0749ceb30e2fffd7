//! Every command that a hint prints does what the hint says, run as it is printed.
//!
//! Words in capitals are the reader's own files: a file of `vectors/tools` takes their place. Passwords are
//! typed where a program asks for them. What comes out must be a key, or certificates, that is read here.
//!
//! A command that needs `keytool` is run where there is one; `cargo xtask foreign` sees to it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use maskinporten::{Advice, KeyOptions, SigningKey};
use tempfile::TempDir;

/// The password of every sample, and of every file that a command asks one for.
const PASSWORD: &str = "test-password";

/// What opens code that is no command of a shell here: PowerShell's, C#'s, and our own binary's, which its own
/// tests run.
const NO_COMMANDS: [&str; 3] = ["Get-Content", "var", "maskinporten"];

/// How every command begins that is known here, the file that it is given, and the name that the hint has for
/// that file.
const SAMPLES: &[(&str, &str, Sample)] = &[
    (
        "base64 -d",
        "FILE.b64",
        Sample::Made("openssl base64 -in \"$SAMPLES/openssl/modern.p12\""),
    ),
    (
        "iconv -f UTF-16 ",
        "OLD",
        Sample::Made("iconv -f UTF-8 -t UTF-16 \"$SAMPLES/python/pyjwt.json\""),
    ),
    (
        "iconv -f UTF-16LE",
        "OLD",
        Sample::Made("iconv -f UTF-8 -t UTF-16LE \"$SAMPLES/python/pyjwt.json\""),
    ),
    (
        "keytool -importkeystore",
        "FILE.jks",
        Sample::File("keytool/keystore.jks"),
    ),
    (
        "keytool -importkeystore",
        "store.jks",
        Sample::File("keytool/keystore.jks"),
    ),
    (
        "keytool -importkeystore",
        "FILE.p12",
        Sample::File("keytool/two.p12"),
    ),
    ("keytool -list", "FILE.p12", Sample::File("keytool/two.p12")),
    (
        "openssl pkcs12 -legacy",
        "FILE.p12",
        Sample::File("openssl/rc2.p12"),
    ),
    (
        "openssl pkcs12",
        "FILE.p12",
        Sample::File("openssl/modern.p12"),
    ),
    (
        "openssl pkcs12",
        "store.p12",
        Sample::File("openssl/modern.p12"),
    ),
    (
        "openssl pkcs7",
        "FILE.p7b",
        Sample::Made("openssl crl2pkcs7 -nocrl -certfile \"$SAMPLES/openssl/certificate.pem\""),
    ),
    (
        "openssl pkcs8 -inform DER",
        "OLD.pem",
        Sample::Made(
            "openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -outform DER -passout pass:test-password \
             -in \"$SAMPLES/openssl/genpkey.pem\"",
        ),
    ),
    (
        "openssl pkcs8 -provider legacy -provider default",
        "OLD.pem",
        Sample::Made(
            "openssl pkcs8 -topk8 -v1 PBE-MD5-DES -provider legacy -provider default \
             -passout pass:test-password -in \"$SAMPLES/openssl/genpkey.pem\"",
        ),
    ),
    (
        "openssl pkcs8",
        "OLD.pem",
        Sample::File("openssl/traditional-aes256.pem"),
    ),
    ("openssl pkey", "OLD", Sample::File("openssl/pkcs8.der")),
    (
        "openssl pkey",
        "KEY.pem",
        Sample::File("openssl/pkcs8-aes256.pem"),
    ),
    (
        "openssl pkey",
        "key.pem",
        Sample::File("openssl/genpkey.pem"),
    ),
    (
        "openssl storeutl",
        "certificate.pem",
        Sample::File("openssl/certificate.pem"),
    ),
    (
        "openssl x509",
        "certificate.pem",
        Sample::File("openssl/certificate.pem"),
    ),
    ("ssh-keygen -p", "FILE", Sample::File("openssl/id_rsa")),
];

/// Options that a hint names next to its commands, and how the commands begin that take them.
const OPTIONS: &[(&str, &str)] = &[
    ("-inform DER", "openssl pkcs8"),
    ("-legacy", "openssl pkcs12"),
    ("-provider legacy -provider default", "openssl pkcs8"),
    ("-srcalias ALIAS", "keytool -importkeystore"),
];

/// The alias that takes the place of ALIAS.
const ALIAS: &str = "client-key";

/// Words after which a command names the file that it writes.
const WRITES: [&str; 3] = ["-out", "-destkeystore", ">"];

#[derive(Clone, Copy, Debug)]
enum Sample {
    /// A file of the vectors.
    File(&'static str),
    /// What a command prints; `$SAMPLES` is the directory of the vectors.
    Made(&'static str),
}

#[test]
fn every_command_of_a_hint_does_what_it_is_printed_for() {
    let mut ran = 0;
    for hint in Advice::all().map(Advice::hint) {
        let commands = commands(hint);
        ran += commands.len();
        check(hint, &commands);
    }
    assert!(ran > 0);
}

#[test]
fn every_option_that_a_hint_names_is_taken_by_its_command() {
    for hint in Advice::all().map(Advice::hint) {
        let commands = commands(hint);
        if commands.is_empty() {
            continue;
        }
        for option in options(hint) {
            let known = OPTIONS.iter().find(|(known, _)| *known == option);
            let (_, program) = known.unwrap_or_else(|| panic!("{option} is not known: {hint}"));
            let mut with_option = commands.clone();
            let mut taken = false;
            for command in &mut with_option {
                if let Some(rest) = command.strip_prefix(program) {
                    *command = format!("{program} {option}{rest}");
                    taken = true;
                }
            }
            assert!(taken, "no command takes {option}: {hint}");
            check(hint, &with_option);
        }
    }
}

// ===== what a hint prints =====

/// The commands in a hint, in order.
fn commands(hint: &str) -> Vec<String> {
    let quoted = hint.split('`').skip(1).step_by(2);
    let commands = quoted.filter(|text| {
        let (program, rest) = text.split_once(' ').unwrap_or((text, ""));
        let is_name = |char: char| char.is_ascii_alphanumeric() || char == '-';
        let is_program = program.starts_with(|first: char| first.is_ascii_alphabetic())
            && program.chars().all(is_name);
        is_program && !rest.is_empty() && !NO_COMMANDS.contains(&program)
    });
    commands.map(str::to_owned).collect()
}

/// The options in a hint that stand outside its commands: between other words, or in backticks of their own.
fn options(hint: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, text) in hint.split('`').enumerate() {
        if number % 2 == 1 {
            found.extend(text.starts_with('-').then(|| text.to_owned()));
            continue;
        }
        for (at, _) in text.match_indices(" -") {
            let mut words = text[at..].split_whitespace();
            let Some(option) = words.next().filter(|option| option.len() > 1) else {
                continue;
            };
            // What belongs to an option is in capitals.
            let value = words
                .next()
                .filter(|word| word.chars().all(|char| char.is_uppercase()));
            let words: Vec<_> = [option].into_iter().chain(value).collect();
            found.push(words.join(" "));
        }
    }
    found
}

// ===== what becomes of it =====

/// Runs the commands of a hint in an empty directory, one after the other, and reads what they have written.
fn check(hint: &str, commands: &[String]) {
    let needs_keytool = commands
        .iter()
        .any(|command| command.starts_with("keytool"));
    if needs_keytool && !is_there("keytool") {
        println!("not run, keytool is missing: {hint}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for command in commands {
        put_samples(&directory, command);
        let output = run(&directory, command);
        assert!(output.status.success(), "{command}: {}", said(&output));
        written.extend(written_by(command));
    }
    let is_used = |file: &String| {
        let read = format!("-in {file} ");
        commands.iter().any(|command| command.contains(&read))
    };
    let (certificates, keys): (Vec<_>, Vec<_>) = written
        .into_iter()
        .partition(|file| file.starts_with("certificate"));
    let options = KeyOptions::new().with_password(PASSWORD);
    let read = |file: &str, options: &KeyOptions| {
        let bytes = fs::read(directory.path().join(file)).unwrap();
        let key = SigningKey::read(&bytes, options);
        key.unwrap_or_else(|error| panic!("{file}: {error}; written by {commands:?}"))
    };
    for key in keys.iter().filter(|file| !is_used(file)) {
        let named = read(key, &options.clone().with_kid("beside"));
        assert_eq!(named.kid(), Some("beside"));
    }
    for certificate in certificates {
        let pem = fs::read_to_string(directory.path().join(&certificate)).unwrap();
        if !directory.path().join("key.pem").exists() {
            fs::copy(
                samples().join("openssl/genpkey.pem"),
                directory.path().join("key.pem"),
            )
            .unwrap();
        }
        let certified = read("key.pem", &options.clone().with_certificates(pem));
        assert_eq!(certified.kid(), None);
    }
}

/// The files that a command names and that nothing has written yet.
fn put_samples(directory: &TempDir, command: &str) {
    let is_known = SAMPLES.iter().any(|(start, ..)| command.starts_with(start));
    assert!(
        is_known,
        "no sample for a command that begins like `{command}`"
    );
    let written = written_by(command);
    for name in files_in(command) {
        let path = directory.path().join(name);
        let is_only_written = written.iter().any(|file| file == name) && !is_in_place(command);
        if path.exists() || is_only_written {
            continue;
        }
        let sample = SAMPLES
            .iter()
            .find(|(start, file, _)| command.starts_with(start) && *file == name);
        let (.., sample) = sample.unwrap_or_else(|| panic!("no sample for {name} of `{command}`"));
        let bytes = match sample {
            Sample::File(file) => fs::read(samples().join(file)).unwrap(),
            Sample::Made(command) => {
                let output = run(directory, command);
                assert!(output.status.success(), "{command}: {}", said(&output));
                output.stdout
            }
        };
        fs::write(&path, bytes).unwrap();
        // ssh-keygen takes no key that others may read.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// The words of a command that are names of files.
fn files_in(command: &str) -> impl Iterator<Item = &str> {
    let is_file = |word: &&str| {
        let (stem, ending) = word.split_once('.').unwrap_or((word, ""));
        let is_placeholder = ["FILE", "OLD", "NEW"].contains(word);
        let is_name = stem.chars().all(|char| char.is_ascii_alphanumeric());
        is_placeholder || is_name && ["b64", "jks", "p12", "p7b", "pem"].contains(&ending)
    };
    command.split_whitespace().filter(is_file)
}

/// The files that a command writes.
fn written_by(command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let mut written: Vec<String> = words
        .windows(2)
        .filter(|pair| WRITES.contains(&pair[0]))
        .map(|pair| pair[1].to_owned())
        .collect();
    written.extend(is_in_place(command).then(|| "FILE".to_owned()));
    written
}

/// Whether a command rewrites the file that it reads.
fn is_in_place(command: &str) -> bool {
    command.starts_with("ssh-keygen -p")
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/tools")
}

/// Runs a line in a shell, as it is but for ALIAS. Passwords are asked for at the terminal, and on standard
/// input where there is no terminal: the shell runs in another session, which has none.
fn run(directory: &TempDir, line: &str) -> Output {
    let mut shell = Command::new("env");
    if is_there("setsid") {
        shell.args(["setsid", "--wait"]);
    }
    // A key of OpenSSH stays without a passphrase. No program asks more than eight times.
    let answer = if is_in_place(line) { "" } else { PASSWORD };
    let answers = format!("{answer}\n").repeat(8);
    let mut shell = shell
        .args(["sh", "-c", &line.replace("ALIAS", ALIAS)])
        .env("SAMPLES", samples())
        .env("LC_ALL", "C")
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that asks for nothing may have ended before.
    let _ = shell.stdin.take().unwrap().write_all(answers.as_bytes());
    shell.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether a program can be found; what it says of itself does not matter.
fn is_there(program: &str) -> bool {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories).any(|directory| directory.join(program).is_file())
}
