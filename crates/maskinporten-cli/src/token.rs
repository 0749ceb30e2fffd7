//! `maskinporten token`: one token on stdout.
//!
//! - The command line is checked before the settings, the settings before anything is sent.
//! - The token stands alone on stdout, followed by a line break, so that `$(maskinporten token …)`
//!   is the token and nothing else.

use std::path::PathBuf;

use maskinporten::{
    AccessToken, Credentials, MaskinportenClient, MaskinportenSettings, Platform, SystemUser,
    TokenRequest, Transport,
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
/// As with curl, HTTPS_PROXY, ALL_PROXY and NO_PROXY are heeded; servers on this machine are
/// always reached directly.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A scope to ask for; may be given again for each further one
    #[arg(short, long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,

    /// Exchange the token and print Altinn's instead
    ///
    /// The Altinn of the authority's environment, or the one that ALTINN_PLATFORM_URL or
    /// PlatformSettings__ApiAuthenticationEndpoint names, or the section PlatformSettings of the
    /// settings file or of a JSON file in the directory that Altinn mounts;
    /// PlatformSettings__SubscriptionKey is sent along.
    #[arg(long, verbatim_doc_comment)]
    altinn: bool,

    /// The API that the token is for, as its owner names it; may be given again
    #[arg(long = "resource", value_name = "URI")]
    resources: Vec<String>,

    /// Ask on behalf of an organisation that has delegated the scope
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
    let request = args.request()?;
    let (platform, credentials) = args.credentials()?;
    let environment = credentials.environment()?;
    if !quiet {
        report::note(format_args!("using: {}", credentials.describe()));
    }
    if let Some(settings) = credentials.settings() {
        for key in settings.signing_keys()? {
            let (kid, bits, algorithm) = (key.kid(), key.bits(), key.algorithm());
            let kid = kid.map_or("by its certificate".to_owned(), |kid| format!("kid {kid}"));
            if !quiet {
                report::note(format_args!("key: {kid}, RSA {bits} bits, {algorithm}"));
            }
        }
    }

    let mut builder = MaskinportenClient::builder()
        .credentials(credentials)
        .transport(args.transport()?);
    // Read only when asked for: what is wrong with it is then no reason to give no token.
    if args.altinn
        && let Some(altinn) = platform.altinn(environment)?
    {
        if !quiet {
            let (url, source) = (altinn.exchange_url(), altinn.source());
            report::note(format_args!("altinn: {url} (from {source})"));
        }
        builder = builder.altinn(altinn);
    }
    let client = builder.build()?;

    let token = args.fetch(&client, &request)?;
    report::print(token.expose())
        .map_err(|cause| Failure::unprinted("the token cannot be printed", cause))?;
    let life = token.lifetime().as_secs();
    if !quiet {
        let whose = if args.altinn {
            "Altinn"
        } else {
            "Maskinporten"
        };
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

impl Args {
    fn request(&self) -> maskinporten::Result<TokenRequest> {
        let mut request = TokenRequest::scopes(&self.scopes)?;
        for resource in &self.resources {
            request = request.resource(resource)?;
        }
        if let Some(organisation) = &self.consumer_org {
            request = request.consumer_org(organisation)?;
        }
        if let Some(user) = &self.system_user {
            request = request.system_user(system_user(user)?);
        }
        Ok(request)
    }

    fn credentials(&self) -> maskinporten::Result<(Platform, Credentials)> {
        let section = self.section.as_deref();
        let section = section.unwrap_or(MaskinportenSettings::DEFAULT_SECTION);
        let mut platform = Platform::of_process().with_section(section);
        if let Some(file) = &self.settings {
            platform = platform.with_settings_file(file);
        }
        let credentials = platform.credentials()?;
        Ok((platform, credentials))
    }

    fn transport(&self) -> maskinporten::Result<Transport> {
        let builder = Transport::builder();
        match self.no_proxy {
            true => builder,
            false => builder.proxy_from_env(),
        }
        .build()
    }

    fn fetch(
        &self,
        client: &MaskinportenClient,
        request: &TokenRequest,
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
            match self.altinn {
                true => client.altinn_token(request).await,
                false => client.access_token(request).await,
            }
        });
        // A name that is still being looked up holds a thread; nobody waits for it any more.
        runtime.shutdown_background();
        Ok(token?)
    }
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
