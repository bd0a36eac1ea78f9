// What a shop's own TypeScript counts on: this need not run, only be right.

import { connect, holdout, type CutoutEvent, type Trigger } from '../../static/widget.js';

const line = connect({ server: 'https://cut.example', key: 'pk_demo' });
const triggers: Trigger[] = ['page_view', 'hover', 'focus', 'touch', 'viewport', 'selector', 'upload', 'manual'];
for (const trigger of triggers) void line.warm(trigger);

line.addEventListener('stage', ({ detail }) => console.log(detail.stage, detail.eta_ms?.p90));
line.addEventListener('ready', ({ detail }) => detail.total_ms.toFixed());
line.stay = holdout;
line.consent(true);

const { upload, done, cancel } = line.upload(new File([], 'cat.jpg'), { format: 'auto', crop: true, fit: false });
export const cutout: Promise<CutoutEvent> = done.then((result) => result.cutout);
void cancel().then(() => line.cancel(upload));
line.close();

const element = document.querySelector('warm-cutout');
element!.strings = { choose: 'Foto wählen' };
element!.addEventListener('warmcut:cutout', ({ detail }) => detail.blob.size + detail.lasting_url.length);
element!.addEventListener('warmcut:warming_abandoned', ({ detail }) => detail.ready && detail.duration_ms);

// @ts-expect-error: no such trigger
void line.warm('wish');
// @ts-expect-error: no such format
void line.upload(new File([], 'cat.jpg'), { format: 'gif' });

// What the server was recorded to say is what these types say.
import type { JobEvent, ProblemEvent, ReadyEvent, SessionEvent, StageEvent, UploadEvent } from '../../static/widget.js';
import { recorded } from './recorded.js';

type Said = SessionEvent | StageEvent | ReadyEvent | UploadEvent | JobEvent | CutoutEvent | ProblemEvent;
type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;
export const said: readonly DeepReadonly<Said>[] = Object.values(recorded).flat();
