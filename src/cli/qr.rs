//! Draws a QR code on a terminal, from the PNG in a data URI.
//!
//! The picture is read rather than scaled, and drawn anew from what it says: that works whatever its
//! size, and a phone can scan the result from the screen.

use data_encoding::BASE64;
use png::{ColorType, Decoder, Transformations};
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use rqrr::PreparedImage;

/// Why a picture cannot be drawn. Holds nothing of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it is not a PNG in a data URI")]
    NotPng,
    #[error("no QR code is found in the picture")]
    NoCode,
}

/// `data_uri` as lines of half blocks, two modules a character, black on white whatever the terminal's
/// colours are.
pub(super) fn draw(data_uri: &str) -> Result<String, Error> {
    let text = read(data_uri)?;
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| Error::NoCode)?;
    let blocks = code.render::<Dense1x2>().build();
    Ok(blocks.lines().map(|line| format!("\x1b[30;107m{line}\x1b[0m\n")).collect())
}

/// The text in the picture's QR code.
fn read(data_uri: &str) -> Result<String, Error> {
    let base64 = data_uri.strip_prefix("data:image/png;base64,").ok_or(Error::NotPng)?;
    // Some answers have a space after the comma.
    let file = BASE64.decode(base64.trim().as_bytes()).map_err(|_| Error::NotPng)?;
    let mut decoder = Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|_| Error::NotPng)?;
    let size = reader.output_buffer_size().ok_or(Error::NotPng)?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(|_| Error::NotPng)?;
    let channels = match frame.color_type {
        ColorType::Grayscale => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
        ColorType::Indexed => return Err(Error::NotPng),
    };
    let (width, height) = (frame.width as usize, frame.height as usize);
    let mut image = PreparedImage::prepare_from_greyscale(width, height, |x, y| {
        pixels[y * frame.line_size + x * channels]
    });
    let (_, text) =
        image.detect_grids().first().and_then(|grid| grid.decode().ok()).ok_or(Error::NoCode)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pixels of a drawing, as a scanner would see them.
    fn scan(drawing: &str) -> String {
        let rows: Vec<Vec<char>> = drawing
            .lines()
            .map(|line| {
                line.trim_start_matches("\x1b[30;107m")
                    .trim_end_matches("\x1b[0m")
                    .chars()
                    .collect()
            })
            .collect();
        let side = rows[0].len() * 4;
        let mut image = PreparedImage::prepare_from_greyscale(side, side, |x, y| {
            let (x, y) = (x / 4, y / 4);
            let dark = match rows.get(y / 2).map_or(' ', |row| row[x]) {
                '█' => true,
                '▀' => y % 2 == 0,
                '▄' => y % 2 == 1,
                _ => false,
            };
            if dark { 0 } else { 255 }
        });
        image.detect_grids()[0].decode().expect("a readable code").1
    }

    #[test]
    fn the_drawing_can_be_scanned_and_says_what_the_picture_says() {
        for file in
            ["totp-create.response.json", "totp-create.response.nulls-and-unknown-fields.json"]
        {
            let path = format!("{}/tests/it/fixtures/stytch/{file}", env!("CARGO_MANIFEST_DIR"));
            let answer: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(path).expect("a fixture"))
                    .expect("JSON");
            let picture = answer["qr_code"].as_str().expect("a picture");

            let drawing = draw(picture).expect("a drawing");

            let uri = scan(&drawing);
            assert_eq!(uri, read(picture).expect("a code"));
            assert!(uri.contains(answer["secret"].as_str().expect("a secret")));
        }
    }

    #[test]
    fn what_is_no_picture_is_not_drawn() {
        for picture in
            ["", "data:image/png;base64,", "data:image/png;base64,AAAA", "data:image/gif;base64,"]
        {
            assert!(draw(picture).is_err(), "{picture}");
        }
    }
}
