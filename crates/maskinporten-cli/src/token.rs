//! `maskinporten token`: one token on stdout.
//!
//! - The command line is checked before the settings, the settings before anything is sent.
//! - What the command line leaves out and the settings or the environment say of the token is a default, and
//!   each default is shown with the name it was found under.
//! - The token stands alone on stdout, followed by a line break, so that `$(maskinporten token …)`
//!   is the token and nothing else.

use std::path::PathBuf;

use maskinporten::{
    AccessToken, AltinnSettings, Credentials, Environment, Error, LegacySettings,
    MaskinportenClient, MaskinportenSettings, Platform, RequestDefault, SystemUser, TokenRequest,
    Transport,
};
use tokio::runtime;

use crate::exit::Exit;
use crate::report::{self, Failure};

/// Print a token on stdout, and nothing else there
///
/// Settings are read from --settings, else from the first place that has them: the file that
/// MASKINPORTEN_SETTINGS_FILE names; the sidecar at NAIS_TOKEN_ENDPOINT; a directory of secrets
/// (MASKINPORTEN_SECRETS_DIR, or what nais, SKIP or Altinn mounts); the environment:
/// MASKINPORTEN_CLIENT_ID, MASKINPORTEN_ISSUER and MASKINPORTEN_CLIENT_JWK or _KEY_FILE, or
/// MaskinportenSettings__Authority, __ClientId and __JwkBase64. They are taken whole from one
/// place; MASKINPORTEN_SOURCE names it (file, sidecar, dir, env, direct, sim).
///
/// MASKINPORTEN_CONSUMER_ORG and MASKINPORTEN_RESOURCE, and ConsumerOrgNo and Resource in the
/// settings, are the defaults of --consumer-org and --resource. Each default that is used is shown
/// on its own line on stderr, with the name it was found under.
///
/// The file of --settings may hold settings of the .NET package Altinn.ApiClients.Maskinporten:
/// Scope, Resource, ConsumerOrgNo and ExhangeToAltinnToken are defaults then.
///
/// As with curl, HTTPS_PROXY, ALL_PROXY and NO_PROXY are heeded; servers on this machine are
/// always reached directly.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A scope to ask for; may be given again for each further one
    ///
    /// Needed unless the settings name scopes: MASKINPORTEN_SCOPES, Scopes, or the .NET package's Scope.
    #[arg(short, long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,

    /// Exchange the token and print Altinn's instead
    ///
    /// The Altinn of the authority's environment, or the one that ALTINN_PLATFORM_URL or
    /// PlatformSettings__ApiAuthenticationEndpoint names, or the section PlatformSettings of the
    /// settings file or of a JSON file in the directory that Altinn mounts. Its SubscriptionKey is
    /// sent along, unless it stands with an address of another origin. --altinn=false asks for
    /// Maskinporten's own token where the settings say ExhangeToAltinnToken.
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        verbatim_doc_comment
    )]
    altinn: Option<bool>,

    /// The API that the token is for, as its owner names it; may be given again
    ///
    /// An empty one turns off the default.
    #[arg(long = "resource", value_name = "URI")]
    resources: Vec<String>,

    /// Ask on behalf of an organisation that has delegated the scope
    ///
    /// An empty one turns off the default: the token is then the client's own.
    #[arg(long, value_name = "ORG")]
    consumer_org: Option<String>,

    /// Ask as an organisation's system user, by its external reference where it has one
    #[arg(long, value_name = "ORG[:REF]")]
    system_user: Option<String>,

    /// Read the settings from this JSON file
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,

    /// Where in the settings file they stand, such as myapp:MaskinportenSettings
    ///
    /// Without it they stand under MaskinportenSettings, or are the whole file.
    #[arg(long, value_name = "PATH", requires = "settings")]
    section: Option<String>,

    /// Reach the servers directly, whatever the environment says of a proxy
    #[arg(long)]
    no_proxy: bool,
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    if !args.scopes.is_empty() {
        args.request(&args.scopes)?;
    }
    let mut found = args.find()?;
    let (request, defaults) = args.request_with_defaults(&mut found)?;
    let altinn = args.altinn.unwrap_or_else(|| found.exchanges());
    let environment = found.credentials.environment()?;
    if !quiet {
        report::note(format_args!("using: {}", found.credentials.describe()));
        for default in &defaults {
            report::note(format_args!("using: {default}"));
        }
        if altinn && args.altinn.is_none() {
            report::note("using: Altinn's token, from ExhangeToAltinnToken");
        }
    }
    if let Some(settings) = found.credentials.settings() {
        for key in settings.signing_keys()? {
            let (kid, bits, algorithm) = (key.kid(), key.bits(), key.algorithm());
            let kid = kid.map_or("by its certificate".to_owned(), |kid| format!("kid {kid}"));
            if !quiet {
                report::note(format_args!("key: {kid}, RSA {bits} bits, {algorithm}"));
            }
        }
    }

    // Read only when asked for: what is wrong with it is then no reason to give no token.
    let exchange = if altinn {
        found.altinn(environment)?
    } else {
        None
    };
    let mut credentials = found.credentials;
    // What the command line takes the place of was said above, and is no reason to warn.
    while credentials.take_consumer_org().is_some() || credentials.take_resource().is_some() {}
    let mut builder = MaskinportenClient::builder()
        .credentials(credentials)
        .transport(args.transport()?);
    if let Some(exchange) = exchange {
        if !quiet {
            let (url, source) = (exchange.exchange_url(), exchange.source());
            let key = exchange.subscription_key_source();
            let key = key.map(|source| format!(", subscription key from {source}"));
            let key = key.unwrap_or_default();
            report::note(format_args!("altinn: {url} (from {source}){key}"));
        }
        builder = builder.altinn(exchange);
    }
    let client = builder.build()?;

    let token = fetch(&client, &request, altinn)?;
    report::print(token.expose())
        .map_err(|cause| Failure::unprinted("the token cannot be printed", cause))?;
    let life = token.lifetime().as_secs();
    if !quiet {
        let whose = if altinn { "Altinn" } else { "Maskinporten" };
        let scopes = request.scope_set();
        report::note(format_args!(
            "token: {whose}'s, for {scopes}, lives {life} s"
        ));
    }
    if life == 0 {
        report::note(
            "warning: the token was spent on arrival: it was given no life, and APIs will refuse it",
        );
    }
    Ok(())
}

/// What the settings come to, and what stands with them.
struct Found {
    platform: Platform,
    credentials: Credentials,
    /// Where they are settings of the .NET package.
    legacy: Option<LegacySettings>,
}

impl Found {
    /// Whether the settings themselves want Altinn's token.
    fn exchanges(&self) -> bool {
        let legacy = self.legacy.as_ref();
        legacy.is_some_and(|legacy| legacy.exchange_to_altinn_token)
    }

    /// The Altinn to exchange at.
    fn altinn(
        &self,
        environment: Option<Environment>,
    ) -> maskinporten::Result<Option<AltinnSettings>> {
        match &self.legacy {
            None => self.platform.altinn(environment),
            Some(legacy) => {
                // Asked for by the command line, if not by them.
                let mut legacy = legacy.clone();
                legacy.exchange_to_altinn_token = true;
                self.platform.altinn_of(&legacy)
            }
        }
    }
}

impl Args {
    /// What the command line asks for. An empty organisation or resource is none.
    fn request(&self, scopes: &[String]) -> maskinporten::Result<TokenRequest> {
        let mut request = TokenRequest::scopes(scopes)?;
        for resource in &self.resources {
            request = request.resource(resource)?;
        }
        if let Some(organisation) = self.consumer_org.as_deref()
            && !organisation.trim().is_empty()
        {
            request = request.consumer_org(organisation)?;
        }
        if let Some(user) = &self.system_user {
            request = request.system_user(system_user(user)?);
        }
        Ok(request)
    }

    /// The same, with what was found where the command line says nothing; and each of these defaults in
    /// words.
    fn request_with_defaults(
        &self,
        found: &mut Found,
    ) -> maskinporten::Result<(TokenRequest, Vec<String>)> {
        let Found {
            platform,
            credentials,
            legacy,
        } = found;
        let legacy = legacy.as_ref();
        let mut defaults = Vec::new();

        let registered = || credentials.settings()?.scopes.as_deref();
        let of_settings = match legacy {
            Some(legacy) => legacy.scope.as_deref().map(|scope| (scope, "Scope")),
            None => registered().map(|scopes| (scopes, "the scopes of the settings")),
        };
        let scopes = match of_settings.filter(|_| self.scopes.is_empty()) {
            Some((scope, name)) => {
                let scope = scope.trim();
                defaults.push(format!("scope {scope}, from {name}"));
                vec![scope.to_owned()]
            }
            None => self.scopes.clone(),
        };
        if scopes.is_empty() {
            let message = "no scope was asked for: give one by --scope, the settings name none";
            return Err(Error::request(message));
        }
        let mut request = self.request(&scopes)?;

        if self.consumer_org.is_none() {
            let own = legacy.and_then(|legacy| legacy.consumer_org_no.as_deref());
            let found = match credentials.take_consumer_org() {
                Some(found) => Some(found),
                None => platform.consumer_org()?,
            };
            if let Some((organisation, name)) = default(own, "ConsumerOrgNo", found.as_ref())? {
                defaults.push(format!("consumer organisation {organisation}, from {name}"));
                request = request.consumer_org(organisation)?;
            }
        }
        if self.resources.is_empty() {
            let own = legacy.and_then(|legacy| legacy.resource.as_deref());
            let found = match credentials.take_resource() {
                Some(found) => Some(found),
                None => platform.resource()?,
            };
            if let Some((resource, name)) = default(own, "Resource", found.as_ref())? {
                defaults.push(format!("resource {resource}, from {name}"));
                request = request.resource(resource)?;
            }
        }
        Ok((request, defaults))
    }

    fn find(&self) -> maskinporten::Result<Found> {
        let section = self.section.as_deref();
        let section = section.unwrap_or(MaskinportenSettings::DEFAULT_SECTION);
        let mut platform = Platform::of_process().with_section(section);
        let mut legacy = None;
        if let Some(file) = &self.settings {
            platform = platform.with_settings_file(file);
            if LegacySettings::is_in_file(file, section)? {
                legacy = Some(LegacySettings::from_file(file, section)?);
            }
        }
        let credentials = match &legacy {
            Some(legacy) => Credentials::from(legacy.settings()),
            None => platform.credentials()?,
        };
        Ok(Found {
            platform,
            credentials,
            legacy,
        })
    }

    fn transport(&self) -> maskinporten::Result<Transport> {
        let builder = Transport::builder();
        match self.no_proxy {
            true => builder,
            false => builder.proxy_from_env(),
        }
        .build()
    }
}

/// The default of the settings themselves, which was checked when they were read, or else another that was
/// found; and its name, with that of another one that is not used.
fn default<'a>(
    own: Option<&'a str>,
    name: &str,
    found: Option<&'a RequestDefault>,
) -> maskinporten::Result<Option<(&'a str, String)>> {
    match (own, found) {
        (Some(own), Some(other)) if other.value().ok() != Some(own) => {
            let other = other.name();
            Ok(Some((own, format!("{name}; found and not used: {other}"))))
        }
        (Some(own), _) => Ok(Some((own, name.to_owned()))),
        (None, Some(found)) => Ok(Some((found.value()?, found.name().to_owned()))),
        (None, None) => Ok(None),
    }
}

fn fetch(
    client: &MaskinportenClient,
    request: &TokenRequest,
    altinn: bool,
) -> Result<AccessToken, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::Local {
            exit: Exit::Configuration,
            phrase: "nothing can be sent: no async runtime came about".to_owned(),
            cause,
            hint: "look at the limits of this process: open files, threads",
        })?;
    let token = runtime.block_on(async {
        if altinn {
            client.altinn_token(request).await
        } else {
            client.access_token(request).await
        }
    });
    // A name that is still being looked up holds a thread; nobody waits for it any more.
    runtime.shutdown_background();
    Ok(token?)
}

/// `991825827`, `991825827:reference`, and either with `0192:` before it, which has a colon itself.
fn system_user(text: &str) -> maskinporten::Result<SystemUser> {
    let text = text.trim();
    let bare = text.strip_prefix("0192:").unwrap_or(text);
    match bare.split_once(':') {
        Some((organisation, reference)) => SystemUser::new(organisation)?.external_ref(reference),
        None => SystemUser::new(bare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_of_the_number_is_none_before_the_reference() {
        let check = |text: &str, reference: &str| {
            let expected = SystemUser::new("991825827").unwrap();
            let expected = expected.external_ref(reference).unwrap();
            assert_eq!(system_user(text).unwrap(), expected, "{text}");
        };
        check("991825827", "");
        check("0192:991825827", "");
        check("991825827:avd_oslo", "avd_oslo");
        check("0192:991825827:avd_oslo", "avd_oslo");
        for wrong in ["", ":", "0192:", "avd_oslo:991825827", "991825827:a:b"] {
            assert!(system_user(wrong).is_err(), "{wrong}");
        }
    }
}
