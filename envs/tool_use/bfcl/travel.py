"""BFCL's TravelAPI: flights, cards, bookings, insurance, a budget.

New ids are drawn from a generator whose seed the gold calls of the data give away (a first booking is
3426812). `_draws` keeps the ranges drawn so far, so that the state stays plain data. Fares are ours but for
those that the data name; what a conversion gives follows from the data (7 RMB to a dollar, and so on).
"""

from __future__ import annotations

import random
import re
from typing import Any

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "TRAVEL",
    "authenticate_travel",
    "book_flight",
    "cancel_booking",
    "compute_exchange_rate",
    "contact_customer_support",
    "get_all_credit_cards",
    "get_booking_history",
    "get_budget_fiscal_year",
    "get_credit_card_balance",
    "get_flight_cost",
    "get_nearest_airport_by_city",
    "list_all_airports",
    "purchase_insurance",
    "register_credit_card",
    "retrieve_invoice",
    "set_budget_limit",
    "start",
    "travel_get_login_status",
    "verify_traveler_information",
]

_NAME = "TravelAPI"
_SEED = 141053
_AIRPORTS = {
    "Rivermist": "RMS", "Stonebrook": "SBK", "Maplecrest": "MPC", "Silverpine": "SVP",
    "Shadowridge": "SHR", "London": "LHR", "Paris": "CDG", "Sunset Valley": "SSV",
    "Oakendale": "OKD", "Willowbend": "WLB", "Crescent Hollow": "CRH", "Autumnville": "ATV",
    "Pinehaven": "PHV", "Greenfield": "GFD", "San Francisco": "SFO", "Los Angeles": "LAX",
    "New York": "JFK", "Chicago": "ORD", "Beijing": "PEK", "Hong Kong": "HKG", "Rome": "CIA",
    "Tokyo": "HND", "Boston": "BOS",
}  # fmt: skip
_FARES = {
    frozenset(pair.split("-")): fare
    for pair, fare in {
        "SFO-LAX": 200, "LAX-JFK": 1200, "SFO-CIA": 1400, "RMS-JFK": 420, "JFK-MPC": 940,
        "CRH-JFK": 850, "LAX-HND": 600, "RMS-LAX": 550, "CRH-HKG": 850,
    }.items()
}  # fmt: skip
_OTHER_FARE = 700
_CLASSES = {"economy": 1, "business": 2, "first": 5}
_PER_DOLLAR = {
    "USD": 1.0, "RMB": 7.0, "EUR": 0.8, "JPY": 110.0, "GBP": 0.7, "CAD": 1.3, "AUD": 1.4, "INR": 70.0,
    "RUB": 60.0, "BRL": 3.8, "MXN": 20.0,
}  # fmt: skip
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NEW_CARD_BALANCE = 10_000.0


def start(config: dict[str, Any]) -> dict[str, Any]:
    """The state of an entry's `initial_config`."""
    kept = (
        "user_first_name", "user_last_name", "access_token", "token_type", "token_expires_in",
        "token_scope", "budget_limit",
    )  # fmt: skip
    return {
        "credit_card_list": config.get("credit_card_list", {}),
        "booking_record": config.get("booking_record", {}),
        **{name: config.get(name) for name in kept},
        "_draws": [],
    }


@tool(writes=True)
def authenticate_travel(
    state: State,
    client_id: str,
    client_secret: str,
    refresh_token: str,
    grant_type: str,
    user_first_name: str,
    user_last_name: str,
) -> dict[str, Any]:
    """Log in; gives the token that other calls need."""
    own = state[_NAME]
    token = str(_draw(own, 100_000, 999_999))
    own |= {
        "user_first_name": user_first_name,
        "user_last_name": user_last_name,
        "access_token": token,
        "token_type": "Bearer",
        "token_expires_in": 2,
        "token_scope": grant_type,
    }
    return {"expires_in": 2, "access_token": token, "token_type": "Bearer", "scope": grant_type}


@tool()
def travel_get_login_status(state: State) -> dict[str, bool]:
    """Whether there is a token."""
    return {"status": bool(state[_NAME]["access_token"])}


@tool()
def list_all_airports(state: State) -> dict[str, list[str]]:
    """The codes of all airports."""
    return {"airports": list(_AIRPORTS.values())}


@tool()
def get_nearest_airport_by_city(state: State, location: str) -> dict[str, str]:
    """The airport of a city."""
    return {"nearest_airport": _AIRPORTS.get(location, "Unknown")}


@tool()
def get_flight_cost(
    state: State, travel_from: str, travel_to: str, travel_date: str, travel_class: str
) -> dict[str, list[float]]:
    """The fare in dollars."""
    return {"travel_cost_list": [_fare(travel_from, travel_to, travel_date, travel_class)]}


@tool()
def compute_exchange_rate(
    state: State, base_currency: str, target_currency: str, value: float
) -> dict[str, float]:
    """An amount in another currency."""
    for each in (base_currency, target_currency):
        if each not in _PER_DOLLAR:
            raise RefusedError(
                f"no rate for {each[:20]!r}; currencies are {', '.join(_PER_DOLLAR)}"
            )
    amount = value / _PER_DOLLAR[base_currency] * _PER_DOLLAR[target_currency]
    return {"exchanged_value": round(amount, 2)}


@tool(writes=True)
def set_budget_limit(state: State, access_token: str, budget_limit: float) -> dict[str, float]:
    """Set the budget in dollars."""
    _own(state, access_token)["budget_limit"] = float(budget_limit)
    return {"budget_limit": float(budget_limit)}


@tool()
def get_budget_fiscal_year(
    state: State, lastModifiedAfter: str | None = None, includeRemoved: str | None = None
) -> dict[str, str]:
    """The fiscal year of the budget."""
    return {"budget_fiscal_year": "2018"}


@tool()
def verify_traveler_information(
    state: State, first_name: str, last_name: str, date_of_birth: str, passport_number: str
) -> dict[str, Any]:
    """Whether name, date of birth and passport number go with the account."""
    own = state[_NAME]
    if (first_name, last_name) != (own["user_first_name"], own["user_last_name"]):
        return {"verification_status": False, "verification_failure": "another name"}
    if not _DATE.fullmatch(date_of_birth) or not passport_number:
        return {"verification_status": False, "verification_failure": "no date or no passport"}
    return {"verification_status": True, "verification_failure": None}


@tool(writes=True)
def register_credit_card(
    state: State,
    access_token: str,
    card_number: str,
    expiration_date: str,
    cardholder_name: str,
    card_verification_number: int,
) -> dict[str, str]:
    """Add a card."""
    own = _own(state, access_token)
    card_id = str(_draw(own, 100_000_000_000, 999_999_999_999))
    own["credit_card_list"][card_id] = {
        "card_number": card_number,
        "expiration_date": expiration_date,
        "cardholder_name": cardholder_name,
        "card_verification_number": card_verification_number,
        "balance": _NEW_CARD_BALANCE,
    }
    return {"card_id": card_id}


@tool()
def get_all_credit_cards(state: State) -> dict[str, dict[str, Any]]:
    """All cards."""
    return {"credit_card_list": state[_NAME]["credit_card_list"]}


@tool()
def get_credit_card_balance(state: State, access_token: str, card_id: str) -> dict[str, float]:
    """The balance of a card."""
    return {"card_balance": _card(_own(state, access_token), card_id)["balance"]}


@tool(writes=True)
def book_flight(
    state: State,
    access_token: str,
    card_id: str,
    travel_date: str,
    travel_from: str,
    travel_to: str,
    travel_class: str,
) -> dict[str, Any]:
    """Book a flight and pay it by card."""
    own = _own(state, access_token)
    cost = _fare(travel_from, travel_to, travel_date, travel_class)
    _pay(own, card_id, cost)
    booking_id = str(_draw(own, 1_000_000, 9_999_999))
    record = {
        "card_id": card_id,
        "travel_date": travel_date,
        "travel_from": travel_from,
        "travel_to": travel_to,
        "travel_class": travel_class,
        "travel_cost": cost,
        "transaction_id": str(_draw(own, 10_000_000, 99_999_999)),
    }
    own["booking_record"][booking_id] = record
    return {
        "booking_id": booking_id,
        "transaction_id": record["transaction_id"],
        "booking_status": True,
        "booking_history": {},
    }


@tool(writes=True)
def cancel_booking(state: State, access_token: str, booking_id: str) -> dict[str, bool]:
    """Cancel a booking; its fare goes back to the card."""
    own = _own(state, access_token)
    record = _booking(own, booking_id)
    card = own["credit_card_list"].get(record.get("card_id"))
    if card is not None:
        card["balance"] += record["travel_cost"]
    del own["booking_record"][booking_id]
    return {"cancel_status": True}


@tool()
def get_booking_history(state: State, access_token: str) -> dict[str, dict[str, Any]]:
    """All bookings."""
    return {"booking_history": _own(state, access_token)["booking_record"]}


@tool(writes=True)
def purchase_insurance(
    state: State,
    access_token: str,
    insurance_type: str,
    booking_id: str,
    insurance_cost: float,
    card_id: str,
) -> dict[str, Any]:
    """Insure a booking and pay it by card."""
    own = _own(state, access_token)
    record = _booking(own, booking_id)
    if insurance_cost < 0:
        raise RefusedError("a cost is at least 0")
    _pay(own, card_id, insurance_cost)
    insurance_id = str(_draw(own, 100_000_000, 999_999_999))
    record |= {
        "insurance_id": insurance_id,
        "insurance_type": insurance_type,
        "insurance_cost": float(insurance_cost),
    }
    return {"insurance_id": insurance_id, "insurance_status": True}


@tool()
def retrieve_invoice(
    state: State, access_token: str, booking_id: str | None = None, insurance_id: str | None = None
) -> dict[str, Any]:
    """The invoice of a booking or of an insurance."""
    own = _own(state, access_token)
    wanted = None if booking_id in (None, "None") else booking_id
    for key, record in own["booking_record"].items():
        if key == wanted or (wanted is None and record.get("insurance_id") == insurance_id):
            return {"invoice": {"booking_id": key, **record}}
    raise RefusedError("there is no such booking or insurance")


@tool()
def contact_customer_support(state: State, booking_id: str, message: str) -> dict[str, str]:
    """Write to customer support about a booking."""
    _booking(state[_NAME], booking_id)
    return {"customer_support_message": "Thank you, we will be in touch shortly."}


def _own(state: State, access_token: str) -> dict[str, Any]:
    own: dict[str, Any] = state[_NAME]
    if not own["access_token"] or access_token != own["access_token"]:
        raise RefusedError("the access token is not valid")
    return own


def _card(own: dict[str, Any], card_id: str) -> dict[str, Any]:
    if card_id not in own["credit_card_list"]:
        raise RefusedError(f"there is no card {card_id[:40]!r}")
    found: dict[str, Any] = own["credit_card_list"][card_id]
    return found


def _pay(own: dict[str, Any], card_id: str, amount: float) -> None:
    card = _card(own, card_id)
    if card["balance"] < amount:
        raise RefusedError("the balance of the card is too low")
    card["balance"] -= amount


def _booking(own: dict[str, Any], booking_id: str) -> dict[str, Any]:
    if booking_id not in own["booking_record"]:
        raise RefusedError(f"there is no booking {booking_id[:40]!r}")
    found: dict[str, Any] = own["booking_record"][booking_id]
    return found


def _fare(travel_from: str, travel_to: str, travel_date: str, travel_class: str) -> float:
    for code in (travel_from, travel_to):
        if code not in _AIRPORTS.values():
            raise RefusedError(f"there is no airport {code[:20]!r}")
    if travel_class not in _CLASSES or not _DATE.fullmatch(travel_date):
        raise RefusedError("a class is economy, business or first, and a date is YYYY-MM-DD")
    base = _FARES.get(frozenset((travel_from, travel_to)), _OTHER_FARE)
    return float(base * _CLASSES[travel_class])


def _draw(own: dict[str, Any], low: int, high: int) -> int:
    rng = random.Random(_SEED)
    for before in own["_draws"]:
        rng.randint(*before)
    own["_draws"].append([low, high])
    return rng.randint(low, high)


TRAVEL = ToolBox(
    (
        authenticate_travel, travel_get_login_status, list_all_airports,
        get_nearest_airport_by_city, get_flight_cost, compute_exchange_rate, set_budget_limit,
        get_budget_fiscal_year, verify_traveler_information, register_credit_card,
        get_all_credit_cards, get_credit_card_balance, book_flight, cancel_booking,
        get_booking_history, purchase_insurance, retrieve_invoice, contact_customer_support,
    )
)  # fmt: skip
