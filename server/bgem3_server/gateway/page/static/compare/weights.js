import { byId, element } from "../dom.js";
import { say } from "../language.js";

/** The sliders for the weights of the hybrid. */

export const DEFAULT_WEIGHTS = { dense: 0.4, sparse: 0.2, colbert: 0.4 };

const place = byId("weights");
const formula = byId("formula");

/**
 * @param {import("./ranking.js").Weights} weights
 * @param {(weights: import("./ranking.js").Weights) => void} change Called while a slider moves.
 */
export function renderWeights(weights, change) {
  place.replaceChildren(
    ...Object.entries(weights).map(([kind, weight]) => {
      const id = `weight-${kind}`;
      const slider = element("input", {
        id,
        type: "range",
        min: 0,
        max: 1,
        step: 0.05,
        value: weight,
      });
      const shown = element("output", { for: id }, weight.toFixed(2));
      slider.addEventListener("input", () => {
        weights = { ...weights, [kind]: slider.valueAsNumber };
        shown.textContent = slider.valueAsNumber.toFixed(2);
        renderFormula(weights);
        change(weights);
      });
      return element(
        "div",
        { class: "weight" },
        element("label", { for: id }, say[kind]),
        shown,
        slider,
      );
    }),
  );
  renderFormula(weights);
}

function renderFormula(weights) {
  const total = weights.dense + weights.sparse + weights.colbert;
  const terms = Object.entries(weights).map(([kind, weight]) => `${weight.toFixed(2)} · ${say[kind]}`);
  const sum = terms.join(" + ");
  const mean = Math.abs(total - 1) < 1e-9 ? sum : `(${sum}) / ${total.toFixed(2)}`;
  formula.textContent = total > 0 ? `${say.hybrid} = ${mean}` : say.noWeight;
}
