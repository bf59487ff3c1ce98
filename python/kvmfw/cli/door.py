"""The single way in and out: every error is one sentence on stderr, every exit code is chosen here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from kvmfw.cli.streams import leaving_reader, note
from kvmfw.errors import KvmfwError
from kvmfw.quoting import utf8

__all__ = ["BAD_INPUT", "FINDINGS", "Door"]

FINDINGS = 2
BAD_INPUT = 1


class Door(click.Group):
    """A group of verbs that never shows a traceback: 0 fine, 2 findings, 1 wrong usage or input.

    Parameters
    ----------
    verbs : mapping of str to str
        Name -> short help of each verb; it is the command of the module `kvmfw.cli.NAME`, imported when it is called.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, str], **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names of the verbs."""
        del ctx
        return [*self.verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        del ctx
        if cmd_name not in self.verbs:
            return None
        verb: click.Command = getattr(import_module(f"kvmfw.cli.{cmd_name}"), cmd_name)
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(self.verbs.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a verb, as `click.Command.main` does, and leave with its exit code."""
        del prog_name, windows_expand_args
        name = "kvmfw"
        if not standalone_mode:
            return super().main(args, name, complete_var, standalone_mode=False, **extra)
        try:
            with leaving_reader():
                code = super().main(args, name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(BAD_INPUT)
        except click.ClickException as error:
            _fail(_sentence(error))
        except KvmfwError as error:
            _fail(str(error))
        except (click.Abort, KeyboardInterrupt):
            _fail("interrupted; no file was left half written")
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            _fail(f"{place}{error.strerror or error}")
        except UnicodeEncodeError as error:
            found = str(error.object)[error.start : error.end]
            _fail(
                f"`{utf8(str(error.object))[:64]}`: byte {error.start} is {utf8(found)}; expected names in UTF-8"
            )
        except MemoryError:
            _fail("there is not enough memory for this input")
        except ImportError as error:
            _fail(f"what this verb needs cannot be loaded: {_first_cause(error)}")
        sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split()).rstrip(".")  # choices stand on lines of their own
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text}; `{error.ctx.command_path} --help` tells more"
    return text


def _first_cause(error: ImportError) -> str:
    # Packages tell pages of advice around what the loader of libraries said.
    cause: BaseException = error
    while isinstance(cause.__cause__, ImportError):
        cause = cause.__cause__
    return " ".join(str(cause).split())


def _fail(sentence: str) -> NoReturn:
    note(f"kvmfw: {sentence}")
    sys.exit(BAD_INPUT)
