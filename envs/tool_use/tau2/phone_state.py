"""The user's phone in tau2-bench's telecom domain: what it is connected to, and how fast.

State: `device` and `surroundings`. Two things take effect only with a new search of the network, which
reboots, a reseated SIM card and the end of airplane mode bring about: other APN settings, a resumed line.
"""

from __future__ import annotations

from typing import Any

from turngym.envs.tool_use.tau2.telecom import line_of_phone
from turngym.envs.tool_use.tools import RefusedError, State

__all__ = [
    "APN",
    "TECHNOLOGY",
    "Device",
    "app_of",
    "data_speed",
    "device_of",
    "has_service",
    "mms_works",
    "prepare",
    "search_network",
    "sim_status",
]

TECHNOLOGY = {"4g_5g_preferred": "5G", "4g_only": "4G", "3g_only": "3G", "2g_only": "2G"}
_MBPS = {"5G": 275.0, "4G": 55.0, "3G": 10.0, "2G": 0.3}
APN = {"apn_name": "internet", "mms_apn": "mms", "mmsc_url": "http://mms.carrier.com/mms/wapenc"}
_SLOW_DATA_SAVER, _SLOW_VPN = 0.2, 0.1
Device = dict[str, Any]


def prepare(tables: dict[str, Any]) -> State:
    """The phone of `user_db.toml` and what is around it."""
    device = tables["device"]
    device |= {"apn_reset_pending": False, "vpn_slow": False}
    around = {"name": "", "phone_number": "", "abroad": False, "payment_request": None}
    return {"device": device, "surroundings": around}


def device_of(state: State) -> Device:
    """The device, to read or change."""
    found: Device = state["device"]
    return found


def sim_status(state: State) -> str:
    """active, missing, locked_pin or locked_puk."""
    device = device_of(state)
    return "missing" if device["sim_card_missing"] else str(device["sim_card_status"])


def app_of(state: State, name: str) -> dict[str, Any]:
    """An app, to read or change."""
    if name not in device_of(state)["app_statuses"]:
        raise RefusedError(f"App {name!r} not found")
    found: dict[str, Any] = device_of(state)["app_statuses"][name]
    return found


def search_network(state: State) -> None:
    """Let the phone look for its network, which finds it only with SIM card, APN, radio and an active line."""
    device = device_of(state)
    line = line_of_phone(state, state["surroundings"]["phone_number"])
    found = (
        sim_status(state) == "active"
        and not device["airplane_mode"]
        and device["active_apn_settings"]["apn_name"] == APN["apn_name"]
        and (line is None or line["status"] == "Active")
    )
    device["network_connection_status"] = "connected" if found else "no_service"


def has_service(state: State) -> bool:
    """Whether the phone is connected."""
    return bool(device_of(state)["network_connection_status"] == "connected")


def data_speed(state: State) -> tuple[float | None, str]:
    """Mbit/s and the word for it; None without data."""
    device, around = device_of(state), state["surroundings"]
    line = line_of_phone(state, around["phone_number"])
    roams = device["roaming_enabled"] and (line is None or line["roaming_enabled"])
    if not has_service(state) or not device["data_enabled"] or (around["abroad"] and not roams):
        return None, "no connection"
    if line is not None:
        allowed = state["plans"][line["plan_id"]]["data_limit_gb"] + line["data_refueling_gb"]
        if line["data_used_gb"] > allowed:
            return None, "no connection"
    speed = _MBPS[device["network_technology_connected"]]
    speed *= _SLOW_DATA_SAVER if device["data_saver_mode"] else 1
    speed *= _SLOW_VPN if device["vpn_connected"] and device["vpn_slow"] else 1
    words = ((1, "very poor"), (5, "poor"), (25, "fair"), (100, "good"))
    return speed, next((word for limit, word in words if speed < limit), "excellent")


def mms_works(state: State) -> bool:
    """Whether the messaging app can send pictures."""
    device = device_of(state)
    permissions = app_of(state, "messaging")["permissions"]
    over_wifi = device["wifi_calling_enabled"] and device["wifi_calling_mms_over_wifi"]
    return (
        data_speed(state)[0] is not None
        and device["network_technology_connected"] != "2G"
        and bool(device["active_apn_settings"]["mmsc_url"])
        and not over_wifi
        and permissions["storage"]
        and permissions["sms"]
    )
