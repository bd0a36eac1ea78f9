// The developers' page: a connection without the widget's interface, and every event of its wire.

import { colour } from './code.js';
import { EventLog, MOST } from './log.js';
import { $, copy, sample } from './pages.js';
import { connect } from './widget.js';

const TRANSPORTS = { socket: 'WebSocket', events: 'Server-sent events', poll: 'Polling' };

const connection = connect();
const said = $('#said');
const say = (text) => (said.textContent = text);

// The list, and what is chosen of it.
const kinds = [...document.querySelectorAll('#kinds [data-type]')];
const pause = $('#pause');
const log = new EventLog($('#scroll'), $('#events'), () => {
  for (const button of kinds) button.lastChild.textContent = log.counts.get(button.dataset.type) || '';
  $('.nothing').hidden = log.size > 0;
  $('#held').textContent = `Paused, ${log.held} more`;
  $('#held').hidden = log.held < 0;
});
for (const button of kinds) {
  button.addEventListener('click', () => {
    button.ariaPressed = String(button.ariaPressed !== 'true');
    log.only(kinds.filter(({ ariaPressed }) => ariaPressed === 'true').map(({ dataset }) => dataset.type));
  });
}
pause.addEventListener('click', () => {
  const still = log.held < 0;
  pause.ariaPressed = String(still);
  log.pause(still);
  say(still ? 'Paused' : 'Going on');
});
$('#clear').addEventListener('click', () => {
  log.clear();
  say('Cleared');
});
$('#copy').addEventListener('click', () => take($('#copy'), log.lines(), `${log.size} of at most ${MOST} events copied`));

// The wire.
let asked = null;
let opened = null;
for (const { dataset: { type } } of kinds) {
  connection.addEventListener(type, ({ detail }) => {
    if (type === 'session') {
      opened = performance.now();
      $('#session').textContent = detail.session;
      $('#resumed').textContent = detail.resumed ? ', resumed' : '';
      $('#opened').textContent = asked === null ? '–' : `${Math.round(opened - asked)} ms`;
      asked = null;
    }
    log.take(detail, opened === null ? null : Math.round(performance.now() - opened));
  });
}
let phase = 'idle';
connection.addEventListener('state', ({ detail }) => {
  // A channel that was lost is asked for again; the first was by the button.
  if (detail.phase === 'connecting' || (!detail.transport && detail.phase !== 'idle')) asked ??= performance.now();
  if (detail.phase !== phase) say((phase = detail.phase));
  $('#phase').textContent = phase;
  $('.state').dataset.phase = phase;
  $('#transport').textContent = TRANSPORTS[detail.transport] ?? 'none';
});

// What makes events.
let task = null;
let address = null;
async function send(path) {
  try {
    const mine = (task = connection.upload(await sample(path)));
    const { blob } = await mine.done;
    if (address) URL.revokeObjectURL(address);
    $('#result').src = address = URL.createObjectURL(blob);
    $('#result').hidden = false;
    say('The cutout is here');
  } catch (problem) {
    say(problem.message || problem.code || 'That didn’t work');
  }
}
for (const button of document.querySelectorAll('[data-send]')) button.addEventListener('click', () => send(button.dataset.send));
$('#warm').addEventListener('click', () => connection.warm('manual').catch(() => say('The server can’t be reached')));
$('#cancel').addEventListener('click', () => (task ? task.cancel() : say('Nothing to cancel')));
$('#close').addEventListener('click', () => connection.close());

// The code names this server, and is copied as it stands.
for (const button of document.querySelectorAll('[data-copy]')) {
  const code = document.getElementById(button.dataset.copy);
  const { host, origin } = location;
  const sockets = `${origin.startsWith('https') ? 'wss' : 'ws'}://${host}`;
  colour(code, code.textContent.replaceAll('https://cut.example', origin).replaceAll('wss://cut.example', sockets));
  button.addEventListener('click', () => take(button, code.textContent, 'Copied'));
}

/** Copies, and says so on the button for a while. */
async function take(button, text, done) {
  try {
    await copy(text);
    say(done);
    button.dataset.done = '';
    setTimeout(() => delete button.dataset.done, 1500);
  } catch {
    say('The browser doesn’t let this page copy');
  }
}
