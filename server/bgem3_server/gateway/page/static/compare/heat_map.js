import { button, byId, element, roveFocus } from "../dom.js";
import { say } from "../language.js";
import * as numbers from "../numbers.js";
import { visibleToken } from "./token_text.js";

/** The ColBERT view: query token by passage token, as a table that is also a picture. */

// More cells than this at once make a browser slow; the rest is turned to.
const ROWS_SHOWN = 48;
const COLUMNS_SHOWN = 64;

const place = byId("heat");

/**
 * @param {{comparison: import("./comparison.js").Comparison, passages: {number: number, text: string}[]}} result
 * @param {number} position Of the passage.
 */
export function renderHeatMap(result, position) {
  const range = valueRange(result.comparison);
  const view = { result, position, range, firstRow: 0, firstColumn: 0 };
  renderView(view);
}

function renderView(view) {
  const { rows, columns } = view.result.comparison.passages[view.position].similarities;
  const turn = (change) => renderView({ ...view, ...change });
  const readout = element("p", { class: "readout", "aria-hidden": "true" });
  const table = heatTable(view);
  const scroller = element("div", { class: "heat-scroller" }, table);
  followCells(table, readout);
  roveFocus(table, "td.cell", (key, from) => nextCell(table, key, from));
  place.replaceChildren(
    element("div", { class: "heat-bar" }, legend(view.range), readout),
    ...pager(say.heatRows, view.firstRow, rows, ROWS_SHOWN, (firstRow) => turn({ firstRow })),
    ...pager(say.heatColumns, view.firstColumn, columns, COLUMNS_SHOWN, (firstColumn) =>
      turn({ firstColumn }),
    ),
    scroller,
  );
}

/** Smallest and largest similarity of the whole answer: colours mean the same for every passage. */
function valueRange({ passages }) {
  let low = Infinity;
  let high = -Infinity;
  for (const { similarities } of passages) {
    for (const value of similarities.values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return { low, high };
}

function legend({ low, high }) {
  const scale = element("span", { class: "scale", "aria-hidden": "true" });
  return element(
    "p",
    { class: "legend" },
    element("span", { "aria-hidden": "true" }, numbers.similarity(low)),
    scale,
    element("span", { "aria-hidden": "true" }, numbers.similarity(high)),
    element(
      "span",
      { class: "visually-hidden" },
      say.scale(numbers.similarity(low), numbers.similarity(high)),
    ),
  );
}

function pager(message, first, total, shown, turnTo) {
  if (total <= shown) return [];
  const last = Math.min(first + shown, total);
  const step = (label, target) => {
    const turn = button({ class: "quiet" }, label, () => turnTo(target));
    turn.disabled = target < 0 || target >= total;
    return turn;
  };
  return [
    element(
      "p",
      { class: "pager" },
      element("span", { role: "status" }, message(first + 1, last, total)),
      " ",
      step(say.earlier, first - shown),
      " ",
      step(say.later, first + shown),
    ),
  ];
}

function heatTable({ result, position, range, firstRow, firstColumn }) {
  const { comparison, passages } = result;
  const { similarities, text, scores } = comparison.passages[position];
  // Row and column k belong to token k + 1: the first token has no vector.
  const queryTokens = comparison.query.tokens.slice(1).map(visibleToken);
  const passageTokens = text.tokens.slice(1).map(visibleToken);
  const rows = sequence(firstRow, Math.min(firstRow + ROWS_SHOWN, similarities.rows));
  const columns = sequence(
    firstColumn,
    Math.min(firstColumn + COLUMNS_SHOWN, similarities.columns),
  );
  const valueAt = (row, column) => similarities.values[row * similarities.columns + column];
  const cell = (row, column) => {
    const value = valueAt(row, column);
    const best = similarities.best[row] === column;
    const node = element(
      "td",
      {
        role: "gridcell",
        class: best ? "cell best" : "cell",
        tabindex: -1,
        "data-row": row,
        "data-column": column,
        "data-readout": say.heatCell(queryTokens[row], passageTokens[column], numbers.score(value)),
      },
      numbers.similarity(value),
      ...(best ? [element("span", { class: "visually-hidden" }, `, ${say.bestMatch}`)] : []),
    );
    node.style.setProperty("--level", (value - range.low) / (range.high - range.low || 1));
    return node;
  };
  return element(
    "table",
    { class: "heat", role: "grid" },
    element(
      "caption",
      { class: "visually-hidden" },
      say.heatCaption(passages[position].number, numbers.score(scores.colbert)),
    ),
    element(
      "thead",
      { role: "rowgroup" },
      element(
        "tr",
        { role: "row" },
        element("th", { scope: "col", role: "columnheader", class: "query-token" }, say.queryToken),
        element("th", { scope: "col", role: "columnheader", class: "best-match" }, say.bestMatch),
        ...columns.map((column) =>
          element(
            "th",
            { scope: "col", role: "columnheader", class: "passage-token" },
            element("span", {}, passageTokens[column]),
          ),
        ),
      ),
    ),
    element(
      "tbody",
      { role: "rowgroup" },
      ...rows.map((row) => {
        const best = similarities.best[row];
        return element(
          "tr",
          { role: "row" },
          element("th", { scope: "row", role: "rowheader", class: "query-token" }, queryTokens[row]),
          element(
            "td",
            { role: "gridcell", class: "best-match" },
            element("span", { class: "best-token" }, passageTokens[best]),
            " ",
            element("span", { class: "value" }, numbers.score(valueAt(row, best))),
          ),
          ...columns.map((column) => cell(row, column)),
        );
      }),
    ),
  );
}

function sequence(from, to) {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

/** Say what the cell under the pointer, or with the focus, stands for. */
function followCells(table, readout) {
  const tell = ({ target }) => {
    const node = target.closest("td.cell");
    readout.textContent = node ? node.dataset.readout : "";
  };
  table.addEventListener("pointerover", tell);
  table.addEventListener("focusin", tell);
}

function nextCell(table, key, from) {
  const row = Number(from.dataset.row);
  const column = Number(from.dataset.column);
  const at = (r, c) => table.querySelector(`td[data-row="${r}"][data-column="${c}"]`);
  const inRow = from.parentElement.querySelectorAll("td.cell");
  switch (key) {
    case "ArrowRight":
      return at(row, column + 1);
    case "ArrowLeft":
      return at(row, column - 1);
    case "ArrowDown":
      return at(row + 1, column);
    case "ArrowUp":
      return at(row - 1, column);
    case "Home":
      return inRow[0];
    case "End":
      return inRow[inRow.length - 1];
    default:
      return null;
  }
}
