import { recall, remember } from "./storage.js";

/** The key for a service that wants one. Every view has a field for it; they hold the same. */

const STORED_AS = "bgem3.key";
const boxes = [...document.querySelectorAll("input.key")];

/** Empty where none is given. */
export function currentKey() {
  return boxes[0].value.trim();
}

/** Keep the key as long as the tab, and no longer. */
export function rememberKey() {
  const stored = recall("sessionStorage", STORED_AS) ?? "";
  for (const box of boxes) {
    box.value = stored;
    box.addEventListener("input", () => {
      for (const other of boxes) if (other !== box) other.value = box.value;
      remember("sessionStorage", STORED_AS, currentKey());
    });
  }
}
