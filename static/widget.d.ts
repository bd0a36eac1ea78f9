// Types of widget.js: of its module, its element and the events of both.
//
//   import type { connect } from 'https://cut.example/widget.js';   // with `paths` to this file
//   /// <reference path="widget.d.ts" />                            // for the element and its events alone

/** What made somebody warm the model. */
export type Trigger = 'page_view' | 'hover' | 'focus' | 'touch' | 'viewport' | 'selector' | 'upload' | 'manual';

/** Milliseconds that are left: as often longer as shorter, and longer one time in ten. */
export interface Eta { p50: number; p90: number }

/** On every event of the wire. */
export interface Told {
  /** Unix milliseconds by the server's clock, when it happened; missing in what a snapshot tells. */
  at_ms?: number;
  /** Place in the session's log; missing in what doesn't belong to it. */
  id?: string;
}

export interface SessionEvent extends Told {
  type: 'session';
  session: string;
  token: string;
  expires_in_ms: number;
  resumed: boolean;
  limits: { max_upload_bytes: number; max_pixels: number; accepts: string[] };
  models: string[];
}

export interface StageEvent extends Told {
  type: 'stage';
  run: string;
  stage: 'container' | 'model_load' | 'gpu_ready';
  status: 'started' | 'progress' | 'done' | 'failed' | 'retrying';
  device: string | null;
  elapsed_ms: number;
  /** 0 to 1; null where nothing can be measured. */
  progress: number | null;
  eta_ms: Eta | null;
  run_eta_ms: Eta | null;
  detail: string | null;
}

export interface ReadyEvent extends Told {
  type: 'ready';
  run: string;
  /** Null in what a snapshot tells, as the next two. */
  cold: boolean | null;
  total_ms: number;
  model: string | null;
  device: string | null;
}

export interface UploadEvent extends Told {
  type: 'upload';
  upload: string;
  job: string | null;
  status: 'accepted' | 'progress' | 'received' | 'rejected';
  received_bytes: number;
  total_bytes: number | null;
}

export interface JobEvent extends Told {
  type: 'job';
  job: string;
  upload: string;
  status: 'starting' | 'queued' | 'processing' | 'succeeded' | 'failed' | 'canceled';
  position: number | null;
  eta_ms: Eta | null;
  step: 'decode' | 'infer' | 'compose' | 'encode' | null;
  progress: number | null;
}

/** A picture and where its bytes are. */
interface Picture extends Told {
  job: string;
  /** Path on the server; needs the session's token. */
  url: string;
  mime: string;
  width: number;
  height: number;
  bytes: number;
  model: string;
  delivery: 'url' | 'inline';
}

export interface PreviewEvent extends Picture {
  type: 'preview';
}

export interface CutoutEvent extends Picture {
  type: 'cutout';
  id_cutout: string;
  /** Path on the server that needs no token and expires with the cutout; for orders. */
  lasting_url: string;
  cached: boolean;
  degraded: boolean;
  timings_ms: Record<'upload' | 'queue' | 'decode' | 'infer' | 'compose' | 'encode' | 'total', number>;
  notes: string[];
}

/** What went wrong, from the server or, without a message, from the browser. */
export interface ProblemEvent extends Told {
  type: 'problem';
  code: string;
  message: string;
  retryable: boolean;
  retry_after_s?: number;
  job?: string;
  upload?: string;
  run?: string;
}

/** The bytes of a preview or a cutout are here. */
export interface Result {
  kind: 'preview' | 'cutout';
  upload: string;
  job: string;
  blob: Blob;
  event: PreviewEvent | CutoutEvent;
}

export interface State {
  phase: 'idle' | 'connecting' | 'warming' | 'ready' | 'failed' | 'refused';
  transport: 'socket' | 'events' | 'poll' | null;
  run: {
    run: string;
    status: 'warming' | 'ready' | 'failed';
    stages: Partial<Record<StageEvent['stage'], Omit<StageEvent, 'type'>>>;
    /** A run broke off and this one started over. */
    again: boolean;
  } | null;
  session: SessionEvent | null;
  /** Why the server refused, or asked to come back later. */
  problem: ProblemEvent | null;
  /** Tries in a row that opened nothing. */
  failures: number;
}

/** Names and values as the server takes them. */
export interface Options {
  format?: 'png' | 'webp' | 'jpg' | 'auto';
  channels?: 'rgba' | 'alpha';
  bg_color?: string;
  crop?: boolean | 'true' | 'false';
  size?: 'full' | 'preview';
  edges?: 'off' | 'guided' | 'decontaminate';
  model?: string;
  quality?: number | string;
  /** How the bytes come back over a WebSocket. */
  deliver?: 'url' | 'inline';
  /** Whether the browser makes a photo smaller, or a JPEG, where the server wouldn't take it; true by default. */
  fit?: boolean;
}

export interface Task {
  upload: string;
  done: Promise<{ blob: Blob; cutout: CutoutEvent }>;
  cancel(): Promise<void>;
}

/** A photo was made one that the server takes. */
export interface Fit {
  upload: string;
  width: number;
  height: number;
  bytes: number;
  /** False where only its kind or its bytes were the matter. */
  smaller: boolean;
}

/** Of the connection, each a `CustomEvent` with this detail. */
export interface Happenings {
  state: State;
  result: Result;
  fit: Fit;
  session: SessionEvent;
  stage: StageEvent;
  ready: ReadyEvent;
  upload: UploadEvent;
  job: JobEvent;
  preview: PreviewEvent;
  cutout: CutoutEvent;
  problem: ProblemEvent;
  reset: Told & { type: 'reset'; reason: string };
  drain: Told & { type: 'drain'; reconnect_in_ms: number };
}

export interface Connection extends EventTarget {
  readonly state: State;
  /** Origin of the server. */
  readonly server: string;
  /** The server's clock now, in Unix milliseconds, as well as it can be told. */
  now(): number;
  /** Opens the channel, which starts a warm-up where none is warm. Harmless when repeated. */
  warm(trigger?: Trigger): Promise<void>;
  /** Sends a photo; `done` rejects with a `ProblemEvent`. */
  upload(file: File, options?: Options): Task;
  /** Stops a job or an upload, by its id. */
  cancel(id: string): Promise<void>;
  /** Whether the channel stays open while its tab is hidden, because somebody waits to be told. */
  stay: boolean;
  /** Whether what the visit was like may go to the sinks of `data-analytics`; wins over `data-consent` and Shopify's banner. */
  consent(given: boolean): void;
  /** Hangs up. The session lives on for a while, and `warm` finds it again. */
  close(): void;
  addEventListener<K extends keyof Happenings>(
    type: K,
    listener: (event: CustomEvent<Happenings[K]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

/** The connection to a server with a key, by default those of the script's tag; asked twice, the same one. */
export function connect(options?: { server?: string; key?: string }): Connection;

/** Whether this visitor is not warmed for before an explicit click. */
export const holdout: boolean;

/**
 * `<warm-cutout>`. Attributes: `name`, `required`, `layout="page"`, `format`, `channels`, `bg-color`, `crop`, `size`, `edges`, `model`, `quality`,
 * `grounds` (colours to look at the cutout on), `data-strings` (JSON). Its states, for `:state()`: one of `idle connecting warming ready
 * uploading starting waiting queued processing done failed`, and `busy` while a photo is on its way.
 */
export interface WarmCutout extends HTMLElement {
  /** The cutout's lasting address, which its form sends under its name; null without one. */
  readonly value: string | null;
  /** Words instead of ours, by the names in `widget-strings.js`; set before the interface comes. */
  strings?: Record<string, string>;
  /** Brings the interface. */
  load(): Promise<unknown>;
  /** Cuts out a photo, as if the shopper had chosen it. */
  upload(file: File): Promise<void>;
}

/** On every event of the visit's account. */
interface Account {
  /** Whether the visitor belongs to the share that is not warmed for. */
  holdout: boolean;
}

declare global {
  interface HTMLElementTagNameMap {
    'warm-cutout': WarmCutout;
  }
  /** Of the element; they bubble and leave shadow roots. */
  interface GlobalEventHandlersEventMap {
    'warmcut:stage': CustomEvent<StageEvent>;
    'warmcut:ready': CustomEvent<ReadyEvent>;
    'warmcut:cutout': CustomEvent<CutoutEvent & { blob: Blob; file: File }>;
    'warmcut:clear': CustomEvent<null>;
    'warmcut:ground': CustomEvent<{ colour: string | null }>;
    'warmcut:problem': CustomEvent<ProblemEvent>;
    /** The visit's first channel opened. These come from the page's first element, or from the document. */
    'warmcut:warming_started': CustomEvent<Account & { trigger: Trigger }>;
    /** Since then, by the server's clock: 0 where it was warm already. */
    'warmcut:warming_completed': CustomEvent<Account & { duration_ms: number; cold: boolean }>;
    'warmcut:upload_started': CustomEvent<Account & { was_warmed: boolean }>;
    /** Since the photo was chosen. */
    'warmcut:cutout_completed': CustomEvent<Account & { duration_ms: number; cached: boolean }>;
    /** The shopper left without a photo; `ready` says whether a warm model was wasted. */
    'warmcut:warming_abandoned': CustomEvent<Account & { trigger: Trigger; duration_ms: number; ready: boolean }>;
  }
}
