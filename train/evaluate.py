"""Evaluate a checkpoint: ``python train/evaluate.py --checkpoint DIR --data.name NAME --out FILE``.

Prints a table and writes a JSON report. A tokenizer is evaluated by the reconstructions of whole
pictures, with argmax codes; a prior by the pictures that it draws under the conditions of held-out
pictures.
"""

from __future__ import annotations

from typing import Any

if not __package__:  # run as a file: python train/evaluate.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import pick_device, program
from .cli.errors import UsageError, one_line_errors, parse_flags
from .evaluation.flags import EvaluateFlags
from .evaluation.prior import print_prior_table, report_prior
from .evaluation.tokenizer import check_flags, print_table, report_tokenizer
from .recipes.own_file import load_own_file


def evaluate(flags: EvaluateFlags) -> dict[str, Any]:
    """Evaluate a checkpoint and return the report for the JSON file."""
    from regvq.bundles.bundle import open_bundle

    check_flags(flags)
    load_own_file(flags.recipe)
    device = pick_device(flags.device)
    bundle = open_bundle(flags.checkpoint.as_posix())
    report = report_prior if bundle.kind == "prior" else report_tokenizer
    return report(flags, bundle, device)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    flags = parse_flags(EvaluateFlags, arguments, program=program("evaluate"), description=__doc__)
    from regvq.bundles.storage import write_json
    from regvq.errors import CheckpointError, DataError, FeatureError, PictureError

    with one_line_errors(UsageError, CheckpointError, DataError, PictureError, FeatureError):
        report = evaluate(flags)
        (print_prior_table if "pictures" in report else print_table)(report)
        write_json(flags.out, report)
    print(f"written to {flags.out}")


if __name__ == "__main__":
    main()
