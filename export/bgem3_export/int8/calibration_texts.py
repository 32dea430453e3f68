"""The texts whose activations decide how weights are rounded.

None of them is among the texts that the result is judged by. They are of the kinds that a model
is given: sentences in many languages and scripts, questions, lists, code, and what is neither
word nor sentence, since a token that stands alone or is repeated takes values that no sentence
shows.
"""

from __future__ import annotations

from typing import Final

CALIBRATION_TEXTS: Final[tuple[str, ...]] = (
    "Which documents do I need to open a bank account abroad?",
    "weather tomorrow morning",
    "The council approved the new tram line on Tuesday after eleven hours of debate. Building is "
    "to begin in spring, and the first cars should run four years later, provided that the tunnel "
    "under the station square causes no surprises.",
    "Add the flour in three parts, stirring slowly, and let the dough rest under a damp cloth "
    "until it has doubled. A cold kitchen needs an hour more than a warm one.",
    "Warranty claims must be made in writing within 24 months of delivery. Damage caused by "
    "improper use, by repairs of third parties or by normal wear is not covered.",
    "In mice the compound lowered blood pressure by 12% (n = 48, p < 0.01), but the effect was "
    "gone after six weeks; the authors suspect that the liver adapts.",
    "She laughed. 'You came all this way for a button?' He nodded, and put it on the table.",
    "The river rises in the western hills, turns north at the old mill, and reaches the sea "
    "through a delta of some forty islands, most of which are under water every autumn.",
    "怎样在手机上修改快递的收货地址？",
    "秋天的校园里，银杏叶落了一地。清洁工老赵每天五点就来扫，可是学生们总是请他留下图书馆门前的"
    "那一片，说踩上去的声音好听。",
    "本合同一式两份，甲乙双方各执一份，自双方签字盖章之日起生效，有效期为三年。",
    "研究人员在青藏高原的湖泊沉积物中发现了一层火山灰，据此推断当时的夏季比现在凉爽约两摄氏度。",
    "苹果期货价格连续第四周下跌，分析人士认为，主要原因是产区丰收和出口放缓。",
    "退货 运费 谁出",
    "新しい地下鉄の駅は来年の春に開業する予定で、周辺の再開発も同時に進められている。",
    "パスワードを忘れた場合は、登録したメールアドレスを入力してください。",
    "祖母は毎朝、庭の苔に水をやってから、古いラジオで天気予報を聞いていた。",
    "주문한 상품이 아직 도착하지 않았는데 배송 상태를 어디에서 확인할 수 있나요?",
    "연구팀은 바닷물의 온도가 조금만 올라가도 산호의 성장이 느려진다는 사실을 확인했다.",
    "Wo finde ich die Bedienungsanleitung für meine Waschmaschine?",
    "Der Vertrag verlängert sich um ein Jahr, wenn er nicht spätestens drei Monate vor Ablauf "
    "schriftlich gekündigt wird.",
    "Im Keller der Universität lagern zehntausend Schachteln mit getrockneten Moosen, die seit dem "
    "vorletzten Jahrhundert niemand mehr geöffnet hat.",
    "Quels sont les horaires de la bibliothèque municipale pendant les vacances ?",
    "Le tribunal a estimé que le bailleur aurait dû réparer la toiture avant l'hiver et l'a "
    "condamné à rembourser une partie des loyers.",
    "La sonda envió sus últimas fotografías antes de perderse detrás de la luna más pequeña.",
    "¿Cuánto tarda en llegar el reembolso después de devolver un pedido?",
    "O porto foi ampliado para receber navios maiores, mas os pescadores queixam-se do barulho e "
    "da falta de espaço.",
    "La ricetta della nonna prevede due uova, un pizzico di sale e tanta pazienza.",
    "De boot vertrekt elk uur vanaf de kade achter het station.",
    "Pociąg pospieszny do Gdańska odjedzie dziś z peronu trzeciego z opóźnieniem około dwudziestu "
    "minut.",
    "Kde si mohu vyzvednout zásilku, když nejsem doma?",
    "Учёные нашли в вечной мерзлоте семена растения, которое считалось исчезнувшим тридцать тысяч "
    "лет назад.",
    "Как отменить заказ, если он уже оплачен?",
    "Сервер відповідає повільно, тому що журнал подій займає весь вільний простір на диску.",
    "Η παράσταση αρχίζει στις εννέα, αλλά οι πόρτες κλείνουν δέκα λεπτά νωρίτερα.",
    "Kütüphaneden aldığım kitabı ne zaman geri vermem gerekiyor?",
    "أين يمكنني تجديد جواز السفر، وكم من الوقت يستغرق ذلك؟",
    "اكتشف الباحثون أن النحل يتذكر شكل الأزهار التي زارها في اليوم السابق.",
    "הספרייה העירונית פתוחה בכל יום חוץ משבת, והכניסה אליה חופשית.",
    "باران دیشب جاده کوهستانی را بست و مسافران تا صبح در روستا ماندند.",
    "मोबाइल नंबर बदलने के लिए कौन से कागज़ चाहिए?",
    "इस वर्ष आम की फसल अच्छी हुई है, इसलिए बाज़ार में दाम पिछले साल से कम हैं।",
    "নদীর ধারে প্রতি শুক্রবার হাট বসে, দূর গ্রাম থেকে লোকজন নৌকায় করে আসে।",
    "மழை நின்றதும் குழந்தைகள் காகிதக் கப்பல்களை வாய்க்காலில் விட்டார்கள்.",
    "రైలు ఆలస్యంగా వచ్చినందున ప్రయాణికులు స్టేషన్‌లో రెండు గంటలు వేచి ఉన్నారు.",
    "พรุ่งนี้ธนาคารปิดหรือเปล่า และตู้เอทีเอ็มใช้ได้ไหม",
    "Làm thế nào để đổi vé máy bay sang ngày khác?",
    "Pasar terapung buka sebelum matahari terbit dan sudah sepi ketika kantor mulai bekerja.",
    "Duka la dawa liko karibu na kituo cha basi, upande wa kushoto.",
    "Sauna lämpenee tunnissa, mutta järvessä on vielä jäätä.",
    "Hur många dagar har jag på mig att överklaga beslutet?",
    "Az utolsó villamos éjfél után tíz perccel indul a főtérről.",
    "SELECT name, SUM(amount) AS total FROM orders WHERE paid = 1 GROUP BY name ORDER BY 2 DESC;",
    "for (int i = 0; i < n; ++i) { if (seen[i]++) return false; }  // duplicates",
    "import numpy as np\n\nx = np.linspace(0.0, 1.0, 101)\nprint(x.mean(), x.std())\n",
    '<li class="item"><a href="/shop?id=77&lang=pt">Café – 500 g</a></li>',
    "ERROR 2031-11-05T04:17:09Z worker-3 timeout after 30000 ms (attempt 2 of 5): connection reset",
    "https://data.example.net/v2/files/report_final(3).pdf?token=Zx81kQ%3D%3D&page=12",
    "1. tomatoes 2. basil 3. olive oil 4. salt 5. bread 6. garlic 7. pepper 8. vinegar",
    "x1 = 3.1416; 10^6 m/s; 37.5 °C; 5′11″; ½ cup; 99.95 %; −40; 1:250 000",
    "1234567890 0987654321 55512 7 42 1000000 3.50 12/24/2035 08:45",
    "🍜🌧️🚲 lol 😂😂 ok 👍",
    "!",
    "...",
    "?",
    "7",
    "of",
    "水",
    "да",
    "۞",
    "no no no no no no no no no no no no no no no no no no no no no no no no",
    "雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪雪",
    "-----=====-----=====-----=====",
    "qXz9LmP0vT4kR7sWb2NcY8uJd5HfGa3E",
    "MEETING NOTES: DO NOT FORWARD",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
)
