from dataset_jobs import job_view

from tasks.dataset.credits import model_credits


def test_a_model_that_is_not_installed_here_is_credited_all_the_same() -> None:
    recipe = job_view().recipe
    gone = recipe.pose_model.model_copy(update={"name": "gone", "version": "9"})
    pose, teacher, device = model_credits(recipe.model_copy(update={"pose_model": gone}))
    assert pose.as_json() == {
        "role": "pose", "name": "gone", "version": "9", "sha256": gone.sha256, "licence": gone.licence,
        "citation": "",
    }  # fmt: skip
    assert [teacher.role, device.role] == ["teacher", "device"]


def test_the_authors_of_a_network_are_cited_as_they_ask() -> None:
    recipe = job_view().recipe
    changes = {
        "pose_model": recipe.pose_model.model_copy(update={"name": "openpose-body25"}),
        "mask_model": recipe.mask_model.model_copy(update={"name": "matterport"}),
    }
    pose, teacher, _ = model_credits(recipe.model_copy(update=changes))
    assert "Part Affinity Fields" in pose.citation
    assert "Mask R-CNN" in teacher.citation
