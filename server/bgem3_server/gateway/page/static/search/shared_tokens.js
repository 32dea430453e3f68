import { button, element } from "../dom.js";
import { say } from "../language.js";
import * as numbers from "../numbers.js";

/** The tokens that the query and a hit share, with what each adds to the sparse score. */

const SHOWN = 8;

/** @param {object} hit As the server answers it. */
export function sharedTokens({ rank, explanation: { tokens } }) {
  if (tokens.length === 0) return element("p", { class: "hint" }, say.noSharedTokens);
  const largest = Math.max(...tokens.map(({ contribution }) => contribution));
  const body = element("tbody", {}, ...tokens.slice(0, SHOWN).map((token) => row(token, largest)));
  const table = element(
    "table",
    { class: "matches shared-tokens" },
    element("caption", { class: "visually-hidden" }, say.tokensCaption(rank)),
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        element("th", { scope: "col" }, say.sharedToken),
        element("th", { scope: "col" }, say.contribution),
      ),
    ),
    body,
  );
  const box = element("div", { class: "tokens-table" }, table);
  if (tokens.length > SHOWN) {
    const rest = button({ class: "quiet" }, say.moreTokens(tokens.length - SHOWN), () => {
      body.append(...tokens.slice(SHOWN).map((token) => row(token, largest)));
      rest.remove();
    });
    box.append(rest);
  }
  return box;
}

function row({ text, contribution }, largest) {
  const bar = element("span", { class: "share", "aria-hidden": "true" });
  bar.style.setProperty("--share", largest > 0 ? Math.max(contribution, 0) / largest : 0);
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, element("bdi", {}, text)),
    element("td", { class: "product" }, numbers.precise(contribution), bar),
  );
}
