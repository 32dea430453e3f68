import { compareAnswer } from "./comparer.js";
import { button, byId } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { askForKey, fillIn, markText, readInput, rememberKey } from "./input.js";
import {
  currentLanguage,
  preferredLanguage,
  rememberLanguage,
  say,
  setLanguage,
} from "./language.js";
import { MESSAGES } from "./messages.js";
import { renderModel, watchModel } from "./model_line.js";
import { clearNotice, showProblem, showText } from "./notice.js";
import { addPassage, renderPassages } from "./passages.js";
import { requestBody, send, ServerProblem } from "./request.js";
import { listenToChoices, renderResult, showResult } from "./result_view.js";

const compareButton = byId("compare");
const stopButton = byId("stop");

/** Stops the request that is on its way; null when none is. */
let running = null;

async function submit() {
  clearNotice();
  const input = readInput();
  if (input === null) return;
  const { key, ...compared } = input;
  const withKey = key !== "";
  const texts = [input.query, ...input.passages.map(({ text }) => text)];
  const body = requestBody(texts, input.options);
  running = new AbortController();
  renderButtons();
  try {
    const { bytes, ...times } = await send(body, key, running.signal);
    const comparison = await compareAnswer(bytes);
    showResult({ ...compared, comparison, times, sent: { body, withKey } });
  } catch (problem) {
    if (problem.name === "AbortError") showText(say.stopped);
    else tellProblem(problem, input.passages, withKey);
  } finally {
    running = null;
    renderButtons();
  }
}

/** Say what went wrong, and mark the field that it is about. */
function tellProblem(problem, passages, withKey) {
  const index = problem instanceof ServerProblem ? problem.details.index : undefined;
  // The query is the first text; empty boxes were not sent.
  const number = index === 0 ? 0 : passages[index - 1]?.number;
  let name = null;
  if (number !== undefined) {
    name = number === 0 ? say.theQuery : say.thePassage(number);
    markText(number);
  }
  showProblem(problem, { name, withKey });
  if (problem.status === 401 || problem.status === 403) askForKey();
}

function renderButtons() {
  compareButton.textContent = running ? say.comparing : say.compare;
  // Not disabled: it would lose the focus.
  compareButton.setAttribute("aria-disabled", String(running !== null));
  stopButton.hidden = running === null;
  byId("results").setAttribute("aria-busy", String(running !== null));
}

function useLanguage(language) {
  setLanguage(language);
  const [other] = Object.keys(MESSAGES).filter((name) => name !== language);
  const switcher = byId("language");
  switcher.textContent = MESSAGES[other].languageName;
  switcher.lang = other;
  renderExamples();
  renderPassages();
  renderModel();
  renderButtons();
  clearNotice();
  renderResult();
}

function renderExamples() {
  byId("examples").replaceChildren(
    ...EXAMPLES.map((example) =>
      button({ class: "quiet", lang: example.language }, example.label, () => {
        fillIn(example);
        clearNotice();
      }),
    ),
  );
}

function start() {
  const language = preferredLanguage();
  fillIn(EXAMPLES.find((example) => example.language === language));
  useLanguage(language);
  rememberKey();
  listenToChoices();
  byId("add").addEventListener("click", addPassage);
  byId("language").addEventListener("click", () => {
    const [other] = Object.keys(MESSAGES).filter((name) => name !== currentLanguage());
    rememberLanguage(other);
    useLanguage(other);
  });
  stopButton.addEventListener("click", () => {
    running.abort();
    compareButton.focus();
  });
  const form = byId("form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) submit();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  watchModel();
}

start();
