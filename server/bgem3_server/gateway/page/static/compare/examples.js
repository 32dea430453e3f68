/** Texts to begin with. Each has a passage in other words, one in the other language, and one beside the point. */
export const EXAMPLES = [
  {
    label: "重置密码",
    language: "zh",
    query: "如何重置微信支付密码",
    passages: [
      "微信支付密码忘了怎么办？打开“我”→“服务”→“钱包”→“支付设置”，点“忘记支付密码”，按提示验证身份后重新设置。",
      "How do I reset my WeChat Pay password? Open Wallet, then Payment Settings, and choose Forgot Password.",
      "微信支付单笔限额是多少？不同银行卡的限额不同，可以在“钱包”里查看。",
      "今天天气很好，适合去公园散步。",
    ],
  },
  {
    label: "Unit tests",
    language: "en",
    query: "how to run python unit tests",
    passages: [
      "Run the test suite with `python -m unittest discover`: it finds every file whose name begins with test.",
      "用 pytest 执行单元测试：在项目根目录输入 pytest 即可。",
      "The python is a large snake that is not venomous and kills its prey by constriction.",
      "A unit of length, the metre, is defined by the speed of light.",
    ],
  },
];
