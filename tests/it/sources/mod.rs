//! Every place that credentials are found in, and every shape they have there: from bytes to a grant that
//! the simulator takes, or to the message that tells why not.
//!
//! - [`table`]: what each place may hold, shape by shape.
//! - [`discovery`]: which of several places is used.
//! - [`guards`]: what is refused or warned of, whatever place it came from.
//! - [`limits`]: the limits of the fetch queue.
//! - [`names`]: names that are found and not used, nearly ours, or hold what belongs under another.
//! - [`platform`]: where Altinn's platform is told.
//! - [`property`]: whatever lies wherever, authority, client and key come from one place.
//! - [`tools`]: settings as other tools write them.
//!
//! Files are real ones, below a directory that stands for `/`.

mod discovery;
mod guards;
mod limits;
mod names;
mod platform;
mod property;
mod table;
mod tools;

use std::fmt::Display;
use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::Location;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maskinporten::{
    Credentials, Error, ErrorKind, MaskinportenClient, Platform, Result, TokioClock, Transport,
};
use maskinporten_sim::{ClientRegistration, Route, Sim};
use serde_json::Value;
use tempfile::TempDir;

use crate::world::SCOPES;

// One key in all the shapes it is held in: see `vectors/keys/README.md`.
const JWK: &str = include_str!("../../vectors/keys/rsa-2048.jwk.json");
const PUBLIC_JWK: &str = include_str!("../../vectors/keys/rsa-2048-public.jwk.json");
const PKCS8: &str = include_str!("../../vectors/keys/rsa-2048-pkcs8.pem");
const PKCS1: &str = include_str!("../../vectors/keys/rsa-2048-pkcs1.pem");
const ENCRYPTED: &str = include_str!("../../vectors/keys/rsa-2048-encrypted-pkcs8.pem");
const PASSWORD: &str = "password";
const PKCS12: &[u8] = include_bytes!("../../vectors/keys/rsa-2048.p12");
const CHAIN: &str = include_str!("../../vectors/keys/rsa-2048-chain.pem");

/// The name inside the JWK, and one that is given beside it.
const KID: &str = "maskinporten-test-key";
const OTHER_KID: &str = "named-beside";

/// The client that the key above is registered for, and the one that is known by the certificate.
const CLIENT: &str = "our-client";
const CERTIFIED: &str = "our-certified-client";

/// Whose certificate it is.
const OWNER: &str = "311169963";

pub(crate) const SECTION: &str = "MaskinportenSettings";
const ALTINN: &str = "mnt/app-secrets/maskinporten-settings.json";
pub(crate) const NAIS: &str = "var/run/secrets/nais.io/maskinporten";
const SKIP: &str = "var/run/secrets/skip/maskinporten";

fn jwk() -> Value {
    serde_json::from_str(JWK).unwrap()
}

fn in_base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// A world in which both clients are registered.
fn sim() -> Sim {
    sim_of("https://sim.maskinporten.test/")
}

fn sim_of(issuer: &str) -> Sim {
    // 2027-06-01, when the certificates are in force.
    let start = UNIX_EPOCH + Duration::from_secs(20_970 * 24 * 60 * 60);
    let sim = Sim::builder().issuer(issuer).start_at(start).build();
    let public: Value = serde_json::from_str(PUBLIC_JWK).unwrap();
    let mut named_beside = public.clone();
    named_beside["kid"] = OTHER_KID.into();
    let client = ClientRegistration::new(CLIENT).owner(OWNER).scopes(SCOPES);
    let client = client.key(public).unwrap().key(named_beside).unwrap();
    let certified = ClientRegistration::new(CERTIFIED);
    sim.add_client(client)
        .add_client(certified.owner(OWNER).scopes(SCOPES));
    sim
}

// ===== what a platform gives =====

/// Variables, and a directory in place of `/`.
pub(crate) struct Given {
    vars: Vec<(String, String)>,
    root: TempDir,
}

impl Given {
    pub(crate) fn nothing() -> Self {
        Self {
            vars: Vec::new(),
            root: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.vars.push((name.into(), value.into()));
        self
    }

    /// A file below the root that its owner alone may read.
    pub(crate) fn file(self, at: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root.path().join(at);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// A file, and a variable that names it.
    pub(crate) fn named_file(self, variable: &str, at: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(at);
        self.file(at, content).var(variable, path)
    }

    pub(crate) fn path(&self, at: &str) -> String {
        self.root.path().join(at).to_str().unwrap().to_owned()
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform::new(self.vars.clone()).with_root(self.root.path())
    }
}

// ===== what becomes of it =====

pub(crate) fn client(sim: &Sim, credentials: Credentials) -> Result<MaskinportenClient> {
    MaskinportenClient::builder()
        .credentials(credentials)
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
}

/// The head and the claims of the grant that a platform's credentials come to. The simulator has taken it.
#[track_caller]
fn accepted<'a>(sim: &'a Sim, platform: Platform) -> impl Future<Output = (Value, Value)> + 'a {
    let caller = Location::caller();
    async move {
        let credentials = platform.credentials();
        let credentials = credentials.unwrap_or_else(|error| panic!("{caller}: {error}"));
        tells_no_secret(&credentials.describe());
        tells_no_secret(&format!("{credentials:?}"));
        let client = client(sim, credentials);
        let client = client.unwrap_or_else(|error| panic!("{caller}: {error}"));
        if let Err(error) = client.access_token(SCOPES).await {
            panic!("{caller}: {error}");
        }
        let journal = sim.journal();
        let grant = journal.requests(Route::Token).last().unwrap();
        assert!(grant.is_accepted(), "{caller}: {grant:?}");
        let part = |part: Option<&Value>| part.unwrap().clone();
        (
            part(grant.assertion_header()),
            part(grant.assertion_claims()),
        )
    }
}

/// The error that a platform's credentials come to before anything is sent.
#[track_caller]
fn refused(platform: &Platform, kind: ErrorKind, words: &[&str]) -> Error {
    let sim = sim();
    let made = platform
        .credentials()
        .and_then(|credentials| client(&sim, credentials));
    let error = match made {
        Err(error) => error,
        Ok(_) => panic!("a client was made, and not {words:?}"),
    };
    check_error(&error, kind, words);
    assert!(sim.journal().entries().is_empty());
    error
}

/// An error of a kind that says each of `words`, in its text or in its advice, and no secret.
#[track_caller]
fn check_error(error: &Error, kind: ErrorKind, words: &[&str]) {
    let hint = error.hint().unwrap_or_default();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(!hint.is_empty(), "{error}");
    for word in words {
        let said = error.to_string().contains(word) || hint.contains(word);
        assert!(said, "{word:?} in {error} ({hint})");
    }
    tells_no_secret(error);
    tells_no_secret(&format!("{error:?}"));
}

/// The shortest piece of a secret that is looked for.
const PIECE: usize = 24;

/// Everything secret about the key above, without line ends.
static SECRETS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let jwk = jwk();
    let numbers = ["d", "p", "q", "dp", "dq", "qi"].map(|name| jwk[name].as_str().unwrap().into());
    let lines = |pem: &str| pem.lines().map(str::to_owned).collect::<Vec<_>>();
    let bodies = [PKCS8, PKCS1, ENCRYPTED].map(lines).concat();
    let bodies = bodies.into_iter().filter(|line| !line.starts_with("-----"));
    let whole = [in_base64(JWK), in_base64(PKCS12)];
    numbers.into_iter().chain(bodies).chain(whole).collect()
});

#[track_caller]
fn tells_no_secret(told: &impl Display) {
    let told = told.to_string();
    for secret in SECRETS.iter() {
        let mut pieces = secret.as_bytes().chunks_exact(PIECE);
        let leaked = pieces.find(|piece| told.contains(std::str::from_utf8(piece).unwrap()));
        assert!(leaked.is_none(), "a secret in {told:.400}");
    }
}

/// Everything below a directory is as Kubernetes mounts it: files are links into `..data`, a link itself to
/// the directory of a state.
fn mount(directory: &Path, state: &str, files: &[(String, String)]) {
    let volume = directory.join(state);
    fs::create_dir_all(&volume).unwrap();
    for (name, content) in files {
        fs::write(volume.join(name), content).unwrap();
        let link = directory.join(name);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    // Swapped by a rename, which is at once for whoever looks.
    let next = directory.join("..data_tmp");
    std::os::unix::fs::symlink(state, &next).unwrap();
    fs::rename(next, directory.join("..data")).unwrap();
}
