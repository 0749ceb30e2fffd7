//! An organisation number: nine digits, the last of them a control digit.

use std::fmt;
use std::str::FromStr;

use crate::advice;
use crate::error::{Error, Result};

/// The number of a Norwegian organisation, checked by its control digit (modulus 11).
///
/// - Both notations are read: `991825827` and `0192:991825827` (ISO 6523, registry 0192).
/// - Each place that sends one writes the notation it needs; no caller has to know which.
/// - A number whose control digit is wrong is refused before anything is sent.
///
/// ```
/// use maskinporten::OrganisationNumber;
///
/// let number: OrganisationNumber = "0192:991825827".parse()?;
/// assert_eq!(number.to_string(), "991825827");
/// assert!("991825828".parse::<OrganisationNumber>().is_err());
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrganisationNumber([u8; 9]);

impl OrganisationNumber {
    /// The prefix of the ISO 6523 notation: the Norwegian register of legal entities.
    const ISO6523_PREFIX: &str = "0192:";

    /// The ISO 6523 notation, as `authorization_details` wants it: `0192:991825827`.
    #[must_use]
    pub fn iso6523(&self) -> String {
        format!("{}{self}", Self::ISO6523_PREFIX)
    }
}

impl FromStr for OrganisationNumber {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        let digits = trimmed
            .strip_prefix(Self::ISO6523_PREFIX)
            .unwrap_or(trimmed);
        let refuse = |why: &str| {
            // The text is a caller's: shown escaped and cut, so that it cannot forge a log line.
            let shown: String = trimmed.chars().take(20).collect();
            let message = format!("{shown:?} is no organisation number: {why}");
            Err(Error::request(message).with_advice(&advice::ORGANISATION))
        };
        let Ok(digits) = <[u8; 9]>::try_from(digits.as_bytes()) else {
            return refuse("it must have nine digits");
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return refuse("it must have nine digits");
        }
        if control_digit(&digits) != Some(digits[8] - b'0') {
            return refuse("its control digit is wrong");
        }
        Ok(Self(digits))
    }
}

/// The ninth digit that the first eight ask for; none where modulus 11 leaves ten.
fn control_digit(digits: &[u8; 9]) -> Option<u8> {
    const WEIGHTS: [u8; 8] = [3, 2, 7, 6, 5, 4, 3, 2];
    let sum: u32 = WEIGHTS
        .iter()
        .zip(digits)
        .map(|(weight, digit)| u32::from(*weight) * u32::from(digit - b'0'))
        .sum();
    match 11 - sum % 11 {
        11 => Some(0),
        10 => None,
        digit => u8::try_from(digit).ok(),
    }
}

impl fmt::Display for OrganisationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|digit| fmt::Write::write_char(f, char::from(*digit)))
    }
}

impl fmt::Debug for OrganisationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_name_the_same_organisation() -> Result<()> {
        for number in ["991825827", "311169963", "405003309"] {
            let plain: OrganisationNumber = number.parse()?;
            let prefixed: OrganisationNumber = format!(" 0192:{number} ").parse()?;
            assert_eq!(plain, prefixed);
            assert_eq!(plain.to_string(), number);
            assert_eq!(plain.iso6523(), format!("0192:{number}"));
        }
        Ok(())
    }

    #[test]
    fn what_is_no_number_is_refused_with_the_reason() {
        let check = |text: &str, why: &str| {
            let error = text.parse::<OrganisationNumber>().unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        };
        check("991825828", "control digit");
        check("", "nine digits");
        check("99182582", "nine digits");
        check("9918258270", "nine digits");
        check("99182582x", "nine digits");
        check("0193:991825827", "nine digits");
        check("٩٩١٨٢٥٨٢٧", "nine digits");
    }
}
