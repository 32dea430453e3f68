import { element } from "../dom.js";

/**
 * A part of a passage with its matched words marked; the more a word weighs, the stronger.
 *
 * The server counts characters; JavaScript's strings have two units for some, so a passage comes
 * as an array of its characters.
 *
 * @param {string[]} characters
 * @param {import("./excerpt.js").Mark[]} marks In order.
 * @param {{begin: number, end: number}} part
 * @returns {(Node | string)[]}
 */
export function markedText(characters, marks, { begin, end }) {
  const textOf = (from, to) => characters.slice(from, to).join("");
  const largest = Math.max(...marks.map(({ weight }) => weight));
  const pieces = [];
  let position = begin;
  for (const mark of marks) {
    const from = Math.max(mark.begin, position);
    const to = Math.min(mark.end, end);
    if (from >= to) continue;
    const matched = element("mark", {}, textOf(from, to));
    matched.style.setProperty("--level", mark.weight / largest);
    pieces.push(textOf(position, from), matched);
    position = to;
  }
  return [
    ...(begin > 0 ? ["… "] : []),
    ...pieces,
    textOf(position, end),
    ...(end < characters.length ? [" …"] : []),
  ];
}
