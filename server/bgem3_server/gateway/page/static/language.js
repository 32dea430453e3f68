import { MESSAGES } from "./messages.js";
import { recall, remember } from "./storage.js";

const STORED_AS = "bgem3.language";
const TAGS = { en: "en", zh: "zh-CN" };

/** The messages of the chosen language; reassigned by `setLanguage`. */
export let say = MESSAGES.en;
let current = "en";

export function currentLanguage() {
  return current;
}

/** What the person chose before, or else the first of the browser's languages that is here. */
export function preferredLanguage() {
  const chosen = recall("localStorage", STORED_AS);
  if (chosen in MESSAGES) return chosen;
  const known = navigator.languages.map((tag) => tag.split("-")[0].toLowerCase());
  return known.find((language) => language in MESSAGES) ?? "en";
}

export function rememberLanguage(language) {
  remember("localStorage", STORED_AS, language);
}

/** Put the page's fixed texts into a language; whoever shows more renders anew. */
export function setLanguage(language) {
  current = language;
  say = MESSAGES[language];
  document.documentElement.lang = TAGS[language];
  for (const node of document.querySelectorAll("[data-message]")) {
    node.textContent = say[node.dataset.message];
  }
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", say[node.dataset.label]);
  }
}
