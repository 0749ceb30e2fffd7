//! Files and mounted volumes that change.

use super::*;

fn write_whole(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_settings_file_is_read_again() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.json");
    write_whole(&path, &old.settings_json().to_string());
    let client = client_of(&sim, SettingsFile::new(&path)).await;
    fetch(&client).await.unwrap();

    let new = old.rotate_key().unwrap();
    let text = new.settings_json().to_string();
    // Half of it, as a file that is being written.
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    sleep(SEEN).await;
    let error = client.health().settings_error.unwrap();
    assert!(error.to_string().contains("half a JSON"), "{error}");
    fetch(&client).await.unwrap();

    fs::remove_file(&path).unwrap();
    sleep(SEEN).await;
    let error = client.health().settings_error.unwrap();
    assert!(
        error.to_string().contains("holds nothing any more"),
        "{error}"
    );
    fetch(&client).await.unwrap();

    write_whole(&path, &text);
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    assert!(client.health().settings_error.is_none());
    assert_eq!(
        kids(&sim),
        [signed(&old), signed(&old), signed(&old), signed(&new)]
    );
}

/// A volume as Kubernetes mounts one: files that are links through `..data`, which is swapped.
#[cfg(unix)]
pub(crate) struct Volume {
    directory: tempfile::TempDir,
    states: AtomicUsize,
}

#[cfg(unix)]
impl Volume {
    pub(crate) fn new(files: &[(&str, String)]) -> Self {
        let volume = Self {
            directory: tempfile::tempdir().unwrap(),
            states: AtomicUsize::new(0),
        };
        volume.swap(files);
        for (name, _) in files {
            let link = volume.path().join(name);
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
        }
        volume
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a new state and has `..data` lead to it, in one step.
    pub(crate) fn swap(&self, files: &[(&str, String)]) {
        let number = self.states.fetch_add(1, Ordering::SeqCst);
        let state = format!("..state_{number}");
        fs::create_dir(self.path().join(&state)).unwrap();
        for (name, text) in files {
            fs::write(self.path().join(&state).join(name), text).unwrap();
        }
        let (link, data) = (self.path().join("..data_tmp"), self.path().join("..data"));
        std::os::unix::fs::symlink(&state, &link).unwrap();
        fs::rename(link, data).unwrap();
    }
}

/// What digdirator writes for a client.
#[cfg(unix)]
pub(crate) fn as_secrets(registered: &SimClient, issuer: &str) -> Vec<(&'static str, String)> {
    vec![
        ("MASKINPORTEN_CLIENT_ID", registered.client_id().to_owned()),
        (
            "MASKINPORTEN_CLIENT_JWK",
            registered.private_jwk().to_string(),
        ),
        ("MASKINPORTEN_ISSUER", issuer.to_owned()),
    ]
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_volume_that_is_swapped_is_read_again() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let volume = Volume::new(&as_secrets(&old, &sim.issuer()));
    let client = client_of(&sim, SecretsDirectory::new(volume.path())).await;
    fetch(&client).await.unwrap();
    let new = old.rotate_key().unwrap();
    volume.swap(&as_secrets(&new, &sim.issuer()));
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    let half = &as_secrets(&old, &sim.issuer())[..1];
    volume.swap(half);
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    assert!(client.health().settings_error.is_some());
    let used: BTreeSet<_> = kids(&sim).into_iter().collect();
    assert_eq!(used, BTreeSet::from([signed(&old), signed(&new)]));
    assert_eq!(kids(&sim).last(), Some(&signed(&new)));
}

/// The environment stays as it was; the file that it names does not.
#[tokio::test(start_paused = true)]
async fn a_key_file_that_the_environment_names_is_read_again() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), old.private_jwk().to_string()).unwrap();
    let variables = [
        ("MASKINPORTEN_CLIENT_ID", old.client_id().to_owned()),
        ("MASKINPORTEN_ISSUER", sim.issuer()),
        (
            "MASKINPORTEN_KEY_FILE",
            file.path().to_str().unwrap().to_owned(),
        ),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let platform = maskinporten::Platform::new(variables).with_root("/no/such/root");
    let client = MaskinportenClient::builder()
        .credentials(platform.credentials().unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap();
    fetch(&client).await.unwrap();
    let new = old.rotate_key().unwrap();
    fs::write(file.path(), new.private_jwk().to_string()).unwrap();
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [signed(&old), signed(&new)]);
}
