"""Texts that clients send: with nothing in one, and a line break in another."""

TEXTS = ["如何重置微信支付密码", "", "How do I reset my WeChat Pay password?\n(a second line)"]
