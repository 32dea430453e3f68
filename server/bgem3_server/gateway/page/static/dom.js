/**
 * Make an element. Children that are strings become text, never HTML.
 *
 * @param {string} name
 * @param {Object<string, string | number | boolean | null>} attributes `true` sets an empty
 *   attribute, `false` none, but ARIA has its booleans as words; `null` sets none.
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === null) continue;
    if (typeof value !== "boolean" || attribute.startsWith("aria-")) {
      node.setAttribute(attribute, String(value));
    } else {
      node.toggleAttribute(attribute, value);
    }
  }
  node.append(...children);
  return node;
}

/** A button that does `action` when it is pressed. */
export function button(attributes, label, action) {
  const node = element("button", { type: "button", ...attributes }, label);
  node.addEventListener("click", action);
  return node;
}

/** The element of the page with this id. */
export function byId(id) {
  const node = document.getElementById(id);
  if (node === null) throw new Error(`the page has no element #${id}`);
  return node;
}

/**
 * Let arrow keys move the focus among many elements of which Tab reaches only one.
 *
 * @param {HTMLElement} container Takes the keys.
 * @param {string} selector Its elements that can have the focus.
 * @param {(key: string, from: HTMLElement) => HTMLElement | null | undefined} next Where a key
 *   leads; nothing where it leads nowhere.
 */
export function roveFocus(container, selector, next) {
  container.querySelector(selector)?.setAttribute("tabindex", "0");
  container.addEventListener("focusin", ({ target }) => {
    if (!target.matches(selector)) return;
    for (const other of container.querySelectorAll(`${selector}[tabindex="0"]`)) {
      other.setAttribute("tabindex", "-1");
    }
    target.setAttribute("tabindex", "0");
  });
  container.addEventListener("keydown", (event) => {
    if (!event.target.matches(selector) || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = next(event.key, event.target);
    if (!target) return;
    event.preventDefault();
    target.focus();
  });
}
