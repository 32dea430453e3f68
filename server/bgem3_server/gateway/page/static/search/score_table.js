import { element } from "../dom.js";
import { say } from "../language.js";
import * as numbers from "../numbers.js";

/** Where a hit's score comes from: a row for each representation, and the sum of their parts. */

const REPRESENTATIONS = ["dense", "sparse", "colbert"];

/**
 * @param {object} hit As the server answers it.
 * @param {{body: object, mode: string, fusion: string}} asked How was searched.
 */
export function scoreTable(hit, asked) {
  const weighted = weightedName(asked);
  const heads = [say.place, say.score, ...(weighted ? [weighted] : []), say.weight, say.part];
  const parts = hit.explanation.parts;
  const rows = REPRESENTATIONS.filter((name) => name in hit.scores).map((name) =>
    row(name, hit, parts[name], weighted !== null),
  );
  return element(
    "table",
    { class: "matches parts" },
    element("caption", { class: "visually-hidden" }, say.partsCaption(hit.rank)),
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        element("td", {}),
        ...heads.map((head) => element("th", { scope: "col" }, head)),
      ),
    ),
    element("tbody", {}, ...rows),
    element(
      "tfoot",
      {},
      element(
        "tr",
        {},
        element("th", { scope: "row", colspan: heads.length }, say.sum),
        element("td", { class: "product" }, numbers.precise(hit.score)),
      ),
    ),
  );
}

function row(name, { rank, ranks, scores, score }, part, hasWeighted) {
  const cell = (text) => element("td", {}, text);
  const bar = element("span", { class: "share", "aria-hidden": "true" });
  const amount = part ? part.value * part.weight : 0;
  bar.style.setProperty("--share", score > 0 ? Math.max(amount, 0) / score : 0);
  return element(
    "tr",
    { "data-kind": name, "data-hit": rank },
    element("th", { scope: "row" }, say[name]),
    cell(name in ranks ? String(ranks[name]) : "–"),
    cell(numbers.precise(scores[name])),
    ...(hasWeighted ? [cell(part ? numbers.precise(part.value) : "–")] : []),
    cell(part ? String(Number(part.weight.toPrecision(3))) : "–"),
    element("td", { class: "product" }, part ? numbers.precise(amount) : "–", bar),
  );
}

/** What is weighted instead of the score; null where it is the score itself. */
function weightedName({ body, mode, fusion }) {
  if (mode === "hybrid" && fusion === "rrf") return "1/(60+rank)";
  return body.normalization ? say.normalized : null;
}
