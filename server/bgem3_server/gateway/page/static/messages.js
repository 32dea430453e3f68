import { COMPARE_MESSAGES } from "./compare/messages.js";
import { count } from "./numbers.js";
import { SEARCH_MESSAGES } from "./search/messages.js";

/**
 * What the page says in both languages; what one view alone says is in its folder. Functions where
 * a number or a name goes in.
 */

const en = {
  languageName: "English",
  title: "Dense, sparse, ColBERT",
  views: "Views",
  skip: "Skip to the results",
  navigation: "This service",
  apiDocs: "API",

  query: "Query",
  options: "Options",
  key: "Key",
  keyHint: "Kept in this tab only, until it is closed.",
  stop: "Stop",
  stopped: "Stopped.",
  shortcut: "Ctrl + Enter",
  results: "Results",

  dense: "Dense",
  sparse: "Sparse",
  colbert: "ColBERT",
  hybrid: "Hybrid",

  modelLoading: "The model is loading …",
  modelAway: "The server does not answer.",
  modelNotReady: "The server is not ready.",
  modelDemo: (dimension) =>
    dimension
      ? `Demo model: ${dimension} dimensions, not BGE-M3`
      : "Demo model, not BGE-M3",
  modelDimension: (dimension) => `${dimension} dimensions`,

  comma: ", ",
  factsServer: (time) => `server ${time}`,
  rank: (rank) => `rank ${rank}`,

  request: "The request",
  copy: "Copy",
  copied: "Copied",
  copyFailed: "The browser does not allow it: select the text and copy it.",
  copyWhat: (what) => `Copy the ${what} command`,
  copyPython: "Copy the Python program",

  queryMissing: "Write a query.",
  errorKey: "The server wants a key.",
  errorKeyAction: "Type it under Options, then try again.",
  errorKeyWrong: "The server does not accept this key.",
  errorInput: "The server cannot take this request.",
  errorInputAt: (name) => `The server cannot take ${name}.`,
  errorLarge: "The request is too large.",
  errorLargeAction: "Send fewer or shorter texts.",
  errorBusy: "The server is busy.",
  errorNotReady: "The server is not ready.",
  errorSlow: "The server took too long.",
  errorServer: "The server failed.",
  errorStore: "The store failed, or cannot be reached.",
  errorCollection: "There is no such collection.",
  errorMismatch: "The collection does not go together with this server.",
  errorOther: (status) => `The server refused the request (${status}).`,
  errorNetwork: "The server does not answer.",
  errorNetworkAction: (origin) => `Is it running at ${origin}? Is there a network?`,
  errorAnswer: "The server's answer cannot be read.",
  errorAnswerAction: "The page and the server may be of different versions: reload the page.",
  retryIn: (seconds) => `Try again in ${count(seconds, "second", "seconds")}.`,
  requestId: (id) => `Request ${id}`,
};

const zh = {
  languageName: "中文",
  title: "稠密、稀疏、ColBERT",
  views: "视图",
  skip: "跳到结果",
  navigation: "本服务",
  apiDocs: "接口文档",

  query: "查询",
  options: "选项",
  key: "密钥",
  keyHint: "只保存在当前标签页，关闭即清除。",
  stop: "停止",
  stopped: "已停止。",
  shortcut: "Ctrl + Enter",
  results: "结果",

  dense: "稠密",
  sparse: "稀疏",
  colbert: "ColBERT",
  hybrid: "混合",

  modelLoading: "模型正在加载……",
  modelAway: "服务器没有响应。",
  modelNotReady: "服务器尚未就绪。",
  modelDemo: (dimension) =>
    dimension ? `演示模型：${dimension} 维，不是 BGE-M3` : "演示模型，不是 BGE-M3",
  modelDimension: (dimension) => `${dimension} 维`,

  comma: "，",
  factsServer: (time) => `服务器 ${time}`,
  rank: (rank) => `第 ${rank} 名`,

  request: "请求",
  copy: "复制",
  copied: "已复制",
  copyFailed: "浏览器不允许复制，请手动选中复制。",
  copyWhat: (what) => `复制 ${what} 命令`,
  copyPython: "复制 Python 程序",

  queryMissing: "请输入查询。",
  errorKey: "服务器需要密钥。",
  errorKeyAction: "请在“选项”中输入，然后重试。",
  errorKeyWrong: "服务器不接受这个密钥。",
  errorInput: "服务器无法处理这个请求。",
  errorInputAt: (name) => `服务器无法处理${name}。`,
  errorLarge: "请求太大。",
  errorLargeAction: "请减少或缩短文本。",
  errorBusy: "服务器繁忙。",
  errorNotReady: "服务器尚未就绪。",
  errorSlow: "服务器用时过长。",
  errorServer: "服务器出错。",
  errorStore: "存储出错，或无法连接。",
  errorCollection: "没有这个集合。",
  errorMismatch: "这个集合与本服务器不匹配。",
  errorOther: (status) => `服务器拒绝了请求（${status}）。`,
  errorNetwork: "服务器没有响应。",
  errorNetworkAction: (origin) => `它在 ${origin} 运行吗？网络通吗？`,
  errorAnswer: "无法读取服务器的应答。",
  errorAnswerAction: "页面与服务器的版本可能不同，请刷新页面。",
  retryIn: (seconds) => `请在 ${seconds} 秒后重试。`,
  requestId: (id) => `请求编号 ${id}`,
};

export const MESSAGES = {
  en: { ...en, ...COMPARE_MESSAGES.en, ...SEARCH_MESSAGES.en },
  zh: { ...zh, ...COMPARE_MESSAGES.zh, ...SEARCH_MESSAGES.zh },
};
