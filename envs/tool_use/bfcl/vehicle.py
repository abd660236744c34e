"""BFCL's VehicleControlAPI: one car."""

from __future__ import annotations

from typing import Any, Literal

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "VEHICLE",
    "activateParkingBrake",
    "adjustClimateControl",
    "check_tire_pressure",
    "displayCarStatus",
    "display_log",
    "estimate_distance",
    "estimate_drive_feasibility_by_mileage",
    "fillFuelTank",
    "find_nearest_tire_shop",
    "gallon_to_liter",
    "get_current_speed",
    "get_outside_temperature_from_google",
    "get_outside_temperature_from_weather_com",
    "get_zipcode_based_on_city",
    "liter_to_gallon",
    "lockDoors",
    "pressBrakePedal",
    "releaseBrakePedal",
    "setCruiseControl",
    "setHeadlights",
    "set_navigation",
    "start",
    "startEngine",
]

_NAME = "VehicleControlAPI"
_TANK_GALLONS = 50.0
_MILES_PER_GALLON = 20.0
_LITRES_PER_GALLON = 3.785412
_BRAKE_NEWTONS = 1000.0
_HEALTHY_PSI = 32.0
_TIRES = (
    "frontLeftTirePressure",
    "frontRightTirePressure",
    "rearLeftTirePressure",
    "rearRightTirePressure",
)
_ZIPCODES = {
    "Rivermist": "83214", "Stonebrook": "74532", "San Francisco": "94016", "Silverpine": "62947",
    "Oakendale": "47329", "Crescent Hollow": "69238", "Autumnville": "51479",
}  # fmt: skip
_DISTANCES = {
    frozenset(("94016", "83214")): 980.0,
    frozenset(("83214", "74532")): 750.0,
    frozenset(("69238", "51479")): 630.0,
    frozenset(("94016", "62947")): 780.0,
    frozenset(("94016", "74532")): 880.0,
    frozenset(("62947", "47329")): 850.0,
}
_SHOP = "456 Oakwood Avenue, Rivermist, 83214"
Door = Literal["driver", "passenger", "rear_left", "rear_right"]


def start(config: dict[str, Any]) -> dict[str, Any]:
    """The state of an entry's `initial_config`."""
    state = {
        "fuelLevel": 0.0,
        "batteryVoltage": 12.6,
        "engineState": "stopped",
        "doorStatus": dict.fromkeys(("driver", "passenger", "rear_left", "rear_right"), "unlocked"),
        "acTemperature": 25.0,
        "fanSpeed": 50,
        "acMode": "auto",
        "humidityLevel": 50.0,
        "headLightStatus": "off",
        "parkingBrakeStatus": "released",
        "parkingBrakeForce": 0.0,
        "slopeAngle": 0.0,
        "brakePedalStatus": "released",
        "brakePedalForce": 0.0,
        "distanceToNextVehicle": 50.0,
        "cruiseStatus": "inactive",
        "cruiseSpeed": 0.0,
        "currentSpeed": 0.0,
        "destination": "None",
        **dict.fromkeys(_TIRES, 32.0),
    }
    return {**state, **config}


@tool(writes=True)
def startEngine(state: State, ignitionMode: Literal["START", "STOP"]) -> dict[str, Any]:
    """Start the engine, with all doors locked and the brake pedal pressed down; or stop it."""
    own = state[_NAME]
    if ignitionMode == "START":
        if "unlocked" in own["doorStatus"].values():
            raise RefusedError("all doors must be locked first")
        if own["fuelLevel"] <= 0:
            raise RefusedError("the tank is empty")
        if own["brakePedalForce"] < _BRAKE_NEWTONS:
            raise RefusedError("the brake pedal must be pressed down first")
    own["engineState"] = "running" if ignitionMode == "START" else "stopped"
    return {name: own[name] for name in ("engineState", "fuelLevel", "batteryVoltage")}


@tool(writes=True)
def fillFuelTank(state: State, fuelAmount: float) -> dict[str, float]:
    """Add gallons to the tank."""
    own = state[_NAME]
    if fuelAmount < 0 or own["fuelLevel"] + fuelAmount > _TANK_GALLONS:
        raise RefusedError(f"the tank holds {_TANK_GALLONS:g} gallons")
    own["fuelLevel"] += fuelAmount
    return {"fuelLevel": own["fuelLevel"]}


@tool(writes=True)
def lockDoors(state: State, unlock: bool, door: list[Door]) -> dict[str, Any]:
    """Lock or unlock doors."""
    doors = state[_NAME]["doorStatus"]
    for each in door:
        doors[each] = "unlocked" if unlock else "locked"
    left = sum(status == "unlocked" for status in doors.values())
    if "remainingUnlockedDoors" in state[_NAME]:
        state[_NAME]["remainingUnlockedDoors"] = left
    return {"lockStatus": "unlocked" if unlock else "locked", "remainingUnlockedDoors": left}


@tool(writes=True)
def adjustClimateControl(
    state: State,
    temperature: float,
    unit: Literal["celsius", "fahrenheit"] = "celsius",
    fanSpeed: int = 50,
    mode: Literal["auto", "cool", "heat", "defrost"] = "auto",
) -> dict[str, Any]:
    """Set temperature, fan and mode."""
    if not 0 <= fanSpeed <= 100:
        raise RefusedError("a fan speed is from 0 to 100")
    own = state[_NAME]
    celsius = temperature if unit == "celsius" else (temperature - 32) * 5 / 9
    own |= {"acTemperature": celsius, "fanSpeed": fanSpeed, "acMode": mode}
    return {
        "currentTemperature": celsius,
        "climateMode": mode,
        "humidityLevel": own["humidityLevel"],
    }


@tool()
def get_outside_temperature_from_google(state: State) -> dict[str, float]:
    """The temperature outside in degrees Celsius, always the same."""
    return {"outsideTemperature": 18.5}


@tool()
def get_outside_temperature_from_weather_com(state: State) -> dict[str, Any]:
    """No temperature: this service is down."""
    raise RefusedError("the service does not answer")


@tool(writes=True)
def setHeadlights(state: State, mode: Literal["on", "off", "auto"]) -> dict[str, str]:
    """Set the headlights; `auto` puts them on."""
    status = "off" if mode == "off" else "on"
    state[_NAME]["headLightStatus"] = status
    return {"headlightStatus": status}


@tool()
def displayCarStatus(
    state: State,
    option: Literal[
        "fuel", "battery", "doors", "climate", "headlights", "parkingBrake", "brakePedal", "engine"
    ],
) -> dict[str, Any]:
    """One part of the car's state."""
    names = {
        "fuel": ("fuelLevel",),
        "battery": ("batteryVoltage",),
        "doors": ("doorStatus",),
        "climate": ("acTemperature", "fanSpeed", "acMode", "humidityLevel"),
        "headlights": ("headLightStatus",),
        "parkingBrake": ("parkingBrakeStatus", "parkingBrakeForce", "slopeAngle"),
        "brakePedal": ("brakePedalStatus", "brakePedalForce"),
        "engine": ("engineState", "fuelLevel", "batteryVoltage"),
    }[option]
    return {"status": {name: state[_NAME][name] for name in names}}


@tool(writes=True)
def activateParkingBrake(state: State, mode: Literal["engage", "release"]) -> dict[str, Any]:
    """Engage or release the parking brake."""
    own = state[_NAME]
    engaged = mode == "engage"
    own["parkingBrakeStatus"] = "engaged" if engaged else "released"
    own["parkingBrakeForce"] = 500.0 if engaged else 0.0
    return {
        "parkingBrakeStatus": own["parkingBrakeStatus"],
        "_parkingBrakeForce": own["parkingBrakeForce"],
        "_slopeAngle": own["slopeAngle"],
    }


@tool(writes=True)
def pressBrakePedal(state: State, pedalPosition: float) -> dict[str, Any]:
    """Press the pedal, from 0 to 1."""
    if not 0 <= pedalPosition <= 1:
        raise RefusedError("a pedal position is from 0 to 1")
    return _brake(state, pedalPosition)


@tool(writes=True)
def releaseBrakePedal(state: State) -> dict[str, Any]:
    """Release the pedal."""
    return _brake(state, 0.0)


@tool(writes=True)
def setCruiseControl(
    state: State, speed: float, activate: bool, distanceToNextVehicle: float
) -> dict[str, Any]:
    """Set or end cruise control, with the engine running."""
    own = state[_NAME]
    if activate:
        if own["engineState"] != "running":
            raise RefusedError("the engine is not running")
        if not 0 <= speed <= 120 or speed % 5:
            raise RefusedError("a speed is from 0 to 120 and a multiple of 5")
        own |= {"cruiseSpeed": speed, "distanceToNextVehicle": distanceToNextVehicle}
    own["cruiseStatus"] = "active" if activate else "inactive"
    return {
        "cruiseStatus": own["cruiseStatus"],
        "currentSpeed": own["cruiseSpeed"] if activate else own["currentSpeed"],
        "distanceToNextVehicle": own["distanceToNextVehicle"],
    }


@tool()
def get_current_speed(state: State) -> dict[str, float]:
    """The speed in km/h; the car stands."""
    return {"currentSpeed": state[_NAME]["currentSpeed"]}


@tool()
def display_log(state: State, messages: list[str]) -> dict[str, list[str]]:
    """Show some messages."""
    return {"log": messages}


@tool()
def estimate_drive_feasibility_by_mileage(state: State, distance: float) -> dict[str, bool]:
    """Whether the fuel lasts for some miles."""
    return {"canDrive": state[_NAME]["fuelLevel"] * _MILES_PER_GALLON >= distance}


@tool()
def gallon_to_liter(state: State, gallon: float) -> dict[str, float]:
    """Gallons in litres."""
    return {"liter": gallon * _LITRES_PER_GALLON}


@tool()
def liter_to_gallon(state: State, liter: float) -> dict[str, float]:
    """Litres in gallons."""
    return {"gallon": liter / _LITRES_PER_GALLON}


@tool()
def estimate_distance(state: State, cityA: str, cityB: str) -> dict[str, float]:
    """The distance between two zip codes in km."""
    distance = _DISTANCES.get(frozenset((cityA, cityB)))
    if distance is None:
        raise RefusedError("the distance is not known")
    return {"distance": distance}


@tool()
def get_zipcode_based_on_city(state: State, city: str) -> dict[str, str]:
    """The zip code of a city."""
    return {"zipcode": _ZIPCODES.get(city, "00000")}


@tool(writes=True)
def set_navigation(state: State, destination: str) -> dict[str, str]:
    """Navigate to a place."""
    state[_NAME]["destination"] = destination
    return {"status": f"navigating to {destination}"}


@tool()
def check_tire_pressure(state: State) -> dict[str, Any]:
    """The pressure of every tire, and whether all are healthy."""
    pressures = {name: state[_NAME][name] for name in _TIRES}
    healthy = min(pressures.values()) >= _HEALTHY_PSI
    return {"tirePressure": {**pressures, "healthy_tire_pressure": healthy, "car_info": {}}}


@tool()
def find_nearest_tire_shop(state: State) -> dict[str, str]:
    """The address of a tire shop."""
    return {"shopLocation": _SHOP}


def _brake(state: State, position: float) -> dict[str, Any]:
    force = position * _BRAKE_NEWTONS
    status = "pressed" if position else "released"
    state[_NAME] |= {"brakePedalStatus": status, "brakePedalForce": force}
    return {"brakePedalStatus": status, "brakePedalForce": force}


VEHICLE = ToolBox(
    (
        startEngine, fillFuelTank, lockDoors, adjustClimateControl,
        get_outside_temperature_from_google, get_outside_temperature_from_weather_com,
        setHeadlights, displayCarStatus, activateParkingBrake, pressBrakePedal, releaseBrakePedal,
        setCruiseControl, get_current_speed, display_log, estimate_drive_feasibility_by_mileage,
        gallon_to_liter, liter_to_gallon, estimate_distance, get_zipcode_based_on_city,
        set_navigation, check_tire_pressure, find_nearest_tire_shop,
    )
)  # fmt: skip
