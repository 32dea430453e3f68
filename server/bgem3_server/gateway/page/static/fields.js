/** Fields that are wrong. */

/**
 * Mark one field of a form as the wrong one, and no other.
 *
 * @param {HTMLElement} field
 * @param {string} messageId Of the element that says why.
 */
export function markInvalid(field, messageId) {
  clearInvalid(field.form);
  field.closest("details")?.setAttribute("open", "");
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-errormessage", messageId);
}

/** @param {HTMLFormElement} form */
export function clearInvalid(form) {
  for (const marked of form.querySelectorAll("[aria-invalid]")) {
    marked.removeAttribute("aria-invalid");
    marked.removeAttribute("aria-errormessage");
  }
}
