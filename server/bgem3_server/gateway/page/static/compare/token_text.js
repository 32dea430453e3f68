/**
 * Where each token stands in its text, so that a text can be shown as it was written.
 *
 * The tokenizer changes characters (NFKC: full-width forms, ligatures) and drops spaces. Tokens
 * that cannot be found again are shown as the tokenizer shows them.
 *
 * @param {string} text
 * @param {string[]} tokens Without the special tokens at both ends.
 * @returns {{before: string, shown: string}[]} For each token the space before it, and itself.
 */
export function placeTokens(text, tokens) {
  const { normalized, origin } = normalize(text);
  const places = [];
  let position = 0;
  let lost = 0;
  for (const token of tokens) {
    const start = skipSpaces(normalized, position);
    const found = token === "" ? -1 : normalized.indexOf(token, start);
    // Behind lost tokens, whose characters stand in between, look a little further ahead.
    const within = lost === 0 ? 0 : SEARCHED_CHARACTERS;
    if (found < 0 || found - start > within) {
      lost += 1;
      places.push({ before: "", shown: token });
      continue;
    }
    const end = found + token.length;
    const before = lost === 0 ? text.slice(origin[position], origin[found]) : "";
    places.push({ before, shown: text.slice(origin[found], origin[end]) });
    position = end;
    lost = 0;
  }
  return places;
}

/** A token of nothing but a space, which is what some tokenizers begin a text with, made visible. */
export function visibleToken(token) {
  return token.trim() === "" ? "␣" : token;
}

const SEARCHED_CHARACTERS = 24;

/** The text in NFKC, and for each of its positions the one in the original. */
function normalize(text) {
  const origin = [];
  let normalized = "";
  let position = 0;
  for (const character of text) {
    const form = character.normalize("NFKC");
    for (let index = 0; index < form.length; index += 1) origin.push(position);
    normalized += form;
    position += character.length;
  }
  origin.push(position);
  return { normalized, origin };
}

function skipSpaces(text, position) {
  let next = position;
  while (next < text.length && /\s/.test(text[next])) next += 1;
  return next;
}
