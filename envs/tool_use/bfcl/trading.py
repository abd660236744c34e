"""BFCL's TradingBot: stocks, orders, a watch list, an account."""

from __future__ import annotations

import copy
from typing import Any

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "TRADING",
    "add_to_watchlist",
    "cancel_order",
    "filter_stocks_by_price",
    "fund_account",
    "get_account_info",
    "get_available_stocks",
    "get_current_time",
    "get_order_details",
    "get_order_history",
    "get_stock_info",
    "get_symbol_by_name",
    "get_transaction_history",
    "get_watchlist",
    "notify_price_change",
    "place_order",
    "remove_stock_from_watchlist",
    "start",
    "trading_get_login_status",
    "trading_login",
    "trading_logout",
    "withdraw_funds",
]

_NAME = "TradingBot"
_SECTORS = {
    "Technology": ["AAPL", "GOOG", "MSFT", "NVDA"],
    "Automobile": ["TSLA", "F", "GM"],
}
_SYMBOLS = {
    "Apple": "AAPL",
    "Google": "GOOG",
    "Tesla": "TSLA",
    "Microsoft": "MSFT",
    "Nvidia": "NVDA",
    "Amazon": "AMZN",
    "Zeta Corp": "ZETA",
    "Alpha Tech": "ALPH",
    "Omega Industries": "OMEG",
    "Quasar Ltd.": "QUAS",
    "Neptune Systems": "NEPT",
    "Synex Solutions": "SYNX",
}
_TODAY, _NOW = "2024-01-01", "10:30 AM"


_ORDERS = {
    "12345": {
        "order_type": "Buy",
        "symbol": "AAPL",
        "price": 210.65,
        "amount": 10,
        "status": "Completed",
    },
    "12446": {
        "order_type": "Sell",
        "symbol": "GOOG",
        "price": 2840.34,
        "amount": 5,
        "status": "Pending",
    },
}
"""Where an entry names no orders, its users speak of a last order 12446 that can still be cancelled."""


def start(config: dict[str, Any]) -> dict[str, Any]:
    """The state of an entry's `initial_config`."""
    account = {"account_id": 12345, "balance": 10000.0, "binding_card": 0}
    return {
        "orders": config.get("orders", copy.deepcopy(_ORDERS)),
        "account_info": config.get("account_info", account),
        "authenticated": config.get("authenticated", False),
        "market_status": config.get("market_status", "Closed"),
        "order_counter": config.get("order_counter", 12446),
        "stocks": config.get("stocks", {}),
        "watch_list": config.get("watch_list", []),
        "transaction_history": config.get("transaction_history", []),
    }


@tool()
def get_current_time(state: State) -> dict[str, str]:
    """The time, always the same."""
    return {"current_time": _NOW}


@tool()
def get_symbol_by_name(state: State, name: str) -> dict[str, str]:
    """The symbol of a company."""
    return {"symbol": _SYMBOLS.get(name, "Stock not found")}


@tool()
def get_stock_info(state: State, symbol: str) -> dict[str, float]:
    """Price, change, volume and averages of a stock."""
    return _stock(state, symbol)


@tool()
def get_available_stocks(state: State, sector: str) -> dict[str, list[str]]:
    """The symbols of a sector."""
    return {"stock_list": _SECTORS.get(sector, [])}


@tool()
def filter_stocks_by_price(
    state: State, stocks: list[str], min_price: float, max_price: float
) -> dict[str, list[str]]:
    """Those of some stocks whose price lies in a range."""
    found = [each for each in stocks if min_price <= _stock(state, each)["price"] <= max_price]
    return {"filtered_stocks": found}


@tool()
def notify_price_change(state: State, stocks: list[str], threshold: float) -> dict[str, str]:
    """Which of some stocks changed by more than a threshold in percent."""
    moved = [each for each in stocks if abs(_stock(state, each)["percent_change"]) > threshold]
    return {"notification": f"moved: {', '.join(moved)}" if moved else "nothing moved"}


@tool(writes=True)
def trading_login(state: State, username: str, password: str) -> dict[str, str]:
    """Log in; any name with a password will do."""
    if not username or not password:
        raise RefusedError("needs name and password")
    state[_NAME]["authenticated"] = True
    return {"status": "logged in"}


@tool()
def trading_get_login_status(state: State) -> dict[str, bool]:
    """Whether the user is logged in."""
    return {"status": state[_NAME]["authenticated"]}


@tool(writes=True)
def trading_logout(state: State) -> dict[str, str]:
    """Log out."""
    _account(state)
    state[_NAME]["authenticated"] = False
    return {"status": "logged out"}


@tool()
def get_account_info(state: State) -> dict[str, Any]:
    """Account id, balance and card."""
    return _account(state)


@tool(writes=True)
def fund_account(state: State, amount: float) -> dict[str, Any]:
    """Put money into the account."""
    return {"status": "funded", "new_balance": _book(state, amount, "deposit")}


@tool(writes=True)
def withdraw_funds(state: State, amount: float) -> dict[str, Any]:
    """Take money out of the account."""
    if amount > _account(state)["balance"]:
        raise RefusedError("the balance is too low")
    return {"status": "withdrawn", "new_balance": _book(state, amount, "withdrawal")}


@tool(writes=True)
def place_order(
    state: State, order_type: str, symbol: str, price: float, amount: int
) -> dict[str, Any]:
    """Order shares at a price."""
    _account(state)
    _stock(state, symbol)
    if price <= 0 or amount <= 0 or order_type.lower() not in ("buy", "sell"):
        raise RefusedError("an order buys or sells some shares at some price")
    own = state[_NAME]
    order = {
        "id": own["order_counter"],
        "order_type": order_type,
        "symbol": symbol,
        "price": price,
        "amount": amount,
        "status": "Open",
    }
    own["orders"][str(own["order_counter"])] = order
    own["order_counter"] += 1
    told = {name: order[name] for name in ("order_type", "status", "price", "amount")}
    return {"order_id": order["id"], **told}


@tool()
def get_order_details(state: State, order_id: int) -> dict[str, Any]:
    """One order."""
    return _order(state, order_id)


@tool(writes=True)
def cancel_order(state: State, order_id: int) -> dict[str, Any]:
    """Cancel an order that is not completed."""
    order = _order(state, order_id)
    if order["status"] in ("Completed", "Cancelled"):
        raise RefusedError(f"order {order_id} is {order['status'].lower()}")
    state[_NAME]["orders"][str(order_id)]["status"] = "Cancelled"
    return {"order_id": order_id, "status": "Cancelled"}


@tool()
def get_order_history(state: State) -> dict[str, list[str]]:
    """The ids of all orders."""
    _account(state)
    return {"order_history": [key for key in state[_NAME]["orders"] if key.isdecimal()]}


@tool()
def get_transaction_history(
    state: State, start_date: str | None = None, end_date: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Deposits and withdrawals, perhaps within two dates."""
    _account(state)
    first = "" if start_date in (None, "None") else str(start_date)
    last = "9999" if end_date in (None, "None") else str(end_date)
    history = state[_NAME]["transaction_history"]
    return {"transaction_history": [each for each in history if first <= each["date"] <= last]}


@tool()
def get_watchlist(state: State) -> dict[str, list[str]]:
    """The watch list."""
    _account(state)
    return {"watchlist": state[_NAME]["watch_list"]}


@tool(writes=True)
def add_to_watchlist(state: State, stock: str) -> dict[str, list[str]]:
    """Watch a stock."""
    _stock(state, stock)
    watched: list[str] = state[_NAME]["watch_list"]
    if stock not in watched:
        watched.append(stock)
    return {"watchlist": watched}


@tool(writes=True)
def remove_stock_from_watchlist(state: State, symbol: str) -> dict[str, str]:
    """Watch a stock no more."""
    _account(state)
    if symbol not in state[_NAME]["watch_list"]:
        raise RefusedError(f"{symbol[:20]} is not watched")
    state[_NAME]["watch_list"].remove(symbol)
    return {"status": f"{symbol} is removed"}


def _account(state: State) -> dict[str, Any]:
    if not state[_NAME]["authenticated"]:
        raise RefusedError("nobody is logged in")
    found: dict[str, Any] = state[_NAME]["account_info"]
    return found


def _stock(state: State, symbol: str) -> dict[str, float]:
    if symbol not in state[_NAME]["stocks"]:
        raise RefusedError(f"there is no stock {symbol[:20]!r}")
    found: dict[str, float] = state[_NAME]["stocks"][symbol]
    return found


def _order(state: State, order_id: int) -> dict[str, Any]:
    _account(state)
    found = state[_NAME]["orders"].get(str(order_id))
    if found is None:
        raise RefusedError(f"there is no order {order_id}")
    return {"id": order_id, **found}


def _book(state: State, amount: float, kind: str) -> float:
    account = _account(state)
    if amount <= 0:
        raise RefusedError("an amount is above 0")
    account["balance"] += amount if kind == "deposit" else -amount
    entry = {"type": kind, "amount": amount, "date": _TODAY}
    state[_NAME]["transaction_history"].append(entry)
    return float(account["balance"])


TRADING = ToolBox(
    (
        get_current_time, get_symbol_by_name, get_stock_info, get_available_stocks,
        filter_stocks_by_price, notify_price_change, trading_login, trading_get_login_status,
        trading_logout, get_account_info, fund_account, withdraw_funds, place_order,
        get_order_details, cancel_order, get_order_history, get_transaction_history, get_watchlist,
        add_to_watchlist, remove_stock_from_watchlist,
    )
)  # fmt: skip
