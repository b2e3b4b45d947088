//! The code that an authenticator app shows: RFC 6238 with SHA-1, six digits and 30 seconds.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

pub fn code(secret: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &base32(secret));
    let tag = hmac::sign(&key, &(now / 30).to_be_bytes());
    let hash = tag.as_ref();
    let start = usize::from(hash[19] & 0xf);
    let number = u32::from_be_bytes(hash[start..start + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

fn base32(text: &str) -> Vec<u8> {
    let bits: Vec<u8> = text
        .bytes()
        .map(|letter| if letter.is_ascii_digit() { letter - b'2' + 26 } else { letter - b'A' })
        .flat_map(|value| (0..5).rev().map(move |bit| value >> bit & 1))
        .collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect()
}
