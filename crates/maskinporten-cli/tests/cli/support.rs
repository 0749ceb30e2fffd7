//! A world with one client in it, and the binary run against it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use maskinporten_sim::{Entry, Route, Sim, SimClient, SimServer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

pub(crate) const SCOPE: &str = "krr:read";

/// The organisation that has delegated to the client's, or approved its system.
pub(crate) const CUSTOMER: &str = "311169963";

/// A simulator on a port, served by a runtime of its own, so that tests may block on processes.
pub(crate) struct World {
    server: SimServer,
    pub(crate) client: SimClient,
    pub(crate) dir: TempDir,
    _runtime: Runtime,
}

impl World {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.block_on(SimServer::start()).unwrap();
        let client = server.sim().new_client([SCOPE, "altinn:serviceowner"]);
        Self {
            server,
            client,
            dir: tempfile::tempdir().unwrap(),
            _runtime: runtime,
        }
    }

    pub(crate) fn sim(&self) -> &Sim {
        self.server.sim()
    }

    /// A file in the folder that the binary runs in, which its owner alone may read.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        path
    }

    /// The settings file as Altinn Studio mounts it.
    pub(crate) fn settings_file(&self) -> PathBuf {
        self.write("settings.json", self.client.settings_json().to_string())
    }

    /// `maskinporten token` with the client's settings file, and nothing in the environment.
    pub(crate) fn token(&self, arguments: &[&str]) -> Run {
        self.token_with(arguments, &[])
    }

    pub(crate) fn token_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = command(self.dir.path());
        command.arg("token").args(arguments);
        command.arg("--settings").arg(self.settings_file());
        command.envs(variables.iter().copied());
        self.run(&mut command)
    }

    /// `maskinporten token --scope krr:read` with a settings file where one member is another.
    pub(crate) fn ask_with(&self, member: &str, value: Value) -> Run {
        let mut settings = self.client.settings_json();
        settings["MaskinportenSettings"][member] = value;
        let file = self.write("edited.json", settings.to_string());
        let mut command = command(self.dir.path());
        command.args(["token", "-s", SCOPE, "--settings"]).arg(file);
        self.run(&mut command)
    }

    /// `maskinporten token --scope krr:read` with no more than these variables.
    pub(crate) fn discover(&self, variables: &[(&str, &str)]) -> Run {
        let mut command = command(self.dir.path());
        command.args(["token", "--scope", SCOPE]);
        command.envs(variables.iter().copied());
        self.run(&mut command)
    }

    /// Runs it, and sees that nothing of the client's key is said.
    pub(crate) fn run(&self, command: &mut Command) -> Run {
        let run = Run::of(command);
        let jwk = self.client.private_jwk();
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            run.says_not(jwk[member].as_str().unwrap());
        }
        run.says_not(self.client.private_pem().lines().nth(3).unwrap());
        run
    }

    /// The request that the token endpoint got last.
    pub(crate) fn granted(&self) -> Entry {
        let journal = self.sim().journal();
        journal.requests(Route::Token).last().unwrap().clone()
    }

    pub(crate) fn claims_sent(&self) -> Value {
        self.granted().assertion_claims().unwrap().clone()
    }
}

/// Who may read a file, where files have modes.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = (path, mode);
}

/// The binary in a folder of its own, with an empty environment.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_maskinporten"));
    command.env_clear().current_dir(dir).stdin(Stdio::null());
    command
}

/// A run that has ended, with what holds for every one.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let run = Self {
            code: status.code().expect("it ends by itself"),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        };
        run.says_not("panicked");
        // How every JWT begins, and every JWK in base64 without its line breaks.
        run.says_not("eyJ");
        run.says_not("-----BEGIN");
        run.says_not("\u{1b}");
        if run.code != 0 {
            assert_eq!(run.stdout, "", "{run:?}");
            assert!(
                run.stderr.starts_with("error: ") || run.stderr.contains("\nerror: "),
                "{run:?}"
            );
        }
        run
    }

    /// The one token on stdout.
    #[track_caller]
    pub(crate) fn token(&self) -> &str {
        assert_eq!(self.code, 0, "{}", self.stderr);
        let token = self.stdout.strip_suffix('\n').unwrap();
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        token
    }

    /// The claims of the one token on stdout.
    #[track_caller]
    pub(crate) fn claims(&self) -> Value {
        let payload = self.token().split('.').nth(1).unwrap();
        serde_json::from_slice(&base64url(payload)).unwrap()
    }

    /// It ended with this code and said all of this.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for said in said {
            assert!(self.stderr.contains(said), "{said:?} in {}", self.stderr);
        }
    }

    #[track_caller]
    pub(crate) fn says_not(&self, text: &str) {
        assert!(!self.stderr.contains(text), "{text:?} in {}", self.stderr);
    }
}

pub(crate) fn base64url(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}

/// `keygen` into `out`.
pub(crate) fn keygen(dir: &Path, out: impl AsRef<OsStr>, more: &[&str]) -> Run {
    Run::of(command(dir).arg("keygen").arg("--out").arg(out).args(more))
}
