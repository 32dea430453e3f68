/** The one request that a comparison makes. */

export const PATH = "embed";

/**
 * The body for these texts. Options that the server has as its defaults are left out.
 *
 * @param {string[]} texts The query first.
 * @param {{maxLength: number, truncate: boolean}} options
 */
export function requestBody(texts, { maxLength, truncate }) {
  return {
    texts,
    mode: ["dense", "sparse", "colbert"],
    ...(maxLength !== 8192 && { max_length: maxLength }),
    ...(!truncate && { truncate }),
    return_tokens: true,
    encoding_format: "base64_float16",
  };
}

/** How a Python program reads the answer. */
export const PYTHON = {
  standard: ["base64"],
  other: "import numpy as np",
  reading: `
def decode(base64_float16):
    return np.frombuffer(base64.b64decode(base64_float16), "<f2").astype(np.float32)


dense = np.stack([decode(vector) for vector in answer["embeddings"]])
sparse = [text["lexical_weights"] for text in answer["sparse_embeddings"]]
colbert = [decode(text["data"]).reshape(text["shape"]) for text in answer["colbert_embeddings"]]
print(dense[1:] @ dense[0])
`,
};
