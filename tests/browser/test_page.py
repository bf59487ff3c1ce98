"""The report in Chromium: no script fails, axe-core finds nothing, nothing is cut at any width, large fleets open at once.

`make browser` runs it: it needs chromium, and axe-core, which comes in the package axe-playwright-python.
"""

from __future__ import annotations

import html
import json
import re
import resource
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvmfw
from kvmfw.analysis import examine, make_frame, open_fleet
from kvmfw.analysis.changed import host_of, set_level
from kvmfw.analysis.opened import capture_documents
from kvmfw.cpus import cpu_name
from kvmfw.documents import parsed_json
from kvmfw.report import issues
from kvmfw.report.html import html_report

EXAMPLES = Path(__file__).parents[2] / "examples"
CAPTURES = sorted((EXAMPLES / "captures").glob("*.json"))
# Runs 1.5 s (of the page's own clock) after it was loaded; what it gives becomes the page.
MOST_NARROW = 500
"""Chromium has no narrower window: what is shown narrower is shown in a frame."""
WAIT = """<script>addEventListener("load", () => setTimeout(async () => {
  let said;
  try { said = await (async () => { SCRIPT })(); } catch (error) { said = String(error); }
  const made = document.createElement("pre");
  made.id = "said"; made.textContent = JSON.stringify(said);
  document.body.replaceChildren(made);
  parent.postMessage(made.outerHTML, "*");
}, 1500))</script>"""
FRAME = """<!doctype html><title>frame</title><iframe style="width:WIDTHpx;height:1600px;border:0" src="page.html"></iframe>
<script>addEventListener("message", event => { document.body.innerHTML = event.data; })</script>"""
BROWSER = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu"]


def axe() -> str:
    found = find_spec("axe_playwright_python")
    assert found is not None, "axe-core is in the package axe-playwright-python"
    assert found.submodule_search_locations is not None
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def page() -> str:
    opened = open_fleet(EXAMPLES)
    frame = make_frame(opened.fleet, columns=opened.columns)
    report = examine(frame, columns=opened.columns, documents=capture_documents(EXAMPLES))
    return html_report(report, issues(report), title="examples")


def shown(page: str, script: str, folder: Path, *options: str, width: int = 1280) -> Any:
    """Open a page in Chromium, run a script in it when it is painted, give what its last expression is."""
    wait = WAIT.replace("SCRIPT", script)
    file = folder / "page.html"
    file.write_text(page.replace("</body>", f"{wait}</body>"))
    if width < MOST_NARROW:
        file = folder / "frame.html"
        file.write_text(FRAME.replace("WIDTH", str(width)))
    size = f"--window-size={max(width, MOST_NARROW)},1600"
    command = [*BROWSER, "--virtual-time-budget=60000", size, *options, "--dump-dom", file.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    (said,) = re.findall(r'<pre id="said">(.*?)</pre>', ran.stdout, re.DOTALL)
    return json.loads(html.unescape(said))


@pytest.mark.parametrize("scheme", [[], ["--blink-settings=preferredColorScheme=0"]], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 400])
def test_axe_finds_nothing(page: str, width: int, scheme: list[str], tmp_path: Path) -> None:
    with_axe = page.replace(
        "</body>", "<script>" + axe().replace("</script", "<\\/script") + "</script></body>"
    )
    script = "const found = await axe.run(document); return found.violations.map(one => [one.id, one.impact, one.nodes.length])"
    assert shown(with_axe, script, tmp_path, *scheme, width=width) == []


# Words of code are text, not what a document would be written with; names that a column has no room for are not broken.
LOOK = """
  const wide = document.documentElement.clientWidth, cut = [], broken = [];
  for (const one of document.querySelectorAll("nav a, h1, h2, p, .card, td, dd"))
    if (!one.closest(".scroll") && one.getBoundingClientRect().right > wide + 1) cut.push(one.textContent.slice(0, 40));
  const names = "th button, [data-table=blockers] td:first-child, [data-table=gates] td:first-child";
  for (const one of document.querySelectorAll(names)) {
    const words = one.textContent.split(/[ -]/), range = document.createRange(), text = one.firstChild;
    for (let at = 0, word = 0; text && word < words.length; at += words[word++].length + 1) {
      range.setStart(text, at); range.setEnd(text, at + words[word].length);
      if (new Set([...range.getClientRects()].map(box => box.top)).size > 1) broken.push(words[word]);
    }
  }
  return [innerWidth, document.documentElement.scrollWidth <= wide, cut, broken, document.body.innerText.includes("`")];"""


@pytest.mark.parametrize("width", [1280, 800, 400])
def test_nothing_is_cut(page: str, width: int, tmp_path: Path) -> None:
    assert shown(page, LOOK, tmp_path, width=width) == [width, True, [], [], False]


def test_nothing_is_cut_on_paper(page: str, tmp_path: Path) -> None:
    """A4 between margins has 718 pixels, and nobody scrolls it."""
    printed = page.replace("@media print", "@media all").replace(
        "(prefers-color-scheme: dark)", "(width: 1px)"
    )
    everything = LOOK.replace('!one.closest(".scroll") && ', "").replace("blockers", "none")
    assert shown(printed, everything, tmp_path, width=718) == [718, True, [], [], False]


def test_arrow_keys_choose_cells_and_unlike_cpus_are_dimmed(page: str, tmp_path: Path) -> None:
    script = """
      const press = key => map.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
      const places = [];
      for (const key of ["ArrowDown", "ArrowDown", "ArrowRight"]) { press(key); places.push(location.hash); }
      await new Promise(resolve => setTimeout(resolve, 50));
      same.checked = true; same.dispatchEvent(new Event("change"));
      const ink = dim.getContext("2d").getImageData(0, 0, dim.width, dim.height).data;
      const covered = ink.filter((_, at) => at % 4 === 3 && ink[at] > 0).length;
      let unlike = 0;
      for (const cpu of data.vmCpus) for (const other of data.hostCpus) unlike += !cpu || cpu !== other;
      return [new Set(places).size, panel.hidden, covered === unlike, unlike > 0, dim.hidden];"""
    assert shown(page, script, tmp_path) == [3, False, True, True, False]


def test_what_a_sorted_table_says_is_what_it_said(page: str, tmp_path: Path) -> None:
    script = """
      const odd = [];
      for (const box of document.querySelectorAll("[data-table]")) {
        const rows = () => [...box.querySelectorAll("tbody tr")].slice(0, 20).map(row => row.innerHTML).sort();
        const before = rows(), codes = box.querySelectorAll("td code").length, few = !box.querySelector("script");
        box.querySelector("th button").click();
        if (few && JSON.stringify(before) !== JSON.stringify(rows())) odd.push(box.dataset.table);
        if (few && box.querySelectorAll("td code").length !== codes) odd.push("code of " + box.dataset.table);
      }
      return odd;"""
    assert shown(page, script, tmp_path) == []


def large() -> str:
    """Give the page of 20,000 VMs in hundreds of classes on 400 classes of hosts."""
    levels = range(24)
    documents = [parsed_json(path.read_bytes()) for path in CAPTURES]
    kinds = [
        host_of(set_level(one, 0x6030000000140000, 0x10000 + level)) for one in documents for level in levels
    ][:400]
    hosts = [kind.renamed(f"h{at}") for at, kind in enumerate(kinds)]
    sets = list(kvmfw.readers.register_sets(EXAMPLES / "vms.jsonl"))
    made = []
    for row in range(20_000):
        one = sets[row % len(sets)]
        registers = one.to_mapping() | {0x6030000000140000: 0x10000 + row // len(sets) % 6}
        made.append(
            kvmfw.RegisterSet.from_mapping(
                registers,
                features=one.features,
                vgic=one.vgic,
                enabled=one.enabled,
                name=f"v{row}",
                host=f"h{row % 400}",
            )
        )
    fleet = kvmfw.Fleet(made, hosts)
    columns = {
        "cpu": [cpu_name(one.midr) for one in hosts],
        "kernel": [one.kernel for one in hosts],
        "capture": [one.name for one in hosts],
    }
    named = {f"h{at}": one for at, one in enumerate([one for one in documents for _ in levels][:400])}
    report = examine(make_frame(fleet, columns=columns), columns=columns, documents=named)
    assert np.count_nonzero(report.frame.host_weight) >= 300
    return html_report(report, issues(report), title="large")


def opening(page: str, folder: Path) -> float:
    """Give the CPU seconds that Chromium takes to open a page: other work on the machine does not count."""
    file = folder / "page.html"
    file.write_text(page)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*BROWSER, "--dump-dom", file.as_uri()], capture_output=True, check=True, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_large_fleet_opens_at_once(tmp_path: Path) -> None:
    empty = opening("<!doctype html><title>empty</title>", tmp_path)
    took = opening(large(), tmp_path)
    print(f"empty page {empty:.2f} s CPU, 20,000 VMs x 400 hosts {took:.2f} s CPU")
    assert took - empty < 2
