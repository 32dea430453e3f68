/**
 * Reads and compares an answer in a thread of its own: twenty passages of 512 tokens are 28 MB of
 * JSON and some hundred million multiplications, and the page must not stand still meanwhile.
 */
import { compare } from "./comparison.js";

self.addEventListener("message", ({ data: { number, body } }) => {
  try {
    const comparison = compare(JSON.parse(new TextDecoder().decode(body)));
    const tables = comparison.passages.map(({ similarities }) => similarities.values.buffer);
    self.postMessage({ number, comparison }, tables);
  } catch (error) {
    self.postMessage({ number, problem: String(error) });
  }
});
