"""Tokens that the site signs in Node are those that the worker checks, and the other way round."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.clients.web_tier import compiled
from tests.node import call
from worker.token import Audience, BadToken, sign, verify

SECRET = "Ünter den Linden 77, 10117 Berlin"
IN_NODE = """
import { signToken } from './analytics.js'
import { createHmac } from 'node:crypto'
const [secret, token] = process.argv.slice(1)
const signed = token.slice(0, token.lastIndexOf('.'))
console.log(JSON.stringify({
  page: signToken(secret, 'c0ffee'),
  link: signToken(secret, 'c0ffee', { link: true }),
  short: signToken(secret, 'c0ffee', { seconds: 60 }),
  past: signToken(secret, 'c0ffee', { seconds: -1 }),
  holds: token === `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`,
  refused: [undefined, null, '', 'x'.repeat(31)].map((short) => {
    try { return signToken(short, 'c0ffee') } catch (error) { return error.message }
  }),
}))
"""


def test_both_sign_alike() -> None:
    """A token of Node holds in Python, as long as it says, for a page or a link as it says; one of Python's in Node."""
    python = sign(SECRET, "c0ffee", lifetime=timedelta(hours=1))
    ran = call("node", "--input-type=module", "--eval", IN_NODE, SECRET, python, cwd=compiled())
    assert ran.returncode == 0, ran.stderr
    node = json.loads(ran.stdout)
    assert node["holds"]
    assert node["refused"] == ["ANALYTICS_SECRET must have 32 bytes or more"] * 4

    page = verify(SECRET, node["page"], Audience.SPECIALIST)
    link = verify(SECRET, node["link"], Audience.SPECIALIST, link=True)
    short = verify(SECRET, node["short"], Audience.SPECIALIST)
    now = datetime.now(UTC)
    for claims, lifetime in ((page, timedelta(hours=12)), (link, timedelta(minutes=15)), (short, timedelta(minutes=1))):
        assert claims.subject == "c0ffee"
        assert now + lifetime - timedelta(seconds=30) <= claims.expires <= now + lifetime
    for token, is_link in ((node["page"], True), (node["link"], False), (node["past"], False)):
        with pytest.raises(BadToken):
            verify(SECRET, token, Audience.SPECIALIST, link=is_link)
    with pytest.raises(BadToken):
        verify(SECRET, node["page"], Audience.OPERATOR)
