import { byId } from "../dom.js";
import { say } from "../language.js";
import { chosenAbout } from "./chooser.js";

/**
 * How to search: fields that the request has under the same names. Those that are as the server
 * has them by default, or do not matter beside the others, are left out of it.
 */

const MOST_HITS = 100;

const number = (value) => (value.trim() === "" ? NaN : Number(value));
const weight = { parse: number, wrong: (value) => !(value >= 0 && value < Infinity) && say.weightWrong };

/**
 * @typedef {object} Option
 * @property {string} name In the request, and in links.
 * @property {HTMLInputElement | HTMLSelectElement} box
 * @property {string} usual What the box has at the beginning.
 * @property {(text: string) => unknown} parse
 * @property {(value: unknown) => string | false} wrong What is wrong with a value.
 *
 * @type {Option[]}
 */
const OPTIONS = [
  option("limit", "limit", {
    parse: number,
    wrong: (value) =>
      !(Number.isInteger(value) && value >= 1 && value <= MOST_HITS) && say.limitWrong(MOST_HITS),
  }),
  option("mode", "mode"),
  option("fusion", "fusion"),
  option("dense_weight", "dense-weight", weight),
  option("sparse_weight", "sparse-weight", {
    ...weight,
    wrong: (value) =>
      weight.wrong(value) || (value === 0 && number(textOf("dense_weight")) === 0 && say.weightsZero),
  }),
  option("normalization", "normalization"),
  option("rerank", "rerank", { parse: (value) => value === "true" }),
  option("colbert_weight", "colbert-weight", {
    parse: number,
    wrong: (value) => !(value >= 0 && value <= 1) && say.shareWrong,
  }),
];

function option(name, id, { parse = String, wrong = () => false } = {}) {
  const box = byId(id);
  return { name, box, usual: box.value, parse, wrong };
}

function textOf(name) {
  return OPTIONS.find((each) => each.name === name).box.value;
}

/** Show those that matter beside the others, whenever one changes. */
export function startOptions() {
  for (const { box } of OPTIONS) box.addEventListener("change", renderOptions);
  renderOptions();
}

export function renderOptions() {
  const mode = textOf("mode");
  const hybrid = mode === "hybrid";
  const weighted = hybrid && textOf("fusion") === "weighted";
  const rerankable = mode !== "colbert" && chosenAbout()?.colbert !== "none";
  const rerank = textOf("rerank");
  const reranked = rerankable && (rerank === "true" || (hybrid && rerank === ""));
  const normalized = hybrid ? weighted : reranked;
  const matters = { hybrid, weighted, rerankable, reranked, normalized };
  for (const field of byId("search-options").querySelectorAll("[data-for]")) {
    field.hidden = !matters[field.dataset.for];
  }
}

/**
 * @returns {{texts: Object<string, string>, values: Object<string, unknown>} | {field: HTMLElement,
 *   reason: string}} What differs from the usual, as written and as the request has it; or the
 *   first field that is wrong.
 */
export function readOptions() {
  const texts = {};
  const values = {};
  for (const { name, box, usual, parse, wrong } of OPTIONS) {
    if (box.closest("[data-for]")?.hidden) continue;
    const value = parse(box.value);
    // A link may have asked for something that is not in the list.
    const reason = box.selectedIndex === -1 ? say.choiceWrong : wrong(value);
    if (reason) return { field: box, reason };
    if (box.value === usual) continue;
    texts[name] = box.value;
    values[name] = value;
  }
  return { texts, values };
}

/** @param {URLSearchParams} parameters Of a link. */
export function writeOptions(parameters) {
  for (const { name, box, usual } of OPTIONS) box.value = parameters.get(name) ?? usual;
  renderOptions();
}
