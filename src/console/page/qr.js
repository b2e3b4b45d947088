/** The QR code of a new TOTP as an image, and nothing else as an image. */

import { el } from './dom.js';

// Some answers have a space after the comma. The first 32 characters are the PNG's header.
const PNG = /^data:image\/png;base64, ?([A-Za-z0-9+/]{32,}={0,2})$/;
const LEGIBLE = 180;
const LARGEST = 360;

/**
 * @param {unknown} uri @param {() => void} onbroken called if the PNG cannot be shown
 * @returns {HTMLElement | null} null if it is no PNG
 */
export function qrCode(uri, onbroken) {
  const [, data] = PNG.exec(typeof uri === 'string' ? uri : '') ?? [];
  if (!data) return null;
  const size = shownSize(widthOf(data));
  const figure = el('figure', { class: 'qr' },
    el('img', {
      id: 'qr-code',
      src: `data:image/png;base64,${data}`,
      alt: 'QR code for an authenticator app',
      width: size,
      height: size,
      onerror: () => {
        figure.remove();
        onbroken();
      },
    }));
  return figure;
}

/** The width that the header states. @param {string} data */
function widthOf(data) {
  const header = atob(data.slice(0, 32));
  return [16, 17, 18, 19].reduce((width, at) => width * 256 + header.charCodeAt(at), 0);
}

/** Whole multiples alone keep the modules of one size. @param {number} width */
function shownSize(width) {
  return Math.min(LARGEST, width * Math.max(1, Math.round(LEGIBLE / Math.max(width, 1))));
}
