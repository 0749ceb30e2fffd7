//! How the token endpoint says no (RFC 6749 §5.2, with Maskinporten's codes).

use std::borrow::Cow;

use http::StatusCode;

/// A refusal before it has a trace id.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Cow<'static, str>,
    pub(crate) code: Option<Cow<'static, str>>,
    pub(crate) description: String,
}

impl Refusal {
    pub(crate) fn new(error: impl Into<Cow<'static, str>>, description: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            code: None,
            description: description.into(),
        }
    }

    pub(crate) fn request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    /// The assertion, or who sent it, was not accepted.
    pub(crate) fn grant(description: impl AsRef<str>) -> Self {
        let description = description.as_ref();
        Self::new(
            "invalid_grant",
            format!("Invalid assertion. Client authentication failed. {description}"),
        )
    }

    pub(crate) fn scope(description: impl Into<String>) -> Self {
        Self::new("invalid_scope", description)
    }

    pub(crate) fn forbidden(description: impl Into<String>) -> Self {
        Self::new("forbidden", description)
    }

    pub(crate) fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// 400, and 403 for `forbidden`.
    pub(crate) fn status(&self) -> StatusCode {
        if self.error == "forbidden" {
            StatusCode::FORBIDDEN
        } else {
            StatusCode::BAD_REQUEST
        }
    }
}
