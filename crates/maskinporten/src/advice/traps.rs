//! Traps that are seen before anything is sent, or in an answer that is no refusal: each used by name
//! in the room that meets it.

use super::{About, Advice, Owner, Retry};
use crate::error::ErrorKind;

/// What to do with the two files that a keystore was taken apart into.
macro_rules! key_and_certificate {
    () => {
        "`openssl pkcs12 -in FILE.p12 -nocerts -nodes -out key.pem` (with -legacy where OpenSSL 3 says RC2-40-CBC or \
         unsupported) and set MASKINPORTEN_KEY_FILE=key.pem; a client with registered keys also sets MASKINPORTEN_KID \
         to what the portal shows for the key, and one without takes the certificate, \
         `openssl pkcs12 -in FILE.p12 -nokeys -out certificate.pem`, and sets \
         MASKINPORTEN_CERTIFICATE_FILE=certificate.pem"
    };
}

#[cfg(not(feature = "pkcs12"))]
const OPEN_PKCS12: &str = concat!(
    "build with the cargo feature `pkcs12`, which reads it as it is, or run ",
    key_and_certificate!(),
    "; where the file is base64, run first `base64 -d FILE.b64 > FILE.p12`"
);

#[cfg(feature = "pkcs12")]
const OPEN_PKCS12: &str = concat!(
    "run ",
    key_and_certificate!(),
    "; where the file is base64, run first `base64 -d FILE.b64 > FILE.p12`"
);

/// What to do with the keystores that are not read.
macro_rules! made_pkcs12 {
    () => {
        "make a Java keystore a PKCS#12 with \
         `keytool -importkeystore -srckeystore FILE.jks -destkeystore FILE.p12 -deststoretype PKCS12` (and \
         -srcalias ALIAS where it holds several keys), and export a certificate of the Windows store with its private key \
         as .pfx, which is one; then "
    };
}

#[cfg(not(feature = "pkcs12"))]
const OPEN_KEYSTORE: &str = concat!(
    made_pkcs12!(),
    "build with the cargo feature `pkcs12`, which reads it as it is, or run ",
    key_and_certificate!()
);

#[cfg(feature = "pkcs12")]
const OPEN_KEYSTORE: &str = concat!(
    made_pkcs12!(),
    "name it by MASKINPORTEN_KEY_FILE, with its password as MASKINPORTEN_KEY_PASSWORD, or give it in base64 as `Pem` of the \
     settings, with `KeyPassword`; a client with registered keys also sets MASKINPORTEN_KID to what the portal shows for \
     the key"
);

#[cfg(not(feature = "pkcs12"))]
const IN_JSON: &str = concat!(
    "write the value of that member to a file, run `base64 -d FILE.b64 > FILE.p12`, then build with the cargo feature \
     `pkcs12`, which reads it as it is, or run ",
    key_and_certificate!()
);

#[cfg(feature = "pkcs12")]
const IN_JSON: &str = "write the value of that member to a file and name it by MASKINPORTEN_KEY_FILE, with its password as \
     MASKINPORTEN_KEY_PASSWORD; a client with registered keys also sets MASKINPORTEN_KID to what the portal shows for \
     the key";

macro_rules! about {
    ($kind:ident) => {
        About::of_kind(ErrorKind::$kind)
    };
    ($kind:ident $about:ident) => {
        About::$about
    };
}

/// The rows. Whom a row is about follows from its kind; `of` behind the kind says otherwise.
macro_rules! traps {
    ($($(#[$doc:meta])* $name:ident: $kind:ident $(of $about:ident)?, $owner:ident, $retry:ident, $meaning:expr, $hint:expr;)*) => {
        $($(#[$doc])* pub(crate) static $name: Advice = Advice {
            code: None, error: None, phrases: &[], kind: ErrorKind::$kind,
            about: about!($kind $($about)?), owner: Owner::$owner, retry: Retry::$retry, meaning: $meaning, hint: $hint,
        };)*
        pub(super) static TRAPS: &[&Advice] = &[$(&$name),*];
    };
}

traps! {
    NO_SETTINGS: Settings, You, No,
        "no settings were found",
        "give a settings file by MASKINPORTEN_SETTINGS_FILE, or MaskinportenSettings__Authority, \
         MaskinportenSettings__ClientId and MaskinportenSettings__JwkBase64 in the environment";
    SOURCE: Settings, You, No,
        "MASKINPORTEN_SOURCE names no source",
        "set it to direct, sidecar, file, dir, env or sim, or leave it out: the first place that has credentials \
         is used then";
    SOURCE_GONE: Settings, You, No,
        "the place that the settings were read from no longer has them",
        "put them back whole, or restart the service with another place; until then it goes on with those it has";
    HALF_CHANGED: Settings, You, No,
        "the credentials are of two clients",
        "write the key of the new client too: both are taken together; a client that is to use another's key is \
         taken by a restart";
    NO_SIMULATOR: Settings, You, No,
        "the credentials are not a simulator's",
        "MASKINPORTEN_SOURCE=sim takes an authority on this machine only: give the settings that the simulator \
         prints, or leave the variable out";
    SECRETS_DIRECTORY: Settings, You, No,
        "the directory of secrets cannot be used",
        "see that it is mounted and that this process may read it; MASKINPORTEN_SECRETS_DIR names another";
    FOREIGN_KEYSTORE: Settings, You, No,
        "the key is in a keystore that is not read here",
        OPEN_KEYSTORE;
    SIDECAR_ADDRESS: Settings, You, No,
        "the sidecar's address cannot be used",
        "set NAIS_TOKEN_ENDPOINT to what the platform gives, such as http://localhost:3000/api/v1/token; plain \
         http is for a sidecar on this machine only";
    SIDECAR_ONLY: Settings, You, No,
        "the platform gives tokens and not settings",
        "make the client of what was found (`MaskinportenClient::discover`), or set MASKINPORTEN_SOURCE=direct to \
         use the key that the platform mounts";
    SIDECAR_SILENT: Unreachable, Network, Later,
        "the sidecar does not answer",
        "see that the sidecar runs beside this process and that NAIS_TOKEN_ENDPOINT is its address; it may start \
         later than this process does";
    NOT_BY_SIDECAR: Request, You, No,
        "the sidecar cannot ask for such a token",
        "set MASKINPORTEN_SOURCE=direct to sign with the key that the platform mounts: this library then asks \
         for it itself";
    CROSSED_CREDENTIALS: Settings, You, No,
        "test and production are mixed",
        "keys, certificates, clients, authority, token endpoint and Altinn are all of one environment: give this \
         service those of the one it is to speak to";
    ENVIRONMENT_CHANGED: Settings, You, No,
        "the credentials became those of another environment",
        "a running client stays in its environment: put the old credentials back, or restart the service with the \
         new ones and the addresses that belong to them";
    SETTINGS_FILE: Settings, You, No,
        "the settings file cannot be used",
        "the file is JSON: {\"MaskinportenSettings\": {\"Authority\": \"https://test.maskinporten.no/\", \
         \"ClientId\": \"…\", \"Jwk\": {…}}}, each name once";
    SETTINGS_HALF: Settings, You, No,
        "the settings file is half written",
        "write the file whole under another name and rename it into place";
    OTHER_SECTION: Settings, You, No,
        "the settings stand in another section than the one that is read",
        "name the section: `--section NAME` for the binary, the argument `section` or `with_section` in code; or give the \
         section in the file the name that is read";
    PLATFORM_FILE: Settings, You, No,
        "a JSON file cannot be read for what it says of Altinn's platform",
        "the section is {\"PlatformSettings\": {\"ApiAuthenticationEndpoint\": \
         \"https://platform.tt02.altinn.no/authentication/api/v1/\", \"SubscriptionKey\": \"…\"}}; every *.json of Altinn's \
         directory is read for it: correct the file that is named, or move JSON files of other kinds out of the directory";
    FILE_UNREADABLE: Settings, You, No,
        "a file cannot be read",
        "check that the path is right and names a file, that the file is mounted where this process runs, and that this \
         process may read it";
    FILE_EMPTY: Settings, You, No,
        "a file of a key or a certificate is empty",
        "write the key or the certificate to the file, or name the right file; where it is mounted, check that the secret \
         has a value";
    SECRET_FILE: Settings, You, No,
        "a file in the directory of secrets cannot be used",
        "each file holds one value, named as the variable or the secret of a vault: write it as UTF-8 text; keys and \
         certificates may be binary";
    ONE_KEY: Settings, You, No,
        "the settings hold two keys",
        "keep exactly one of Jwk, JwkBase64 and the PEM, the one registered for this client, and remove the other";
    TWO_CLIENTS: Settings, You, No,
        "two places hold settings of two clients",
        "keep the settings of one client and remove the others, or name the file to use by \
         MASKINPORTEN_SETTINGS_FILE";
    FILE_ADDRESS: Settings, You, No,
        "an address stands where the path of a file belongs",
        "write the path alone, without `file:` and the slashes behind it: /run/secrets/key.jwk";
    VARIABLE: Settings, You, No,
        "an environment variable cannot be read",
        "set each variable once and as UTF-8 text; those of a settings section are read in any case";
    AUTHORITY: Settings, You, No,
        "the authority cannot be used",
        "use https://maskinporten.no/ for production or https://test.maskinporten.no/ for test; plain http is \
         for a server on this machine only";
    SWAPPED: Settings, You, No,
        "client id and issuer are not where they belong",
        "the issuer is an address such as https://test.maskinporten.no/, or prod or test; the client id is what the \
         self-service portal shows for the client, as a rule a UUID";
    IDENTIFIER: Settings, You, No,
        "a client id or a key identifier cannot be one",
        "the client id is what the self-service portal shows for the client, as a rule a UUID, and the kid what it \
         shows for the key; the private key belongs in MASKINPORTEN_CLIENT_JWK or in the file that MASKINPORTEN_KEY_FILE \
         names, and in a settings section in Jwk, JwkBase64 or Pem";
    FETCH_LIMITS: Settings, You, No,
        "a limit of the fetch queue cannot be used",
        "MaxConcurrentFetches (MASKINPORTEN_MAX_CONCURRENT_FETCHES) is how many token requests of one authority are in \
         flight at once, 1 to 1024, 32 unless it is given; FetchQueueTimeout (MASKINPORTEN_FETCH_QUEUE_TIMEOUT) is how \
         many seconds a caller waits for its turn, 1 to 3600, 300 unless it is given";
    METADATA_ADDRESS: Settings, You, No,
        "the address of the metadata cannot be used",
        "set MASKINPORTEN_WELL_KNOWN_URL to the address of the document itself, such as \
         https://test.maskinporten.no/.well-known/oauth-authorization-server, or leave it out and set \
         MASKINPORTEN_ISSUER alone; both have one origin";
    NO_ALTINN: Settings, You, No,
        "no Altinn is known to exchange at",
        "set ALTINN_PLATFORM_URL, such as https://platform.tt02.altinn.no: only production and test have an Altinn that follows from the authority";
    INSECURE_ADDRESS: Settings, You, No,
        "a token server is asked over https only",
        "use https; plain http is for a server on this machine only";
    PROXY_ADDRESS: Settings, You, No,
        "the proxy's address cannot be used",
        "write it as http://proxy.example.no:3128, with user:password@ before the host if the proxy asks for them; \
         SOCKS is not spoken here";
    ROOT_CERTIFICATES: Settings, You, No,
        "the root certificates cannot be used",
        "give a PEM with one or more BEGIN CERTIFICATE blocks: the certificate of the authority, not of the server";
    RETIRED_ENVIRONMENT: Settings, You, No,
        "the environment is retired",
        "ver1 and ver2 were closed in June 2024: use `test`, with a client made there";
    CROSSED_ENVIRONMENTS: Settings, You, No,
        "Maskinporten and Altinn are of different environments",
        "a test token is worth nothing at production's Altinn, nor the other way round: use test with TT02 \
         (platform.tt02.altinn.no) and production with platform.altinn.no";
    ALTINN_ADDRESS: Settings, You, No,
        "the Altinn address cannot be used",
        "set ALTINN_PLATFORM_URL to https://platform.altinn.no for production or \
         https://platform.tt02.altinn.no for test; plain http is for localhost only";
    NEW_KEY: Key, You, No,
        "the key cannot be used",
        "make a new one with `maskinporten keygen --out key.jwk` and register the public half it prints";
    EC_KEY: Key, You, No,
        "Maskinporten takes RSA keys only",
        "make an RSA key with `maskinporten keygen --out key.jwk`; the Altinn key tool must be told RS256";
    PUBLIC_KEY: Key, You, No,
        "this is the public half of a key",
        "the public half is for the portal: give the private JWK, the one with member `d`, to this program only";
    KID_MISSING: Key, You, No,
        "the key has no identifier",
        "add `kid` to the JWK, or set it beside the key (MASKINPORTEN_KID), to what the portal shows for the key; a client \
         without registered keys gives its certificate instead (MASKINPORTEN_CERTIFICATE_FILE)";
    KEY_FORMAT: Key, You, No,
        "the key's format is not read here",
        "give a JWK or a JWK set, a PEM that opens with BEGIN PRIVATE KEY, BEGIN ENCRYPTED PRIVATE KEY or BEGIN RSA \
         PRIVATE KEY, the same in DER, or base64 of any of these; other keys are turned into one with \
         `openssl pkey -in OLD -out key.pem`, where OLD is your file";
    ONE_OF_SET: Key, You, No,
        "a JWK set stands where one key belongs",
        "give one object of its `keys`, or the whole set as `Jwks` of the settings";
    JWK_IN_BASE64: Key, You, No,
        "no JWK in base64",
        "`JwkBase64` (`EncodedJwk` of the .NET package) is one private JWK in base64; a PEM or a PKCS#12 is given as `Pem` of \
         the settings or by MASKINPORTEN_KEY_FILE";
    KEY_IN_QUOTES: Key, You, No,
        "the key stands in quotes, or behind its name",
        "give what stands between the quotes, or behind `=`, alone: the env files of docker keep quotes, and so do some platforms";
    KEY_REFERENCE: Key, You, No,
        "a reference to a variable was not replaced",
        "put the key in its place: look at the template, or at the variable that it names, where this process is started";
    KEY_WITHOUT_NAME: Key, You, No,
        "the key has no identifier and no certificate",
        "set MASKINPORTEN_KID (`Kid` in settings) to what the portal shows for the key; a client without registered keys \
         gives its certificate instead (MASKINPORTEN_CERTIFICATE_FILE, `Certificate`)";
    PKCS12_NO_KEY: Key, You, No,
        "the PKCS#12 holds certificates only",
        "give the file that was exported with its private key: one of trusted certificates alone cannot sign";
    KEY_NOT_WHOLE: Key, You, No,
        "a member of the key is missing or damaged",
        "give the private JWK whole and unchanged, as the tool that made it wrote it: `kty`, `n`, `e`, `d`, `p`, `q`, `dp`, \
         `dq` and `qi`, each once; only where no whole copy is left, make a new key with \
         `maskinporten keygen --out key.jwk` and register its public half";
    KEY_USE: Key, You, No,
        "the JWK is marked for another use",
        "the key signs with RS256, RS384 or RS512: write `\"use\": \"sig\"` and one of them as `alg`, or leave both members \
         out, as the key is registered in the portal";
    KEY_INSIDE_JSON: Key, You, No,
        "the key is a member of other JSON",
        "give the value of that member alone; a settings file is named by MASKINPORTEN_SETTINGS_FILE and not by \
         MASKINPORTEN_KEY_FILE";
    KEYSTORE_IN_JSON: Key, You, No,
        "the key is in a keystore that is a member of JSON",
        IN_JSON;
    KEY_IN_XML: Key, You, No,
        "a key in XML is not read here",
        "write it as PEM in .NET: `var rsa = RSA.Create(); rsa.FromXmlString(xml); rsa.ExportPkcs8PrivateKeyPem()`";
    KEY_IN_PYTHON: Key, You, No,
        "the text is the repr of a Python value",
        "write a JWK with `json.dumps(key)` and bytes with `key.decode()`, not with `str`, `repr` or an f-string";
    KEY_ESCAPED: Key, You, No,
        "the key was escaped or encoded on its way",
        "give the text as it was before: JSON with plain quotes (not `&quot;`, `%22` or `\\\"`), and base64 once";
    KEY_VAULT_REFERENCE: Key, You, No,
        "a reference to Key Vault was not resolved",
        "App Service puts the secret in place of `@Microsoft.KeyVault(…)` where it can read it: look at the reference's \
         status in the portal, and let the app's identity read the secret";
    KEY_IS_A_PATH: Key, You, No,
        "a path stands where the key itself belongs",
        "name the file by MASKINPORTEN_KEY_FILE, as a path without `file:`, or give what the file holds";
    OPENSSH_KEY: Key, You, No,
        "an OpenSSH key is not read here",
        "run `ssh-keygen -p -m PKCS8 -f FILE` on a copy of the file, which is rewritten in place, and give that";
    PKCS12: Key, You, No,
        "the PKCS#12 is not read here",
        OPEN_PKCS12;
    PKCS12_KEYS: Key, You, No,
        "the PKCS#12 does not hold exactly one private key",
        "give a PKCS#12 with one private key and its certificates: \
         `keytool -importkeystore -srckeystore FILE.p12 -srcalias ALIAS -destkeystore one.p12 -deststoretype PKCS12` \
         copies one alias of several, and `keytool -list -keystore FILE.p12` shows them";
    PKCS12_WORK: Key, You, No,
        "opening the PKCS#12 would take too much work",
        "write it again with fewer rounds: `openssl pkcs12 -in FILE.p12 -nodes -out all.pem`, then \
         `openssl pkcs12 -export -in all.pem -out key.p12`, and remove all.pem; if you did not make the file, ask \
         who did";
    JAVA_KEYSTORE: Key, You, No,
        "a Java keystore is not read here",
        OPEN_KEYSTORE;
    PKCS7: Key, You, No,
        "PKCS#7 is not read here",
        "run `openssl pkcs7 -print_certs -in FILE.p7b -out certificate.pem`, where FILE.p7b is your file, and set \
         MASKINPORTEN_CERTIFICATE_FILE=certificate.pem";
    UTF16: Key, You, No,
        "the text is in UTF-16 without a byte order mark",
        "save it as UTF-8: `iconv -f UTF-16LE -t UTF-8 OLD > NEW`, or in PowerShell \
         `Get-Content OLD | Set-Content -Encoding utf8 NEW`, where OLD is your file";
    KEY_PASSWORD_MISSING: Key, You, No,
        "the key is encrypted and no password is given",
        "give the password by MASKINPORTEN_KEY_PASSWORD, or in code by `KeyOptions::with_password`";
    KEY_PASSWORD_WRONG: Key, You, No,
        "the password does not open the key",
        "compare MASKINPORTEN_KEY_PASSWORD with what `openssl pkey -in KEY.pem -noout` takes, where KEY.pem is your \
         key, or for a PKCS#12 `openssl pkcs12 -in FILE.p12 -noout` (with -legacy where OpenSSL 3 says unsupported): a space, a quote or `$` is easily changed by a \
         shell";
    OLD_ENCRYPTION: Key, You, No,
        "the key is encrypted in a way that is not read here",
        "encrypt it again with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD.pem -out key.pem`, where OLD.pem is your \
         file (with -inform DER where it is one, and with `-provider legacy -provider default` where OpenSSL says \
         unsupported), and give the new password by MASKINPORTEN_KEY_PASSWORD";
    KEY_WORK: Key, You, No,
        "opening the key would take too much work",
        "encrypt it again with `openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 600000 -in OLD.pem -out key.pem`, where \
         OLD.pem is your file; if you did not make it, ask who did";
    KEY_END: Key, You, No,
        "the key's end cannot be read",
        "write `exp` of the JWK as a number of seconds since 1970, not of milliseconds, or leave it out";
    KEY_DATES: Key, You, No,
        "the key or a certificate of it is not valid now",
        "make a new key or order a new certificate, and register it; if the date is right, set this machine's clock";
    KEY_SET: Key, You, No,
        "the JWK set cannot be used",
        "a set is {\"keys\": [{…}]} or the array alone, with at least one whole private RSA key in it, and one `kid` each; \
         give the private keys, not what is published";
    KEY_SET_KID: Key, You, No,
        "the JWK set has no key of this identifier",
        "set MASKINPORTEN_KID to the `kid` of a private key in the set, or leave it out: then the key that ends last \
         signs, and of those without an end the last of the set";
    CERTIFICATES: Key, You, No,
        "the certificates cannot be used",
        "give the key's own certificate and those that issued it, and no others: one PEM with a BEGIN CERTIFICATE block \
         for each, or one certificate as base64 of its DER; look into them with \
         `openssl storeutl -noout -text -certs certificate.pem`";
    CERTIFICATE_OF_KEY: Key, You, No,
        "the certificate is not this key's",
        "give the one certificate that was issued for this key: `openssl x509 -in certificate.pem -noout -pubkey` and \
         `openssl pkey -in key.pem -pubout` print the same";
    KID_AND_CERTIFICATE: Key, You, No,
        "a key goes by its kid or by its certificate",
        "leave one out: for a client with registered keys MASKINPORTEN_CERTIFICATE_FILE, for one without MASKINPORTEN_KID";
    NO_SCOPE: Request, You, No,
        "no scope was asked for",
        "name at least one scope, such as altinn:serviceowner";
    SCOPE_SEPARATOR: Request, You, No,
        "scopes are separated by something else than a space",
        "give each scope on its own or put a space between them; commas and semicolons do not separate scopes";
    SCOPE_CHARACTER: Request, You, No,
        "a scope holds a character that no scope may hold",
        "a scope is printable ASCII without quotes and backslashes (RFC 6749 §3.3): look for a line break or a \
         typographic quote copied along";
    ORGANISATION: Request, You, No,
        "this is no organisation number",
        "an organisation number has nine digits, the last a control digit; `0192:` may stand before it";
    RESOURCE: Request, You, No,
        "the resource is not an absolute URI",
        "give the identifier the API's owner told you, such as https://api.example.no, without `#`";
    EXTERNAL_REF: Request, You, No,
        "the external reference cannot be sent",
        "it is at most 255 of the letters a to å, digits, `_` and `-`, exactly as when the system user was made";
    AUTHORIZATION_DETAILS: Request, You, No,
        "authorization_details cannot be sent",
        "it is one JSON object, or an array with exactly one, that has a `type`";
    ORIGIN: Origin, You, No,
        "this is no origin that may see a token",
        "an origin is a scheme, a host and, where it is not the usual one, a port: https://api.example.no";
    FOREIGN_ORIGIN: Origin, You, No,
        "the token is not released for this origin",
        "add the origin where the layer is built if the request is meant to go there; if it is a redirect, the \
         refusal is right";
    NO_AUTHORITY: Origin, You, No,
        "the request's address has no host",
        "a client whose requests carry only a path (tonic's) needs `with_origin` below this layer, or \
         `assume_origin(…)` on it";
    PLAIN_HTTP: Origin, You, No,
        "a token is never sent over plain http",
        "use https; plain http is for a server on this machine only";
    HEADER_PRESENT: Origin, You, No,
        "the request already has an Authorization header",
        "remove it, or choose to replace or keep it where the layer is built";
    ONE_TOKEN: Request, You, No,
        "the provider keeps the token of one request only",
        "build the layer with a MaskinportenClient, or send the request without a TokenContext";
    CONTEXT_MISSING: Request, You, No,
        "a request without a TokenContext, where every request must carry one",
        "put a TokenContext that names somebody into the request's extensions; where it was put, a layer outside \
         has lost it on the way, as tower-http's FollowRedirect does: give that one the policy `KeepContext`";
    CONTEXT_UNEXPECTED: Request, You, No,
        "a request with a TokenContext, where none was expected",
        "say where the layer is built what a request without one gets: `require_context()` refuses it, \
         `optional_context()` gives it the layer's own token";
    CONTEXT_ELSEWHERE: Origin, You, No,
        "the request's TokenContext is bound to another origin",
        "send it to the origin that the context was made for; if it is a redirect, the refusal is right";
    CONTEXT_SCOPES: Request, You, No,
        "a TokenContext may ask for scopes that the layer has, or allows",
        "list the scope by `allow_scopes(…)` where the layer is built, or leave it out of the context";
    TWO_LAYERS: Request, You, No,
        "the request already carries a token that this library has set",
        "one auth layer is enough: remove the other, or let each pass what is not its own (`pass_foreign`); \
         a token that is to be kept as it is, such as one that was set by hand with `client.header_value()`, \
         needs `ExistingHeader::Keep`";
    NO_CA_STORE: Unreachable, You, No,
        "no certificate authorities were found on this machine",
        "install the ca-certificates package in the image, or point SSL_CERT_FILE at a bundle";
    CERTIFICATE: Unreachable, Network, No,
        "the server's certificate was not accepted",
        "if the network inspects TLS, add its root certificate; if not, somebody else is answering: check the address";
    HANDSHAKE: Unreachable, Network, No,
        "no TLS connection came about",
        "the server must speak TLS 1.2 or newer on this port: look for a gateway in between, or for a wrong port";
    PROXY: Unreachable, Network, Later,
        "the proxy did not let the request through",
        "check the proxy's address and credentials, and that it allows CONNECT to this host and port";
    NETWORK: Unreachable, Network, Later,
        "the server was not reached",
        "check name resolution, egress rules and proxy for this host and port; Digdir lists its addresses \
         for firewalls";
    SILENCE: Unreachable, Network, Later,
        "the server did not answer in time",
        "if it stays so, check egress rules and proxy: a firewall that drops packets looks like this";
    SERVER_BUSY: Unavailable, ApiOwner, Later,
        "the server cannot serve now",
        "nothing to change here: outages are seldom longer than a few minutes; Digdir's status page tells more";
    NOT_AN_ANSWER: Protocol, Network, Later,
        "the answer is not a token server's",
        "a proxy, a login page or the wrong address is answering: request the address by hand and look";
    UNUSABLE_TOKEN: Protocol, ApiOwner, Later,
        "the token in the answer cannot be used",
        "the server sent a token that cannot stand in a header or does not live: report it to its operator";
    REDIRECTED: Protocol, You, No,
        "the token server answered with a redirect",
        "redirects are never followed with an assertion: set the authority to the address it points at, if that is right";
    METADATA: Protocol, You, Later,
        "the server's metadata cannot be used",
        "the authority must publish itself: `issuer` in its metadata equals the authority to the last slash, and \
         the token endpoint has the same origin";
    METADATA_ISSUER: Protocol, You, No,
        "the metadata is of another issuer than its address says",
        "MASKINPORTEN_WELL_KNOWN_URL is the issuer's address with /.well-known/ and the document's name behind its host \
         or behind its path: correct it; where the issuer in the metadata is the right one, set MASKINPORTEN_ISSUER \
         to exactly that as well";
    METADATA_ELSEWHERE: Protocol, You, No,
        "the metadata is of an issuer on another host than its address",
        "MASKINPORTEN_WELL_KNOWN_URL is the issuer's address with /.well-known/ and the document's name behind its host \
         or behind its path: correct it, and do not take the issuer from this document: it has no say over another host";
    UNKNOWN_REFUSAL: Rejected, You, No,
        "the grant was refused",
        "this refusal is not in the table here: compare the client in the self-service portal with what was sent, \
         and give the trace id to support";
    ENTERPRISE_USER: Exchange, You, No,
        "Altinn no longer takes enterprise users",
        "enterprise users were closed in June 2026: use a system user";
    EXCHANGE_REFUSED: Exchange, You, Later,
        "Altinn did not accept the Maskinporten token",
        "either the token is of another environment than this Altinn, or Altinn's own look-up failed: check the \
         pair of environments first, then wait and try again";
    SUBSCRIPTION_KEY: Exchange of Credentials, You, No,
        "the gateway before Altinn wants a subscription key",
        "set PlatformSettings__SubscriptionKey to the key you got for this environment";
    EXCHANGE_ADDRESS: Exchange, You, No,
        "Altinn did not know this exchange",
        "check the Altinn address: it is the platform's host, such as https://platform.tt02.altinn.no";
    NO_RUNTIME: Runtime, You, No,
        "there is no Tokio runtime to fetch the token on",
        "ask from within a Tokio runtime (`#[tokio::main]`, `Runtime::block_on`)";
    // No server was asked.
    QUEUE: Unavailable of Request, You, Later,
        "many different tokens were wanted at once, and this one's turn did not come in time",
        "fetch them ahead of need (`warm_up_for`) or in smaller batches; how long a request waits for its turn is \
         `fetch_queue_timeout`, how many are fetched at the same time `max_concurrent_fetches`";
    VOID: Unavailable of Request, You, Later,
        "the token was declared void again and again while it was fetched",
        "call `invalidate` less often than the token server needs to give a token: once, when something has changed";
    CLOSED: Closed, You, No,
        "the client was shut down",
        "stop sending before `shutdown`, or build another client";
    RUNTIME_GONE: Runtime, You, Later,
        "whatever fetched the token went away before it was done",
        "the runtime that fetched was shut down, or a signer or transport of yours panicked: its own log tells";
    LEGACY_SETTINGS: Settings, You, No,
        "settings of the .NET package cannot be used",
        "they name Environment (prod, test or dev) or else TokenEndpoint and AssertionAudience, ClientId, and one key \
         (EncodedJwk), all in one section; with them may stand Kid, Scope, Resource, ConsumerOrgNo, \
         ExhangeToAltinnToken, TokenExchangeEndpoint or TokenExchangeEnvironment (prod, tt02, test, at21 to at24 or \
         yt01), UseAltinnTestOrg and OverwriteAuthorizationHeader; addresses are https, or plain http to this machine";
    LEGACY_ELSEWHERE: Settings, You, No,
        "settings of the .NET package stand where others are read",
        "in code, read them with `LegacySettings::from_file`; the binary `maskinporten` reads the file as it is \
         (`--settings FILE --section NAME`); to use them here, write Authority in place of Environment and JwkBase64 in \
         place of EncodedJwk";
    LEGACY_PASSWORD: Key, You, No,
        "the password of the .NET package's settings does not open the PKCS#12",
        "set CertificatePkcs12Password to what `openssl pkcs12 -in FILE.p12 -noout` takes for the file at \
         CertificatePkcs12Path; an EncodedX509 is opened with the empty password, as the package does: where it has \
         another, write it to a file and name that by CertificatePkcs12Path";
    PKCS12_FEATURE: Settings, You, No,
        "a PKCS#12 is read with a cargo feature only",
        OPEN_PKCS12;
    NAMED_CLIENTS: Settings, You, No,
        "named clients are declared wrongly, or not at all",
        "mend every place that is named, in code or in the TOML file: all are told at once, and none is made until \
         each is right; a client is declared where the registry is built and nowhere else";
    NO_SERVICE_OWNER: Request, You, No,
        "an Altinn token is asked for without the scope altinn:serviceowner",
        "Altinn may not take this client for a service owner's system, and its APIs then answer 403: add exactly \
         altinn:serviceowner to the client in the portal or in Altinn Studio, and to the scopes that are asked for";
}
