"""tau2-bench's retail domain: the tools of tau-bench's, with one more and its null fields."""

from __future__ import annotations

from typing import Any

from turngym.envs.tool_use.tau_retail import RETAIL
from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = ["RETAIL2", "get_item_details", "get_order_details"]

_EMPTY = (
    "cancel_reason",
    "exchange_items",
    "exchange_new_items",
    "exchange_payment_method_id",
    "exchange_price_difference",
    "return_items",
    "return_payment_method_id",
)


@tool()
def get_order_details(state: State, order_id: str) -> dict[str, Any]:
    """An order's address, items, status and payments."""
    if order_id not in state["orders"]:
        raise RefusedError("Order not found")
    return {**state["orders"][order_id], **_empty(state["orders"][order_id])}


@tool()
def get_item_details(state: State, item_id: str) -> dict[str, Any]:
    """A variant's options, price and availability."""
    for product in state["products"].values():
        if item_id in product["variants"]:
            found: dict[str, Any] = product["variants"][item_id]
            return found
    raise RefusedError("Item not found")


def _empty(order: dict[str, Any]) -> dict[str, None]:
    return {name: None for name in _EMPTY if name not in order}


RETAIL2 = ToolBox(
    (
        *(
            each
            for name, each in RETAIL.tools.items()
            if name not in ("think", "get_order_details")
        ),
        get_order_details,
        get_item_details,
    )
)
