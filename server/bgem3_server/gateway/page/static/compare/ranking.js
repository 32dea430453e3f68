import { button, byId, element } from "../dom.js";
import { say } from "../language.js";
import * as numbers from "../numbers.js";
import { hybridScore, ranks } from "./scores.js";

/** The table of scores and ranks, sorted by one of them. */

// More than the two lines that are shown hold: laying out whole passages would make the sliders slow.
const EXCERPT_CHARACTERS = 240;
const KINDS = ["hybrid", "dense", "sparse", "colbert"];
const place = byId("ranking");

/**
 * @typedef {{dense: number, sparse: number, colbert: number}} Weights
 * @param {{comparison: import("./comparison.js").Comparison, passages: {number: number, text: string}[]}} result
 * @param {Weights} weights
 * @param {"hybrid" | "dense" | "sparse" | "colbert"} kind What to sort by.
 * @returns {number[]} Positions of the passages, best first.
 */
export function order({ comparison }, weights, kind) {
  const scores = comparison.passages.map((passage) => scoreOf(passage, weights, kind));
  return scores
    .map((_, position) => position)
    .sort((a, b) => (scores[b] || 0) - (scores[a] || 0) || a - b);
}

/**
 * @param {(kind: string) => void} choose Called with what the person wants to sort by.
 */
export function renderRanking(result, weights, kind, choose) {
  const tops = rowTops();
  const columns = Object.fromEntries(
    KINDS.map((name) => {
      const scores = result.comparison.passages.map((passage) => scoreOf(passage, weights, name));
      return [name, { scores, ranks: ranks(scores), largest: Math.max(...scores, 0) }];
    }),
  );
  const rows = order(result, weights, kind).map((position) =>
    passageRow(result, position, columns, kind),
  );
  const header = place.querySelector("thead") ?? element("thead", { role: "rowgroup" });
  const body = element("tbody", { role: "rowgroup" }, ...rows);
  renderHeader(header, kind, choose);
  place.querySelector("tbody")?.replaceWith(body);
  if (!body.isConnected) {
    // Roles are given because narrow screens lay the rows out as grids, which may lose them.
    place.replaceChildren(
      element(
        "table",
        { class: "ranking", role: "table" },
        element("caption", { class: "visually-hidden" }),
        header,
        body,
      ),
    );
  }
  place.querySelector("caption").textContent = say.rankingCaption;
  slideRows(tops);
}

function scoreOf({ scores }, weights, kind) {
  return kind === "hybrid" ? hybridScore(scores, weights) : scores[kind];
}

function renderHeader(header, kind, choose) {
  const focused = header.contains(document.activeElement)
    ? document.activeElement.dataset.kind
    : null;
  const cells = KINDS.map((name) => {
    const sorted = name === kind;
    const sort = button(
      { "data-kind": name, "aria-label": say.sortBy(say[name]), "aria-pressed": sorted },
      say[name],
      () => choose(name),
    );
    return element(
      "th",
      { scope: "col", role: "columnheader", "aria-sort": sorted ? "descending" : null },
      sort,
    );
  });
  header.replaceChildren(
    element(
      "tr",
      { role: "row" },
      element("th", { scope: "col", role: "columnheader" }, say.passage),
      ...cells,
      element("th", { scope: "col", role: "columnheader", class: "count" }, say.tokens),
    ),
  );
  if (focused) header.querySelector(`[data-kind="${focused}"]`).focus();
}

function passageRow({ comparison, passages }, position, columns, kind) {
  const { number, text } = passages[position];
  const { tokens } = comparison.passages[position].text;
  return element(
    "tr",
    { role: "row", "data-passage": number },
    element(
      "th",
      { scope: "row", role: "rowheader" },
      element(
        "span",
        { class: "passage" },
        element("span", { class: "number" }, String(number)),
        element("span", { class: "excerpt", title: text }, text.slice(0, EXCERPT_CHARACTERS)),
      ),
    ),
    ...KINDS.map((name) => scoreCell(columns[name], position, name, name === kind)),
    element("td", { role: "cell", class: "count", "data-label": say.tokens }, String(tokens.length)),
  );
}

function scoreCell({ scores, ranks: places, largest }, position, name, sorted) {
  const value = scores[position];
  const bar = element("span", { class: "bar", "aria-hidden": "true" });
  const share = largest > 0 ? Math.max(value, 0) / largest : 0;
  bar.style.setProperty("--share", Number.isNaN(share) ? 0 : share);
  const rank = Number.isNaN(value)
    ? []
    : [
        element(
          "span",
          { class: "rank" },
          element("span", { "aria-hidden": "true" }, `#${places[position]}`),
          element("span", { class: "visually-hidden" }, say.rank(places[position])),
        ),
      ];
  return element(
    "td",
    {
      role: "cell",
      class: `score${sorted ? " sorted" : ""}${places[position] === 1 ? " first" : ""}`,
      "data-kind": name,
      "data-label": say[name],
    },
    element("span", { class: "value" }, numbers.score(value)),
    " ",
    ...rank,
    bar,
  );
}

const bodyRows = () => [...place.querySelectorAll("tbody tr")];

function rowTops() {
  return new Map(bodyRows().map((row) => [row.dataset.passage, row.offsetTop]));
}

/** Rows that changed places slide there, so that the eye can follow. */
function slideRows(tops) {
  if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const row of bodyRows()) {
    const moved = (tops.get(row.dataset.passage) ?? row.offsetTop) - row.offsetTop;
    if (moved) {
      row.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], {
        duration: 180,
        easing: "ease-out",
      });
    }
  }
}
