import { byId } from "./dom.js";
import { say } from "./language.js";

/**
 * Which view is shown. The fragment of the address says so, with the view's own parameters behind
 * a question mark, so that every view can be linked and the browser's buttons work.
 */

const NAMES = ["compare", "search"];
const skip = document.querySelector(".skip");

/** @type {Object<string, (parameters: URLSearchParams) => void>} */
let openers = {};
let shown = NAMES[0];

/**
 * Show the view of the address, now and whenever that changes.
 *
 * @param {Object<string, (parameters: URLSearchParams) => void>} opened What each view does when
 *   an address leads to it.
 */
export function startViews(opened) {
  openers = opened;
  window.addEventListener("hashchange", followAddress);
  skip.addEventListener("click", (event) => {
    // The fragment is the view's.
    event.preventDefault();
    resultsOf(shown).focus();
  });
  followAddress();
}

/**
 * Show a view that has changed its address by itself.
 *
 * @param {string} name
 * @param {string} parameters As in an address; empty for none.
 * @param {boolean} replacing Whether this is another spelling of the address that led here, and
 *   not one to come back from.
 */
export function goTo(name, parameters = "", replacing = false) {
  const fragment = `#${name}${parameters && `?${parameters}`}`;
  if (replacing) window.history.replaceState(null, "", fragment);
  else if (window.location.hash !== fragment) window.history.pushState(null, "", fragment);
  tab(name).setAttribute("href", fragment);
  show(name);
}

/** Name the page; after a change of the language too. */
export function renderViews() {
  document.title = shown === "compare" ? say.title : `${say[shown]} · ${say.title}`;
}

function followAddress() {
  const [, name, , parameters] = /^#([^?]*)(\?(.*))?$/.exec(window.location.hash) ?? [];
  const known = NAMES.includes(name) ? name : NAMES[0];
  show(known);
  openers[known](new URLSearchParams(parameters));
}

function show(name) {
  shown = name;
  for (const other of NAMES) {
    byId(`${other}-view`).hidden = other !== name;
    if (other === name) tab(other).setAttribute("aria-current", "page");
    else tab(other).removeAttribute("aria-current");
  }
  skip.setAttribute("href", `#${resultsOf(name).id}`);
  renderViews();
}

const tab = (name) => byId(`${name}-tab`);
const resultsOf = (name) => byId(`${name}-view`).querySelector("[data-results]:not([hidden])");
