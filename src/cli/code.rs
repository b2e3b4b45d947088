//! `code`: prints the code that an authenticator app would show.

use std::io::{Read as _, stdin};

use data_encoding::{BASE32_NOPAD, Encoding};
use serde_json::Value;
use totp_rs::{Algorithm, Builder, Totp};
use url::Url;
use zeroize::Zeroizing;

use super::{failure::Failure, output::print};

/// The longest input, in bytes. The response of `create` is far shorter.
const MAX_INPUT: u64 = 1024 * 1024;
/// The shortest secret, in base32 characters: 80 bits, which some providers still use.
const MIN_SECRET: usize = 16;
/// The longest period of a code, in seconds.
const MAX_PERIOD: u64 = 24 * 60 * 60;

/// Prints the current code of the secret on standard input, which is a response of `create`, a
/// secret in base32, or an `otpauth://` URI. It has no flag, because every user of the machine can
/// read the argument list.
pub(super) fn code() -> Result<(), Failure> {
    let mut text = Zeroizing::new(String::new());
    stdin().take(MAX_INPUT).read_to_string(&mut text).map_err(|error| Failure::run(&error))?;
    let totp = totp_of(&text).map_err(|what| Failure::usage("standard input", what))?;
    print(&format!("{}\n", totp.generate_current()))
}

/// Reads a TOTP from any of these forms, or returns what is wrong. No message quotes the text.
fn totp_of(text: &str) -> Result<Totp, &'static str> {
    let text = text.trim().trim_start_matches('\u{feff}');
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(response)) => match response.get("secret") {
            Some(Value::String(secret)) => of_secret(secret),
            _ => Err("is a JSON object without a secret; the response of `create` has one"),
        },
        // A secret of digits alone parses as a JSON number.
        _ if text.contains("://") => of_uri(text),
        _ => of_secret(text),
    }
}

/// A TOTP with the parameters of Stytch and most others: SHA-1, six digits and 30 seconds.
fn of_secret(secret: &str) -> Result<Totp, &'static str> {
    // `build` refuses secrets of fewer than 128 bits.
    Ok(Builder::new().with_secret(bytes_of(secret)?.as_slice()).build_noncompliant())
}

/// A TOTP from an `otpauth://totp/` URI, as in the QR codes of providers.
fn of_uri(text: &str) -> Result<Totp, &'static str> {
    const FORM: &str = "is not an otpauth://totp/ URI";
    let uri = Url::parse(text).map_err(|_| FORM)?;
    if uri.scheme() != "otpauth" {
        return Err(FORM);
    }
    match uri.host_str().map(str::to_ascii_lowercase).as_deref() {
        Some("totp") => {}
        Some("hotp") => return Err("is for HOTP, whose codes depend on a counter and not on time"),
        _ => return Err(FORM),
    }
    let value = |name: &str| {
        let mut pairs = uri.query_pairs();
        pairs.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    };
    if value("encoder").is_some() {
        return Err("has an encoder, whose codes are not those of RFC 6238");
    }
    let secret = value("secret").ok_or("is an otpauth URI without a secret")?;
    let algorithm = match value("algorithm").map(|it| it.to_ascii_uppercase().replace('-', "")) {
        None => Algorithm::SHA1,
        Some(name) => match name.trim_start_matches("HMAC") {
            "SHA1" => Algorithm::SHA1,
            "SHA256" => Algorithm::SHA256,
            "SHA512" => Algorithm::SHA512,
            _ => return Err("has an algorithm other than SHA1, SHA256 and SHA512"),
        },
    };
    let digits = value("digits").map_or(Ok(6), |it| it.parse());
    let period = value("period").map_or(Ok(30), |it| it.parse());
    Ok(Builder::new()
        .with_secret(bytes_of(&secret)?.as_slice())
        .with_algorithm(algorithm)
        .with_digits(
            digits.ok().filter(|it| (6..=8).contains(it)).ok_or("has digits other than 6 to 8")?,
        )
        .with_step_duration(
            period
                .ok()
                .filter(|it| (1..=MAX_PERIOD).contains(it))
                .ok_or("has a period other than 1 to 86400 seconds")?,
        )
        .build_noncompliant())
}

/// Decodes a secret as people copy it: in either case, in groups, with or without padding.
fn bytes_of(secret: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let text = secret.trim_end_matches(|char: char| char == '=' || char.is_whitespace());
    let letters = text.chars().filter(|char| !char.is_whitespace() && *char != '-');
    let mut letters: Zeroizing<String> =
        Zeroizing::new(letters.map(|char| char.to_ascii_uppercase()).collect());
    if letters.is_empty() {
        return Err(
            "is empty: it must be a secret in base32, an otpauth:// URI or a response of `create`",
        );
    }
    if !letters.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')) {
        return Err("is not base32, which has the letters A to Z and the digits 2 to 7");
    }
    if letters.len() < MIN_SECRET {
        return Err("is too short for a secret: it must have at least 16 characters of base32");
    }
    if matches!(letters.len() % 8, 1 | 3 | 6) {
        // The last character does not complete a byte.
        letters.pop();
    }
    let bytes = unchecked_tail().decode(letters.as_bytes());
    bytes.map(Zeroizing::new).map_err(|_| "is not base32")
}

/// Base32 that ignores the trailing bits of the last character, as authenticator apps do.
fn unchecked_tail() -> Encoding {
    let mut specification = BASE32_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().expect("base32 with one check fewer")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238's examples, repeated up to a length.
    fn secret(bytes: usize) -> String {
        let digits: Vec<u8> = b"1234567890".iter().copied().cycle().take(bytes).collect();
        BASE32_NOPAD.encode(&digits)
    }

    #[test]
    fn the_examples_of_rfc_6238_come_out_for_every_algorithm() {
        for (algorithm, bytes, at_59, at_20000000000) in [
            ("SHA1", 20, "94287082", "65353130"),
            ("SHA256", 32, "46119246", "77737706"),
            ("sha512", 64, "90693936", "47863826"),
            ("HMAC-SHA-512", 64, "90693936", "47863826"),
        ] {
            let secret = secret(bytes);
            let uri = format!(
                "otpauth://totp/ACME:ada%40example.com?issuer=ACME&secret={secret}&digits=8&algorithm={algorithm}"
            );

            let totp = totp_of(&uri).expect("a TOTP");

            assert_eq!(totp.generate(59).to_string(), at_59, "{algorithm}");
            assert_eq!(totp.generate(20_000_000_000).to_string(), at_20000000000, "{algorithm}");
        }
        let minute = format!("otpauth://totp/a?secret={}&period=60&digits=7", secret(20));
        let totp = totp_of(&minute).expect("a TOTP");
        assert_eq!(totp.generate(119).to_string(), "4287082", "a period twice as long");
    }

    #[test]
    fn a_secret_is_accepted_in_every_form_that_providers_show() {
        let plain = secret(20);
        let expected = of_secret(&plain).expect("a TOTP").generate(59).to_string();
        let groups = |gap: &str| {
            let groups: Vec<_> = plain.as_bytes().chunks(4).collect();
            String::from_utf8(groups.join(gap.as_bytes())).expect("ASCII")
        };
        for form in [
            plain.clone(),
            plain.to_lowercase(),
            format!(" {plain}\r\n"),
            format!("\u{feff}{plain}"),
            groups(" ").to_lowercase(),
            groups("-"),
            groups("\n"),
            format!("{plain}===="),
            format!("{plain} =\n"),
            format!(r#"{{"secret": "{plain}", "qr_code": ""}}"#),
            format!("otpauth://totp/a?secret={plain}"),
            format!("OTPAUTH://TOTP/a?SECRET={}&algorithm=sha1", plain.to_lowercase()),
            format!("otpauth://totp/a?secret={}", groups("%20")),
        ] {
            let totp = totp_of(&form).expect(&form);

            assert_eq!(totp.generate(59).to_string(), expected, "{form}");
        }
    }

    #[test]
    fn secrets_of_16_to_100_characters_are_accepted_whatever_their_last_bits() {
        for length in MIN_SECRET..=100 {
            for last in ["A", "7"] {
                let text = "B".repeat(length - 1) + last;

                let bytes = bytes_of(&text).expect(&text);

                assert_eq!(bytes.len(), length * 5 / 8, "{length}");
            }
        }
        assert!(totp_of("2345672345672345").is_ok(), "it looks like a number");
    }

    #[test]
    fn an_invalid_secret_is_refused_with_a_reason_and_never_quoted() {
        let good = secret(20);
        for (text, reason) in [
            (String::new(), "is empty"),
            ("====".to_owned(), "is empty"),
            ("{}".to_owned(), "without a secret"),
            (r#"{"secret": 7}"#.to_owned(), "without a secret"),
            ("not base32!".to_owned(), "not base32"),
            (good.replacen('G', "0", 1), "not base32"),
            (format!("{good}=A"), "not base32"),
            ("AAAA".to_owned(), "at least 16 characters"),
            ("123456".to_owned(), "not base32"),
            (format!("https://example.com/?secret={good}"), "not an otpauth://totp/ URI"),
            (format!("otpauth://hotp/a?secret={good}&counter=1"), "HOTP"),
            (format!("otpauth://yaotp/a?secret={good}"), "not an otpauth://totp/ URI"),
            ("otpauth://totp/a?issuer=b".to_owned(), "without a secret"),
            (format!("otpauth://totp/a?secret={good}&algorithm=MD5"), "algorithm"),
            (format!("otpauth://totp/a?secret={good}&digits=4"), "digits"),
            (format!("otpauth://totp/a?secret={good}&period=0"), "period"),
            (format!("otpauth://totp/a?secret={good}&period=soon"), "period"),
            (format!("otpauth://totp/a?secret={good}&encoder=steam"), "encoder"),
        ] {
            let what = totp_of(&text).expect_err(&text);

            assert!(what.contains(reason), "{text}: {what}");
        }
    }
}
