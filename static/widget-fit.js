// A photo that the server wouldn't take becomes one that it takes, where this browser can read it:
// fewer pixels, fewer bytes, or a JPEG of what only this browser knows, upright in each case.

import { own } from './widget-upload.js';

/** Browsers on phones draw on no larger canvas. */
const CANVAS_PIXELS = 16_000_000;

/** Such a JPEG can't be told from its photo, at a tenth of a PNG's bytes. */
const QUALITY = 0.92;

/** Still too heavy after so many steps of half the pixels, a limit is no photo's. */
const TRIES = 4;

/** `{file, width, height, smaller}` within a server's limits, or null where the photo is so already. */
export async function fit(file, { accepts, max_upload_bytes, max_pixels }) {
  const foreign = Boolean(file.type) && !accepts.includes(file.type);
  const heavy = file.size > max_upload_bytes;
  const url = URL.createObjectURL(file);
  try {
    const image = await opened(url);
    if (!image) {
      if (foreign) throw own('unsupported_media_type');
      if (heavy) throw own('upload_too_large');
      return null; // the server may know better what it is
    }
    const pixels = image.naturalWidth * image.naturalHeight;
    if (!foreign && !heavy && pixels <= max_pixels) return null;
    let scale = Math.min(1, Math.sqrt(Math.min(max_pixels, CANVAS_PIXELS) / pixels));
    for (let tries = 0; tries < TRIES; tries++, scale *= Math.SQRT1_2) {
      const canvas = drawn(image, scale);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', QUALITY));
      if (!blob) throw own('unreadable_file');
      if (blob.size > max_upload_bytes) continue;
      const name = `${file.name.replace(/\.\w+$/, '')}.jpg`;
      const { width, height } = canvas;
      return { file: new File([blob], name, { type: blob.type }), width, height, smaller: scale < 1 };
    }
    throw own('upload_too_large');
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** An image whose size is known, or null. Its pixels wait until it is drawn. */
function opened(url) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image.naturalWidth ? image : null);
    image.onerror = () => resolve(null);
    image.src = url;
  });
}

function drawn(image, scale) {
  const canvas = document.createElement('canvas');
  // Rounded down, so that no limit is passed by a row.
  canvas.width = Math.max(1, Math.floor(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.floor(image.naturalHeight * scale));
  const pen = canvas.getContext('2d');
  pen.fillStyle = '#fff'; // a JPEG has no transparency
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}
