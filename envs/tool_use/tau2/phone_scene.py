"""How tau2-bench sets the scene on the user's phone, and what it asserts at the end."""

from __future__ import annotations

from typing import Literal

from turngym.envs.tool_use.tau2.phone_state import (
    app_of,
    data_speed,
    device_of,
    has_service,
    mms_works,
    search_network,
)
from turngym.envs.tool_use.tools import State, ToolBox, tool

__all__ = [
    "ASSERTIONS",
    "SET_UP",
    "assert_can_send_mms",
    "assert_internet_speed",
    "assert_mobile_data_status",
    "assert_service_status",
    "break_apn_mms_setting",
    "break_apn_settings",
    "break_vpn",
    "lock_sim_card",
    "remove_app_permission",
    "set_user_info",
    "set_user_location",
    "set_wifi_calling",
    "simulate_network_search",
    "turn_airplane_mode_on",
    "turn_data_off",
    "turn_data_saver_mode_on",
    "turn_roaming_off",
    "turn_roaming_on",
    "unseat_sim_card",
]


@tool(writes=True)
def set_user_info(state: State, name: str, phone_number: str) -> str:
    """Set the scene: who the user is."""
    state["surroundings"] |= {"name": name, "phone_number": phone_number}
    return "set"


@tool(writes=True)
def set_user_location(state: State, abroad: bool) -> str:
    """Set the scene: where the user is."""
    state["surroundings"]["abroad"] = abroad
    return "set"


@tool(writes=True)
def turn_roaming_off(state: State) -> str:
    """Set the scene: roaming is off on the phone."""
    device_of(state).update(roaming_enabled=False)
    return "set"


@tool(writes=True)
def turn_roaming_on(state: State) -> str:
    """Set the scene: roaming is on on the phone."""
    device_of(state).update(roaming_enabled=True)
    return "set"


@tool(writes=True)
def turn_data_off(state: State) -> str:
    """Set the scene: mobile data is off."""
    device_of(state).update(data_enabled=False)
    return "set"


@tool(writes=True)
def turn_data_saver_mode_on(state: State) -> str:
    """Set the scene: data saver mode is on."""
    device_of(state).update(data_saver_mode=True)
    return "set"


@tool(writes=True)
def break_vpn(state: State) -> str:
    """Set the scene: a VPN that makes everything slow."""
    device_of(state).update(vpn_enabled_setting=True, vpn_connected=True, vpn_slow=True)
    return "set"


@tool(writes=True)
def simulate_network_search(state: State) -> str:
    """Set the scene: the phone looks for its network."""
    search_network(state)
    return "searched"


@tool(writes=True)
def lock_sim_card(state: State, mode: Literal["pin", "puk"]) -> str:
    """Set the scene: the SIM card is locked."""
    device_of(state)["sim_card_status"] = f"locked_{mode}"
    search_network(state)
    return "locked"


@tool(writes=True)
def break_apn_settings(state: State) -> str:
    """Set the scene: a wrong APN."""
    device_of(state)["active_apn_settings"]["apn_name"] = "broken"
    search_network(state)
    return "broken"


@tool(writes=True)
def break_apn_mms_setting(state: State) -> str:
    """Set the scene: no MMSC URL."""
    device_of(state)["active_apn_settings"]["mmsc_url"] = None
    return "broken"


@tool(writes=True)
def turn_airplane_mode_on(state: State) -> str:
    """Set the scene: airplane mode."""
    device_of(state)["airplane_mode"] = True
    search_network(state)
    return "on"


@tool(writes=True)
def unseat_sim_card(state: State) -> str:
    """Set the scene: no SIM card."""
    device_of(state)["sim_card_missing"] = True
    search_network(state)
    return "unseated"


@tool(writes=True)
def set_wifi_calling(state: State, enabled: bool, mms_over_wifi: bool = False) -> str:
    """Set the scene: Wi-Fi Calling."""
    device = device_of(state)
    device |= {"wifi_calling_enabled": enabled, "wifi_calling_mms_over_wifi": mms_over_wifi}
    return "set"


@tool(writes=True)
def remove_app_permission(state: State, app_name: str, permission: str) -> str:
    """Set the scene: an app lacks a permission."""
    app_of(state, app_name)["permissions"][permission] = False
    return "removed"


@tool()
def assert_mobile_data_status(state: State, expected_status: bool) -> bool:
    """Whether mobile data works."""
    return (data_speed(state)[0] is not None) == expected_status


@tool()
def assert_internet_speed(
    state: State, expected_speed: float, expected_desc: str | None = None
) -> bool:
    """Whether mobile data is at least so fast."""
    speed, word = data_speed(state)
    return speed is not None and speed >= expected_speed and expected_desc in (None, word)


@tool()
def assert_service_status(state: State, expected_status: str) -> bool:
    """Whether the phone is `connected` or has `no_service`."""
    return ("connected" if has_service(state) else "no_service") == expected_status


@tool()
def assert_can_send_mms(state: State, expected_status: bool) -> bool:
    """Whether pictures can be sent."""
    return mms_works(state) == expected_status


SET_UP = ToolBox(
    (
        set_user_info, set_user_location, simulate_network_search, lock_sim_card,
        break_apn_settings, break_apn_mms_setting, turn_airplane_mode_on, unseat_sim_card,
        set_wifi_calling, remove_app_permission,
        turn_roaming_off,
        turn_roaming_on,
        turn_data_off,
        turn_data_saver_mode_on,
        break_vpn,
    )
)  # fmt: skip
ASSERTIONS = ToolBox(
    (
        assert_mobile_data_status, assert_internet_speed, assert_service_status,
        assert_can_send_mms,
    )
)  # fmt: skip
