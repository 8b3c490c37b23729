from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.services.auth import Authenticator
from api.services.key_uses import KeyUses
from ops import cli
from shared.adapters.directory.object_store import DirectoryStore
from shared.errors import AccountSuspended, InvalidKey
from shared.settings import table

Run = Callable[..., str]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "objects").mkdir()  # a launcher has run here
    return {"PIGEONHOLE_DATA_DIR": str(tmp_path)}


@pytest.fixture
def doors(tmp_path: Path) -> Authenticator:
    return Authenticator(DirectoryStore(tmp_path / "objects"), cache_s=0)


@pytest.fixture
def run(env: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must succeed and gives what it printed."""

    def command(*argv: str) -> str:
        assert cli.run(argv, env) == 0
        return capsys.readouterr().out

    return command


def test_where_no_service_was_started_no_key_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"PIGEONHOLE_DATA_DIR": str(tmp_path / "elsewhere")}

    assert cli.run(["keys", "create", "--name", "me"], env) != 0

    assert "no service data in" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_a_created_key_opens_the_door_for_its_account_and_scopes(
    run: Run, doors: Authenticator
) -> None:
    secret = run("keys", "create", "--name", "app", "--account", "acme", "--scopes", "jobs,jobs")

    caller = doors.caller(f"Bearer {secret.strip()}")

    assert caller.account == "acme"
    assert caller.scopes == {"jobs"}


def test_a_key_is_listed_without_its_secret(run: Run) -> None:
    secret = run("keys", "create", "--name", "the app", "--expires", "2099-01-01").strip()

    listing, rows = run("keys", "list"), run("keys", "list", "--json").splitlines()

    assert "the app" in listing
    assert "until 2099-01-01" in listing
    assert [json.loads(row)["name"] for row in rows] == ["the app"]
    assert secret not in listing + rows[0]


def test_a_key_is_listed_with_its_last_use(run: Run, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    used, unused = (run("keys", "create", "--name", name).strip() for name in ("one", "two"))
    assert unused
    uses = KeyUses(store, clock=lambda: datetime(2026, 11, 20, 22, 49, tzinfo=UTC).timestamp())
    Authenticator(store, cache_s=0, uses=uses).caller(f"Bearer {used}")
    uses.flush()

    head, *rows = run("keys", "list").splitlines()

    place = head.index("last used")
    assert {row.split()[-1]: row[place : place + 16].strip() for row in rows} == {
        "one": "2026-11-20 22:49",
        "two": "never",
    }
    listed = {
        key["name"]: key for key in map(json.loads, run("keys", "list", "--json").splitlines())
    }
    assert listed["one"]["last_used_at"] == "2026-11-20T22:49:00Z"
    assert listed["two"]["last_used_at"] is None


def test_a_revoked_key_opens_nothing(run: Run, doors: Authenticator) -> None:
    key = json.loads(run("keys", "create", "--name", "app", "--json"))
    doors.caller(f"Bearer {key['secret']}")

    told = run("keys", "revoke", key["id"])

    assert key["id"] in told
    assert "revoked" in run("keys", "list")
    with pytest.raises(InvalidKey):
        doors.caller(f"Bearer {key['secret']}")


@pytest.mark.parametrize(("length", "days"), [("30d", 30), ("48h", 2), ("2w", 14)])
def test_a_key_can_end_after_a_time(run: Run, length: str, days: int) -> None:
    key = json.loads(run("keys", "create", "--name", "app", "--expires", length, "--json"))

    created, expires = (datetime.fromisoformat(key[at]) for at in ("created_at", "expires_at"))

    assert abs(expires - created - timedelta(days=days)) < timedelta(minutes=5)
    assert expires.tzinfo == UTC


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--expires", "soon", "neither a duration such as 30d nor a date"),
        ("--expires", "99999999999d", "neither a duration such as 30d nor a date"),
        ("--scopes", "classify,root", "unknown scope 'root'"),
        ("--services", "classify,root", "unknown service 'root'"),
        ("--account", "../other", "an account name may have"),
        ("--name", "", "a key name must have 1 to 100 printable characters"),
        ("--name", " ", "not only spaces"),
        ("--name", "a\nb", "printable"),
    ],
)
def test_a_wrong_option_is_explained(
    option: str, value: str, told: str, env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.run(["keys", "create", "--name", "app", option, value], env)

    assert told in capsys.readouterr().err


def test_a_key_cannot_end_before_now(
    env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["keys", "create", "--name", "app", "--expires", "2020-01-01"]

    assert cli.run(command, env) == 2

    assert "has passed" in capsys.readouterr().err


def test_revoking_what_is_not_there_fails_in_one_line(
    env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["keys", "revoke", "key_0"], env) == 1

    told = capsys.readouterr().err
    assert (
        told
        == "pigeonhole-server: there is no key key_0; `pigeonhole-server keys list` shows them\n"
    )


@pytest.mark.parametrize("argv", [["keys", "list"], ["models", "list"], ["run"]])
def test_a_wrong_setting_fails_in_one_line(
    argv: list[str], env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(argv, {**env, "PIGEONHOLE_DATADIR": "x"}) == 2

    program, _, told = capsys.readouterr().err.partition(": ")
    assert program == ("pigeonhole" if argv == ["run"] else "pigeonhole-server")
    assert told == "PIGEONHOLE_DATADIR is not a setting; did you mean PIGEONHOLE_DATA_DIR?\n"


def test_the_settings_are_printed_as_the_table_they_are(run: Run) -> None:
    assert run("settings") == table() + "\n"


def test_the_models_are_listed_with_the_default_marked(run: Run) -> None:
    head, *rows = run("models", "list").splitlines()

    assert head.split()[:3] == ["model", "engine", "device"]
    assert any(row.startswith("all-MiniLM-L6-v2 (default)") for row in rows)


def test_the_models_are_listed_as_json_with_what_is_here(
    env: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").write_bytes(b"12345")
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(
        "".join(
            f'[[model]]\nname = "{name}"\nengine = "sentence"\ncheckpoint = "{tmp_path / name}"\n'
            for name in ("folder", "nowhere")
        )
    )

    assert (
        cli.run(["models", "list", "--json"], {**env, "PIGEONHOLE_CATALOGUE": str(catalogue)}) == 0
    )

    models = {m["name"]: m for m in map(json.loads, capsys.readouterr().out.splitlines())}
    assert (models["folder"]["here"], models["folder"]["size_bytes"]) == (True, 5)
    assert (models["nowhere"]["here"], models["nowhere"]["size_bytes"]) == (False, None)


@pytest.mark.parametrize("action", ["pull", "check"])
def test_a_model_that_is_not_in_the_catalogue_is_refused_with_the_nearest(
    action: str, env: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["models", action, "all-MiniLM"], env) == 2

    told = capfd.readouterr().err
    assert told.startswith(
        "pigeonhole-server: model: no such model; did you mean all-MiniLM-L6-v2?"
    )


@pytest.mark.slow
@pytest.mark.parametrize("action", ["pull", "check"])
def test_a_model_that_came_with_the_package_needs_nothing(
    action: str, env: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text('[[model]]\nname = "tiny"\nengine = "hashing"\n')

    assert cli.run(["models", action, "tiny"], {**env, "PIGEONHOLE_CATALOGUE": str(catalogue)}) == 0

    assert capfd.readouterr().out.startswith("tiny: ")


@pytest.mark.parametrize("command", sorted(cli.CLIENT_COMMANDS))
def test_a_command_of_the_client_says_where_it_is(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([command, "--help"], {}) == 2
    assert capsys.readouterr().err == (
        f"pigeonhole-server: {command} is a command of the client: run `pigeonhole {command}`\n"
    )

    monkeypatch.setattr(cli, "find_spec", lambda _: None)
    assert cli.run([command], {}) == 2
    assert "after `pip install ./api/client`" in capsys.readouterr().err


def test_a_key_can_be_limited_to_services_and_have_a_tier(run: Run, doors: Authenticator) -> None:
    options = ("--services", "batches,classify", "--tier", "free")
    secret = run("keys", "create", "--name", "app", *options).strip()

    caller = doors.caller(f"Bearer {secret}")

    assert caller.services == {"batches", "classify"}
    assert caller.tier.name == "free"
    assert caller.rate_subject == caller.key_id


def test_an_unknown_tier_of_a_key_is_refused(
    env: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["keys", "create", "--name", "app", "--tier", "gold"], env) == 2
    assert "no tier 'gold'" in capsys.readouterr().err


def test_a_rotated_key_works_beside_its_successor_for_a_time(
    run: Run, doors: Authenticator
) -> None:
    old = json.loads(run("keys", "create", "--name", "app", "--services", "train", "--json"))
    new = json.loads(run("keys", "rotate", old["id"], "--overlap", "2d", "--json"))

    assert doors.caller(f"Bearer {new['secret']}").services == {"train"}
    assert doors.caller(f"Bearer {old['secret']}").key_id == old["id"]
    keys = [json.loads(row) for row in run("keys", "list", "--json").splitlines()]
    ends = {key["id"]: key["expires_at"] for key in keys}
    assert ends[new["id"]] is None
    days = (datetime.fromisoformat(ends[old["id"]]) - datetime.now(UTC)) / timedelta(days=1)
    assert 1.9 < days <= 2


def test_a_revoked_key_is_not_rotated(
    run: Run, env: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    key = json.loads(run("keys", "create", "--name", "app", "--json"))
    run("keys", "revoke", key["id"])

    assert cli.run(["keys", "rotate", key["id"]], env) == 1
    assert "no valid key" in capsys.readouterr().err


def test_an_account_is_created_listed_changed_and_shown(run: Run, doors: Authenticator) -> None:
    run("accounts", "create", "acme", "--name", "Acme Ltd", "--tier", "free")
    run("accounts", "set", "acme", "--tier", "premium")

    shown = json.loads(run("accounts", "show", "acme"))

    assert (shown["name"], shown["tier"]) == ("Acme Ltd", "premium")
    assert shown["limits"]["zero_shot"] == {"requests": 1000, "tokens": 3_000_000}
    assert "premium" in run("accounts", "list")
    assert doors.tier("acme").name == "premium"


def test_an_account_that_has_only_a_key_is_listed_with_the_default_tier(run: Run) -> None:
    run("keys", "create", "--name", "app", "--account", "old")

    (row,) = run("accounts", "list", "--json").splitlines()

    assert json.loads(row)["id"] == "old"
    assert json.loads(row)["tier"] == "unlimited"


def test_a_suspended_account_is_refused_until_it_is_resumed(run: Run, doors: Authenticator) -> None:
    secret = run("keys", "create", "--name", "app", "--account", "acme").strip()

    assert "the keeper cancels its jobs" in run("accounts", "suspend", "acme")
    assert "suspended" in run("accounts", "list")
    with pytest.raises(AccountSuspended):
        doors.caller(f"Bearer {secret}")

    run("accounts", "resume", "acme")
    assert doors.caller(f"Bearer {secret}").account == "acme"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("show", "nobody"), "no account nobody"),
        (("set", "nobody", "--name", "x"), "no account nobody"),
        (("suspend", "nobody"), "no account nobody"),
        (("create", "acme", "--tier", "gold"), "no tier 'gold'"),
    ],
)
def test_a_wrong_account_or_tier_is_refused(
    command: tuple[str, ...],
    message: str,
    env: Mapping[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["accounts", *command], env) != 0
    assert message in capsys.readouterr().err
