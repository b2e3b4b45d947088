//! Draws a QR code on a terminal, from the PNG in a data URI.
//!
//! The code is decoded and drawn again rather than scaled. That works for any size of the picture,
//! and a phone can scan the result from the screen.

use std::io::{Cursor, stdout};

use data_encoding::BASE64;
use png::{ColorType, Decoder, Transformations};
use qrcode::{
    EcLevel, QrCode,
    render::{Renderer, unicode::Dense1x2},
};
use rqrr::PreparedImage;

/// Why a picture cannot be drawn. Holds no part of the picture.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("it is not a PNG in a data URI")]
    NotPng,
    #[error("the picture has no readable QR code")]
    NoCode,
    #[error("it needs {needed} columns, and the terminal has {columns}")]
    TooWide { needed: usize, columns: usize },
}

/// Widths of the light margin to try, in modules. The standard asks for 4; scanners accept less.
const MARGINS: [u32; 3] = [4, 2, 1];

/// Returns the QR code for the terminal on standard output, or a sentence that says why it cannot
/// be drawn and what to do instead.
pub(super) fn draw_or_explain(data_uri: &str) -> String {
    draw(data_uri, columns()).unwrap_or_else(|error| {
        format!(
            "(the QR code cannot be drawn: {error}. Show the picture in `qr_code` with another \
             program, or type `secret` into the app)\n"
        )
    })
}

/// The width of the terminal on standard output, or `None` where it is not known.
#[cfg(unix)]
fn columns() -> Option<usize> {
    // `terminal_size` would not give the columns of a terminal with 0 rows.
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    Some(size.ws_col.into()).filter(|columns| *columns > 0)
}

/// The width of the terminal on standard output, or `None` where it is not known.
#[cfg(windows)]
fn columns() -> Option<usize> {
    let (terminal_size::Width(columns), _) = terminal_size::terminal_size_of(stdout())?;
    Some(columns.into())
}

/// Draws the QR code of a picture in half blocks, two modules a character, black on white whatever
/// the colours of the terminal. The margin shrinks to fit into `columns`.
fn draw(data_uri: &str, columns: Option<usize>) -> Result<String, Error> {
    let text = read(data_uri)?;
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| Error::NoCode)?;
    let margin = fitting_margin(code.width(), columns)?;
    let colors = code.to_colors();
    let mut renderer = Renderer::<Dense1x2>::new(&colors, code.width(), margin);
    let blocks = renderer.module_dimensions(1, 1).build();
    Ok(blocks.lines().map(|line| format!("\x1b[30;107m{line}\x1b[0m\n")).collect())
}

/// The widest margin with which a code of this many modules fits.
fn fitting_margin(modules: usize, columns: Option<usize>) -> Result<u32, Error> {
    let columns = columns.unwrap_or(usize::MAX);
    let width = |margin: u32| modules + 2 * margin as usize;
    let fitting = MARGINS.into_iter().find(|margin| width(*margin) <= columns);
    let needed = MARGINS.into_iter().map(width).min().unwrap_or(modules);
    fitting.ok_or(Error::TooWide { needed, columns })
}

/// Decodes the QR code of a picture.
fn read(data_uri: &str) -> Result<String, Error> {
    let base64 = data_uri.strip_prefix("data:image/png;base64,").ok_or(Error::NotPng)?;
    // Some responses have a space after the comma.
    let file = BASE64.decode(base64.trim().as_bytes()).map_err(|_| Error::NotPng)?;
    let mut decoder = Decoder::new(Cursor::new(file));
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

    /// The example answers of Create.
    fn answers() -> impl Iterator<Item = serde_json::Value> {
        let files =
            ["totp-create.response.json", "totp-create.response.nulls-and-unknown-fields.json"];
        files.into_iter().map(|file| {
            let path = format!("{}/tests/it/fixtures/stytch/{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).expect("a fixture");
            serde_json::from_str(&text).expect("JSON")
        })
    }

    #[test]
    fn the_drawing_can_be_scanned_and_says_what_the_picture_says() {
        for answer in answers() {
            let picture = answer["qr_code"].as_str().expect("a picture");

            let drawing = draw(picture, None).expect("a drawing");

            let uri = scan(&drawing);
            assert_eq!(uri, read(picture).expect("a code"));
            assert!(uri.contains(answer["secret"].as_str().expect("a secret")));
        }
    }

    #[test]
    fn the_drawing_fits_the_terminal_and_can_be_scanned_as_long_as_there_is_any_margin() {
        for answer in answers() {
            let picture = answer["qr_code"].as_str().expect("a picture");
            let uri = read(picture).expect("a code");
            let width = |drawing: &str| {
                let line = drawing.lines().next().expect("a line");
                line.trim_start_matches("\x1b[30;107m").trim_end_matches("\x1b[0m").chars().count()
            };
            let full = width(&draw(picture, None).expect("a drawing"));

            assert_eq!(width(&draw(picture, Some(full)).expect("a drawing")), full);
            for columns in full - 6..full {
                let drawing = draw(picture, Some(columns)).expect("a smaller drawing");
                assert!(width(&drawing) <= columns);
                assert_eq!(scan(&drawing), uri, "{columns} columns");
            }
            for columns in [0, 10, full - 7] {
                let error = draw(picture, Some(columns)).expect_err("no room");
                let said = format!("it needs {} columns, and the terminal has {columns}", full - 6);
                assert_eq!(error.to_string(), said);
            }
        }
    }

    #[test]
    fn an_invalid_picture_is_not_drawn() {
        for picture in
            ["", "data:image/png;base64,", "data:image/png;base64,AAAA", "data:image/gif;base64,"]
        {
            assert!(draw(picture, None).is_err(), "{picture}");
        }
    }
}
