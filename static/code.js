// Colours for the code and the JSON on the developers' page: enough to read by, and no parser.

const TOKENS = new RegExp([
  /(?<name>"[^"\n]*"(?=:))/, // of a JSON field
  /(?<text>"(?:\\.|[^"\\\n])*"|'[^'\n]*')/,
  /(?<note>(?<=^|\s)\/\/.*)/,
  /(?<word>\b(?:import|from|const|await|curl)\b|<\/?[\w-]+|(?<=[\w"'])>)/,
  /(?<value>\b\d[\d.]*\b|\b(?:null|true|false)\b)/,
].map(({ source }) => source).join('|'), 'gm');

/** Fills an element with text, whose parts get a class by what they are. */
export function colour(element, text) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(TOKENS)) {
    const [kind] = Object.entries(match.groups).find(([, found]) => found !== undefined);
    const part = Object.assign(document.createElement('span'), { className: `is-${kind}`, textContent: match[0] });
    parts.push(text.slice(at, match.index), part);
    at = match.index + match[0].length;
  }
  element.replaceChildren(...parts, text.slice(at));
}
