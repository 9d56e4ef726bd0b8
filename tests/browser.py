"""Pages as a reader's browser lays them out: Chromium, without a window, at a width and a scheme.

A page of ours opens each in a frame of the width, looks at every text in it and sends back what is
amiss. Nothing is needed but a Chromium on the PATH.
"""

import functools
import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
LEAST_PIXELS = 11
LEAST_CONTRAST = 3.0  # WCAG's for large text; that of small text is 4.5

HARNESS = """<!doctype html><meta name="color-scheme" content="light dark">
<body style="margin:0"><script>
const looks = %s, least = %d, contrast = %f;
const wait = ms => new Promise(done => setTimeout(done, ms));
function channels(colour) {
  const found = colour.match(/[\\d.]+/g).map(Number);
  if (colour.startsWith("color(srgb")) found.splice(0, 3, ...found.slice(0, 3).map(x => 255 * x));
  return found.length < 4 ? [...found, 1] : found;
}
function over(top, below) {
  return [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * below[i]);
}
function behind(element, view) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    const style = view.getComputedStyle(e);
    if (style.backgroundImage !== "none") return null;  // a picture: not judged
    layers.push(channels(style.backgroundColor));
  }
  const dark = view.matchMedia("(prefers-color-scheme: dark)").matches;
  const scheme = view.getComputedStyle(view.document.documentElement).colorScheme;
  const paper = dark && scheme.includes("dark") ? [18, 18, 18] : [255, 255, 255];
  return layers.reverse().reduce((below, top) => over(top, below), paper);
}
function light(rgb) {
  const linear = x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
  const [r, g, b] = rgb.map(x => linear(x / 255));
  return .2126 * r + .7152 * g + .0722 * b;
}
function ratio(one, other) {
  const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
  return (a + .05) / (b + .05);
}
function amiss(view, width) {
  const found = new Set(), root = view.document.documentElement;
  if (root.scrollWidth > width) found.add(`the page is ${root.scrollWidth} wide`);
  const walker = view.document.createTreeWalker(view.document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.textContent.trim(), element = node.parentElement;
    if (!text || element.closest("script, style, noscript, title, template")) continue;
    const range = view.document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect(), style = view.getComputedStyle(element);
    if (!box.width || style.visibility !== "visible" || style.opacity === "0") continue;
    const said = JSON.stringify(text.slice(0, 40));
    const svg = element.ownerSVGElement;
    const scale = svg ? svg.getScreenCTM().a : 1;
    const size = parseFloat(style.fontSize) * scale;
    if (size < least - .05) found.add(`${size.toFixed(1)} px: ${said}`);
    const off = box.right > width + 1 || box.left < -1;
    let scrolled = false, hidden = false;
    for (let e = element; e && e !== root; e = e.parentElement) {
      const its = view.getComputedStyle(e), clip = e.getBoundingClientRect();
      const beyond = box.right > clip.right + 1 && box.left < clip.right;
      if (["auto", "scroll"].includes(its.overflowX) && e.scrollWidth > e.clientWidth) {
        scrolled = true;
        if (beyond && !e.closest("pre, .highlight, nav")) found.add(`scrolls: ${said}`);
      } else if (["hidden", "clip"].includes(its.overflowX) && beyond && !scrolled && !svg) {
        if (clip.width > 1 && !e.closest("pre, .highlight")) found.add(`cut: ${said}`);
        hidden = true;
      }
      if (its.position === "fixed") hidden = true;  // a drawer that is shut
    }
    if (off && !scrolled && !hidden) found.add(`outside: ${said}`);
    const below = svg ? null : behind(element, view);
    if (below && box.width > 1) {
      const ink = over(channels(style.color), below), seen = ratio(ink, below);
      if (seen < contrast) found.add(`contrast ${seen.toFixed(1)}: ${said}`);
    }
  }
  return [...found];
}
(async () => {
  const result = [];
  for (const [url, width] of looks) {
    const frame = document.createElement("iframe");
    frame.style = `border:0;width:${width}px;height:900px`;
    const loaded = new Promise(done => frame.onload = done);
    frame.src = url;
    document.body.replaceChildren(frame);
    await loaded;
    frame.contentDocument.querySelectorAll("details").forEach(one => one.open = true);
    await frame.contentDocument.fonts.ready;
    await wait(80);
    result.push([url, width, amiss(frame.contentWindow, width)]);
  }
  await fetch("/__amiss", {method: "POST", body: JSON.stringify(result)});
})().catch(error => fetch("/__amiss", {method: "POST", body: JSON.stringify(String(error))}));
</script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and the page that looks; `answer` is what it sends back."""

    harness = ""
    answer = None
    answered = None

    def do_GET(self):
        if self.path != "/__look":
            return super().do_GET()
        content = self.harness.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        type(self).answer = json.loads(self.rfile.read(length))
        self.send_response(204)
        self.end_headers()
        self.answered.set()

    def log_message(self, *args):
        pass


def flags(dark):
    scheme = 0 if dark else 1
    return [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--hide-scrollbars", f"--blink-settings=preferredColorScheme={scheme}",
    ]  # fmt: skip


@contextmanager
def served(folder, looks=()):
    harness = HARNESS % (json.dumps(list(looks)), LEAST_PIXELS, LEAST_CONTRAST)
    own = type("Own", (Handler,), {"harness": harness, "answered": threading.Event()})
    handler = functools.partial(own, directory=os.fspath(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own.address = f"http://127.0.0.1:{server.server_port}"
        yield own
        server.shutdown()


def _profile() -> tempfile.TemporaryDirectory[str]:
    """A browser's own folder; its children may still write there when it has ended."""
    return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)


def amiss(folder, pages, widths, *, dark=False, seconds=600):
    """What is amiss with pages of a folder: lines that name page, width, fault and text.

    A page that is wider than the window, a text that is smaller than 11 pixels, cut, outside, to be
    scrolled for sideways (but code) or hardly told from what is behind it.
    """
    looks = [(f"/{page}", width) for page in pages for width in widths]
    with served(folder, looks) as own, _profile() as profile:
        browser = subprocess.Popen(
            [*flags(dark), f"--user-data-dir={profile}", "--window-size=1400,1000",
             "--remote-debugging-port=0", f"{own.address}/__look"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert own.answered.wait(seconds), "the browser did not answer"
        finally:
            browser.terminate()
            browser.wait()
    assert isinstance(own.answer, list), own.answer
    assert len(own.answer) == len(looks)
    return [f"{url} at {width}: {fault}" for url, width, faults in own.answer for fault in faults]
