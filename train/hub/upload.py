"""Publishing bundles, or the explorer with its bundles, on the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from regvq.bundles.bundle import CHECKPOINTS, Bundle, find_bundle, list_bundles
from regvq.bundles.sources import Source, fetch

from ..cli.errors import UsageError
from .bundle import check_bundle, check_named, check_tokenizer, stage_bundle, tokenizer_of
from .space import REPLACED, check_index, check_space, stage_space


@dataclass(frozen=True)
class PublishFlags:
    """Flags of the command."""

    repo: str
    """The repository on the Hub: USER/NAME."""
    checkpoint: tuple[Path, ...] = ()
    """The bundle (or run folder); for a Space any number of them."""
    space: bool = False
    """Publish the explorer as a Space."""
    torch_index: str | None = None
    """For a Space: a package index from which it installs torch. PyTorch's own index of builds for
    the CPU is https://download.pytorch.org/whl/cpu; without it, PyPI's builds for CUDA are used."""
    hardware: str | None = None
    """For a new Space: its hardware, such as cpu-basic, t4-small, or zero-a10g (ZeroGPU)."""
    private: bool = False
    """Make a new repository visible to its owner only."""
    tokenizer: str | None = None
    """For a prior: the repository USER/NAME in which its tokenizer is published."""
    datasets: tuple[str, ...] = ()
    """Data sets for the card, by their ids on the Hub; by default those that the bundle names."""
    out: Path | None = None
    """Also keep the uploaded files here; the folder must be new or empty."""
    dry_run: bool = True
    """Only print what would be done; nothing is sent or requested."""


def publish(flags: PublishFlags) -> str | None:
    """Publish, and return the address of the repository; None after a dry run.

    Raises UsageError or CheckpointError, one sentence each.
    """
    _check_name(flags.repo, "--repo")
    if flags.tokenizer is not None:
        _check_name(flags.tokenizer, "--tokenizer")
    if not flags.space and (flags.torch_index or flags.hardware):
        raise UsageError("--torch-index and --hardware are for a --space.")
    if flags.torch_index is not None:
        check_index(flags.torch_index)
    if flags.out is not None and flags.out.is_dir() and any(flags.out.iterdir()):
        raise UsageError(f"--out {flags.out} is not empty; name a new folder.")
    bundles = _bundles(flags)
    for bundle in bundles:
        check_bundle(bundle)
    with tempfile.TemporaryDirectory(prefix="regvq-publish-") as temporary:
        folder = flags.out or Path(temporary)
        if flags.space:
            check_space(bundles)
            stage_space(bundles, folder, torch_index=flags.torch_index)
        else:
            check_named(bundles[0], flags.tokenizer)
            stage_bundle(bundles[0], folder, flags.tokenizer, flags.datasets)
        _print_files(folder)
        if flags.dry_run:
            print(_plan(flags, bundles))
            return None
        if flags.tokenizer is not None:
            published = fetch(Source(flags.tokenizer, flags.tokenizer))
            check_tokenizer(bundles[0], published, flags.tokenizer)
        address = _upload(flags, folder)
    print(f"published: {address}")
    return address


def _check_name(name: str, flag: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        good = name.count("/") == 1
    except HFValidationError:
        good = False
    if not good:
        raise UsageError(
            f"{flag} {name} is not the name of a repository; it must be USER/NAME, of letters, "
            "digits, '-', '_' and '.'."
        )


def _bundles(flags: PublishFlags) -> list[Bundle]:
    """Return the bundles that the flags name."""
    found = [_with_folder_name(find_bundle(path), path) for path in flags.checkpoint]
    if flags.space:
        if flags.tokenizer is not None or flags.datasets:
            raise UsageError("--tokenizer and --datasets are for bundles, not for a --space.")
        found = found or list_bundles(CHECKPOINTS)
        names = [bundle.name for bundle in found]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UsageError(f"--checkpoint names {sorted(twice)[0]} twice.")
        return found
    if len(found) != 1:
        raise UsageError(
            f"--checkpoint must name one bundle, not {len(found)}; a repository holds one "
            "(a --space any number)."
        )
    return found


def _with_folder_name(bundle: Bundle, path: Path) -> Bundle:
    """Return a bundle with the name of its folder, whatever the spelling of the path."""
    return Bundle(path.resolve().name, bundle.path)


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file.stat().st_size


def _print_files(folder: Path) -> None:
    for name, size in _files(folder):
        print(f"{size:>13,} bytes  {name}")
    sizes = [size for _, size in _files(folder)]
    print(f"{sum(sizes):>13,} bytes in {len(sizes)} files")


def _plan(flags: PublishFlags, bundles: list[Bundle]) -> str:
    """Return sentences about what would be done."""
    kind = "Space" if flags.space else f"repository of the {bundles[0].kind}"
    visibility = "private" if flags.private else "public"
    said = [
        f"would create the {kind} {flags.repo} ({visibility}) unless it exists, and commit these "
        "files."
    ]
    if flags.tokenizer is not None:
        mark = tokenizer_of(bundles[0])[1]
        said.append(f"would first check that {flags.tokenizer} holds the tokenizer {mark}.")
    if flags.space and flags.torch_index is None:
        said.append(
            "torch will be PyPI's build, with CUDA; for a Space without a GPU name an index of "
            "builds for the CPU with --torch-index."
        )
    said.append("nothing was sent; --no-dry-run publishes it.")
    return "\n".join(said)


def _upload(flags: PublishFlags, folder: Path) -> str:
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise UsageError(
            "there is no token for the Hub: log in with `hf auth login`, or set HF_TOKEN to a "
            "token with write access."
        )
    api, kind = HfApi(), "space" if flags.space else "model"
    with _refusals(flags.repo):
        where = api.create_repo(
            flags.repo,
            repo_type=kind,
            private=flags.private or None,
            exist_ok=True,
            space_sdk="gradio" if flags.space else None,
            space_hardware=flags.hardware,
        )
        api.upload_folder(
            repo_id=flags.repo,
            folder_path=folder,
            repo_type=kind,
            commit_message=f"Publish {'the explorer' if flags.space else Path(flags.repo).name}",
            delete_patterns=list(REPLACED) if flags.space else None,
        )
    return str(where)


@contextmanager
def _refusals(repo: str) -> Iterator[None]:
    """Turn the Hub's refusals, and failures to reach it, into one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        said = " ".join(str(error.server_message or "").split())
        if status in (401, 403):
            reason = "the token (HF_TOKEN) has no write access to it"
        elif status == 409:
            reason = "it exists already, as another kind of repository"
        else:
            reason = f"the Hub answered {status}"
        detail = f": {said}" if said else ""
        raise UsageError(f"{repo} was not published; {reason}{detail}.") from None
    except OfflineModeIsEnabled:
        raise UsageError(
            f"{repo} was not published; HF_HUB_OFFLINE is set, which forbids it."
        ) from None
    except _unreachable() as error:
        raise UsageError(
            f"{repo} was not published; the Hub cannot be reached ({type(error).__name__})."
        ) from None


def _unreachable() -> tuple[type[BaseException], ...]:
    """Return the connection errors of the transport that the installed huggingface_hub uses."""
    kinds: list[type[BaseException]] = [ConnectionError, TimeoutError]
    for name in ("httpx2", "httpx", "requests"):
        try:
            module = __import__(name)
        except ImportError:
            continue
        kinds.append(getattr(module, "TransportError", None) or module.ConnectionError)
    return tuple(kinds)
