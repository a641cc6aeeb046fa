"""A data set on the Hugging Face Hub: which of its files make up a split; each is downloaded when it is opened."""

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from fitune.core.data.files.listing import Source, SourceFile, of_split, readable
from fitune.core.errors import UserError
from fitune.core.hub import unsendable_token


def find_on_hub(source: str, split: str) -> Source:
    """The files of one split of `owner/name`, or of `owner/name/subset` where it has several subsets.

    Raises UserError where the Hub can't be reached, does not have it or does not hand it out, or it has no such split.
    """
    from huggingface_hub import HfApi

    owner, name, *subset = source.split("/")
    repo = f"{owner}/{name}"
    with _said_plainly(repo):
        info = HfApi().dataset_info(repo, files_metadata=True)
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or []}
    card = dict(info.card_data.__dict__) if info.card_data else {}
    chosen = _chosen(sorted(sizes), card.get("configs") or [], subset[0] if subset else None, split, repo)
    files = [SourceFile(each, sizes[each], info.sha or "", _fetch(repo, each, info.sha)) for each in chosen]
    return Source(source, tuple(files), tuple(each for each in sizes if each not in set(chosen)))


def _fetch(repo: str, name: str, revision: str | None) -> Callable[[], Path]:
    return partial(_downloaded, repo, name, revision)


def _downloaded(repo: str, name: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi

    with _said_plainly(repo):
        return Path(HfApi().hf_hub_download(repo, name, repo_type="dataset", revision=revision))


def _chosen(
    names: Sequence[str], configs: Sequence[Mapping[str, Any]], subset: str | None, split: str, repo: str
) -> list[str]:
    """The files of a split: by the data set card where it lists them, else by folder and file name."""
    config = _config(configs, subset, repo)
    if config and (patterns := _patterns(config, split, repo)):
        found = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
        return readable(found, f"split {split} of {repo}")
    if subset and not config:
        names = [name for name in names if subset in name.split("/")[:-1]]
        return of_split(readable(names, f"{repo}/{subset}"), split, repo)
    return of_split(readable(names, repo), split, repo)


def _config(configs: Sequence[Mapping[str, Any]], subset: str | None, repo: str) -> Mapping[str, Any] | None:
    by_name = {str(each.get("config_name", "default")): each for each in configs}
    if subset:
        if by_name and subset not in by_name:
            raise UserError(f"{repo} has no subset {subset}.", f"It has {', '.join(sorted(by_name))}.")
        return by_name.get(subset)
    if len(by_name) == 1:
        return next(iter(by_name.values()))
    if marked := [each for name, each in by_name.items() if name == "default" or each.get("default")]:
        return marked[0]
    if by_name:
        first = next(iter(by_name))
        hint = f'Name one: data.source = "{repo}/{first}".'
        raise UserError(f"{repo} has {len(by_name)} subsets: {', '.join(list(by_name)[:8])}.", hint)
    return None


def _patterns(config: Mapping[str, Any], split: str, repo: str) -> list[str]:
    """The card's `data_files`: a path, a list of paths, or a list of {split, path}."""
    files = config.get("data_files") or []
    files = [files] if isinstance(files, str | dict) else files
    by_split: dict[str, list[str]] = {}
    for each in files:
        path = each.get("path", []) if isinstance(each, dict) else each
        name = str(each.get("split", "train")) if isinstance(each, dict) else "train"
        by_split.setdefault(name, []).extend([path] if isinstance(path, str) else path)
    if by_split and split not in by_split:
        hint = f'Set data.split = "{next(iter(by_split))}".'
        raise UserError(f"{repo} has no split {split}; it has {', '.join(by_split)}.", hint)
    return by_split.get(split, [])


@contextmanager
def _said_plainly(repo: str) -> Iterator[None]:
    """An error of the Hub's client, in a sentence."""
    import httpx
    from huggingface_hub import errors

    page = f"https://huggingface.co/datasets/{repo}"
    try:
        yield
    except errors.GatedRepoError:
        hint = f"Ask for access at {page}, then log in: hf auth login"
        raise UserError(f"The data set {repo} is handed out on request only.", hint) from None
    except errors.RepositoryNotFoundError:
        hint = "Check the spelling; if it is private, log in: hf auth login. A local file would need its suffix."
        raise UserError(
            f"There is no file {repo} here, and no data set {repo} that you may see on the Hub.", hint
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        hint = "Log in: hf auth login" if status in (401, 403) else "Try again in a while."
        raise UserError(f"The Hub refused to hand out {repo} (HTTP status {status}).", hint) from None
    except UnicodeEncodeError:
        raise unsendable_token() from None
    except errors.HFValidationError:
        raise UserError(
            f"{repo} is neither a file here nor a name that the Hub allows.", "Check the spelling."
        ) from None
    except (httpx.TransportError, errors.LocalEntryNotFoundError, ConnectionError, JSONDecodeError):  # a login page
        hint = "Check the network, or download the files and name their folder."
        raise UserError(f"There is no file {repo} here, and the Hub can't be reached.", hint) from None
