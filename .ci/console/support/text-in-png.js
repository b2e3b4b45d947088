// Text inside a PNG, where viewers look for a description of it (chunk iTXt, compressed).

import { deflateSync, inflateSync } from "node:zlib";

import { chunk } from "./palette.js";

const KEYWORD = "Description";
/** Ends the keyword; compressed, by zlib; no language, and no keyword in it. */
const HEAD = Buffer.from(`${KEYWORD}\0\x01\0\0\0`, "latin1");
/** The signature of the format. */
const SIGNATURE = 8;
/** Length and type before what a chunk holds, and the sum after it. */
const [BEFORE, AFTER] = [8, 4];

/** The picture with this text. */
export function withText(png, text) {
  const ihdr = SIGNATURE + BEFORE + png.readUInt32BE(SIGNATURE) + AFTER;
  const content = Buffer.concat([HEAD, deflateSync(Buffer.from(text), { level: 9 })]);
  return Buffer.concat([png.subarray(0, ihdr), chunk("iTXt", content), png.subarray(ihdr)]);
}

/** The text of a picture, or null if it has none. */
export function textOf(png) {
  for (let at = SIGNATURE; at < png.length; at += BEFORE + png.readUInt32BE(at) + AFTER) {
    const content = png.subarray(at + BEFORE, at + BEFORE + png.readUInt32BE(at));
    const isText = png.toString("latin1", at + 4, at + BEFORE) === "iTXt";
    if (isText && content.subarray(0, HEAD.length).equals(HEAD)) {
      return inflateSync(content.subarray(HEAD.length)).toString();
    }
  }
  return null;
}
