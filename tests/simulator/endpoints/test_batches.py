"""Batches that really do their work, at the pace of a clock that a test moves."""

import pytest
from openai.types import Batch, FileObject
from openai.types.chat import ChatCompletion

from headworks.simulator.config import BatchPace, RateLimit
from headworks.simulator.problems import Refusal
from tests.simulator.endpoints.bureau import CHAT, Bureau, chat, jsonl
from tests.simulator.endpoints.shapes import shaped

PACE = BatchPace(validating=2.0, lines_per_second=1.0, finalizing=3.0, cancelling=1.0, window=100.0)
BAD = {"messages": "none"}


@pytest.fixture
def bureau():
    return Bureau(batches=PACE)


def test_a_batch_goes_its_whole_way(bureau):
    """Each state comes at its time, is told with its time, and counts go up line by line."""
    name = bureau.begin([chat(n) for n in range(4)], metadata={"job": "night"})
    begun = int(bureau.clock.time())

    seen = []
    for _ in range(11):
        batch = bureau.batch(name)
        seen.append((batch["status"], batch["request_counts"]["completed"]))
        bureau.pass_by(1)
    batch = shaped(Batch, bureau.batch(name))

    assert seen == [
        *[("validating", 0)] * 2,
        *[("in_progress", n) for n in (0, 1, 2, 3)],
        *[("finalizing", 4)] * 3,
        *[("completed", 4)] * 2,
    ]
    assert (batch.in_progress_at, batch.finalizing_at) == (begun + 2, begun + 6)
    assert (batch.completed_at, batch.created_at) == (begun + 9, begun)
    assert (batch.expires_at, batch.expired_at, batch.failed_at) == (begun + 100, None, None)
    assert (batch.model, batch.errors, batch.error_file_id) == ("gpt-4o", None, None)
    assert (batch.metadata, batch.request_counts.total) == ({"job": "night"}, 4)


def test_nobody_needs_to_look_in_between(bureau):
    """A batch that nobody watched has come as far, at the same times, as one that was watched."""
    watched, unwatched = Bureau(batches=PACE), bureau
    names = [each.begin([chat(n) for n in range(4)]) for each in (watched, unwatched)]
    for _ in range(50):
        watched.pass_by(0.25)
        watched.batch(names[0])
    unwatched.pass_by(12.5)

    assert watched.batch(names[0]) == unwatched.batch(names[1])
    assert watched.provider.books.invoice() == unwatched.provider.books.invoice()


def test_the_answers_are_those_of_the_endpoint(bureau):
    """Every output line is a whole answer under the name of its request, in another order."""
    lines = [chat(n) for n in range(10)]
    name = bureau.begin(lines)
    bureau.pass_by(50)
    batch = bureau.batch(name)

    output = bureau.lines(batch["output_file_id"])
    order = [line["custom_id"] for line in output]
    assert order != sorted(order)
    assert sorted(order) == [f"r{n}" for n in range(10)]
    for line in output:
        assert line.keys() == {"id", "custom_id", "response", "error"}
        assert (line["response"]["status_code"], line["error"]) == (200, None)
        body = shaped(ChatCompletion, line["response"]["body"])
        assert body.usage.completion_tokens == 3
        assert line["id"].startswith("batch_req_")
    online = bureau.post(CHAT, lines[0]["body"])
    said = next(line for line in output if line["custom_id"] == "r0")["response"]["body"]
    assert said["choices"] == online["choices"]


def test_refused_requests_are_in_the_error_file(bureau):
    """A request that the endpoint refuses has failed, with the refusal as its response."""
    lines = [chat(n, **(BAD if n % 2 else {})) for n in range(6)]
    name = bureau.begin(lines)
    bureau.pass_by(50)
    batch = bureau.batch(name)

    assert batch["request_counts"] == {"total": 6, "completed": 3, "failed": 3}
    faults = bureau.lines(batch["error_file_id"])
    assert {line["custom_id"] for line in faults} == {"r1", "r3", "r5"}
    [code] = {line["response"]["body"]["error"]["code"] for line in faults}
    assert (code, faults[0]["error"], faults[0]["response"]["status_code"]) == (
        "invalid_type",
        None,
        400,
    )


def test_a_batch_of_failures_is_completed(bureau):
    """Where no request is answered there is no output file, and yet the batch is completed."""
    name = bureau.begin([chat(n, **BAD) for n in range(3)])
    bureau.pass_by(50)
    batch = bureau.batch(name)

    assert (batch["status"], batch["output_file_id"]) == ("completed", None)
    assert batch["request_counts"] == {"total": 3, "completed": 0, "failed": 3}
    assert len(bureau.lines(batch["error_file_id"])) == 3


def test_the_usage_is_the_sum_of_all_answers(bureau):
    """The batch tells the tokens of its answers."""
    name = bureau.begin([chat(n) for n in range(3)])
    bureau.pass_by(50)
    batch = bureau.batch(name)

    usages = [line["response"]["body"]["usage"] for line in bureau.lines(batch["output_file_id"])]
    spent = [sum(u[key] for u in usages) for key in ("prompt_tokens", "completion_tokens")]
    assert (batch["usage"]["input_tokens"], batch["usage"]["output_tokens"]) == tuple(spent)
    assert batch["usage"]["total_tokens"] == sum(spent)


def test_each_request_is_billed_at_the_batch_price(bureau):
    """The invoice has a line a request, at its time, at half the price; refused ones are free."""
    bureau.begin([chat(0), chat(1), chat(2, **BAD)])
    begun = bureau.clock.time()
    bureau.pass_by(50)

    [*listed] = bureau.provider.books.attempts()
    assert [attempt["path"] for attempt in listed] == [CHAT] * 3
    assert sorted(attempt["time"] - begun for attempt in listed) == [3, 4, 5]
    assert sorted(attempt["status"] for attempt in listed) == [200, 200, 400]
    billed = [attempt for attempt in listed if attempt["cost"]]
    assert {attempt["usage"]["tier"] for attempt in billed} == {"batch"}
    usage = bureau.provider.books.invoice()["models"]["gpt-4o"]
    assert usage["nano_usd"] == usage["input_tokens"] * 1_250 + usage["output_tokens"] * 5_000
    assert (usage["billed"], usage["attempts"]) == (2, 3)


def test_the_window_ends_what_is_not_done(bureau):
    """At its end the window keeps what is done, and lists the rest as expired."""
    name = bureau.begin([chat(n) for n in range(120)])
    begun = bureau.clock.time()
    bureau.pass_by(1000)
    batch = shaped(Batch, bureau.batch(name))

    assert (batch.status, batch.expired_at) == ("expired", int(begun) + 100)
    assert batch.request_counts.completed == len(bureau.lines(batch.output_file_id)) == 98
    late = bureau.lines(batch.error_file_id)
    assert (len(late), batch.request_counts.failed) == (22, 22)
    assert late[0]["response"] is None
    assert late[0]["error"] == {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }
    assert bureau.provider.books.invoice()["billed"] == 98


def test_a_cancelled_batch_keeps_what_is_done(bureau):
    """Cancelling takes a moment; what was answered by then can be read, and is billed."""
    name = bureau.begin([chat(n) for n in range(10)])
    bureau.pass_by(5)
    begun = bureau.clock.time()
    first = bureau.post(f"/v1/batches/{name}/cancel", {})
    again = bureau.post(f"/v1/batches/{name}/cancel", {})
    bureau.pass_by(10)
    batch = shaped(Batch, bureau.batch(name))

    assert first == again
    assert (first["status"], first["cancelling_at"]) == ("cancelling", int(begun))
    assert (batch.status, batch.cancelled_at) == ("cancelled", int(begun) + 1)
    assert batch.request_counts.completed == len(bureau.lines(batch.output_file_id)) == 3
    assert bureau.provider.books.invoice()["billed"] == 3
    with pytest.raises(Refusal, match="Cannot cancel a batch with status 'cancelled'"):
        bureau.post(f"/v1/batches/{name}/cancel", {})


def test_a_batch_cancelled_before_it_began_has_done_nothing(bureau):
    """There is nothing to read or to pay."""
    name = bureau.begin([chat(0)])
    bureau.post(f"/v1/batches/{name}/cancel", {})
    bureau.pass_by(50)
    batch = bureau.batch(name)

    assert (batch["status"], batch["output_file_id"]) == ("cancelled", None)
    assert bureau.provider.books.invoice()["billed"] == 0


def test_waiting_tokens_have_a_limit_of_their_own():
    """A batch beyond the queue fails after validation; once another is done there is room again."""
    limits = (RateLimit(models="gpt-4o", batch_tokens=60), RateLimit(batch_tokens=1))
    bureau = Bureau(batches=PACE, limits=limits)
    first = bureau.begin([chat(n) for n in range(6)])
    bureau.pass_by(3)
    second = bureau.begin([chat(n) for n in range(2)])
    bureau.pass_by(3)
    failed = bureau.batch(second)
    bureau.pass_by(20)
    third = bureau.begin([chat(n) for n in range(2)])
    bureau.pass_by(20)

    assert bureau.batch(first)["usage"]["input_tokens"] == 60
    assert failed["status"] == "failed"
    assert failed["errors"]["data"] == [
        {
            "code": "token_limit_exceeded",
            "message": "Enqueued token limit reached for gpt-4o in organization org-simulator. "
            "Limit: 60 enqueued tokens. Please try again once some in_progress batches have been "
            "completed.",
            "param": None,
            "line": None,
        }
    ]
    assert (bureau.batch(first)["status"], bureau.batch(third)["status"]) == ("completed",) * 2


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_every_end_frees_the_queue_and_the_storage(end):
    """However a batch ends, it holds nothing any more."""
    pace = BatchPace(lines_per_second=0.1, window=50)
    bureau = Bureau(batches=pace, limits=(RateLimit(batch_tokens=60),))
    for _ in range(3):
        name = bureau.begin([chat(n) for n in range(6)])
        bureau.pass_by(1)
        assert bureau.batch(name)["status"] == "in_progress"
        if end == "cancelled":
            bureau.post(f"/v1/batches/{name}/cancel", {})
        bureau.pass_by(100)
        assert bureau.batch(name)["status"] == end
    for file in bureau.get("/v1/files")["data"]:
        bureau.delete(f"/v1/files/{file['id']}")

    assert bureau.provider.storage._used == 0


def test_results_that_find_no_room_fail_the_batch():
    """A full store ends the batch with the reason, and gives back what it held."""
    lines = jsonl(chat(n) for n in range(10))
    bureau = Bureau(storage=2 * len(lines) + 3_000)
    name = bureau.begin(lines)
    batch = bureau.batch(name)

    assert batch["status"] == "failed"
    assert batch["errors"]["data"][0]["code"] == "storage_limit_exceeded"
    assert 0 < bureau.provider.books.invoice()["billed"] < 10
    assert bureau.provider.storage._used == len(lines) + 512


def test_the_results_expire(bureau):
    """Output files live 30 days from their making, or as long as was asked for."""
    month = bureau.begin([chat(0), chat(1, **BAD)])
    day = bureau.begin([chat(0)], output_expires_after={"anchor": "created_at", "seconds": 86_400})
    bureau.pass_by(50)
    files = [bureau.batch(name)["output_file_id"] for name in (month, day)]
    objects = [shaped(FileObject, bureau.get(f"/v1/files/{file}")) for file in files]
    assert [o.expires_at - o.created_at for o in objects] == [30 * 86_400, 86_400]
    assert {o.purpose for o in objects} == {"batch_output"}
    bureau.pass_by(86_401)

    assert bureau.lines(files[0])
    with pytest.raises(Refusal, match="No such File object"):
        bureau.lines(files[1])


def test_what_is_over_keeps_no_file_alive(bureau):
    """The input of an ended batch takes no memory once its file is deleted."""
    name = bureau.begin([chat(0)])
    work = bureau.provider.batches.find(name, "simulator")
    running = work._input.size
    bureau.pass_by(50)
    bureau.batch(name)

    assert (running > 0, work._input.size, work._input.lines) == (True, 0, [])


def test_a_batch_outlives_its_input(bureau):
    """Deleting the input file of a running batch does not stop it."""
    name = bureau.begin([chat(0)])
    bureau.delete(f"/v1/files/{bureau.batch(name)['input_file_id']}")
    bureau.pass_by(50)

    assert bureau.batch(name)["status"] == "completed"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "river"}),
        ("/v1/responses", {"model": "gpt-4o", "input": "Hello"}),
        ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "Hello"}),
        ("/v1/moderations", {"input": "Hello"}),
    ],
)
def test_other_endpoints_work_in_batches(path, body):
    """Embeddings, responses and moderations can be asked for as well."""
    bureau = Bureau()
    line = {"custom_id": "a", "method": "POST", "url": path, "body": body}
    name = bureau.begin([line], endpoint=path)
    batch = bureau.batch(name)

    [found] = bureau.lines(batch["output_file_id"])
    online = bureau.post(path, body)
    said = found["response"]["body"]
    own = {"id", "created", "created_at", "completed_at", "output"}
    assert said.keys() == online.keys()
    assert {k: said[k] for k in said if k not in own} == {
        k: online[k] for k in online if k not in own
    }


def test_the_list_is_paged_newest_first(bureau):
    """A list has 20 batches unless it says otherwise, and goes on after the last."""
    names = [bureau.begin([chat(0)]) for _ in range(25)]
    first = bureau.get("/v1/batches")
    second = bureau.get(f"/v1/batches?limit=10&after={first['last_id']}")

    assert [batch["id"] for batch in first["data"]] == names[:4:-1]
    assert [batch["id"] for batch in second["data"]] == names[4::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert (first["first_id"], second["first_id"]) == (names[-1], names[4])


def test_batches_of_others_do_not_exist(bureau):
    """Another credential sees none of it."""
    name = bureau.begin([chat(0)])

    assert bureau.get("/v1/batches", credential="other")["data"] == []
    for ask in (bureau.get, lambda path, **more: bureau.post(f"{path}/cancel", {}, **more)):
        with pytest.raises(Refusal, match=f"No batch found with id '{name}'") as caught:
            ask(f"/v1/batches/{name}", credential="other")
        assert caught.value.status == 404


def test_the_same_seed_gives_the_same_files():
    """Two simulators with one seed write the same results, another seed another order."""

    def output(seed):
        bureau = Bureau(seed=seed)
        batch = bureau.batch(bureau.begin([chat(n) for n in range(8)]))
        return [line["custom_id"] for line in bureau.lines(batch["output_file_id"])]

    assert output(1) == output(1) != output(2)


def test_speed_shortens_every_wait():
    """A simulator at a hundredfold speed has windows and waits of a hundredth."""
    bureau = Bureau(batches=PACE, speed=100.0)
    name = bureau.begin([chat(n) for n in range(4)])
    bureau.pass_by(0.089)
    assert bureau.batch(name)["status"] == "finalizing"
    bureau.pass_by(0.002)
    batch = bureau.batch(name)

    assert batch["status"] == "completed"
    assert batch["expires_at"] - batch["created_at"] == 1
