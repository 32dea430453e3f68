import { byId } from "../dom.js";
import { clearInvalid, markInvalid } from "../fields.js";
import { say } from "../language.js";
import { chooseCollection, chosenCollection, wantedCollection } from "./chooser.js";
import { conditionProblem, readConditions, writeConditions } from "./conditions.js";
import { readOptions, writeOptions } from "./options.js";

/** What the person has filled in, and what is wrong with it. */

const form = byId("search-form");
const queryBox = byId("search-query");
const collectionBox = byId("collection");

/**
 * @returns {{body: object, link: string} | null} The request, and the link that leads to it; null,
 *   with the reason shown at its field, when something is missing or wrong.
 */
export function readInput() {
  const collection = chosenCollection();
  const query = queryBox.value;
  if (collection === "") {
    const gone = wantedCollection();
    showProblemAt(collectionBox, gone ? say.collectionGone(gone) : say.collectionMissing);
    return null;
  }
  if (query.trim() === "") {
    showProblemAt(queryBox, say.queryMissing);
    return null;
  }
  const options = readOptions();
  if (options.reason) {
    showProblemAt(options.field, options.reason);
    return null;
  }
  const where = readConditions();
  return {
    body: {
      query,
      collection,
      ...options.values,
      ...(where.length && { where }),
      explain: true,
    },
    link: new URLSearchParams([
      ["collection", collection],
      ["q", query],
      ...Object.entries(options.texts),
      ...where.map((condition) => ["where", condition]),
    ]).toString(),
  };
}

/** @param {URLSearchParams} parameters Of a link. */
export function fillIn(parameters) {
  clearProblems();
  if (parameters.has("collection")) chooseCollection(parameters.get("collection"));
  queryBox.value = parameters.get("q") ?? "";
  writeOptions(parameters);
  writeConditions(parameters.getAll("where"));
  const plain = [...parameters.keys()].every((name) => ["collection", "q"].includes(name));
  if (!plain) byId("search-options").open = true;
}

/**
 * Show at its field what the server has refused.
 *
 * @param {import("../server.js").ServerProblem["details"]} details
 * @param {{collection: string, where?: string[]}} body As it was sent.
 * @returns {boolean} Whether there is such a field.
 */
export function showRefusal(details, { collection, where }) {
  if (details.field === "where" && where?.[details.index] !== undefined) {
    showProblemAt(byId("where"), ...conditionProblem(where[details.index], details));
    return true;
  }
  if (details.code === "collection_not_found") {
    showProblemAt(collectionBox, say.collectionGone(collection));
    return true;
  }
  if (details.code === "text_too_long") {
    showProblemAt(queryBox, say.queryTooLong);
    return true;
  }
  return false;
}

export function askForKey(noticeId) {
  const keyBox = byId("search-key");
  markInvalid(keyBox, noticeId);
  keyBox.focus();
}

/** @param {...(Node | string)} reason */
function showProblemAt(field, ...reason) {
  const place = byId(`${field.id}-problem`);
  markInvalid(field, place.id);
  place.replaceChildren(...reason);
  field.focus();
}

/** Forget what was wrong. */
export function clearProblems() {
  clearInvalid(form);
  for (const place of form.querySelectorAll(".problem[role='alert']")) place.replaceChildren();
}
