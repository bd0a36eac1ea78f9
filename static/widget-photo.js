// One photo's way through the service, folded from its events: what has been sent, where its job is,
// and when each step began and ended.

export class Photo {
  file;
  /** The connection's task while it goes on. */
  task = null;
  /** The last `job` event. */
  job = null;
  /** The last `upload` event. */
  sent = null;
  /** What it was made into, where it was too large: `{width, height, bytes}`. */
  fitted = null;
  /** The `cutout` event. */
  result = null;
  problem = null;
  /** `upload`, `queue` and `cutout`, each `{status, from, to}`. */
  steps = {};

  constructor(file) {
    this.file = file;
  }

  begin(task, now) {
    Object.assign(this, { task, job: null, sent: null, problem: null, steps: { upload: { status: 'now', from: now } } });
  }

  /** How much of it has been sent, 0 to 1; all of it only when the server says so. */
  get share() {
    if (this.steps.upload?.status === 'done') return 1;
    return this.sent?.total_bytes ? Math.min(0.99, this.sent.received_bytes / this.sent.total_bytes) : 0;
  }

  uploading(event, now) {
    this.sent = event;
    // Where the server that had it is gone, it goes up once more.
    if (event.received_bytes === 0 && this.steps.upload.status === 'done') this.begin(this.task, now);
    if (event.status === 'received') Object.assign(this.steps.upload, { status: 'done', to: event.at_ms ?? now });
  }

  working(event, now) {
    const at = event.at_ms ?? now;
    const { upload, queue, cutout } = this.steps;
    // What is estimated counts from when it was estimated; polls repeat it without a time.
    this.job = { ...event, at_ms: at };
    if (upload.status === 'now') Object.assign(upload, { status: 'done', to: at });
    const begin = () => ({ status: 'now', from: at });
    const end = (step) => ({ from: at, ...step, status: 'done', to: at });
    if (event.status === 'queued') this.steps.queue ??= begin();
    if (event.status === 'processing') {
      if (queue?.status !== 'done') this.steps.queue = end(queue);
      this.steps.cutout ??= begin();
    }
    if (event.status === 'succeeded') {
      this.steps.queue ??= end(null);
      this.steps.cutout = end(cutout);
    }
  }

  succeed(cutout, now) {
    // The job's end is told after its cutout, and nobody listens for it any more.
    this.working({ ...this.job, upload: this.task.upload, status: 'succeeded', at_ms: cutout.at_ms }, now);
    this.result = cutout;
    this.task = null;
  }

  fail(problem, now) {
    this.task = null;
    this.problem = problem;
    const step = Object.values(this.steps).find(({ status }) => status === 'now');
    if (step) Object.assign(step, { status: 'failed', to: now });
  }

  /** One word for what the shopper sees of it. */
  phase(run) {
    if (this.result) return 'done';
    if (this.problem) return 'failed';
    if (this.steps.upload?.status !== 'done') return 'uploading';
    if (this.job?.status === 'queued') return 'queued';
    if (this.steps.cutout) return 'processing'; // until its bytes are here
    return run?.status === 'ready' ? 'waiting' : 'starting';
  }
}
