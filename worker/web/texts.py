"""Every text of the pages, in both languages. What stands in braces is put in; see `worker.web.words.Words`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from worker.reading.period import Why


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
        "short_en": Text("Eng", "Eng"),
        "short_ru": Text("Рус", "Рус"),
        "in_en": Text("English", "English"),
        "in_ru": Text("Русский", "Русский"),
        "theme": Text("Theme", "Оформление"),
        "theme_auto": Text("As on this device", "Как на устройстве"),
        "theme_light": Text("Light", "Светлое"),
        "theme_dark": Text("Dark", "Тёмное"),
        # periods
        "periods": Text("Period", "Период"),
        "period_day": Text("Day", "День"),
        "period_week": Text("Week", "Неделя"),
        "period_month": Text("Month", "Месяц"),
        "period_quarter": Text("Quarter", "Квартал"),
        "period_year": Text("Year", "Год"),
        "period_all": Text("All time", "Всё время"),
        "range": Text("Other dates", "Другие даты"),
        "range_from": Text("From", "С"),
        "range_to": Text("To", "По"),
        "range_show": Text("Show", "Показать"),
        "heading_day": Text("Today", "Сегодня"),
        "heading_week": Text("The last 7 days", "Последние 7 дней"),
        "heading_month": Text("The last 30 days", "Последние 30 дней"),
        "heading_quarter": Text("The last 90 days", "Последние 90 дней"),
        "heading_year": Text("The last 365 days", "Последние 365 дней"),
        "heading_all": Text("All time", "За всё время"),
        "compared": Text("compared with {days}", "сравнение с периодом {days}"),
        "open_day": Text("today is not over yet", "сегодняшний день ещё идёт"),
        # how fresh it is
        "as_of": Text("As of {moment}", "По состоянию на {moment}"),
        "as_of_never": Text("Nothing has been read yet", "Данных ещё не поступало"),
        "complete_through": Text("complete through {day}", "полные данные по {day}"),
        "complete_never": Text("no day is checked yet", "ни один день ещё не сверен"),
        "time_zone": Text("time zone: {zone}", "часовой пояс: {zone}"),
        # the six numbers
        "metrics": Text("Key figures", "Главные показатели"),
        "profile_views": Text("Profile views", "Просмотры профиля"),
        "contact_views": Text("Contact views", "Просмотры контактов"),
        "requests": Text("Requests", "Заявки"),
        "orders": Text("Orders", "Заказы"),
        "reviews": Text("Reviews", "Отзывы"),
        "visitors": Text("Visitors", "Посетители"),
        "was": Text("was {number}", "было {number}"),
        "new": Text("new", "с нуля"),
        "not_counted": Text("not counted then", "тогда не считали"),
        "partial": Text("of some days only", "лишь за часть дней"),
        "visitors_unknown": Text(
            "not known yet, or the site sends no visitorId", "пока неизвестно, или сайт не передаёт visitorId"
        ),
        "uncounted": Text("was not counted in these days", "в эти дни не считали"),
        "estimate": Text(
            "an estimate: it is off by 1.6% at most, 95 times in 100",
            "оценка: отклонение не больше 1,6\u202f% в 95 случаях из 100",
        ),
        # what a person should know first
        "empty_title": Text("Nothing has been counted yet", "Пока ничего не посчитано"),
        "empty_text": Text(
            "The first view of your profile will be here within seconds.",
            "Первый же просмотр вашего профиля появится здесь через несколько секунд.",
        ),
        "since_title": Text("Counting since {day}", "Считаем с {day}"),
        "since_text": Text(
            "Days before that are left out where nobody counted: they are gaps, not zeros.",
            "Дни, когда просмотры не считались, пропущены: это пробелы, а не нули.",
        ),
        "quiet_title": Text("Nobody came in these days", "В эти дни никто не заходил"),
        "quiet_text": Text(
            "The counting went on; there was just nothing to count. Try a longer period.",
            "Подсчёт шёл, но считать было нечего. Попробуйте период подлиннее.",
        ),
        "lost_title": Text("Some events were lost", "Часть событий потеряна"),
        "lost_unknown": Text(
            "{days}: an unknown number of events was lost before it could be counted, perhaps some of yours.",
            "{days}: неизвестное число событий пропало до подсчёта; возможно, это затронуло ваши числа.",
        ),
        # trend
        "trend": Text("Trend", "Динамика"),
        "trend_day": Text("by day", "по дням"),
        "trend_week": Text("by week", "по неделям"),
        "trend_month": Text("by month", "по месяцам"),
        "trend_table": Text("Show as a table", "Показать таблицей"),
        "trend_caption": Text("Numbers", "Числа"),
        "trend_chart": Text(
            "Line chart of the numbers in the table below. The arrow keys read it point by point.",
            "График чисел из таблицы ниже. Стрелки на клавиатуре читают его по точкам.",
        ),
        "series": Text("Lines of the chart", "Линии графика"),
        "before": Text("Profile views before", "Просмотры профиля ранее"),
        "date": Text("Date", "Дата"),
        "so_far": Text("so far", "пока"),
        "events_lost": Text("events lost", "есть потери"),
        "trend_none": Text(
            "Nothing happened in these days: there is no line to draw.",
            "За эти дни ничего не произошло: рисовать нечего.",
        ),
        "gap": Text("not counted", "не считали"),
        "unknown": Text("not known", "неизвестно"),
        # funnel
        "funnel": Text("From view to order", "От просмотра к заказу"),
        "rate_contact_views": Text("{rate} of profile views", "{rate} от просмотров профиля"),
        "rate_requests": Text("{rate} of contact views", "{rate} от просмотров контактов"),
        "rate_orders": Text("{rate} of requests", "{rate} от заявок"),
        "funnel_none": Text(
            "No views, requests or orders in these days.",
            "За эти дни не было ни просмотров, ни заявок, ни заказов.",
        ),
        # sources and types
        "sources": Text("Where they came from", "Откуда приходят"),
        "source": Text("Source", "Источник"),
        "catalog": Text("Catalogue", "Каталог"),
        "search": Text("Search", "Поиск"),
        "direct": Text("Direct link", "Прямая ссылка"),
        "other": Text("Other", "Другое"),
        "views": Text("Views", "Просмотры"),
        "share": Text("Share", "Доля"),
        "sources_none": Text("No profile views in these days.", "За эти дни просмотров профиля не было."),
        "contact_types": Text("Which contacts were opened", "Какие контакты открывали"),
        "contact_type": Text("Contact", "Контакт"),
        "contact_types_since": Text("from {day} on", "начиная с {day}"),
        "contact_types_gone": Text(
            "Single events of these days are no longer kept, only their totals.",
            "Отдельные события за эти дни уже не хранятся, остались только суммы.",
        ),
        "contact_types_none": Text("No contact views in these days.", "За эти дни контакты не открывали."),
        "phone": Text("Phone", "Телефон"),
        "email": Text("Email", "Эл.\u00a0почта"),
        "telegram": Text("Telegram", "Telegram"),
        "whatsapp": Text("WhatsApp", "WhatsApp"),
        "website": Text("Website", "Сайт"),
        "contact_type_other": Text("Others, or not said", "Прочие или не указано"),
        # what the numbers mean
        "meaning": Text("What is counted", "Что здесь считается"),
        "meaning_views": Text(
            "Views of your profile and of your contacts count once each. Your own visits and those of robots do not count.",
            "Каждый просмотр профиля и контактов учитывается один раз. Ваши собственные визиты и роботы не учитываются.",
        ),
        "meaning_visitors": Text(
            "Visitors are different people: who comes on two days is one. Their number can therefore be smaller than the sum of the days.",
            "Посетители\u00a0— это разные люди: пришедший в два разных дня считается один раз, поэтому их может быть меньше, чем в сумме по дням.",
        ),
        "meaning_outcomes": Text(
            "Requests, orders and reviews count on the day on which they were made.",
            "Заявки, заказы и отзывы относятся к тому дню, когда они были сделаны.",
        ),
        "meaning_changes": Text(
            "Changes are against as many days right before.",
            "Изменения показаны относительно стольких же дней непосредственно перед периодом.",
        ),
        "profile": Text("Profile", "Профиль"),
        # a link that opens once, as robots see it
        "link_title": Text("This link opens in a browser", "Эта ссылка открывается в браузере"),
        "link_text": Text(
            "It opens once, for a person: a preview shows only this page, and does not use it up.",
            "Она срабатывает один раз и для человека: предпросмотр показывает только эту страницу и не расходует её.",
        ),
        # pages that could not be shown
        "no_page_title": Text("There is nothing at this address", "По этому адресу ничего нет"),
        "no_page_text": Text("Your numbers are on another page:", "Ваши числа на другой странице:"),
        "period_title": Text("There is no such period", "Такого периода нет"),
        "period_text": Text(
            "Choose another one, or other dates, above.",
            "Выберите другой период или другие даты выше.",
        ),
        "why_name": Text(Why.NAME, "периода {given} нет, есть {names} или даты"),
        "why_date": Text(Why.DATE, "{given}\u00a0— не дата, её пишут так: 2026-11-10"),
        "why_both": Text(Why.BOTH, "период и даты исключают друг друга: оставьте что-то одно"),
        "why_no_first": Text(Why.NO_FIRST, "первая дата не указана"),
        "why_before_epoch": Text(Why.BEFORE_EPOCH, "{first} раньше самой первой возможной даты, {epoch}"),
        "why_not_come": Text(Why.NOT_COME, "{first} ещё не наступило: сегодня {today}"),
        "why_reversed": Text(Why.REVERSED, "последняя дата, {last}, раньше первой, {first}: поменяйте их местами"),
        "why_too_long": Text(Why.TOO_LONG, "период {first}\u00a0– {last} слишком длинный: можно не больше {most} дней"),
        "sign_in_title": Text("Please come in through the site", "Войдите через сайт"),
        "sign_in_text": Text(
            "The link has expired or was used before, or your visit here has ended. Nothing is lost: open the analytics again from your profile on the site.",
            "Ссылка устарела или уже использована, либо время входа истекло. Ничего не потеряно: откройте аналитику заново из своего профиля на сайте.",
        ),
        "no_profile_title": Text("This profile is not known here", "Такого профиля здесь нет"),
        "no_profile_text": Text(
            "If it is new, try again in a few minutes. It may also have been deleted.",
            "Если он создан только что, зайдите через несколько минут. Возможно, профиль удалён.",
        ),
        "too_many_title": Text("A little slower, please", "Чуть помедленнее"),
        "too_many_text": Text(
            "This page was asked for too often. Try again in a minute.",
            "Слишком много запросов подряд. Попробуйте через минуту.",
        ),
        "away_title": Text("The numbers cannot be read just now", "Сейчас числа недоступны"),
        "away_text": Text(
            "The database cannot be reached. Your numbers are safe, and views go on being collected: try again in a minute.",
            "База данных не отвечает. С вашими числами всё в порядке, просмотры по-прежнему собираются: попробуйте через минуту.",
        ),
        "secret_title": Text("This page is not set up yet", "Страница ещё не настроена"),
        "secret_text": Text(
            "Nobody can come in until ANALYTICS_SECRET is set, with at least 32 bytes: tell whoever operates the site.",
            "Войти нельзя, пока не задана переменная ANALYTICS_SECRET длиной не меньше 32 байт: сообщите тому, кто ведёт сайт.",
        ),
        "failed_title": Text("Something went wrong here", "Что-то пошло не так"),
        "failed_text": Text(
            "It is our mistake, and it is written down. Your numbers are safe: try again in a minute.",
            "Это наша ошибка, и она записана. С вашими числами всё в порядке: попробуйте через минуту.",
        ),
        "error_again": Text("Try again", "Попробовать снова"),
    }
)

COUNTED: Mapping[str, Counted] = MappingProxyType(
    {
        "days": Counted(
            {"one": "{n} day", "other": "{n} days"},
            {"one": "{n} день", "few": "{n} дня", "many": "{n} дней"},
        ),
        "counted_days": Counted(
            {"one": "counted on {n} day only", "other": "counted on {n} days only"},
            {"one": "считали только {n} день", "few": "считали только {n} дня", "many": "считали только {n} дней"},
        ),
        "lost": Counted(
            {
                "one": "{days}: {n} event was lost before it could be counted, perhaps one of yours.",
                "other": "{days}: {n} events were lost before they could be counted, perhaps some of yours.",
            },
            {
                "one": "{days}: {n} событие пропало до подсчёта; возможно, это затронуло ваши числа.",
                "few": "{days}: {n} события пропали до подсчёта; возможно, это затронуло ваши числа.",
                "many": "{days}: {n} событий пропало до подсчёта; возможно, это затронуло ваши числа.",
            },
        ),
        "lost_more": Counted(
            {"one": "and {n} more time.", "other": "and {n} more times."},
            {"one": "и ещё {n} раз.", "few": "и ещё {n} раза.", "many": "и ещё {n} раз."},
        ),
    }
)
