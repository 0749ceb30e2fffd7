//! An HTTP answer, written as one would write it down.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::{CANARY, holds_canary, planted};

/// A status on the first line, headers on lines of their own, an empty line, and the body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// Reads an input; none where it opens with no status. Lines that are no header are left out.
    pub fn parse(input: &[u8]) -> Option<Self> {
        if holds_canary(input) {
            return None;
        }
        let (status, rest) = line(input)?;
        let status = str::from_utf8(status).ok()?.trim();
        let status = StatusCode::from_u16(status.parse().ok()?).ok()?;
        let mut headers = HeaderMap::new();
        let mut rest = rest;
        while let Some((header, after)) = line(rest) {
            rest = after;
            if header.is_empty() {
                break;
            }
            let Some(colon) = header.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let name = HeaderName::from_bytes(&header[..colon]);
            let value = HeaderValue::from_bytes(header[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        // What is no text is sent as it is.
        let body = match str::from_utf8(rest) {
            Ok(text) => planted(text).into(),
            Err(_) => Bytes::copy_from_slice(rest),
        };
        Some(Self {
            status,
            headers,
            body,
        })
    }

    /// The body, where it is JSON to a reader that wants all of it to be.
    ///
    /// The readers under test pass over members of no use to them, and over what is wrong there.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the secret was planted in a member of the body, or may have been.
    pub fn holds_canary_in(&self, name: &str) -> bool {
        match self.json() {
            Some(body) => body[name]
                .as_str()
                .is_some_and(|text| text.contains(CANARY)),
            None => self.body.trim_ascii_start().starts_with(b"{"),
        }
    }

    /// The answer as it is sent.
    pub fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let line = &text[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &text[end + 1..]))
}
