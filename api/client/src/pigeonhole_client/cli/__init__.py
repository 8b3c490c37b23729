"""The command `pigeonhole`: the client for people and for shell scripts.

Exit status: 0; 1 for a failure; 2 for a wrong command; 3 where rows of a file failed, or where a
retraining promoted nothing; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from pigeonhole_client.cli.calls import classify, evaluate, train
from pigeonhole_client.cli.context import Group
from pigeonhole_client.cli.moved import MOVED
from pigeonhole_client.cli.objects import batches, classifiers, jobs
from pigeonhole_client.cli.retrain import retrain
from pigeonhole_client.cli.runs import runs
from pigeonhole_client.cli.setup import completion, login
from pigeonhole_client.cli.tag import tag
from pigeonhole_client.errors import ConfigurationError, Error


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    example="pigeonhole classify 'The parcel never arrived.' --labels complaint,praise",
)
@click.option("--url", metavar="URL", help="The service; else PIGEONHOLE_URL, else of `login`.")
@click.option("--api-key", metavar="KEY", help="The key; better PIGEONHOLE_API_KEY or `login`.")
@click.version_option(package_name="pigeonhole-client")
@click.pass_context
def cli(context: click.Context, url: str | None, api_key: str | None) -> None:
    """Classify texts and files with a Pigeonhole service.

    Exit status: 0; 1 for a failure; 2 for a wrong command; 3 where rows of a file failed.
    """
    context.obj = {"base_url": url, "api_key": api_key}


_COMMANDS = (
    classify, train, evaluate, retrain, runs, tag, batches, jobs, classifiers, login, completion,
)  # fmt: skip
for _command in (*_COMMANDS, *MOVED):
    cli.add_command(_command)


def main() -> None:
    """Run one command and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit status."""
    try:
        status = cli.main(list(arguments), prog_name="pigeonhole", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("pigeonhole: stopped", err=True)
        return 130
    except Error as exc:
        click.echo(f"pigeonhole: {exc}", err=True)
        return 2 if isinstance(exc, ConfigurationError) else 1
    except OSError as exc:
        click.echo(f"pigeonhole: {exc}", err=True)
        return 1
    return status if isinstance(status, int) else 0
