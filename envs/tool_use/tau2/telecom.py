"""tau2-bench's telecom domain, the agent's side: customers, lines, bills, plans."""

from __future__ import annotations

from typing import Any

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "ASSERTIONS",
    "SET_UP",
    "TELECOM",
    "assert_data_refueling_amount",
    "assert_no_overdue_bill",
    "disable_roaming",
    "enable_roaming",
    "get_bills_for_customer",
    "get_customer_by_id",
    "get_customer_by_name",
    "get_customer_by_phone",
    "get_data_usage",
    "get_details_by_id",
    "line_of_phone",
    "prepare",
    "refuel_data",
    "resume_line",
    "send_payment_request",
    "set_data_usage",
    "suspend_line",
    "suspend_line_for_overdue_bill",
    "transfer_to_human_agents",
]

TODAY = "2025-02-25"
_KEYS = {
    "customers": "customer_id",
    "lines": "line_id",
    "bills": "bill_id",
    "plans": "plan_id",
    "devices": "device_id",
}
_OPTIONAL = {
    "customers": ("last_extension_date",),
    "lines": ("last_sim_replacement_date", "suspension_start_date"),
    "devices": ("last_esim_transfer_date",),
}
_MAX_REFUEL_GB = 2.0
Record = dict[str, Any]


def prepare(tables: dict[str, list[Record]]) -> State:
    """The tables of `db.toml` by id, with the fields that it leaves out."""
    state: State = {}
    for table, key in _KEYS.items():
        empty = dict.fromkeys(_OPTIONAL.get(table, ()))
        state[table] = {row[key]: {**empty, **row} for row in tables.get(table, ())}
    for customer in state["customers"].values():
        customer["created_at"] = str(customer["created_at"]).replace("T", " ")
    return state


@tool()
def get_customer_by_phone(state: State, phone_number: str) -> Record:
    """The customer with a phone number, of the account or of a line."""
    for customer in state["customers"].values():
        numbers = [state["lines"][line]["phone_number"] for line in customer["line_ids"]]
        if phone_number in (customer["phone_number"], *numbers):
            found: Record = customer
            return found
    raise RefusedError(f"Customer with phone number {phone_number} not found")


@tool()
def get_customer_by_id(state: State, customer_id: str) -> Record:
    """A customer."""
    return _record(state, "customers", customer_id)


@tool()
def get_customer_by_name(state: State, full_name: str, dob: str) -> list[Record]:
    """The customers with a name and a date of birth."""
    wanted = (full_name.lower(), dob)
    return [
        each
        for each in state["customers"].values()
        if (each["full_name"].lower(), each["date_of_birth"]) == wanted
    ]


@tool()
def get_details_by_id(state: State, id: str) -> Record:
    """A customer, line, device, bill or plan."""
    for table in _KEYS:
        if id in state[table]:
            found: Record = state[table][id]
            return found
    raise RefusedError(f"Unknown ID {id}")


@tool(writes=True)
def suspend_line(state: State, customer_id: str, line_id: str, reason: str) -> Record:
    """Suspend an active line."""
    line = _line(state, customer_id, line_id)
    if line["status"] != "Active":
        raise RefusedError("Line must be active to suspend")
    line["status"], line["suspension_start_date"] = "Suspended", TODAY
    return {"message": f"Line suspended. Reason: {reason}", "line": line}


@tool(writes=True)
def resume_line(state: State, customer_id: str, line_id: str) -> Record:
    """Make a suspended line active; the device must be rebooted."""
    line = _line(state, customer_id, line_id)
    if line["status"] not in ("Suspended", "Pending Activation"):
        raise RefusedError("Line must be suspended to resume")
    line["status"], line["suspension_start_date"] = "Active", None
    return {"message": "Line resumed", "line": line}


@tool()
def get_bills_for_customer(state: State, customer_id: str, limit: int = 12) -> list[Record]:
    """A customer's bills, the latest first."""
    customer = _record(state, "customers", customer_id)
    bills = [state["bills"][bill] for bill in customer["bill_ids"]]
    return sorted(bills, key=lambda bill: str(bill["issue_date"]), reverse=True)[: max(limit, 0)]


@tool(writes=True)
def send_payment_request(state: State, customer_id: str, bill_id: str) -> str:
    """Ask the customer to pay a bill; one at a time."""
    customer = _record(state, "customers", customer_id)
    if bill_id not in customer["bill_ids"]:
        raise RefusedError(f"Bill {bill_id} not found")
    if any(state["bills"][each]["status"] == "Awaiting Payment" for each in customer["bill_ids"]):
        raise RefusedError("A bill is already awaiting payment for this customer")
    bill = state["bills"][bill_id]
    bill["status"] = "Awaiting Payment"
    amount = bill["total_due"]
    state["surroundings"]["payment_request"] = {"bill_id": bill_id, "amount_due": amount}
    return f"Payment request sent to the customer for bill {bill_id}"


@tool()
def get_data_usage(state: State, customer_id: str, line_id: str) -> Record:
    """Data used, refuelled and allowed in this billing cycle."""
    line = _line(state, customer_id, line_id)
    plan = _record(state, "plans", line["plan_id"])
    return {
        "line_id": line_id,
        "data_used_gb": line["data_used_gb"],
        "data_limit_gb": plan["data_limit_gb"],
        "data_refueling_gb": line["data_refueling_gb"],
        "cycle_end_date": "2025-02-28",
    }


@tool(writes=True)
def enable_roaming(state: State, customer_id: str, line_id: str) -> str:
    """Enable roaming on a line."""
    return _roam(state, customer_id, line_id, True)


@tool(writes=True)
def disable_roaming(state: State, customer_id: str, line_id: str) -> str:
    """Disable roaming on a line."""
    return _roam(state, customer_id, line_id, False)


@tool()
def transfer_to_human_agents(state: State, summary: str) -> str:
    """Hand the user to a person."""
    return "Transfer successful"


@tool(writes=True)
def refuel_data(state: State, customer_id: str, line_id: str, gb_amount: float) -> Record:
    """Add data to an active line, at the price of its plan."""
    line = _line(state, customer_id, line_id)
    if line["status"] != "Active":
        raise RefusedError("Line must be active to refuel data")
    if not 0 < gb_amount <= _MAX_REFUEL_GB:
        raise RefusedError(f"The amount must be above 0 and at most {_MAX_REFUEL_GB:g} GB")
    price = gb_amount * _record(state, "plans", line["plan_id"])["data_refueling_price_per_gb"]
    line["data_refueling_gb"] += gb_amount
    customer = _record(state, "customers", customer_id)
    drafts = [b for b in customer["bill_ids"] if state["bills"][b]["status"] == "Draft"]
    if drafts:
        bill = state["bills"][drafts[0]]
        charge = {"description": f"Data refueling {gb_amount:g} GB", "amount": price}
        bill["line_items"].append({**charge, "date": TODAY, "item_type": "Data Refueling"})
        bill["total_due"] += price
    return {"new_data_refueling_gb": line["data_refueling_gb"], "charge": price}


@tool(writes=True)
def set_data_usage(state: State, customer_id: str, line_id: str, data_used_gb: float) -> str:
    """Set the scene: how much data a line has used."""
    _line(state, customer_id, line_id)["data_used_gb"] = data_used_gb
    return "set"


@tool(writes=True)
def suspend_line_for_overdue_bill(
    state: State, customer_id: str, line_id: str, new_bill_id: str, contract_ended: bool
) -> str:
    """Set the scene: an overdue bill, a suspended line, perhaps a contract that has ended."""
    line = _line(state, customer_id, line_id)
    price = _record(state, "plans", line["plan_id"])["price_per_month"]
    charge = {"description": f"Charge for line {line_id}", "amount": price}
    state["bills"][new_bill_id] = {
        "bill_id": new_bill_id,
        "customer_id": customer_id,
        "period_start": "2025-01-01",
        "period_end": "2025-01-31",
        "issue_date": "2025-01-01",
        "total_due": price,
        "due_date": "2025-01-15",
        "status": "Overdue",
        "line_items": [{**charge, "date": "2025-01-01", "item_type": "Plan Charge"}],
    }
    _record(state, "customers", customer_id)["bill_ids"].append(new_bill_id)
    line["status"], line["suspension_start_date"] = "Suspended", TODAY
    if contract_ended:
        line["contract_end_date"] = "2025-01-31"
    return "suspended"


@tool()
def assert_data_refueling_amount(
    state: State, customer_id: str, line_id: str, expected_amount: float
) -> bool:
    """Whether a line was refuelled by an amount."""
    refuelled = _line(state, customer_id, line_id)["data_refueling_gb"]
    return bool(abs(refuelled - expected_amount) < 1e-6)


@tool()
def assert_no_overdue_bill(state: State, overdue_bill_id: str) -> bool:
    """Whether a bill is paid, or never was."""
    bill = state["bills"].get(overdue_bill_id)
    return bill is None or bool(bill["status"] == "Paid")


def line_of_phone(state: State, phone_number: str) -> Record | None:
    """The line of the user's phone."""
    for line in state["lines"].values():
        if line["phone_number"] == phone_number:
            found: Record = line
            return found
    return None


def _record(state: State, table: str, key: str) -> Record:
    if key not in state[table]:
        raise RefusedError(f"{table[:-1].capitalize()} {key} not found")
    found: Record = state[table][key]
    return found


def _line(state: State, customer_id: str, line_id: str) -> Record:
    if line_id not in _record(state, "customers", customer_id)["line_ids"]:
        raise RefusedError(f"Line {line_id} not found for customer {customer_id}")
    return _record(state, "lines", line_id)


def _roam(state: State, customer_id: str, line_id: str, enabled: bool) -> str:
    line, word = _line(state, customer_id, line_id), "enabled" if enabled else "disabled"
    if line["roaming_enabled"] == enabled:
        return f"Roaming was already {word}"
    line["roaming_enabled"] = enabled
    return f"Roaming {word} successfully"


TELECOM = ToolBox(
    (
        get_customer_by_phone, get_customer_by_id, get_customer_by_name, get_details_by_id,
        suspend_line, resume_line, get_bills_for_customer, send_payment_request, get_data_usage,
        enable_roaming, disable_roaming, transfer_to_human_agents, refuel_data,
    )
)  # fmt: skip
SET_UP = ToolBox((set_data_usage, suspend_line_for_overdue_bill))
ASSERTIONS = ToolBox((assert_data_refueling_amount, assert_no_overdue_bill))
