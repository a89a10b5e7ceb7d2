"""A real browser without a window: Debian's Chromium with fonts of its own, so that it shows the same everywhere."""

import shutil
from pathlib import Path

from tests.debian import Unavailable, fetch, start_script

PACKAGES = ("chromium-headless-shell", "fonts-roboto-unhinted", "fonts-dejavu-core")
"""Roboto is what phones with Android show, also in Cyrillic; DejaVu has the signs that Roboto lacks."""

INSTALLED = ("chromium", "chromium-browser", "google-chrome")

FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>{tree}/usr/share/fonts</dir>
  <cachedir>{tree}/fontconfig</cachedir>
  <match>
    <test compare="not_eq" name="family"><string>monospace</string></test>
    <edit mode="append_last" name="family"><string>Roboto</string></edit>
  </match>
  <alias binding="same"><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


def find_chromium() -> Path:
    """A program that takes Chromium's options: Debian's, else what is installed on this machine.

    Raises:
        Unavailable: neither can be had.
    """
    try:
        tree = fetch(*PACKAGES)
    except Unavailable:
        for name in INSTALLED:
            if installed := shutil.which(name):
                return Path(installed)
        raise
    fonts = tree / "fonts.conf"
    fonts.write_text(FONTS.format(tree=tree))
    return start_script(tree, tree / "usr/lib/chromium/chromium-headless-shell", FONTCONFIG_FILE=fonts)
