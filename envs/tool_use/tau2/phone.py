"""What the user can do with the phone in tau2-bench's telecom domain."""

from __future__ import annotations

from typing import Any, Literal

from turngym.envs.tool_use.tau2.phone_state import (
    APN,
    TECHNOLOGY,
    app_of,
    data_speed,
    device_of,
    has_service,
    mms_works,
    search_network,
    sim_status,
)
from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "PHONE",
    "can_send_mms",
    "check_apn_settings",
    "check_app_permissions",
    "check_app_status",
    "check_data_restriction_status",
    "check_installed_apps",
    "check_network_mode_preference",
    "check_network_status",
    "check_payment_request",
    "check_sim_status",
    "check_status_bar",
    "check_vpn_status",
    "check_wifi_calling_status",
    "check_wifi_status",
    "connect_vpn",
    "disconnect_vpn",
    "grant_app_permission",
    "make_payment",
    "reboot_device",
    "reseat_sim_card",
    "reset_apn_settings",
    "run_speed_test",
    "set_apn_settings",
    "set_network_mode_preference",
    "toggle_airplane_mode",
    "toggle_data",
    "toggle_data_saver_mode",
    "toggle_roaming",
    "toggle_wifi",
    "toggle_wifi_calling",
]

Mode = Literal["4g_5g_preferred", "4g_only", "3g_only", "2g_only"]


@tool()
def check_status_bar(state: State) -> str:
    """The icons at the top of the screen."""
    device = device_of(state)
    if device["airplane_mode"]:
        return f"Airplane Mode | {device['battery_level']}%"
    signal = has_service(state)
    shown = [
        f"Signal {device['network_signal_strength']}" if signal else "No Signal",
        *([device["network_technology_connected"]] if signal else []),
        "Data Enabled" if device["data_enabled"] else "Data Disabled",
        *(["Data Saver"] if device["data_saver_mode"] else []),
        *(["VPN Connected"] if device["vpn_connected"] else []),
        f"{device['battery_level']}%",
    ]
    return " | ".join(shown)


@tool()
def check_network_status(state: State) -> dict[str, Any]:
    """Airplane mode, signal, technology, data and roaming."""
    device, signal = device_of(state), has_service(state)
    return {
        "airplane_mode": device["airplane_mode"],
        "connection": "connected" if signal else "no_service",
        "signal_strength": device["network_signal_strength"] if signal else "none",
        "network_type": device["network_technology_connected"] if signal else "none",
        "mobile_data_enabled": device["data_enabled"],
        "data_roaming_enabled": device["roaming_enabled"],
    }


@tool()
def check_network_mode_preference(state: State) -> str:
    """Which network the phone prefers."""
    return str(device_of(state)["network_mode_preference"])


@tool()
def check_sim_status(state: State) -> str:
    """Whether the SIM card is active, missing or locked."""
    return sim_status(state)


@tool()
def check_data_restriction_status(state: State) -> str:
    """Whether data saver mode is on."""
    return f"Data Saver mode is {_on(device_of(state)['data_saver_mode'])}"


@tool()
def check_apn_settings(state: State) -> dict[str, Any]:
    """The APN settings."""
    return dict(device_of(state)["active_apn_settings"])


@tool()
def check_wifi_status(state: State) -> str:
    """Whether Wi-Fi is on."""
    return f"Wi-Fi is {_on(device_of(state)['wifi_enabled'])}"


@tool()
def check_wifi_calling_status(state: State) -> str:
    """Whether Wi-Fi Calling is on."""
    return f"Wi-Fi Calling is {_on(device_of(state)['wifi_calling_enabled'])}"


@tool()
def check_vpn_status(state: State) -> dict[str, Any]:
    """Whether a VPN is connected, and how well it works."""
    device = device_of(state)
    performance = "poor" if device["vpn_slow"] else "excellent"
    return {"connected": device["vpn_connected"], "performance": performance}


@tool()
def check_installed_apps(state: State) -> list[str]:
    """The names of all apps."""
    return list(device_of(state)["app_statuses"])


@tool()
def check_app_status(state: State, app_name: str) -> dict[str, Any]:
    """An app and its permissions."""
    return app_of(state, app_name)


@tool()
def check_app_permissions(state: State, app_name: str) -> list[str]:
    """The permissions that an app has."""
    return [name for name, has in app_of(state, app_name)["permissions"].items() if has]


@tool()
def run_speed_test(state: State) -> str:
    """The speed of mobile data."""
    speed, word = data_speed(state)
    return "no connection" if speed is None else f"{speed:g} Mbps ({word})"


@tool()
def can_send_mms(state: State) -> bool:
    """Whether the messaging app can send pictures."""
    return mms_works(state)


@tool()
def check_payment_request(state: State) -> dict[str, Any] | None:
    """The bill that waits for a payment."""
    found: dict[str, Any] | None = state["surroundings"]["payment_request"]
    return found


@tool(writes=True)
def make_payment(state: State) -> str:
    """Pay the bill that waits for it."""
    request = state["surroundings"]["payment_request"]
    if request is None:
        raise RefusedError("You do not have a payment request")
    state["bills"][request["bill_id"]]["status"] = "Paid"
    state["surroundings"]["payment_request"] = None
    return f"Payment of {request['amount_due']} made for bill {request['bill_id']}"


@tool(writes=True)
def set_network_mode_preference(state: State, mode: Mode) -> str:
    """Prefer a kind of network."""
    device = device_of(state)
    device["network_mode_preference"] = mode
    device["network_technology_connected"] = TECHNOLOGY[mode]
    return f"Preferred network: {mode}"


@tool(writes=True)
def toggle_airplane_mode(state: State) -> str:
    """Airplane mode on or off."""
    device = device_of(state)
    device["airplane_mode"] = not device["airplane_mode"]
    search_network(state)
    return f"Airplane Mode is {_on(device['airplane_mode'])}"


@tool(writes=True)
def reseat_sim_card(state: State) -> str:
    """Take the SIM card out and put it in again."""
    device_of(state)["sim_card_missing"] = False
    search_network(state)
    return "SIM card reseated"


@tool(writes=True)
def toggle_data(state: State) -> str:
    """Mobile data on or off."""
    return f"Mobile data is {_on(_toggle(state, 'data_enabled'))}"


@tool(writes=True)
def toggle_roaming(state: State) -> str:
    """Data roaming on or off."""
    return f"Data roaming is {_on(_toggle(state, 'roaming_enabled'))}"


@tool(writes=True)
def toggle_data_saver_mode(state: State) -> str:
    """Data saver mode on or off."""
    return f"Data Saver mode is {_on(_toggle(state, 'data_saver_mode'))}"


@tool(writes=True)
def set_apn_settings(state: State, apn_settings: dict[str, Any]) -> str:
    """Set APN settings; a reboot applies them."""
    unknown = set(apn_settings) - set(APN)
    if unknown:
        raise RefusedError(f"APN settings are {', '.join(APN)}")
    device_of(state)["active_apn_settings"] |= apn_settings
    return "APN settings set"


@tool(writes=True)
def reset_apn_settings(state: State) -> str:
    """Ask for the default APN settings; a reboot applies them."""
    device_of(state)["apn_reset_pending"] = True
    return "APN settings will be reset at the next reboot"


@tool(writes=True)
def toggle_wifi(state: State) -> str:
    """Wi-Fi on or off."""
    return f"Wi-Fi is {_on(_toggle(state, 'wifi_enabled'))}"


@tool(writes=True)
def toggle_wifi_calling(state: State) -> str:
    """Wi-Fi Calling on or off."""
    return f"Wi-Fi Calling is {_on(_toggle(state, 'wifi_calling_enabled'))}"


@tool(writes=True)
def connect_vpn(state: State) -> str:
    """Connect to the VPN."""
    device = device_of(state)
    device |= {"vpn_enabled_setting": True, "vpn_connected": True, "vpn_slow": False}
    return "VPN connected"


@tool(writes=True)
def disconnect_vpn(state: State) -> str:
    """Leave the VPN."""
    device = device_of(state)
    if not device["vpn_connected"]:
        raise RefusedError("No VPN is connected")
    device |= {"vpn_connected": False, "vpn_slow": False}
    return "VPN disconnected"


@tool(writes=True)
def grant_app_permission(state: State, app_name: str, permission: str) -> str:
    """Give an app a permission."""
    permissions = app_of(state, app_name)["permissions"]
    if permission not in permissions:
        raise RefusedError(f"{app_name} has no permission {permission!r}")
    permissions[permission] = True
    return f"{permission} granted to {app_name}"


@tool(writes=True)
def reboot_device(state: State) -> str:
    """Restart the phone."""
    device = device_of(state)
    if device["apn_reset_pending"]:
        device["active_apn_settings"], device["apn_reset_pending"] = dict(APN), False
    search_network(state)
    return "Device rebooted"


def _on(value: bool) -> str:
    return "ON" if value else "OFF"


def _toggle(state: State, name: str) -> bool:
    device = device_of(state)
    device[name] = not device[name]
    return bool(device[name])


PHONE = ToolBox(
    (
        check_status_bar, check_network_status, check_network_mode_preference, check_sim_status,
        check_data_restriction_status, check_apn_settings, check_wifi_status,
        check_wifi_calling_status, check_vpn_status, check_installed_apps, check_app_status,
        check_app_permissions, run_speed_test, can_send_mms, check_payment_request, make_payment,
        set_network_mode_preference, toggle_airplane_mode, reseat_sim_card, toggle_data,
        toggle_roaming, toggle_data_saver_mode, set_apn_settings, reset_apn_settings, toggle_wifi,
        toggle_wifi_calling, connect_vpn, disconnect_vpn, grant_app_permission, reboot_device,
    )
)  # fmt: skip
