"""A page as a real browser lays it out: Chromium, without a window."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.support.services import found

LOOK = """<script>
addEventListener("load", () => {
  const page = document.documentElement, pictures = [...document.images]
  const seen = {
    pictures: pictures.length,
    broken: pictures.filter(picture => !picture.naturalWidth).map(picture => picture.alt),
    overflow: page.scrollWidth - page.clientWidth,
  }
  document.body.replaceChildren(JSON.stringify(seen))
})
</script></body>"""


def seen(page: Path, width: int, scratch: Path) -> dict[str, Any]:
    """Return how many `pictures` a page shows in a window of so many pixels, which are `broken`, and by how many pixels
    it is wider than the window (`overflow`).
    """
    (browser,) = found("chromium", "chromium")
    copy = scratch / f"{width}.html"
    copy.write_text(page.read_text().replace("</body>", LOOK))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    command = [browser, *options, f"--window-size={width},900", f"--user-data-dir={scratch / 'profile'}", copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    body = re.search(r"<body>(.*?)</body>", done.stdout, re.DOTALL)
    assert body, done.stderr
    answer: dict[str, Any] = json.loads(html.unescape(body[1]))
    return answer
