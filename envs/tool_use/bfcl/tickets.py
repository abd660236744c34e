"""BFCL's TicketAPI: support tickets in a queue."""

from __future__ import annotations

from typing import Any

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "TICKETS",
    "close_ticket",
    "create_ticket",
    "edit_ticket",
    "get_ticket",
    "get_user_tickets",
    "logout",
    "resolve_ticket",
    "start",
    "ticket_get_login_status",
    "ticket_login",
]

_NAME = "TicketAPI"
_FIELDS = {"title": str, "description": str, "status": str, "priority": int}


def start(config: dict[str, Any]) -> dict[str, Any]:
    """The state of an entry's `initial_config`; no ticket and nobody logged in where it says nothing."""
    return {
        "ticket_queue": config.get("ticket_queue", []),
        "ticket_counter": config.get("ticket_counter", 1),
        "current_user": config.get("current_user"),
    }


@tool(writes=True)
def ticket_login(state: State, username: str, password: str) -> dict[str, bool]:
    """Log in; any name with a password will do."""
    if not username or not password:
        return {"success": False}
    state[_NAME]["current_user"] = username
    return {"success": True}


@tool()
def ticket_get_login_status(state: State) -> dict[str, bool]:
    """Whether somebody is logged in."""
    return {"login_status": state[_NAME]["current_user"] is not None}


@tool(writes=True)
def logout(state: State) -> dict[str, bool]:
    """Log out."""
    was_in = state[_NAME]["current_user"] is not None
    state[_NAME]["current_user"] = None
    return {"success": was_in}


@tool(writes=True)
def create_ticket(
    state: State, title: str, description: str = "", priority: int = 1
) -> dict[str, Any]:
    """Open a ticket of priority 1 to 5, 5 the highest."""
    own = state[_NAME]
    if own["current_user"] is None:
        raise RefusedError("nobody is logged in")
    if not 1 <= priority <= 5:
        raise RefusedError("a priority is from 1 to 5")
    ticket = {
        "id": own["ticket_counter"],
        "title": title,
        "description": description,
        "status": "Open",
        "priority": priority,
        "created_by": own["current_user"],
    }
    own["ticket_queue"].append(ticket)
    own["ticket_counter"] += 1
    return ticket


@tool()
def get_ticket(state: State, ticket_id: int) -> dict[str, Any]:
    """One ticket."""
    return _ticket(state, ticket_id)


@tool()
def get_user_tickets(state: State, status: str | None = None) -> list[dict[str, Any]]:
    """The tickets of the current user, perhaps with one status alone."""
    own = state[_NAME]
    if own["current_user"] is None:
        raise RefusedError("nobody is logged in")
    return [
        each
        for each in own["ticket_queue"]
        if each.get("created_by") == own["current_user"]
        and (status in (None, "None") or str(each.get("status")).lower() == str(status).lower())
    ]


@tool(writes=True)
def close_ticket(state: State, ticket_id: int) -> dict[str, str]:
    """Close a ticket."""
    ticket = _ticket(state, ticket_id)
    if ticket.get("status") == "Closed":
        raise RefusedError(f"ticket {ticket_id} is closed already")
    ticket["status"] = "Closed"
    return {"status": f"ticket {ticket_id} is closed"}


@tool(writes=True)
def resolve_ticket(state: State, ticket_id: int, resolution: str) -> dict[str, str]:
    """Resolve a ticket."""
    ticket = _ticket(state, ticket_id)
    if ticket.get("status") == "Resolved":
        raise RefusedError(f"ticket {ticket_id} is resolved already")
    ticket["status"], ticket["resolution"] = "Resolved", resolution
    return {"status": f"ticket {ticket_id} is resolved"}


@tool(writes=True)
def edit_ticket(state: State, ticket_id: int, updates: dict[str, Any]) -> dict[str, str]:
    """Change title, description, status or priority."""
    ticket = _ticket(state, ticket_id)
    for name, value in updates.items():
        if name not in _FIELDS or type(value) is not _FIELDS[name]:
            raise RefusedError(f"{name[:40]!r} cannot be set to {value!r:.40}")
    ticket.update(updates)
    return {"status": f"ticket {ticket_id} is updated"}


def _ticket(state: State, ticket_id: int) -> dict[str, Any]:
    for ticket in state[_NAME]["ticket_queue"]:
        if ticket["id"] == ticket_id:
            found: dict[str, Any] = ticket
            return found
    raise RefusedError(f"there is no ticket {ticket_id}")


TICKETS = ToolBox(
    (
        ticket_login, ticket_get_login_status, logout, create_ticket, get_ticket, get_user_tickets,
        close_ticket, resolve_ticket, edit_ticket,
    )
)  # fmt: skip
