"""A study as a case keeps it: without its images, the same again from the record."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.io.study import import_study
from navigation.simulate.dicom import write_study
from navigation.simulate.scenes import build_scene
from navigation.studymodel import StudyModel
from navigation.targets import clicked, load_targets, save_targets
from navigation.uptake import Sphere, Uptake, save_regions
from navigation.volume import Spot
from tracking.errors import InputError

# The scene `node` with a hot organ below the node, by its seed.
WITH_ORGAN = 2


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(build_scene("node", WITH_ORGAN), folder / "dicom", 1.7e9)
    import_study(folder / "dicom", folder / "study")
    save_targets(folder / "study", load_targets(folder / "study").added(clicked("node", [10.0, -60.0, 5.0])))
    save_regions(folder / "study", Uptake((Sphere("kidney L", np.array([50.0, 20.0, 0.0]), 30.0),)))
    return folder / "study"


def turned() -> np.ndarray:
    """T_study_reference: a quarter turn about z and a shift."""
    T = np.eye(4)
    T[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    T[:3, 3] = [30.0, -10.0, 5.0]
    return T


def test_a_case_and_its_replay_rest_on_the_same_study(study: Path) -> None:
    model = StudyModel.of_folder(study)
    again = StudyModel.from_json(json.loads(json.dumps(model.to_json())))
    assert again.id == model.id and again.simulated and again.to_json() == model.to_json()
    points = np.random.default_rng(3).uniform(-80.0, 80.0, (40, 3))
    ours, theirs = model.ct(turned()), again.ct(turned())
    assert ours is not None and theirs is not None
    np.testing.assert_array_equal(ours.at(points), theirs.at(points))


def test_an_organ_lies_where_the_registration_puts_it(study: Path) -> None:
    model = StudyModel.of_folder(study)
    assert model.organs
    T = turned()
    for organ, known in zip(model.organs, model.known(T), strict=True):
        np.testing.assert_allclose(T[:3, :3] @ known.place_mm + T[:3, 3], organ.centre_mm, atol=1e-9)
        places = (known.place_mm + known.offsets_mm) @ T[:3, :3].T + T[:3, 3]
        np.testing.assert_allclose(places, organ.points_mm, atol=1e-9)


def spot_at(position_mm: np.ndarray) -> Spot:
    return Spot(1, position_mm, np.eye(3), 0.0, 40.0, (30.0, 50.0), 8.0, 2.0, "ok", ("a reason",))


def test_a_spot_in_an_outlined_organ_may_be_physiological(study: Path) -> None:
    model, T = StudyModel.of_folder(study), turned()
    inside = np.linalg.inv(T) @ [60.0, 20.0, 5.0, 1.0]  # 11 mm from the middle of the outlined kidney
    outside = np.linalg.inv(T) @ [-60.0, 20.0, 5.0, 1.0]
    told = model.labelled((spot_at(inside[:3]), spot_at(outside[:3])), T)
    assert told[0].reasons == ("a reason", "possible physiological uptake (kidney L)")
    assert told[1].reasons == ("a reason",)


def test_a_study_without_outlined_regions_labels_nothing(study: Path) -> None:
    model = replace(StudyModel.of_folder(study), uptake=Uptake())
    spots = (spot_at(np.zeros(3)),)
    assert model.labelled(spots, turned()) is spots


def test_an_organ_whose_shares_do_not_fit_is_no_study(study: Path) -> None:
    content = json.loads(json.dumps(StudyModel.of_folder(study).to_json()))
    content["organs"][0]["shares"].append(0.1)
    with pytest.raises(InputError, match="points and shares"):
        StudyModel.from_json(content)


def test_a_folder_that_is_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.json"):
        StudyModel.of_folder(tmp_path)


def test_what_was_planned_on_another_study_is_never_the_new_ones(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "study")
    write_study(build_scene("occult", 7), tmp_path / "other", 1.7e9)
    import_study(tmp_path / "other", tmp_path / "study", force=True)
    assert (
        len(load_targets(tmp_path / "study")) == 0
        and not StudyModel.of_folder(tmp_path / "study").uptake.regions
    )
    # Set aside, not lost.
    assert (tmp_path / "study" / "earlier-1-targets.json").is_file()
    assert (tmp_path / "study" / "earlier-1-regions.json").is_file()
