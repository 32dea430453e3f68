import { AnswerProblem } from "../server.js";

const worker = new Worker(new URL("comparison_worker.js", import.meta.url), { type: "module" });
let lastNumber = 0;

/**
 * Read and compare an answer, beside the page's own thread.
 *
 * @param {ArrayBuffer} body The answer's bytes; they move away, and cannot be used afterwards.
 * @returns {Promise<import("./comparison.js").Comparison>}
 * @throws {AnswerProblem} It is not what the interface says.
 */
export function compareAnswer(body) {
  lastNumber += 1;
  const number = lastNumber;
  return new Promise((resolve, reject) => {
    const listening = new AbortController();
    const { signal } = listening;
    const finish = ({ comparison, problem }) => {
      listening.abort();
      if (comparison) resolve(comparison);
      else reject(new AnswerProblem(problem));
    };
    worker.addEventListener(
      "message",
      ({ data }) => {
        if (data.number === number) finish(data);
      },
      { signal },
    );
    worker.addEventListener("error", ({ message }) => finish({ problem: message }), { signal });
    worker.postMessage({ number, body }, [body]);
  });
}
