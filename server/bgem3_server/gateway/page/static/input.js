import { byId } from "./dom.js";
import { say } from "./language.js";
import { showText } from "./notice.js";
import { passageBox, passageTexts, setPassages } from "./passages.js";
import { recall, remember } from "./storage.js";

/** What the person has filled in. */

const KEY_STORED_AS = "bgem3.key";
const LONGEST_TOKENS = 8192;

const queryBox = byId("query");
const maxLengthBox = byId("max-length");
const truncateBox = byId("truncate");
const keyBox = byId("key");

/**
 * @typedef {object} Input
 * @property {string} query
 * @property {{number: number, text: string}[]} passages Those that are not empty, by the numbers
 *   of their boxes.
 * @property {{maxLength: number, truncate: boolean}} options
 * @property {string} key Empty where none is given.
 *
 * @returns {Input | null} Null, with the reason shown at its field, when something is missing.
 */
export function readInput() {
  const query = queryBox.value;
  const passages = passageTexts()
    .map((text, index) => ({ number: index + 1, text }))
    .filter(({ text }) => text.trim() !== "");
  const maxLength = maxLengthBox.valueAsNumber;
  markInvalid(null);
  if (query.trim() === "") return refuse(queryBox, say.queryMissing);
  if (passages.length === 0) return refuse(passageBox(1), say.passageMissing);
  if (!Number.isInteger(maxLength) || maxLength < 1 || maxLength > LONGEST_TOKENS) {
    return refuse(maxLengthBox, say.maxLengthWrong);
  }
  const options = { maxLength, truncate: truncateBox.checked };
  return { query, passages, options, key: keyBox.value.trim() };
}

function refuse(field, reason) {
  showText(reason);
  markInvalid(field);
  field.focus();
  return null;
}

/** @param {{query: string, passages: string[]}} example */
export function fillIn({ query, passages }) {
  queryBox.value = query;
  setPassages(passages);
  markInvalid(null);
}

/** Mark the query, or the passage of this number, as what the server refuses. */
export function markText(number) {
  markInvalid(number === 0 ? queryBox : passageBox(number));
}

export function askForKey() {
  markInvalid(keyBox);
  keyBox.focus();
}

/** Keep the key as long as the tab, and no longer. */
export function rememberKey() {
  keyBox.value = recall("sessionStorage", KEY_STORED_AS) ?? "";
  keyBox.addEventListener("input", () => {
    remember("sessionStorage", KEY_STORED_AS, keyBox.value.trim());
  });
}

/** Mark one field as the wrong one, and no other. */
function markInvalid(field) {
  for (const marked of document.querySelectorAll("[aria-invalid]")) {
    marked.removeAttribute("aria-invalid");
    marked.removeAttribute("aria-errormessage");
  }
  if (field === null) return;
  field.closest("details")?.setAttribute("open", "");
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-errormessage", "notice");
}
