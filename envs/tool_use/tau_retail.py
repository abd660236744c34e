"""The tools of tau-bench's retail shop, written from its policy, schemas and recorded behaviour.

Names, arguments and messages are those of sierra-research/tau-bench (MIT); money follows its rounding,
which differs by tool, because end states are compared by hash.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "RETAIL",
    "calculate",
    "cancel_pending_order",
    "exchange_delivered_order_items",
    "find_user_id_by_email",
    "find_user_id_by_name_zip",
    "get_order_details",
    "get_product_details",
    "get_user_details",
    "list_all_product_types",
    "modify_pending_order_address",
    "modify_pending_order_items",
    "modify_pending_order_payment",
    "modify_user_address",
    "return_delivered_order_items",
    "think",
    "transfer_to_human_agents",
]

Record = dict[str, Any]


@tool()
def calculate(db: State, expression: str) -> str:
    """The value of an arithmetic expression of numbers, + - * / and parentheses."""
    if not set(expression) <= set("0123456789+-*/(). "):
        raise RefusedError("invalid characters in expression")
    try:
        return str(round(float(_value(ast.parse(expression.strip(), mode="eval").body)), 2))
    except (ArithmeticError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RefusedError(str(error)) from error


@tool()
def find_user_id_by_email(db: State, email: str) -> str:
    """The id of the user with this e-mail address."""
    for user, row in db["users"].items():
        if row["email"].lower() == email.lower():
            return str(user)
    raise RefusedError("user not found")


@tool()
def find_user_id_by_name_zip(db: State, first_name: str, last_name: str, zip: str) -> str:
    """The id of the user with this name and zip code; the e-mail address is the better key."""
    wanted = (first_name.lower(), last_name.lower(), zip)
    for user, row in db["users"].items():
        name = row["name"]
        key = (name["first_name"].lower(), name["last_name"].lower(), row["address"]["zip"])
        if key == wanted:
            return str(user)
    raise RefusedError("user not found")


@tool()
def get_user_details(db: State, user_id: str) -> Record:
    """A user's name, address, e-mail, payment methods and orders."""
    return _record(db, "users", user_id)


@tool()
def get_order_details(db: State, order_id: str) -> Record:
    """An order's address, items, status and payments."""
    return _record(db, "orders", order_id)


@tool()
def get_product_details(db: State, product_id: str) -> Record:
    """A product's items with their options, prices and availability."""
    return _record(db, "products", product_id)


@tool()
def list_all_product_types(db: State) -> dict[str, str]:
    """Name and product id of every product, sorted by name."""
    return dict(sorted((row["name"], key) for key, row in db["products"].items()))


@tool()
def think(db: State, thought: str) -> str:
    """Nothing: room to think."""
    return ""


@tool()
def transfer_to_human_agents(db: State, summary: str) -> str:
    """Hand the user to a person; the conversation ends."""
    return "Transfer successful"


@tool(writes=True)
def cancel_pending_order(
    db: State, order_id: str, reason: Literal["no longer needed", "ordered by mistake"]
) -> Record:
    """Cancel a pending order and refund it."""
    order = _order_in(db, order_id, "pending", "cancelled")
    if reason not in ("no longer needed", "ordered by mistake"):
        raise RefusedError("invalid reason")
    methods = _methods(db, order)
    refunds = [
        _payment("refund", paid["amount"], paid["payment_method_id"])
        for paid in order["payment_history"]
    ]
    for refund in refunds:
        if "gift_card" in refund["payment_method_id"]:
            _add(methods[refund["payment_method_id"]], refund["amount"])
    order["status"], order["cancel_reason"] = "cancelled", reason
    order["payment_history"].extend(refunds)
    return order


@tool(writes=True)
def modify_pending_order_address(
    db: State,
    order_id: str,
    address1: str,
    address2: str,
    city: str,
    state: str,
    country: str,
    zip: str,
) -> Record:
    """Send a pending order to another address."""
    order = _order_in(db, order_id, "pending", "modified")
    order["address"] = _address(address1, address2, city, state, country, zip)
    return order


@tool(writes=True)
def modify_user_address(
    db: State,
    user_id: str,
    address1: str,
    address2: str,
    city: str,
    state: str,
    country: str,
    zip: str,
) -> Record:
    """Change a user's default address."""
    user = _record(db, "users", user_id)
    user["address"] = _address(address1, address2, city, state, country, zip)
    return user


@tool(writes=True)
def modify_pending_order_payment(db: State, order_id: str, payment_method_id: str) -> Record:
    """Pay a pending order by another method; the old one is refunded."""
    order = _order_in(db, order_id, "pending", "modified")
    methods = _methods(db, order)
    method = _method(methods, payment_method_id)
    history = order["payment_history"]
    if len(history) != 1 or history[0]["transaction_type"] != "payment":
        raise RefusedError("there should be exactly one payment for a pending order")
    old, amount = history[0]["payment_method_id"], history[0]["amount"]
    if old == payment_method_id:
        raise RefusedError("the new payment method should be different from the current one")
    if method["source"] == "gift_card" and method["balance"] < amount:
        raise RefusedError("insufficient gift card balance to pay for the order")
    history += [_payment("payment", amount, payment_method_id), _payment("refund", amount, old)]
    if method["source"] == "gift_card":
        _add(method, -amount)
    if "gift_card" in old:
        _add(methods[old], amount)
    return order


@tool(writes=True)
def modify_pending_order_items(
    db: State,
    order_id: str,
    item_ids: list[str],
    new_item_ids: list[str],
    payment_method_id: str,
) -> Record:
    """Replace items of a pending order by others of the same products; possible once."""
    order = _order_in(db, order_id, "pending", "modified")
    swaps = _swaps(db, order, item_ids, new_item_ids)
    difference = sum(new["price"] - old["price"] for old, new in swaps)
    method = _method(_methods(db, order), payment_method_id)
    if method["source"] == "gift_card" and method["balance"] < difference:
        raise RefusedError("insufficient gift card balance to pay for the new item")
    kind = "payment" if difference > 0 else "refund"
    order["payment_history"].append(_payment(kind, abs(difference), payment_method_id))
    if method["source"] == "gift_card":
        _add(method, -difference)
    for old, new in swaps:
        old |= {"item_id": new["item_id"], "price": new["price"], "options": new["options"]}
    order["status"] = "pending (item modified)"
    return order


@tool(writes=True)
def exchange_delivered_order_items(
    db: State,
    order_id: str,
    item_ids: list[str],
    new_item_ids: list[str],
    payment_method_id: str,
) -> Record:
    """Ask for other items of the same products in place of delivered ones; possible once."""
    order = _order_in(db, order_id, "delivered", "exchanged")
    swaps = _swaps(db, order, item_ids, new_item_ids)
    difference = round(sum(new["price"] - old["price"] for old, new in swaps), 2)
    method = _method(_methods(db, order), payment_method_id)
    if method["source"] == "gift_card" and method["balance"] < difference:
        raise RefusedError("insufficient gift card balance to pay for the price difference")
    order |= {
        "status": "exchange requested",
        "exchange_items": sorted(item_ids),
        "exchange_new_items": sorted(new_item_ids),
        "exchange_payment_method_id": payment_method_id,
        "exchange_price_difference": difference,
    }
    return order


@tool(writes=True)
def return_delivered_order_items(
    db: State, order_id: str, item_ids: list[str], payment_method_id: str
) -> Record:
    """Ask to return delivered items, refunded to the original method or a gift card."""
    order = _order_in(db, order_id, "delivered", "returned")
    _method(_methods(db, order), payment_method_id)
    original = order["payment_history"][0]["payment_method_id"]
    if "gift_card" not in payment_method_id and payment_method_id != original:
        message = "payment method should be either the original payment method or a gift card"
        raise RefusedError(message)
    here = [item["item_id"] for item in order["items"]]
    if any(item_ids.count(item) > here.count(item) for item in item_ids):
        raise RefusedError("some item not found")
    order |= {
        "status": "return requested",
        "return_items": sorted(item_ids),
        "return_payment_method_id": payment_method_id,
    }
    return order


def _record(db: State, table: str, key: str) -> Record:
    if key not in db[table]:
        raise RefusedError(f"{table[:-1]} not found")
    found: Record = db[table][key]
    return found


def _order_in(db: State, order_id: str, status: str, verb: str) -> Record:
    """The order, if it is in this status."""
    order = _record(db, "orders", order_id)
    if order["status"] != status:
        raise RefusedError(f"non-{status} order cannot be {verb}")
    return order


def _methods(db: State, order: Record) -> dict[str, Record]:
    """The payment methods of the order's user."""
    methods: dict[str, Record] = db["users"][order["user_id"]]["payment_methods"]
    return methods


def _method(methods: Mapping[str, Record], key: str) -> Record:
    if key not in methods:
        raise RefusedError("payment method not found")
    return methods[key]


def _swaps(
    db: State, order: Record, item_ids: Sequence[str], new_item_ids: Sequence[str]
) -> list[tuple[Record, Record]]:
    """Pairs of an item of the order and the variant that takes its place."""
    here = [item["item_id"] for item in order["items"]]
    for item_id in item_ids:
        if item_ids.count(item_id) > here.count(item_id):
            raise RefusedError(f"{item_id} not found")
    if len(item_ids) != len(new_item_ids):
        raise RefusedError("the number of items to be exchanged should match")
    left, swaps = list(order["items"]), []
    for item_id, new_id in zip(item_ids, new_item_ids, strict=True):
        old = next(item for item in left if item["item_id"] == item_id)
        left = [item for item in left if item is not old]
        new = db["products"][old["product_id"]]["variants"].get(new_id)
        if new is None or not new["available"]:
            raise RefusedError(f"new item {new_id} not found or available")
        swaps.append((old, new))
    return swaps


def _payment(kind: str, amount: float, method: str) -> Record:
    return {"transaction_type": kind, "amount": amount, "payment_method_id": method}


def _add(gift_card: Record, amount: float) -> None:
    gift_card["balance"] = round(gift_card["balance"] + amount, 2)


def _address(
    address1: str, address2: str, city: str, state: str, country: str, zip: str
) -> dict[str, str]:
    return {
        "address1": address1,
        "address2": address2,
        "city": city,
        "state": state,
        "country": country,
        "zip": zip,
    }


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand))
    raise ValueError("invalid syntax")


RETAIL = ToolBox(
    (
        calculate,
        cancel_pending_order,
        exchange_delivered_order_items,
        find_user_id_by_email,
        find_user_id_by_name_zip,
        get_order_details,
        get_product_details,
        get_user_details,
        list_all_product_types,
        modify_pending_order_address,
        modify_pending_order_items,
        modify_pending_order_payment,
        modify_user_address,
        return_delivered_order_items,
        think,
        transfer_to_human_agents,
    )
)
