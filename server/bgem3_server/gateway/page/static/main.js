import { compareTexts, renderCompare, startCompare } from "./compare/view.js";
import { byId } from "./dom.js";
import { rememberKey } from "./key.js";
import { currentLanguage, preferredLanguage, rememberLanguage, setLanguage } from "./language.js";
import { MESSAGES } from "./messages.js";
import { renderModel, watchModel } from "./model_line.js";
import { openSearch, renderSearch, startSearch } from "./search/view.js";
import { renderViews, startViews } from "./views.js";

function useLanguage(language) {
  setLanguage(language);
  const [other] = Object.keys(MESSAGES).filter((name) => name !== language);
  const switcher = byId("language");
  switcher.textContent = MESSAGES[other].languageName;
  switcher.lang = other;
  renderModel();
  renderViews();
  renderCompare();
  renderSearch();
}

function start() {
  setLanguage(preferredLanguage());
  rememberKey();
  startCompare();
  startSearch(compareTexts);
  useLanguage(currentLanguage());
  byId("language").addEventListener("click", () => {
    const [other] = Object.keys(MESSAGES).filter((name) => name !== currentLanguage());
    rememberLanguage(other);
    useLanguage(other);
  });
  startViews({ compare: () => {}, search: openSearch });
  watchModel();
}

start();
