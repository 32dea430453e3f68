import { button, element } from "../dom.js";
import { say } from "../language.js";
import * as numbers from "../numbers.js";
import { excerpt } from "./excerpt.js";
import { markedText } from "./marked_text.js";
import { scoreTable } from "./score_table.js";
import { sharedTokens } from "./shared_tokens.js";

/** One hit: how good, where it stands, the passage, and why it is there. */

const EXCERPT_CHARACTERS = 480;

/**
 * @param {object} hit As the server answers it.
 * @param {object} context
 * @param {{body: object, mode: string, fusion: string}} context.asked How was searched.
 * @param {number} context.largest The best score of all hits.
 * @param {boolean} context.open Whether the reasons are shown.
 * @param {(hit: object) => void} context.compare
 */
export function hitView(hit, { asked, largest, open, compare }) {
  const heading = `hit-${hit.rank}`;
  return element(
    "li",
    {},
    element(
      "article",
      { class: "hit", "data-rank": hit.rank, "aria-labelledby": heading },
      element(
        "h3",
        { id: heading },
        element("span", { class: "number" }, `${hit.rank} `),
        element("bdi", {}, hit.title || hit.source),
      ),
      scoreLine(hit, asked, largest),
      element("p", { class: "stands" }, ...standsAt(hit)),
      ...passage(hit, () => compare(hit)),
      why(hit, asked, open),
    ),
  );
}

function scoreLine({ score, scores }, { mode, fusion }, largest) {
  const bar = element("span", { class: "share", "aria-hidden": "true" });
  bar.style.setProperty("--share", largest > 0 ? Math.max(score, 0) / largest : 0);
  // Sums of reciprocal ranks differ in the third digit.
  const shown = mode === "hybrid" && fusion === "rrf" ? numbers.precise(score) : numbers.score(score);
  const each = ["dense", "sparse", "colbert"]
    .filter((name) => name in scores)
    .map((name) => `${say[name]} ${numbers.score(scores[name])}`);
  return element(
    "p",
    { class: "hit-score" },
    element("span", { class: "visually-hidden" }, `${say.score} `),
    element("strong", { class: "value" }, shown),
    bar,
    element("span", { class: "hint" }, each.join(" · ")),
  );
}

/** File, page and headings; what a document says must not reach into what is beside it. */
function standsAt({ title, source, page, headings }) {
  const places = [
    ...(title ? [element("bdi", {}, source)] : []),
    ...(page === null ? [] : [say.page(page)]),
    // The title is often the first heading too.
    ...headings
      .filter((heading, index) => index > 0 || heading !== title)
      .map((heading) => element("bdi", {}, heading)),
  ];
  return places.flatMap((place, index) => (index ? [" › ", place] : [place]));
}

/** The passage, in part at first where it is long, and what can be done with it. */
function passage({ rank, text, marks }, compare) {
  const characters = [...text];
  const part = excerpt(characters, marks, EXCERPT_CHARACTERS);
  const place = element("p", { class: "found", dir: "auto" });
  const show = (shown) => place.replaceChildren(...markedText(characters, marks, shown));
  show(part);
  const actions = [
    button({ class: "quiet compare-hit", "aria-label": say.compareHit(rank) }, say.compareOne, compare),
  ];
  const whole = { begin: 0, end: characters.length };
  if (part.begin > 0 || part.end < characters.length) {
    const more = button(
      { class: "quiet", "aria-label": say.wholeOf(rank), "aria-expanded": false },
      say.whole,
      () => {
        const expand = more.getAttribute("aria-expanded") === "false";
        more.setAttribute("aria-expanded", String(expand));
        show(expand ? whole : part);
      },
    );
    actions.unshift(more);
  }
  return [place, element("p", { class: "actions" }, ...actions)];
}

function why(hit, asked, open) {
  return element(
    "details",
    { class: "why", open },
    element(
      "summary",
      {},
      say.why,
      element("span", { class: "visually-hidden" }, ` ${say.ofHit(hit.rank)}`),
    ),
    element(
      "div",
      { class: "reasons" },
      element("div", { class: "table-scroller" }, scoreTable(hit, asked)),
      sharedTokens(hit),
      facts(hit),
    ),
  );
}

/** Where in its document the passage is, and what is known of that. */
function facts({ position, begin, end, metadata }) {
  const entries = [
    [say.position, say.positionOf(position + 1, begin, end)],
    ...Object.entries(metadata).map(([name, value]) => [name, String(value)]),
  ];
  return element(
    "dl",
    { class: "metadata" },
    ...entries.map(([name, value]) =>
      element(
        "div",
        {},
        element("dt", {}, element("bdi", {}, name)),
        element("dd", {}, element("bdi", {}, value)),
      ),
    ),
  );
}
