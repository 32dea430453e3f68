import { button, byId, element } from "../dom.js";
import { currentKey } from "../key.js";
import { say } from "../language.js";
import { programView } from "../program_view.js";
import { curlCommand } from "../programs.js";

/** What to do where there is nothing to search in yet. */

const STORE = "~/bgem3-store";
const EXAMPLE = {
  collection: "notes",
  documents: [
    { source: "passwords.md", text: "To reset your password, open the settings." },
    { source: "密码.md", text: "重置密码：打开设置。" },
  ],
};
const place = byId("setup");

/**
 * @param {"noStore" | "noCollection"} lack
 * @param {() => void} lookAgain
 */
export function showSetup(lack, lookAgain) {
  place.replaceChildren(...(lack === "noStore" ? noStore() : noCollection()), again(lookAgain));
  place.hidden = false;
}

export function hideSetup() {
  place.hidden = true;
}

function noStore() {
  return [
    element("h2", {}, say.noStore),
    element("p", {}, say.noStoreMeaning),
    command("bgem3 index", `bgem3 index PATH --collection notes --store ${STORE}`),
    command("bgem3 serve", `bgem3 serve MODELS --store ${STORE}`),
    element("p", { class: "hint" }, say.noStoreHint),
  ];
}

function noCollection() {
  const sent = { path: "index", body: EXAMPLE, withKey: currentKey() !== "" };
  return [
    element("h2", {}, say.noCollection),
    element("p", {}, say.noCollectionMeaning),
    command("curl", curlCommand(sent)),
    command("bgem3 index", "bgem3 index PATH --collection notes --store STORE"),
    element("p", { class: "hint" }, say.noCollectionHint),
  ];
}

function command(name, text) {
  return programView(name, text, say.copyWhat(name));
}

function again(lookAgain) {
  return element(
    "p",
    { class: "actions" },
    button({ class: "primary", id: "look-again" }, say.lookAgain, lookAgain),
  );
}
