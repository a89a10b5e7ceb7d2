"""Every text of the pages, in both languages. What stands in braces is put in; see `worker.web.words.Words`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Text(NamedTuple):
    """A text."""

    en: str
    ru: str


class Counted(NamedTuple):
    """A text with the number `n`, in every form that the language has for whole numbers (CLDR's names)."""

    en: Mapping[str, str]
    ru: Mapping[str, str]


TEXTS: Mapping[str, Text] = MappingProxyType(
    {
        # the frame of every page
        "skip": Text("Skip to the content", "Перейти к содержанию"),
        "name": Text("Profile analytics", "Аналитика профиля"),
        "language": Text("Language", "Язык"),
        "in_en": Text("English", "English"),
        "in_ru": Text("Русский", "Русский"),
        "theme": Text("Theme", "Оформление"),
        "theme_auto": Text("As on this device", "Как на устройстве"),
        "theme_light": Text("Light", "Светлое"),
        "theme_dark": Text("Dark", "Тёмное"),
    }
)

COUNTED: Mapping[str, Counted] = MappingProxyType(
    {
        "days": Counted(
            {"one": "{n} day", "other": "{n} days"},
            {"one": "{n} день", "few": "{n} дня", "many": "{n} дней", "other": "{n} дня"},
        ),
    }
)
