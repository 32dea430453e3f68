import { button, byId, element } from "../dom.js";
import { say } from "../language.js";
import * as numbers from "../numbers.js";
import { requestPrograms } from "../program_view.js";
import { hitView } from "./hit_view.js";
import { PYTHON } from "./search_request.js";
import { stageTable } from "./stages.js";

/** The last answer. */

const COMPARED_AT_MOST = 5;
const place = byId("search-answer");

/**
 * @typedef {object} Result
 * @property {object} answer As the server gives it.
 * @property {import("../programs.js").Sent} sent
 * @property {{roundTripMilliseconds: number, serverMilliseconds: number | null}} times
 *
 * @type {Result | null}
 */
let result = null;
let compareTexts = () => {};

/** @param {(query: string, passages: string[]) => void} compare Shows texts in the other view. */
export function startResult(compare) {
  compareTexts = compare;
}

/** @param {Result | null} newResult Null for none. */
export function showResult(newResult) {
  result = newResult;
  place.replaceChildren();
  renderResult();
  const hits = result?.answer.hits;
  byId("search-announcement").textContent = hits
    ? say.announceHits(hits.length, hits[0]?.title || hits[0]?.source)
    : "";
}

/** Show the result that there is, if any; after a change of the language too. */
export function renderResult() {
  byId("search-introduction").hidden = result !== null;
  place.hidden = result === null;
  if (result === null) return;
  const { hits, milliseconds } = result.answer;
  const opened = openReasons();
  place.replaceChildren(
    section("hits", say.hits, factLine(), ...(hits.length ? hitList(opened) : [nothingFound()])),
    section("stages", say.stagesHeading, stageTable(milliseconds)),
    section(
      "search-request",
      say.request,
      element("p", { class: "hint" }, say.searchRequestHint),
      element("div", { class: "programs" }, ...requestPrograms(result.sent, PYTHON)),
    ),
  );
}

function section(id, heading, ...children) {
  const headingId = `${id}-heading`;
  return element(
    "section",
    { id, "aria-labelledby": headingId },
    element("h2", { id: headingId }, heading),
    ...children,
  );
}

/** The ranks of the hits whose reasons are shown: the first one's at the beginning. */
function openReasons() {
  if (place.childElementCount === 0) return [1];
  return [...place.querySelectorAll(".hit:has(details[open])")].map((hit) => Number(hit.dataset.rank));
}

function factLine() {
  const { answer, times } = result;
  const facts = [
    say.searchFacts(answer.hits.length, answer.candidates),
    ...(answer.reranked ? [say.reranked(answer.reranked)] : []),
    say.roundTrip(numbers.duration(times.roundTripMilliseconds)),
  ];
  if (times.serverMilliseconds !== null) {
    facts.push(say.factsServer(numbers.duration(times.serverMilliseconds)));
  }
  return element("p", { class: "facts" }, facts.join(say.comma));
}

function nothingFound() {
  const { where } = result.sent.body;
  return element("p", { class: "notice" }, where ? say.nothingFoundWhere : say.nothingFound);
}

function hitList(opened) {
  const { answer, sent } = result;
  const { query, mode, fusion, hits } = answer;
  const context = {
    asked: { body: sent.body, mode, fusion },
    largest: Math.max(...hits.map(({ score }) => score)),
    compare: (hit) => compareTexts(query, [hit.text]),
  };
  const best = hits.slice(0, COMPARED_AT_MOST).map(({ text }) => text);
  return [
    ...(best.length > 1
      ? [
          element(
            "p",
            { class: "actions" },
            button({ class: "quiet", id: "compare-best" }, say.compareBest(best.length), () =>
              compareTexts(query, best),
            ),
          ),
        ]
      : []),
    element(
      "ol",
      { class: "hits" },
      ...hits.map((hit) => hitView(hit, { ...context, open: opened.includes(hit.rank) })),
    ),
  ];
}
