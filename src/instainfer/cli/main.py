"""The entry point of the command line. It registers all commands and turns errors into exit codes.

Each command has its own module. A command imports slow modules only when it runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import InstaInferError, InternalError
from . import (
    activations,
    advise,
    clean,
    config,
    demo,
    deploy,
    dev,
    doctor,
    experiment,
    functions,
    image,
    init,
    invoke,
    logs,
    places,
    profile,
    replay,
    secret,
    simulate,
    status,
    trace,
    up,
    why,
)
from .exit_codes import EPILOG, ExitCode, exit_code_of
from .output import complain


class Commands(TyperGroup):
    """Catches the errors of all commands.

    A failed command prints one line that names the cause and the remedy, and ends with the exit code for its error.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
            # Typer handles usage errors itself, and a broken pipe: the program that read our output has ended.
            raise
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except InternalError as error:
            raise _our_bug(error) from None
        except InstaInferError as error:
            complain(str(error))
            raise typer.Exit(exit_code_of(error)) from None
        except Exception as error:
            # Expected errors are `InstaInferError`s, so any other error is a bug.
            raise _our_bug(error) from None


def _our_bug(error: Exception) -> typer.Exit:
    traceback.print_exception(error)
    complain(f"this is a bug ({type(error).__name__}); please report the lines above, and what you ran, to us")
    return typer.Exit(ExitCode.BUG)


app = typer.Typer(
    cls=Commands,
    name="instainfer",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"instainfer {__version__}")
        raise typer.Exit


@app.callback()
def instainfer(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Serverless inference that starts instantly.

    Functions that are likely to be called next are loaded into containers that are idle anyway.
    """


app.command()(up.up)
app.command()(init.init)
app.command()(deploy.deploy)
app.command()(dev.dev)
app.command(cls=invoke.InvokeCommand)(invoke.invoke)
app.command(name="functions")(functions.list_functions)
app.add_typer(functions.app, name="function")
app.add_typer(secret.app, name="secret")
app.add_typer(image.app, name="image")
app.command()(places.preload)
app.command()(places.offload)
app.command()(advise.advise)
app.command(name="activations")(activations.activations)
app.command()(logs.logs)
app.command()(status.status)
app.command()(why.why)
app.command()(clean.clean)
app.command()(doctor.doctor)
app.command()(replay.replay)
app.command()(demo.demo)
app.command()(simulate.simulate)
app.command()(profile.profile)
app.add_typer(trace.app, name="trace")
app.add_typer(experiment.app, name="experiment")
app.add_typer(config.app, name="config")


def run() -> None:
    """Run the ``instainfer`` program."""
    app(prog_name="instainfer")


if __name__ == "__main__":
    run()
