import { byId } from "../dom.js";
import { clearInvalid, markInvalid } from "../fields.js";
import { say } from "../language.js";
import { passageBox, passageTexts, setPassages } from "./passages.js";

/** What the person has filled in. */

const LONGEST_TOKENS = 8192;
const NOTICE_ID = "notice";

const queryBox = byId("query");
const maxLengthBox = byId("max-length");
const truncateBox = byId("truncate");

/**
 * @typedef {object} Input
 * @property {string} query
 * @property {{number: number, text: string}[]} passages Those that are not empty, by the numbers
 *   of their boxes.
 * @property {{maxLength: number, truncate: boolean}} options
 *
 * @param {import("../notice.js").Notice} notice Says what is missing.
 * @returns {Input | null} Null, with the reason shown, when something is missing.
 */
export function readInput(notice) {
  const query = queryBox.value;
  const passages = passageTexts()
    .map((text, index) => ({ number: index + 1, text }))
    .filter(({ text }) => text.trim() !== "");
  const maxLength = maxLengthBox.valueAsNumber;
  const refuse = (field, reason) => {
    notice.showText(reason);
    markInvalid(field, NOTICE_ID);
    field.focus();
    return null;
  };
  clearInvalid(queryBox.form);
  if (query.trim() === "") return refuse(queryBox, say.queryMissing);
  if (passages.length === 0) return refuse(passageBox(1), say.passageMissing);
  if (!Number.isInteger(maxLength) || maxLength < 1 || maxLength > LONGEST_TOKENS) {
    return refuse(maxLengthBox, say.maxLengthWrong);
  }
  return { query, passages, options: { maxLength, truncate: truncateBox.checked } };
}

/** @param {{query: string, passages: string[]}} texts */
export function fillIn({ query, passages }) {
  queryBox.value = query;
  setPassages(passages);
  clearInvalid(queryBox.form);
}

/** Mark the query, or the passage of this number, as what the server refuses. */
export function markText(number) {
  markInvalid(number === 0 ? queryBox : passageBox(number), NOTICE_ID);
}

export function askForKey() {
  const keyBox = byId("key");
  markInvalid(keyBox, NOTICE_ID);
  keyBox.focus();
}
