import { byId } from "../dom.js";
import { currentKey } from "../key.js";
import { say } from "../language.js";
import { isAboutKey, Notice } from "../notice.js";
import { AnswerProblem, ask, readJson, ServerProblem } from "../server.js";
import { Submission } from "../submission.js";
import { goTo } from "../views.js";
import { collectionNames, loadCollections, renderChooser, startChooser } from "./chooser.js";
import { askForKey, clearProblems, fillIn, readInput, showRefusal } from "./input.js";
import { renderOptions, startOptions } from "./options.js";
import { renderResult, showResult, startResult } from "./result_view.js";
import { PATH } from "./search_request.js";
import { hideSetup, showSetup } from "./setup.js";

/** The view that searches a collection. */

const notice = new Notice(byId("search-notice"));
let submission;
/** The request that was sent last. */
let body = null;
/** The parameters of the address that belong to what is shown; null before the first search. */
let shownLink = null;
/** Why there is nothing to search in; null where there is something, or nobody knows yet. */
let lack = null;

/** @param {(query: string, passages: string[]) => void} compareTexts Shows them in the other view. */
export function startSearch(compareTexts) {
  startResult(compareTexts);
  startOptions();
  startChooser(renderOptions);
  submission = new Submission({
    form: byId("search-form"),
    submit: byId("search-button"),
    stop: byId("search-stop"),
    results: byId("search-results"),
    notice,
    label: (running) => (running ? say.searching : say.search),
    work: search,
    tell: tellProblem,
  });
  byId("reload").addEventListener("click", lookForCollections);
  byId("search-key").addEventListener("change", () => {
    if (collectionNames() === null) lookForCollections();
  });
}

/** After a change of the language. */
export function renderSearch() {
  byId("where-hint").textContent = say.whereHint;
  renderChooser();
  clearProblems();
  submission.render();
  notice.clear();
  renderSetup();
  renderResult();
}

/**
 * Show what an address leads to.
 *
 * @param {URLSearchParams} parameters
 */
export function openSearch(parameters) {
  const link = parameters.toString();
  if (link !== (shownLink ?? "")) {
    fillIn(parameters);
    shownLink = link;
    showResult(null);
    if (parameters.get("q")?.trim()) {
      submission.run({ replacing: true });
      return;
    }
    submission.cancel();
  }
  if (collectionNames() === null) lookForCollections();
}

async function search(signal, { replacing = false } = {}) {
  clearProblems();
  if (collectionNames() === null) await load();
  signal.throwIfAborted();
  if (lack) return;
  const input = readInput();
  if (input === null) return;
  ({ body } = input);
  shownLink = input.link;
  goTo("search", shownLink, replacing);
  const key = currentKey();
  const { bytes, ...times } = await ask(PATH, { body, key, signal });
  const answer = readJson(bytes);
  if (!Array.isArray(answer.hits)) throw new AnswerProblem("it has no list of hits");
  showResult({ answer, times, sent: { path: PATH, body, withKey: key !== "" } });
}

/** Load the list of collections, and say what is wrong where it cannot be had. */
async function lookForCollections() {
  notice.clear();
  clearProblems();
  try {
    await load();
  } catch (problem) {
    tellProblem(problem);
  }
}

async function load() {
  lack = null;
  try {
    await loadCollections();
    if (collectionNames().length === 0) lack = "noCollection";
  } catch (problem) {
    if (problem.details?.code !== "no_store") throw problem;
    lack = "noStore";
  } finally {
    renderSetup();
  }
}

function renderSetup() {
  byId("search-form").hidden = lack !== null;
  byId("search-results").hidden = lack !== null;
  if (lack) showSetup(lack, lookAgain);
  else hideSetup();
}

async function lookAgain() {
  await lookForCollections();
  // The button that had the focus is gone.
  byId(lack ? "look-again" : "search-query").focus();
}

/** Say what went wrong, at the field that it is about where there is one. */
function tellProblem(problem) {
  if (problem instanceof ServerProblem && body && showRefusal(problem.details, body)) return;
  notice.showProblem(problem);
  if (isAboutKey(problem)) askForKey("search-notice");
}
