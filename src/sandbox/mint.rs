//! Mints what Stytch mints: ids, tokens, secrets, recovery codes and QR codes.

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::{
    Color, EcLevel, QrResult,
    bits::encode_auto,
    canvas::{Canvas, MaskPattern},
    ec::construct_codewords,
};
use rand::RngExt as _;
use uuid::Uuid;

const RECOVERY_CODES: usize = 10;
const PIXELS_PER_MODULE: usize = 3;
const BYTES_PER_MODULE: usize = 2 * PIXELS_PER_MODULE;
/// The light modules that scanners need on each side of a QR code.
const QUIET_ZONE: usize = 4;
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
    let (width, modules) = modules(uri).ok()?;
    let pixels = pixels(width, &modules);
    let side = (width + 2 * QUIET_ZONE) * PIXELS_PER_MODULE;
    let side = u32::try_from(side).ok()?;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header().ok()?.write_image_data(&pixels).ok()?;
    Some(format!("data:image/png;base64,{}", BASE64.encode(&file)))
}

/// Returns how many modules a QR code is wide, and their colors, row by row.
///
/// The mask is always the same one: all are valid, and to look for the one that the standard
/// prefers takes fifty times as long as all the rest.
fn modules(uri: &str) -> QrResult<(usize, Vec<Color>)> {
    const LEVEL: EcLevel = EcLevel::L;
    let bits = encode_auto(uri.as_bytes(), LEVEL)?;
    let version = bits.version();
    let (data, error_correction) = construct_codewords(&bits.into_bytes(), version, LEVEL)?;
    let mut canvas = Canvas::new(version, LEVEL);
    canvas.draw_all_functional_patterns();
    canvas.draw_data(&data, &error_correction);
    canvas.apply_mask(MaskPattern::Checkerboard);
    let modules = canvas.into_colors();
    Ok((modules.len().isqrt(), modules))
}

/// Draws modules with a quiet zone around them, as 16-bit greyscale pixels.
fn pixels(width: usize, modules: &[Color]) -> Vec<u8> {
    let shade =
        |module: &Color| [if *module == Color::Dark { 0 } else { u8::MAX }; BYTES_PER_MODULE];
    let beside = [Color::Light; QUIET_ZONE];
    let empty = vec![Color::Light; width];
    let outside = std::iter::repeat_n(&empty[..], QUIET_ZONE);
    let rows = outside.clone().chain(modules.chunks_exact(width)).chain(outside);
    let mut pixels = Vec::new();
    for row in rows {
        let start = pixels.len();
        for module in beside.iter().chain(row).chain(&beside) {
            pixels.extend_from_slice(&shade(module));
        }
        let row = start..pixels.len();
        (1..PIXELS_PER_MODULE).for_each(|_| pixels.extend_from_within(row.clone()));
    }
    pixels
}
