"""Makes calls in process, one for each line of its input: the body of a chat completion.

    python bench/steps_inside.py CONFIGURATION

They pass through the HTTP client of the official client, without the latter's own work.
"""

import sys
from pathlib import Path

import headworks
from headworks_settings import HEADERS
from subjects import KEY

_URL = "http://headworks.internal/v1/chat/completions"


def main() -> None:
    """Print the end of each answer on a line."""
    headers = dict(line.split(": ", 1) for line in HEADERS)
    headers |= {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    with headworks.open(Path(sys.argv[1])) as hw, hw.openai(api_key=KEY) as official:
        client = official._client  # noqa: SLF001 - what carries a call, and no more
        for line in sys.stdin.buffer:
            answer = client.post(_URL, content=line.rstrip(), headers=headers)
            sys.stdout.buffer.write(answer.content.replace(b"\n", b" ") + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
