"""The compiled image: kept by hash, believed only when nobody else could have written it; the artefacts behind it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import wasmtime
from js_harness import loaded

from inhabit.errors import Unavailable
from inhabit.isolates.javascript import JavaScriptEngine
from inhabit.isolates.javascript.abi import engine_of
from inhabit.isolates.javascript.blocks import with_own_blocks
from inhabit.isolates.javascript.cache import ImageCache
from inhabit.isolates.javascript.image import boot_script, quickjs_binary
from inhabit.isolates.javascript.shims import Cells, stubs
from inhabit.isolates.javascript.wasm import Surgery, signed, unsigned

ROOT = Path(__file__).resolve().parents[2]
NPM = ROOT / "inhabit" / "isolates" / "javascript" / "npm"


@pytest.fixture
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the ready images, free to be spoilt."""
    ready = request.config.cache.mkdir("inhabit-images")
    JavaScriptEngine.build(ready)
    shutil.copytree(ready / "engine-images", tmp_path / "engine-images")
    (tmp_path / "engine-images").chmod(0o700)
    return tmp_path


def _image(cache: Path) -> Path:
    engine = JavaScriptEngine.load(cache).version.rsplit(" ", 1)[1]
    return next(p for p in (cache / "engine-images").glob("javascript-*.image") if engine in p.read_bytes()[:1000].decode("latin1"))


def test_a_ready_image_is_loaded_and_not_made_again(cache: Path) -> None:
    image = _image(cache)
    made = image.stat().st_ino
    JavaScriptEngine.load(cache)
    assert image.stat().st_ino == made   # one that was made again takes the place of the old


def test_A25_a_changed_image_is_not_loaded_but_built_again(cache: Path) -> None:
    image = _image(cache)
    good = image.read_bytes()
    for at in (0, len(good) // 2, len(good) - 1):
        image.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
        images = ImageCache(cache)
        assert images.get(image.stem, lambda: b"made anew") == b"made anew"
    image.write_bytes(good[:1000])
    assert ImageCache(cache).get(image.stem, lambda: b"made again") == b"made again"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755])
def test_A25_a_folder_that_others_can_enter_is_refused(cache: Path, mode: int) -> None:
    (cache / "engine-images").chmod(mode)
    with pytest.raises(Unavailable, match="could have been written by others") as caught:
        JavaScriptEngine.load(cache)
    assert "chmod 700" in (caught.value.fix or "")


def test_A25_a_file_that_others_can_write_is_refused(cache: Path) -> None:
    _image(cache).chmod(0o666)
    with pytest.raises(Unavailable, match="could have been written by others"):
        JavaScriptEngine.load(cache)


def test_A25_a_link_is_not_followed(cache: Path, tmp_path: Path) -> None:
    image = _image(cache)
    image.rename(tmp_path / "elsewhere")
    image.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        JavaScriptEngine.load(cache)


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable) as caught:
        JavaScriptEngine.load(tmp_path / "file")
    assert "cache directory" in (caught.value.fix or "")


def test_the_sealed_module_imports_nothing() -> None:
    sealed = Surgery(quickjs_binary()).sealed(stubs(Cells()), {}, frozenset({"malloc"}))
    module = wasmtime.Module(engine_of(), sealed)
    assert list(module.imports) == []
    assert {export.name for export in module.exports} == {"malloc", "memory"}


def test_a_stub_must_exist_for_every_import() -> None:
    with pytest.raises(ValueError, match="without a stub"):
        Surgery(quickjs_binary()).sealed({}, {}, None)


@pytest.mark.parametrize("value", [0, 1, 63, 64, 127, 128, 2**31, 2**32 - 1, 2**63 - 1])
def test_leb128(value: int) -> None:
    def read(data: bytes, *, is_signed: bool) -> int:
        total = shift = 0
        for byte in data:
            total |= (byte & 0x7F) << shift
            shift += 7
        return total - (1 << shift) if is_signed and data[-1] & 0x40 else total

    assert read(unsigned(value), is_signed=False) == value
    assert read(signed(value), is_signed=True) == value
    assert read(signed(-value), is_signed=True) == -value


def test_the_boot_script_is_one_scope_in_order() -> None:
    text = boot_script().decode()
    assert text.index("What the glue needs of the language") < text.index("Seeded random") < text.index("The guest's side of the bridge")


def test_the_npm_lock_has_hashes_and_no_addresses() -> None:
    lock = json.loads((NPM / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in packages.values())
    assert "omit-lockfile-registry-resolved=true" in (NPM / ".npmrc").read_text()


@pytest.fixture
def hook_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _App:
    def display_info(self, _text: str) -> None: ...


def _hook(module: ModuleType, root: Path) -> Any:
    return module.ArtifactHook(str(root), {}, None, None, str(root / "dist"), "wheel", _App())


def test_the_build_hook_fetches_nothing_when_the_artefacts_are_there(hook_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / hook_module.ENGINE / "_artifacts"
    target.mkdir(parents=True)
    for name in hook_module.ARTIFACTS:
        shutil.copyfile(ROOT / hook_module.ENGINE / "_artifacts" / name, target / name)
    monkeypatch.setattr(hook_module.subprocess, "run", None)
    _hook(hook_module, tmp_path).initialize("standard", {})


def test_the_build_hook_takes_only_the_reviewed_file(hook_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / hook_module.ENGINE / "_artifacts").mkdir(parents=True)

    def fake(_manifest: Path, folder: Path) -> None:
        for source, _digest in hook_module.ARTIFACTS.values():
            (folder / source).parent.mkdir(parents=True, exist_ok=True)
            (folder / source).write_bytes(b"something else")

    monkeypatch.setattr(hook_module, "_npm_install", fake)
    with pytest.raises(RuntimeError, match="not the file that was reviewed"):
        _hook(hook_module, tmp_path).initialize("standard", {})
    assert not (tmp_path / hook_module.ENGINE / "_artifacts" / "quickjs.wasm").exists()


def test_the_installed_artefact_is_the_reviewed_one(hook_module: ModuleType) -> None:
    assert hashlib.sha256(quickjs_binary()).hexdigest() == hook_module.ARTIFACTS["quickjs.wasm"][1]


def _moves() -> list[str]:
    sizes = (0, 1, 7, 8, 9, 63, 64, 65, 71, 127, 128, 129, 200)
    return [f"[{to},{start},{size}]" for size in sizes for to, start in ((300, 0), (0, 300), (5, 5), (6, 5), (5, 6), (69, 5), (5, 69), (12, 4), (3, 130))]


def test_own_block_copies_and_fills_are_those_of_the_language(request: pytest.FixtureRequest) -> None:
    source = """const fresh = () => Uint8Array.from({ length: 600 }, (_, i) => (i * 7 + 3) & 255);
    return input.filter(([to, start, size]) => {
      const copied = fresh().copyWithin(to, start, start + size), filled = fresh().fill(to + 200, start, start + size);
      const old = fresh(), byHand = fresh(), filledByHand = fresh();
      for (let i = 0; i < size; i++) { byHand[to + i] = old[start + i]; filledByHand[start + i] = to + 200 }
      return String(copied) !== String(byHand) || String(filled) !== String(filledByHand);
    })"""
    assert loaded(request.config).value(source, input=[json.loads(move) for move in _moves()]) == []


def test_every_block_instruction_is_replaced_and_a_strange_instruction_is_refused() -> None:
    own = with_own_blocks(quickjs_binary())
    wasmtime.Module.validate(engine_of(), own)
    assert b"\xfc\x0a\x00\x00" in quickjs_binary()
    assert b"\xfc\x0a\x00\x00" not in Surgery(own).section(10)
    body = b"\x03\x00\xff\x0b"   # a function of one instruction, which does not exist
    strange = b"\0asm\x01\0\0\0" + b"\x01\x04\x01\x60\0\0" + b"\x03\x02\x01\0" + b"\x0a" + unsigned(len(body) + 1) + b"\x01" + body
    with pytest.raises(ValueError, match="unknown instruction 0xff"):
        with_own_blocks(strange)
