import { count } from "../numbers.js";

/** What the view that compares says. */

const en = {
  input: "Texts",
  examples: "Examples",
  passages: "Passages",
  passage: "Passage",
  passageNumber: (number) => `Passage ${number}`,
  removePassage: (number) => `Remove passage ${number}`,
  addPassage: "Add a passage",
  splitDone: (number) => `The lines became ${number} passages.`,
  splitUndo: "Keep them as one",
  maxLength: "Longest text, in tokens",
  truncate: "Cut longer texts",
  compare: "Compare",
  comparing: "Comparing …",

  introduction: "Three ways to compare two texts",
  denseMeaning:
    "One vector for each text. Their product says how close the meanings are, whatever the words and the language.",
  sparseMeaning:
    "One weight for each word. Words that both texts have count: exact names, numbers, terms.",
  colbertMeaning:
    "One vector for each token. Every token of the query looks for its best match in the passage.",

  ranking: "Ranking",
  facts: (texts, tokens, roundTrip) =>
    `${count(texts, "text", "texts")}, ${count(tokens, "token", "tokens")}, round trip ${roundTrip}`,
  cut: (names, limit) => `Cut to ${count(limit, "token", "tokens")}: ${names.join(", ")}.`,
  theQuery: "the query",
  thePassage: (number) => `passage ${number}`,
  weights: "Weights of the hybrid",
  reset: "Reset",
  noWeight: "All weights are 0: there is no hybrid score.",
  tokens: "Tokens",
  sortBy: (name) => `Sort by ${name}`,
  rankingCaption: "Scores and ranks of the passages",
  announceDone: (passages, first) =>
    `${count(passages, "passage", "passages")} compared. First: ${first}.`,
  announceOrder: (order) => `Order: ${order.join(", ")}.`,

  words: "Sparse: the words that matched",
  wordsHint:
    "The stronger the shade, the more weight a token has in its text. Coloured and underlined ones are in both texts. Point at a token, or move with the arrow keys, to see its weight.",
  weightedTokens: (name) => `Weights of ${name}`,
  tokenWeight: (token, weight) => `${token}: weight ${weight}`,
  tokenMatched: (token, weight) => `${token}: weight ${weight}, in both texts`,
  noMatch: "No word in common.",
  showAll: (tokens) => `Show all ${tokens.toLocaleString("en")} tokens`,
  word: "Word",
  inQuery: "Query",
  inPassage: "Passage",
  product: "Product",
  matchesCaption: (number) => `Words of the query in passage ${number}`,
  cutHere: "cut here",

  tokenByToken: "ColBERT: token by token",
  heatHint:
    "Each row is a token of the query, each column one of the passage. The framed cell is the row's best match; the score is the mean of these.",
  bestMatch: "Best match",
  heatCaption: (number, score) => `The query against passage ${number}: ${score}`,
  heatCell: (query, passage, value) => `${query} × ${passage} = ${value}`,
  heatRows: (from, to, of) => `Query tokens ${from}–${to} of ${of}`,
  heatColumns: (from, to, of) => `Passage tokens ${from}–${to} of ${of}`,
  earlier: "Earlier",
  later: "Later",
  queryToken: "Query token",
  scale: (low, high) => `${low} to ${high}`,

  requestHint: "What this page has sent. The scores above are computed from its answer, in the browser.",

  passageMissing: "Write one passage at least.",
  maxLengthWrong: "A whole number from 1 to 8192.",
};

const zh = {
  input: "文本",
  examples: "示例",
  passages: "段落",
  passage: "段落",
  passageNumber: (number) => `段落 ${number}`,
  removePassage: (number) => `删除段落 ${number}`,
  addPassage: "添加段落",
  splitDone: (number) => `已按行拆成 ${number} 个段落。`,
  splitUndo: "合为一段",
  maxLength: "最大长度（词元）",
  truncate: "截断过长的文本",
  compare: "比较",
  comparing: "正在比较……",

  introduction: "比较两段文本的三种方式",
  denseMeaning: "每段文本一个向量，两个向量的内积表示意思有多接近，与用词和语言无关。",
  sparseMeaning: "每个词一个权重，两段文本共有的词才计分：专名、数字、术语。",
  colbertMeaning: "每个词元一个向量，查询中的每个词元在段落中寻找最匹配的词元。",

  ranking: "排序",
  facts: (texts, tokens, roundTrip) =>
    `${texts} 段文本，${tokens.toLocaleString("zh")} 个词元，往返 ${roundTrip}`,
  cut: (names, limit) => `已截断到 ${limit} 个词元：${names.join("、")}。`,
  theQuery: "查询",
  thePassage: (number) => `段落 ${number}`,
  weights: "混合权重",
  reset: "重置",
  noWeight: "权重全为 0，没有混合得分。",
  tokens: "词元",
  sortBy: (name) => `按${name}排序`,
  rankingCaption: "各段落的得分与名次",
  announceDone: (passages, first) => `已比较 ${passages} 个段落。第一名：${first}。`,
  announceOrder: (order) => `顺序：${order.join("、")}。`,

  words: "稀疏：匹配的词",
  wordsHint:
    "底色越浓，词元在该文本中的权重越大。带颜色和下划线的词元为两段文本共有。用鼠标指向词元，或用方向键移动，可查看权重。",
  weightedTokens: (name) => `${name}的权重`,
  tokenWeight: (token, weight) => `${token}：权重 ${weight}`,
  tokenMatched: (token, weight) => `${token}：权重 ${weight}，两段文本共有`,
  noMatch: "没有共同的词。",
  showAll: (tokens) => `显示全部 ${tokens} 个词元`,
  word: "词",
  inQuery: "查询",
  inPassage: "段落",
  product: "乘积",
  matchesCaption: (number) => `查询与段落 ${number} 共有的词`,
  cutHere: "在此截断",

  tokenByToken: "ColBERT：逐词元比较",
  heatHint:
    "每行是查询的一个词元，每列是段落的一个词元。带框的格子是该行的最佳匹配，得分是它们的平均值。",
  bestMatch: "最佳匹配",
  heatCaption: (number, score) => `查询与段落 ${number}：${score}`,
  heatCell: (query, passage, value) => `${query} × ${passage} = ${value}`,
  heatRows: (from, to, of) => `查询词元 ${from}–${to}，共 ${of} 个`,
  heatColumns: (from, to, of) => `段落词元 ${from}–${to}，共 ${of} 个`,
  earlier: "上一页",
  later: "下一页",
  queryToken: "查询词元",
  scale: (low, high) => `${low} 至 ${high}`,

  requestHint: "这就是本页发出的请求。以上得分由浏览器根据应答算出。",

  passageMissing: "请至少输入一个段落。",
  maxLengthWrong: "请输入 1 到 8192 的整数。",
};

export const COMPARE_MESSAGES = { en, zh };
