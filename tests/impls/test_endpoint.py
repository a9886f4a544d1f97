"""Annotators that are asked in words: over HTTP to a server of this test, and on this machine."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from reference_impls.core import command_line
from reference_impls.core.data import endpoint, verbal
from reference_impls.core.data.annotators import Choice
from reference_impls.core.data.endpoint import Endpoint, Kept, LocalModel, NoReply, Request
from reference_impls.core.data.verbal import Unreadable, Verbal
from reference_impls.core.dataset_lab import Asked, NeedsScene, Question, questions_of, rehearse
from reference_impls.core.method import load_script, script_names
from reference_impls.core.worlds.protocol import Media, Segment

KEY = "sk-secret-0123456789"
RED = Image.new("RGB", (16, 8), (255, 0, 0))


class Server:
    """Replies with what `reply(text)` gives: text, or (status, headers, body)."""

    def __init__(self, reply):
        self.reply, self.asked, self.headers = reply, [], []
        self.slow = None  # replies other than to `bad` wait for it
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                text = body["messages"][0]["content"][-1]["text"]
                if self.slow is not None and text != "bad":
                    self.slow.wait(5)
                with lock:
                    self.asked.append({**body, "path": handler.path, "text": text})
                    self.headers.append(dict(handler.headers))
                    said = self.reply(text)
                status, headers, content = said if isinstance(said, tuple) else (200, {}, said)
                if status == 200 and not isinstance(content, bytes):
                    content = json.dumps(
                        {"choices": [{"message": {"role": "assistant", "content": content}}],
                         "usage": {"prompt_tokens": 100, "completion_tokens": 3}}
                    ).encode()  # fmt: skip
                try:
                    handler.send_response(status)
                    for name, value in headers.items():
                        handler.send_header(name, value)
                    handler.send_header("Content-Length", str(len(content)))
                    handler.end_headers()
                    handler.wfile.write(content)
                except OSError:  # who asked has gone
                    pass

            def do_GET(handler):
                self.asked.append({"path": handler.path})
                handler.send_error(404)

            def log_message(handler, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def serve():
    servers = []

    def start(reply):
        servers.append(Server(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def kept(tmp_path, server, **more):
    made = Endpoint(server.url, "judge-1", wait=0.001, **more)
    return Kept(made, tmp_path / "replies.sqlite", note=lambda line: None)


def ask(text, images=(RED,), length=16):
    return Request(text, lambda: images, length)


# --- over HTTP -----------------------------------------------------------------------------------


def test_what_is_sent(serve, tmp_path, monkeypatch):
    server = serve(lambda text: f"said {text}")
    monkeypatch.setenv("MY_KEY", KEY)
    model = kept(tmp_path, server, key_variable="MY_KEY")
    assert model.ask([ask("one"), ask("two", ())]) == ["said one", "said two"]
    one = next(asked for asked in server.asked if asked["text"] == "one")
    assert one["path"] == "/v1/chat/completions"
    assert (one["model"], one["temperature"], one["max_tokens"]) == ("judge-1", 0, 16)
    [turn] = one["messages"]
    assert turn["role"] == "user" and [part["type"] for part in turn["content"]] == [
        "image_url", "text",
    ]  # fmt: skip
    head, _, data = turn["content"][0]["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as sent:
        assert sent.size == (16, 8) and sent.getpixel((3, 3))[0] > 240
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert model.usage.line() == ("2 calls, 0 replies kept from before, 200 tokens read, 6 written")


def test_no_key_is_sent_unless_its_variable_is_named(serve, tmp_path, monkeypatch):
    server = serve(lambda text: "yes")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    kept(tmp_path, server).ask([ask("one")])
    assert "Authorization" not in server.headers[0]


def test_nothing_is_paid_twice(serve, tmp_path):
    """Equal requests are asked once; text, pixels, length and model tell them apart."""
    server = serve(lambda text: text.upper())
    blue = Image.new("RGB", (16, 8), (0, 0, 255))
    asked = [ask("a"), ask("b"), ask("a"), ask("a", (blue,)), ask("a", (RED, RED)), ask("a", (), 9)]
    first = kept(tmp_path, server)
    assert first.ask(asked) == ["A", "B", "A", "A", "A", "A"] and len(server.asked) == 5
    again = kept(tmp_path, server)
    assert again.ask(asked) == first.ask(asked) and len(server.asked) == 5
    assert (again.usage.calls, again.usage.kept) == (0, 6)
    other = Kept(Endpoint(server.url, "judge-2"), tmp_path / "replies.sqlite")
    other.ask([ask("a")])
    assert len(server.asked) == 6


def test_a_run_that_breaks_off_keeps_what_was_answered(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "CHUNK", 2)
    server = serve(lambda text: (400, {}, b"too long") if text == "bad" else "fine")
    requests = [ask("a"), ask("b"), ask("c"), ask("bad"), ask("d")]
    with pytest.raises(NoReply, match="answers 400: too long"):
        kept(tmp_path, server, jobs=1).ask(requests)
    assert [asked["text"] for asked in server.asked] == ["a", "b", "c", "bad"]
    server.reply = lambda text: "fine"
    assert kept(tmp_path, server, jobs=1).ask(requests) == ["fine"] * 5
    assert [asked["text"] for asked in server.asked[4:]] == ["bad", "d"]


def test_what_others_were_given_is_kept_when_one_call_fails(serve, tmp_path):
    """One call fails at once while another is answered late."""
    failed = threading.Event()

    def reply(text):
        if text == "bad":
            failed.set()
            return 400, {}, b"no"
        return "late"

    server = serve(reply)
    server.slow = failed
    with pytest.raises(NoReply, match="answers 400"):
        kept(tmp_path, server, jobs=2).ask([ask("good"), ask("bad")])
    again = kept(tmp_path, server, jobs=2)
    assert again.ask([ask("good")]) == ["late"] and again.usage.kept == 1


def test_faults_that_pass_are_waited_for(serve, tmp_path, monkeypatch):
    """A status that passes, a connection that is cut, and what the server says of the wait."""
    waits, faults = [], [(500, {}, b""), (429, {"Retry-After": "7"}, b"slow"), (503, {}, b"")]
    monkeypatch.setattr(endpoint, "pause", lambda stop, seconds: waits.append(seconds))
    server = serve(lambda text: faults.pop(0) if faults else "done")
    model = kept(tmp_path, server)
    model.model.wait = 1.0
    assert model.ask([ask("one")]) == ["done"]
    assert model.usage.retries == 3 and len(server.asked) == 4
    assert 0.75 <= waits[0] <= 1.25 and waits[1] == 7.0 and 3.0 <= waits[2] <= 5.0


def test_attempts_have_an_end(serve, tmp_path):
    server = serve(lambda text: (503, {}, json.dumps({"error": {"message": "full"}}).encode()))
    with pytest.raises(NoReply, match=r"answers 503: full \(3 attempts\)$"):
        kept(tmp_path, server, attempts=3).ask([ask("one")])
    assert len(server.asked) == 3


def test_a_server_that_does_not_answer(serve, tmp_path):
    released = threading.Event()
    server = serve(lambda text: (released.wait(5), "late")[1])
    try:
        with pytest.raises(NoReply, match=r"does not answer: .*timed out.* \(2 attempts\)"):
            kept(tmp_path, server, attempts=2, timeout=0.05).ask([ask("one")])
    finally:
        released.set()
    gone = Endpoint("http://127.0.0.1:9", "m", attempts=1)
    with pytest.raises(NoReply, match=r"127\.0\.0\.1:9 does not answer"):
        Kept(gone, tmp_path / "replies.sqlite").ask([ask("one")])


@pytest.mark.parametrize("status", [401, 400])
def test_a_key_is_never_shown(serve, tmp_path, monkeypatch, status):
    body = json.dumps({"error": {"message": f"Incorrect key {KEY}\nx\x1b[31m"}}).encode()
    server = serve(lambda text: (status, {}, body))
    monkeypatch.setenv("MY_KEY", KEY)
    model = kept(tmp_path, server, key_variable="MY_KEY")
    with pytest.raises(NoReply) as error:
        model.ask([ask("one")])
    assert f"answers {status}: Incorrect key ***" in str(error.value)
    assert KEY not in repr(model) + str(error.value) and "\x1b" not in str(error.value)
    assert ("MY_KEY" in str(error.value)) == (status == 401)
    assert KEY.encode() not in (tmp_path / "replies.sqlite").read_bytes()


def test_a_redirect_is_not_followed(serve, tmp_path):
    server = serve(lambda text: (302, {"Location": "/elsewhere"}, b""))
    with pytest.raises(NoReply, match="it redirects elsewhere"):
        kept(tmp_path, server).ask([ask("one")])
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"text": "x"}]}']
)
def test_an_answer_that_is_no_completion(serve, tmp_path, body):
    server = serve(lambda text: (200, {}, body))
    with pytest.raises(NoReply, match="not with a chat completion"):
        kept(tmp_path, server).ask([ask("one")])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"url": "ftp://x/v1"}, "not an address of the form"),
        ({"url": "http:///v1"}, "not an address of the form"),
        ({"url": "http://x:y/v1"}, "not an address"),
        ({"url": "https://me:secret@x/v1"}, "holds a name, key or query"),
        ({"url": "https://x/v1?key=secret"}, "holds a name, key or query"),
        ({"model": ""}, "--annotator-model"),
        ({"key_variable": "NO_SUCH_KEY"}, "the environment has no NO_SUCH_KEY"),
        ({"url": "http://example.org/v1", "key_variable": "MY_KEY"}, "unencrypted"),
    ],
)
def test_an_endpoint_that_cannot_be(monkeypatch, given, says):
    monkeypatch.setenv("MY_KEY", KEY)
    with pytest.raises(NoReply, match=says) as error:
        Endpoint(**{"url": "https://x/v1", "model": "m", **given})
    assert "secret" not in str(error.value)


def test_the_whole_address_may_be_given():
    assert Endpoint("http://x/v1/chat/completions/", "m").url == "http://x/v1"


def test_a_store_that_cannot_be_used(serve, tmp_path):
    (tmp_path / "replies.sqlite").write_text("no database" * 100)
    with pytest.raises(NoReply, match="replies cannot be kept in"):
        kept(tmp_path, serve(lambda text: "x")).ask([ask("one")])


# --- roles ---------------------------------------------------------------------------------------


def items(*questions):
    turns = [[{"role": "user", "content": question}] for question in questions]
    return [Question(Asked(place, turn)) for place, turn in enumerate(turns)]


@pytest.fixture
def judge(serve, tmp_path):
    """An annotator whose model replies as `reply(text)` says, and the server."""

    def make(reply, **more):
        server = serve(reply)
        return Verbal("human", kept(tmp_path, server), **more), server

    return make


MEDIA = [Media((RED,)), Media((RED,))]


def test_comparing(judge):
    """The better answer wins from either place, by the difference of the ratings; a tie is 0."""

    def reply(text):
        first, second = text.index("good"), text.index("poor")
        if "alike" in text:
            return "A: 5\nB: 5"
        return "A: 9\nB: 3" if first < second else "A: 3\nB: 9"

    annotator, server = judge(reply)
    asked = items(*(f"What is {number}?" for number in range(12)), "alike?")
    media = [Media((RED,))] * 13
    found = annotator.compare(asked, media, ["good"] * 13, ["poor"] * 13)
    assert found[:12] == [Choice(True, 0.6)] * 12
    assert found[12].margin == 0 and annotator.ties == 1
    places = [text.index("good") < text.index("poor") for text in (a["text"] for a in server.asked)]
    assert len(set(places)) == 2, "each side is shown first at times"
    assert annotator.compare(asked, media, ["poor"] * 13, ["good"] * 13)[0] == Choice(False, 0.6)


def test_rating_and_correcting(judge):
    annotator, _ = judge(lambda text: "8/10" if "rate the answer" in text else "A red cup.")
    asked = items("What is it?", "And this?")
    assert annotator.scores(asked, MEDIA, ["A cup.", "A cat."]) == [0.8, 0.8]
    assert annotator.correct(asked, MEDIA, ["A cup.", "A cat."]) == ["A red cup."] * 2


def test_claims_are_sentences_checked_one_by_one(judge):
    annotator, server = judge(lambda text: "No." if "It is blue." in text else "Yes")
    found = annotator.claims(items("What?", "Which?"), MEDIA, ["A cup. It is blue.", "Two of them"])
    assert found == [[Segment(0, 2, True), Segment(2, 5, False)], [Segment(0, 3, True)]]
    # Several are asked at a time, so that they come in any order.
    texts = [each["text"] for each in server.asked]
    assert len(texts) == 3 and sum('Somebody who was asked "What?"' in each for each in texts) == 2


def test_a_conversation_is_shown_whole(judge):
    annotator, server = judge(lambda text: "8")
    turns = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A cup."},
        {"role": "user", "content": "Which colour?"},
    ]
    annotator.scores([Question(Asked(0, turns))], MEDIA[:1], ["Red."])
    wanted = "Question: user: What is it?\nassistant: A cup.\nuser: Which colour?\n\nAnswer: Red."
    assert wanted in server.asked[0]["text"]


def test_a_reply_without_the_form_is_asked_for_once_more(judge):
    annotator, server = judge(lambda text: "7" if verbal.AGAIN in text else "I would say seven")
    assert annotator.scores(items("What?"), MEDIA[:1], ["A cup."]) == [0.7]
    assert len(server.asked) == 2 and annotator.unreadable == 0


def test_unreadable_replies_are_counted_and_refused_beyond_a_share(judge):
    annotator, _ = judge(lambda text: "7" if "good" in text else "Sorry, no.", share=0.05)
    good = items(*(f"good {n}" for n in range(19)))
    media = [Media((RED,))] * 20
    scores = annotator.scores([*good, *items("bad")], media, [f"answer {n}" for n in range(20)])
    assert scores[:19] == [0.7] * 19 and scores[19] != scores[19]
    assert (annotator.read, annotator.unreadable) == (20, 1)
    with pytest.raises(Unreadable, match=r"2 of 21 replies of .* 5% .*'Sorry, no\.'"):
        annotator.scores(items("bad too"), media[:1], ["x"])


def test_few_unreadable_replies_are_judged_at_the_end(judge):
    annotator, _ = judge(lambda text: "hm")
    assert annotator.claims(items("What?"), MEDIA[:1], ["A cup."]) == [[]]
    assert annotator.correct(items("What?"), MEDIA[:1], ["A cup."]) == ["hm"]
    with pytest.raises(Unreadable, match="1 of 2 replies"):
        annotator.finish()


@pytest.mark.parametrize(
    ("reply", "found"),
    [("7", 7), (" **10**.", 10), ("Rating: 3/10", 3), ("0", None), ("11", None), ("7 or 8", None),
     ("about 7", None), ("", None), ("7.5", None)],
)  # fmt: skip
def test_ratings(reply, found):
    assert verbal.rating(reply) == found


@pytest.mark.parametrize(
    ("reply", "found"),
    [("A: 7\nB: 4", (7, 4)), ("**A:** 7, **B:** 10", (7, 10)), ("Answer A: 7\nAnswer B: 4", (7, 4)),
     ("A = 7; B = 4", (7, 4)), ("A: 7", None), ("A: 7\nB: 4\nA: 2", None), ("A: 7\nB: 14", None),
     ("A: 7-8\nB: 4", None), ("A: 7.5\nB: 4", None), ("DNA: 7 B: 4", None)],
)  # fmt: skip
def test_pairs_of_ratings(reply, found):
    assert verbal.ratings(reply) == found


def test_other_forms():
    assert verbal.correction(' "A red cup." ') == "A red cup." and verbal.correction(" ") is None
    assert verbal.correction('"A" and "B"') == '"A" and "B"'
    assert [verbal.yes_or_no(reply) for reply in ("Yes.", "**No**, none", "Nothing", "")] == [
        True, False, None, None,
    ]  # fmt: skip
    assert verbal.sentences('He said "no." It is. So') == [(0, 3), (3, 5), (5, 6)]


# --- on this machine -----------------------------------------------------------------------------


def test_a_local_model_is_asked_too(tiny_base, tmp_path):
    picture = Image.new("RGB", (64, 64), (255, 0, 0))
    model = Kept(LocalModel(tiny_base, batch_size=2), tmp_path / "r.sqlite")
    asked = [ask(f"what is {n} ?", (picture,), 3 + n % 2) for n in range(3)]
    first = model.ask(asked)
    assert all(isinstance(reply, str) for reply in first) and model.usage.calls == 3
    again = Kept(LocalModel(tiny_base), tmp_path / "r.sqlite")
    assert again.ask(asked) == first and again.model._loaded is None


def test_a_local_model_that_is_not_there(tmp_path):
    with pytest.raises(NoReply, match="cannot be loaded"):
        Kept(LocalModel(str(tmp_path / "none")), tmp_path / "r.sqlite").ask([ask("a")])


# --- a method's data step on a dataset -----------------------------------------------------------

CAN = (
    "best_of_n",
    "chip",
    "ddpo",
    "dpo",
    "fdpo",
    "llama_3_1",
    "mdpo",
    "reward_model",
    "rlaif_v",
    "sft",
    "simpo",
)


@pytest.mark.parametrize("name", script_names())
def test_who_can_be_given_a_judge(name):
    """Found by what the data step asks of the lab, and told in words."""
    method = load_script(name).method
    refusal = None
    try:
        rehearse(method.last.data, method.config())
    except NeedsScene as error:
        refusal = str(error)
    if name in CAN:
        assert refusal is None
        return
    assert refusal, f"add {name} to CAN and to the list in docs/guide/run-on-your-data.md"
    assert re.search(r"its data step (asks|writes)", refusal)


def test_the_guide_names_them(checkout):
    page = (checkout / "docs" / "guide" / "run-on-your-data.md").read_text(encoding="utf-8")
    [named] = re.findall(r"before anything is loaded:\n(.*?)\. The others ask", page, re.S)
    names = re.split(r", (?:the )?| and ", named.replace("\n", " "))
    assert [re.sub(r"\W", "_", name.lower()) for name in names] == list(CAN)


@pytest.fixture
def data(tmp_path):
    """Twelve questions without answers, one of them with a mark that is text."""
    rows = []
    for number in range(12):
        Image.new("RGB", (64, 64), (20 * number, 0, 255)).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "question": f"what is there {number} ?"})
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_questions_of_a_dataset(data, tmp_path):
    rows = questions_of(str(data))
    assert len(rows) == 12 and rows[3]["prompt"][0]["content"] == "what is there 3 ?"
    assert rows[3]["images"][0].getpixel((0, 0)) == (60, 0, 255)
    judged = {"image": "1.png", "text": json.dumps(
        {"question": "Which?", "chosen": "This.", "rejected": "That."})}  # fmt: skip
    file = tmp_path / "rlhf-v.jsonl"
    file.write_text(json.dumps(judged) + "\n")
    assert questions_of(str(file))[0]["prompt"][0]["content"] == "Which?"


@pytest.fixture
def lab(tmp_path, tiny_base, data, monkeypatch):
    """Runs a method on the questions with a server as the annotator; (status, result)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(method, annotator, *more):
        status = command_line.run(
            method,
            ["--model", tiny_base, "--dataset", str(data), "--output", str(tmp_path / "out"),
             "--steps", "1", "--batch-size", "2", "--answer-length", "6", "--no-baselines",
             "--annotator", annotator, *more],
        )  # fmt: skip
        file = tmp_path / "out" / "result.json"
        return status, json.loads(file.read_text()) if file.exists() else None

    return run


def longer(text):
    """Prefers the answer with more letters."""
    first = text.partition("Answer A: ")[2].partition("\n\nAnswer B: ")
    second = first[2].partition("\n\nReply with")[0]
    return "A: 8\nB: 2" if len(first[0]) > len(second) else "A: 2\nB: 8"


def test_a_method_is_trained_on_what_a_model_judged(lab, serve, capsys, tmp_path, monkeypatch):
    server = serve(longer)
    monkeypatch.setenv("MY_KEY", KEY)
    more = ("--annotator-model", "judge-1", "--annotator-key-variable", "MY_KEY")
    status, result = lab("dpo", server.url, *more)
    told = capsys.readouterr()
    assert status == 0, told.err
    found = result["annotator"]
    assert found["calls"] == len(server.asked) and found["questions"] == 12
    assert found["rows"] >= 2 and found["prompt_tokens"] == 100 * found["calls"]
    assert f"{found['calls']} calls" in told.err and f"{found['rows']} rows" in told.err
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert KEY not in told.err + told.out
    assert not any(KEY.encode() in file.read_bytes() for file in files)
    asked = len(server.asked)
    status, again = lab("dpo", server.url, *more, "--resume")
    assert status == 0 and len(server.asked) == asked and again["rows"] == result["rows"]
    assert again["annotator"]["kept"] > 0 and again["annotator"]["calls"] == 0


def test_a_run_that_breaks_off_does_not_pay_twice(lab, serve, capsys):
    count = []

    def reply(text):
        count.append(1)
        return (402, {}, b"no money left") if len(count) > 4 else longer(text)

    server = serve(reply)
    more = ("--annotator-model", "judge-1", "--annotator-jobs", "1")
    status, result = lab("simpo", server.url, *more)
    told = capsys.readouterr().err
    assert status == 1 and result is None
    assert "answers 402: no money left. Answers and replies so far are kept" in told
    server.reply = longer
    status, result = lab("simpo", server.url, *more)
    assert status == 0 and result["annotator"]["kept"] == 4
    texts = [asked["text"] for asked in server.asked]
    assert len(texts) == len(set(texts)) + 1, "the call that failed, and no other"


def test_a_model_of_this_machine_corrects(lab, serve, tiny_base, capsys):
    """A model that has learnt nothing corrects something into something else."""
    status, result = lab("ddpo", tiny_base)
    told = capsys.readouterr().err
    assert status == 0, told
    assert result["annotator"]["rules"].keys() <= {"corrected", "nothing corrected"}


def test_answers_whose_claims_are_checked(lab, serve, capsys):
    """FDPO trains on one answer with labels, so that there is no rejected one to measure."""
    server = serve(lambda text: "No" if len(text) % 2 else "Yes")
    status, result = lab("fdpo", server.url, "--annotator-model", "judge-1")
    assert status == 0, capsys.readouterr().err
    assert sum(result["annotator"]["rules"].values()) == result["annotator"]["rows"]
    assert set(result["rows"]["fdpo"]) == {"chosen_logp", "image_sensitivity"}


def test_who_cannot_write_a_rating_is_refused(lab, tiny_base, capsys):
    status, result = lab("dpo", tiny_base)
    told = capsys.readouterr().err
    assert status == 1 and result is None
    assert "cannot be read (more than 5% are refused)" in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("method", "annotator", "more", "says"),
    [
        ("r1-v", "https://x/v1", (), "r1-v cannot be given a judge: its data step asks for the tr"),
        ("dama", "https://x/v1", (), "asks the annotator 'clip'"),
        ("dpo", "https://x/v1", (), "--annotator-model"),
        ("dpo", "./nowhere", (), "--annotator: there is nothing at './nowhere'"),
        ("dpo", ".", ("--annotator-model", "x"), "--annotator-model is for an endpoint"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(
    lab, capsys, monkeypatch, method, annotator, more, says
):
    monkeypatch.setattr("reference_impls.core.stages.load", lambda *_: pytest.fail("loaded"))
    status, result = lab(method, annotator, *more)
    told = capsys.readouterr().err
    assert status == 2 and result is None and says in told and told.count("\n") == 1


def test_an_annotator_needs_a_dataset(capsys):
    assert command_line.run("dpo", ["--annotator", "https://x/v1"]) == 2
    assert "--annotator needs --dataset" in capsys.readouterr().err
    assert command_line.run("dpo", ["--annotator-model", "x"]) == 2
    assert "there is no --annotator" in capsys.readouterr().err
