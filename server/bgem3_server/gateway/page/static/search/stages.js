import { element } from "../dom.js";
import { say } from "../language.js";

/** How long each stage of a search took, on the server. */

const STAGES = ["encode", "candidates", "scores", "fuse"];

/** @param {Object<string, number>} milliseconds By stage, with their total. */
export function stageTable(milliseconds) {
  const row = (name) => {
    const bar = element("span", { class: "share", "aria-hidden": "true" });
    bar.style.setProperty("--share", milliseconds[name] / milliseconds.total || 0);
    return element(
      "tr",
      { "data-stage": name },
      element("th", { scope: "row" }, say.stages[name]),
      element("td", {}, `${milliseconds[name].toFixed(1)} ms`, bar),
    );
  };
  return element(
    "table",
    { class: "matches stages" },
    element("caption", { class: "visually-hidden" }, say.stagesHeading),
    element("tbody", {}, ...STAGES.map(row)),
    element("tfoot", {}, row("total")),
  );
}
