// What every page does around the widget: sample photos, copying, and pages that open without a network.

/** The first element of a selector. */
export const $ = (selector, root = document) => root.querySelector(selector);

/** A sample photo as the file that a shopper would have chosen. */
export async function sample(path) {
  const photo = await (await fetch(path)).blob();
  return new File([photo], path.split('/').pop(), { type: photo.type });
}

/** Puts text on the clipboard, also where a page on plain http has none. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = Object.assign(document.createElement('textarea'), { value: text, readOnly: true, className: 'sr' });
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    const copied = document.execCommand('copy');
    field.remove();
    focused?.focus();
    if (!copied) throw new DOMException('the browser copies nothing from here', 'NotAllowedError');
  }
}

const widget = $('warm-cutout');
for (const button of document.querySelectorAll('[data-sample]')) {
  button.addEventListener('click', async () => {
    try {
      widget.upload(await sample(button.dataset.sample));
      widget.scrollIntoView({ block: 'nearest' });
    } catch {
      $('.samples p').textContent = 'The samples can’t be fetched just now.';
    }
  });
}

// After the page's own needs: the worker fetches every file of the pages once more.
async function keep() {
  try {
    await navigator.serviceWorker.register(new URL('sw.js', import.meta.url), { updateViaCache: 'none' });
    const { active } = await navigator.serviceWorker.ready;
    active.postMessage('keep');
  } catch {
    // Private windows and strict settings have none; the pages do without.
  }
}
if ('serviceWorker' in navigator && !navigator.connection?.saveData) {
  const idle = () => ('requestIdleCallback' in window ? requestIdleCallback(keep) : setTimeout(keep, 1000));
  if (document.readyState === 'complete') idle();
  else addEventListener('load', idle, { once: true });
}
