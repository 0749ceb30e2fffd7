//! An Azure on this machine: vaults that speak the REST protocol over TLS, and the identity service.
//!
//! One port is all of it. A client comes in by CONNECT, as to a proxy, and whatever host it asks for is
//! answered behind a certificate of a test authority: so the tests use the real names of vaults, and the
//! transport's own door for proxies and roots. Requests that come without CONNECT are those of a machine's
//! own identity service.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaSignatureEncoding,
};
use base64::engine::{Engine as _, general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use maskinporten_azure::{Identity, KeyVault, KeyVaultBuilder, VaultTransport};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) const VAULT: &str = "https://myvault.vault.azure.net";
pub(crate) const LOGIN: &str = "https://login.example.no";
pub(crate) const TENANT: &str = "cd0026d8-283b-4a55-9bfa-d0ef4a8ba21c";
pub(crate) const CLIENT: &str = "9b0d4c4e-6e33-4f44-9ef1-3ad0ff1a3b2c";
pub(crate) const CLIENT_SECRET: &str = "canary-of-the-application-7d1b5e";
pub(crate) const WORKLOAD_TOKEN: &str = "canary-of-the-workload-19c3aa";
pub(crate) const IDENTITY_HEADER: &str = "canary-of-the-host-44e0f1";

/// The names that the certificate is for.
const NAMES: [&str; 4] = [
    "myvault.vault.azure.net",
    "evil.example.no",
    "login.example.no",
    "vault.example.no",
];

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Azure").field(&self.address).finish()
    }
}

#[derive(Clone)]
pub(crate) struct Azure {
    state: Arc<Mutex<State>>,
    authority: Arc<CertifiedIssuer<'static, KeyPair>>,
    address: SocketAddr,
    /// Dropping the last handle ends all connections.
    _tasks: Arc<JoinSet<()>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) secrets: BTreeMap<String, StoredSecret>,
    pub(crate) keys: BTreeMap<String, Vec<StoredKey>>,
    pub(crate) page: usize,
    /// Where the second page is said to be.
    pub(crate) next_page: Option<String>,
    /// Tokens that were issued and are good.
    pub(crate) tokens: Vec<String>,
    pub(crate) faults: Vec<(&'static str, Fault, u32)>,
    pub(crate) journal: Vec<Seen>,
    /// Signs something else.
    pub(crate) lies: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct StoredSecret {
    pub(crate) versions: Vec<String>,
    pub(crate) disabled: bool,
    pub(crate) attributes: BTreeMap<&'static str, u64>,
}

pub(crate) struct StoredKey {
    pub(crate) version: String,
    pub(crate) pair: RsaKeyPair,
    pub(crate) kty: &'static str,
    pub(crate) operations: Vec<&'static str>,
    pub(crate) disabled: bool,
    pub(crate) attributes: BTreeMap<&'static str, u64>,
    /// Shows so many bytes of the modulus only, as if the key were shorter.
    pub(crate) shown: usize,
}

/// What goes wrong instead of the answer, after authorisation.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Status(u16, &'static str),
    RetryAfter(u16, &'static str),
    Silence,
    Latency(Duration),
    Truncated,
    Text(&'static str),
    Endless,
    Unauthenticated,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) authorized: bool,
    pub(crate) body: String,
}

impl Azure {
    pub(crate) async fn start() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();

        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(NAMES.map(str::to_owned))
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate)],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            page: 25,
            ..State::default()
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, Arc::clone(&state)));
        Self {
            state,
            authority: Arc::new(authority),
            address,
            _tasks: Arc::new(tasks),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Where a machine's own identity service would be.
    pub(crate) fn machine(&self) -> String {
        format!("http://{}/msi/token", self.address)
    }

    pub(crate) fn roots(&self) -> String {
        self.authority.pem()
    }

    pub(crate) fn proxy(&self) -> http::Uri {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub(crate) fn transport(&self) -> VaultTransport {
        VaultTransport::builder()
            .proxy(self.proxy())
            .add_root_certificates(self.roots())
            .build()
            .unwrap()
    }

    pub(crate) fn builder(&self) -> KeyVaultBuilder {
        KeyVault::builder(VAULT)
            .identity(Identity::client_secret(TENANT, CLIENT, CLIENT_SECRET))
            .authority_host(LOGIN)
            .transport(self.transport())
    }

    pub(crate) fn vault(&self) -> KeyVault {
        self.builder().build().unwrap()
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        let mut state = self.state();
        let secret = state.secrets.entry(name.to_owned()).or_default();
        secret.versions.push(value.to_owned());
    }

    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut StoredSecret)) {
        edit(self.state().secrets.get_mut(name).unwrap());
    }

    /// A new version of a key.
    pub(crate) fn add_key(&self, name: &str) -> String {
        self.add_key_of(name, KeySize::Rsa2048)
    }

    pub(crate) fn add_key_of(&self, name: &str, size: KeySize) -> String {
        let mut state = self.state();
        let versions = state.keys.entry(name.to_owned()).or_default();
        let version = format!("{:032x}", 0xabc_0000 + versions.len());
        versions.push(StoredKey {
            version: version.clone(),
            pair: RsaKeyPair::generate(size).unwrap(),
            kty: "RSA",
            operations: vec!["sign", "verify"],
            disabled: false,
            attributes: BTreeMap::new(),
            shown: usize::MAX,
        });
        version
    }

    pub(crate) fn edit_key(&self, name: &str, edit: impl FnOnce(&mut StoredKey)) {
        edit(self.state().keys.get_mut(name).unwrap().last_mut().unwrap());
    }

    /// The next requests whose path contains `path` meet this fault.
    pub(crate) fn fault(&self, path: &'static str, fault: Fault, times: u32) {
        self.state().faults.push((path, fault, times));
    }

    /// Requests whose path contains `path`, those that only asked for the challenge left out.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let state = self.state();
        let seen = state.journal.iter();
        seen.filter(|seen| seen.authorized && seen.path.contains(path))
            .count()
    }

    pub(crate) fn asked_for_tokens(&self) -> usize {
        let state = self.state();
        let seen = state.journal.iter();
        seen.filter(|seen| seen.path.contains("/token")).count()
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

// ===== connections =====

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&state)));
    }
}

async fn connection(mut stream: TcpStream, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    let mut start = [0; 7];
    while let Ok(1..7) = stream.peek(&mut start).await {
        tokio::task::yield_now().await;
    }
    if &start != b"CONNECT" {
        serve(stream, "machine".to_owned(), state).await;
        return;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let host = head.split([' ', ':']).nth(1).unwrap().to_owned();
    let answer = match host.ends_with(".invalid") {
        true => "HTTP/1.1 502 No such name\r\n\r\n",
        false => "HTTP/1.1 200 Go\r\n\r\n",
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    if let Ok(stream) = acceptor.accept(stream).await {
        serve(stream, host, state).await;
    }
}

async fn serve<S>(stream: S, host: String, state: Arc<Mutex<State>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, host.clone(), Arc::clone(&state)));
    // What breaks off is what a test wanted to break off.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Answer = Response<BoxBody>;
type BoxBody = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

fn reply(status: u16, body: &Value) -> Answer {
    text(status, body.to_string())
}

fn text(status: u16, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

async fn answer(
    request: Request<Incoming>,
    host: String,
    state: Arc<Mutex<State>>,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    let authorization = head
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let bearer = authorization.and_then(|value| value.strip_prefix("Bearer "));
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();

    let fault = {
        let mut state = state.lock().unwrap();
        state.journal.push(Seen {
            host: host.clone(),
            path: path.clone(),
            authorized: bearer.is_some(),
            body: body.clone(),
        });
        let is_identity = path.contains("/token");
        let due = state.faults.iter_mut().find(|(part, _, times)| {
            *times > 0 && path.contains(part) && (bearer.is_some() || is_identity)
        });
        due.map(|(_, fault, times)| {
            *times -= 1;
            fault.clone()
        })
    };
    match fault {
        None => {}
        Some(Fault::Latency(time)) => tokio::time::sleep(time).await,
        Some(Fault::Silence) => std::future::pending().await,
        Some(fault) => return Ok(fault.answer()),
    }

    let state = &mut *state.lock().unwrap();
    if path == "/msi/token" {
        let is_ours = head
            .headers
            .get("x-identity-header")
            .is_some_and(|it| it == IDENTITY_HEADER);
        return Ok(state.identify_machine(is_ours, &query));
    }
    if path.ends_with("/oauth2/v2.0/token") {
        return Ok(state.identify(&path, &body));
    }
    if !bearer.is_some_and(|token| state.tokens.iter().any(|good| good == token)) {
        return Ok(challenge(&host));
    }
    Ok(state.answer(&head.method, &host, &path, &query, &body))
}

fn challenge(host: &str) -> Answer {
    let mut answer = reply(401, &json!({"error": {"code": "Unauthorized"}}));
    let resource = match host {
        "vault.example.no" => "https://vault.somewhere.no",
        _ => "https://vault.azure.net",
    };
    let challenge = format!(r#"Bearer authorization="{LOGIN}/{TENANT}", resource="{resource}""#);
    answer
        .headers_mut()
        .insert("www-authenticate", challenge.parse().unwrap());
    answer
}

impl Fault {
    fn answer(self) -> Answer {
        match self {
            Self::Status(status, code) => reply(status, &refusal(status, code)),
            Self::RetryAfter(status, wait) => {
                let mut answer = reply(status, &json!({"error": {"code": "Throttled"}}));
                answer
                    .headers_mut()
                    .insert("retry-after", wait.parse().unwrap());
                answer
            }
            Self::Truncated => {
                let mut answer = text(200, r#"{"value": [{"id": "https://myvault"#);
                answer
                    .headers_mut()
                    .insert("content-length", "4000".parse().unwrap());
                answer
            }
            Self::Text(body) => text(200, body),
            Self::Endless => {
                let pieces = futures_util::stream::repeat_with(|| {
                    Ok(hyper::body::Frame::data(Bytes::from_static(&[b' '; 8192])))
                });
                Response::new(http_body_util::StreamBody::new(pieces).boxed())
            }
            Self::Unauthenticated => challenge("myvault.vault.azure.net"),
            Self::Silence | Self::Latency(_) => text(500, ""),
        }
    }
}

fn refusal(status: u16, code: &str) -> Value {
    match status {
        403 => json!({"error": {"code": "Forbidden", "message": "canary-of-a-message-5b",
            "innererror": {"code": code}}}),
        _ => json!({"error": {"code": code, "message": "canary-of-a-message-5b"}}),
    }
}

// ===== the identity service =====

impl State {
    pub(crate) fn issue(&mut self) -> String {
        let token = format!("canary-of-a-token-{:08x}", 0x51c0_ffee + self.tokens.len());
        self.tokens.push(token.clone());
        token
    }

    fn identify(&mut self, path: &str, body: &str) -> Answer {
        let form: BTreeMap<_, _> = form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        let is = |name: &str, value: &str| form.get(name).is_some_and(|it| it == value);
        let refuse = |number: u32| {
            let answer = json!({"error": "invalid_client", "error_codes": [number],
                "error_description": format!("AADSTS{number}: canary-of-a-description")});
            reply(if number == 90002 { 400 } else { 401 }, &answer)
        };
        if !path.contains(TENANT) {
            return refuse(90002);
        }
        if !is("client_id", CLIENT) {
            return refuse(700016);
        }
        if !is("client_secret", CLIENT_SECRET) && !is("client_assertion", WORKLOAD_TOKEN) {
            return refuse(7_000_215);
        }
        if !is("scope", "https://vault.azure.net/.default") {
            return refuse(70011);
        }
        let token = self.issue();
        reply(
            200,
            &json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}),
        )
    }

    fn identify_machine(&mut self, is_ours: bool, query: &str) -> Answer {
        if !is_ours || !query.contains("resource=https%3A%2F%2Fvault.azure.net") {
            return reply(400, &json!({"error": "invalid_request"}));
        }
        let token = self.issue();
        reply(
            200,
            &json!({"token_type": "Bearer", "expires_on": (now() + 3600).to_string(),
                "resource": "https://vault.azure.net", "access_token": token}),
        )
    }
}

// ===== the vault =====

impl State {
    fn answer(
        &mut self,
        method: &Method,
        host: &str,
        path: &str,
        query: &str,
        body: &str,
    ) -> Answer {
        let levels: Vec<_> = path.split('/').filter(|level| !level.is_empty()).collect();
        match (method.as_str(), levels.as_slice()) {
            ("GET", ["secrets"]) => self.list(host, query),
            ("GET", ["secrets", name]) => self.secret(host, name),
            ("GET", ["keys", name]) => self.key(host, name, None),
            ("GET", ["keys", name, version]) => self.key(host, name, Some(version)),
            ("POST", ["keys", name, version, "sign"]) => self.sign(host, name, version, body),
            _ => reply(400, &json!({"error": {"code": "BadParameter"}})),
        }
    }

    fn list(&self, host: &str, query: &str) -> Answer {
        let skip = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "$skiptoken")
            .map_or(0, |(_, value)| value.parse().unwrap());
        let page = self.secrets.iter().skip(skip).take(self.page);
        let value: Vec<_> = page
            .map(|(name, secret)| {
                json!({"id": format!("https://{host}/secrets/{name}"),
                    "attributes": secret.attributes()})
            })
            .collect();
        let is_last = skip + self.page >= self.secrets.len();
        let next = match &self.next_page {
            Some(elsewhere) => Some(elsewhere.clone()),
            None if is_last => None,
            None => Some(format!(
                "https://{host}/secrets?api-version=7.6&$skiptoken={}",
                skip + self.page
            )),
        };
        reply(200, &json!({"value": value, "nextLink": next}))
    }

    fn secret(&self, host: &str, name: &str) -> Answer {
        let found = self
            .secrets
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((name, secret)) = found else {
            return reply(404, &refusal(404, "SecretNotFound"));
        };
        if secret.disabled {
            return reply(403, &refusal(403, "SecretDisabled"));
        }
        let version = secret.versions.len();
        reply(
            200,
            &json!({"value": secret.versions.last(),
                "id": format!("https://{host}/secrets/{name}/{version:032x}"),
                "attributes": secret.attributes()}),
        )
    }

    fn find(&self, name: &str, version: Option<&str>) -> Option<&StoredKey> {
        let versions = self.keys.get(name)?;
        match version {
            None => versions.last(),
            Some(version) => versions.iter().find(|key| key.version == version),
        }
    }

    fn key(&self, host: &str, name: &str, version: Option<&str>) -> Answer {
        let Some(key) = self.find(name, version) else {
            return reply(404, &refusal(404, "KeyNotFound"));
        };
        let public = public(&key.pair);
        let mut attributes = json!(key.attributes);
        attributes["enabled"] = json!(!key.disabled);
        reply(
            200,
            &json!({
                "key": {
                    "kid": format!("https://{host}/keys/{name}/{}", key.version),
                    "kty": key.kty,
                    "key_ops": key.operations,
                    "n": URL_SAFE_NO_PAD.encode(&public.n[..key.shown.min(public.n.len())]),
                    "e": URL_SAFE_NO_PAD.encode(&public.e),
                },
                "attributes": attributes,
            }),
        )
    }

    fn sign(&self, host: &str, name: &str, version: &str, body: &str) -> Answer {
        let Some(key) = self.find(name, Some(version)) else {
            return reply(404, &refusal(404, "KeyNotFound"));
        };
        if key.disabled {
            return reply(403, &refusal(403, "KeyDisabled"));
        }
        let asked: Value = serde_json::from_str(body).unwrap();
        let (digest, encoding): (_, &'static RsaSignatureEncoding) = match asked["alg"].as_str() {
            Some("RS256") => (&SHA256, &RSA_PKCS1_SHA256),
            Some("RS384") => (&SHA384, &RSA_PKCS1_SHA384),
            Some("RS512") => (&SHA512, &RSA_PKCS1_SHA512),
            _ => return reply(400, &refusal(400, "BadParameter")),
        };
        let value = URL_SAFE_NO_PAD.decode(asked["value"].as_str().unwrap());
        let mut value = value.unwrap();
        if self.lies {
            value[0] ^= 1;
        }
        let Ok(digest) = Digest::import_less_safe(&value, digest) else {
            return reply(400, &refusal(400, "BadParameter"));
        };
        let mut signature = vec![0; key.pair.public_modulus_len()];
        key.pair
            .sign_digest(encoding, &digest, &mut signature)
            .unwrap();
        reply(
            200,
            &json!({"kid": format!("https://{host}/keys/{name}/{version}"),
                "value": URL_SAFE_NO_PAD.encode(signature)}),
        )
    }
}

impl StoredSecret {
    fn attributes(&self) -> Value {
        let mut attributes = json!(self.attributes);
        attributes["enabled"] = json!(!self.disabled);
        attributes
    }
}

pub(crate) fn public(pair: &RsaKeyPair) -> PublicKeyComponents<Vec<u8>> {
    let key = pair.public_key();
    let n = key.modulus().big_endian_without_leading_zero().to_vec();
    let e = key.exponent().big_endian_without_leading_zero().to_vec();
    PublicKeyComponents { n, e }
}
