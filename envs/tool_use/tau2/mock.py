"""tau2-bench's mock domain: tasks and users for the agent, notifications for the user.

One task wants its notification read, the end state that of the gold action alone, and gives the user nothing to
write with: so completing a task is taken to read what notifies of it.
"""

from __future__ import annotations

from typing import Any, Literal

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "ASSERTIONS",
    "MOCK",
    "MOCK_USER",
    "SET_UP",
    "add_notification",
    "assert_notification_status",
    "assert_task_status",
    "check_notifications",
    "create_task",
    "get_users",
    "transfer_to_human_agents",
    "update_task_status",
]

Status = Literal["pending", "completed"]


@tool(writes=True)
def create_task(
    state: State, user_id: str, title: str, description: str | None = None
) -> dict[str, Any]:
    """Create a task for a user."""
    if user_id not in state["users"]:
        raise RefusedError(f"User {user_id} not found")
    task_id = f"task_{len(state['tasks']) + 1}"
    task = {"task_id": task_id, "title": title, "description": description, "status": "pending"}
    state["tasks"][task_id] = task
    state["users"][user_id]["tasks"].append(task_id)
    return task


@tool()
def get_users(state: State) -> list[dict[str, Any]]:
    """All users."""
    return list(state["users"].values())


@tool(writes=True)
def update_task_status(state: State, task_id: str, status: Status) -> dict[str, Any]:
    """Set the status of a task; what notifies of a completed one counts as read."""
    task = _task(state, task_id)
    task["status"] = status
    for each in state["notifications"].values():
        if each["task_id"] == task_id and status == "completed":
            each["status"] = "read"
    return task


@tool()
def transfer_to_human_agents(state: State, summary: str) -> str:
    """Hand the user to a person."""
    return "Transfer successful"


@tool()
def check_notifications(state: State) -> list[dict[str, Any]]:
    """The user's notifications."""
    return list(state["notifications"].values())


@tool(writes=True)
def add_notification(
    state: State, notification_id: str, message: str, task_id: str | None = None
) -> dict[str, Any]:
    """Let the user have a notification."""
    made = {
        "notification_id": notification_id,
        "message": message,
        "status": "unread",
        "task_id": task_id,
    }
    state["notifications"][notification_id] = made
    return made


@tool()
def assert_task_status(state: State, task_id: str, expected_status: str) -> bool:
    """Whether a task has a status."""
    return bool(_task(state, task_id)["status"] == expected_status)


@tool()
def assert_notification_status(state: State, notification_id: str, expected_status: str) -> bool:
    """Whether a notification has a status."""
    if notification_id not in state["notifications"]:
        raise RefusedError(f"Notification {notification_id} not found")
    return bool(state["notifications"][notification_id]["status"] == expected_status)


def _task(state: State, task_id: str) -> dict[str, Any]:
    if task_id not in state["tasks"]:
        raise RefusedError(f"Task {task_id} not found")
    found: dict[str, Any] = state["tasks"][task_id]
    return found


MOCK = ToolBox((create_task, get_users, update_task_status, transfer_to_human_agents))
MOCK_USER = ToolBox((check_notifications,))
SET_UP = ToolBox((add_notification,))
ASSERTIONS = ToolBox((assert_task_status, assert_notification_status))
