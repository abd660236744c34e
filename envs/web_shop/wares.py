"""What the procedural catalog sells: kinds of goods and the words they are described with.

All names are invented. Every product of a kind comes in the same options, so that an item that fits
the instruction can always be bought as asked.
"""

from dataclasses import dataclass

from turngym.envs.web_shop.catalog import OptionGroup

__all__ = ["BRANDS", "EXTRAS", "KINDS", "Kind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of goods."""

    name: str
    category: str
    path: str
    attributes: tuple[str, ...]
    options: tuple[OptionGroup, ...]
    prices: tuple[int, int]
    """Lowest and highest price in whole dollars."""


BRANDS = tuple(
    """
    Aldmoor Birkvale Cindra Dovrek Elmhart Farrow Glenno Havila Ibsen Jorvik Kestrel Lumo Mirado
    Norrland Orvane Pellar Quillo Rivaro Solenne Tarn Umbra Velden Wexley Yarrow Zephra Ambrel
    Brisk Corvo Delmar Estrell
    """.split()
)
EXTRAS = ("for everyday use", "ready to give away", "new this year", "a classic", "good value")
"""Endings of descriptions."""

_LETTERS = ("small", "medium", "large", "x-large")
_SHOES = ("6", "7", "8", "9", "10")
_PACKS = ("1 pack", "2 pack", "4 pack", "6 pack")
_BRIGHT = ("black", "white", "red", "blue")
_CALM = ("grey", "green", "brown", "navy")
_SOFT = ("pink", "purple", "yellow", "orange")
_METAL = ("silver", "gold", "bronze", "copper")
_WIDTHS = ("twin", "full", "queen", "king")
_LENGTHS = ("3 ft", "6 ft", "10 ft")
_TASTES = ("vanilla", "cocoa", "berry", "lemon")

_FABRIC = "cotton linen wool fleece silk denim"
_SHOE = "leather canvas suede mesh waterproof lightweight"
_DEVICE = "wireless portable compact rechargeable waterproof foldable"
_ROOM = "oak bamboo walnut steel marble ceramic"
_BODY = "organic vegan unscented hypoallergenic sensitive travel"
_EATS = "organic vegan roasted salted crunchy glutenfree"

# name | words | first option | second option | lowest price | highest price, by category and shelf
_SHELVES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        "fashion",
        "Clothing › Clothes",
        _FABRIC,
        (
            "shirt|size:letters|color:bright|12|70",
            "dress|size:letters|color:soft|20|95",
            "jacket|size:letters|color:calm|30|150",
            "pants|size:letters|color:calm|18|90",
            "hoodie|size:letters||20|80",
            "skirt|size:letters|color:soft|12|60",
            "scarf|color:calm||8|45",
            "gloves|size:letters||8|40",
        ),
    ),
    (
        "fashion",
        "Clothing › Shoes",
        _SHOE,
        (
            "boots|size:shoes|color:calm|40|180",
            "sandals|size:shoes|color:bright|15|80",
            "sneakers|size:shoes|color:bright|30|140",
            "slippers|size:shoes||10|50",
            "loafers|size:shoes|color:calm|30|150",
            "backpack|color:bright||20|110",
        ),
    ),
    (
        "electronics",
        "Electronics › Accessories",
        _DEVICE,
        (
            "headphones|color:bright||20|200",
            "speaker|color:bright||15|150",
            "keyboard|color:bright||20|120",
            "mouse|color:bright||8|70",
            "charger|length:lengths|color:bright|8|50",
            "lantern|color:calm||12|60",
            "projector|color:bright||60|300",
            "microphone|color:metal||20|160",
        ),
    ),
    (
        "garden",
        "Home › Furnishing",
        _ROOM,
        (
            "table|color:calm||60|400",
            "lamp|color:metal||15|120",
            "shelf|color:calm||25|180",
            "mirror|color:metal||20|160",
            "stool|color:bright||20|120",
            "clock|color:metal||12|90",
            "vase|color:soft||8|60",
            "tray|color:calm||10|50",
        ),
    ),
    (
        "garden",
        "Home › Bedding",
        _FABRIC,
        (
            "blanket|size:widths|color:calm|20|120",
            "quilt|size:widths|color:soft|30|160",
            "pillow|size:widths||10|70",
            "curtain|color:calm||15|90",
        ),
    ),
    (
        "beauty",
        "Beauty › Care",
        _BODY,
        (
            "shampoo|count:packs||6|40",
            "lotion|count:packs||6|50",
            "soap|count:packs||4|30",
            "sunscreen|count:packs||8|40",
            "deodorant|count:packs||5|25",
            "toothpaste|count:packs||4|20",
        ),
    ),
    (
        "grocery",
        "Grocery › Snacks",
        _EATS,
        (
            "almonds|count:packs||6|40",
            "granola|flavor:tastes|count:packs|5|30",
            "crackers|count:packs||4|25",
            "cookies|flavor:tastes|count:packs|4|30",
            "popcorn|count:packs||4|20",
            "chips|count:packs||4|25",
        ),
    ),
)

_VALUES = {
    "letters": _LETTERS,
    "shoes": _SHOES,
    "packs": _PACKS,
    "bright": _BRIGHT,
    "calm": _CALM,
    "soft": _SOFT,
    "metal": _METAL,
    "widths": _WIDTHS,
    "lengths": _LENGTHS,
    "tastes": _TASTES,
}


def _kind(category: str, path: str, words: str, row: str) -> Kind:
    name, first, second, low, high = row.split("|")
    groups = [group.split(":") for group in (first, second) if group]
    return Kind(
        name=name,
        category=category,
        path=f"{path} › {name.capitalize()}",
        attributes=tuple(words.split()),
        options=tuple(OptionGroup(name=label, values=_VALUES[values]) for label, values in groups),
        prices=(int(low), int(high)),
    )


KINDS = tuple(
    _kind(category, path, words, row) for category, path, words, rows in _SHELVES for row in rows
)
