/** Numbers as people read them; the same in both languages. */

/** A score: three digits behind the point; a dash where there is none. */
export function score(value) {
  return Number.isNaN(value) ? "–" : value.toFixed(3);
}

/** A similarity, short enough for a cell of the heat map. */
export function similarity(value) {
  return value.toFixed(2).replace(/^(-?)0\./, "$1.");
}

export function duration(milliseconds) {
  return milliseconds < 1000
    ? `${Math.round(milliseconds)} ms`
    : `${(milliseconds / 1000).toFixed(2)} s`;
}

/** A score with the digits that sums need to be followed. */
export function precise(value) {
  return value.toFixed(4);
}

/** A number of things, in English. */
export function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
