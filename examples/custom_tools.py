"""Tools of your own, with dependencies, a retry and a write: python -m examples.custom_tools "Is TEA-1 low?".

A small tea shop. The model never sees the shop: the tools get it as `ctx.deps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from agentkit import Agent, Context, Limits, ToolRegistry, ToolRetry
from examples.common import answer, arguments, ask_for, choose_model, run_main, say

INSTRUCTIONS = (
    "You run a small tea shop. Fewer than 5 items of a product is low. "
    "Who greets you or asks what you can do is told what they can ask, with these examples: "
    '"How many TEA-1 are left?", "Is MINT-1 low?", "Order 10 of MINT-1"'
)

tea_shop = ToolRegistry("tea shop")


@dataclass
class Shop:
    """What the tools work on."""

    stock: dict[str, int] = field(default_factory=lambda: {"TEA-1": 3, "TEA-2": 40, "MINT-1": 12})
    orders: list[str] = field(default_factory=list)


@tea_shop.tool(effect="read")
def stock(sku: str, ctx: Context[Shop]) -> str:
    """Look up how many items of a product are in stock, left, available, or whether it is low.

    Args:
        sku: Product code.
    """
    return f"{_known(sku, ctx.deps)}: {ctx.deps.stock[_known(sku, ctx.deps)]} in stock"


@tea_shop.tool(effect="write", timeout=10)
async def order(sku: str, ctx: Context[Shop], items: Annotated[int, Field(ge=1, le=99)] = 1) -> str:
    """Order, buy or restock items of a product from the supplier.

    Args:
        sku: Product code.
        items: How many.
    """
    code = _known(sku, ctx.deps)
    ctx.deps.orders.append(f"{items} x {code}")
    return f"ordered {items} x {code}"


def _known(sku: str, shop: Shop) -> str:
    code = sku.strip().upper()
    if code not in shop.stock:
        raise ToolRetry(f"There is no product {sku!r}. The products are {', '.join(shop.stock)}.")
    return code


def make_agent(model: str | None) -> Agent:
    """Make the agent."""
    return Agent(
        model,
        name="tea_shop",
        tools=[tea_shop],
        instructions=INSTRUCTIONS,
        limits=Limits(turns=8, seconds=120),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = arguments(__doc__ or "", example="examples.custom_tools")
    parser.add_argument("question", nargs="*", help='e.g. "How many TEA-1 are left?" or "Order 10 of MINT-1"')
    args = parser.parse_args(argv)
    agent = make_agent(choose_model(args.model))  # loads the embedded model while the user types
    question = ask_for(args.question, "What is there to do in the shop?")
    shop = Shop()
    code = answer(agent, question, deps=shop, verbose=args.verbose)
    for placed in shop.orders:
        say(f"Order placed: {placed}")
    return code


if __name__ == "__main__":
    run_main(main)
