"""What the server says to the blocks of the pages, by a text that is in the block."""

from __future__ import annotations

from typing import Any

from tests.helpers.gemini_server import call, calls, text


def told(tool: str, args: dict[str, Any], answer: str) -> list[Any]:
    return [calls(call(tool, args)), text(answer)]


SCRIPTS: dict[str, list[Any]] = {
    # index, tutorial
    "any TEA-9 left?": told("stock", {"sku": "TEA-9"}, "Three of them."),
    "has no caffeine?": [text("Rooibos.")],
    "Do we have rooibos?": told("stock", {"sku": "ROOIBOS"}, "Yes, 12 packets."),
    "a packet of ASSAM?": told("price", {"sku": "ASSAM"}, "4.50."),
    "I am Ann, and I take no sugar.": [text("Noted."), text("Without sugar, Ann.")],
    "Order twenty of ASSAM.": told("order", {"sku": "ASSAM", "n": 20}, "Twenty are ordered."),
    "a line about Assam.": [text("Malty and strong.")],
    # runs, chats, stores, memory, models, web frameworks
    "How good is Ceylon?": told("rate", {"tea": "Ceylon"}, "Four stars."),
    "How good is Darjeeling?": [calls(call("rate", {"tea": "Darjeeling"}))],
    "Rate Yunnan.": told("rate", {"tea": "Yunnan"}, "Four."),
    "Recommend a tea.": [text("Try Assam."), text("Then Darjeeling.")],
    "Call me Dana.": [text("Dana it is.")],
    "Put TEA-1 into my cart.": told("put", {"sku": "TEA-1"}, "It is in your cart."),
    "Is mint a tea?": [text("A tisane.")],
    "Is black tea green?": [text("It was.")],
    "Tea number": [text(f"Tea {number}.") for number in (1, 2, 3)],
    "My tea is Gunpowder.": [text("Noted.")],
    "Name a tea from Fujian.": [text("Tieguanyin.")],
    "A tea for the evening?": [text("Rooibos."), text("Yes, that too.")],
    "Is TEA-7 there?\", deps": told("stock", {"sku": "TEA-7"}, "Two of them."),
    # Vertex AI
    "Which tea grows in Uji?": [text("Gyokuro.")],
    "Who speaks in it?": [text("A taster.")],
    "Name a tea of Assam.": [text("Mangalam.")],
    # coming from google-genai
    "Why is tea green?": [text("It was never oxidised.")],
    "What does TEA-1 cost?": told("price", {"sku": "TEA-1"}, "It costs 4.50."),
    "Which tea is the darkest?": [text("Pu-erh.")],
    "I drink Assam.": [text("Good."), text("Assam.")],
    "Praise tea.": [text("Warm and bright.")],
    "Name one green tea.": [text("Sencha.")],
    "Is it tea time?": told("now", {}, "In a minute."),
    "How hot for Sencha?": [text('{"name": "Sencha", "degrees": 70}')],
    "Which leaf is this?": [text("Camellia sinensis.")],
    # coming from pydantic-ai
    "What is matcha?": [text("Powdered green tea.")],
    "How much matcha is there?": told("in_stock", {"sku": "MATCHA"}, "Two tins."),
    "What is matcha-30?": [
        calls(call("look_up", {"sku": "matcha-30"})),
        *told("look_up", {"sku": "MATCHA-30"}, "A tin of 30 g."),
    ],
    "Two tins of matcha, please.": [text('{"sku": "MATCHA", "n": 2}')],
    "I am Bo.": [text("Hello."), text("Bo.")],
    "What is oolong?": [text("Half oxidised tea.")],
    "Refund order A-7.": told("refund", {"order": "A-7"}, "Done."),
    "A haiku on tea.": [text("Steam over the cup.")],
    "Is the shop open?": [text("Until six.")],
    # coming from openai-agents
    "What is white tea?": [text("Young buds, dried.")],
    "Weigh 50 g.": told("weigh", {"grams": 50}, "Here are 50 g."),
    "Greet me.": told("who", {}, "Hello, Cem."),
    "I take milk.": [text("Noted: milk.")],
    "What is in Earl Grey?": [text('{"teas": ["black", "bergamot"]}')],
    "Count all leaves.": [calls(call("count", {"shelf": 1}))],
    "Who sells Assam?": [calls(call("buyer", {"request": "Assam?"})), text("Halmari."), text("Halmari does.")],
    "Sing of tea.": [text("O leaf!")],
    "Throw OLD-1 away.": told("throw_away", {"sku": "OLD-1"}, "It stays."),
    # coming from google-adk
    "What is chai?": [text("Tea with spices.")],
    "Brew for three minutes.": told("brew", {"minutes": 3}, "Your cup is ready."),
    "My tea is Keemun.": told("remember", {"tea": "Keemun"}, "Noted."),
    "Keep this: Lapsang.": [text("Kept.")],
    "How is the new Assam?": [
        calls(call("taster", {"request": "The new Assam?"})), text("Malty."), text("Malty, says the taster."),
    ],
    "Give 500.": told("give", {"amount": 500}, "That is too much."),
    "One smoky tea.": [text('{"name": "Lapsang"}')],
    "May I close early?": told("ask_boss", {"question": "early?"}, "You may."),
}  # fmt: skip
