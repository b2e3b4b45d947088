//! TOTP from the standard's text, for codes that owe nothing to the crate that the sandbox uses.

use std::time::SystemTime;

use aws_lc_rs::hmac;

/// The six digits for a key at a time (RFC 6238 with SHA-1 and 30 seconds; RFC 4226, section 5.3).
pub fn code(key: &[u8], time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mac = hmac::sign(&key, &(seconds / 30).to_be_bytes());
    let mac = mac.as_ref();
    let offset = usize::from(mac[19] & 0xf);
    let number = u32::from_be_bytes(mac[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// The same for a secret in base32.
pub fn code_of(secret: &str, time: SystemTime) -> String {
    let key = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    code(&key, time)
}

/// RFC 6238, appendix B: seconds, and the code of the key `12345678901234567890`, of whose eight
/// digits these are the last six.
pub const VECTORS: [(u64, &str); 6] = [
    (59, "287082"),
    (1_111_111_109, "081804"),
    (1_111_111_111, "050471"),
    (1_234_567_890, "005924"),
    (2_000_000_000, "279037"),
    (20_000_000_000, "353130"),
];

/// The RFC's key.
pub const KEY: &[u8] = b"12345678901234567890";
