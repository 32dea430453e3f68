import { say } from "./language.js";

/** A form that has one request on its way at a time, which can be stopped. */
export class Submission {
  #parts;
  /** Stops the request that is on its way; null when none is. */
  #running = null;

  /**
   * @param {object} parts
   * @param {HTMLFormElement} parts.form
   * @param {HTMLButtonElement} parts.submit
   * @param {HTMLButtonElement} parts.stop
   * @param {HTMLElement} parts.results Where the answer will be shown.
   * @param {import("./notice.js").Notice} parts.notice
   * @param {(running: boolean) => string} parts.label Of the button to submit.
   * @param {(signal: AbortSignal, argument: unknown) => Promise<void>} parts.work
   * @param {(problem: Error) => void} parts.tell What to do with what `work` throws.
   */
  constructor(parts) {
    this.#parts = parts;
    const { form, submit, stop } = parts;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#running === null) this.run();
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    stop.addEventListener("click", () => {
      this.#running.abort();
      submit.focus();
    });
  }

  /** Give up what is on its way, and say nothing of it. */
  cancel() {
    this.#running?.abort();
    this.#running = null;
    this.render();
  }

  /**
   * Do the work; what was on its way before is given up.
   *
   * @param {unknown} argument Of the work; undefined when the person submits the form.
   */
  async run(argument) {
    this.#running?.abort();
    const controller = new AbortController();
    this.#running = controller;
    this.render();
    const { notice, work, tell } = this.#parts;
    notice.clear();
    try {
      await work(controller.signal, argument);
    } catch (problem) {
      if (this.#running !== controller) return;
      if (problem.name === "AbortError") notice.showText(say.stopped);
      else tell(problem);
    } finally {
      if (this.#running === controller) {
        this.#running = null;
        this.render();
      }
    }
  }

  /** Show whether something is on its way; after a change of the language too. */
  render() {
    const { submit, stop, results, label } = this.#parts;
    const running = this.#running !== null;
    submit.textContent = label(running);
    // Not disabled: it would lose the focus.
    submit.setAttribute("aria-disabled", String(running));
    stop.hidden = !running;
    results.setAttribute("aria-busy", String(running));
  }
}
