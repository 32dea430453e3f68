import { byId, element } from "../dom.js";
import { currentKey } from "../key.js";
import { say } from "../language.js";
import { describeCollection, listCollections } from "./collections.js";

/** The list to choose a collection from, with what is in each. */

// Each is a question to the store, which goes through all of a collection's documents for it.
const DESCRIBED_AT_MOST = 20;

const select = byId("collection");
const about = byId("collection-about");

/** @type {string[] | null} Null before the server has answered. */
let names = null;
/** @type {Map<string, import("./collections.js").About | Error>} */
let abouts = new Map();
/** What was asked for while there was no list yet. */
let wanted = "";
let listening = () => {};

/** @param {() => void} changed Called when another one is chosen, or more is known of it. */
export function startChooser(changed) {
  listening = changed;
  select.addEventListener("change", () => {
    wanted = select.value;
    describe([wanted]);
    showAbout();
  });
}

/** @returns {string[] | null} Null before the server has answered. */
export function collectionNames() {
  return names;
}

/** The name of the chosen one; empty for none. */
export function chosenCollection() {
  return names?.includes(wanted) ? wanted : "";
}

/** What was asked for, be it there or not. */
export function wantedCollection() {
  return wanted;
}

/** What is known of the chosen one. */
export function chosenAbout() {
  const known = abouts.get(chosenCollection());
  return known instanceof Error ? undefined : known;
}

/** @param {string} name It may be that the server has none of it. */
export function chooseCollection(name) {
  wanted = name;
  renderChooser();
}

/**
 * Ask the server for the list, and then for what is in each.
 *
 * @throws {ServerProblem | NetworkProblem | AnswerProblem}
 */
export async function loadCollections() {
  names = await listCollections(currentKey());
  abouts = new Map();
  if (wanted === "" && names.length === 1) [wanted] = names;
  renderChooser();
  describe([...new Set([chosenCollection(), ...names.slice(0, DESCRIBED_AT_MOST)])]);
}

/** Show the list; after a change of the language too. */
export function renderChooser() {
  const chosen = chosenCollection();
  const options = (names ?? []).map((name) => element("option", { value: name }, label(name)));
  if (chosen === "") options.unshift(element("option", { value: "" }, say.chooseCollection));
  select.replaceChildren(...options);
  select.value = chosen;
  showAbout();
}

/** One after the other: the store has others to serve. */
async function describe(asked) {
  const listed = abouts;
  for (const name of asked) {
    if (name === "" || listed.has(name)) continue;
    const answer = await describeCollection(name, currentKey()).catch((problem) => problem);
    if (listed !== abouts) return; // the list was loaded anew meanwhile
    listed.set(name, answer);
    renderChooser();
  }
}

function label(name) {
  const known = abouts.get(name);
  return !known || known instanceof Error ? name : say.collectionLabel(name, known);
}

function showAbout() {
  const known = abouts.get(chosenCollection());
  if (known instanceof Error) about.textContent = known.message;
  else about.textContent = known ? say.collectionAbout(known) : "";
  listening();
}
