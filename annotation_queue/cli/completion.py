"""Completion of commands and options in a shell."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

_SHELLS: Final = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(
    short_help="Print what makes a shell complete commands and options.",
    epilog="""
\b
To have it in every shell, once:
  annotation-queue completion bash >> ~/.bashrc
  annotation-queue completion zsh >> ~/.zshrc
  annotation-queue completion fish >> ~/.config/fish/config.fish
""",
)
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print a script that makes a shell complete this program's commands, options and choices.

    bash needs version 4.4 or newer.
    """
    program = click.get_current_context().find_root()
    name = program.info_name or ""
    click.echo(_SHELLS[shell](program.command, {}, name, f"_{name.replace('-', '_').upper()}_COMPLETE").source())
