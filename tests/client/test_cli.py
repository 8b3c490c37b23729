"""The command `pigeonhole` as a person and a shell script use it, against a real service."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import pytest
from pigeonhole_client import Pigeonhole, _tag_state
from pigeonhole_client.cli import cli
from pigeonhole_client.errors import ConfigurationError

from tests.client.service import LABELS, SOURCE, url, write_rows
from tests.stack import Stack

pytestmark = pytest.mark.integration

EXAMPLES = "".join(
    f"{text},{label}\n"
    for text, label in (("red rose", "red"), ("green leaf", "green"), ("red wine", "red"))
)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A folder with files to work on, and the command on the path."""

    folder: Path
    env: dict[str, str]

    def run(self, line: str, *, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.env | env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def shell(stack: Stack, tmp_path: Path) -> Shell:
    command = tmp_path / "bin" / "pigeonhole"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pigeonhole_client.cli "$@"\n'
    )
    command.chmod(0o755)
    (tmp_path / "tickets.csv").write_text("id,text\n1,Where is my parcel?\n2,Charged twice.\n")
    (tmp_path / "examples.csv").write_text("text,label\n" + EXAMPLES)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "key").write_text(stack.key + "\n")
    env = {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(SOURCE),
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "LANG": "C.UTF-8",
        "URL": url(stack),
        "PIGEONHOLE_URL": url(stack),
        "PIGEONHOLE_API_KEY": stack.key,
    }
    return Shell(folder=tmp_path, env=env)


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, by what is typed."""
    yield name, command
    if isinstance(command, click.Group):
        for below, each in command.commands.items():
            if not each.hidden:
                yield from commands(each, f"{name} {below}")


ALL = dict(commands(cli, "pigeonhole"))
EXIT_STATUS = {"pigeonhole retrain": 3}  # three examples are too few for a promotion


def night(day: int) -> bytes:
    """Sixty new examples of a day."""
    rows = [
        f"{label} {thing} {day} number {n},{label}"
        for n in range(30)
        for label, thing in zip(LABELS, ("rose", "leaf"), strict=True)
    ]
    return "\n".join(["text,label", *rows]).encode()


def waiting_run(client: Pigeonhole, name: str, folder: Path) -> str:
    """The id of a run that waits for a decision."""
    file = folder / "night.csv"
    file.write_bytes(night(1))
    gate = {"minimum_gain": -1.0, "maximum_label_drop": None, "maximum_ece": None}
    client.retraining.put(name, promote="ask", holdout={"share": 0.3}, gate=gate)
    client.retraining.add_file(name, client.files.upload(file).id)
    run = client.retraining.wait(name, client.retraining.start(name).id)
    assert run.status == "waiting", run.reasons
    return run.id


def test_nights_are_promoted_rejected_and_reported_with_their_reasons(
    shell: Shell, client: Pigeonhole
) -> None:
    for classifier in client.classifiers.list():
        client.classifiers.delete(classifier.classifier_id)
    client.train(shell.folder / "examples.csv", name="colours")
    client.retraining.put("colours", holdout={"share": 0.3}, gate={"maximum_ece": None})
    (shell.folder / "monday.csv").write_bytes(night(1))
    (shell.folder / "tuesday.csv").write_bytes(night(2))
    (shell.folder / "wednesday.csv").write_bytes(night(3).replace(b",red", b","))

    monday = shell.run("pigeonhole retrain colours --new monday.csv --wait --json")
    client.retraining.update("colours", gate={"minimum_gain": 1.0})  # which no version reaches
    tuesday = shell.run("pigeonhole retrain colours --new tuesday.csv --wait --report night.html")
    wednesday = shell.run("pigeonhole retrain colours --new wednesday.csv --wait")

    assert monday.returncode == 0, monday.stdout + monday.stderr
    assert json.loads(monday.stdout)["decision"]["outcome"] == "promote"
    assert tuesday.returncode == 3, tuesday.stdout + tuesday.stderr
    assert "below the minimum of 1.000" in tuesday.stdout
    assert wednesday.returncode == 1
    assert "rows are bad" in wednesday.stderr
    page = (shell.folder / "night.html").read_text("utf-8")
    assert "<h1>Version 3 was not promoted.</h1>" in page
    listed = shell.run("pigeonhole runs list colours")
    rows = listed.stdout.splitlines()[1:]
    assert [row.split()[3] for row in rows] == ["failed", "rejected", "promoted"]
    assert "rows are bad" in rows[0]
    assert "macro_f1" in rows[1]
    run = next(client.retraining.runs("colours", limit=1))
    assert run.reasons == [run.error]
    assert client.retraining.report("colours", run.id).startswith("<!doctype html>")
    back = shell.run("pigeonhole runs rollback colours")
    assert back.stdout == "version 1 of colours is live\n"
    refused = shell.run(f"pigeonhole runs promote colours {run.id}")
    assert (refused.returncode, "only a run that is waiting" in refused.stderr) == (1, True)
    assert shell.run("pigeonhole retrain colours --report x.html").returncode == 2


@pytest.mark.parametrize("name", ALL)
def test_the_help_of_each_command_ends_with_an_example_that_runs(
    name: str, shell: Shell, stack: Stack, client: Pigeonhole
) -> None:
    shown = shell.run(f"{name} --help")
    example = shown.stdout.partition("\nExample:\n")[2].strip()
    assert example.startswith((name, 'eval "$(pigeonhole completion'))

    held = "$RUNNING_" in example
    for each in client.classifiers.list():
        client.classifiers.delete(each.classifier_id)
    if name != "pigeonhole train":
        client.train(shell.folder / "examples.csv", name="inbox")
        client.train([("green grass", "green")], classifier="inbox")
        client.train(shell.folder / "examples.csv", name="old")
    rows = write_rows(shell.folder / "rows.csv", 20, empty_every=0 if "wait" in name else 10)
    tagged = client.batches.tag(rows, LABELS)
    submitted = stack.submit()
    running = {}
    if name.startswith("pigeonhole runs"):
        running["RUN"] = waiting_run(client, "inbox", shell.folder)
    if name == "pigeonhole runs rollback":
        client.retraining.promote("inbox", running["RUN"])
    if held:
        stack.freeze("worker")
    try:
        if held:
            file = client.files.upload(rows)
            body = {"input_file_id": file.id, "classify": {"labels": LABELS}}
            running["RUNNING_BATCH"] = client.batches.create(body).id
            running["RUNNING_JOB"] = stack.submit()
        ran = shell.run(example, BATCH=tagged.batch_id, JOB=submitted, **running)
    finally:
        stack.send("worker", signal.SIGCONT)

    assert ran.returncode == EXIT_STATUS.get(name, 0), ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_file_with_bad_rows_is_tagged_with_status_3_and_a_summary(shell: Shell) -> None:
    write_rows(shell.folder / "rows.csv", 5000, empty_every=1000)

    ran = shell.run("pigeonhole tag rows.csv --labels red,green --id-column id -o out.csv")

    assert ran.returncode == 3
    assert ran.stdout.splitlines()[0] == "4,995 of 5,000 rows tagged, 5 failed"
    assert "5 empty_text: " in ran.stdout
    assert "uploading" in ran.stderr
    assert len((shell.folder / "out.csv").read_text().splitlines()) == 4996
    as_json = shell.run("pigeonhole tag rows.csv --labels red,green -o out.csv --json --quiet")
    assert json.loads(as_json.stdout)["failures"][0]["count"] == 5
    assert as_json.stderr == ""


def test_an_export_of_excel_comes_back_as_one(shell: Shell) -> None:
    export = "Nr;Text;Betrag\r\n1;rötlich red;-1.234,56\r\n2;green;0,99\r\n;;\r\n"
    (shell.folder / "Export.csv").write_bytes(export.encode("cp1252"))

    ran = shell.run(
        "pigeonhole tag Export.csv --labels red,green --id-column Nr --text-column Text -o out.csv "
        "--csv-delimiter ';' --csv-decimal , --csv-bom --csv-formulas escape"
    )

    assert ran.returncode == 3, ran.stderr
    assert "(rows line 4)" in ran.stdout
    out = (shell.folder / "out.csv").read_bytes()
    assert out.startswith(b"\xef\xbb\xbfNr;Text;Betrag;prediction;score;")
    (first, _) = out.decode("utf-8-sig").splitlines()[1:]
    number, text, amount, prediction, score, _ = first.split(";")
    assert (number, text, amount, prediction) == ("1", "rötlich red", "-1.234,56", "red")
    assert score.startswith("0,")


def test_a_terminal_shows_rows_rate_and_failures_in_one_line(shell: Shell) -> None:
    write_rows(shell.folder / "rows.csv", 20_000, empty_every=10_000)
    ours, theirs = pty.openpty()

    with subprocess.Popen(
        ["pigeonhole", "tag", "rows.csv", "--labels", "red,green"],
        cwd=shell.folder,
        env=shell.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        executable=str(shell.folder / "bin" / "pigeonhole"),
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            seen += piece
        os.close(ours)
        assert process.wait(60) == 3

    text = seen.decode()
    assert text.count("\n") == 1
    lines = [line.strip() for line in text.split("\r")]
    assert any("/20,000 rows" in line and "rows/s" in line for line in lines), lines
    assert any(line.endswith("2 failed") for line in lines), lines


def test_a_killed_command_is_resumed_by_its_file_alone(shell: Shell, stack: Stack) -> None:
    rows = write_rows(shell.folder / "rows.csv", 5000)
    stack.freeze("worker")
    try:
        process = subprocess.Popen(
            ["bash", "-c", "exec pigeonhole tag rows.csv --labels red,green -o out.csv"],
            cwd=shell.folder,
            env=shell.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # A shell without job control starts what runs in the background with SIGINT ignored.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        stack.until("there is a batch", lambda: _batch_of(rows))
        made = _batch_of(rows)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        stack.send("worker", signal.SIGCONT)

    assert process.returncode == 130
    assert "the same command goes on where this one stopped" in told
    refused = shell.run("pigeonhole tag rows.csv --resume --labels red,green")
    assert refused.returncode == 2
    resumed = shell.run("pigeonhole tag rows.csv --resume --json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["batch_id"] == made
    nothing = shell.run("pigeonhole tag rows.csv --resume")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "no interrupted run" in nothing.stderr


def _batch_of(rows: Path) -> str:
    try:
        return _tag_state.interrupted(rows)[1].batch_id
    except ConfigurationError:
        return ""


def test_texts_come_by_the_command_line_or_by_a_pipe(shell: Shell) -> None:
    told = shell.run("pigeonhole classify 'a red rose' 'a green leaf' --labels red,green")
    piped = shell.run(
        "pigeonhole classify --label red --label green --json --top-k 1",
        stdin="a red rose\n\na green leaf\n",
    )

    assert [line.split()[0] for line in told.stdout.splitlines()] == ["prediction", "red", "green"]
    entries = [json.loads(line) for line in piped.stdout.splitlines()]
    assert [(e["input"], e["prediction"], len(e["predictions"])) for e in entries] == [
        ("a red rose", "red", 1),
        ("a green leaf", "green", 1),
    ]
    assert shell.run("pigeonhole classify --labels red,green").returncode == 2


def test_a_training_is_told_and_judged(shell: Shell, client: Pigeonhole) -> None:
    trained = shell.run("pigeonhole train examples.csv --name colours --json")
    made = json.loads(trained.stdout)
    judged = shell.run("pigeonhole evaluate colours examples.csv")
    listed = shell.run("pigeonhole classifiers list --json")
    client.classifiers.delete("colours")

    assert (made["version"], made["num_samples"]) == (1, 3)
    assert "macro F1" in judged.stdout
    assert "colours" in {json.loads(line)["name"] for line in listed.stdout.splitlines()}


def test_errors_are_one_line_with_code_and_request_id(shell: Shell) -> None:
    wrong = shell.run("pigeonhole jobs list", PIGEONHOLE_API_KEY="ph_wrong")
    away = shell.run("pigeonhole --url http://unknown.invalid classify x --labels a,b")
    nowhere = shell.run("env -u PIGEONHOLE_URL pigeonhole jobs list")

    assert wrong.returncode == 1
    assert "(AUTH_INVALID_API_KEY, req_" in wrong.stderr
    assert away.returncode == 1
    assert "the service at http://unknown.invalid is away" in away.stderr
    assert nowhere.returncode == 2
    assert "PIGEONHOLE_URL" in nowhere.stderr
    assert all(len(each.stderr.splitlines()) == 1 for each in (wrong, away, nowhere))


def test_a_login_is_kept_for_its_service_only(shell: Shell, stack: Stack) -> None:
    bare = "env -u PIGEONHOLE_URL -u PIGEONHOLE_API_KEY pigeonhole"
    refused = shell.run(f"{bare} login --url $URL", stdin="ph_wrong\n")
    file = shell.folder / "config" / "pigeonhole" / "login.json"
    assert refused.returncode == 1
    assert not file.exists()

    kept = shell.run(f"{bare} login --url $URL/ < data/key")
    used = shell.run(f"{bare} classify 'a red rose' --labels red,green")
    other = shell.run(f"{bare} --url http://127.0.0.1:1 jobs list")

    assert kept.returncode == 0, kept.stderr
    assert "tiny" in kept.stdout
    assert stack.key not in kept.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert used.returncode == 0, used.stderr
    assert other.returncode == 2
    assert "no API key for http://127.0.0.1:1" in other.stderr


@pytest.mark.parametrize("name", ["run", "keys", "settings", "models"])
def test_the_commands_of_the_operator_say_where_they_went(name: str, shell: Shell) -> None:
    ran = shell.run(f"pigeonhole {name} create --name x")

    assert ran.returncode == 2
    assert f"is now `pigeonhole-server {name}`" in ran.stderr
    assert f"  {name} " not in shell.run("pigeonhole --help").stdout


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(kind: str, shell: Shell) -> None:
    script = shell.run(f"pigeonhole completion {kind}")
    asked = {"COMP_WORDS": "pigeonhole cl", "COMP_CWORD": "1" if kind != "fish" else "cl"}
    completed = shell.run("pigeonhole", _PIGEONHOLE_COMPLETE=f"{kind}_complete", **asked)

    assert f"_PIGEONHOLE_COMPLETE={kind}_complete" in script.stdout
    assert "classify" in completed.stdout
    assert "classifiers" in completed.stdout
    assert "tag" not in completed.stdout.split()
