import { button, byId, element, roveFocus } from "../dom.js";
import { say } from "../language.js";
import * as numbers from "../numbers.js";
import { placeTokens, visibleToken } from "./token_text.js";

/** The sparse view: each text shaded by the weights of its tokens, and the words that matched. */

const TOKENS_SHOWN = 160;
const place = byId("words");

/**
 * @param {{comparison: import("./comparison.js").Comparison, query: string, passages: {number: number, text: string}[]}} result
 */
export function renderWords({ comparison, query, passages }) {
  const { query: queryText, passages: compared } = comparison;
  const largest = Math.max(
    ...[queryText, ...compared.map(({ text }) => text)].flatMap(({ weights }) => [
      ...weights.values(),
    ]),
  );
  const shared = new Set(compared.flatMap(({ matches }) => matches.map(({ id }) => id)));
  const best = compared
    .map((_, position) => position)
    .sort((a, b) => compared[b].scores.sparse - compared[a].scores.sparse);
  place.replaceChildren(
    element(
      "article",
      { class: "shaded-text" },
      element("h3", {}, say.query),
      shadedText({ name: say.theQuery, source: query, text: queryText, shared, largest }),
    ),
    ...best.map((position) => passageArticle(compared[position], passages[position], largest)),
  );
}

function passageArticle({ text, matches, scores }, { number, text: source }, largest) {
  const shared = new Set(matches.map(({ id }) => id));
  return element(
    "article",
    { class: "shaded-text", "data-passage": number },
    element(
      "h3",
      {},
      say.passageNumber(number),
      " ",
      element("span", { class: "value" }, numbers.score(scores.sparse)),
    ),
    shadedText({ name: say.thePassage(number), source, text, shared, largest }),
    matches.length
      ? matchTable(matches, number)
      : element("p", { class: "hint" }, say.noMatch),
  );
}

function matchTable(matches, number) {
  const head = [say.word, say.inQuery, say.inPassage, say.product];
  return element(
    "table",
    { class: "matches" },
    element("caption", { class: "visually-hidden" }, say.matchesCaption(number)),
    element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
    element(
      "tbody",
      {},
      ...matches.map((match) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, visibleToken(match.token)),
          element("td", {}, numbers.score(match.query)),
          element("td", {}, numbers.score(match.passage)),
          element("td", { class: "product" }, numbers.score(match.product)),
        ),
      ),
    ),
  );
}

/**
 * A text whose tokens can be pointed at. For screen readers it is a list of the weighted tokens;
 * the text itself stands in the ranking.
 */
function shadedText({ name, source, text, shared, largest }) {
  const tokens = text.tokens.slice(1, -1);
  const places = placeTokens(source, tokens);
  // The tokens of both texts are the selected ones.
  const list = {
    role: "listbox",
    "aria-label": say.weightedTokens(name),
    "aria-orientation": "horizontal",
    "aria-multiselectable": "true",
  };
  const box = element("div", { class: "tokens", ...(text.weights.size && list) });
  const show = (from, to) => {
    for (let index = from; index < Math.min(to, tokens.length); index += 1) {
      const id = text.tokenIds[index + 1];
      const weight = text.weights.get(id) ?? 0;
      const { before, shown } = places[index];
      if (before) box.append(before);
      box.append(
        weight ? weightedToken(visibleToken(shown), weight, shared.has(id), largest) : shown,
      );
    }
  };
  show(0, TOKENS_SHOWN);
  roveFocus(box, ".token", (key, from) => nextToken(box, key, from));
  const container = element("div", { class: "tokens-box" }, box);
  if (tokens.length > TOKENS_SHOWN) {
    const rest = button({ class: "quiet" }, say.showAll(tokens.length), () => {
      show(TOKENS_SHOWN, tokens.length);
      rest.remove();
    });
    container.append(rest);
  } else if (text.truncated) {
    container.append(element("span", { class: "badge" }, `✂ ${say.cutHere}`));
  }
  return container;
}

function weightedToken(shown, weight, matched, largest) {
  const value = numbers.score(weight);
  const token = element(
    "span",
    {
      class: matched ? "token matched" : "token",
      role: "option",
      "aria-selected": matched,
      "aria-label": matched ? say.tokenMatched(shown, value) : say.tokenWeight(shown, value),
      "data-weight": value,
      tabindex: -1,
    },
    shown,
  );
  token.style.setProperty("--level", weight / largest);
  return token;
}

function nextToken(box, key, from) {
  const tokens = [...box.querySelectorAll(".token")];
  const index = tokens.indexOf(from);
  switch (key) {
    case "ArrowRight":
    case "ArrowDown":
      return tokens[index + 1];
    case "ArrowLeft":
    case "ArrowUp":
      return tokens[index - 1];
    case "Home":
      return tokens[0];
    case "End":
      return tokens.at(-1);
    default:
      return null;
  }
}
