/** How alike two texts are, as FlagEmbedding defines it. */

/** The dot product of two dense vectors. */
export function denseScore(query, passage) {
  return dot(query, 0, passage, 0, query.length);
}

/**
 * What each token id that both texts have adds to the lexical score, largest first.
 *
 * @param {Map<number, number>} query Weight of each token id.
 * @param {Map<number, number>} passage
 * @returns {{id: number, query: number, passage: number, product: number}[]}
 */
export function lexicalMatches(query, passage) {
  const matches = [];
  for (const [id, weight] of query) {
    const other = passage.get(id);
    if (other !== undefined) {
      matches.push({ id, query: weight, passage: other, product: weight * other });
    }
  }
  return matches.sort((a, b) => b.product - a.product);
}

/**
 * The similarity of each query token with each passage token, and the best for each query token.
 *
 * @param {{values: Float32Array, rows: number, size: number}} query Vectors, row after row.
 * @param {{values: Float32Array, rows: number, size: number}} passage
 * @returns {{rows: number, columns: number, values: Float32Array, best: Uint32Array}} `best` holds
 *   the column of the largest value of each row.
 */
export function similarities(query, passage) {
  const { rows, size } = query;
  const columns = passage.rows;
  const values = new Float32Array(rows * columns);
  const best = new Uint32Array(rows);
  for (let row = 0; row < rows; row += 1) {
    const start = row * columns;
    for (let column = 0; column < columns; column += 1) {
      const value = dot(query.values, row * size, passage.values, column * size, size);
      values[start + column] = value;
      if (value > values[start + best[row]]) best[row] = column;
    }
  }
  return { rows, columns, values, best };
}

/** The mean over the query's tokens of the best match: sum_i max_j q_i . p_j / n_q. */
export function colbertScore({ rows, columns, values, best }) {
  let sum = 0;
  for (let row = 0; row < rows; row += 1) sum += values[row * columns + best[row]];
  return sum / rows;
}

/** The weighted mean of the three scores; not a number when all weights are 0. */
export function hybridScore(scores, weights) {
  const total = weights.dense + weights.sparse + weights.colbert;
  return (
    (scores.dense * weights.dense +
      scores.sparse * weights.sparse +
      scores.colbert * weights.colbert) /
    total
  );
}

/**
 * The place of each score among all, from 1; equal scores share a place.
 *
 * @param {number[]} scores
 * @returns {number[]}
 */
export function ranks(scores) {
  return scores.map((score) => 1 + scores.filter((other) => other > score).length);
}

// Four sums at once: each addition would otherwise wait for the one before.
function dot(a, aStart, b, bStart, size) {
  let first = 0;
  let second = 0;
  let third = 0;
  let fourth = 0;
  let index = 0;
  for (; index + 3 < size; index += 4) {
    first += a[aStart + index] * b[bStart + index];
    second += a[aStart + index + 1] * b[bStart + index + 1];
    third += a[aStart + index + 2] * b[bStart + index + 2];
    fourth += a[aStart + index + 3] * b[bStart + index + 3];
  }
  for (; index < size; index += 1) first += a[aStart + index] * b[bStart + index];
  return first + second + third + fourth;
}
