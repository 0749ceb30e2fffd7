//! One JWK → the numbers of a key, and all that is wrong with it.
//!
//! - RFC 7517 for the members that every key has, RFC 7518 §6.3 for those of RSA.
//! - What .NET's `JsonWebKey` reads is read: names in any case, null, blank and empty members as absent,
//!   numbers in either base64 alphabet ([`Members::given`]).

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::advice::{self, Advice};
use crate::error::Result;

use super::chain::Link;
use super::foreign;
use super::members::{Given, Member, Members};
use super::{
    Beside, Components, Identity, NO_KID, Number, Problems, SigningAlgorithm, check_kid,
    check_modulus, decode_base64,
};

/// What stands in a JWK. The components are there where all of them could be read.
pub(super) struct Found {
    pub(super) components: Option<Components>,
    pub(super) identity: Option<Identity>,
    pub(super) algorithm: SigningAlgorithm,
    /// When it ends, as it says itself (`exp`).
    pub(super) expires: Option<SystemTime>,
}

/// Longest value of `kty`, `use` or `alg` that is repeated in a message. Names are shorter; what is
/// longer may be a secret in the wrong place.
const SHOWN_NAME: usize = 12;

/// The last second of the year 9999, which is also the last that certificates can name.
const LAST_SECOND: f64 = 253_402_300_799.0;

pub(super) fn read(json: &str, beside: Beside, problems: &mut Problems) -> Result<Found> {
    let members = Members::parse(json).map_err(|fault| foreign::not_json(json, fault))?;
    if let Some(error) = foreign::other_json(&members) {
        return Err(error);
    }
    let jwk = Jwk { members, problems };
    Ok(jwk.found(beside))
}

struct Jwk<'a, 'p> {
    members: Members<'a>,
    problems: &'p mut Problems,
}

impl Jwk<'_, '_> {
    fn found(mut self, beside: Beside) -> Found {
        // The most telling first: a key of another family has none of the members that follow.
        let components = if self.is_rsa() {
            self.components()
        } else {
            None
        };
        self.check_use();
        let algorithm = self.algorithm();
        let identity = self.identity(beside);
        let expires = self.expires();
        Found {
            components,
            identity,
            algorithm,
            expires,
        }
    }

    fn is_rsa(&mut self) -> bool {
        // Where it is missing the other members are looked at all the same.
        let Some(kty) = self.required("kty") else {
            return true;
        };
        match kty.as_str() {
            "RSA" => return true,
            family @ ("EC" | "OKP") => {
                let text = format!("`kty` is {family}: Maskinporten takes RSA keys only");
                self.problems.add(text, &advice::EC_KEY);
            }
            "oct" => {
                let text = "`kty` is oct, a shared secret: Maskinporten takes RSA keys only";
                self.problems.add(text, &advice::NEW_KEY);
            }
            other => {
                let text = format!("`kty` is {}, not RSA", shown(other));
                self.problems.add(text, &advice::KEY_NOT_WHOLE);
            }
        }
        false
    }

    fn components(&mut self) -> Option<Components> {
        // Without `d` the CRT members are missing as well, and naming them would hide the cause.
        let public_only = ["d", "p", "q", "dp", "dq", "qi"]
            .iter()
            .all(|name| !self.members.has(name));
        if public_only {
            let text = "`d` is missing: this is the public half of a key";
            self.problems.add(text, &advice::PUBLIC_KEY);
            self.number("n");
            self.number("e");
            return None;
        }
        if self.members.has("oth") {
            let text = "`oth` is not empty: a key of more than two primes cannot be used";
            self.problems.add(text, &advice::NEW_KEY);
        }
        let [n, e, d, p, q, dp, dq, qi] =
            ["n", "e", "d", "p", "q", "dp", "dq", "qi"].map(|name| self.number(name));
        if let Some(n) = &n {
            check_modulus(n, self.problems);
        }
        Some(Components {
            n: n?,
            e: e?,
            d: d?,
            p: p?,
            q: q?,
            dp: dp?,
            dq: dq?,
            qi: qi?,
        })
    }

    /// A Base64urlUInt (RFC 7518 §2). Exporters pad, write the standard alphabet, or leading zero bytes;
    /// none of that changes the number.
    fn number(&mut self, name: &'static str) -> Option<Number> {
        let text = self.required(name)?;
        let allowed = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/' | b'=')
        };
        let decoded = if text.bytes().all(allowed) {
            decode_base64(&text)
        } else {
            None
        };
        let Some(mut bytes) = decoded else {
            let text = format!("`{name}` is not base64url");
            self.problems.add(text, &advice::KEY_NOT_WHOLE);
            return None;
        };
        let leading = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.drain(..leading);
        if bytes.is_empty() {
            let text = format!("`{name}` is zero");
            self.problems.add(text, &advice::KEY_NOT_WHOLE);
            return None;
        }
        Some(bytes)
    }

    fn check_use(&mut self) {
        if let Some(found) = self.text("use", &advice::KEY_USE)
            && found.as_str() != "sig"
        {
            let text = format!("`use` is {}, not sig", shown(&found));
            self.problems.add(text, &advice::KEY_USE);
        }
    }

    fn algorithm(&mut self) -> SigningAlgorithm {
        let Some(name) = self.text("alg", &advice::KEY_USE) else {
            return SigningAlgorithm::Rs256;
        };
        SigningAlgorithm::named(&name).unwrap_or_else(|| {
            let text = format!("`alg` is {}, not RS256, RS384 or RS512", shown(&name));
            self.problems.add(text, &advice::KEY_USE);
            SigningAlgorithm::Rs256
        })
    }

    /// What is given beside the key wins, then its own `kid`, then its own certificates.
    fn identity(&mut self, beside: Beside) -> Option<Identity> {
        match beside {
            Beside::Kid(kid) => check_kid(&kid, self.problems),
            Beside::Certificates(links) => Some(Identity::Certificates(links)),
            Beside::Nothing if self.members.has("kid") => {
                let inside = self.text("kid", &advice::KID_MISSING)?;
                check_kid(&inside, self.problems)
            }
            Beside::Nothing if self.members.has("x5c") => self.certificates(),
            Beside::Nothing => {
                self.problems.add(NO_KID, &advice::KID_MISSING);
                None
            }
        }
    }

    /// `x5c` (RFC 7517 §4.7): base64 of DER, in the standard alphabet by the letter and in either here.
    fn certificates(&mut self) -> Option<Identity> {
        let entries: Option<Vec<String>> = match self.members.given("x5c") {
            Given::One(Member::Array(raw), _) => serde_json::from_str(raw).ok(),
            _ => None,
        };
        let Some(entries) = entries else {
            let text = "`x5c` is no array of certificates in base64";
            self.problems.add(text, &advice::CERTIFICATES);
            return None;
        };
        let mut links = Vec::with_capacity(entries.len());
        for (number, entry) in (1..).zip(&entries) {
            let Some(link) = decode_base64(entry).and_then(|der| Link::read(&der)) else {
                let text = format!("certificate {number} of `x5c` cannot be read");
                self.problems.add(text, &advice::CERTIFICATES);
                return None;
            };
            links.push(link);
        }
        Some(Identity::Certificates(links))
    }

    /// `exp`: no member of RFC 7517, and what Maskinporten and the tools around it write for the end
    /// of a key, as seconds since 1970 (RFC 7519 §2, NumericDate).
    fn expires(&mut self) -> Option<SystemTime> {
        let seconds: Option<f64> = match self.members.given("exp") {
            Given::Absent => return None,
            // .NET's configuration makes text of every number.
            Given::One(Member::Text(text), _) => text.trim().parse().ok(),
            Given::One(_, raw) => serde_json::from_str(raw).ok(),
            Given::Differing => {
                let text = twice("exp");
                self.problems.add(text, &advice::KEY_END);
                return None;
            }
        };
        match seconds {
            // A number of seconds that is a date, and no number of milliseconds of our time.
            Some(seconds) if (0.0..=LAST_SECOND).contains(&seconds) => {
                return SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds as u64));
            }
            _ => self
                .problems
                .add("`exp` is no date in seconds since 1970", &advice::KEY_END),
        }
        None
    }

    fn required(&mut self, name: &'static str) -> Option<Zeroizing<String>> {
        if !self.members.has(name) {
            let text = format!("`{name}` is missing");
            self.problems.add(text, &advice::KEY_NOT_WHOLE);
        }
        self.text(name, &advice::KEY_NOT_WHOLE)
    }

    /// A member that is given, and is text; else a problem, unless it is absent.
    fn text(&mut self, name: &str, advice: &'static Advice) -> Option<Zeroizing<String>> {
        let problem = match self.members.given(name) {
            Given::Absent => return None,
            Given::One(Member::Text(text), _) => return Some(text),
            Given::One(other, _) => format!("`{name}` is {}, not a string", other.kind()),
            Given::Differing => twice(name),
        };
        self.problems.add(problem, advice);
        None
    }
}

fn twice(name: &str) -> String {
    format!("`{name}` stands in the key twice, with two values")
}

fn shown(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'_');
    if name.len() <= SHOWN_NAME && name.bytes().all(plain) {
        name.to_owned()
    } else {
        "something else".to_owned()
    }
}
