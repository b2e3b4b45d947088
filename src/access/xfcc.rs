//! `x-forwarded-client-cert`: what a mesh's proxy says of the certificate that it was called with.
//!
//! Anybody can send the header, so it is read only from peers that are listed. A proxy that adds to what it was
//! sent, rather than to set it anew, would let callers choose who they are: so exactly one header with exactly one
//! element is taken.

use http::HeaderMap;

use crate::identity::{is_identity, is_spiffe_id};

/// The header, as Envoy and Istio spell it.
pub(super) const HEADER: &str = "x-forwarded-client-cert";

/// The identities of the one certificate in the headers: SPIFFE ids, then `dns:` names. None without the
/// header.
///
/// # Errors
///
/// When there is more than one, or it cannot be read.
pub fn identities(headers: &HeaderMap) -> Result<Option<Vec<String>>, &'static str> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("more than one x-forwarded-client-cert");
    }
    let text = value.to_str().map_err(|_| MALFORMED)?;
    let (mut uris, mut dns) = (Vec::new(), Vec::new());
    for (key, value) in pairs(text)? {
        match key.to_ascii_lowercase().as_str() {
            "uri" if is_spiffe_id(&value) => uris.push(value),
            "dns" => dns.push(format!("dns:{value}")),
            _ => {}
        }
    }
    uris.extend(dns.into_iter().filter(|name| is_identity(name)));
    if uris.is_empty() { Err("x-forwarded-client-cert names nobody") } else { Ok(Some(uris)) }
}

const MALFORMED: &str = "x-forwarded-client-cert cannot be read";

/// `key=value` pairs between semicolons. A value with a comma, a semicolon or an equals sign is in quotes, in
/// which a backslash escapes a quote.
fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
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
        pairs.push((key.to_owned(), value));
        match after.chars().next() {
            None => return Ok(pairs),
            Some(';') => rest = &after[1..],
            Some(',') => return Err("x-forwarded-client-cert has more than one element"),
            Some(_) => return Err(MALFORMED),
        }
    }
}

/// The value up to its closing quote, and what follows.
fn quoted_value(text: &str) -> Result<(String, &str), &'static str> {
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

    fn read(values: &[&str]) -> Result<Option<Vec<String>>, &'static str> {
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
            let expected: Vec<_> = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(read(&[value]), Ok(Some(expected)), "{value}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn what_is_doubled_malformed_or_names_nobody_is_refused() {
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
