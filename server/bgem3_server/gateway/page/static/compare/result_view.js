import { byId, element } from "../dom.js";
import { say } from "../language.js";
import * as numbers from "../numbers.js";
import { requestPrograms } from "../program_view.js";
import { PYTHON } from "./embedding_request.js";
import { renderHeatMap } from "./heat_map.js";
import { order, renderRanking } from "./ranking.js";
import { DEFAULT_WEIGHTS, renderWeights } from "./weights.js";
import { renderWords } from "./words.js";

/** The last answer, and how the person looks at it. */

const ANNOUNCE_AFTER_MILLISECONDS = 600;
const EXCERPT_CHARACTERS = 60;

const announcement = byId("announcement");
const passageChoice = byId("passage-choice");

/**
 * @typedef {object} Result
 * @property {import("./comparison.js").Comparison} comparison
 * @property {string} query
 * @property {{number: number, text: string}[]} passages
 * @property {{maxLength: number, truncate: boolean}} options
 * @property {import("../programs.js").Sent} sent
 * @property {{roundTripMilliseconds: number, serverMilliseconds: number | null}} times
 *
 * @type {Result | null}
 */
let result = null;
let weights = DEFAULT_WEIGHTS;
let sortedBy = "hybrid";
let chosenPosition = 0;
let announceTimer = 0;

/** @param {Result} newResult */
export function showResult(newResult) {
  result = newResult;
  [chosenPosition] = order(result, weights, "hybrid");
  renderResult();
  const [first] = numbersInOrder();
  announcement.textContent = say.announceDone(result.passages.length, say.thePassage(first));
}

/** Show the result that there is, if any; after a change of the language too. */
export function renderResult() {
  if (result === null) return;
  byId("introduction").hidden = true;
  byId("answer").hidden = false;
  renderFacts();
  renderWeights(weights, changeWeights);
  renderOrder();
  renderWords(result);
  renderPassageChoice();
  renderHeatMap(result, chosenPosition);
  byId("request").replaceChildren(...requestPrograms(result.sent, PYTHON));
}

/** Let the person change how the result is looked at. */
export function listenToChoices() {
  byId("reset").addEventListener("click", () => {
    renderWeights(DEFAULT_WEIGHTS, changeWeights);
    changeWeights(DEFAULT_WEIGHTS);
  });
  passageChoice.addEventListener("change", () => {
    chosenPosition = Number(passageChoice.value);
    renderHeatMap(result, chosenPosition);
  });
}

function renderFacts() {
  const { comparison, passages, options, times } = result;
  const facts = [
    say.facts(
      comparison.passages.length + 1,
      comparison.totalTokens,
      numbers.duration(times.roundTripMilliseconds),
    ),
  ];
  if (times.serverMilliseconds !== null) {
    facts.push(say.factsServer(numbers.duration(times.serverMilliseconds)));
  }
  byId("facts").textContent = facts.join(say.comma);
  const cut = comparison.passages.flatMap(({ text }, position) =>
    text.truncated ? [say.thePassage(passages[position].number)] : [],
  );
  if (comparison.query.truncated) cut.unshift(say.theQuery);
  const notice = element("p", { class: "notice" }, say.cut(cut, options.maxLength));
  byId("cuts").replaceChildren(...(cut.length ? [notice] : []));
}

function renderOrder() {
  renderRanking(result, weights, sortedBy, (kind) => {
    sortedBy = kind;
    renderOrder();
    announceOrder();
  });
}

function changeWeights(newWeights) {
  weights = newWeights;
  renderOrder();
  announceOrder();
}

function renderPassageChoice() {
  const options = result.passages.map(({ number, text }, position) => {
    const score = numbers.score(result.comparison.passages[position].scores.colbert);
    const excerpt =
      text.length > EXCERPT_CHARACTERS ? `${text.slice(0, EXCERPT_CHARACTERS)}…` : text;
    return element("option", { value: position }, `${number} · ${score} · ${excerpt}`);
  });
  passageChoice.replaceChildren(...options);
  passageChoice.value = String(chosenPosition);
}

function numbersInOrder() {
  return order(result, weights, sortedBy).map((position) => result.passages[position].number);
}

/** Once the slider rests: a screen reader must not speak at every step. */
function announceOrder() {
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => {
    announcement.textContent = say.announceOrder(numbersInOrder());
  }, ANNOUNCE_AFTER_MILLISECONDS);
}
