"""A real browser opens the page: no error, and no request to the outside."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from constructed import write_tables

from single_directions.report.cli import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OF_THE_BROWSER = ("google.com", "googleapis.com", "gstatic.com")
"""Hosts that Chromium asks for reasons of its own."""
pytestmark = [
    pytest.mark.ci_only,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


def opened(page: Path, folder: Path) -> tuple[str, list[str], set[str]]:
    """What Chromium makes of a page: its document, the lines of its console, and the hosts that it asked."""
    log = folder / "network.json"
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
    alone = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}")
    told = ("--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom", page.as_uri())
    done = subprocess.run([CHROMIUM, *alone, *quiet, *told], capture_output=True, text=True, timeout=60, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
    events = json.dumps(json.loads(log.read_text())["events"])
    hosts = {urlsplit(url).hostname or "" for url in re.findall(r'"url": "((?:https?|wss?)://[^"]+)"', events)}
    return done.stdout, console, {host for host in hosts if not host.endswith(OF_THE_BROWSER)}


def test_page_opens_without_errors_or_requests(monkeypatch, tmp_path):
    inputs = write_tables(tmp_path / "tables", {"memorization": 4, "early_stopping": 4})
    monkeypatch.setattr("sys.argv", ["report.py", str(inputs), "--output", str(tmp_path / "report")])
    report()
    document, console, hosts = opened(tmp_path / "report" / "index.html", tmp_path)
    assert "How much do networks rely on single directions?" in document
    assert document.count("<img ") == len(list((tmp_path / "report").glob("*.png"))) > 0
    assert console == []
    assert hosts == set()


def test_an_error_or_a_request_would_be_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<!DOCTYPE html><title>x</title><img src="http://127.0.0.1:9/x.png"><script>nothing()</script>')
    _, console, hosts = opened(page, tmp_path)
    assert len(console) == 1
    assert hosts == {"127.0.0.1"}
