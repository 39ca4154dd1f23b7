"""An app on instructor: every answer is an object of a class, asked for again if it is not valid."""

import asyncio
import json
import sys
from contextlib import redirect_stdout
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import Any

import instructor
from instructor.batch import BatchProcessor, extract_results
from openai import AsyncOpenAI
from pydantic import BaseModel, field_validator

from tests.clients.matrix.apps.official import MESSAGES, usage_of
from tests.clients.matrix.apps.report import Said, run


class Forecast(BaseModel):
    """An answer with a shape."""

    place: str
    centimetres: int


class Instructor:
    """Chat completions by way of a tool."""

    async def whole(self, model: str, key: str) -> Said:
        """Ask for an object."""
        create = instructor.from_openai(AsyncOpenAI(api_key=key)).create_with_completion
        answer, raw = await create(
            response_model=Forecast, messages=MESSAGES, model=model, max_retries=1
        )
        choice = raw.choices[0]
        text = answer.model_dump_json()
        return Said(text, usage_of(raw.usage), choice.finish_reason, raw._request_id)

    async def streamed(
        self, model: str, heard: list[str], headers: dict[str, str] | None = None
    ) -> Said:
        """Ask for an object that fills up as it comes."""
        create = instructor.from_openai(AsyncOpenAI()).create_partial
        last = None
        async for part in create(
            response_model=Forecast, messages=MESSAGES, model=model, extra_headers=headers
        ):
            last = part
        heard.append(last.model_dump_json() if last else "")
        return Said(heard[0])

    async def shaped(self, plan: Any) -> Any:
        """Ask for an object by its schema."""
        client = instructor.from_openai(AsyncOpenAI(), mode=instructor.Mode.JSON_SCHEMA)
        answer = await client.create(
            response_model=Forecast, messages=MESSAGES, model=plan["model"]
        )
        return json.loads(answer.model_dump_json())

    async def asked_again(self, plan: Any) -> int:
        """Refuse the first object, and return how many were looked at."""
        looked_at: list[str] = []

        class Careful(Forecast):
            @field_validator("place")
            @classmethod
            def is_new(cls, place: str) -> str:
                """Refuse the first one."""
                looked_at.append(place)
                if len(looked_at) == 1:
                    raise ValueError("name another place")
                return place

        create = instructor.from_openai(AsyncOpenAI()).create
        await create(response_model=Careful, messages=MESSAGES, model=plan["model"], max_retries=3)
        return len(looked_at)


class Account:
    """What the provider keeps for its caller."""

    async def batch(self, plan: Any) -> Any:
        """Have the question answered twice by a batch, as objects."""
        batches: Any = BatchProcessor(f"openai/{plan['batched']}", Forecast)
        with redirect_stdout(sys.stderr), TemporaryDirectory() as folder:  # it talks
            lines = batches.create_batch_from_messages(
                [MESSAGES, MESSAGES], f"{folder}/lines.jsonl", max_tokens=None, temperature=None
            )
            batch = batches.submit_batch(lines)
            status = "validating"
            while status in _UNDER_WAY:
                await asyncio.sleep(0.1)
                status = batches.get_batch_status(batch)["status"]
            results = extract_results(batches.retrieve_results(batch))
        return {"answers": [one.model_dump_json() for one in results]}


_UNDER_WAY = {"validating", "in_progress", "finalizing"}

if __name__ == "__main__":
    run(version("instructor"), {"chat": Instructor()}, Account())
