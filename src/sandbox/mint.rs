//! Mints what Stytch mints: ids, tokens, secrets, recovery codes and QR codes.

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::{EcLevel, QrCode};
use rand::RngExt as _;
use uuid::Uuid;

const RECOVERY_CODES: usize = 10;
const PIXELS_PER_MODULE: u32 = 3;
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn request_id() -> String {
    format!("request-id-test-{}", Uuid::new_v4())
}

pub(super) fn registration_id() -> String {
    format!("member-totp-test-{}", Uuid::new_v4())
}

/// Mints the id of a set of recovery codes.
pub(super) fn recovery_codes_id() -> String {
    format!("member-totp-recovery-code-test-{}", Uuid::new_v4())
}

pub(super) fn session_id() -> String {
    format!("session-test-{}", Uuid::new_v4())
}

/// Mints a session token: 32 random bytes as 44 characters of base64.
pub(super) fn session_token() -> String {
    BASE64URL.encode(&rand::rng().random::<[u8; 32]>())
}

/// Mints a TOTP's secret: 20 random bytes as 32 characters of base32.
pub(super) fn secret() -> String {
    BASE32_NOPAD.encode(&rand::rng().random::<[u8; 20]>())
}

/// Mints ten recovery codes such as `vqjx-xvbo-thd0`.
pub(super) fn recovery_codes() -> Vec<String> {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    let mut group = || -> String {
        (0..4).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
    };
    (0..RECOVERY_CODES).map(|_| [group(), group(), group()].join("-")).collect()
}

/// Returns the URI that authenticator apps read, in Stytch's format.
pub(super) fn uri(project: &str, organization: &str, email: &str, secret: &str) -> String {
    let issuer = format!("{project} ({organization})");
    let issuer = utf8_percent_encode(&issuer, COMPONENT);
    let email = utf8_percent_encode(email, COMPONENT);
    format!(
        "otpauth://totp/{issuer}:{email}?algorithm=SHA1&digits=6&period=30&secret={secret}&issuer={issuer}"
    )
}

/// Draws `uri` as a QR code, and returns it as the data URI of a PNG with 16-bit greyscale pixels.
/// Returns `None` if `uri` is too long for a QR code.
pub(super) fn qr_code(uri: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(uri, EcLevel::L).ok()?;
    let (dark, light) = ('#', ' ');
    let picture = code
        .render::<char>()
        .dark_color(dark)
        .light_color(light)
        .module_dimensions(PIXELS_PER_MODULE, PIXELS_PER_MODULE)
        .build();
    let side = u32::try_from(picture.lines().count()).ok()?;
    let depth_16 = |pixel| if pixel == dark { [0; 2] } else { [u8::MAX; 2] };
    let pixels: Vec<u8> = picture.lines().flat_map(str::chars).flat_map(depth_16).collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.write_header().ok()?.write_image_data(&pixels).ok()?;
    Some(format!("data:image/png;base64,{}", BASE64.encode(&file)))
}
