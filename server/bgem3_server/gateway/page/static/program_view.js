import { button, element } from "./dom.js";
import { say } from "./language.js";
import { curlCommand, pythonProgram } from "./programs.js";

/**
 * A request that was sent, as curl and as Python, to copy.
 *
 * @param {import("./programs.js").Sent} sent
 * @param {object} python What `pythonProgram` needs beside it.
 * @returns {HTMLElement[]}
 */
export function requestPrograms(sent, python) {
  return [
    programView("curl", curlCommand(sent), say.copyWhat("curl")),
    programView("Python", pythonProgram(sent, python), say.copyPython),
  ];
}

/** A program, or a command, under its name, with a button to copy it. */
export function programView(name, text, copyLabel) {
  const code = element("code", {}, text);
  const told = element("span", { class: "hint", role: "status" });
  const copy = button({ class: "quiet", "aria-label": copyLabel }, say.copy, async () => {
    told.textContent = (await copyText(text, code)) ? say.copied : say.copyFailed;
  });
  return element(
    "div",
    { class: "program", "data-program": name.toLowerCase() },
    element("div", { class: "program-bar" }, element("h3", {}, name), told, copy),
    element("pre", { tabindex: 0, role: "region", "aria-label": name }, code),
  );
}

/** @returns {Promise<boolean>} Whether the browser allowed it. */
async function copyText(text, node) {
  // Browsers have a clipboard only for HTTPS and localhost, and this service is often neither.
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const selection = window.getSelection();
  selection.selectAllChildren(node);
  return document.execCommand("copy");
}
