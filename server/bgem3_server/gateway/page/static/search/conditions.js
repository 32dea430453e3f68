import { byId, element } from "../dom.js";

/** The conditions that all must hold of a passage: one a line. */

const box = byId("where");

/** @returns {string[]} Lines that hold something. */
export function readConditions() {
  return lines().map(({ text }) => text);
}

export function writeConditions(conditions) {
  box.value = conditions.join("\n");
}

/**
 * What to say of one that the server cannot read, with the place where; that is selected too.
 *
 * @param {string} condition As it was sent.
 * @param {{index: number, position: number, message: string}} details `position` in characters.
 * @returns {(Node | string)[]}
 */
export function conditionProblem(condition, { index, position, message }) {
  const right = [...condition].slice(0, position).join("");
  const wrong = condition.slice(right.length);
  const line = lines()[index];
  if (line?.text === condition) {
    box.setSelectionRange(line.begin + right.length, line.begin + condition.length);
  }
  // The server's other lines point at the place too, for terminals.
  const [reason] = message.split("\n");
  return [
    element("span", { lang: "en" }, reason),
    element("code", {}, right, element("mark", {}, wrong || "␣")),
  ];
}

function lines() {
  let begin = 0;
  return box.value.split("\n").flatMap((text) => {
    const line = { text, begin };
    begin += text.length + 1;
    return text.trim() === "" ? [] : [line];
  });
}
