/** The request that a search makes. */

export const PATH = "search";

/** How a Python program reads the answer. */
export const PYTHON = {
  reading: `for hit in answer["hits"]:
    print(f"{hit['score']:.3f}", hit["source"], " ".join(hit["text"].split())[:80])
`,
};
