import { AnswerProblem, ask, readJson } from "../server.js";

/** What the server tells of its collections. */

/** @returns {Promise<string[]>} Their names, sorted. */
export async function listCollections(key) {
  const { bytes } = await ask("collections", { key });
  const { collections } = readJson(bytes);
  if (!Array.isArray(collections)) throw new AnswerProblem("it has no list of collections");
  return collections;
}

/**
 * @typedef {object} About
 * @property {number} chunks
 * @property {number} documents
 * @property {number} incomplete Documents whose indexing was interrupted.
 * @property {string} model
 * @property {string} storage
 * @property {"full" | "pooled" | "none"} colbert
 *
 * @returns {Promise<About>}
 */
export async function describeCollection(name, key) {
  const { bytes } = await ask(`collections/${encodeURIComponent(name)}`, { key });
  return readJson(bytes);
}
