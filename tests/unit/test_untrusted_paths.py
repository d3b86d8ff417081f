"""No path that comes from a client is opened by the daemon: in media values, in references, as a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.protocol.artifacts import Entry
from client.protocol.records import BlobRef, Media
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.errors import MediaLostError
from telemetryd.runs.media.kinds import KINDS
from telemetryd.runs.run_folder import run_folder
from telemetryd.runs.wandb_artifacts import _add
from tests.support.requirements import require_module


class OneBlob:
    """Every blob is the same bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def get(self, ref: BlobRef) -> bytes:
        return self.content


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the daemon's machine that looks like media of every kind."""
    path = tmp_path / "secret.pdb"
    path.write_bytes(b"the key")
    return path


@pytest.mark.parametrize("kind", ["Image", "Audio", "Video", "Object3D", "Molecule", "Molecule.from_rdkit"])
@pytest.mark.parametrize("how", ["text", "built"])
def test_a_path_in_place_of_content_makes_no_media_value(secret: Path, kind: str, how: str) -> None:
    require_module("numpy")
    path: Any = str(secret)
    if how == "built":  # a text that came as bytes is no better
        path = Media("text", {"data": BlobRef(1, len(path))})
    builder = MediaBuilder(OneBlob(str(secret).encode()), KINDS)
    with pytest.raises(MediaLostError, match="files of this machine are not read for clients"):
        builder.build(Media(kind, {"data_or_path": path}))
    assert secret.read_bytes() == b"the key", "wandb moves files that it takes for its own"


def test_a_path_in_a_mask_makes_no_image(secret: Path) -> None:
    require_module("numpy")
    require_module("PIL")
    builder = MediaBuilder(OneBlob(bytes(12)), KINDS)
    pixels = Media("array", {"data": BlobRef(1, 12), "dtype": "|u1", "shape": [2, 2, 3]})
    named = {"path": str(secret)}
    for mask in (named, Media("ImageMask", {"val": named, "key": "m"})):
        with pytest.raises(MediaLostError, match="files of this machine are not read for clients"):
            builder.build(Media("Image", {"data_or_path": pixels, "masks": {"m": mask}}))


def test_what_a_client_sends_of_a_file_is_its_content_and_an_address_stays_one() -> None:
    require_module("PIL")
    content = b"<svg/>"
    builder = MediaBuilder(OneBlob(content), KINDS)
    video = builder.build(
        Media("Video", {"data_or_path": Media("file", {"name": "a.gif", "data": BlobRef(1, 6)}), "format": "gif"})
    )
    assert Path(video._path).read_bytes() == content
    image = builder.build(Media("Image", {"data_or_path": "s3://bucket/a.png"}))
    assert image._path == "s3://bucket/a.png"
    builder._clean()


def test_a_run_s_folder_is_where_the_client_says_as_far_as_the_settings_let_it(tmp_path: Path) -> None:
    own, root, other = tmp_path / "runs", tmp_path / "shared", tmp_path / "home"
    for folder in (own, root, other):
        folder.mkdir()
    (root / "link").symlink_to(other)
    anywhere = run_folder(str(other / "x"), None, own)
    assert anywhere == other / "x"
    for named, made in [
        ("", own),
        (str(own / "a"), own / "a"),
        (str(root), root),
        (str(root / "b" / "c"), root / "b" / "c"),
        (str(other), own),
        (f"{root}/../home", own),
        (f"{root}-beside", own),
        (str(root / "link"), own),
        (str(root / "link" / "d"), own),
        ("/", own),
    ]:
        assert run_folder(named, [root], own) == made, named
    assert run_folder(str(root), [], own) == own


class Untouched:
    """An artifact whose manifest takes entries, and that must look at nothing."""

    def __init__(self) -> None:
        self.manifest = self
        self.added: list[Any] = []

    def add_entry(self, entry: Any) -> None:
        self.added.append(entry)

    def add_reference(self, *arguments: Any) -> None:
        raise AssertionError(f"wandb would look at {arguments}")


@pytest.mark.parametrize("scheme", ["file", "FILE", "File", " file", "\tfi\nle"])
def test_a_reference_to_a_file_is_never_looked_up_by_the_daemon(secret: Path, scheme: str) -> None:
    artifact = Untouched()
    with pytest.raises(ValueError, match="no path is opened here"):
        _add(artifact, Entry("x", ref=f"{scheme}://{secret}"), None, 0)  # type: ignore[arg-type]
    _add(artifact, Entry("x", ref=f"{scheme}://{secret}", digest="d", size_bytes=7), None, 0)  # type: ignore[arg-type]
    assert [entry.digest for entry in artifact.added] == ["d"]
