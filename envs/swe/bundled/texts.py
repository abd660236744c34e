"""Bundled tasks about text."""

from turngym.envs.swe.bundled.seed import Tiny

__all__ = ["TASKS"]

TASKS = (
    Tiny(
        name="slug",
        issue="`slug` keeps upper-case letters: slug('Hello World') gives 'Hello-World'.",
        source="def slug(title):\n    return '-'.join(title.lower().split())\n",
        right="title.lower().split()",
        bug="title.split()",
        kept="def test_spaces():\n    assert slug(' a  b ') == 'a-b'\n",
        fixed="def test_case():\n    assert slug('Hello World') == 'hello-world'\n",
    ),
    Tiny(
        name="palindrome",
        issue="`is_palindrome` minds case and punctuation, but should look at letters only.",
        source="def is_palindrome(text):\n"
        "    letters = [c.lower() for c in text if c.isalpha()]\n"
        "    return letters == letters[::-1]\n",
        right="[c.lower() for c in text if c.isalpha()]",
        bug="list(text)",
        kept="def test_word():\n    assert is_palindrome('level')\n    assert not is_palindrome('word')\n",
        fixed="def test_sentence():\n    assert is_palindrome('A man, a plan, a canal: Panama')\n",
    ),
    Tiny(
        name="truncate",
        issue="`truncate(text, width)` returns texts longer than `width`: the dots are not counted.",
        source="def truncate(text, width):\n    if len(text) <= width:\n        return text\n"
        "    return text[: width - 3] + '...'\n",
        right="[: width - 3]",
        bug="[:width]",
        kept="def test_short():\n    assert truncate('abc', 5) == 'abc'\n",
        fixed="def test_long():\n    assert truncate('abcdefgh', 6) == 'abc...'\n",
    ),
)
