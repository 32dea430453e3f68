import { button, byId } from "../dom.js";
import { currentKey } from "../key.js";
import { currentLanguage, say } from "../language.js";
import { isAboutKey, Notice } from "../notice.js";
import { ask, ServerProblem } from "../server.js";
import { Submission } from "../submission.js";
import { goTo } from "../views.js";
import { compareAnswer } from "./comparer.js";
import { PATH, requestBody } from "./embedding_request.js";
import { EXAMPLES } from "./examples.js";
import { askForKey, fillIn, markText, readInput } from "./input.js";
import { addPassage, renderPassages } from "./passages.js";
import { listenToChoices, renderResult, showResult } from "./result_view.js";

/** The view that compares a query with passages. */

const notice = new Notice(byId("notice"));
/** Those that were sent, to name one that the server refuses. */
let passages = [];
let submission;

export function startCompare() {
  fillIn(EXAMPLES.find((example) => example.language === currentLanguage()));
  listenToChoices();
  byId("add").addEventListener("click", addPassage);
  submission = new Submission({
    form: byId("form"),
    submit: byId("compare-button"),
    stop: byId("stop"),
    results: byId("results"),
    notice,
    label: (running) => (running ? say.comparing : say.compare),
    work: compare,
    tell: tellProblem,
  });
}

/** After a change of the language. */
export function renderCompare() {
  renderExamples();
  renderPassages();
  submission.render();
  notice.clear();
  renderResult();
}

/** Show the view with these texts, compared. */
export async function compareTexts(query, texts) {
  fillIn({ query, passages: texts });
  goTo("compare");
  byId("results").focus();
  await submission.run();
}

async function compare(signal) {
  const input = readInput(notice);
  if (input === null) return;
  passages = input.passages;
  const texts = [input.query, ...passages.map(({ text }) => text)];
  const body = requestBody(texts, input.options);
  const key = currentKey();
  const { bytes, ...times } = await ask(PATH, { body, key, signal });
  const comparison = await compareAnswer(bytes);
  signal.throwIfAborted();
  showResult({ ...input, comparison, times, sent: { path: PATH, body, withKey: key !== "" } });
}

/** Say what went wrong, and mark the field that it is about. */
function tellProblem(problem) {
  const index = problem instanceof ServerProblem ? problem.details.index : undefined;
  // The query is the first text; empty boxes were not sent.
  const number = index === 0 ? 0 : passages[index - 1]?.number;
  let name = null;
  if (number !== undefined) {
    name = number === 0 ? say.theQuery : say.thePassage(number);
    markText(number);
  }
  notice.showProblem(problem, name);
  if (isAboutKey(problem)) askForKey();
}

function renderExamples() {
  byId("examples").replaceChildren(
    ...EXAMPLES.map((example) =>
      button({ class: "quiet", lang: example.language }, example.label, () => {
        fillIn(example);
        notice.clear();
      }),
    ),
  );
}
