"""Is this user agent a bot? The patterns are those of the kept library CrawlerDetect."""

from functools import lru_cache

from crawlerdetect import CrawlerDetect


@lru_cache(maxsize=16_384)
def is_bot(user_agent: str) -> bool:
    """Whether the user agent belongs to a crawler, a monitor or a script.

    One look costs about 0.2 ms (some thousand patterns), a remembered one 0.1 µs: a site sees the same few
    thousand agents all day.
    """
    return bool(CrawlerDetect(user_agent=user_agent).is_crawler())
