import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from starvsr.diffusion.schedules import star_schedule
from tests.parity.__main__ import main
from tests.parity.golden import Case, fill, read_folder

DATA = Path(__file__).parent / "data" / "star"
CASES = sorted(path for family in ("star", "stablevsr", "cogvideox") for path in (DATA.parent / family).glob("*.json"))


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def copy_case(stem: str, folder: Path) -> tuple[Path, Path]:
    paths = [DATA / f"{stem}{suffix}" for suffix in (".json", ".safetensors")]
    copies = [Path(shutil.copy(path, folder)) for path in paths]
    return copies[0], copies[1]


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_the_package_gives_the_recorded_numbers(path, capsys):
    stem = path.stem
    code = main([str(path.parent), "--only", stem])
    report = capsys.readouterr().out
    assert code == 0, report
    assert f"{stem}/" in report and " ok" in report


def test_fill_rule_gives_the_published_values():
    first = fill("time_embed.0.weight", (1280, 320)).flatten()[:4]
    torch.testing.assert_close(
        first, torch.tensor([-0.04746619, 0.06771037, 0.00946957, 0.13208063]), atol=1e-8, rtol=0
    )


def test_noise_follows_what_a_file_states_and_not_its_name(tmp_path, capsys):
    for suffix in (".json", ".npz"):
        shutil.copy(DATA.parent / "cogvideox" / f"sampler_10{suffix}", tmp_path / f"again{suffix}")
    assert main([str(tmp_path)]) == 0, capsys.readouterr().out
    stated = (tmp_path / "again.json").read_text(encoding="utf-8")
    (tmp_path / "again.json").write_text(stated.replace("'sampler_10.start'", "'other.start'"), encoding="utf-8")
    assert main([str(tmp_path)]) == 1 and "again/start" in capsys.readouterr().out


def test_a_single_changed_value_fails(tmp_path, capsys):
    _, tensors_path = copy_case("guidance", tmp_path)
    tensors = load_file(tensors_path)
    tensors["x0_scale7.5_rescale0.2"][0, 0, 0, 0, 0] += 1e-4
    save_file(tensors, tensors_path)
    assert main([str(tmp_path)]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL")]
    assert [line.split()[0] for line in failed] == ["guidance/x0_scale7.5_rescale0.2"]


def test_a_value_that_is_no_number_fails(tmp_path, capsys):
    _, tensors_path = copy_case("color_fix", tmp_path)
    tensors = load_file(tensors_path)
    tensors["wavelet"][0, 0, 0, 0] = torch.nan
    save_file(tensors, tensors_path)
    assert main([str(tmp_path)]) == 1


def test_other_weights_fail(tmp_path, capsys):
    json_path, _ = copy_case("modules", tmp_path)
    meta = json.loads(json_path.read_text(encoding="utf-8"))
    json_path.write_text(json.dumps(meta | {"salt": "another "}), encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    failed = [line.split("/")[0] for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL")]
    assert len(failed) > 10


def test_a_table_row_that_differs_fails(tmp_path, capsys):
    tables = json.loads((DATA / "tables.json").read_text(encoding="utf-8"))
    tables["pad_to_fit"]["rows"][3][4] += 1
    (tmp_path / "tables.json").write_text(json.dumps(tables), encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert "tables/pad_to_fit" in capsys.readouterr().out


def test_a_case_with_other_numbers_is_followed(tmp_path, capsys):
    """Another step list than the stored ones: the checker must take it from the names."""
    _, tensors_path = copy_case("schedule", tmp_path)
    tensors = {name: value for name, value in load_file(tensors_path).items() if "_tmax" not in name}
    schedule = star_schedule()
    levels = schedule.normal(7, t_max=950)
    tensors["normal7_tmax950.sigmas"] = levels
    tensors["normal7_tmax950.t_model"] = schedule.integer_timestep_at(levels[:-1])
    tensors["normal7_tmax950.alpha_in"] = 1 / (levels[:-1] ** 2 + 1).sqrt()
    save_file(tensors, tensors_path)
    assert main([str(tmp_path)]) == 0
    assert "schedule/normal7_tmax950.t_model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stem", "name"),
    [("sampler_fast", "sigmas"), ("schedule", "alphas"), ("schedule", "fast15_tmax899.sigmas"), ("brownian", "noise")],
)
def test_the_tolerance_is_the_one_in_the_file(tmp_path, capsys, stem, name):
    json_path, _ = copy_case(stem, tmp_path)
    meta = json.loads(json_path.read_text(encoding="utf-8"))
    key = {"alphas": "alphas_abs", "noise": "abs", "sigmas": "sigmas_rel"}.get(name, "solver_sigmas_rel")
    meta["tolerance"][key] = 1e-9
    json_path.write_text(json.dumps(meta), encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert any(
        line.startswith(f"{stem}/{name} ") and line.endswith("FAIL") for line in capsys.readouterr().out.split("\n")
    )


def test_the_scale_is_the_one_in_the_file(tmp_path, capsys):
    """Recorded at 4 and read as 2: the latents have another size, which must show."""
    json_path, _ = copy_case("pipeline_small", tmp_path)
    meta = json.loads(json_path.read_text(encoding="utf-8"))
    meta["config"]["upscale"] = 2
    json_path.write_text(json.dumps(meta), encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert "pipeline_small" in capsys.readouterr().out


def test_nothing_to_check_is_a_failure(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    (tmp_path / "riddle.json").write_text('{"what": "something else"}', encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert "riddle/*  not checked" in capsys.readouterr().out
    assert main([str(tmp_path / "missing")]) == 1


def test_a_missing_tensor_file_fails_and_does_not_stop_the_rest(tmp_path, capsys):
    _, tensors_path = copy_case("guidance", tmp_path)
    tensors_path.unlink()
    shutil.copy(DATA / "tables.json", tmp_path)
    assert main([str(tmp_path)]) == 1
    report = capsys.readouterr().out
    assert "guidance/*  FAIL" in report and "tables/make_chunks" in report


def test_unknown_tensors_are_named():
    case = Case(DATA / "guidance.json", json.loads((DATA / "guidance.json").read_text(encoding="utf-8")))
    case.touched.update(name for name in case.tensors if name != "xt")
    case.close_report()
    assert [row.name for row in case.rows] == ["xt"]


def test_every_stored_case_is_read():
    assert {case.stem for case in read_folder(DATA)} == {path.stem for path in DATA.glob("*.json")}


def test_the_table_names_what_comes_closest(capsys):
    assert main([str(DATA), "--only", "tables", "--table"]) == 0
    assert "| tables | 5 of 5 | all exact | | |" in capsys.readouterr().out
    assert main([str(DATA), "--only", "guidance", "--table"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| guidance |"))
    assert row.split("|")[2].strip() == "8 of 8" and float(row.split("|")[4]) <= float(row.split("|")[5])


@pytest.mark.parametrize(
    ("change", "name"),
    [({"timesteps": [38, 811]}, "target"), ({"chosen_neighbour_index": [2, 2]}, "controlnet_image")],
)
def test_another_training_step_fails(tmp_path, capsys, change, name):
    data = DATA.parent / "stablevsr"
    for path in (data / "unit_train.npz", data / "p4_single_frame.json"):
        shutil.copy(path, tmp_path)
    meta = json.loads((data / "unit_train.json").read_text(encoding="utf-8"))
    (tmp_path / "unit_train.json").write_text(json.dumps(meta | change), encoding="utf-8")
    assert main([str(tmp_path), "--only", "unit_train"]) == 1
    failed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL")]
    assert f"unit_train/{name}" in failed and "unit_train/loss" in failed


def test_another_warping_error_fails(tmp_path, capsys):
    data = DATA.parent / "stablevsr"
    shutil.copy(data / "unit_flow.npz", tmp_path)
    meta = json.loads((data / "unit_flow.json").read_text(encoding="utf-8"))
    meta["warp_error"]["masked"] += 1e-3
    (tmp_path / "unit_flow.json").write_text(json.dumps(meta), encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    failed = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL")]
    assert failed == ["unit_flow/warp_error masked"]
