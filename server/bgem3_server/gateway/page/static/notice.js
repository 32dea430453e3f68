import { element } from "./dom.js";
import { currentKey } from "./key.js";
import { say } from "./language.js";
import { AnswerProblem, NetworkProblem, ServerProblem } from "./server.js";

/** What went wrong, in plain words, where the person has just pressed the button. */
export class Notice {
  #place;

  /** @param {HTMLElement} place An element with the role `alert`. */
  constructor(place) {
    this.#place = place;
  }

  clear() {
    this.#place.replaceChildren();
  }

  /** @param {string} text */
  showText(text) {
    this.#place.replaceChildren(element("p", { class: "notice" }, text));
  }

  /**
   * @param {Error} problem
   * @param {string | null} name Of the text that the server means, where it means one.
   */
  showProblem(problem, name = null) {
    const { headline, action, detail, requestId } = describe(problem, name);
    this.#place.replaceChildren(
      element(
        "div",
        { class: "notice problem" },
        element("p", {}, element("strong", {}, headline), action ? ` ${action}` : ""),
        // The server speaks English.
        ...(detail ? [element("p", { class: "detail", lang: "en" }, detail)] : []),
        ...(requestId ? [element("p", { class: "hint" }, say.requestId(requestId))] : []),
      ),
    );
  }
}

/** Whether the server has refused the key, or the lack of one. */
export function isAboutKey(problem) {
  return problem instanceof ServerProblem && [401, 403].includes(problem.status);
}

function describe(problem, name) {
  if (problem instanceof NetworkProblem) {
    return {
      headline: say.errorNetwork,
      action: say.errorNetworkAction(window.location.origin),
    };
  }
  if (problem instanceof AnswerProblem) {
    return { headline: say.errorAnswer, action: say.errorAnswerAction, detail: problem.message };
  }
  if (!(problem instanceof ServerProblem)) throw problem;
  const { message, requestId } = problem.details;
  return { ...ofServer(problem, name), detail: message, requestId };
}

function ofServer({ status, details, retryAfterSeconds }, name) {
  const action = retryAfterSeconds === null ? undefined : say.retryIn(retryAfterSeconds);
  switch (details.code) {
    case "collection_not_found":
      return { headline: say.errorCollection };
    case "collection_mismatch":
    case "foreign_collection":
      return { headline: say.errorMismatch };
    case "store_error":
      return { headline: say.errorStore, action };
  }
  switch (status) {
    case 401:
    case 403:
      return {
        headline: currentKey() ? say.errorKeyWrong : say.errorKey,
        action: say.errorKeyAction,
      };
    case 400:
    case 422:
      return { headline: name ? say.errorInputAt(name) : say.errorInput };
    case 413:
      return { headline: say.errorLarge, action: say.errorLargeAction };
    case 429:
      return { headline: say.errorBusy, action };
    case 502:
    case 503:
      return { headline: say.errorNotReady, action };
    case 504:
      return { headline: say.errorSlow, action };
    default:
      return status >= 500
        ? { headline: say.errorServer, action }
        : { headline: say.errorOther(status), action };
  }
}
