"""The operator's commands, which were `pigeonhole …` until 0.1 and are `pigeonhole-server …` now.

One script cannot belong to two distributions: installed together, the second would overwrite the
first, and removing one would break the other. So this distribution owns `pigeonhole`, the server's
owns `pigeonhole-server`, and for one release this one says where the operator's commands went.
"""

from __future__ import annotations

import click

from pigeonhole_client.errors import ConfigurationError

_NAMES = ("run", "keys", "settings", "models")


def _moved(name: str) -> click.Command:
    @click.command(
        name,
        hidden=True,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def command() -> None:
        raise ConfigurationError(
            f"`pigeonhole {name}` is now `pigeonhole-server {name}`: `pigeonhole` is the command "
            "of the client"
        )

    return command


MOVED = tuple(map(_moved, _NAMES))
