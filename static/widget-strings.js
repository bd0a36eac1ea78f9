// Every word that the widget says. A shop overrides them on an element, as a property
// (`element.strings = { choose: 'Foto wählen' }`) or an attribute (`data-strings='{"choose": …}'`).

export const STRINGS = {
  title: 'Add your photo',
  choose: 'Choose a photo',
  camera: 'Take a photo',
  drop: 'or drop or paste it here',
  limits: 'JPEG, PNG or WebP',
  limits_size: 'JPEG, PNG or WebP, up to {size}',
  idle: 'The background goes, your favourite stays. You see it happen, right here.',

  connecting: 'Connecting',
  reconnecting: 'Connection lost, trying again',
  unreachable: 'The cutout service can’t be reached, trying again',
  crowded: 'Busy just now, trying again',
  warming: 'Getting ready, choose your photo meanwhile',
  again: 'The service restarted and starts over',
  ready: 'Ready when you are',
  uploading: 'Sending your photo',
  uploading_cold: 'Sending your photo while we get ready',
  starting: 'Your photo is here, nearly ready for it',
  queued: 'In line, number {position}',
  waiting: 'Your photo is here',
  processing: 'Cutting out',
  preview: 'A first look, the fine cutout follows',
  done: 'Your cutout is ready',
  done_in: 'Your cutout, after {time}',
  degraded: 'A quick cutout, without the finest edges',
  failed: 'That didn’t work',
  fit: 'made smaller, {size}',

  container: 'Start the machine',
  model_load: 'Load the model',
  gpu_ready: 'Test it on a photo',
  upload: 'Send the photo',
  queue: 'Wait for a turn',
  cutout: 'Cut it out',
  decode: 'reading',
  infer: 'finding the outline',
  compose: 'cutting',
  encode: 'packing',
  retrying: 'once more',
  step_todo: 'not yet',
  step_now: 'under way',
  step_done: 'done',
  step_failed: 'failed',

  eta: 'about {seconds} s',
  soon: 'a few seconds',
  late: 'taking longer than usual',
  seconds: '{n} s',
  minutes: '{m} min {n} s',
  percent: '{n} %',
  progress: 'Progress',
  result: 'Your photo without its background',
  photo: 'Your photo',
  cancel: 'Cancel',
  retry: 'Try again',
  another: 'New photo',
  download: 'Download',
  copy: 'Copy',
  copied: 'Copied',
  uncopied: 'Your browser didn’t let us copy it',
  compare: 'Compare with your photo',
  ground: 'Background',
  ground_none: 'Transparent',
  ground_light: 'White',
  ground_dark: 'Dark',
  ground_colour: 'Your own colour',
  required: 'Add your photo first.',
  busy: 'Your photo is still on its way.',

  notify: 'Tell me when it’s ready',
  notify_on: 'We’ll tell you',
  notify_off: 'Notifications are blocked here',
  notify_ready: 'Ready for your photo',

  problem: 'Something went wrong on our side. Try again in a moment.',
  problem_unauthorized: 'This page may not use the cutout service. Please tell the shop.',
  problem_upload_incomplete: 'The photo didn’t get through. Check your connection and try again.',
  problem_unreadable_file: 'Your browser can’t read this file any more. Choose it again.',
  problem_unsupported_media_type: '“{name}” is not a photo we can read. Choose a JPEG, PNG or WebP.',
  problem_heic: 'Your browser can’t open “{name}”, as iPhones keep it (HEIC). Choose a JPEG, PNG or WebP, such as a screenshot of it.',
  problem_upload_too_large: 'This photo has {size}, the limit is {limit}. Choose a smaller one.',
  problem_empty: '“{name}” is empty. Choose another photo.',
};

/** The widget's words: ours, and a shop's own in their place. */
export class Words {
  #given;

  constructor(...given) {
    this.#given = Object.assign({}, ...given);
  }

  /** Whether a shop has a word of its own. */
  given(name) {
    return name in this.#given;
  }

  /** A string with values in its `{places}`; nothing for a name without one. */
  say(name, values = {}) {
    return String(this.#given[name] ?? STRINGS[name] ?? '').replace(/\{(\w+)\}/g, (place, value) => values[value] ?? place);
  }

  percent(fraction) {
    return this.say('percent', { n: Math.floor(fraction * 100) });
  }

  time(ms) {
    const seconds = ms / 1000;
    if (seconds >= 60) return this.say('minutes', { m: Math.floor(seconds / 60), n: Math.floor(seconds % 60) });
    return this.say('seconds', { n: figure(seconds, seconds < 10 ? 1 : 0, seconds < 10 ? 1 : 0) });
  }

  /** As file managers count them. */
  megabytes(bytes) {
    return `${figure(bytes / 1e6)}\u00a0MB`;
  }
}

/** A number as the page's language writes it, where that is one. */
function figure(n, minimumFractionDigits = 0, maximumFractionDigits = 1) {
  const digits = { minimumFractionDigits, maximumFractionDigits };
  try {
    return n.toLocaleString(document.documentElement.lang || 'en', digits);
  } catch {
    return n.toLocaleString('en', digits);
  }
}
