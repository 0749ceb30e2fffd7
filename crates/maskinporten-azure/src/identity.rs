//! As whom a vault is asked.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret as SdkSecret, TokenCredential};
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use maskinporten::{Error, Result, Secret};

use crate::bounds::Bounds;

/// As whom a vault is asked: one of the identities that Azure gives a service.
///
/// Others, such as that of a developer at the command line, are credentials of `azure_identity` or one's
/// own: [`KeyVaultBuilder::credential`](crate::KeyVaultBuilder::credential).
#[derive(Clone)]
pub struct Identity(Kind);

#[derive(Clone)]
enum Kind {
    ClientSecret {
        tenant_id: String,
        client_id: String,
        client_secret: Secret,
    },
    Managed {
        client_id: Option<String>,
    },
    Workload {
        tenant_id: Option<String>,
        client_id: Option<String>,
        token_file: Option<PathBuf>,
    },
}

impl Identity {
    /// An application with a secret, as Altinn apps have it: [`KvSetting`](crate::KvSetting).
    #[must_use]
    pub fn client_secret(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Self {
        Self(Kind::ClientSecret {
            tenant_id: tenant_id.into(),
            client_id: client_id.into(),
            client_secret: client_secret.into(),
        })
    }

    /// The identity that the machine, or the App Service, was given by Azure.
    #[must_use]
    pub fn managed() -> Self {
        Self(Kind::Managed { client_id: None })
    }

    /// One of several identities that the machine was given, by its client id.
    #[must_use]
    pub fn managed_as(client_id: impl Into<String>) -> Self {
        let client_id = Some(client_id.into());
        Self(Kind::Managed { client_id })
    }

    /// The identity of a Kubernetes workload: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
    /// `AZURE_FEDERATED_TOKEN_FILE`, which Azure's webhook sets.
    #[must_use]
    pub fn workload() -> Self {
        Self(Kind::Workload {
            tenant_id: None,
            client_id: None,
            token_file: None,
        })
    }

    /// The same, told instead of found. The file is read again every ten minutes.
    #[must_use]
    pub fn workload_at(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        token_file: impl Into<PathBuf>,
    ) -> Self {
        Self(Kind::Workload {
            tenant_id: Some(tenant_id.into()),
            client_id: Some(client_id.into()),
            token_file: Some(token_file.into()),
        })
    }

    /// The SDK's credential for it, which keeps its token until five minutes before its end.
    pub(crate) fn credential(
        self,
        transport: Transport,
        authority_host: Option<String>,
    ) -> Result<Arc<dyn TokenCredential>> {
        let mut client_options = Bounds::READING.client_options(transport, None);
        client_options.cloud = authority_host.map(cloud);
        let credential: azure_core::Result<Arc<dyn TokenCredential>> = match self.0 {
            Kind::ClientSecret {
                tenant_id,
                client_id,
                client_secret,
            } => {
                let secret = SdkSecret::new(client_secret.expose().to_owned());
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(&tenant_id, client_id, secret, Some(options))
                    .map(|credential| credential as _)
            }
            Kind::Managed { client_id } => managed(client_id, client_options),
            Kind::Workload {
                tenant_id,
                client_id,
                token_file,
            } => {
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    tenant_id,
                    client_id,
                    token_file_path: token_file,
                };
                WorkloadIdentityCredential::new(Some(options)).map(|credential| credential as _)
            }
        };
        // The SDK's reason is an address or the name of a variable, and may quote what it did not like.
        credential.map_err(|_| {
            Error::settings(
                "the identity for the key vault cannot be used: its tenant, client id, secret or token \
                 file is missing or malformed",
            )
        })
    }
}

fn managed(
    client_id: Option<String>,
    client_options: ClientOptions,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: client_id.map(UserAssignedId::ClientId),
        client_options,
    };
    ManagedIdentityCredential::new(Some(options)).map(|credential| credential as _)
}

fn cloud(authority_host: String) -> Arc<CloudConfiguration> {
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = authority_host;
    Arc::new(cloud.into())
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::ClientSecret { .. } => "ClientSecret [redacted]",
            Kind::Managed { .. } => "Managed",
            Kind::Workload { .. } => "Workload",
        })
    }
}
