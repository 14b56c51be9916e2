"""The command `hub`: one module per subcommand, each loaded only when it is asked for."""

from __future__ import annotations

import importlib

import click

from hub import __version__

_COMMANDS = {
    "dev": "Run a hub with simulated devices; nothing to configure.",
    "serve": "Run a hub with a configuration.",
    "call": "Send a call to a device and print its answer.",
    "watch": "Print what happens on a channel, live.",
    "keys": "Make, list and revoke API keys.",
    "config": "Look at configurations.",
}


class _Lazy(click.Group):
    """Knows its subcommands by name: `hub call` shall not wait for the server's libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"hub.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hub")
def main() -> None:
    """Send a call to any device, get the answer pushed."""
