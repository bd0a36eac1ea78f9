// Where in a cutout its subject is: a frame is filled with that, not with what was around it.

/** Below this a pixel is no part of the subject, but of its outline's haze. */
const SEEN = 64;

/** The subject alone, and the sides on which the photo's edge cut it off: none where it is whole. */
export async function trimmed(blob) {
  const image = await createImageBitmap(blob);
  const { width, height } = image;
  // The box of what can be seen is found on a small copy.
  const scale = Math.min(1, 256 / Math.max(width, height));
  const small = new OffscreenCanvas(Math.ceil(width * scale), Math.ceil(height * scale));
  const pen = small.getContext('2d', { willReadFrequently: true });
  pen.drawImage(image, 0, 0, small.width, small.height);
  const { data } = pen.getImageData(0, 0, small.width, small.height);
  let [left, top, right, bottom] = [small.width, small.height, -1, -1];
  for (let y = 0; y < small.height; y++) {
    for (let x = 0; x < small.width; x++) {
      if (data[(y * small.width + x) * 4 + 3] < SEEN) continue;
      [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
    }
  }
  if (right < 0) return { blob, cut: [] };
  const [w, h] = [(right - left + 1) / scale, (bottom - top + 1) / scale];
  const canvas = new OffscreenCanvas(Math.round(w), Math.round(h));
  canvas.getContext('2d').drawImage(image, left / scale, top / scale, w, h, 0, 0, canvas.width, canvas.height);
  image.close();
  const beyond = { left: left < 2, top: top < 2, right: right > small.width - 3, bottom: bottom > small.height - 3 };
  return { blob: await canvas.convertToBlob(), cut: Object.keys(beyond).filter((side) => beyond[side]) };
}
