import { button, byId, element } from "../dom.js";
import { say } from "../language.js";

/** The boxes for passages: as many as wanted, one at least. */

const list = byId("passages");
const split = byId("split");

const boxes = () => [...list.querySelectorAll("textarea")];

/** The texts of all boxes, empty ones too. */
export function passageTexts() {
  return boxes().map((box) => box.value);
}

/** @param {number} number From 1. */
export function passageBox(number) {
  return boxes()[number - 1];
}

export function setPassages(texts) {
  list.replaceChildren();
  split.replaceChildren();
  texts.forEach((text) => appendPassage(text));
  renderPassages();
}

export function addPassage() {
  appendPassage("").focus();
  renderPassages();
}

/** Number and name the boxes; after a change of the language, or of their count. */
export function renderPassages() {
  boxes().forEach((box, index) => {
    const number = index + 1;
    box.setAttribute("aria-label", say.passageNumber(number));
    const remove = box.parentElement.querySelector("button");
    remove.setAttribute("aria-label", say.removePassage(number));
    remove.title = say.removePassage(number);
    remove.hidden = boxes().length === 1;
  });
}

function appendPassage(text) {
  const box = element("textarea", { rows: 2 });
  box.value = text;
  box.addEventListener("paste", (event) => splitPasted(event, box));
  const remove = button({ class: "remove" }, "×", () => removePassage(box));
  list.append(element("li", {}, box, remove));
  return box;
}

function removePassage(box) {
  const index = boxes().indexOf(box);
  box.parentElement.remove();
  renderPassages();
  (boxes()[index] ?? boxes().at(-1)).focus();
}

/** Several lines pasted into an empty box are most often several passages. */
function splitPasted(event, box) {
  const pasted = event.clipboardData.getData("text/plain");
  const lines = pasted.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
  if (box.value !== "" || lines.length < 2) return;
  event.preventDefault();
  const before = passageTexts();
  const at = boxes().indexOf(box);
  setPassages(before.toSpliced(at, 1, ...lines));
  boxes()[at + lines.length - 1].focus();
  const undo = button({ class: "quiet" }, say.splitUndo, () => {
    setPassages(before.toSpliced(at, 1, pasted.trim()));
    boxes()[at].focus();
  });
  split.replaceChildren(say.splitDone(lines.length), " ", undo);
}
