import { decodeHalfFloats } from "./half_floats.js";
import { colbertScore, denseScore, lexicalMatches, similarities } from "./scores.js";

/**
 * Everything the page shows of an answer: the first text against each of the others.
 *
 * @param {object} answer What `POST /embed` has answered.
 * @returns {Comparison}
 *
 * @typedef {object} Text
 * @property {string[]} tokens Special tokens included.
 * @property {number[]} tokenIds
 * @property {Map<number, number>} weights Lexical weight of each token id that has one.
 * @property {boolean} truncated
 *
 * @typedef {object} Passage
 * @property {Text} text
 * @property {{dense: number, sparse: number, colbert: number}} scores
 * @property {{id: number, token: string, query: number, passage: number, product: number}[]} matches
 * @property {{rows: number, columns: number, values: Float32Array, best: Uint32Array}} similarities
 *   Row and column `k` belong to token `k + 1`: the first token has no vector.
 *
 * @typedef {object} Comparison
 * @property {Text} query
 * @property {Passage[]} passages
 * @property {number} totalTokens
 */
export function compare(answer) {
  const texts = answer.tokens.map((tokens, index) => ({
    tokens,
    tokenIds: answer.token_ids[index],
    weights: readWeights(answer.sparse_embeddings[index]),
    truncated: answer.truncated[index],
  }));
  const dense = answer.embeddings.map(decodeHalfFloats);
  const colbert = answer.colbert_embeddings.map(readVectors);
  const query = texts[0];
  const tokenOf = new Map(query.tokenIds.map((id, index) => [id, query.tokens[index]]));

  const passages = texts.slice(1).map((text, position) => {
    const index = position + 1;
    const matches = lexicalMatches(query.weights, text.weights).map((match) => ({
      ...match,
      token: tokenOf.get(match.id),
    }));
    const table = similarities(colbert[0], colbert[index]);
    return {
      text,
      matches,
      similarities: table,
      scores: {
        dense: denseScore(dense[0], dense[index]),
        sparse: matches.reduce((sum, { product }) => sum + product, 0),
        colbert: colbertScore(table),
      },
    };
  });
  const totalTokens = texts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  return { query, passages, totalTokens };
}

function readWeights({ indices, values }) {
  return new Map(indices.map((id, index) => [id, values[index]]));
}

function readVectors({ data, shape: [rows, size] }) {
  return { values: decodeHalfFloats(data), rows, size };
}
