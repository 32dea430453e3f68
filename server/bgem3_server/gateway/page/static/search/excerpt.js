/** The part of a passage that shows best why it was found. */

// How far in front of the first mark a sentence may begin, as a share of the size.
const LEAD = 0.4;
const SENTENCE_ENDS = new Set([..."。！？；\n"]);
const SENTENCE_ENDS_BEFORE_SPACE = new Set([...".!?"]);
const isSpace = (character) => /\s/.test(character);

/**
 * @typedef {{begin: number, end: number, weight: number}} Mark
 * @param {string[]} characters Of the passage.
 * @param {Mark[]} marks Its matched words, in order, by characters.
 * @param {number} size Of the part, in characters.
 * @returns {{begin: number, end: number}}
 */
export function excerpt(characters, marks, size) {
  if (characters.length <= size) return { begin: 0, end: characters.length };
  const begin = naturalBegin(characters, bestBegin(characters, marks, size), size);
  const end = Math.min(begin + size, characters.length);
  return { begin, end: end < characters.length ? wordEnd(characters, begin, end) : end };
}

/** Where the mark begins from which the following weigh most within the size. */
function bestBegin(characters, marks, size) {
  const room = size * (1 - LEAD);
  let best = 0;
  let bestWeight = 0;
  marks.forEach((first, number) => {
    // A word that is there ten times is no better than all words once.
    const weights = new Map();
    for (const mark of marks.slice(number)) {
      if (mark.end > first.begin + room) break;
      weights.set(characters.slice(mark.begin, mark.end).join(""), mark.weight);
    }
    const weight = [...weights.values()].reduce((sum, value) => sum + value, 0);
    if (weight > bestWeight) [best, bestWeight] = [first.begin, weight];
  });
  return best;
}

/** The begin of the sentence, or else of a word, some way in front of a place. */
function naturalBegin(characters, at, size) {
  const earliest = Math.max(0, at - Math.floor(size * LEAD));
  if (earliest === 0) return 0;
  for (let index = at; index > earliest; index -= 1) {
    const before = characters[index - 1];
    if (SENTENCE_ENDS.has(before)) return index;
    if (SENTENCE_ENDS_BEFORE_SPACE.has(before) && isSpace(characters[index])) return index + 1;
  }
  for (let index = earliest; index < at; index += 1) {
    if (isSpace(characters[index])) return index + 1;
  }
  return earliest;
}

/** The end of the last whole word, where one ends in the last part. */
function wordEnd(characters, begin, end) {
  for (let index = end; index > end - (end - begin) / 5; index -= 1) {
    if (isSpace(characters[index])) return index;
  }
  return end;
}
