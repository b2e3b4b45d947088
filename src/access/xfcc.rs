//! `x-forwarded-client-cert`: the certificate that a trusted proxy was called with.
//!
//! Anybody can send this header, so it is read from trusted proxies only. A proxy that appends to
//! the header instead of replacing it would let callers choose their identities; therefore exactly
//! one header with exactly one element is accepted.

use http::HeaderMap;

use super::{
    credential::{Credential, Identities, Presented},
    proxies::Sender,
    refusal::Refusal,
};
use crate::identity::Identity;

const HEADER: &str = "x-forwarded-client-cert";

const MALFORMED: Refusal = Refusal::Unknown("x-forwarded-client-cert is malformed");

/// Identifies callers behind trusted proxies by the certificates that the proxies forward.
#[derive(Debug)]
pub(super) struct ForwardedCertificates;

impl Credential for ForwardedCertificates {
    fn identities(&self, presented: &Presented<'_>) -> Result<Option<Identities>, Refusal> {
        match presented.sender {
            Sender::Proxy => Ok(identities(presented.headers)?.map(Identities::from)),
            Sender::Caller | Sender::Unknown => Ok(None),
        }
    }
}

/// Returns the identities of the certificate in the header, SPIFFE ids before DNS names, or `None`
/// without the header.
///
/// # Errors
///
/// There is more than one certificate, it holds no identity, or the header is malformed.
pub fn identities(headers: &HeaderMap) -> Result<Option<Vec<Identity>>, Refusal> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Unknown("more than one x-forwarded-client-cert"));
    }
    let text = value.to_str().map_err(|_| MALFORMED)?;
    let (mut identities, mut dns_names) = (Vec::new(), Vec::new());
    for (key, value) in pairs(text)? {
        if key.eq_ignore_ascii_case("uri") {
            identities.extend(Identity::spiffe(value));
        } else if key.eq_ignore_ascii_case("dns") {
            dns_names.extend(Identity::dns(&value));
        }
    }
    identities.extend(dns_names);
    match identities.is_empty() {
        true => Err(Refusal::Unknown("x-forwarded-client-cert holds no identity")),
        false => Ok(Some(identities)),
    }
}

/// Splits an element into its `key=value` pairs, which are separated by semicolons. A value with a
/// comma, a semicolon or an equals sign is quoted; in quotes, a backslash escapes the next
/// character.
fn pairs(text: &str) -> Result<Vec<(&str, String)>, Refusal> {
    let (mut pairs, mut rest) = (Vec::new(), text);
    loop {
        let (key, after) = rest.split_once('=').ok_or(MALFORMED)?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(MALFORMED);
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let end = after.find([';', ',']).unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                if value.contains(['"', '=']) {
                    return Err(MALFORMED);
                }
                (value.to_owned(), after)
            }
        };
        pairs.push((key, value));
        match after.chars().next() {
            None => return Ok(pairs),
            Some(';') => rest = &after[1..],
            Some(',') => {
                return Err(Refusal::Unknown("x-forwarded-client-cert has more than one element"));
            }
            Some(_) => return Err(MALFORMED),
        }
    }
}

/// Returns the value up to its closing quote, and the text after it.
fn quoted_value(text: &str) -> Result<(String, &str), Refusal> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(characters.next().ok_or(MALFORMED)?.1),
            _ => value.push(character),
        }
    }
    Err(MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<Vec<Identity>>, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        identities(&headers)
    }

    #[test]
    fn the_names_of_the_one_certificate_are_read() {
        for (value, expected) in [
            ("URI=spiffe://a/b", &["spiffe://a/b"][..]),
            ("uri=spiffe://a/b", &["spiffe://a/b"]),
            ("By=spiffe://proxy;Hash=12ab;Subject=\"\";URI=spiffe://a", &["spiffe://a"]),
            ("Subject=\"CN=x,O=\\\"y;z\\\"\";URI=spiffe://a", &["spiffe://a"]),
            (
                "DNS=one.example;URI=spiffe://a;DNS=two.example",
                &["spiffe://a", "dns:one.example", "dns:two.example"],
            ),
            ("URI=\"spiffe://a\"", &["spiffe://a"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|it| it.parse().unwrap()).collect();
            assert_eq!(read(&[value]), Ok(Some(expected)), "{value}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn an_xfcc_header_that_is_duplicated_malformed_or_names_nobody_is_refused() {
        for values in [
            &["URI=spiffe://a", "URI=spiffe://a"][..],
            &["URI=spiffe://a,URI=spiffe://b"],
            &["By=x,URI=spiffe://a"],
            &[""],
            &["URI"],
            &["URI="],
            &["=spiffe://a"],
            &["URI=\"spiffe://a"],
            &["URI=\"spiffe://a\"x"],
            &["URI=\"a\\"],
            &["URI=spiffe://a;"],
            &["URI=spiffe://a\"b"],
            &["URI=a=b"],
            &["Hash=12ab"],
            &["URI=spiffe://a; DNS=b"],
            &["URI=dns:login.internal"],
            &["URI=token:login"],
            &["URI=\"spiffe://a b\""],
            &["DNS="],
            &["DNS=\"a b\""],
        ] {
            assert!(read(values).is_err(), "{values:?}");
        }
    }
}
