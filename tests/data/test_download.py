"""Downloads, from a server on this machine that can be made to fail."""

import functools
import gzip
import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from gradmatch_jax.data import load_dataset, mnist
from gradmatch_jax.data.download import Remote, fetch
from gradmatch_jax.errors import UserError

CONTENT = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files`; `cut` ends an answer after so many bytes, without saying so."""

    files: dict
    asked: list
    ranges = True
    cut = None
    lengths = True
    stall = 0.0
    back = 0  # a part begins so many bytes before what was asked for

    def do_GET(self):
        name, wanted = self.path[1:], self.headers.get("Range")
        type(self).asked.append((name, wanted))
        if name not in self.files:
            return self.send_error(404)
        content, start = self.files[name], 0
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if wanted and self.ranges else 200)
        start = max(start - self.back, 0)
        if self.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.cut] if self.cut else content[start:])
        time.sleep(self.stall)  # and then the connection ends
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A handler class of this test's own, and the address."""
    own = type("Own", (Handler,), {"files": {"a.gz": CONTENT}, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), own) as running:
        # Asked every hundredth of a second whether it is to end: half a second a test else.
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        own.address = f"http://127.0.0.1:{running.server_port}/"
        yield own
        running.shutdown()


def remote(server, md5=MD5):
    return Remote("a.gz", server.address + "a.gz", md5)


def names(folder):
    return sorted(os.listdir(folder))


def test_a_file_is_fetched_once(server, tmp_path, capsys):
    for _ in range(2):
        assert fetch(remote(server), tmp_path / "deep" / "er").read_bytes() == CONTENT
    assert server.asked == [("a.gz", None)]
    assert names(tmp_path / "deep" / "er") == ["a.gz"]
    said = capsys.readouterr()
    assert said.out == ""


def test_a_cut_download_goes_on_where_it_was(server, tmp_path):
    server.cut, kept = 1_000_000, []
    for _ in range(2):
        with pytest.raises(UserError, match=r"\Acannot download [^\n]*\Z") as error:
            fetch(remote(server), tmp_path)
        assert names(tmp_path) == [".a.gz.part"]
        kept.append((tmp_path / ".a.gz.part").stat().st_size)
        assert f"go on after {kept[-1]} bytes" in str(error.value)
    assert 500_000 < kept[0] <= 1_000_000 < kept[1]
    server.cut = None
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[1:] == [("a.gz", f"bytes={size}-") for size in kept]
    assert names(tmp_path) == ["a.gz"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_of_something_else_is_fetched_anew(server, tmp_path, ranges):
    server.ranges = ranges  # without them a server sends the whole file
    (tmp_path / ".a.gz.part").write_bytes(b"x" * 500)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == (2 if ranges else 1)
    assert names(tmp_path) == ["a.gz"]


def test_a_part_from_elsewhere_is_noticed(server, tmp_path):
    """A server that says it goes on, and does so from another place."""
    server.back = 100
    (tmp_path / ".a.gz.part").write_bytes(CONTENT[:1000])
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("a.gz", "bytes=1000-"), ("a.gz", None)]


def test_a_cut_that_no_length_gives_away(server, tmp_path):
    """It looks whole; its md5 is not."""
    server.lengths, server.cut = False, 1_000_000
    with pytest.raises(UserError, match="is not what was published"):
        fetch(remote(server), tmp_path)
    assert names(tmp_path) == []


def test_a_server_that_falls_silent(server, tmp_path):
    server.cut, server.stall = 1_000_000, 2.0
    began = time.monotonic()
    with pytest.raises(UserError, match=r"\Acannot download [^\n]*timed out[^\n]*; run it again"):
        fetch(remote(server), tmp_path, timeout=0.3)
    assert time.monotonic() - began < 2.0
    assert (tmp_path / ".a.gz.part").stat().st_size > 500_000


@pytest.mark.parametrize("have", [0, 1_000_000])
def test_a_bar_in_a_terminal(server, tmp_path, monkeypatch, capsys, have):
    """It has the file's name, and counts to its size from what is there already."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / ".a.gz.part").write_bytes(CONTENT[:have])
    fetch(remote(server), tmp_path)
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "a.gz" in said
    assert "3.0/3.0 MB" in said


@pytest.mark.parametrize("more", [b"", b"beyond"])
def test_a_part_that_is_whole_or_more(server, tmp_path, more):
    (tmp_path / ".a.gz.part").write_bytes(CONTENT + more)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_another_md5_leaves_nothing_behind(server, tmp_path):
    for part in (None, CONTENT[:1000]):
        if part:
            (tmp_path / ".a.gz.part").write_bytes(part)
        with pytest.raises(
            UserError, match=rf"\A[^\n]*not what was published[^\n]*{MD5}[^\n]*--data-dir[^\n]*\Z"
        ):
            fetch(remote(server, "0" * 32), tmp_path)
        assert names(tmp_path) == []
    assert len(server.asked) == 3  # what was taken up is tried anew, once


def test_what_is_not_there(server, tmp_path):
    missing = Remote("b.gz", server.address + "b.gz", MD5)
    with pytest.raises(UserError, match=r"\Acannot download [^\n]*404[^\n]*; pass --data-dir with"):
        fetch(missing, tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(UserError, match=r"cannot download http://127.0.0.1:9/a.gz"):
        fetch(Remote("a.gz", "http://127.0.0.1:9/a.gz", MD5), tmp_path, timeout=5.0)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write to the cache .*XDG_CACHE_HOME"):
        fetch(missing, tmp_path / "file" / "below")


def test_what_has_no_end(server, tmp_path, monkeypatch):
    monkeypatch.setattr("gradmatch_jax.data.download.MOST_BYTES", 1_000_000)
    with pytest.raises(UserError, match="it has no end; pass --data-dir"):
        fetch(remote(server), tmp_path)
    assert names(tmp_path) == []


def test_one_downloads_and_the_others_wait(server, tmp_path):
    done = []
    get = functools.partial(fetch, remote(server), tmp_path)
    threads = [threading.Thread(target=lambda: done.append(get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    assert len(server.asked) == 1


@pytest.mark.thorough
def test_a_killed_download_goes_on(server, tmp_path):
    """Whatever is on disk then is a part, and none of it is fetched twice."""
    code = (
        "import sys, os, signal; from pathlib import Path\n"
        "from gradmatch_jax.data import download\n"
        "class Bar:\n"
        "    def __init__(self, *args): pass\n"
        "    def __enter__(self): return lambda count: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    def __exit__(self, *args): pass\n"
        "download._bar = Bar\n"
        "download.fetch(download.Remote('a.gz', *sys.argv[1:3]), Path(sys.argv[3]))\n"
    )
    for _ in range(2):
        args = [sys.executable, "-c", code, remote(server).url, MD5, str(tmp_path)]
        assert subprocess.run(args, check=False).returncode == -9
        assert "a.gz" not in names(tmp_path)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_data_set_comes_into_the_cache(server, tmp_path, monkeypatch):
    def idx(array):
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        return gzip.compress(head + array.astype(np.uint8).tobytes())

    rng, files = np.random.default_rng(0), {}
    for name in mnist._MD5:
        n = 40 if "train" in name else 10
        labels = "labels" in name
        files[name] = idx(np.arange(n) % 10 if labels else rng.integers(0, 256, (n, 28, 28)))
    server.files = files
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(mnist, "_MIRROR", server.address)
    monkeypatch.setattr(mnist, "_MD5", md5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        assert len(load_dataset("mnist").test) == 10
    assert names(tmp_path / "gradmatch-jax" / "mnist") == sorted(files)
    assert len(server.asked) == 4


def test_neither_pooch_nor_requests_is_imported_before():
    code = "import sys, gradmatch_jax.data as d; assert not {'pooch', 'requests'} & {*sys.modules}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
