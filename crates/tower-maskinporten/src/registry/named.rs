//! [`NamedClient`]: a ready client and what was declared of it.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use maskinporten::Error;

use super::declaration::Plan;

/// A client of a [`ClientRegistry`](super::ClientRegistry), by the name it was declared under. Cheap to
/// clone.
///
/// `C` is the HTTP client underneath; what can be sent depends on it. What a client of one API looks
/// like to the code that uses it is that code's own type, which
/// [`typed`](super::ClientRegistry::typed) makes:
///
/// ```
/// use tower_maskinporten::{BoxError, HttpClient, NamedClient};
///
/// #[derive(Clone)]
/// struct Persons(NamedClient<HttpClient>);
///
/// impl From<NamedClient<HttpClient>> for Persons {
///     fn from(client: NamedClient<HttpClient>) -> Self {
///         Self(client)
///     }
/// }
///
/// impl Persons {
///     async fn exists(&self, id: u32) -> Result<bool, BoxError> {
///         let answer = self.0.get(&format!("/person/{id}")).await?;
///         Ok(answer.status().is_success())
///     }
/// }
/// ```
#[derive(Clone)]
pub struct NamedClient<C> {
    plan: Arc<Plan>,
    client: C,
}

impl<C> NamedClient<C> {
    pub(super) fn new(plan: Plan, client: C) -> Self {
        let plan = Arc::new(plan);
        Self { plan, client }
    }

    /// The name it was declared under.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Where its paths start, with a slash at the end.
    pub fn base_url(&self) -> &Uri {
        self.plan.base.uri()
    }

    /// The client underneath. It authorises and guards as this one does, and takes whole addresses.
    pub fn client(&self) -> &C {
        &self.client
    }

    /// Gives the client underneath.
    pub fn into_client(self) -> C {
        self.client
    }

    /// The address of a path below the base URL, with or without its first slash. A whole address is
    /// given back as it is, and is refused when it is asked, unless it is of the same origin.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](maskinporten::ErrorKind::Request) where the path climbs by `..`, in whatever
    /// spelling, or starts with two slashes, or holds what no URL holds; where it is not UTF-8 once it is
    /// percent-decoded, or has still not come to rest after four times.
    pub fn uri(&self, path: &str) -> Result<Uri, Error> {
        self.plan.base.join_text(path)
    }

    pub(super) fn client_mut(&mut self) -> &mut C {
        &mut self.client
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl<C> fmt::Debug for NamedClient<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.plan(), f)
    }
}
