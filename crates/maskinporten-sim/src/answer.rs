//! An answer under way: the response, and the verdict that goes into the journal.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Collected};
use serde_json::{Value, json};

use crate::Body;
use crate::fault::Problem;
use crate::flaw::{Filler, Torn, Trickle};
use crate::journal::Verdict;

pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    pub(crate) verdict: Verdict,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, verdict: Verdict) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Self { response, verdict }
    }

    pub(crate) fn accepted(status: StatusCode) -> Self {
        Self::new(status, Verdict::Accepted)
    }

    /// Refuses without a body; the reason is for the journal.
    pub(crate) fn refused(status: StatusCode, error: &str, reason: &str) -> Self {
        let verdict = Verdict::Refused {
            error: error.to_owned(),
            code: None,
            description: reason.to_owned(),
        };
        Self::new(status, verdict)
    }

    pub(crate) fn not_found() -> Self {
        Self::refused(
            StatusCode::NOT_FOUND,
            "not_found",
            "nothing answers to this path",
        )
    }

    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        Self::refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "another method is expected",
        )
        .header(ALLOW, allow)
    }

    /// What a fault says, as it is.
    pub(crate) fn fault(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        let mut answer = Self::new(status, Verdict::Fault);
        *answer.response.headers_mut() = headers;
        *answer.response.body_mut() = Body::from(body);
        answer
    }

    /// The same answer, not judged by anyone but made by a fault.
    pub(crate) fn of_a_fault(mut self) -> Self {
        self.verdict = Verdict::Fault;
        self
    }

    /// A problem as ASP.NET writes it.
    pub(crate) fn problem(problem: &Problem, trace_id: &str) -> Self {
        let mut body = json!({
            "title": problem.title,
            "status": problem.status.as_u16(),
            "traceId": trace_id,
        });
        if !problem.detail.is_empty() {
            body["detail"] = json!(problem.detail);
        }
        Self::new(problem.status, Verdict::Fault)
            .json(&body)
            .header(CONTENT_TYPE, "application/problem+json; charset=utf-8")
    }

    /// As many spaces as asked for, which call themselves JSON.
    pub(crate) fn filler(length: u64, announced: bool) -> Self {
        let mut answer = Self::new(StatusCode::OK, Verdict::Fault)
            .header(CONTENT_TYPE, "application/json; charset=utf-8");
        if announced {
            answer = answer.header(CONTENT_LENGTH, &length.to_string());
        }
        *answer.response.body_mut() = Body::new(Filler::new(length, announced));
        answer
    }

    /// The same, but its body breaks off half-way.
    pub(crate) async fn truncated(mut self) -> Self {
        let torn = Torn::new(self.whole().await);
        let announced = torn.announced().to_string();
        *self.response.body_mut() = Body::new(torn);
        self.header(CONTENT_LENGTH, &announced)
    }

    /// The same, but its body comes in pieces.
    pub(crate) async fn trickling(mut self, piece: usize, pause: Duration) -> Self {
        let whole = self.whole().await;
        *self.response.body_mut() = Body::new(Trickle::new(whole, piece, pause));
        self
    }

    /// The same under another content type; under none, if that cannot be written.
    pub(crate) fn mistyped(mut self, media_type: &str) -> Self {
        self.response.headers_mut().remove(CONTENT_TYPE);
        self.header(CONTENT_TYPE, media_type)
    }

    /// The body, which in a true answer is at hand and cannot fail.
    async fn whole(&mut self) -> Bytes {
        let body = std::mem::take(self.response.body_mut());
        body.collect()
            .await
            .map(Collected::to_bytes)
            .unwrap_or_default()
    }

    pub(crate) fn json(mut self, value: &Value) -> Self {
        *self.response.body_mut() = Body::from(value.to_string());
        self.header(CONTENT_TYPE, "application/json; charset=utf-8")
    }

    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        *self.response.body_mut() = Body::from(text.into());
        self.header(CONTENT_TYPE, "text/plain; charset=utf-8")
    }

    /// Sets a header; one that cannot be written, such as a scope with a line break, is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.response.headers_mut().insert(name, value);
        }
        self
    }
}
