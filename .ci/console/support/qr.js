// Reads the QR code that a picture shows, as a phone would.

import jsQR from "jsqr";
import { PNG } from "pngjs";

/** The `otpauth:` URI in a screenshot. */
export function decode(screenshot) {
  const { data, width, height } = PNG.sync.read(screenshot);
  const found = jsQR(new Uint8ClampedArray(data), width, height);
  if (!found) throw new Error(`no QR code in a picture of ${width} by ${height} pixels`);
  return new URL(found.data);
}
