"""Models that reply to a text with images: an HTTP endpoint or a local one, each reply paid once.

An endpoint speaks the chat completions of OpenAI, as vLLM, SGLang, llama.cpp and most services do:
POST <base>/chat/completions with `model`, `messages`, `temperature`, `max_tokens`; images are parts
of the type `image_url` with a base64 data URL; the reply is `choices[0].message.content`, and
`usage` counts tokens (so open-compass/VLMEvalKit@e8e78f05:vlmeval/api/gpt.py#L235,#L319 and
EvolvingLMMs-Lab/lmms-eval@75571cfe:lmms_eval/models/simple/openai.py#L469 have it).

A reply is kept on disk under a digest of all that it depends on: model, text, pixels, length. A run
that was interrupted, and another run that asks the same, do not ask again.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import io
import ipaddress
import json
import os
import random
import sqlite3
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from reference_impls.core import cache
from reference_impls.core.train.checkpoints import digest

CHUNK = 32
"""Requests whose images are in memory at a time, and after which replies are kept at the latest."""
LONGEST_WAIT = 60.0
EVERY = 10.0
"""Seconds between two lines of progress."""
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""HTTP statuses that pass."""


class NoReply(RuntimeError):
    """The model cannot be asked. One line: who, why, and what to do; it never holds a key."""


class Stopped(NoReply):
    """A call that was not made, since another one failed."""


@dataclass(frozen=True)
class Request:
    """What is asked about some images; `images` gives them when they are needed."""

    text: str
    images: Callable[[], Sequence[Image.Image]]
    max_tokens: int = 256


@dataclass
class Usage:
    """What was asked, and what it cost."""

    calls: int = 0
    kept: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0

    def line(self) -> str:
        """What a run prints."""
        said = [f"{self.calls} calls", f"{self.kept} replies kept from before"]
        if self.prompt_tokens or self.reply_tokens:
            said.append(f"{self.prompt_tokens} tokens read, {self.reply_tokens} written")
        if self.retries:
            said.append(f"{self.retries} retries")
        return ", ".join(said)


class Replier(Protocol):
    """A model that replies. `name` is all that its replies depend on beside the request."""

    @property
    def name(self) -> str: ...

    def replies(
        self,
        texts: Sequence[tuple[str, int]],
        images: Sequence[Sequence[Image.Image]],
        usage: Usage,
    ) -> Iterator[tuple[int, str]]:
        """(place, reply) of each text with its greatest length, in any order. Raises NoReply."""


# --- over HTTP -----------------------------------------------------------------------------------


class _StaysHere(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Endpoint:
    """An OpenAI-compatible endpoint.

    url: up to and with `/v1`. key_variable: the environment variable that holds the key; without
    one no key is sent. jobs: calls at a time. attempts: of one call, with waits that double from
    `wait` seconds, or as long as the server says.
    """

    url: str
    model: str
    key_variable: str = ""
    timeout: float = 120.0
    attempts: int = 6
    jobs: int = 4
    wait: float = 1.0
    _key: str = field(default="", repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
            host = parts.hostname or ""
            _ = parts.port
        except ValueError as error:
            raise NoReply(f"'{self.url}' is not an address: {error}") from None
        if not host or parts.scheme not in ("http", "https"):
            raise NoReply(f"'{self.url}' is not an address of the form http(s)://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise NoReply("the address of an annotator holds a name, key or query; give a key by "
                          "--annotator-key-variable")  # fmt: skip
        if not self.model:
            raise NoReply("an endpoint serves several models; name one (--annotator-model)")
        self.url = self.url.rstrip("/").removesuffix("/chat/completions")
        if self.key_variable:
            self._key = os.environ.get(self.key_variable, "").strip()
            if not self._key:
                raise NoReply(f"the environment has no {self.key_variable}, which should hold the "
                              "annotator's key")  # fmt: skip
            if not self._key.isascii() or not self._key.isprintable():
                raise NoReply(f"{self.key_variable} holds characters that no key has")
            if parts.scheme == "http" and not _here(host):
                raise NoReply(f"the key would go to {host} unencrypted; use https://")

    @property
    def name(self) -> str:
        return f"{self.url} {self.model}"

    def replies(
        self, texts: Sequence[tuple[str, int]], images: Sequence[Sequence[Image.Image]],
        usage: Usage,
    ) -> Iterator[tuple[int, str]]:  # fmt: skip
        """(place, reply), as they come. Raises NoReply."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(max_workers=self.jobs)
        failed: NoReply | None = None
        try:
            calls = {
                pool.submit(self._ask, text, length, shown, usage, stop): place
                for place, ((text, length), shown) in enumerate(zip(texts, images, strict=True))
            }
            for call in as_completed(calls):
                try:
                    yield calls[call], call.result()
                except Stopped:
                    pass
                except NoReply as error:  # what others were given is paid, and kept
                    failed = failed or error
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        if failed is not None:
            raise failed

    def _ask(
        self, text: str, length: int, images: Sequence[Image.Image], usage: Usage,
        stop: threading.Event,
    ) -> str:  # fmt: skip
        """The reply to one text. Sets `stop` where there is none, so that no further call is made.

        Raises NoReply.
        """
        if stop.is_set():
            raise Stopped
        try:
            return self._tried(text, length, images, usage, stop)
        except NoReply:
            stop.set()
            raise

    def _tried(
        self, text: str, length: int, images: Sequence[Image.Image], usage: Usage,
        stop: threading.Event,
    ) -> str:  # fmt: skip
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": [*map(part, images),
                                                          {"type": "text", "text": text}]}],
                "temperature": 0,
                "max_tokens": length,
            }
        ).encode()  # fmt: skip
        for attempt in range(1, self.attempts + 1):
            wait = min(LONGEST_WAIT, self.wait * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)
            try:
                content = self._post(body)
            except urllib.error.HTTPError as error:
                with error:
                    said = self._said(error)
                    if error.code not in AGAIN or attempt == self.attempts:
                        raise NoReply(self._refusal(error.code, said, attempt)) from None
                    wait = _told_to_wait(error) or wait
            except (OSError, http.client.HTTPException) as error:
                if attempt == self.attempts:
                    reason = getattr(error, "reason", None) or error
                    raise NoReply(
                        f"{self.url} does not answer: {self._clean(str(reason))} "
                        f"({attempt} attempts)"
                    ) from None
            else:
                return self._read(content, usage)
            with self._lock:
                usage.retries += 1
            if pause(stop, wait):
                raise Stopped
        raise AssertionError("unreachable")

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "mmalign"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", body, headers)
        opener = urllib.request.build_opener(_StaysHere)
        with opener.open(request, timeout=self.timeout) as response:
            content: bytes = response.read()
        return content

    def _read(self, content: bytes, usage: Usage) -> str:
        """The reply's text; empty where the model gave none (it refused, or only thought)."""
        try:
            found = json.loads(content)
            text = found["choices"][0]["message"]["content"]
            used = found.get("usage") or {}
            counts = [int(used.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, TypeError, LookupError, AttributeError):
            shown = self._clean(content[:200].decode(errors="replace"))
            raise NoReply(f"{self.url} answers, but not with a chat completion: {shown}") from None
        with self._lock:
            usage.calls += 1
            usage.prompt_tokens += counts[0]
            usage.reply_tokens += counts[1]
        return text if isinstance(text, str) else ""

    def _refusal(self, status: int, said: str, attempts: int) -> str:
        more = f" ({attempts} attempts)" if attempts > 1 else ""
        if status in (401, 403):
            where = self.key_variable or "no --annotator-key-variable was given"
            more += f"; the key: {where}"
        elif 300 <= status < 400:
            more += "; it redirects elsewhere, which is not followed: give the address itself"
        elif status == 404:
            more += "; an address ends in /v1 as a rule, and --annotator-model is one it serves"
        return f"{self.url} answers {status}: {said}{more}"

    def _said(self, error: urllib.error.HTTPError) -> str:
        try:
            text = error.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return str(error.reason)
        try:
            found = json.loads(text)
            found = found.get("error", found) if isinstance(found, dict) else found
            text = str(found.get("message", found)) if isinstance(found, dict) else str(found)
        except ValueError:
            pass
        return self._clean(text) or str(error.reason)

    def _clean(self, text: str) -> str:
        """Words of a server on one line, short, and without the key, which some repeat."""
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= 200 else text[:200] + "..."


def pause(stop: threading.Event, seconds: float) -> bool:
    """Wait, unless it is stopped; whether it is."""
    return stop.wait(seconds)


def _here(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _told_to_wait(error: urllib.error.HTTPError) -> float | None:
    """Seconds that `Retry-After` asks for, at most `LONGEST_WAIT`; None where it says nothing."""
    text = (error.headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT)
    try:
        until = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
    return min(max(until - time.time(), 0.0), LONGEST_WAIT)


def part(image: Image.Image) -> dict[str, Any]:
    """An image as a part of a message; JPEG of high quality, since a photo as PNG is several times
    as large."""
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=95, subsampling=0)
    url = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


# --- on this machine -----------------------------------------------------------------------------


@dataclass
class LocalModel:
    """A checkpoint folder or hub id, loaded when it is first asked; it answers greedily."""

    path: str
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 8
    _loaded: tuple[Any, Any] | None = field(default=None, repr=False)
    _name: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        from reference_impls.core.stages import model_digest

        self._name = self._name or f"{model_digest(self.path)} {self.dtype}"
        return self._name

    def replies(
        self, texts: Sequence[tuple[str, int]], images: Sequence[Sequence[Image.Image]],
        usage: Usage,
    ) -> Iterator[tuple[int, str]]:  # fmt: skip
        """(place, reply), in batches of one length. Raises NoReply."""
        from reference_impls.core.model.encode import Encoder, EncodingError
        from reference_impls.core.model.generation import generate
        from reference_impls.core.model.load import load

        if self._loaded is None:
            try:
                model, processor = load(self.path, self.device, self.dtype)
            except (OSError, ValueError) as error:
                raise NoReply(f"the annotator {self.path} cannot be loaded: {error}") from None
            self._loaded = (model, Encoder(processor))
        model, encoder = self._loaded
        for length in dict.fromkeys(each for _, each in texts):
            places = [place for place, (_, each) in enumerate(texts) if each == length]
            for start in range(0, len(places), self.batch_size):
                batch = places[start : start + self.batch_size]
                prompts = [_turn(texts[place][0], len(images[place])) for place in batch]
                shown = [list(images[place]) for place in batch]
                try:
                    found = generate(model, encoder, prompts, shown, max_new_tokens=length,
                                     batch_size=self.batch_size)  # fmt: skip
                except EncodingError as error:
                    raise NoReply(f"the annotator {self.path} cannot read it: {error}") from None
                usage.calls += len(batch)
                yield from zip(batch, found, strict=True)


def _turn(text: str, images: int) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "image"}] * images
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


# --- kept ----------------------------------------------------------------------------------------


@dataclass
class Kept:
    """A model whose replies are kept in a file, shared by all runs of this user.

    note: told how far it is. Raises NoReply where the file cannot be used.
    """

    model: Replier
    file: Path = field(default_factory=lambda: cache.folder() / "annotator.sqlite")
    note: Callable[[str], None] = print
    usage: Usage = field(default_factory=Usage)

    def ask(self, requests: Sequence[Request]) -> list[str]:
        """One reply to each request, in their order. Equal requests are asked once."""
        found: list[str] = []
        began = said = time.monotonic()
        with self._open() as store:
            for start in range(0, len(requests), CHUNK):
                found += self._chunk(store, requests[start : start + CHUNK])
                now = time.monotonic()
                if now - said >= EVERY and len(found) < len(requests):
                    left = (now - began) / len(found) * (len(requests) - len(found))
                    self.note(
                        f"annotator: {len(found)} of {len(requests)}, {left / 60:.0f} min left; "
                        + self.usage.line()
                    )
                    said = now
        return found

    def _chunk(self, store: sqlite3.Connection, requests: Sequence[Request]) -> list[str]:
        images = [list(request.images()) for request in requests]
        keys = [self._key(r, shown) for r, shown in zip(requests, images, strict=True)]
        known = dict(
            store.execute(
                f"SELECT key, reply FROM replies WHERE key IN ({','.join('?' * len(keys))})", keys
            )
        )
        self.usage.kept += sum(key in known for key in keys)
        wanted = {key: place for place, key in enumerate(keys) if key not in known}
        places = list(wanted.values())
        asked = [(requests[place].text, requests[place].max_tokens) for place in places]
        if places:
            shown = [images[place] for place in places]
            for number, reply in self.model.replies(asked, shown, self.usage):
                key = keys[places[number]]
                known[key] = reply
                store.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply))
                store.commit()
        return [known[key] for key in keys]

    def _key(self, request: Request, images: Sequence[Image.Image]) -> str:
        pixels = [f"{image.mode} {image.size}".encode() + image.tobytes() for image in images]
        return digest(self.model.name, request.text, str(request.max_tokens), *pixels)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            store = sqlite3.connect(self.file, timeout=60)
            try:
                store.execute(
                    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT)"
                )
                yield store
            finally:
                store.close()
        except (OSError, sqlite3.Error) as error:
            raise NoReply(f"replies cannot be kept in '{self.file}': {error}") from None
