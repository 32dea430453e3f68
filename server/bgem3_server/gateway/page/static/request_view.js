import { button, byId, element } from "./dom.js";
import { say } from "./language.js";
import { curlCommand, pythonProgram } from "./request.js";

/** The request that was sent, as curl and as Python, to copy. */

const place = byId("request");

/** @param {{body: object, withKey: boolean}} sent */
export function renderRequest({ body, withKey }) {
  place.replaceChildren(
    program("curl", curlCommand(body, withKey), say.copyWhat("curl")),
    program("Python", pythonProgram(body, withKey), say.copyPython),
  );
}

function program(name, text, copyLabel) {
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
