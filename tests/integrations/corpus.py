"""A few texts, questions about them, and which text answers which."""

from __future__ import annotations

PASSWORD = "Open the settings, choose Account, and press Reset password."
DELIVERY = "Parcels arrive within three working days; express delivery takes one day."
WECHAT = "微信支付密码忘了可以在钱包设置里重置。"
WEATHER = "Tomorrow will be sunny with a light wind from the west."
SERIAL = "The pump carries the serial number QX-7741-B on its base plate."
TEXTS = [PASSWORD, DELIVERY, WECHAT, WEATHER, SERIAL]

ANSWERS = {
    "How do I reset my password?": PASSWORD,
    "How long does shipping take?": DELIVERY,
    "如何重置微信支付密码": WECHAT,
    "Where is QX-7741-B written?": SERIAL,
}
