import { byId, element } from "./dom.js";
import { say } from "./language.js";
import { AnswerProblem, NetworkProblem, ServerProblem } from "./request.js";

/** What went wrong, in plain words, where the person has just pressed the button. */

const place = byId("notice");

export function clearNotice() {
  place.replaceChildren();
}

/** @param {string} text */
export function showText(text) {
  place.replaceChildren(element("p", { class: "notice" }, text));
}

/**
 * @param {Error} problem
 * @param {{name: string | null, withKey: boolean}} context `name` of the text that the server
 *   means, where it means one; whether a key was sent.
 */
export function showProblem(problem, context) {
  const { headline, action, detail, requestId } = describe(problem, context);
  place.replaceChildren(
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

function describe(problem, context) {
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
  return { ...ofStatus(problem, context), detail: message, requestId };
}

function ofStatus({ status, retryAfterSeconds }, { name, withKey }) {
  const action = retryAfterSeconds === null ? undefined : say.retryIn(retryAfterSeconds);
  switch (status) {
    case 401:
    case 403:
      return {
        headline: withKey ? say.errorKeyWrong : say.errorKey,
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
