"""Texts, numbers and dates in the language of whoever reads. Pure: the forms are Unicode's (CLDR), by way of Babel."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType

from babel import Locale
from babel.core import get_global
from babel.dates import format_datetime, format_interval, format_skeleton, get_timezone_location
from babel.numbers import format_decimal
from babel.plural import PluralRule

from worker.web.texts import COUNTED, TEXTS

LOCALES = MappingProxyType({"en": "en_GB", "ru": "ru_RU"})
"""Where each language is spoken as we write it: in English the day comes before the month, and 14:03 is not 2:03 pm."""

NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"

MINUS = "\N{MINUS SIGN}"

_short_word = re.compile(r"(?<!\w)([^\W\d_]{1,2}|\d+|\{n\}) ")

_inner_space = re.compile(r"(?<!–) (?!–)")


class Language(StrEnum):
    """The languages that the pages speak. The first is for whoever wants none of them."""

    EN = "en"
    RU = "ru"


class Words:
    """One language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._locale = Locale.parse(LOCALES[language])
        self._plural: PluralRule = self._locale.plural_form

    def __call__(self, name: str, **values: object) -> str:
        """A text of `TEXTS`, with values put in.

        Raises:
            KeyError: there is none of this name, or a value is missing.
        """
        return self._set(getattr(TEXTS[name], self.language)).format_map(values)

    def count(self, name: str, number: int, **values: object) -> str:
        """A text of `COUNTED`, in the form that the number asks for: 1 день, 2 дня, 5 дней."""
        forms: Mapping[str, str] = getattr(COUNTED[name], self.language)
        return self._set(forms[self._plural(number)]).format_map({"n": self.number(number), **values})

    def _set(self, text: str) -> str:
        """As Russian is set: no line ends with a preposition or another short word, nor with a number."""
        return _short_word.sub(rf"\1{NO_BREAK_SPACE}", text) if self.language is Language.RU else text

    def number(self, value: float) -> str:
        """12,345 and 12 345."""
        return str(format_decimal(value, locale=self._locale))

    def percent(self, value: float, *, signed: bool = False) -> str:
        """A percentage with at most one decimal; with a sign if it is a change."""
        digits = format_decimal(abs(value), format="#,##0.#", locale=self._locale)
        sign = ("+" if value > 0 else MINUS if value < 0 else "") if signed else ""
        space = NARROW_SPACE if self.language is Language.RU else ""
        return f"{sign}{digits}{space}%"

    def day(self, day: date) -> str:
        """3 Nov 2026."""
        return _whole(format_skeleton("yMMMd", day, locale=self._locale))

    def short_day(self, day: date) -> str:
        """3 Nov, where the year goes without saying."""
        return _whole(format_skeleton("MMMd", day, locale=self._locale))

    def weekday(self, day: date) -> str:
        """Tue, 3 Nov."""
        return _whole(format_skeleton("MMMEd", day, locale=self._locale))

    def month(self, day: date) -> str:
        """Nov 2026."""
        return _whole(format_skeleton("yMMM", day, locale=self._locale))

    def days(self, first: date, last: date) -> str:
        """3–23 Nov 2026; one day if it is only one."""
        return self.day(first) if first == last else _whole(format_interval(first, last, "yMMMd", locale=self._locale))

    def moment(self, at: datetime, today: date) -> str:
        """14:03, and which day if it is not today's. The time is shown as it is in the zone that it carries."""
        clock = format_datetime(at, "HH:mm", tzinfo=at.tzinfo, locale=self._locale)
        return clock if at.date() == today else f"{self.day(at.date())}, {clock}"

    def zone(self, name: str) -> str:
        """The place that a time zone is named after: Москва."""
        aliases: Mapping[str, str] = get_global("zone_aliases")
        canonical = aliases.get(name, name)
        # CLDR keeps some places, Kyiv among them, under a former name of their zone.
        names = [canonical, *(old for old, new in aliases.items() if new == canonical)]
        city = next(
            (found["city"] for each in names if "city" in (found := self._locale.time_zones.get(each, {}))), None
        )
        return str(city or get_timezone_location(name, locale=self._locale, return_city=True))


def _whole(date: str) -> str:
    """A date that stays on one line; of two, each."""
    return _inner_space.sub(NO_BREAK_SPACE, date)
